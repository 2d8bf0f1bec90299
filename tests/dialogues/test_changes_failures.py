"""What goes wrong on the way is told row by row, and nothing is written twice."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from core.domain.changes import MAX_PROPOSAL_ROWS
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import ADA, BRUNO, bot, propose, summary
from tests.fakes.memory_table import MemoryTable


async def propose_and_approve(ponte: RunningBot, tool: str, **arguments: Any) -> str:
    card = await propose(ponte, tool, **arguments)
    return summary(await ponte.ask(f"approve {card.id}"))


async def test_a_row_that_was_changed_since_or_is_gone_is_left_alone(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA), "2": dict(BRUNO)})
    async with bot(bot_home, table) as ponte:
        card = await propose(ponte, "table_update", rows={"1": {"Name": "X"}, "2": {"Name": "Y"}})
        proposal = await propose(ponte, "table_update", rows={"1": {"Name": "Z"}})
        table.rows["1"]["Name"] = "somebody's own"
        text = (await ponte.ask(f"approve {card.id}")).text
        assert "Partly done: 1 of 2 rows." in text
        assert "Skipped because it changed after the request: ID 1." in text
        assert (table.rows["1"]["Name"], table.rows["2"]["Name"]) == ("somebody's own", "Y")
        calls = list(table.applied)
        del table.rows["1"]
        assert "Nothing was changed." in (await ponte.ask(f"approve {proposal.id}")).text
    assert table.applied == calls


async def test_one_batch_of_several_is_refused(bot_home: BotHome) -> None:
    """A table that cannot be read is not written."""
    table = MemoryTable({"1": dict(ADA)}, batch=2)
    async with bot(bot_home, table) as ponte:
        table.faults.unread = 1
        reply = await propose_and_approve(ponte, "table_update", rows={"1": {"Name": "X"}})
        unread = "could not be read again, so nothing was written. The table does not answer."
        assert (unread in reply, table.applied) == (True, [])
        card = await propose(ponte, "table_create", rows=[ADA, BRUNO, ADA])
        table.faults.refuse = 1
        reply = (await ponte.ask(f"approve {card.id}")).text
    assert "Partly done: 1 of 3 rows." in reply
    assert "Rejected: 2 of the new rows. The table refuses." in reply
    assert list(table.rows.values()) == [ADA, ADA]


async def test_a_field_that_the_table_ignores_without_a_word(bot_home: BotHome) -> None:
    """And a table that breaks in the middle."""
    table = MemoryTable()
    async with bot(bot_home, table) as ponte:
        rows = [{"Name": "Ada", "Colour": "red"}]
        reply = await propose_and_approve(ponte, "table_create", rows=rows)
        assert "Saved, but the table shows other values for Colour: ID 1." in reply
        assert table.rows == {"1": {"Name": "Ada"}}
        table.faults.breaks = 1
        assert "Result unknown:" in await propose_and_approve(ponte, "table_create", rows=[ADA])


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("table_create", {"rows": [ADA, ADA]}),
        ("table_update", {"rows": {"1": {"Name": "X"}, "2": {"Name": "Y"}}}),
        ("table_delete", {"ids": ["1", "2"]}),
    ],
)
async def test_an_answer_that_was_lost_after_the_write_is_looked_for(
    bot_home: BotHome, tool: str, arguments: dict[str, Any]
) -> None:
    table = MemoryTable({"1": dict(ADA), "2": dict(BRUNO)})
    table.faults.lose = ["after"]
    async with bot(bot_home, table) as ponte:
        assert "Done." in await propose_and_approve(ponte, tool, **arguments)
    assert len(table.applied) == 1, "and not repeated"


async def test_a_lost_write_is_repeated_once_if_it_has_not_happened(bot_home: BotHome) -> None:
    """But a create never is."""
    table = MemoryTable({"1": dict(ADA), "2": dict(ADA)})
    async with bot(bot_home, table) as ponte:
        table.faults.lose = ["before"]
        reply = await propose_and_approve(ponte, "table_create", rows=[ADA])
        assert "Result unknown: 1 of the new rows." in reply
        assert (table.rows, table.applied) == ({"1": ADA, "2": ADA}, [("create", 1)])
        others: dict[str, Any] = {
            "table_update": {"rows": {"1": {"Name": "X"}}},
            "table_delete": {"ids": ["1"]},
        }
        for tool, arguments in others.items():
            table.faults.lose = ["before"]
            table.applied.clear()
            assert "Done." in await propose_and_approve(ponte, tool, **arguments)
            assert len(table.applied) == 2
        table.faults.lose = ["before", "before"]
        reply = await propose_and_approve(ponte, "table_update", rows={"2": {"Name": "X"}})
        assert "Result unknown: ID 2." in reply
    assert len(table.applied) == 4


async def test_two_changes_of_one_row_come_one_after_the_other(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    table.gate = asyncio.Event()
    async with bot(bot_home, table) as ponte:
        first = await propose(ponte, "table_update", rows={"1": {"Name": "first"}})
        second = await propose(ponte, "table_update", rows={"1": {"Name": "second"}})
        _, one = await ponte.send(f"approve {first.id}")
        await table.reached.wait()
        _, two = await ponte.send(f"approve {second.id}")
        table.gate.set()
        assert "Done." in (await ponte.wait_for_answer(one)).text
        assert "Nothing was changed." in (await ponte.wait_for_answer(two)).text
    assert table.rows["1"]["Name"] == "first"


async def test_a_system_that_is_no_longer_connected(bot_home: BotHome) -> None:
    table = MemoryTable()
    async with bot(bot_home, table) as ponte:
        card = await propose(ponte, "table_create", rows=[BRUNO])
        proposal = await propose(ponte, "table_create", rows=[ADA])
        await ponte.ask(f"approve {proposal.id}")
    async with bot_home.open() as ponte:
        text = (await ponte.ask(f"approve {card.id}")).text
        assert "Nothing was changed." in text
        assert "no longer connected" in text
        undo = await ponte.ask(f"undo {proposal.id}")
        words = "The system where the change was made is no longer connected."
        assert (undo.status, undo.text) == ("failed", words)
    async with bot(bot_home, table) as ponte:
        assert "Undone (`" in (await ponte.ask(f"undo {proposal.id}")).text


async def test_a_request_has_at_least_one_row_and_not_too_many(bot_home: BotHome) -> None:
    many = json.dumps({"rows": [ADA] * (MAX_PROPOSAL_ROWS + 1)})
    async with bot(bot_home, MemoryTable()) as ponte:
        for call, words in (
            ('update {"rows": {}}', "No row matches, so there is nothing to change."),
            (f"create {many}", f"That's 101 rows. The maximum is {MAX_PROPOSAL_ROWS} per request."),
        ):
            answer = await ponte.ask(f"call table_{call}")
            assert (words in answer.text, answer.cards) == (True, ()), answer.text


async def test_without_its_audit_line_nothing_is_changed(bot_home: BotHome) -> None:
    table = MemoryTable()
    async with bot(bot_home, table) as ponte:
        card = await propose(ponte, "table_create", rows=[ADA])
        database = ponte.engine.stores.database
        await database.write(
            lambda c: c.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no'); END"
            ).close()
        )
        assert (await ponte.ask(f"approve {card.id}")).status == "failed"
        assert table.applied == []
        await database.write(lambda c: c.execute("DROP TRIGGER refuse").close())
        assert "Done." in (await ponte.ask(f"approve {card.id}")).text
