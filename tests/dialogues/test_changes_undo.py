"""What was done is taken back, where it still stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.domain.changes import UNDO_LIFETIME_SECONDS
from core.domain.messages import Answer
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import ADA, BRUNO, bot, propose
from tests.fakes.memory_table import MemoryTable


async def propose_and_approve(ponte: RunningBot, tool: str, **arguments: Any) -> str:
    card = await propose(ponte, tool, **arguments)
    assert "Done." in (await ponte.ask(f"approve {card.id}")).text
    return card.id


def undo_of(answer: Answer) -> str:
    assert answer.text.startswith("Undone (`"), answer.text
    return answer.text.split("`")[1]


@pytest.mark.parametrize(
    ("tool", "arguments", "after"),
    [
        ("table_create", {"rows": [ADA, ADA, BRUNO]}, 5),
        ("table_update", {"rows": {"1": {"Name": "X"}, "2": {"Value": 9}}}, 2),
        ("table_delete", {"ids": ["1", "2"]}, 0),
    ],
)
async def test_each_kind_of_change_can_be_undone(
    bot_home: BotHome, tool: str, arguments: dict[str, Any], after: int
) -> None:
    """A second undo says what the first one did."""
    table = MemoryTable({"1": dict(ADA), "2": dict(BRUNO)})
    async with bot(bot_home, table) as ponte:
        id = await propose_and_approve(ponte, tool, **arguments)
        assert len(table.rows) == after
        assert table.rows != {"1": ADA, "2": BRUNO}
        undo = undo_of(await ponte.ask(f"undo {id}"))
        assert sorted(row["Name"] for row in table.rows.values()) == ["Ada", "Bruno"]
        calls = list(table.applied)
        again = await ponte.ask(f"undo {id}")
        assert again.text.startswith(f"`{id}` was already undone (`{undo}`).")
        assert table.applied == calls


async def test_a_change_can_be_undone_for_seven_days(bot_home: BotHome) -> None:
    """Also before the upkeep comes by, and after it."""
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table) as ponte:
        id = await propose_and_approve(ponte, "table_update", rows={"1": {"Name": "X"}})
        bot_home.clock.now += UNDO_LIFETIME_SECONDS
        words = "This change can no longer be undone: changes can be undone for 7 days."
        assert (await ponte.ask(f"undo {id}")).text == words
        await ponte.engine.changes.ledger.erase_old_rows(bot_home.clock.now + 1)
        assert (await ponte.ask(f"undo {id}")).text == words
        (card,) = await ponte.engine.changes.views.cards([id])
        assert (card.actions, card.rows) == ((), ())
        assert card.text == f"Approved by Ana. {words}"
    assert table.rows["1"]["Name"] == "X"


async def test_an_undo_is_a_change_and_can_be_undone(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table) as ponte:
        id = await propose_and_approve(ponte, "table_update", rows={"1": {"Name": "X"}})
        undo = undo_of(await ponte.ask(f"undo {id}"))
        assert undo != id
        assert table.rows["1"]["Name"] == "Ada"
        again = await ponte.ask(f"undo {undo}")
        assert f"The change `{id}` is in effect again" in again.text
        undo_of(again)
        assert table.rows["1"]["Name"] == "X"
        assert (await ponte.ask("changes")).text.count("\n- ") == 3


async def test_what_was_changed_since_is_left_alone(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA), "2": dict(BRUNO)})
    async with bot(bot_home, table) as ponte:
        id = await propose_and_approve(
            ponte, "table_update", rows={"1": {"Name": "X"}, "2": {"Name": "Y"}}
        )
        table.rows["2"]["Name"] = "somebody's own"
        undone = await ponte.ask(f"undo {id}")
        assert "Partly done: 1 of 2 rows." in undone.text
        assert "Skipped because it changed after the request: ID 2." in undone.text
        assert (table.rows["1"]["Name"], table.rows["2"]["Name"]) == ("Ada", "somebody's own")
        (undo, change) = await ponte.engine.changes.views.find_latest("web:C1")
        assert (undo.state, change.state, change.actions) == ("partial", "done", ())
        assert f"See {undo.id}" in change.text


async def test_an_undo_that_did_nothing_may_be_tried_again(bot_home: BotHome) -> None:
    table = MemoryTable()
    async with bot(bot_home, table) as ponte:
        card = await propose(ponte, "table_create", rows=[ADA])
        text = await ponte.ask(f"undo {card.id}")
        assert text.text == "There is nothing to undo. Waiting for approval."
        await ponte.ask(f"deny {card.id}")
        assert "Denied by Ana" in (await ponte.ask(f"undo {card.id}")).text
        id = await propose_and_approve(ponte, "table_create", rows=[ADA])
        table.faults.refuse = 1
        answer = await ponte.ask(f"undo {id}")
        assert f"Not undone: `{id}` is unchanged." in answer.text
        assert "The table refuses." in answer.text
        undo_of(await ponte.ask(f"undo {id}"))
        assert table.rows == {}


async def test_forgotten_rows_cannot_be_brought_back(bot_home: BotHome, tmp_path: Path) -> None:
    table = MemoryTable({"1": {"Name": "Secret Person"}})
    async with bot(bot_home, table) as ponte:
        id = await propose_and_approve(ponte, "table_delete", ids=["1"])
        open_ = await propose(ponte, "table_create", rows=[{"Name": "Another Secret"}])
        await ponte.ask("forget")
        answer = await ponte.ask(f"undo {id}")
        words = "This change can no longer be undone, because `forget` deleted its rows."
        assert answer.text == words
        withdrawal = await ponte.ask(f"approve {open_.id}")
        assert withdrawal.text == "Withdrawn because its conversation was deleted."
    assert table.rows == {}
    for path in bot_home.home.rglob("*"):
        if path.is_file():
            assert b"Secret" not in path.read_bytes(), path
