"""Any process may do it: the store lets only one of them start each run. Without an active
schedule, this only waits to be woken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from core.base.errors import (
    BadInput,
    NotAllowed,
    NotStored,
    OverBudget,
    PlatformBusy,
    PonteError,
    StatusUnknown,
)
from core.base.i18n import say
from core.base.tasks import Backoff, retry, run_together
from core.base.text import to_one_line
from core.changes.approval import Approval
from core.chat.people import People
from core.commands import grammar
from core.commands.grammar import TypedCommand
from core.domain.messages import Address, Answer, Message, Person, encode_json
from core.domain.ports import Messenger
from core.domain.records import Turn
from core.people.audit import audit_step
from core.people.notices import PersonNotice
from core.people.policy import Policy
from core.people.rules import OWNER_ID
from core.schedules.alerts import AlertState
from core.schedules.looks import AlertWatch
from core.schedules.rows import Schedules
from core.schedules.schedule import (
    HOUR_SECONDS,
    KEPT_RUNS,
    ReadableSchedule,
    Schedule,
    ScheduleConfig,
    ScheduleRun,
    plan_due,
)
from core.schedules.words import describe_date, local_time
from core.store.database import SqlConnection
from core.turn.origins import Origin, RunSkipped

log = structlog.get_logger("schedules")
MAX_SLEEP_SECONDS = 30.0
"""Seconds between two looks while there are active schedules. A timer is late after the machine was
suspended, and a notification can be lost."""
MIN_SLEEP_SECONDS = 0.2
UNKNOWN_OWNER_SECONDS = 10.0
STORE_RETRY_SECONDS = 5.0
RUNS_STARTED_AT_ONCE = 20
CLOCK_JUMP_SECONDS = 60.0
"""A clock that was set back by more than this makes due times be computed anew."""
ENDED_DAYS = 30

Report = Callable[[Schedule, ScheduleRun], Awaitable[None]]


@dataclass
class Scheduler:
    """The timer of schedules: it starts due runs, records the results of ended ones, and has
    failures reported."""

    schedules: Schedules
    policy: Policy
    report: Report
    watch: AlertWatch
    _changed: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _drift: float | None = field(default=None, init=False)

    def wake(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """A failure of the store, or any other, only delays the next look."""
        while True:
            # Before the look, so that a change during it is not missed.
            self._changed.clear()
            try:
                # It returns the seconds until the next look.
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

    async def start_due_runs(self) -> float:
        """Start due runs, record the results of ended ones, and report those that did not go well.
        Return the seconds until the next look. Raise NotStored.

        `waiting`: a run could not start, because its owner's status is not known yet."""
        schedules = self.schedules
        now = await schedules.read_clock()
        drift = now - time.monotonic()
        # The monotonic clock is never set back, so a smaller difference means that the wall clock
        # was. The first look of a process counts, too: it may have newer data of time zones than
        # the process that stored the due times.
        is_new = self._drift is None or drift < self._drift - CLOCK_JUMP_SECONDS
        if is_new and (moved := await schedules.realign()):
            log.info("recalculated due times of schedules", count=moved)
        self._drift = drift
        await schedules.purge(now - ENDED_DAYS * 24 * HOUR_SECONDS)
        waiting, due = False, await schedules.list_due(now)
        # Several at once, because the database commits them together.
        for first in range(0, len(due), RUNS_STARTED_AT_ONCE):
            batch = due[first : first + RUNS_STARTED_AT_ONCE]
            starts = await run_together(*(self._start_run(schedule, now) for schedule in batch))
            waiting = waiting or not all(starts)
        recorded_count = await schedules.settle_runs()
        for schedule, run in await schedules.list_unreported():
            await self.report(schedule, run)
        earliest = await schedules.earliest_due()
        if earliest is None:
            # A look reports 50 runs at most, so some whose results it recorded may be left.
            return MAX_SLEEP_SECONDS if recorded_count else 24 * HOUR_SECONDS
        # A schedule that could not start because its owner is not known yet is still due.
        least = UNKNOWN_OWNER_SECONDS if waiting else MIN_SLEEP_SECONDS
        return min(MAX_SLEEP_SECONDS, max(least, earliest - await schedules.read_clock()))

    async def _start_run(self, schedule: Schedule, now: float) -> bool:
        """Return False if the platform has not told the owner's status yet: the schedule is still
        due, until it is too old to be caught up. A schedule that cannot be planned is paused."""
        try:
            plan = plan_due(schedule.draft, schedule.next_due_at, now)
            # Without `due_at`, the due time is too old to be caught up, and no run starts. Data of
            # the last day is enough, without a wait (0.0): the run checks the rights again.
            is_alert = schedule.draft.kind == "alert"
            if (plan.due_at or is_alert) and not await self.policy.prepare(
                schedule.owner, schedule.address, confirmed=False, seconds=0.0
            ):
                return False
            if is_alert:
                await self.watch.begin(schedule, plan.next_due_at, now)
                return True
            # None: no run is due, or another process has started it.
            run = await self.schedules.advance(schedule, plan)
        except NotStored:
            raise
        except PonteError as error:
            # For example a time zone that this machine no longer knows.
            log.warning("paused an invalid schedule", schedule=schedule.id, error=str(error))
            await self.schedules.pause(schedule.id, "failures")
            return True
        if run:
            log.info(
                "scheduled run started", schedule=schedule.id, state=run.state, is_late=run.is_late
            )
        return True


