"""Two changes of one table take turns, also where the table was changed between the two."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from bot.integrations import KINDS
from core.base.errors import Draining, WriteUnsure
from core.changes.apply import ChangeRunner
from core.changes.cards import CardBuilder
from core.changes.ledger import SqlLedger
from core.domain.changes import Change, ChangeStep, Draft, Proposal, RowCheck, RowWrite
from core.domain.messages import Address, Person
from tests.fakes.gate import Gate
from tests.fakes.null_ledger import NullLedger

ANA = Person("slack", "U1", "T1", "Ana")


class OneRow:
    """An `Applier` and its batches on a table of one row; others may come between its reading and
    its writing."""

    name = "one"
    patience = 5.0

    def __init__(self) -> None:
        self.value = "old"
        self.opened = self.batches = 0
        self.is_answer_lost = False
        self.is_late = False
        """Writes take effect only after the next reading of the row."""
        self.late: list[str] = []
        self.gate: Gate | None = None
        """Stops each write before it takes effect."""
        self.fault = ""
        """How each reading fails: it "hangs" or "breaks"."""
        self.written = 0

    def batch(self, draft: Draft) -> int:
        self.batches += 1
        assert self.batches < 10, "the change goes round without end"
        return 10

    def open(self, draft: Draft) -> OneRow:
        self.opened += 1
        return self

    async def check(self, rows: Sequence[RowWrite]) -> Sequence[RowCheck]:
        if self.fault == "breaks":
            raise RuntimeError("a bug")
        if self.fault == "hangs":
            await asyncio.Event().wait()
        now = {"Name": self.value}
        if self.late:
            self.value = self.late.pop()
        await asyncio.sleep(0)
        standing = {str(row.after): "after" for row in rows} | {
            str(row.before): "before" for row in rows
        }
        return [RowCheck(cast(Any, standing.get(str(now), "other")), row, now) for row in rows]

    async def write(self, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        await asyncio.sleep(0)
        if self.gate:
            await self.gate.wait()
        self.written += 1
        name = (rows[0].after or {})["Name"]
        if self.is_late:
            self.late.append(name)
            raise WriteUnsure("It didn't respond in time.")
        self.value = name
        if self.is_answer_lost:
            raise WriteUnsure("The connection broke.")
        return rows

    def revert(self, change: Change) -> Draft:
        return change.draft


def change(name: str, fields: list[str]) -> Change:
    row = RowWrite("1", {"Name": "old"}, {"Name": name})
    target = {"table_id": "m1", "fields": fields}
    draft = Draft("one", "update", target, "People", (row,))
    address = Address("slack", "C1", "T1")
    proposal = Proposal(f"abcd{name}2", draft, ANA, address, 1, "c1", "t1", 0, "en", 1.0, 9.0)
    return replace(Change(proposal), state="applying", steps=(ChangeStep(1, row),))


def make_runner(table: OneRow, ledger: NullLedger) -> ChangeRunner:
    return ChangeRunner(cast(SqlLedger, ledger), {"one": table}, CardBuilder(KINDS))


async def test_a_row_that_two_changes_want_is_one_ones() -> None:
    table = OneRow()
    changes = (change("A", ["Name"]), change("B", ["Name", "Added since"]))
    applying = make_runner(table, NullLedger(*changes))
    first, second = await asyncio.gather(*(applying.run(each) for each in changes))
    assert (first.steps[0].state, second.steps[0].state) == ("done", "changed")
    assert table.value == "A"


async def test_a_write_without_an_answer_is_read_back_by_its_own_batch() -> None:
    """Each batch costs a description of the table."""
    table = OneRow()
    table.is_answer_lost = True
    wanted = change("A", ["Name"])
    done = await make_runner(table, NullLedger(wanted)).run(wanted)
    assert (done.steps[0].state, table.value, table.opened) == ("done", "A", 1)


async def test_a_write_that_takes_effect_after_the_row_was_read_back_is_done() -> None:
    """Not skipped because somebody else had changed the row."""
    table = OneRow()
    table.is_late = True
    wanted = change("A", ["Name"])
    ended = await make_runner(table, NullLedger(wanted)).run(wanted)
    assert (ended.state, ended.steps[0].state) == ("done", "done")
    assert (table.value, table.written) == ("A", 1)


async def test_after_a_stop_no_further_batch_begins_and_the_next_process_goes_on() -> None:
    table, wanted = OneRow(), change("A", ["Name"])
    ledger = NullLedger(wanted)
    stopped = make_runner(table, ledger)
    stopped.stop_batches()
    with pytest.raises(Draining):
        await stopped.run(wanted)
    assert (table.opened, table.value) == (0, "old")
    ended = await make_runner(table, ledger).run(wanted)
    assert (ended.state, table.value) == ("done", "A")


async def test_a_stop_waits_for_the_record_of_a_write_that_nobody_waits_for_any_more() -> None:
    """A turn that is cancelled twice does not wait for its write."""
    table, wanted = OneRow(), change("A", ["Name"])
    table.gate = Gate()
    applying = make_runner(table, NullLedger(wanted))
    turn = asyncio.create_task(applying.run(wanted))
    await table.gate.wait_until_reached()
    for _ in range(2):
        turn.cancel()
        await asyncio.sleep(0)
    await asyncio.wait({turn})
    assert turn.cancelled()
    recorded = asyncio.create_task(applying.wait_for_records())
    await asyncio.sleep(0)
    assert not recorded.done()
    table.gate.release()
    await recorded
    assert (table.value, table.written) == ("A", 1)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("hangs", "The system didn't respond in time."),
        ("breaks", "The tool failed because of a bug in Ponte."),
    ],
)
async def test_a_row_that_cannot_be_read_in_time_or_because_of_a_bug_is_not_written(
    fault: str, words: str
) -> None:
    table, wanted = OneRow(), change("A", ["Name"])
    table.fault, table.patience = fault, 0.0
    ended = await make_runner(table, NullLedger(wanted)).run(wanted)
    (step,) = ended.steps
    assert (ended.state, step.state, table.written) == ("failed", "failed", 0)
    assert step.explanation == f"They could not be read again, so nothing was written. {words}"
