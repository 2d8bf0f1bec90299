"""Applies a decided change batch by batch, so that its outcome is known after a crash at any point.
Each step from one state to the next is logged and counted, and redraws the card.

For each batch:

- Read its rows again and leave those that have changed since the proposal.
- Journal the others as being written, then write them once.
- Read the rows back and journal the result.

If a process died during a write, or the answer was lost, read the rows to find out what happened. A
write that is found counts as done, also if it took effect late. An update or delete that has not
happened is written once more. A create is never repeated, because the first one may still arrive
late. A run is not begun twice: its end is awaited by the id that was recorded when it began.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakValueDictionary

import structlog

from core.base.errors import (
    Draining,
    NotStored,
    Superseded,
    TakenOver,
    ToolError,
    WriteUnsure,
)
from core.base.tasks import cancel_all
from core.changes.cards import CardBuilder
from core.changes.kinds import Applier, Batch, Doing, Kind, StoppableBatch, WatchedBatch
from core.changes.ledger import SqlLedger
from core.domain.changes import (
    PENDING_STATES,
    POLICY_PERSON,
    WRITTEN_STATES,
    Change,
    ChangeState,
    ChangeStep,
    RowCheck,
    StepState,
)
from core.domain.messages import Person
from core.money.budget import Budget
from core.observability import metrics

log = structlog.get_logger("changes")
_GONE = "The system for this change is no longer connected."
_UNREAD = "They could not be read again, so nothing was written. {why}"
_UNCHECKED = "The change was saved, but couldn't be verified."
_STILL_THERE = "The system reported the row as deleted, but it still exists."
_BROKE = "The tool failed because of a bug in Ponte."
_STOPPED = "The operation was stopped before it started."
_LEFT = "I stopped waiting because you asked me to. The operation had started and may still finish."

REST_FACTOR = 2.0
"""A part rests between batches, twice as long as each took: most requests of people meet none."""


@dataclass(slots=True)
class _Run:
    """A change while it is applied. `steps` maps the number of each row's write to its last
    recorded state."""

    change: Change
    kind: Kind
    applier: Applier
    steps: dict[int, ChangeStep]
    repeated: set[int] = field(default_factory=set)
    """Numbers of the steps that may not be written again after a lost answer."""
    doing: Doing | None = None
    stop_waiting: asyncio.Event = field(default_factory=asyncio.Event)
    finished: Change | None = None

    def next_batch(self) -> list[ChangeStep]:
        """Steps that were being written when a process died come first, in batches of their own,
        because their rows must be read before anything else happens."""
        writing = [step for step in self.steps.values() if step.state == "writing"]
        waiting = [step for step in self.steps.values() if step.state == "waiting"]
        return (writing or waiting)[: self.applier.batch(self.change.draft)]


@dataclass
class ChangeRunner:
    """Makes all calls that write to tables and other systems. Such a call is never cancelled, so
    that its result is always recorded."""

    ledger: SqlLedger
    appliers: Mapping[str, Applier]
    builder: CardBuilder
    clock: Callable[[], float] = time.time
    _held: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _flights: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _tables: WeakValueDictionary[str, asyncio.Lock] = field(
        default_factory=WeakValueDictionary, init=False
    )

    def stop_batches(self) -> None:
        """The next process continues the changes."""
        self._held.set()

    async def wait_for_records(self) -> None:
        if self._flights:
            await asyncio.wait(self._flights)

    async def run(self, change: Change, doing: Doing | None = None) -> Change:
        """Apply the change batch by batch and return it at its end. Raise Draining or NotStored;
        the same approval then continues it later.

        A run is a change such as a quick command, whose system works on after the request. `doing`
        is called with the progress of a run. Cancelling this call stops the waiting for a run: its
        steps are recorded as unknown, and the change is returned. A write to a table continues
        until it is recorded.
        """
        run = self._open(change, doing)
        if run is None:  # its system is no longer connected
            return await self._give_up(change)
        while steps := run.next_batch():
            if self._held.is_set():
                raise Draining
            began = time.monotonic()
            await self._run_to_record(self._apply_batch(run, steps), run)
            if change.proposal.part_of:
                await asyncio.sleep(REST_FACTOR * (time.monotonic() - began))
        # The last batch records the end, too. Without a batch, all steps were done before a crash.
        return run.finished or await self._finish(run.change, run.steps, ())

    async def settle(self, change: Change) -> Change:
        """End a change that nothing will continue, because the event that approved it has ended.
        Rows that were being written are read to find out what happened."""
        run = self._open(change)
        if run is None:
            return await self._give_up(change)
        run.repeated.update(run.steps)  # no row is written once more
        if writing := change.steps_in("writing"):
            batch = run.applier.open(change.draft)
            await self._run_to_record(self._read_back(run, batch, writing, sure=False), run)
        return run.finished or await self._finish(run.change, run.steps, ())

    def _open(self, change: Change, doing: Doing | None = None) -> _Run | None:
        applier = self.appliers.get(change.draft.applier)
        steps = {step.number: step for step in change.steps}
        if applier is None:
            return None  # its system is no longer connected
        return _Run(change, self.builder.kind(change), applier, steps, doing=doing)

    async def _run_to_record(self, work: Coroutine[Any, Any, None], run: _Run) -> None:
        """Await `work`, a write and its record, in a task that the cancellation of the caller does
        not cancel: a write that was sent must be recorded.

        If the caller is cancelled, wait for the task, then raise the cancellation. But if a person
        stops a command that runs in another system (`has_end`), take the cancellation back, so that
        the caller returns the ended change.
        """
        flight = asyncio.create_task(work)
        # A process that ends waits for these (`wait_for_records`).
        self._flights.add(flight)
        flight.add_done_callback(self._flights.discard)
        try:
            await asyncio.shield(flight)
        except asyncio.CancelledError:
            # A person's stop ends only the waiting for a run. If the process stops instead, which
            # sets `_held`, the next process continues the run by its id.
            leaves = run.kind.has_end and not self._held.is_set()
            run.stop_waiting.set()  # `_read` then waits no longer for the end of the run
            # Cancelled again, as by `cancel_all`, a part still waits: its whole counts its rows.
            ignored = (asyncio.CancelledError,) if run.change.proposal.part_of else ()
            while not flight.done():
                with suppress(*ignored):
                    await asyncio.wait({flight})
            if not leaves:
                raise
            if task := asyncio.current_task():
                task.uncancel()
            await flight  # it has ended: this raises its error, if any

    async def _apply_batch(self, run: _Run, steps: list[ChangeStep]) -> None:
        """A row that is not as it was when the change was proposed is left alone.

        A lock for each table ensures that no other change of this process writes between the check
        and the write. "before" and "after" are the states of a row: as before or as after the
        write.
        """
        draft = run.change.draft
        place = draft.view.table_id or dict(draft.target)
        if run.kind.has_plan:  # each of its parts takes the table
            place = run.change.id
        table = json.dumps([draft.applier, place], sort_keys=True)
        async with self._tables.setdefault(table, asyncio.Lock()):
            if self._held.is_set():  # this process stops; the caller raises Draining
                return
            batch = run.applier.open(draft)
            # An earlier process began this write, and it is not known whether it took effect. Such
            # steps have batches of their own.
            if steps[0].state == "writing":
                await self._read_back(run, batch, steps, sure=False)
                return
            explanation = _STOPPED
            rows: Sequence[RowCheck] | None = None
            if not run.stop_waiting.is_set():
                try:
                    rows = await self._read(run, batch, steps)
                except ToolError as error:
                    # "drift": the table or the place has changed, and the error itself says so.
                    explanation = str(error) if error.code == "drift" else _UNREAD.format(why=error)
            if rows is None:  # stopped, or not readable: nothing is written
                failed = [replace(s, state="failed", explanation=explanation) for s in steps]
                await self._record(run, failed)
                return
            checked = []
            for step, row in zip(steps, rows, strict=True):
                if row.state == "before":
                    checked.append(replace(step, write=row.write, state="writing"))
                elif row.state == "after" and (
                    step.number in run.repeated or row.write.changes_nothing
                ):
                    # The write whose answer was lost has taken effect after it was read back, or
                    # the person who changed the request left this row as it was.
                    done = replace(step, write=row.write, state="done", current=row.current)
                    checked.append(done)
                else:  # somebody has changed the row since the proposal
                    checked.append(replace(step, state="changed", current=row.current))
            # Recorded as "writing" before the write, so that after a crash the rows are read first.
            await self._record(run, checked)
            if ready := [step for step in checked if step.state == "writing"]:
                await self._write(run, batch, ready)

    async def _write(self, run: _Run, batch: Batch, steps: list[ChangeStep]) -> None:
        """Write the rows of these steps once, then read them back to see what happened. `patience`
        is the number of seconds that the applier may take. `sure` tells `_read_back` that the
        system confirmed the write: otherwise it may write once more rows that are not there."""
        try:
            async with asyncio.timeout(run.applier.patience):
                writes = await batch.write([step.write for step in steps])
        except (WriteUnsure, TimeoutError) as error:
            log.warning(
                "outcome of a write unknown; reading the rows back",
                change=run.change.id,
                error=str(error),
            )
            await self._read_back(run, batch, steps, sure=False)
        except ToolError as error:  # surely nothing was written
            await self._record(
                run, [replace(s, state="failed", explanation=str(error)) for s in steps]
            )
        except Exception:
            # The error may have come after the write, so the rows show what happened.
            log.exception("applying a change failed unexpectedly", change=run.change.id)
            await self._read_back(run, batch, steps, sure=False)
        else:
            new_steps = [replace(s, write=w) for s, w in zip(steps, writes, strict=True)]
            # Ids of created rows are recorded at once, to find the rows after a crash.
            if new_steps != steps:
                await self._record(run, new_steps)
            await self._read_back(run, batch, new_steps, sure=True)

    async def _read_back(
        self, run: _Run, batch: Batch, steps: Sequence[ChangeStep], *, sure: bool
    ) -> None:
        """`sure`: the system confirmed the write. Otherwise its answer was lost, or a process died
        during it; a write that has not happened is then made once more, if that can do no harm."""
        try:
            rows = await self._read(run, batch, steps)
        except ToolError as error:
            # If the write was confirmed, only reading failed, and it counts as done. But the write
            # of a run (`has_end`) only begins it, so its result is unknown.
            is_done = sure and not run.kind.has_end
            state: StepState = "done" if is_done else "unknown"
            explanation = _UNCHECKED if is_done else str(error)
            await self._record(
                run, [replace(s, state=state, explanation=explanation) for s in steps]
            )
            return
        results = []
        for step, row in zip(steps, rows, strict=True):
            result = _judge_step(step, row, sure)
            if result.state == "writing":
                # The write did not happen. It is made once more, except creates and runs: the
                # first one may still take effect.
                again = run.kind.is_repeatable and step.number not in run.repeated
                run.repeated.add(step.number)
                result = replace(result, state="waiting" if again else "unknown")
            results.append(result)
        await self._record(run, results)

    async def _read(
        self, run: _Run, batch: Batch, steps: Sequence[ChangeStep]
    ) -> Sequence[RowCheck]:
        """For a run in another system, this waits for its end. If the process stops meanwhile,
        raise Draining: the next process waits on. If a person stops the waiting, raise ToolError.
        Every failure is a ToolError, too."""
        if not run.kind.has_end:
            return await _check_rows(run, batch, steps)
        # `_held` is set when this process stops, `run.stop_waiting` when a person ends the wait.
        reading = asyncio.create_task(_check_rows(run, batch, steps))
        has_begun = any(step.write.id for step in steps)  # the other system gave the run an id
        ends = [
            asyncio.create_task(end.wait())
            # Before the run has an id, a stop would lose it.
            for end in ((self._held, run.stop_waiting) if has_begun else (self._held,))
        ]
        try:
            await asyncio.wait({reading, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return reading.result()
        finally:
            await cancel_all((reading, *ends))
        if self._held.is_set():
            raise Draining
        if isinstance(batch, StoppableBatch):
            return await batch.read_stopped([step.write for step in steps])
        raise ToolError(_LEFT)

    async def _record(self, run: _Run, steps: Sequence[ChangeStep]) -> None:
        """If no step of the change is left to be written, store the end of the change in the same
        transaction."""
        all_steps = run.steps | {step.number: step for step in steps}
        if any(step.state in PENDING_STATES for step in all_steps.values()):
            await self.ledger.record(run.change.id, run.change.decision_seq, steps)
        else:
            run.finished = await self._finish(run.change, all_steps, steps)
        run.steps = all_steps

    async def _finish(
        self, change: Change, all_steps: Mapping[int, ChangeStep], steps: Sequence[ChangeStep]
    ) -> Change:
        """The change is "done" if all rows were written, "failed" if surely none was, and otherwise
        "partial". `all_steps` are those of the change, by number."""
        state: ChangeState = "failed"
        if all(step.state == "done" for step in all_steps.values()):
            state = "done"
        elif any(
            step.state in WRITTEN_STATES or step.state in ("unknown", "writing")
            for step in all_steps.values()
        ):
            # A row was written, or it is unknown whether it was ("writing": interrupted).
            state = "partial"
        ended = replace(change, state=state, steps=tuple(all_steps.values()))
        # The model needs no note if the policy decided: it reads the outcome of its call. A part is
        # told with the whole.
        is_told = change.decider != POLICY_PERSON and not change.proposal.part_of
        note = self.builder.build_note(ended) if is_told else ""
        # `decision_seq`: the event that decided. Only it may continue and end the change.
        return await self.ledger.finish(
            change.id, change.decision_seq, state, note, self.clock(), steps
        )

    async def _give_up(self, change: Change) -> Change:
        """The change's system is no longer connected. Rows that were not begun have failed; those
        that were being written are unknown."""
        steps = [
            replace(
                step, state="failed" if step.state == "waiting" else "unknown", explanation=_GONE
            )
            for step in change.steps
            if step.state in PENDING_STATES
        ]
        all_steps = {step.number: step for step in (*change.steps, *steps)}
        return await self._finish(change, all_steps, steps)


async def _check_rows(run: _Run, batch: Batch, steps: Sequence[ChangeStep]) -> Sequence[RowCheck]:
    """Return the current state of the rows within the applier's timeout (`patience`). Raise
    ToolError for every failure, also for a bug of Ponte, so that the change still gets an end.

    Each step is the write of one row; `batch` reads and writes the rows of these steps. For a run
    in another system, such as a quick command, this waits for its end. With a listener
    (`run.doing`, which shows the person the progress), a batch that can report its progress does so
    meanwhile.
    """
    rows = [step.write for step in steps]
    try:
        async with asyncio.timeout(run.applier.patience):
            if run.doing is not None and isinstance(batch, WatchedBatch):
                return await batch.watch(rows, run.doing)
            return await batch.check(rows)
    except TimeoutError:
        raise ToolError("The system didn't respond in time.") from None
    except (ToolError, Draining, NotStored, TakenOver):
        raise
    except Exception:
        log.exception("applying a change failed unexpectedly", change=run.change.id)
        raise ToolError(_BROKE) from None


def _judge_step(step: ChangeStep, row: RowCheck, sure: bool) -> ChangeStep:
    """`sure`: the system confirmed the write. The state stays "writing" if the write has not
    happened."""
    step = replace(step, write=row.write, current=row.current, explanation=row.explanation)
    if row.state == "after":
        return replace(step, state="done")
    if row.state == "failed":
        return replace(step, state="failed")
    # A created row that exists was written, even if some of its fields differ.
    if (sure or step.write.before is None) and row.current is not None:  # None: a creation
        if step.write.after is None:  # a deletion
            return replace(step, state="failed", explanation=_STILL_THERE)
        explanation = ", ".join(row.differing_fields) or row.explanation
        return replace(step, state="differs", explanation=explanation)
    if row.state == "before" and not sure:
        return step
    # The row is neither as before nor as after the write, or a confirmed write left no trace.
    return replace(step, state="unknown")


SHOW_APPLYING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ChangeLifecycle:
    """Takes changes from one state to the next: it denies and expires them, has them applied, and
    reserves and pays their cost. Each such event is logged and counted, and `on_change` is called,
    which has the cards redrawn. `purse` has the allowances; None if nothing costs money."""

    ledger: SqlLedger
    runner: ChangeRunner
    builder: CardBuilder
    on_change: Callable[[], None]
    clock: Callable[[], float] = time.time
    purse: Budget | None = None

    async def close(
        self,
        change: Change,
        state: ChangeState,
        decider: Person | None,
        rule: str = "",
        reason: str = "",
    ) -> Change:
        """Give an open proposal the final state `state` (denied, expired or withdrawn), and return
        it. If another event decided or changed it first, return it as it is.

        `rule` is the rule that lets the person decide, `reason` why they deny it.
        """
        # The model reads this note about the end on its next turn.
        closed = replace(change, state=state, decider=decider, denial_reason=reason)
        note, revision = self.builder.build_note(closed), change.proposal.revision
        try:
            result = await self.ledger.close(
                change.id, state, decider, note, self.clock(), revision, reason, rule
            )
        except Superseded:
            return await self.ledger.get(change.id)
        self.note_event(result.state, result)  # logs the end and has the card drawn again
        return result

    async def add_reason(self, change: Change, reason: str) -> Change:
        note = self.builder.build_note(replace(change, denial_reason=reason))
        result = await self.ledger.add_reason(change.id, reason, note)
        self.on_change()
        return result

    async def end_overdue(self) -> None:
        """End changes that were being applied when the event that approved them ended, for example
        because it was erased. Runs from time to time."""
        for change in await self.ledger.list_overdue(self.clock()):
            await self.close(change, "expired", None)
        for change in await self.ledger.list_abandoned():
            await self.end_abandoned(change)

    async def end_abandoned(self, change: Change) -> Change:
        ended = await self.runner.settle(change)
        self.note_event(ended.state, ended)
        return ended

    async def apply(self, change: Change, doing: Doing | None = None) -> Change:
        """Apply a change that an approval has claimed, and return it at its end. If this raises
        Draining or NotStored, the same approval continues it later.

        `doing` shows the person the progress of a run in another system.
        """
        # Cards show "In progress" only after SHOW_APPLYING_SECONDS. Most changes end before this
        # delay, and their card needs only one edit.
        redraw = asyncio.get_running_loop().call_later(SHOW_APPLYING_SECONDS, self.on_change)
        try:
            ended = await self.runner.run(change, doing)
        finally:
            redraw.cancel()
        self.note_event(ended.state, ended)  # logs the end and has the card drawn again
        return ended

    def note_event(self, event: str, change: Change) -> None:
        """Log and count an event of a change, such as "proposed" or its new state, and have its
        card drawn again."""
        log.info(
            "change recorded",
            change=change.id,
            state=event,
            kind=change.draft.kind,
            rows=change.draft.row_count,
            # Several steps can write one row.
            written_rows=len({step.write.id for step in change.written_steps}),
        )
        metrics.changes.labels(event, change.draft.kind).inc()
        self.on_change()

    async def reserve_payment(self, change: Change, seq: int) -> None:
        """Reserve the cost of a run (a quick command, for example) before it begins, charged to its
        asker. Raise OverBudget. Other changes cost nothing."""
        paid, proposal = self.builder.kind(change).paid_run(change.draft), change.proposal
        if self.purse and paid:
            await self.purse.reserve_approved_run(
                proposal.asker, proposal.address, seq, change.id, paid
            )

    async def settle_payment(self, change: Change, seq: int) -> None:
        """Charge the cost that `reserve_payment` reserved if the event `seq` began the run, or may
        have begun it; otherwise release it. A run has an id once it has begun."""
        paid = self.builder.kind(change).paid_run(change.draft)
        if self.purse and paid:
            has_begun = change.decision_seq == seq and any(
                step.write.id or step.state == "unknown" for step in change.steps
            )
            await self.purse.settle_run(seq, change.id, paid, has_begun)