UNKNOWN_STATUS_BACKOFF = Backoff(2.0, max_seconds=30.0)
MAX_STATUS_WAIT_SECONDS = 600.0


async def check_rights(
    policy: Policy, config: ScheduleConfig, person: Person, address: Address, command_text: str
) -> None:
    """Raise NotAllowed unless the person has the rights that a schedule's runs need; StatusUnknown
    if that is not known now. Each run chats; one of a quick command also needs the rights to spend
    and to that command, and to propose if it changes data. `command_text` is the command, "" for
    other kinds."""
    needed: list[tuple[str, ...]] = [("chat",)]
    with suppress(BadInput):  # the run itself says what is wrong with the command
        if command := grammar.parse_command(command_text):
            needed += [("spend",), ("command", command.slug)]
            quick = config.quick_commands.get(command.slug)
            needed += [("propose",)] if quick and quick.effect == "write" else []
    for right in needed:
        (await policy.may(person, address, *right)).raise_if_denied()


@dataclass
class ScheduleOrigin(Origin):
    """The rules for turns that schedules start: it decides whether they may begin, and what the
    model and the readers are told. `messengers` are by platform. `wake` is called when a run has
    ended."""

    preface = (
        "A schedule of the asker sent this message now; nobody typed it. Do what it says without "
        "asking back."
    )
    refers_to_others = False

    schedules: Schedules
    people: People
    config: ScheduleConfig
    messengers: Mapping[str, Messenger]
    wake: Callable[[], None]

    async def check_start(self, turn: Turn) -> str:
        """Raise RunSkipped unless the run may begin: it belongs to the schedule as it is now, its
        owner has the rights, and no allowance is used up. A run whose answer is stored already, by
        an attempt before a crash, may always end. An allowance counts the run once, also if it
        resumes after a crash. Return the id of an undecided proposal of an
        earlier run, "" if there is none: until it is decided, this run proposes nothing."""
        if turn.answer is None:
            # Edited, paused or deleted since the run was queued.
            if not await self.schedules.is_current(turn.seq):
                raise RunSkipped("changed")
            try:
                await retry(
                    lambda: self._check_owner(turn.message),
                    StatusUnknown,
                    UNKNOWN_STATUS_BACKOFF,
                    max_wait_seconds=MAX_STATUS_WAIT_SECONDS,
                )
            except NotAllowed:
                raise RunSkipped("rights", pause="rights") from None
            except StatusUnknown:
                raise RunSkipped("unknown") from None
            try:
                await self.people.budget.reserve(turn)
            except OverBudget:
                raise RunSkipped("allowance") from None
        return await self.schedules.find_open_card(turn.message.origin.id, turn.seq)

    async def _check_owner(self, message: Message) -> None:
        """Raise NotAllowed unless the owner may still have a schedule in this place: they have the
        rights, are a member, and can read the place. Raise StatusUnknown if the platform does not
        report that now."""
        person, address = message.author, message.address
        await self.check_standing(await self.schedules.get(message.origin.id))
        messenger = self.messengers.get(address.platform)
        if messenger is None or not address.is_shared:
            return  # a direct message, which its owner can always read
        try:
            # None does not count: the platform cannot tell, and the owner is still here.
            if await messenger.can_read(person, address) is False:
                raise NotAllowed
        except PlatformBusy:
            raise StatusUnknown from None

    async def check_standing(self, schedule: Schedule) -> None:
        """As `_check_owner`, but without asking whether they can read the place."""
        person, address, draft = schedule.owner, schedule.address, schedule.draft
        # The text of another kind is for the model, or only posted: it names no command.
        text = draft.text if draft.kind == "command" else ""
        await check_rights(self.people.policy, self.config, person, address, text)
        # Each is True if it denies the run, None if the platform does not tell.
        doubts = (
            await self.people.policy.has_left(person, address, schedule.created_at),
            await self.people.policy.is_stranger(person, address),
        )
        if any(doubts):
            raise NotAllowed
        if None in doubts:
            raise StatusUnknown

    def answer_directly(self, message: Message, command: TypedCommand | None) -> Answer | None:
        """Return None if a command or the model answers. Raise BadInput for a schedule of a command
        whose text is no quick command."""
        data = message.origin.data
        kind, is_alert = data["kind"], bool(data["condition"])
        if kind == "command" and (command is None or command.name != "quick-command"):
            raise BadInput("This schedule has no quick command. Edit it.")
        if kind != "post":
            return None
        return Answer(message.text, mentions_asker=is_alert and message.address.is_shared)

    def addresses(self, message: Message) -> frozenset[str]:
        return frozenset(message.origin.data["addresses"])

    def notes(self, message: Message) -> Sequence[str]:
        if not message.origin.data["is_late"]:
            return ()
        due = local_time(message.origin.data["due_at"], message.time_zone or "UTC")
        return [say("This run is late: it was due on {when}.", when=describe_date(due))]

    async def on_skip(self, turn: Turn, skipped: RunSkipped) -> None:
        message, reason = turn.message, skipped.reason
        facts = {"schedule": message.origin.id, "reason": reason}
        line = audit_step("schedule-run-skipped", message.author, message.address, **facts)
        await self.schedules.skip(turn.seq, reason, skipped.pause, line)

    def on_end(self) -> None:
        self.wake()


