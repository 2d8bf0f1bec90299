"""A person asks the same again, or in other words: what stood there is answered no more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.domain.messages import Answer, Message
from core.models.served_model import Level
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import ADA, bot, propose
from tests.dialogues.openai import WITHOUT, open_served_bot
from tests.dialogues.test_model_threads import last_heard
from tests.fakes.choices import make_message
from tests.fakes.memory_table import MemoryTable
from tests.fakes.models import EchoModel
from tests.fakes.openai import FakeOpenAI

levels = pytest.mark.parametrize("level", list(WITHOUT))


async def again(ponte: RunningBot, old: Message, text: str, key: str) -> Answer:
    return await ponte.ask_message(replace(make_message(text, key), replaced_turn=old.turn))


@levels
async def test_the_model_hears_nothing_of_what_was_replaced(
    bot_home: BotHome, level: Level
) -> None:
    async with FakeOpenAI(without=WITHOUT[level]) as fake, open_served_bot(bot_home, fake) as ponte:
        await ponte.ask("My name is Ana.")
        old, receipt = await ponte.send("My cat is Tibo.")
        await ponte.wait_for_answer(receipt)
        answer = await again(ponte, old, "My cat is Tobi.", "again-1")
        assert answer.text.endswith("My cat is Tobi.")
        fake.conversations = {  # what was given up is erased later
            id: one for id, one in fake.conversations.items() if "Tobi" in str(one.items)
        }
        await ponte.ask("What is my cat called?")
        last_message = last_heard(fake)
        assert ("Ana" in last_message, "Tobi" in last_message, "Tibo" in last_message) == (
            True,
            True,
            False,
        )
        entries = await ponte.engine.conversations.journal.list_entries("web:C1")
        assert [one.message.text for one in entries] == [
            "My name is Ana.",
            "My cat is Tobi.",
            "What is my cat called?",
        ]


async def test_what_it_proposed_is_withdrawn(bot_home: BotHome) -> None:
    table = MemoryTable()
    async with bot(bot_home, table) as ponte:
        old, receipt = await ponte.send('call table_create {"rows": [{"Name": "Ada"}]}')
        card = (await ponte.wait_for_answer(receipt)).cards[0]
        await again(ponte, old, "no, never mind", "again-1")
        assert (await ponte.engine.changes.ledger.get(card.id)).state == "withdrawn"
        answer = await ponte.ask(f"approve {card.id}")
        assert (answer.text.startswith("Withdrawn"), table.rows) == (True, {})


async def test_what_was_decided_stays_and_is_not_proposed_twice(bot_home: BotHome) -> None:
    table, model = MemoryTable(), EchoModel()
    async with bot(bot_home, table, model=model) as ponte:
        card = await propose(ponte, "table_create", rows=[ADA])
        await ponte.ask(f"approve {card.id}")
        [old] = [
            one.message for one in await ponte.engine.conversations.journal.list_entries("web:C1")
        ]
        answer = await again(ponte, old, old.text, "again-1")
        assert answer.cards == ()
        assert "already made, as" in str(model.asks[-1].input), answer.text
        entries = await ponte.engine.conversations.journal.list_entries("web:C1")
        assert [one.turn for one in entries] == [old.turn, entries[-1].turn]
        assert table.rows == {"1": ADA}
