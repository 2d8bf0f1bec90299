"""Starts the runs of schedules when they are due.

Any process may do it: the store lets only one of them start each run. Without an active schedule,
this only waits to be woken.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from core.base.errors import NotStored, PonteError
from core.base.tasks import run_together
from core.people.policy import Policy
from core.schedules.rows import Schedules
from core.schedules.rules import plan_due
from core.schedules.schedule import Schedule, ScheduleRun

log = structlog.get_logger("schedules")
MAX_SLEEP_SECONDS = 30.0
"""Seconds between two looks while there are active schedules. A timer is late after the machine was
suspended, and a notification can be lost."""
MIN_SLEEP_SECONDS = 0.2
"""Seconds between two looks at least, for example while another process starts a run."""
UNKNOWN_OWNER_SECONDS = 10.0
"""Seconds until Ponte asks again for an owner whose status the platform has not reported."""
STORE_RETRY_SECONDS = 5.0
"""Seconds until the next look if the store is unavailable."""
RUNS_STARTED_AT_ONCE = 20
CLOCK_JUMP_SECONDS = 60.0
"""A clock that was set back by more than this makes due times be computed anew."""
ENDED_DAYS = 30
"""Days for which schedules that ended are kept."""

Report = Callable[[Schedule, ScheduleRun], Awaitable[None]]
"""Notifies the people concerned of a run that did not go well, once."""


class Scheduler:
    """Starts due runs, records results of ended ones, and has failures reported."""

    def __init__(
        self,
        schedules: Schedules,
        policy: Policy,
        report: Report,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._schedules = schedules
        self._policy = policy
        self._report = report
        self._monotonic = monotonic
        self._changed = asyncio.Event()
        self._drift: float | None = None
        """The difference between the wall clock and the monotonic clock at the last look."""

    def wake(self) -> None:
        """Look for due schedules now."""
        self._changed.set()

    async def run(self) -> None:
        """Start due runs until cancelled."""
        while True:
            self._changed.clear()
            try:
                seconds = await self.start_due_runs()
            except NotStored as error:
                log.warning("could not start scheduled runs; retrying", error=str(error))
                seconds = STORE_RETRY_SECONDS
            except Exception:
                log.exception("starting scheduled runs failed unexpectedly")
                seconds = MAX_SLEEP_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changed.wait()

    async def start_due_runs(self) -> float | None:
        """Do everything that is due. Return the seconds until the next look, None if nothing can be
        due before a schedule changes. Raise NotStored."""
        schedules = self._schedules
        now = await schedules.read_clock()
        drift = now - self._monotonic()
        if self._drift is None or drift < self._drift - CLOCK_JUMP_SECONDS:
            # The first look of a process, too: the data of time zones may be newer than the row.
            if moved := await schedules.realign():
                log.info("recalculated due times of schedules", count=moved)
            await schedules.purge(now - ENDED_DAYS * 86_400)
        self._drift = drift
        waiting, due = False, await schedules.list_due(now)
        # Several at once, because the database commits them together.
        for first in range(0, len(due), RUNS_STARTED_AT_ONCE):
            batch = due[first : first + RUNS_STARTED_AT_ONCE]
            begun = await run_together(*(self._start_run(each, now) for each in batch))
            waiting = waiting or not all(begun)
        open_runs = await schedules.settle_runs()
        for schedule, run in await schedules.list_unreported():
            await self._report(schedule, run)
        earliest = await schedules.earliest_due()
        if earliest is None:
            return MAX_SLEEP_SECONDS if open_runs else None
        # A schedule that could not start because its owner is not known yet is still due.
        least = UNKNOWN_OWNER_SECONDS if waiting else MIN_SLEEP_SECONDS
        return min(MAX_SLEEP_SECONDS, max(least, earliest - await schedules.read_clock()))

    async def _start_run(self, schedule: Schedule, now: float) -> bool:
        """Start the run of a due schedule. Return False if its owner is not known yet. Then it is
        still due, until it is too old to be caught up."""
        try:
            plan = plan_due(schedule.draft, schedule.next_due_at, now)
            if plan.due_at and not await self._policy.prepare(
                schedule.owner, schedule.address, confirmed=False, seconds=0.0
            ):
                return False
            run = await self._schedules.advance(schedule, plan)
        except NotStored:
            raise
        except PonteError as error:
            # For example a time zone that this machine no longer knows.
            log.warning("paused an invalid schedule", schedule=schedule.id, error=str(error))
            await self._schedules.pause(schedule.id, "failures")
            return True
        if run:
            log.info(
                "scheduled run started", schedule=schedule.id, state=run.state, is_late=run.is_late
            )
        return True
