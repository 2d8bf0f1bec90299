"""Schedules as people use them: who may do what, limits, and audit lines.

Only its owner starts and edits a schedule, because it runs with their rights. Its owner and admins
pause, resume, run and delete it. Everybody who reads its place can list it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.commands import grammar
from core.domain.errors import NotAllowed, NotFound, StatusUnknown
from core.domain.messages import Address, Person, ReplyTo
from core.domain.schedule_rules import check_draft
from core.domain.schedules import (
    BadSchedule,
    Schedule,
    ScheduleDraft,
    ScheduleFilter,
    ScheduleLimits,
    ScheduleRun,
)
from core.rights.audit import Audit
from core.rights.policy import Policy
from core.store.schedules import Schedules

_ONLY_OWNER = "Only {name}, who owns this schedule, can do that: it runs with their permissions."
_OWNER_OR_ADMIN = "Only {name}, who owns this schedule, or an admin can do that."


@dataclass(frozen=True, slots=True)
class ScheduleService:
    """The use of schedules by people. `list_keys` returns all keys under which a person is one on
    several surfaces. `limits` returns the limits that apply now. `by` is the person who acts, and
    `address` the place where they do."""

    schedules: Schedules
    policy: Policy
    audit: Audit
    limits: Callable[[], ScheduleLimits]
    list_keys: Callable[[str], Sequence[str]] = lambda key: (key,)
    clock: Callable[[], float] = time.time

    def check(self, draft: ScheduleDraft) -> ScheduleDraft:
        """Return the draft as it would be stored. Raise BadSchedule for a wrong value."""
        checked = check_draft(draft, self.clock(), self.limits())
        if checked.kind == "command":
            command = grammar.parse_command(checked.text)
            if command is None or command.name != "quick-command":
                raise BadSchedule(
                    "Only a quick command can be scheduled, as in `quick-command SLUG`."
                )
        return checked

    async def propose(
        self, origin: str, owner: Person, reply_to: ReplyTo, draft: ScheduleDraft, locale: str = ""
    ) -> Schedule:
        """Store a schedule that does not run before its owner starts it. The same origin (the turn
        and the call) returns the same schedule. Raise BadSchedule, NotAllowed."""
        checked = self.check(draft)
        await self._check_person(owner, reply_to.address)
        schedule = await self.schedules.propose(origin, owner, reply_to, checked, locale)
        self._note("schedule-proposed", schedule, owner, reply_to.address)
        return schedule

    async def start(self, id: str, revision: int, by: Person, address: Address) -> Schedule:
        """Start a proposed schedule, or the edit of one. `revision` is the one that its owner saw.
        Raise NotFound, NotAllowed, BadSchedule, VersionChanged."""
        schedule = await self._get_own(id, by, address)
        await self._check_person(by, schedule.address)
        newest = schedule.newest
        if newest.state == "proposed" and newest.revision == revision:
            self.check(newest.draft)
        keys, most = self.list_keys(schedule.owner.key), self.limits().per_person
        started = await self.schedules.start(id, revision, keys, most)
        if newest.state != "active":
            self._note("schedule-started", started, by, address)
        return started

    async def edit(
        self, id: str, draft: ScheduleDraft, by: Person, address: Address, seq: int = 0
    ) -> Schedule:
        """Store a change of a schedule that waits until its owner starts it. `seq` is the turn that
        proposes it. Raise NotFound, NotAllowed, BadSchedule."""
        schedule = await self._get_own(id, by, address)
        await self._check_person(by, schedule.address)
        edited = await self.schedules.edit(id, self.check(draft), seq)
        self._note("schedule-edited", edited, by, address)
        return edited

    async def cancel(self, id: str, revision: int, by: Person, address: Address) -> Schedule:
        """Withdraw an edit, or a schedule that was never started. Return what it was. Raise
        NotFound, NotAllowed, BadSchedule, VersionChanged."""
        await self._get_managed(id, by, address)
        cancelled = await self.schedules.cancel(id, revision)
        self._note("schedule-cancelled", cancelled, by, address)
        return cancelled

    async def pause(self, id: str, by: Person, address: Address) -> Schedule:
        """Pause the schedule until somebody resumes it. Raise NotFound, NotAllowed, BadSchedule."""
        before = await self._get_managed(id, by, address)
        paused = await self.schedules.pause(id, "person")
        if before.state != "paused":
            self._note("schedule-paused", paused, by, address)
        return paused

    async def resume(self, id: str, by: Person, address: Address) -> Schedule:
        """Let a paused schedule run again, from now on. Raise NotFound, NotAllowed, BadSchedule."""
        before = await self._get_managed(id, by, address)
        resumed = await self.schedules.resume(id)
        if before.state != "active":
            self._note("schedule-resumed", resumed, by, address)
        return resumed

    async def run_now(self, id: str, by: Person, address: Address, once: str) -> ScheduleRun:
        """Run the schedule once, now, with its owner's rights. `once` is the key of the event that
        asked for it: the same event runs it once. Raise NotFound, NotAllowed, BadSchedule."""
        schedule = await self._get_managed(id, by, address)
        run = await self.schedules.run_now(id, once)
        self._note("schedule-run-requested", schedule, by, address)
        return run

    async def delete(self, id: str, by: Person, address: Address) -> Schedule:
        """Delete the schedule with the list of its runs. Raise NotFound, NotAllowed."""
        await self._get_managed(id, by, address)
        deleted = await self.schedules.delete(id)
        self._note("schedule-deleted", deleted, by, address)
        return deleted

    async def list_for(
        self, by: Person, address: Address, everywhere: bool = False
    ) -> Sequence[Schedule]:
        """Return the person's schedules and those of this place. With `everywhere`, return all
        schedules, for admins only. Raise NotAllowed."""
        if everywhere:
            (await self.policy.may(by, address, "administer")).raise_if_denied()
            return await self.schedules.list_matching(ScheduleFilter())
        found = dict[str, Schedule]()
        for key in self.list_keys(by.key):
            for schedule in await self.schedules.list_matching(ScheduleFilter(person=key)):
                # Other people may read this place, so schedules of private places stay out.
                if not address.is_shared or schedule.address.is_same_channel(address):
                    found[schedule.id] = schedule
        here = ScheduleFilter(conversation=address.conversation)
        for schedule in await self.schedules.list_matching(here):
            found[schedule.id] = schedule
        return sorted(
            found.values(), key=lambda one: (one.state != "active", one.next_due_at, one.id)
        )

    async def get(self, id: str, by: Person, address: Address) -> Schedule:
        """Return a schedule that the person may see: their own, one of this channel, or any
        if they are an admin. Raise NotFound."""
        schedule = await self.schedules.get(id)
        is_here = schedule.address.is_same_channel(address)
        if is_here or self.is_owner(schedule, by):
            return schedule
        if (await self.policy.may(by, address, "administer")).allowed:
            return schedule
        raise NotFound("There is no schedule {id}.", id=id)

    async def list_runs(
        self, id: str, by: Person, address: Address, most: int = 10
    ) -> Sequence[ScheduleRun]:
        """Return the last runs of a schedule that the person may see. Raise NotFound."""
        await self.get(id, by, address)
        return await self.schedules.list_runs(id, most)

    def is_owner(self, schedule: Schedule, by: Person) -> bool:
        """Return whether the person owns the schedule."""
        return schedule.owner.key in self.list_keys(by.key)

    async def _get_own(self, id: str, by: Person, address: Address) -> Schedule:
        """Return the person's own schedule. Raise NotFound, NotAllowed."""
        schedule = await self._get_as_human(id, by, address)
        if not self.is_owner(schedule, by):
            raise NotAllowed(_ONLY_OWNER, name=schedule.owner.name or schedule.owner.id)
        return schedule

    async def _get_managed(self, id: str, by: Person, address: Address) -> Schedule:
        """Return a schedule that the person owns or administers. Raise NotFound, NotAllowed,
        StatusUnknown."""
        schedule = await self._get_as_human(id, by, address)
        if self.is_owner(schedule, by):
            return schedule
        verdict = await self.policy.may(by, address, "administer")
        if not verdict.allowed and not verdict.is_unknown:
            raise NotAllowed(_OWNER_OR_ADMIN, name=schedule.owner.name or schedule.owner.id)
        verdict.raise_if_denied()
        return schedule

    async def _get_as_human(self, id: str, by: Person, address: Address) -> Schedule:
        """Return a schedule that the person may see. Raise NotFound, NotAllowed for a program."""
        schedule = await self.get(id, by, address)
        if by.is_bot:
            self._note("schedule-refused", schedule, by, address)
            raise NotAllowed("A program cannot start, change or delete a schedule.")
        return schedule

    async def _check_person(self, by: Person, address: Address) -> None:
        """Raise unless the person may own a schedule of that place: BadSchedule, NotAllowed,
        StatusUnknown."""
        if by.is_bot:
            raise BadSchedule("A program cannot own a schedule.")
        (await self.policy.may(by, address, "chat")).raise_if_denied()
        if (is_stranger := await self.policy.is_stranger(by, address)) is None:
            raise StatusUnknown
        if is_stranger:
            raise NotAllowed(
                "Only people whom a rule names can have schedules here. An admin can add one."
            )

    def _note(self, event: str, schedule: Schedule, by: Person, address: Address) -> None:
        """Write a line into the audit log."""
        self.audit.note(event, by, address, person=schedule.owner.key, schedule=schedule.id)
