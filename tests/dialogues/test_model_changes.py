"""A real model proposes, people decide, and the model hears of it on every level."""

from __future__ import annotations

import json

import pytest

from core.domain.messages import NOTE_NAME, Item
from core.models.input import answered, starts
from core.models.served import Level
from tests.dialogues.openai import WITHOUT, served
from tests.dialogues.stage import Theatre
from tests.dialogues.test_model_threads import last_heard
from tests.fakes.memory_table import MemoryTable
from tests.fakes.openai import FakeOpenAI, Script

levels = pytest.mark.parametrize("level", list(WITHOUT))
CALL = ("table_create", json.dumps({"rows": [{"Name": "Ada"}]}))


@levels
async def test_it_goes_on_from_what_was_decided(theatre: Theatre, level: Level) -> None:
    table = MemoryTable()
    async with FakeOpenAI(without=WITHOUT[level]) as fake:
        fake.say(Script(text="I have added her.", calls=(CALL,), match="add ada"))
        async with served(theatre, fake, [table], appliers=[table]) as stage:
            asked = await stage.said("Please add Ada")
            (card,) = asked.cards
            assert "I have added her" not in asked.text, "the card speaks, not the model"
            assert table.rows == {}
            await stage.said(f"approve {card.id}")
            told = await stage.said("Is it done?")
            assert told.text.endswith("Is it done?")
            heard = last_heard(fake)
            assert f"Proposed as {card.id}: nothing is changed yet." in heard
            assert f"A note from Ponte itself, not from a person. Proposal {card.id}" in heard
            assert "Approved by Ana. Done. New rows: 1." in heard
        assert not [error for kind, error in fake.emitted if kind == "error" and error["code"]]
    assert table.rows == {"1": {"Name": "Ada"}}


@levels
async def test_also_when_another_process_goes_on(theatre: Theatre, level: Level) -> None:
    table = MemoryTable()
    async with FakeOpenAI(without=WITHOUT[level]) as fake:
        fake.say(Script(calls=(CALL,), match="add ada"))
        async with served(theatre, fake, [table], appliers=[table]) as stage:
            (card,) = (await stage.said("Please add Ada")).cards
        async with served(theatre, fake, [table], appliers=[table]) as stage:
            await stage.said(f"deny {card.id}")
        async with served(theatre, fake, [table], appliers=[table]) as stage:
            await stage.said("Is it done?")
            assert "Denied by Ana." in last_heard(fake)
    assert table.rows == {}


def test_a_note_belongs_to_the_turn_after_it() -> None:
    def said(text: str, name: str = "Ana") -> Item:
        return Item("message", role="user", text=text, name=name)

    answer = Item("message", role="assistant", text="yes")
    thread = [
        said("one"),
        answer,
        said("first", NOTE_NAME),
        said("second", NOTE_NAME),
        said("two"),
        answer,
    ]
    assert starts(thread) == [0, 2]
    assert answered(thread) == thread
