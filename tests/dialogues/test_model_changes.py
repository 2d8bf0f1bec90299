"""A real model proposes, people decide, and the model hears of it on every level."""

from __future__ import annotations

import json

import pytest

from core.domain.messages import NOTE_NAME, Item
from core.models.model_input import drop_unanswered_turns, find_turn_starts
from core.models.served_model import Level
from tests.dialogues.bot_home import BotHome
from tests.dialogues.openai import WITHOUT, open_served_bot
from tests.dialogues.test_model_threads import last_heard
from tests.fakes.memory_table import MemoryTable
from tests.fakes.openai import FakeOpenAI, Script

levels = pytest.mark.parametrize("level", list(WITHOUT))
CALL = ("table_create", json.dumps({"rows": [{"Name": "Ada"}]}))


@levels
async def test_the_model_reads_the_decision_next_turn(bot_home: BotHome, level: Level) -> None:
    """Also after restarts."""
    table = MemoryTable()
    async with FakeOpenAI(without=WITHOUT[level]) as fake:
        fake.say(Script(text="I have added her.", calls=(CALL,), match="add ada", times=2))
        async with open_served_bot(bot_home, fake, [table], appliers=[table]) as ponte:
            answer = await ponte.ask("Please add Ada")
            (card,) = answer.cards
            assert "I have added her" not in answer.text, "the card speaks, not the model"
            assert table.rows == {}
            await ponte.ask(f"approve {card.id}")
            text = await ponte.ask("Is it done?")
            assert text.text.endswith("Is it done?")
            last_message = last_heard(fake)
            assert f"Proposed as {card.id}: nothing is changed yet." in last_message
            assert (
                f"A note from Ponte itself, not from a person. Proposal {card.id}" in last_message
            )
            assert "Approved by Ana. Done. Row ids: 1." in last_message
            (card,) = (await ponte.ask("Please add Ada")).cards
        async with open_served_bot(bot_home, fake, [table], appliers=[table]) as ponte:
            await ponte.ask(f"deny {card.id}")
        async with open_served_bot(bot_home, fake, [table], appliers=[table]) as ponte:
            await ponte.ask("Is it done?")
            assert "Denied by Ana." in last_heard(fake)
        assert not [error for kind, error in fake.emitted if kind == "error" and error["code"]]
    assert table.rows == {"1": {"Name": "Ada"}}


def test_a_note_belongs_to_the_turn_after_it() -> None:
    def user_item(text: str, name: str = "Ana") -> Item:
        return Item("message", role="user", text=text, name=name)

    answer = Item("message", role="assistant", text="yes")
    notes = [user_item("first", NOTE_NAME), user_item("second", NOTE_NAME)]
    thread = [user_item("one"), answer, *notes, user_item("two"), answer]
    assert find_turn_starts(thread) == [0, 2]
    assert drop_unanswered_turns(thread) == thread


@pytest.mark.parametrize("kinds", [{"one_id"}, {"one_id", "one_index"}, {"no_ids"}, {"all"}])
async def test_two_changes_with_one_id_are_two_cards(bot_home: BotHome, kinds: set[str]) -> None:
    """Each card applies its own row (llama.cpp, Kimi, Bedrock: one id for every call)."""
    table = MemoryTable()
    calls = tuple(("table_create", json.dumps({"rows": [{"Name": n}]})) for n in ("Ada", "Bob"))
    async with FakeOpenAI(without=WITHOUT["chat"]) as fake:
        fake.odd = kinds
        fake.say(Script(calls=calls, match="add"))
        async with open_served_bot(bot_home, fake, [table], appliers=[table]) as ponte:
            cards = (await ponte.ask("Please add Ada and Bob")).cards
            assert len({card.id for card in cards}) == 2
            await ponte.ask(f"approve {cards[1].id}")
            assert list(table.rows.values()) == [{"Name": "Bob"}]
            await ponte.ask(f"approve {cards[0].id}")
    assert list(table.rows.values()) == [{"Name": "Bob"}, {"Name": "Ada"}]
