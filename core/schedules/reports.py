"""Notifies the owner of a schedule, and admins, of runs that did not go well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog

from core.base.errors import PonteError
from core.base.text import to_one_line
from core.changes.approval import Approval
from core.domain.messages import Person
from core.domain.platform import Messenger
from core.people.notices import PersonNotice
from core.people.rules import OWNER_ID
from core.schedules.rows import Schedules
from core.schedules.rule_words import local_time
from core.schedules.schedule import Schedule, ScheduleRun

log = structlog.get_logger("schedules")
MAX_WHAT_CHARACTERS = 80
"""Characters of a schedule's text in a notice."""
MAX_ADMINS = 20
"""The largest number of admins that are notified of one run."""


class ScheduleReports:
    """Stores the notices about a run. `messengers` are by platform. `wake` makes the sender look
    for new notices."""

    def __init__(
        self,
        schedules: Schedules,
        messengers: Mapping[str, Messenger],
        approval: Approval,
        wake: Callable[[], None],
    ) -> None:
        self._schedules = schedules
        self._messengers = messengers
        self._approval = approval
        self._wake = wake

    async def report(self, schedule: Schedule, run: ScheduleRun) -> None:
        """Store the notices about a run, once. Raise NotStored."""
        kind, for_admins = _kind_of(schedule, run)
        people = {}
        if kind:
            found = [schedule.owner, *(await self._find_admins() if for_admins else ())]
            people = {one.key: one for one in map(self._canonical, found)}
        due = local_time(run.due_at, schedule.draft.time_zone)
        values = {
            "schedule": schedule.id, "what": to_one_line(schedule.draft.text)[:MAX_WHAT_CHARACTERS],
            "when": f"{due:%Y-%m-%d %H:%M} ({due.tzinfo})",
        }  # fmt: skip
        notices = [
            (person, PersonNotice.new(run.event_key, kind, **values)) for person in people.values()
        ]
        await self._schedules.record_reported(run.event_key, notices)
        if notices:
            log.info("reported a scheduled run", schedule=schedule.id, report=kind)
            self._wake()

    async def _find_admins(self) -> Sequence[Person]:
        """Return the admins, as far as their platforms report them now."""
        found, names = list[Person](), sorted(self._approval.policy.admins)
        for name in names:
            platform, _, id = name.partition(":")
            if id == OWNER_ID:
                found.append(Person(platform, id))
        for platform, messenger in self._messengers.items():
            own = [name for name in names if name.startswith(f"{platform}:")]
            try:
                found += await messenger.members(own) if own else ()
            except PonteError as error:
                log.warning("could not notify admins", platform=platform, error=str(error))
        return found[:MAX_ADMINS]

    def _canonical(self, person: Person) -> Person:
        """Return the person as the surface knows them that shows their notices."""
        key = self._approval.canonical_person(person.key)
        if key == person.key:
            return person
        platform, _, id = key.partition(":")
        return Person(platform, id)


def _kind_of(schedule: Schedule, run: ScheduleRun) -> tuple[str, bool]:
    """Return the kind of notice about a run ("" for none), and whether admins get it too."""
    if run.state == "missed":
        return "schedule-missed", False
    if run.state == "failed":
        if schedule.state == "paused" and schedule.reason == "failures":
            return "schedule-failures", True
        return "schedule-failed", False
    if run.reason == "rights":
        return "schedule-rights", True
    if run.reason == "allowance":
        return "schedule-allowance", True
    return (f"schedule-{run.reason}" if run.reason in ("busy", "unknown") else ""), False
