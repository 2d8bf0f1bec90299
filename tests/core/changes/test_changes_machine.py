"""Anything in any order, with a crash anywhere: the ledger says what the table holds.

Each value that is ever proposed is a word of its own, so that one can tell which step wrote it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bot.integrations import KINDS
from bot.stores import SCHEMA
from core.base.errors import BadInput, NotAllowed, ToolError, WriteUnsure
from core.changes.apply import ChangeLifecycle, ChangeRunner
from core.changes.approval import ASKER, Approval, TableRule, TableRules
from core.changes.cards import CardBuilder, ChangeViews
from core.changes.kinds import Changer
from core.changes.ledger import SqlLedger
from core.changes.service import Decisions
from core.domain.changes import (
    Change,
    ChangeStep,
    DecisionRequest,
    Draft,
    Proposal,
    RowWrite,
    new_change_id,
)
from core.domain.messages import Address, ChangeAction, Person
from core.domain.ports import Platforms
from core.store.database import SqlConnection
from core.store.postgres import PostgresDatabase
from tests.contract.engines import Embedded
from tests.fakes.choices import ANA, allow_list, make_message
from tests.fakes.config import FixedConfig
from tests.fakes.memory_table import MemoryTable

T = TypeVar("T")
HERE = Address("web", "C1")
TWO = "Pairs"
"""The table whose changes two of PEOPLE must approve. The owner alone approves those of another."""
TITLES = st.sampled_from(["People", TWO])
BIA, CY = Person("web", "bia"), Person("web", "cy")
PEOPLE = (ANA, BIA, CY)
KEYS = frozenset(person.key for person in PEOPLE)
DECIDERS = st.sampled_from((ANA, *PEOPLE))
RULES = TableRules({TWO: TableRule("ask", frozenset({ASKER, BIA.key, CY.key}), approvals=2)})
_FAULTS = "none refuse late lost-before lost-after unread bug crash-before crash-after"
FAULTS = st.lists(st.sampled_from(_FAULTS.split()), max_size=3)
KILLS = st.lists(st.integers(0, 13), max_size=2)
"""The ledger's writes at which the process ends, counted from the last end: half before, half after
they are stored."""


class Crash(BaseException):
    """kill -9: nothing after it runs."""


class MortalLedger(SqlLedger):
    """A ledger whose process ends at the planned writes."""

    kills: ClassVar[list[int]] = []
    writes: ClassVar[int] = 0

    @classmethod
    def plan(cls, kills: Sequence[int]) -> None:
        cls.kills, cls.writes = list(kills), 0

    def _end_here(self) -> None:
        if MortalLedger.kills and MortalLedger.kills[0] == MortalLedger.writes:
            MortalLedger.plan(MortalLedger.kills[1:])
            raise Crash
        MortalLedger.writes += 1


def end_at(name: str) -> Callable[..., Any]:
    write = getattr(SqlLedger, name)

    async def call(self: MortalLedger, *given: Any, **more: Any) -> Any:
        self._end_here()
        stored = await write(self, *given, **more)
        self._end_here()
        return stored

    return call


for name in (
    "propose",
    "propose_again",
    "revise",
    "claim",
    "consent",
    "withdraw_consents",
    "close",
    "add_reason",
    "release",
    "undo",
    "record",
    "finish",
):
    setattr(MortalLedger, name, end_at(name))


class Table(MemoryTable):
    """`plan` is what the next calls end in; `wrote` every value that came into the table."""

    def __init__(self, check: Callable[[Draft], None], new_number: Callable[[], int]) -> None:
        super().__init__({}, batch=2)
        self.new_number = new_number
        self.plan: list[str] = []
        self.wrote: list[str] = []
        self.trampled: list[RowWrite] = []
        """Rows that were written over what somebody else had made of them."""
        self.late: list[tuple[Draft, Sequence[RowWrite]]] = []
        self.check_write = check

    async def apply(self, draft: Draft, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        self.check_write(draft)
        fault = self.plan.pop(0) if self.plan else "none"
        match fault:
            case "crash-before":
                raise Crash
            case "refuse":
                raise ToolError("The table refuses.")
            case "lost-before":
                raise WriteUnsure("The connection broke.")
            case "late":
                self.late.append((draft, rows))
                raise WriteUnsure("The connection broke.")
        written = self.effect(draft, rows)
        match fault:
            case "crash-after":
                raise Crash
            case "lost-after":
                raise WriteUnsure("The connection broke.")
            case "bug":
                raise RuntimeError("a bug")
            case "unread":
                self.faults.unread = 1
        return written

    async def revise(self, change: Change, values: Mapping[str, str], changer: Changer) -> Draft:
        draft = await super().revise(change, values, changer)
        if values:
            return draft
        return replace(draft, target={**draft.target, "number": self.new_number()})

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


class Machine(RuleBasedStateMachine):
    """The walks on SQLite, each in a folder of its own."""

    counts: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.table = Table(self.check_write, self.new_number)
        self.words = (f"w{n}" for n in itertools.count())
        self.keys = (f"k{n}" for n in itertools.count())
        self.now = 0.0
        self.changes: dict[str, Change] = {}
        self.deciders: dict[int, set[str]] = {}
        """Who approved a proposal while it was open, by its number. Its undo is approved by whoever
        asked for it."""
        self.closed: set[int] = set()
        """The proposals that were denied or have expired."""
        self.replaced: set[str] = set()
        """The values of earlier revisions."""
        self.violations: list[str] = []
        self.open()
        self.start()
        self.counts["walks"] += 1

    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.engine = self.run(Embedded.open(Path(self.folder.name)))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def start(self) -> None:
        """A new process over the same database."""
        self.ledger = MortalLedger(self.engine.database)
        appliers = {self.table.name: self.table}
        builder = CardBuilder(KINDS)
        runner = ChangeRunner(self.ledger, appliers, builder, self.clock)
        parts = self.ledger, runner, builder, lambda: None, self.clock
        self.lifecycle = ChangeLifecycle(*parts)
        approval = Approval(allow_list(KEYS), KINDS, FixedConfig(RULES))
        owner: Any = SimpleNamespace(current="")
        views = ChangeViews(self.ledger, approval, builder, self.clock, Platforms(), owner)
        self.decisions = Decisions(self.ledger, approval, views, self.lifecycle, appliers)

    def clock(self) -> float:
        return self.now

    def teardown(self) -> None:
        self.run(self.engine.close())
        self.runner.close()
        self.folder.cleanup()

    def until_done(self, step: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Take this step in one process after the other, until one does not end in it."""
        while True:
            try:
                self.run(step())
                return
            except Crash:
                self.counts["kills"] += 1
                self.start()

    def read(self) -> list[Change]:
        """Return all changes, and remember which of them were closed."""
        known = list(self.run(self.ledger.list_of_conversation("", 1000)))
        for change in known:
            before = self.changes.get(change.id)
            if before and before.proposal.revision < change.proposal.revision:
                self.counts["revisions"] += 1
                approvers = {consent.person.key for consent in change.consents}
                if change.state == "open":
                    self.deciders[number_of(change.draft)] = approvers
                words = {str(step.write.after["Name"]) for step in before.steps if step.write.after}
                kept = {str(step.write.after["Name"]) for step in change.steps if step.write.after}
                self.replaced |= words - kept
        self.changes = {change.id: change for change in known}
        ended = [change for change in known if change.state in ("denied", "expired")]
        self.closed |= {number_of(change.draft) for change in ended}
        return known

    def check_write(self, draft: Draft) -> None:
        """Note a write that too few people approved, or of a closed proposal. An error here would
        be taken for one of the table."""
        number = number_of(draft)
        # Who changed a proposal last is its asker, and approves it as their own.
        askers = {one.key for one in PEOPLE if draft.asker_key == f"{one.platform}:{one.id}"}
        needed, enough = (KEYS, 2) if draft.title == TWO else ({ANA.key} | askers, 1)
        if number in self.closed:
            self.violations.append(f"proposal {number} was closed, and was applied")
        if len(self.deciders[number] & needed) < enough:
            self.violations.append(f"proposal {number} was not approved, and was applied")
        self.counts["writes"] += 1

    def new_number(self) -> int:
        number = self.counts["proposals"] = self.counts["proposals"] + 1
        self.deciders[number] = set()
        return number

    def propose(self, kind: Any, rows: list[RowWrite], title: str, kills: Sequence[int]) -> None:
        number = self.new_number()
        target = {"number": number, "inputs": {} if kind == "delete" else {"Name": ["text", []]}}
        draft = Draft(self.table.name, kind, target, title, tuple(rows))
        proposal = Proposal(
            new_change_id(),
            draft,
            ANA,
            HERE,
            1,
            next(self.keys),
            "t1",
            0,
            "en",
            self.now,
            self.now + 1.0,
        )
        MortalLedger.plan(kills)
        self.until_done(lambda: self.ledger.propose(proposal))
        MortalLedger.plan([])
        self.read()

    def some_rows(self, data: st.DataObject) -> list[str]:
        ids = sorted(self.table.rows)
        return data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=5, unique=True))

    @rule(count=st.integers(1, 5), title=TITLES, kills=KILLS)
    def propose_a_create(self, count: int, title: str, kills: list[int]) -> None:
        rows = [RowWrite(after={"Name": next(self.words)}) for _ in range(count)]
        self.propose("create", rows, title, kills)

    @precondition(lambda self: self.table.rows)
    @rule(data=st.data(), title=TITLES)
    def propose_an_update(self, data: st.DataObject, title: str) -> None:
        rows = [(id, dict(self.table.rows[id])) for id in self.some_rows(data)]
        writes = [RowWrite(id, row, {"Name": next(self.words)}) for id, row in rows]
        self.propose("update", writes, title, [])

    @precondition(lambda self: self.table.rows)
    @rule(data=st.data(), title=TITLES)
    def propose_a_delete(self, data: st.DataObject, title: str) -> None:
        rows = [RowWrite(id, dict(self.table.rows[id])) for id in self.some_rows(data)]
        self.propose("delete", rows, title, [])

    @precondition(lambda self: self.table.rows)
    @rule(data=st.data(), gone=st.booleans())
    def somebody_changes_a_row(self, data: st.DataObject, gone: bool) -> None:
        id = data.draw(st.sampled_from(sorted(self.table.rows)))
        if gone:
            del self.table.rows[id]
        else:
            self.table.rows[id] = {"Name": f"own-{next(self.words)}"}

    @rule(seconds=st.sampled_from([0.3, 0.6]), kills=KILLS)
    def time_passes(self, seconds: float, kills: list[int]) -> None:
        self.now += seconds
        MortalLedger.plan(kills)
        self.until_done(lambda: self.lifecycle.end_overdue())
        MortalLedger.plan([])
        self.read()

    @precondition(lambda self: self.of("open"))
    @rule(data=st.data(), plan=FAULTS, kills=KILLS, who=DECIDERS, stays=st.booleans())
    def approve(
        self, data: st.DataObject, plan: list[str], kills: list[int], who: Person, stays: bool
    ) -> None:
        self.decide("approve", data.draw(st.sampled_from(self.of("open"))), who, plan, kills, stays)

    @precondition(lambda self: self.of("done", "partial"))
    @rule(data=st.data(), plan=FAULTS, kills=KILLS, stays=st.booleans())
    def undo(self, data: st.DataObject, plan: list[str], kills: list[int], stays: bool) -> None:
        id = data.draw(st.sampled_from(self.of("done", "partial")))
        self.decide("undo", id, ANA, plan, kills, stays)

    @precondition(lambda self: self.changes)
    @rule(
        data=st.data(),
        action=st.sampled_from(["approve", "change", "deny", "undo", "again"]),
        who=DECIDERS,
        kills=KILLS,
        jump=st.sampled_from([0.0, 0.0, 1.0]),
    )
    def anything(
        self, data: st.DataObject, action: ChangeAction, who: Person, kills: list[int], jump: float
    ) -> None:
        self.now += jump  # the periodic check has not closed what has expired
        self.decide(action, data.draw(st.sampled_from(list(self.changes))), who, [], kills, True)

    @precondition(lambda self: self.of("open"))
    @rule(data=st.data(), second=st.sampled_from(["approve", "change", "deny"]))
    def two_decide_at_once(self, data: st.DataObject, second: ChangeAction) -> None:
        id = data.draw(st.sampled_from(self.of("open")))
        decisions = [self.ask("approve", id, ANA), self.ask(second, id, BIA)]
        seqs = [seq for seq, _ in decisions]

        async def both() -> None:
            await asyncio.gather(*(decide() for _, decide in decisions))

        self.until_done(both)
        self.end(seqs)

    @precondition(lambda self: self.of("open"))
    @rule(data=st.data(), who=DECIDERS, kills=KILLS, stays=st.booleans())
    def change(self, data: st.DataObject, who: Person, kills: list[int], stays: bool) -> None:
        self.decide("change", data.draw(st.sampled_from(self.of("open"))), who, [], kills, stays)

    @precondition(lambda self: self.of("denied", "expired"))
    @rule(data=st.data(), who=st.sampled_from((ANA, ANA, BIA)), kills=KILLS, stays=st.booleans())
    def again(self, data: st.DataObject, who: Person, kills: list[int], stays: bool) -> None:
        id = data.draw(st.sampled_from(self.of("denied", "expired")))
        self.decide("again", id, who, [], kills, stays)

    def of(self, *states: str) -> list[str]:
        return [id for id, change in self.changes.items() if change.state in states]

    def ask(
        self, action: ChangeAction, id: str, who: Person
    ) -> tuple[int, Callable[[], Coroutine[Any, Any, None]]]:
        """Return the event of a decision, and what a process does with it."""
        change = self.changes[id]
        number = number_of(change.draft)
        if change.state == "open" and change.proposal.expires_at <= self.now:
            self.closed.add(number)
        elif action == "undo" or (action == "approve" and change.state == "open"):
            self.deciders[number].add(who.key)
        rows = change.draft.rows
        key = "Name" if len(change.rows) == 1 else f"{len(change.rows)}.Name"
        values = {key: next(self.words)} if rows and rows[-1].after else {}
        event = self.run(self.engine.inbox.accept(make_message(action, f"{id}-{next(self.keys)}")))

        async def decide() -> None:
            decision = DecisionRequest(id, event.seq, who, HERE, values=values, reason="why")
            with suppress(NotAllowed, BadInput, ToolError):
                answer = await self.decisions.decide(action, decision)
                if action == "approve" and answer.status == "failed" and "-" in answer.text:
                    code = confirmation_of(answer.text)
                    await self.decisions.decide(action, replace(decision, code=code))

        return event.seq, decide

    def decide(
        self,
        action: ChangeAction,
        id: str,
        who: Person,
        plan: list[str],
        kills: list[int],
        stays: bool,
    ) -> None:
        """The same event, in the next process, until it has its answer. If it does not stay, it
        ends with an apology after the first crash."""
        seq, decide = self.ask(action, id, who)
        self.table.plan = list(plan)
        MortalLedger.plan(kills)
        if stays:
            self.until_done(decide)
        else:
            try:
                self.run(decide())
            except Crash:
                self.counts["abandoned"] += 1
                self.start()
        self.end([seq])

    def end(self, seqs: Sequence[int]) -> None:
        self.table.plan, self.table.faults.unread = [], 0
        MortalLedger.plan([])
        self.table.arrive()
        for seq in seqs:
            self.run(self.engine.end(seq))
        self.until_done(lambda: self.lifecycle.end_overdue())
        self.read()

    @invariant()
    def the_ledger_says_what_the_table_holds(self) -> None:
        assert self.violations == []
        assert self.table.trampled == []
        assert self.replaced.isdisjoint(self.table.wrote), "only the approved revision is applied"
        known = self.read()
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
        elif step.state != "unknown" and not change.repeated_by:
            assert word not in wrote, f"{step.state}, but it was written"
        again = count_restored(known, word)
        assert wrote.count(word) <= 1 + again, "nothing is written twice"


