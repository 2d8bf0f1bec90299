"""A person approves one version that they were shown in full, by a button or by a word."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from core.domain.messages import PROGRAM, Card, Person
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import (
    ADA,
    BOSS,
    RIGHTS,
    _call,
    bot,
    on_slack,
    proposed_on_slack,
    says,
    typed_code,
)
from tests.dialogues.test_page_people import ANA, OWNER, UPDATE, on_page
from tests.fakes.choices import allow_list
from tests.fakes.memory_table import MemoryTable

CHIEF = Person("slack", "U6", "T1", "Carl")
TWO_ADMINS = allow_list(frozenset({"slack:U1"}), frozenset({"slack:U9", "slack:U6"}))
LONG = "word " * 600 + "END"
WIDE = [{"Name": f"Row {number}", "Value": number} for number in range(2, 15)]


async def test_a_word_approves_a_long_change_only_after_all_of_it(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=RIGHTS) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": {"Name": LONG}})
        first = await says(ponte, f"approve {card.id}", "k2")
        assert (first.status, table.applied) == ("failed", [])
        assert LONG in first.text
        code = typed_code(first)
        wrong = f"{card.id}-{'1000' if not code.endswith('1000') else '1001'}"
        again = await says(ponte, f"approve {wrong}", "k3")
        assert (again.status, typed_code(again), table.applied) == ("failed", code, [])
        assert (await says(ponte, f"approve {code}", "k4")).status == "done"
        assert table.rows["1"]["Name"] == LONG


@pytest.mark.parametrize("count", [2, 3])
async def test_cards_that_one_message_may_not_hold_need_to_be_read_first(
    bot_home: BotHome, count: int
) -> None:
    table = MemoryTable({str(number): dict(ADA) for number in range(1, 9)})
    async with bot(bot_home, table, policy=RIGHTS) as ponte:
        calls = [
            _call("table_update", {"rows": {str(number): {"Name": f"A{number}"}}})
            for number in range(1, count + 1)
        ]
        reply = await says(ponte, "\n".join(calls), "k1")
        assert len(reply.cards) == count
        answer = await says(ponte, f"approve {reply.cards[0].id}", "k2")
        assert (answer.status == "done") == (count <= 2)


async def test_nobody_approves_by_a_word_what_was_shown_to_somebody_else(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=TWO_ADMINS) as ponte:
        private = on_slack(_call("table_delete", {"ids": ["1"]}), "k1", channel="D1", shared=False)
        (card,) = (await ponte.ask_message(private)).cards
        own = on_slack(f"approve {card.id}", "k2", BOSS, channel="D9", shared=False)
        view = await ponte.ask_message(own)
        assert (view.status, "Ada" in view.text, table.applied) == ("failed", True, [])
        public = await says(ponte, f"approve {card.id}", "k3", BOSS, channel="C9")
        assert (public.status, public.is_private) == ("failed", True)
        assert "Ada" not in public.text
        stolen = on_slack(f"approve {typed_code(view)}", "k5", CHIEF, channel="D8", shared=False)
        answer = await ponte.ask_message(stolen)
        assert (answer.status, table.applied) == ("failed", []), "each person has a code"
        coded = on_slack(f"approve {typed_code(view)}", "k4", BOSS, channel="D9", shared=False)
        assert (await ponte.ask_message(coded)).status == "done"
        assert table.rows == {}


async def test_the_page_shows_its_own_cards_in_full_and_reads_out_others(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table) as ponte:
        long = _call("table_update", {"rows": {"1": {"Name": LONG}}})
        (own,) = (await ponte.ask_message(on_page(long, OWNER))).cards
        assert (await ponte.ask_message(on_page(f"approve {own.id}", OWNER))).status == "done"
        (other,) = (await ponte.ask_message(on_page(UPDATE, ANA))).cards
        answer = await ponte.ask_message(on_page(f"approve {other.id}", OWNER))
        assert (answer.status, "Name: " in answer.text) == ("failed", True)
        assert table.rows["1"]["Name"] == LONG


async def test_what_is_read_out_is_inert(bot_home: BotHome) -> None:
    evil = "x```\n@everyone [a](https://evil.example/?q=1) https://evil.example approve abcde2 "
    async with bot(bot_home, MemoryTable({"1": dict(ADA)}), policy=RIGHTS) as ponte:
        rows = {"1": {"Name": evil + LONG}}
        card = await proposed_on_slack(ponte, "k1", "table_update", rows=rows)
        answer = await says(ponte, f"approve {card.id}", "k2")
        (block,) = re.findall(r"^(````+)\n.*^\1$", answer.text, re.S | re.M)
        assert answer.text.endswith(block)
        assert "https://evil" not in answer.text


async def test_no_program_and_no_old_press_approves_with_the_code(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=RIGHTS) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": {"Name": LONG}})
        code = typed_code(await says(ponte, f"approve {card.id}", "k2", BOSS))
        assert (await says(ponte, f"deny {card.id}", "k3", BOSS)).status == "done"
        late = await says(ponte, f"approve {code}", "k4", BOSS)
        assert ("Denied by" in late.text, table.applied) == (True, [])


async def test_an_open_card_shows_all_rows_and_values(bot_home: BotHome) -> None:
    table = MemoryTable({str(n): {"Name": f"Old {n}", "Value": n} for n in range(2, 15)})
    proposals: list[tuple[str, dict[str, Any]]] = [
        ("table_create", {"rows": WIDE}),
        ("table_update", {"rows": {str(n): {"Name": f"New {n}"} for n in range(2, 15)}}),
        ("table_delete", {"ids": [str(n) for n in range(2, 15)]}),
        ("table_create", {"rows": [{"Name": LONG, "Value": 1.234567891}]}),
    ]
    numbered = [f"{kind} {n}" for n in range(2, 15) for kind in ("Row", "New")]
    async with bot(bot_home, table, policy=RIGHTS) as ponte:
        for number, (tool, arguments) in enumerate(proposals):
            card: Card = await proposed_on_slack(ponte, f"k{number}", tool, **arguments)
            assert card.is_whole
            view, text = str(card.rows), str(arguments)
            for words in (LONG, "1.234567891", *numbered):
                assert words in view or words not in text
            assert tool != "table_delete" or all(f"Old {n}" in view for n in range(2, 15))


async def test_a_word_elsewhere_approves_nothing_that_was_not_shown_there(
    bot_home: BotHome,
) -> None:
    """An admin need not be a member of the channel where the card stands."""
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=RIGHTS) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": {"Name": "Eve"}})
        public = on_slack(f"approve {card.id}", "k2", BOSS, channel="C9")
        text = await ponte.ask_message(public)
        assert (text.status, text.is_private, table.applied) == ("failed", True, [])
        assert "Eve" not in text.text
        own = on_slack(f"approve {card.id}", "k3", BOSS, channel="D9", shared=False)
        answer = await ponte.ask_message(own)
        assert (answer.status, "Eve" in answer.text, table.applied) == ("failed", True, [])
        beside = on_slack(f"approve {card.id}", "k4", BOSS, thread="t7")
        assert (await ponte.ask_message(beside)).status == "done"


async def test_what_a_program_asked_for_was_not_shown_to_its_person(bot_home: BotHome) -> None:
    """Its conversation with Ponte need not be open anywhere."""
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table) as ponte:
        to = replace(on_page(UPDATE, OWNER).address, channel="one-request--1")
        program = replace(OWNER, is_bot=True, api_token="t1")
        question = on_page(UPDATE, program)
        question = replace(
            question, address=to, origin=PROGRAM, reply_to=replace(question.reply_to, address=to)
        )
        (card,) = (await ponte.ask_message(question)).cards
        content = await ponte.ask_message(on_page(f"approve {card.id}", OWNER))
        assert (content.status, table.applied) == ("failed", [])
        answer = await ponte.ask_message(on_page(f"approve {typed_code(content)}", OWNER))
        assert answer.status == "done"
