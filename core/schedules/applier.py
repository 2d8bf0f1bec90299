"""Creates, edits and deletes schedules after their owner has approved it.

The id of a change is the revision of the schedule that it writes, and a new schedule's id. After a
crash, the schedule therefore shows whether the change was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from core.base.errors import NotFound, ToolError
from core.changes.kinds import Batch
from core.domain.changes import Change, Draft, RowCheck, RowWrite
from core.domain.messages import ReplyTo, decode_json
from core.schedules.kind import SCHEDULE_APPLIER
from core.schedules.schedule import BadSchedule, Schedule, ScheduleState, make_row, read_row

if TYPE_CHECKING:
    from core.schedules.scheduling import Scheduling
    from core.schedules.service import ScheduleService

WRITE_TIMEOUT_SECONDS = 30.0
"""Seconds that a check or a write of a schedule may take."""


class ScheduleApplier:
    """The `Applier` of schedules (the port `CheckedApplier`)."""

    name = SCHEDULE_APPLIER
    patience = WRITE_TIMEOUT_SECONDS

    def __init__(self, schedules: Scheduling) -> None:
        self._schedules = schedules

    def batch(self, draft: Draft) -> int:
        """Return 1: each schedule is a batch."""
        return 1

    def open(self, draft: Draft) -> Batch:
        """Return the batch that writes the draft's schedule."""
        return _ScheduleBatch(draft, self._schedules.service)

    async def check_asker(self, draft: Draft) -> None:
        """Check that the asker may own this schedule, and that it is still due. Raise NotAllowed,
        StatusUnknown, BadSchedule."""
        (row,) = draft.rows
        if row.after is not None:
            to = decode_json(ReplyTo, row.applier_data)
            await self._schedules.service.check(
                read_row(row.after), to.asker, to.address, is_new=row.before is None
            )

    def revert(self, change: Change) -> Draft:
        """Return the draft that restores the schedule as it was before the change. One that is
        paused stays so."""
        write, target = change.steps[0].write, dict(change.draft.target)
        is_edit = write.before is not None and write.after is not None
        target |= {"revision": change.id, "is_paused": is_edit or target["is_paused"]}
        row = replace(write, before=write.after, after=write.before)
        return replace(change.draft, target=target, rows=(row,))


class _ScheduleBatch:
    """The `Batch` of one schedule."""

    def __init__(self, draft: Draft, service: ScheduleService) -> None:
        self._change = draft.change_id
        self._target = draft.target
        self._service = service

    async def check(self, rows: Sequence[RowWrite]) -> Sequence[RowCheck]:
        """Return whether the schedule is as before the change, as after it, or otherwise."""
        (row,) = rows
        row = replace(row, id=row.id or self._change)
        try:
            schedule = await self._service.schedules.get(row.id)
        except NotFound:
            if row.before is None:
                return [RowCheck("before", row)]
            return [RowCheck("after" if row.after is None else "other", row)]
        current = make_row(schedule.draft)
        if schedule.revision == self._change:
            return [RowCheck("after", row, current)]
        is_former = row.before is not None and schedule.revision == self._target["revision"]
        return [RowCheck("before" if is_former else "other", row, current)]

    async def write(self, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        """Write the schedule. Raise ToolError if it changed meanwhile, or must not be written."""
        (row,) = rows
        service, former = self._service, "" if row.before is None else self._target["revision"]
        to = decode_json(ReplyTo, row.applier_data)
        try:
            if row.after is None:
                await service.schedules.delete(row.id, former)
            else:
                state: ScheduleState = "paused" if self._target["is_paused"] else "active"
                schedule = Schedule(
                    row.id, to.asker, to, read_row(row.after), state, locale=self._target["locale"],
                    revision=self._change,
                )  # fmt: skip
                people, most = (
                    service.people.list_keys(to.asker.key),
                    service.config.schedule_limits.per_person,
                )
                await service.schedules.put(schedule, former, people, most)
        except (NotFound, BadSchedule) as error:
            raise ToolError("{why}", why=error) from error
        event = "schedule-deleted" if row.after is None else "schedule-written"
        service.people.audit.note(
            event, to.asker, to.address, person=to.asker.key, schedule=row.id, change=self._change
        )
        return rows