MAX_WHAT_CHARACTERS = 80
MAX_ADMINS = 20


@dataclass
class ScheduleReports:
    """Notifies people of runs that did not go well. `messengers` are by platform, `withhold` is
    that of `Scheduling`. `wake` makes the sender look for new notices."""

    schedules: Schedules
    messengers: Mapping[str, Messenger]
    approval: Approval
    withhold: Callable[[Schedule, Person, Address], Awaitable[ReadableSchedule]]
    wake: Callable[[], None]

    async def report(self, schedule: Schedule, run: ScheduleRun) -> None:
        """Store the notices about a run of a schedule that was missed, failed or was refused, each
        once: for its owner, and for admins where they can mend it. Raise NotStored.

        `kind` is the notice's sentence in `core.people.notices`; "" sends none, and the run counts
        as reported."""
        kind, for_admins = "", False
        if run.state == "missed":
            kind = "schedule-missed"
        elif run.state == "failed":
            for_admins = schedule.state == "paused" and schedule.reason == "failures"
            kind = "schedule-failures" if for_admins else "schedule-failed"
        elif run.reason in ("rights", "allowance", "busy", "unknown"):
            # Admins set permissions and allowances, so they get these notices too.
            kind, for_admins = f"schedule-{run.reason}", run.reason in ("rights", "allowance")
        zone = schedule.draft.time_zone
        due = local_time(run.due_at, zone)
        if schedule.state == "active" and any(
            (earlier.state, earlier.reason) == (run.state, run.reason)
            and earlier.due_at < run.due_at
            and local_time(earlier.due_at, zone).date() == due.date()
            for earlier in await self.schedules.list_runs(schedule.id, KEPT_RUNS)
        ):
            # One notice a day, because a schedule may be due every few minutes.
            kind, for_admins = "", False
        people_to_notify = [schedule.owner] if kind else []
        if for_admins:
            admins, names = list[Person](), sorted(self.approval.policy.admins)
            for name in names:
                platform, _, id = name.partition(":")
                # The owner of the page is an admin too, and belongs to no platform's messenger.
                if id == OWNER_ID:
                    admins.append(Person(platform, id))
            for platform, messenger in self.messengers.items():
                platform_names = [name for name in names if name.startswith(f"{platform}:")]
                try:
                    admins += await messenger.members(platform_names) if platform_names else ()
                except PonteError as error:  # the others still get the notice
                    log.warning("could not notify admins", platform=platform, error=str(error))
            people_to_notify += admins[:MAX_ADMINS]
        people = {}
        for person in people_to_notify:
            # Of the keys of one person, the canonical one belongs to the surface with notices.
            key = self.approval.canonical_person(person.key)
            platform, _, id = key.partition(":")
            people[key] = person if key == person.key else Person(platform, id)
        when = f"{due:%Y-%m-%d %H:%M} ({due.tzinfo})"
        notices = []
        for person in people.values():
            shown = await self.withhold(schedule, person, schedule.address)
            is_hidden = shown.draft != schedule.draft  # a notice is worded when it is read
            what = "" if is_hidden else to_one_line(shown.draft.text)[:MAX_WHAT_CHARACTERS]
            notice = PersonNotice.new(
                run.event_key, kind, schedule=schedule.id, what=what, when=when
            )
            notices.append((person, notice))
        await self.schedules.record_reported(run.event_key, notices)
        if notices:
            log.info("reported a scheduled run", schedule=schedule.id, report=kind)
            self.wake()


def close_schedules(connection: SqlConnection, now: float) -> int:
    """Pause all active schedules of a database that was restored from a backup: their due times are
    those of the backup. Record that runs under way are stopped."""
    connection.execute(
        "UPDATE schedule_runs SET state = 'stopped', reason = 'restored', ended_at = ?"
        " WHERE state = 'queued'",
        (now,),
    )
    # Nobody is notified of these runs, nor of any that ended before the backup.
    connection.execute("UPDATE schedule_runs SET is_notified = 1 WHERE is_notified = 0")
    # Since the backup, alerts may have posted what they now would find again.
    watch = encode_json(AlertState(is_forgotten=True))
    connection.execute("UPDATE schedules SET watch = ? WHERE kind = 'alert'", (watch,))
    return connection.execute(
        "UPDATE schedules SET state = 'paused', reason = 'restored', next_due_at = 0,"
        " updated_at = ? WHERE state = 'active'",
        (now,),
    ).rowcount
