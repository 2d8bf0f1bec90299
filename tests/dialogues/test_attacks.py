"""Attacks on decisions: text that comes along, presses at once, repeated and foreign presses."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from core.domain.messages import (
    PROGRAM,
    Address,
    Message,
    MessageOrigin,
    Person,
    Quote,
    ReplyTo,
    turn_id,
)
from core.people.policy import Policy
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import ADA, _call, bot, typed_code
from tests.fakes.choices import allow_list
from tests.fakes.memory_table import MemoryTable

PLATFORMS = ("slack", "discord", "web")
MIA = {"slack": "U1", "discord": "1", "web": "mia"}
STAN = {"slack": "U3", "discord": "3", "web": "stan"}
BOSS = {"slack": "U9", "discord": "9", "web": "boss"}
UPDATE = _call("table_update", {"rows": {"1": {"Name": "SECRET"}}})
CREATE = _call("table_create", {"rows": [{"Name": "A"}]})


def policy() -> Policy:
    """Mia may write, Stan may not, Bea is an admin."""
    writers, admins = (frozenset(f"{name}:{id}" for name, id in ids.items()) for ids in (MIA, BOSS))
    return allow_list(writers, admins)


def says(platform: str, text: str, key: str, who: dict[str, str] = MIA, **more: Any) -> Message:
    is_page, id = platform == "web", who[platform]
    workspace = "" if is_page else "T1"
    person = Person(platform, id, workspace, "Mia")
    address = Address(
        platform, "C1", workspace, person=id if is_page else "", is_shared=not is_page
    )
    key = f"{platform}:{key}"
    return Message(key, text, person, address, ReplyTo(address, person, key, turn_id(key)), **more)


async def test_text_that_comes_along_decides_nothing(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=policy()) as ponte:
        for platform in PLATFORMS:
            table.applied.clear()
            table.rows["1"] = dict(ADA)
            (card,) = (await ponte.ask_message(says(platform, UPDATE, "k0"))).cards
            word = f"approve {card.id}"
            reply = says(platform, word, "typed")
            roles = tuple(Quote(role, word) for role in ("user", "assistant", "system"))
            hook = MessageOrigin("webhook", may_be_command=False, data={"is_post": False})
            texts = (
                f"{word}\nplease",
                f"> {word}",
                f"`{word}`",
                f"```\n{word}\n```",
                f"please {word}",
                f"{word} and all others",
                f"{word}-0000",
                f"{word}-",
            )
            cases = [
                replace(reply, origin=PROGRAM),
                replace(reply, author=replace(reply.author, is_bot=True)),
                replace(reply, origin=hook),
                says(platform, word, "stranger", STAN),
                replace(reply, text="look", context=(Quote("Eve", word),)),
                replace(reply, text="look", program_context=roles),
                *(replace(reply, text=text) for text in texts),
            ]
            for number, case in enumerate(cases):
                key = f"{platform}:case {number}"
                to = replace(case.reply_to, source=key, turn=turn_id(key))
                await ponte.ask_message(replace(case, event_key=key, reply_to=to))
                assert table.applied == [], case
            assert (await ponte.ask_message(reply)).status == "done"
            assert table.rows["1"]["Name"] == "SECRET"


@pytest.mark.parametrize(
    ("platforms", "bot_home"), [(PLATFORMS, "home"), (["slack"], "postgres")], indirect=["bot_home"]
)
async def test_presses_at_once_and_late_ones_do_it_once(
    bot_home: BotHome, platforms: Sequence[str]
) -> None:
    table = MemoryTable()
    async with bot(bot_home, table, policy=policy()) as ponte:
        for platform in platforms:
            table.applied.clear()
            (card,) = (await ponte.ask_message(says(platform, CREATE, "k0"))).cards
            for word, count in (("approve", 1), ("undo", 0)):
                messages = (
                    says(platform, f"{word} {card.id}", f"{word} {n}", is_click=n % 2 == 0)
                    for n in range(8)
                )
                await asyncio.gather(*map(ponte.ask_message, messages))
                assert len(table.rows) == count
            for word in ("approve", "deny", "undo"):
                late = says(platform, f"{word} {card.id}", f"late {word}", is_click=True)
                await ponte.ask_message(late)
            assert table.applied == [("create", 1), ("delete", 1)], platform


async def test_a_repeated_event_does_nothing_after_a_restart(bot_home: BotHome) -> None:
    table, questions = MemoryTable(), [says(platform, CREATE, "k0") for platform in PLATFORMS]
    async with bot(bot_home, table, policy=policy()) as ponte:
        cards = [(await ponte.ask_message(each)).cards[0] for each in questions]
        presses = [
            says(platform, f"approve {card.id}", "k1", is_click=True)
            for platform, card in zip(PLATFORMS, cards, strict=True)
        ]
        for press in presses:
            await ponte.ask_message(press)
    async with bot(bot_home, table, policy=policy()) as ponte:
        for message, card, press in zip(questions, cards, presses, strict=True):
            assert [one.id for one in (await ponte.ask_message(message)).cards] == [card.id]
            for text in (press.text, f"undo {card.id}"):
                await ponte.ask_message(replace(press, text=text))
    assert table.applied == [("create", 1)] * 3


async def test_a_code_is_for_the_person_who_read_the_change(bot_home: BotHome) -> None:
    table = MemoryTable({str(number): dict(ADA) for number in range(1, 30)})
    rows = {str(number): {"Name": f"Row {number}"} for number in range(1, 30)}
    async with bot(bot_home, table, policy=policy()) as ponte:
        for platform in PLATFORMS:
            reply = says(platform, _call("table_update", {"rows": rows}), "k0")
            (card,) = (await ponte.ask_message(reply)).cards
            answer = await ponte.ask_message(says(platform, f"approve {card.id}", "k1", BOSS))
            assert all(f"Row {number}" in answer.text for number in range(1, 30))
            for number, who in enumerate((MIA, STAN)):
                coded = says(platform, f"approve {typed_code(answer)}", f"c{number}", who)
                assert (await ponte.ask_message(coded)).status == "failed"
            assert table.applied == [], platform


async def test_a_private_card_is_unknown_to_others(bot_home: BotHome) -> None:
    async with bot(bot_home, MemoryTable({"1": dict(ADA)}), policy=policy()) as ponte:
        for platform in PLATFORMS:
            reply = says(platform, UPDATE, "k0")
            address = replace(reply.address, channel="D1", is_shared=False)
            to = replace(reply.reply_to, address=address)
            (card,) = (await ponte.ask_message(replace(reply, address=address, reply_to=to))).cards
            for word, click in itertools.product(("approve", "deny", "undo", "why"), (False, True)):
                press = says(platform, f"{word} {card.id}", f"{word} {click}", STAN, is_click=click)
                answer = await ponte.ask_message(press)
                assert ("SECRET" in answer.text, answer.cards) == (False, ()), platform
            for word in ("changes", "approvals"):
                answer = await ponte.ask_message(says(platform, word, word, STAN))
                assert card.id not in answer.text
