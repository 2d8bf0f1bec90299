"""A person asks the same again, or in other words: what stood there is answered no more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.domain.messages import Answer, Message
from core.models.served import Level
from tests.dialogues.decisions import ADA, bot, propose
from tests.dialogues.openai import WITHOUT, open_served_stage
from tests.dialogues.stage import BotHome, RunningBot
from tests.dialogues.test_model_threads import last_heard
from tests.fakes.choices import make_message
from tests.fakes.memory_table import MemoryTable
from tests.fakes.models import EchoModel
from tests.fakes.openai import FakeOpenAI

levels = pytest.mark.parametrize("level", list(WITHOUT))


async def again(stage: RunningBot, old: Message, text: str, key: str) -> Answer:
    return await stage.ask_message(replace(make_message(text, key), replaces=old.turn))


@levels
async def test_the_model_is_told_nothing_of_what_was_replaced(
    theatre: BotHome, level: Level
) -> None:
    async with (
        FakeOpenAI(without=WITHOUT[level]) as fake,
        open_served_stage(theatre, fake) as stage,
    ):
        await stage.ask("My name is Ana.")
        old, receipt = await stage.send("My cat is Tibo.")
        await stage.wait_for_answer(receipt)
        answer = await again(stage, old, "My cat is Tobi.", "again-1")
        assert answer.text.endswith("My cat is Tobi.")
        fake.conversations = {  # what was given up is erased later
            id: one for id, one in fake.conversations.items() if "Tobi" in str(one.items)
        }
        await stage.ask("What is my cat called?")
        heard = last_heard(fake)
        assert ("Ana" in heard, "Tobi" in heard, "Tibo" in heard) == (True, True, False)
        shown = await stage.engine.records.journal.list_entries("web:C1")
        assert [one.message.text for one in shown] == [
            "My name is Ana.", "My cat is Tobi.", "What is my cat called?",
        ]  # fmt: skip


async def test_what_it_proposed_is_withdrawn(theatre: BotHome) -> None:
    table = MemoryTable()
    async with bot(theatre, table) as stage:
        old, receipt = await stage.send('call table_create {"rows": [{"Name": "Ada"}]}')
        card = (await stage.wait_for_answer(receipt)).cards[0]
        await again(stage, old, "no, never mind", "again-1")
        assert (await stage.engine.changes.ledger.get(card.id)).state == "withdrawn"
        refused = await stage.ask(f"approve {card.id}")
        assert (refused.text.startswith("Withdrawn"), table.rows) == (True, {})


async def test_what_was_decided_stays_and_is_not_proposed_twice(theatre: BotHome) -> None:
    table, model = MemoryTable(), EchoModel()
    async with bot(theatre, table, model=model) as stage:
        card = await propose(stage, "table_create", rows=[ADA])
        await stage.ask(f"approve {card.id}")
        [old] = [one.message for one in await stage.engine.records.journal.list_entries("web:C1")]
        answer = await again(stage, old, old.text, "again-1")
        assert answer.cards == ()
        assert "done already" in str(model.asks[-1].input), answer.text
        shown = await stage.engine.records.journal.list_entries("web:C1")
        assert [one.turn for one in shown] == [old.turn, shown[-1].turn]
        assert table.rows == {"1": ADA}
