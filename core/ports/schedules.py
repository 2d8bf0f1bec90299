"""The protocol of stored schedules. Its contract suite is tests/contract/test_schedules.py."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from core.domain.messages import Person, ReplyTo
from core.domain.notices import PersonNotice
from core.domain.schedules import (
    DuePlan,
    PauseReason,
    Schedule,
    ScheduleDraft,
    ScheduleFilter,
    ScheduleRun,
    SkipReason,
)


class Schedules(Protocol):
    """Stored schedules and their runs. Each method is one transaction, durable on return.

    Methods that change a schedule raise NotFound if there is none with this id, and BadSchedule if
    its state does not allow the change. They check no rights.
    """

    async def propose(
        self, origin: str, owner: Person, reply_to: ReplyTo, draft: ScheduleDraft, locale: str = ""
    ) -> Schedule:
        """Store a schedule that its owner has not started. `origin` names the turn and the call
        that propose it: the same origin returns the same schedule."""

    async def get(self, id: str) -> Schedule:
        """Return the schedule. Raises NotFound."""

    async def list_matching(self, wanted: ScheduleFilter) -> Sequence[Schedule]:
        """Return these schedules, the next due ones first."""

    async def start(
        self, id: str, revision: int, people: Collection[str] = (), most: int = 0
    ) -> Schedule:
        """Start a proposed schedule, or the edit of one. `revision` is the one that its owner saw;
        raise VersionChanged for another one. A schedule that is active with this revision is
        returned unchanged. Raise BadSchedule if these `people` (all keys of the owner) have `most`
        active and paused schedules; without people, nothing is counted."""

    async def edit(self, id: str, draft: ScheduleDraft, seq: int = 0) -> Schedule:
        """Store an edit with the next revision. Until it is started, the schedule stays as it is.
        `seq` is the turn whose answer shows the edit's card."""

    async def cancel(self, id: str, revision: int) -> Schedule:
        """Withdraw the edit of a schedule, or delete a schedule that was never started. Return what
        it was. Raise VersionChanged if `revision` is not the newest."""

    async def pause(self, id: str, reason: PauseReason) -> Schedule:
        """Pause an active schedule. One that is paused already is returned unchanged."""

    async def resume(self, id: str) -> Schedule:
        """Let a paused schedule run again, from now on. One that is active is returned
        unchanged."""

    async def delete(self, id: str) -> Schedule:
        """Delete a schedule with its runs, and return what it was."""

    async def run_now(self, id: str, once: str) -> ScheduleRun:
        """Queue a run of an active or paused schedule now. Its due times stay. `once` names the
        event that asked for the run: the same event returns the same run."""

    async def set_card(self, id: str, seq: int) -> None:
        """Record that the answer of the turn `seq` shows the schedule's card."""

    async def read_clock(self) -> float:
        """Return the time by which schedules are due, in seconds since the epoch."""

    async def realign(self) -> int:
        """Compute the due times of active schedules anew that are not due yet, and return how many
        differ: after the clock was set back, or an update of the time zones."""

    async def list_due(self, now: float, most: int = 1000) -> Sequence[Schedule]:
        """Return active schedules that are due, the longest due first."""

    async def earliest_due(self) -> float | None:
        """Return the earliest due time of all active schedules, None if there is none."""

    async def advance(self, schedule: Schedule, plan: DuePlan) -> ScheduleRun | None:
        """Move the due time on and queue the run of `plan`, in one transaction.

        Do nothing and return None if the schedule changed since it was read, or if another process
        did it. Return the run, queued or skipped; None if the plan has none.
        """

    async def skip(self, seq: int, reason: SkipReason, pause: PauseReason = "") -> None:
        """Record that the run of the turn `seq` is not carried out, and pause its schedule if
        `pause` is set."""

    async def is_current(self, seq: int) -> bool:
        """Return whether the run of the turn `seq` still belongs to its schedule's present
        revision, and the schedule was not deleted or paused after it began."""

    async def find_open_card(self, id: str, before: int) -> str:
        """Return the id of an undecided proposal of an earlier run than the turn `before`, "" if
        there is none."""

    async def settle_runs(self) -> int:
        """Record the results of runs whose turns have ended, and pause schedules that failed
        MAX_FAILED_RUNS times in a row. Return how many runs ended."""

    async def list_runs(self, id: str, most: int = 10) -> Sequence[ScheduleRun]:
        """Return the last runs of a schedule, the newest first."""

    async def find_last_runs(self) -> Mapping[str, ScheduleRun]:
        """Return the newest run of each schedule, by the schedule's id."""

    async def list_unreported(self, most: int = 50) -> Sequence[tuple[Schedule, ScheduleRun]]:
        """Return runs that were skipped, missed or failed and that nobody was notified of, with
        their schedules."""

    async def record_reported(
        self, event_key: str, notices: Sequence[tuple[Person, PersonNotice]] = ()
    ) -> None:
        """Store the notices about a run, and record that they are stored. A second call stores
        nothing."""

    async def purge(self, before: float) -> int:
        """Delete schedules that ended, or were proposed and never started, before that time (Unix
        seconds). Return how many there were."""
