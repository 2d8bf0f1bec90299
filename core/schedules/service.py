"""Schedules as people use them: who may do what, limits, audit lines, and the typed commands
`schedules` and `schedule ID …`.

A new schedule, its edit and its deletion by the model are changes (`core.schedules.kind`) that only
its owner approves, because it runs with their rights. Its owner and admins pause, resume, run and
delete it with commands. Everybody who reads its place can list it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from core.base.errors import NotAllowed, NotFound, StatusUnknown
from core.base.i18n import plural, say
from core.changes.service import ChangeService
from core.chat.people import People
from core.commands import grammar
from core.commands.grammar import TypedCommand
from core.domain.changes import Draft, RowWrite
from core.domain.messages import Address, Answer, Person, encode_json
from core.domain.records import Turn
from core.schedules.kind import SCHEDULE_APPLIER, SCHEDULE_KIND
from core.schedules.rows import Schedules
from core.schedules.schedule import (
    BadSchedule,
    Schedule,
    ScheduleDraft,
    ScheduleFilter,
    ScheduleLimits,
    ScheduleRun,
    check_draft,
    make_row,
)
from core.schedules.words import (
    build_inert_title,
    describe_date,
    describe_result,
    describe_schedule,
    describe_whole,
    local_time,
)

SCHEDULES_PER_PAGE = 20

_ONLY_OWNER = "Only {name}, who owns this schedule, can do that: it runs with their permissions."
_READ_BY_OTHERS = (
    "Other people can read this conversation. Ask where the schedule was made, or in a direct "
    "message."
)
_OWNER_OR_ADMIN = "Only {name}, who owns this schedule, or an admin can do that."


class ScheduleConfig(Protocol):
    """The configuration of schedules, which can be reloaded."""

    @property
    def schedule_limits(self) -> ScheduleLimits:
        """Return the limits that apply now."""


@dataclass(frozen=True, slots=True)
class ScheduleService:
    """The use of schedules by people. `by` is the person who acts, and `address` the place where
    they do."""

    schedules: Schedules
    changes: ChangeService
    people: People
    config: ScheduleConfig
    clock: Callable[[], float] = time.time

    async def check(
        self, draft: ScheduleDraft, owner: Person, address: Address, *, is_new: bool
    ) -> ScheduleDraft:
        """Return the draft as it is stored. Raise BadSchedule for a wrong value or a limit that is
        reached, NotAllowed or StatusUnknown unless the person may own a schedule in this place."""
        checked = check_draft(draft, self.clock(), self.config.schedule_limits)
        if checked.kind == "command":
            command = grammar.parse_command(checked.text)
            if command is None or command.name != "quick-command":
                raise BadSchedule(
                    "Only a quick command can be scheduled, as in `quick-command SLUG`."
                )
        (await self.people.policy.may(owner, address, "chat")).raise_if_denied()
        if (is_stranger := await self.people.policy.is_stranger(owner, address)) is None:
            raise StatusUnknown
        if is_stranger:
            raise NotAllowed(
                "Only people whom a rule names can have schedules here. An admin can add one."
            )
        if is_new:
            await self.schedules.check_count(
                self.people.list_keys(owner.key), self.config.schedule_limits.per_person
            )
        return checked

    async def find_base(self, id: str, by: Person, address: Address) -> Draft:
        """Return a change that leaves a schedule of the person as it is, or their proposal with
        this id, as the base of another one. An edit begins from the schedule as it is now. Raise
        NotFound, NotAllowed."""
        replaced: Draft | None = None
        try:
            schedule = await self._get_as_human(id, by, address)
        except NotFound:
            change = await self.changes.ledger.get(id)
            is_own = change.proposal.asker.key in self.people.list_keys(by.key)
            is_base = change.draft.kind == SCHEDULE_KIND and change.kind == "proposal"
            if not is_own or not is_base or change.is_forgotten or change.has_lapsed:
                raise
            _check_readers(change.proposal.address, address)
            replaced = change.draft
            if not replaced.rows[0].id:
                return replaced
            schedule = await self._get_as_human(replaced.rows[0].id, by, address)
        if not self.is_owner(schedule, by):
            raise NotAllowed(_ONLY_OWNER, name=schedule.owner.name or schedule.owner.id)
        _check_readers(schedule.address, address)
        row = make_row(schedule.draft)
        after = (replaced.rows[0].after if replaced else None) or row
        target = {
            "revision": schedule.revision, "locale": schedule.locale,
            "is_paused": schedule.state == "paused",
        }  # fmt: skip
        write = RowWrite(schedule.id, row, after, encode_json(schedule.reply_to))
        draft = Draft(SCHEDULE_APPLIER, SCHEDULE_KIND, target, schedule.draft.kind, (write,))
        return replace(draft, change_id=replaced.change_id) if replaced else draft

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

    async def list_page(
        self, by: Person, address: Address, page: int
    ) -> tuple[Sequence[Schedule], int]:
        """Return a page of the person's schedules and those of this place, and the number of pages.
        Pages count from 1."""
        schedules = dict[str, Schedule]()
        for key in self.people.list_keys(by.key):
            for schedule in await self.schedules.list_matching(ScheduleFilter(person=key)):
                # Other people may read this place, so schedules of private places stay out.
                if not address.is_shared or schedule.address.is_same_channel(address):
                    schedules[schedule.id] = schedule
        here = ScheduleFilter(conversation=address.conversation)
        for schedule in await self.schedules.list_matching(here):
            schedules[schedule.id] = schedule
        listed = sorted(
            schedules.values(), key=lambda one: (one.state != "active", one.next_due_at, one.id)
        )
        first = (page - 1) * SCHEDULES_PER_PAGE
        page_schedules = listed[first : first + SCHEDULES_PER_PAGE] if page > 0 else ()
        return page_schedules, -(-len(listed) // SCHEDULES_PER_PAGE)

    async def get(self, id: str, by: Person, address: Address) -> Schedule:
        """Return a schedule that the person may see: their own, one of this channel, or any
        if they are an admin. Raise NotFound."""
        schedule = await self.schedules.get(id)
        is_here = schedule.address.is_same_channel(address)
        if is_here or self.is_owner(schedule, by):
            return schedule
        if (await self.people.policy.may(by, address, "administer")).allowed:
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
        return schedule.owner.key in self.people.list_keys(by.key)

    async def _get_managed(self, id: str, by: Person, address: Address) -> Schedule:
        """Return a schedule that the person owns or administers. Raise NotFound, NotAllowed,
        StatusUnknown."""
        schedule = await self._get_as_human(id, by, address)
        if self.is_owner(schedule, by):
            return schedule
        verdict = await self.people.policy.may(by, address, "administer")
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

    def _note(self, event: str, schedule: Schedule, by: Person, address: Address) -> None:
        """Write a line into the audit log."""
        self.people.audit.note(event, by, address, person=schedule.owner.key, schedule=schedule.id)


def _check_readers(place: Address, here: Address) -> None:
    """Raise NotAllowed if `place` is private and other people read a card that is shown here."""
    if here.is_shared and not place.is_shared:
        raise NotAllowed(_READ_BY_OTHERS)


@dataclass(frozen=True, slots=True)
class ScheduleCommands:
    """Answers the commands about schedules. `is_demo`: the demo model answers."""

    service: ScheduleService
    is_demo: bool
    clock: Callable[[], float] = time.time

    async def answer(self, turn: Turn, command: TypedCommand) -> Answer:
        """Carry out the command and return the answer. Raise NotFound, NotAllowed, StatusUnknown,
        BadSchedule."""
        message, service, id = turn.message, self.service, command.id
        who = message.author, message.address
        if command.name == "schedules":
            return await self._list(turn, int(id or 1))
        match command.slug:
            case "show":
                schedule, runs = await service.get(id, *who), await service.list_runs(id, *who)
                lines = "\n".join(f"- {_describe_run(schedule, run)}" for run in runs)
                words = f"{describe_whole(schedule, self.clock())}\n\n{lines}".strip()
                return Answer(words, is_private=message.address.is_shared)
            case "delete":
                schedule = await service.delete(id, *who)
                words = f"**{build_inert_title(schedule.draft)}**\n\n{say('Deleted.')}"
            case "run":
                await service.run_now(id, *who, once=message.event_key)
                return Answer(say("It runs now."), is_private=message.address.is_shared)
            case "pause":
                schedule = await service.pause(id, *who)
                words = describe_whole(schedule, self.clock())
            case _:
                schedule = await service.resume(id, *who)
                words = describe_whole(schedule, self.clock())
        # Other people may read this place, so schedules of private places stay out.
        is_elsewhere = not schedule.address.is_same_channel(message.address)
        return Answer(words, is_private=message.address.is_shared and is_elsewhere)

    async def _list(self, turn: Turn, page: int) -> Answer:
        """Return a page of the author's schedules and those of this place."""
        schedules, pages = await self.service.list_page(
            turn.message.author, turn.message.address, page
        )
        if schedules:
            lines = [say("Schedules:"), "", *(f"- {describe_schedule(one)}" for one in schedules)]
            if pages > 1:
                lines += ["", say("Page {page} of {pages}.", page=page, pages=pages)]
            if page < pages:
                lines[-1] += " " + say("For the next one, type `schedules {page}`.", page=page + 1)
            words = "\n".join(lines)
        elif pages:
            words = plural(
                "There is only {count} page of schedules.",
                "There are only {count} pages of schedules.",
                pages,
            )
        elif self.is_demo:
            words = say("There are no schedules. The demo model can't make one: connect a model.")
        else:
            words = say(
                "There are no schedules. To make one, ask me, for example: remind me tomorrow "
                "at 14:00 to call Ana."
            )
        return Answer(words, is_private=turn.message.address.is_shared)


def _describe_run(schedule: Schedule, run: ScheduleRun) -> str:
    """Return one line about a run."""
    when = local_time(run.due_at, schedule.draft.time_zone)
    result = describe_result(run.state, run.missed_count, is_late=run.is_late)
    return f"{describe_date(when)}: {result}"
