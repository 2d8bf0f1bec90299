"""A person decides, and sees what was done."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from core.messages import Answer, Card, Person
from core.ports import Policy
from tests.dialogues.stage import Stage, Theatre
from tests.fakes.choices import ANA
from tests.fakes.memory_table import MemoryTable

BOB = Person("web", "bob", name="Bob")
ADA = {"Name": "Ada", "Status": "Lead"}


@asynccontextmanager
async def bot(
    theatre: Theatre, table: MemoryTable, policy: Policy | None = None, **more: Any
) -> AsyncIterator[Stage]:
    async with theatre.open(sources=[table], appliers=[table], policy=policy, **more) as stage:
        yield stage


async def proposed(stage: Stage, tool: str, person: Person = ANA, **arguments: Any) -> Card:
    answer = await stage.said(f"call {tool} {json.dumps(arguments)}", person=person)
    assert [card.state for card in answer.cards] == ["open"], answer.text
    return answer.cards[0]


def words(answer: Answer) -> str:
    return f"{answer.status}: {answer.text}"


async def test_nothing_is_changed_before_a_person_approves(theatre: Theatre) -> None:
    table = MemoryTable()
    async with bot(theatre, table) as stage:
        card = await proposed(stage, "table_create", rows=[ADA])
        assert (card.title, card.kind) == ("Create a row in People", "proposal")
        assert card.rows == ({"before": None, "after": ADA},)
        assert card.actions == ("approve", "deny")
        assert table.rows == {}
        done = await stage.said(f"approve {card.id}")
        assert words(done).startswith("done: Approved by Ana. Done. New rows: 1.")
        assert f"`undo {card.id}`" in done.text
        assert table.rows == {"1": ADA}
