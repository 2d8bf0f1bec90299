"""The schedules of one process. Each part is built, and its module loaded, when first used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from core.base.errors import NotStored
from core.base.tasks import BackgroundTasks, Backoff, retry
from core.changes.service import ChangeService
from core.chat.approval_notices import PersonNoticeService
from core.chat.people import Conversations, People
from core.commands.grammar import TypedCommand
from core.domain.messages import Answer, ReplyTo
from core.domain.ports import Platforms
from core.domain.records import Turn
from core.journal.inbox import SqlInbox
from core.journal.peers import Peers
from core.people.rules import place_names
from core.schedules.schedule import Schedule, ScheduleFilter, ScheduleState
from core.store.database import Database, has_rows

if TYPE_CHECKING:
    from core.schedules.rows import Schedules
    from core.schedules.runs import ScheduleOrigin, Scheduler
    from core.schedules.service import ScheduleConfig, ScheduleService

CHANGED = "schedules"
"""The notification that a schedule was created or changed."""
FIRST_LOOK_BACKOFF = Backoff(1.0, max_seconds=30.0)
"""Pauses between attempts to find out whether there is a schedule."""


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
class Scheduling:
    """The schedules of one process. `notices` sends notices to people."""

    database: Database
    conversations: Conversations
    people: People
    platforms: Platforms
    changes: ChangeService
    notices: PersonNoticeService
    peers: Peers
    config: ScheduleConfig
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: BackgroundTasks = field(default_factory=lambda: BackgroundTasks("schedules"))

    @property
    def clock(self) -> Callable[[], float]:
        """The clock by which proposals expire and runs are due."""
        return self.changes.views.clock

    @cached_property
    def store(self) -> Schedules:
        """The stored schedules."""
        from core.schedules.rows import Schedules

        store = Schedules(
            self.database, cast(SqlInbox, self.conversations.inbox), self.clock,
            peers=self.peers, destination=self._find_destination,
        )  # fmt: skip
        store.on_change = self._note_change
        return store

    @cached_property
    def service(self) -> ScheduleService:
        """The use of schedules by people."""
        from core.schedules.service import ScheduleService

        return ScheduleService(self.store, self.changes, self.people, self.config, self.clock)

    async def answer(self, turn: Turn, command: TypedCommand, *, is_demo: bool) -> Answer:
        """Carry out a typed command about schedules. `is_demo`: the demo model answers. Raise
        NotFound, NotAllowed, StatusUnknown or BadSchedule."""
        from core.schedules.service import ScheduleCommands

        return await ScheduleCommands(self.service, is_demo, self.clock).answer(turn, command)

    @cached_property
    def origin(self) -> ScheduleOrigin:
        """The turns of runs."""
        from core.schedules.runs import ScheduleOrigin

        return ScheduleOrigin(self.store, self.people, self.platforms.messengers, self.wake)

    @cached_property
    def scheduler(self) -> Scheduler:
        """The timer that starts runs."""
        from core.schedules.runs import Scheduler, ScheduleReports

        reports = ScheduleReports(
            self.store, self.platforms.messengers, self.changes.approval, self.notices.wake
        )
        return Scheduler(self.store, self.people.policy, reports.report)

    def wake(self) -> None:
        """Look for due schedules now, in this process."""
        self._changed.set()
        if "scheduler" in self.__dict__:
            self.scheduler.wake()

    async def run(self) -> None:
        """Start due runs until cancelled. Nothing is loaded before there is a schedule."""
        # Another process may create the first one; `_on_change` sets `_changed` then.
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
        schedules = await self.store.list_matching(ScheduleFilter(states=tuple(states)))
        last = await self.store.find_last_runs() if schedules else {}
        return [
            {**to_json(one), "last_run": asdict(last[one.id]) if one.id in last else None}
            for one in schedules
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
        messenger = self.platforms.messengers.get(to.address.platform)
        return messenger.after(to) if messenger else to

    def _note_change(self) -> None:
        self.wake()
        self._tasks.start(self.peers.notify(CHANGED, ""))

    async def _on_change(self, _: str) -> None:
        self.wake()
