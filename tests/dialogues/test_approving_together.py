"""Several cards of one turn that one press approves, in their order, up to the first that fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace

from adapters.discord.card_embeds import MAX_CUSTOM_ID_CHARACTERS, build_buttons, read_press
from adapters.slack.render import cards_blocks
from core.changes.approval import TableRule, TableRules
from core.chat.buttons import offer_together
from core.domain.messages import Card
from tests.dialogues.bot_home import BotHome, RunningBot, also_on_postgres
from tests.dialogues.decisions import BOSS, OTHER, RIGHTS, bot, says
from tests.fakes.memory_table import MemoryTable


def three_people() -> MemoryTable:
    return MemoryTable({id: {"Name": f"N{id}"} for id in "123"})


def calls(*ids: str) -> str:
    lines = [{"rows": {id: {"Name": f"new {id}"}}} for id in ids]
    return "\n".join(f"call table_update {json.dumps(line)}" for line in lines)


async def propose_three(ponte: RunningBot) -> Sequence[Card]:
    answer = await says(ponte, calls("1", "2", "3"), "k1")
    assert [card.state for card in answer.cards] == ["open"] * 3
    return answer.cards


def press(cards: Sequence[Card]) -> str:
    offer = offer_together(cards)
    assert offer
    return f"approve {offer.subject}"


def names(table: MemoryTable) -> list[str]:
    return [table.rows[id]["Name"] for id in "123"]


@also_on_postgres
async def test_one_press_approves_them_in_their_order(bot_home: BotHome) -> None:
    table = three_people()
    async with bot(bot_home, table, policy=RIGHTS) as ponte:
        cards = await propose_three(ponte)
        answer = await says(ponte, press(cards), "k2", clicked=True)
        lines = [
            f"- `{card.id}`: Approved by Mia. Done.\n  - N{n}: Name new {n}"
            for n, card in enumerate(cards, 1)
        ]
        assert answer.text == "\n".join(lines)
        assert (answer.has_own_post, names(table)) == (True, ["new 1", "new 2", "new 3"])
        again = await says(ponte, press(cards), "k3", clicked=True)
        assert again.status == "failed"
        assert all(card.id in again.text for card in cards)
        audit_lines = (await ponte.engine.people.audit.read())[0][::-1]
    assert len(table.applied) == 3
    decisions = [(line["change"], line["event"]) for line in audit_lines[3:]]
    events = ("change-approved", "change-done")
    assert decisions == [(card.id, event) for card in cards for event in events]


async def test_one_that_is_not_as_shown_refuses_the_press(bot_home: BotHome) -> None:
    """And a program approves none."""
    table = three_people()
    async with bot(bot_home, table, policy=RIGHTS) as ponte:
        first, second, third = await propose_three(ponte)
        (theirs,) = (await says(ponte, calls("3"), "k2", OTHER, thread="tU1")).cards
        of_another = replace(theirs, seq=first.seq)
        for last in (of_another, replace(third, revision=2), third):
            if last is third:
                await says(ponte, f"deny {third.id}", "k3")
            key = f"k-{last.id}.{last.revision}"
            reply = await says(ponte, press((first, second, last)), key, clicked=True)
            assert reply.status == "failed"
            assert last.id in reply.text
            assert first.id not in reply.text
        program = replace(BOSS, is_bot=True)
        answer = await says(ponte, press((first, second)), "k4", program, clicked=True)
        assert answer.code == "forbidden"
    assert table.applied == []


async def test_it_stops_at_the_first_that_fails(bot_home: BotHome) -> None:
    table = three_people()
    async with bot(bot_home, table, policy=RIGHTS) as ponte:
        cards = await propose_three(ponte)
        table.rows["2"]["Name"] = "moved"
        answer = await says(ponte, press(cards), "k2", clicked=True)
        first, written, second, third = answer.text.splitlines()
        assert written == "  - N1: Name new 1"
        assert first == f"- `{cards[0].id}`: Approved by Mia. Done."
        assert second.startswith(f"- `{cards[1].id}`: Approved by Mia. Nothing was changed.")
        assert third == f"- Not approved yet: `{cards[2].id}`."
        assert (await ponte.engine.changes.ledger.get(cards[2].id)).state == "open"
    assert names(table) == ["new 1", "moved", "N3"]


@also_on_postgres
async def test_the_event_goes_on_after_a_crash_and_does_nothing_twice(bot_home: BotHome) -> None:
    table = three_people()
    async with bot(bot_home, table, policy=RIGHTS) as ponte:
        cards = await propose_three(ponte)
        table.gate = asyncio.Event()
        waiting = asyncio.create_task(says(ponte, press(cards), "k2", clicked=True))
        await table.reached.wait()
        draining = asyncio.create_task(ponte.engine.drain(0))
        await asyncio.sleep(0)
        table.gate.set()
        await draining
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert len(table.applied) < 3
    async with bot(bot_home, table, policy=RIGHTS) as ponte:
        answer = await says(ponte, press(cards), "k2", clicked=True)
        assert answer.text.count("Approved by Mia. Done.") == 3
    assert table.applied == [("update", 1)] * 3


async def test_a_press_is_one_approval_of_each_where_two_are_needed(bot_home: BotHome) -> None:
    table = three_people()
    rule = TableRule(approvers=frozenset({"slack:U1", "slack:U2"}), approvals=2)
    async with bot(bot_home, table, policy=RIGHTS, rules=TableRules({"People": rule})) as ponte:
        cards = await propose_three(ponte)
        first = await says(ponte, press(cards), "k2", clicked=True)
        assert first.text.count("1 of 2 approvals, by Mia.") == 3
        assert table.applied == []
        second = await says(ponte, press(cards), "k3", OTHER, clicked=True, thread="tU1")
        assert second.text.count("Done.") == 3
    assert names(table) == ["new 1", "new 2", "new 3"]


async def test_a_person_types_the_ids(bot_home: BotHome) -> None:
    table = three_people()
    async with bot(bot_home, table) as ponte:
        cards = (await ponte.ask(calls("1", "2"))).cards
        answer = await ponte.ask(f"approve {cards[0].id} {cards[1].id}")
        assert answer.text.count("Done.") == 2, answer.text
    assert names(table) == ["new 1", "new 2", "N3"]


def card(number: int, text: str = "Requested by Mia.") -> Card:
    id = f"abcd{number // 6 + 2}{number % 6 + 2}"
    return Card(id, "proposal", "Create", text, (), ("approve", "deny"), is_whole=True, seq=1)


def slack_button(cards: Sequence[Card]) -> str:
    blocks = [block for block in cards_blocks(cards) if block.get("block_id") == "ponte_together"]
    return str(blocks[0]["elements"][0]["value"]) if blocks else ""


def discord_button(cards: Sequence[Card]) -> str:
    ids = [str(getattr(item, "custom_id", "")) for item in build_buttons(cards).children]
    assert max(map(len, ids)) <= MAX_CUSTOM_ID_CHARACTERS
    return dict(map(read_press, ids)).get("together", "")


def test_the_button_is_offered_for_open_cards_that_are_whole() -> None:
    cards = [card(number) for number in range(5)]
    outcome = replace(card(7), state="done", actions=("undo",), is_whole=False)
    variant = replace(cards[1], revision=9999)
    for view, ids in (
        (cards, [each.press_id for each in cards]),
        ([cards[0], variant, outcome], [cards[0].id, variant.press_id]),
        ([cards[0], outcome], []),
        ([cards[0], replace(cards[1], seq=2)], []),
        ([cards[0], replace(cards[1], actions=("deny",))], []),
        ([cards[0], cards[1], card(2, "x" * 20_000)], []),
    ):
        assert slack_button(view).split() == ids
        assert discord_button(view).split() == ids
    assert discord_button([card(number) for number in range(6)]) == "", "one isn't in the message"
