"""Anything in any order, with a crash anywhere: the ledger says what the table holds.

Each value that is ever proposed is a word of its own, so that one can tell which step wrote it.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bot.integrations import KINDS, PLATFORM_RIGHTS
from core.changes.apply import ChangeRunner
from core.changes.approval import Approval
from core.changes.cards import CardBuilder
from core.changes.decide import Decisions
from core.changes.lifecycle import ChangeLifecycle
from core.changes.undo import Undo
from core.changes.views import ChangeViews
from core.domain.changes import (
    Change,
    ChangeStep,
    DecisionRequest,
    Draft,
    Proposal,
    RowWrite,
    new_change_id,
)
from core.domain.errors import ToolError, WriteUnsure
from core.domain.messages import Address, ChangeAction, Person
from core.rights.audit import Audit
from core.store.changes import SqlLedger
from tests.contract.engines import Embedded
from tests.fakes.choices import ANA, allow_list, make_message
from tests.fakes.memory_table import MemoryTable

T = TypeVar("T")
HERE = Address("web", "C1")
FAULTS = st.lists(
    st.sampled_from(
        [
            *("none", "refuse", "late", "lost before", "lost after"),
            *("crash before", "crash after"),
        ]
    ),
    max_size=3,
)


class Crash(BaseException):
    """kill -9: nothing after it runs."""


class Table(MemoryTable):
    """`plan` is what the next calls end in; `wrote` every value that came into the table."""

    def __init__(self) -> None:
        super().__init__({}, batch=2)
        self.plan: list[str] = []
        self.wrote: list[str] = []
        self.trampled: list[RowWrite] = []
        """Rows that were written over what somebody else had made of them."""
        self.late: list[tuple[Draft, Sequence[RowWrite]]] = []

    async def apply(self, draft: Draft, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        fault = self.plan.pop(0) if self.plan else "none"
        match fault:
            case "crash before":
                raise Crash
            case "refuse":
                raise ToolError("The table refuses.")
            case "lost before":
                raise WriteUnsure("The connection broke.")
            case "late":
                self.late.append((draft, rows))
                raise WriteUnsure("The connection broke.")
        written = self.effect(draft, rows)
        if fault == "crash after":
            raise Crash
        if fault == "lost after":
            raise WriteUnsure("The connection broke.")
        return written

    def effect(self, draft: Draft, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        for row in rows:
            now = self.rows.get(row.id, {})
            if any(now.get(name) != value for name, value in (row.before or {}).items()):
                self.trampled.append(row)
        self.wrote += [str(row.after["Name"]) for row in rows if row.after]
        return [self.write(draft.kind, row) for row in rows]

    def arrive(self) -> None:
        """What was on its way all the time."""
        for draft, rows in self.late:
            if draft.kind == "create":
                self.effect(draft, rows)
        self.late = []


class NoAudit(Audit):
    def __init__(self) -> None:
        pass

    async def write(
        self, event: str, change: Change, rule: str = "", by: Person | None = None
    ) -> None:
        return None

    def note(self, event: str, asker: Person, address: Address | None = None, **_: str) -> None:
        return None


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.table = Table()
        self.words = (f"w{n}" for n in itertools.count())
        self.keys = (f"k{n}" for n in itertools.count())
        self.states: dict[str, str] = {}
        self.engine = self.run(Embedded.open(Path(self.folder.name)))
        self.ledger = SqlLedger(self.engine.database)
        self.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def start(self) -> None:
        """A new process over the same file."""
        appliers = {self.table.name: self.table}
        builder = CardBuilder(KINDS)
        runner = ChangeRunner(self.ledger, appliers, builder)
        lifecycle = ChangeLifecycle(
            self.ledger, runner, builder, NoAudit(), lambda: None, lambda: 0.0
        )
        approval = Approval(allow_list(), KINDS, platforms=PLATFORM_RIGHTS)
        views = ChangeViews(self.ledger, approval, builder, lambda: 0.0)
        self.decisions = Decisions(
            self.ledger, approval, views, lifecycle, appliers, Undo(views, lifecycle, appliers)
        )

    def teardown(self) -> None:
        self.run(self.engine.close())
        self.runner.close()
        self.folder.cleanup()

    def propose(self, kind: Any, rows: list[RowWrite]) -> None:
        draft = Draft(self.table.name, kind, {}, "People", tuple(rows))
        proposal = Proposal(
            new_change_id(), draft, ANA, HERE, 1, next(self.keys), "t1", 0, "en", 0.0, 1.0
        )
        self.states[self.run(self.ledger.propose(proposal)).id] = "open"

    def some_rows(self, data: st.DataObject) -> list[str]:
        ids = sorted(self.table.rows)
        return data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=5, unique=True))

    @rule(count=st.integers(1, 5))
    def propose_a_create(self, count: int) -> None:
        self.propose("create", [RowWrite(after={"Name": next(self.words)}) for _ in range(count)])

    @precondition(lambda self: self.table.rows)
    @rule(data=st.data())
    def propose_an_update(self, data: st.DataObject) -> None:
        rows = [(id, dict(self.table.rows[id])) for id in self.some_rows(data)]
        self.propose("update", [RowWrite(id, row, {"Name": next(self.words)}) for id, row in rows])

    @precondition(lambda self: self.table.rows)
    @rule(data=st.data())
    def propose_a_delete(self, data: st.DataObject) -> None:
        rows = [RowWrite(id, dict(self.table.rows[id])) for id in self.some_rows(data)]
        self.propose("delete", rows)

    @precondition(lambda self: self.table.rows)
    @rule(data=st.data(), gone=st.booleans())
    def somebody_changes_a_row(self, data: st.DataObject, gone: bool) -> None:
        id = data.draw(st.sampled_from(sorted(self.table.rows)))
        if gone:
            del self.table.rows[id]
        else:
            self.table.rows[id] = {"Name": f"own-{next(self.words)}"}

    @precondition(lambda self: self.of("open"))
    @rule(data=st.data(), plan=FAULTS)
    def approve(self, data: st.DataObject, plan: list[str]) -> None:
        self.decide("approve", data.draw(st.sampled_from(self.of("open"))), plan)

    @precondition(lambda self: self.of("done", "partial"))
    @rule(data=st.data(), plan=FAULTS)
    def undo(self, data: st.DataObject, plan: list[str]) -> None:
        self.decide("undo", data.draw(st.sampled_from(self.of("done", "partial"))), plan)

    @precondition(lambda self: self.states)
    @rule(data=st.data(), action=st.sampled_from(["approve", "deny", "undo"]))
    def anything(self, data: st.DataObject, action: ChangeAction) -> None:
        self.decide(action, data.draw(st.sampled_from(list(self.states))), [])

    def of(self, *states: str) -> list[str]:
        return [id for id, state in self.states.items() if state in states]

    def decide(self, action: ChangeAction, id: str, plan: list[str]) -> None:
        """The same event, in the next process, until it has its answer."""
        event = self.run(self.engine.inbox.accept(make_message(f"{action} {id}", next(self.keys))))
        self.table.plan = list(plan)
        while True:
            try:
                self.run(self.decisions.decide(action, DecisionRequest(id, event.seq, ANA, HERE)))
                break
            except Crash:
                self.start()
        self.table.plan = []
        self.table.arrive()
        self.run(self.engine.end(event.seq))
        known = self.run(self.ledger.list_of_conversation("", 1000))
        self.states = {change.id: change.state for change in known}

    @invariant()
    def the_ledger_says_what_the_table_holds(self) -> None:
        assert self.table.trampled == []
        known = self.run(self.ledger.list_of_conversation("", 1000))
        for change in known:
            assert change.state != "applying", "an answered decision has come to its end"
            for step in change.steps:
                self.check(change, step, known)

    def check(self, change: Change, step: ChangeStep, known: Sequence[Change]) -> None:
        wrote = self.table.wrote
        word = str((step.write.after or {}).get("Name", ""))
        if change.proposal.undone_change or not word:
            if step.state == "done" and change.draft.kind == "delete":
                assert step.write.id not in self.table.rows
            return
        if step.state == "done":
            assert word in wrote
        elif step.state != "unknown":
            assert word not in wrote, f"{step.state}, but it was written"
        if change.draft.kind == "create":
            again = count_restored(known, word)
            assert wrote.count(word) <= 1 + again, "a create is never repeated"


def count_restored(known: Sequence[Change], word: str) -> int:
    """Return how often an undo wrote that word again."""
    undos = [change for change in known if change.proposal.undone_change]
    steps = [step for undo in undos for step in undo.steps]
    return sum((step.write.after or {}).get("Name") == word for step in steps)


Machine.TestCase.settings = settings(
    max_examples=30, stateful_step_count=20, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip
TestChanges = Machine.TestCase