def confirmation_of(text: str) -> str:
    """Return the code in the answer that reads out a whole change."""
    found = re.search(r"`approve [a-z2-7]{6}-(\d{4})`", text)
    assert found, text
    return found[1]


def number_of(draft: Draft) -> int:
    """Return the number of the proposal that this draft belongs to, also if it takes it back."""
    return int(draft.target["number"])


def count_restored(known: Sequence[Change], word: str) -> int:
    """Return how often an undo wrote that word again."""
    undos = [change for change in known if change.proposal.undone_change]
    steps = [step for undo in undos for step in undo.steps]
    return sum((step.write.after or {}).get("Name") == word for step in steps)


WALKS = {"sqlite": 15, "postgres": 4}
"""Walks in every run; `PONTE_STORM` has 1,000 of them on each engine."""


class PostgresMachine(Machine):
    """The walks on Postgres. All have one database, which each empties first."""

    shared: ClassVar[tuple[asyncio.Runner, Embedded]]

    def open(self) -> None:
        self.runner, self.engine = self.shared

        def empty(connection: SqlConnection) -> None:
            for table in ("inbox", "changes", "steps", "notes", "consents", "conversations"):
                connection.execute(f"DELETE FROM {table}").close()

        self.run(self.engine.database.write(empty))

    def teardown(self) -> None:
        """Leave the database to the next walk."""


@contextmanager
def open_machine(engine: str, request: pytest.FixtureRequest) -> Iterator[type[Machine]]:
    """Yield the machine of this engine."""
    if engine == "sqlite":
        yield Machine
        return
    with asyncio.Runner() as runner:
        url = request.getfixturevalue("migrated_postgres")
        database = runner.run(PostgresDatabase.open(url, SCHEMA))
        PostgresMachine.shared = runner, Embedded(Path(), database)
        yield PostgresMachine
        runner.run(database.close())


@pytest.mark.parametrize("engine", WALKS)
@pytest.mark.timeout(0 if "PONTE_STORM" in os.environ else 240)
def test_changes(engine: str, request: pytest.FixtureRequest) -> None:
    walks = 1000 if "PONTE_STORM" in os.environ else WALKS[engine]
    Machine.counts.clear()
    with open_machine(engine, request) as machine:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=walks,
                stateful_step_count=20,
                deadline=None,
                database=None,
                derandomize="PONTE_STORM" not in os.environ,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            ),
        )
    print(engine, dict(Machine.counts))
