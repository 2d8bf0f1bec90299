"""Composes the parts of schedules. Each part is built, and its module loaded, when first used."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bot.integrations import ADMINS, canonical_person
from core.changes.service import ChangeService
from core.chat.approval_notices import PersonNoticeService
from core.chat.platform import Messenger
from core.domain.errors import NotStored
from core.domain.messages import ReplyTo
from core.domain.schedules import Schedule, ScheduleFilter, ScheduleLimits, ScheduleState
from core.integrations.integration import Peers
from core.rights.audit import Audit
from core.rights.policy import Policy
from core.rights.rules import OWNER_ID, place_names
from core.runtime.retry import Backoff, retry
from core.runtime.tasks import BackgroundTasks
from core.store.budget import Budget
from core.store.database import Database, has_rows
from core.store.inbox import SqlInbox

if TYPE_CHECKING:
    from core.schedules.commands import ScheduleCommands
    from core.schedules.origin import ScheduleOrigin
    from core.schedules.scheduler import Scheduler
    from core.schedules.service import ScheduleService
    from core.store.schedules import Schedules

CHANGED = "schedules"
"""The notification that a schedule was created or changed."""
FIRST_LOOK_BACKOFF = Backoff(1.0, max_seconds=30.0)
"""Pauses between attempts to find out whether there is a schedule."""


def list_keys(key: str) -> Sequence[str]:
    """Return all keys of the person with this key: the page's owner is the terminal's owner too."""
    if canonical_person(key) == canonical_person(f"{min(ADMINS)}:{OWNER_ID}"):
        return [f"{name}:{OWNER_ID}" for name in sorted(ADMINS)]
    return [key]


def to_json(schedule: Schedule) -> Mapping[str, Any]:
    """Return a schedule as the shell and the operator's page get it."""
    draft = schedule.draft
    return {
        "id": schedule.id, "state": schedule.state, "reason": schedule.reason,
        "owner": schedule.owner.key, "place": place_names(schedule.address)[-1],
        "kind": draft.kind, "text": draft.text, "cron": draft.rule.cron,
        "run_at": draft.rule.run_at,
        "time_zone": draft.time_zone, "next_due_at": schedule.next_due_at,
        "last_due_at": schedule.last_due_at,
        "runs": schedule.runs, "failures": schedule.failures, "created_at": schedule.created_at,
    }  # fmt: skip


@dataclass
class ScheduleParts:
    """The parts of schedules in one process. `limits` returns the limits that apply now, `admins`
    the keys of admins. `notices` sends notices to people."""

    database: Database
    inbox: SqlInbox
    policy: Policy
    budget: Budget
    audit: Audit
    messengers: Mapping[str, Messenger]
    peers: Peers
    limits: Callable[[], ScheduleLimits]
    admins: Callable[[], Collection[str]]
    notices: PersonNoticeService
    changes: ChangeService
    clock: Callable[[], float] = time.time
    is_demo: bool = False
    is_shared: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: BackgroundTasks = field(default_factory=lambda: BackgroundTasks("schedules"))

    @cached_property
    def store(self) -> Schedules:
        """The stored schedules."""
        from core.store.schedules import Schedules

        store = Schedules(
            self.database, self.inbox, self.clock, shared_clock=self.is_shared,
            destination=self._find_destination,
        )  # fmt: skip
        store.on_change = self._note_change
        return store

    @cached_property
    def service(self) -> ScheduleService:
        """The use of schedules by people."""
        from core.schedules.service import ScheduleService

        return ScheduleService(
            self.store, self.changes, self.policy, self.audit, self.limits, list_keys, self.clock
        )

    @cached_property
    def commands(self) -> ScheduleCommands:
        """Schedules as turns use them."""
        from core.schedules.commands import ScheduleCommands

        return ScheduleCommands(self.service, self.is_demo, self.clock)

    @cached_property
    def origin(self) -> ScheduleOrigin:
        """The turns of runs."""
        from core.schedules.origin import ScheduleOrigin

        return ScheduleOrigin(
            self.store, self.policy, self.budget, self.audit, self.messengers, self.wake
        )

    @cached_property
    def scheduler(self) -> Scheduler:
        """The timer that starts runs."""
        from core.schedules.reports import ScheduleReports
        from core.schedules.scheduler import Scheduler

        reports = ScheduleReports(
            self.store, self.messengers, self.admins, canonical_person, self.notices.wake
        )
        return Scheduler(self.store, self.policy, reports.report)

    def wake(self) -> None:
        """Look for due schedules now, in this process."""
        self._changed.set()
        if "scheduler" in self.__dict__:
            self.scheduler.wake()

    async def run(self) -> None:
        """Start due runs until cancelled. Nothing is loaded before there is a schedule."""
        self.peers.on(CHANGED, self._on_change)
        while not await retry(
            lambda: has_rows(self.database, "schedules"), NotStored, FIRST_LOOK_BACKOFF
        ):
            await self._changed.wait()
            self._changed.clear()
        await self.scheduler.run()

    async def list_all(self) -> Sequence[Mapping[str, Any]]:
        """Return everybody's schedules, each with its last run."""
        states: Sequence[ScheduleState] = ("active", "paused", "ended")
        found = await self.store.list_matching(ScheduleFilter(states=tuple(states)))
        last = await self.store.find_last_runs() if found else {}
        return [
            {**to_json(one), "last_run": asdict(last[one.id]) if one.id in last else None}
            for one in found
        ]

    async def show(self, id: str) -> Mapping[str, Any]:
        """Return a schedule and its last runs. Raise NotFound."""
        schedule, runs = await self.store.get(id), await self.store.list_runs(id)
        return {"schedules": [to_json(schedule)], "runs": [asdict(run) for run in runs]}

    async def close(self) -> None:
        """End the notifications under way."""
        await self._tasks.close()

    def _find_destination(self, to: ReplyTo) -> ReplyTo:
        """Return where a run in the place of `to` posts. It answers no message there."""
        messenger = self.messengers.get(to.address.platform)
        return messenger.after(to) if messenger else to

    def _note_change(self) -> None:
        self.wake()
        if self.is_shared:
            self._tasks.start(self.peers.notify(CHANGED, ""))

    async def _on_change(self, _: str) -> None:
        self.wake()
