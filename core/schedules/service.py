"""Schedules as the rest of Ponte uses them: the service, its named parts, and the applier that
writes an approved schedule.

A new schedule, its edit and its deletion by the model are changes (`core.schedules.kind`) that only
its owner approves, because it runs with their rights. Its owner and admins pause, resume, run and
delete it with commands. Everybody who reads its place can list it.

The id of a change is the revision of the schedule that it writes, and a new schedule's id. After a
crash, the schedule therefore shows whether the change was made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from core.base.errors import NotAllowed, NotFound, NotStored, PlatformBusy, StatusUnknown, ToolError
from core.base.i18n import plural, say
from core.base.markdown import escape_markdown
from core.base.tasks import BackgroundTasks, Backoff, retry
from core.base.trust import find_addresses
from core.base.value_formats import parse_typed_moment
from core.changes.approval import Approval
from core.changes.kinds import TEXT_KEY, Batch, Changer
from core.changes.ledger import SqlLedger
from core.chat.approval_notices import PersonNoticeService
from core.chat.people import Conversations, People
from core.commands import grammar
from core.commands.grammar import TypedCommand, localize_command
from core.domain.changes import Change, Draft, Row, RowCheck, RowWrite
from core.domain.messages import Address, Answer, Person, ReplyTo, decode_json, encode_json, turn_id
from core.domain.ports import Platforms
from core.domain.records import Turn
from core.domain.rights import Need, Viewer
from core.journal.inbox import SqlInbox
from core.journal.jobs import Peers
from core.people.audit import OPERATOR
from core.people.notices import HIDDEN_TABLE
from core.saved.queries import can_be_saved, load_calls
from core.saved.questions import MayKnow
from core.schedules.alerts import draw_values, read_state
from core.schedules.kind import SCHEDULE_APPLIER, SCHEDULE_KIND, WHEN_KEY, ZONE_KEY
from core.schedules.rows import Schedules
from core.schedules.runs import check_rights
from core.schedules.schedule import (
    BadSchedule,
    ReadableSchedule,
    Schedule,
    ScheduleConfig,
    ScheduleDraft,
    ScheduleFilter,
    ScheduleLimits,
    ScheduleState,
    add_progress,
    check_draft,
    get_zone,
    make_row,
    read_progress,
    read_row,
    read_rule,
)
from core.schedules.words import (
    build_inert_title,
    describe_date,
    describe_result,
    describe_schedule,
    describe_whole,
    local_time,
)
from core.store.database import Database, has_rows

if TYPE_CHECKING:
    from core.schedules.looks import AlertWatch, FindTool
    from core.schedules.runs import ScheduleOrigin, Scheduler

SCHEDULES_PER_PAGE = 20

_ONLY_OWNER = "Only {name}, who owns this schedule, can do that: it runs with their permissions."
_READ_BY_OTHERS = (
    "Other people can read this conversation. Ask in a direct message, or where the schedule was "
    "created."
)
_NEEDS_NO_MODEL = (
    "The last run only read a table. If you save its answer with **Save…** and schedule the saved "
    "question by its name, no model is needed."
)
_OWNER_OR_ADMIN = "Only {name}, who owns this schedule, or an admin can do that."


@dataclass(frozen=True, slots=True)
class ScheduleService:
    """`by` is the person who acts, and `address` the place where they do."""

    schedules: Schedules
    ledger: SqlLedger
    people: People
    config: ScheduleConfig
    platforms: Platforms
    clock: Callable[[], float] = time.time

    async def check(
        self, draft: ScheduleDraft, owner: Person, address: Address, *, is_new: bool
    ) -> ScheduleDraft:
        """Return the draft, cleaned, as it can be stored. Raise BadSchedule for a wrong value or a
        limit that is reached. Raise NotAllowed or StatusUnknown unless the person may own a
        schedule in this place: they have the rights of its runs, a rule or PONTE_ALLOW names them,
        and Ponte can post there. `is_new`: the schedule counts in the person's limit."""
        limits = self.find_limits(draft)
        checked = check_draft(draft, self.clock(), limits)
        if checked.kind == "command":
            command = grammar.parse_command(checked.text)
            if command is None or command.name != "quick-command":
                raise BadSchedule(
                    "`quick-command` is the only command that can be scheduled. Write it as "
                    "`quick-command SLUG`."
                )
        # Only a command needs a right of its own, which depends on its slug.
        text = checked.text if checked.kind == "command" else ""
        await check_rights(self.people.policy, self.config, owner, address, text)
        if (is_stranger := await self.people.policy.is_stranger(owner, address)) is None:
            raise StatusUnknown
        if is_stranger:
            raise NotAllowed(
                "Only people named in PONTE_ALLOW or in a rule of ponte.toml can have schedules "
                "here. Ask an admin to add you."
            )
        # A slash command also works where Ponte is no member, and is answered through a token that
        # expires. So that this place could be reached now does not mean that runs can post here.
        # The page and the terminal have no messenger to ask, so they refuse nothing.
        messenger = self.platforms.messengers.get(address.platform)
        try:
            # The argument None asks about Ponte itself. The result None means that the platform can
            # never tell, which refuses nothing.
            can_post = messenger is None or await messenger.can_write(None, address) is not False
        except PlatformBusy:
            raise StatusUnknown from None
        if not can_post:
            raise NotAllowed(
                "Ponte can't post here later. Add it as a member that can post, or ask in a "
                "direct message with Ponte."
            )
        if is_new:
            await self.schedules.check_count(
                self.people.list_keys(owner.key), limits.per_person, draft.kind
            )
        return checked

    def find_limits(self, draft: ScheduleDraft) -> ScheduleLimits:
        name = "alerts" if draft.kind == "alert" else "schedules"
        limits: ScheduleLimits = self.config.section(name)
        return limits

    async def find_base(self, id: str, by: Person, address: Address) -> Draft:
        """`id` is that of a schedule of the person, or that of a proposal of theirs which they want
        to correct before it is approved. The draft leaves the schedule as it is now, or contains
        what that proposal wanted, and then names the proposal in `change_id`. Raise NotFound,
        NotAllowed. The caller fills in the draft."""
        replaced: Draft | None = None
        try:
            schedule = await self._get_as_human(id, by, address)
        except NotFound:  # it may be the id of a proposal
            change = await self.ledger.get(id)
            is_own = change.proposal.asker.key in self.people.list_keys(by.key)
            is_base = change.draft.kind == SCHEDULE_KIND and change.kind == "proposal"
            if not is_own or not is_base or change.is_erased:
                raise
            # Refuses if people read the reply here who cannot read the place of the proposal.
            _check_readers(change.proposal.address, address)
            replaced = change.draft
            # A new schedule: there is nothing stored that it edits.
            if not replaced.rows[0].id:
                return replaced
            schedule = await self._get_as_human(replaced.rows[0].id, by, address)
        if not self.is_owner(schedule, by):
            raise NotAllowed(_ONLY_OWNER, name=schedule.owner.label)
        _check_readers(schedule.address, address)
        row = make_row(schedule.draft)
        after = (replaced.rows[0].after if replaced else None) or row
        target = {"revision": schedule.revision, "locale": schedule.locale}
        # Where the runs are answered, with the state and the number of runs that an undo restores.
        applier_data = add_progress(encode_json(schedule.reply_to), schedule)
        write = RowWrite(schedule.id, row, after, applier_data)
        # The draft has the kind of the schedule as its title.
        draft = Draft(SCHEDULE_APPLIER, SCHEDULE_KIND, target, schedule.draft.kind, (write,))
        return replace(draft, change_id=replaced.change_id) if replaced else draft

    async def list_page(
        self, by: Person, address: Address, page: int, *, alerts: bool = False
    ) -> tuple[Sequence[Schedule], int]:
        """Return a page of the person's schedules (or `alerts`) and those of this place, active
        ones first, and the number of pages. Pages count from 1. A person can have several accounts,
        each with a key; the place of a thread is the thread and its channel."""
        places = {address.conversation, address.channel_key if address.is_shared else ""}
        filters = [ScheduleFilter(conversation=place) for place in places if place]
        filters += [ScheduleFilter(person=key) for key in self.people.list_keys(by.key)]
        # Other people may read this place, so schedules of private places stay out.
        schedules = {
            schedule.id: schedule
            for wanted in filters
            for schedule in await self.schedules.list_matching(wanted)
            if not address.is_shared or schedule.address.is_same_channel(address)
        }
        listed = sorted(
            (s for s in schedules.values() if (s.draft.kind == "alert") is alerts),
            key=lambda schedule: (schedule.state != "active", schedule.next_due_at, schedule.id),
        )
        first = (page - 1) * SCHEDULES_PER_PAGE
        page_schedules = listed[first : first + SCHEDULES_PER_PAGE] if page > 0 else ()
        return page_schedules, -(-len(listed) // SCHEDULES_PER_PAGE)  # rounded up

    async def get(self, id: str, by: Person, address: Address) -> Schedule:
        """Return a schedule that the person may see: their own, one of this channel, or any if they
        are an admin."""
        schedule = await self.schedules.get(id)
        if schedule.address.is_same_channel(address) or self.is_owner(schedule, by):
            return schedule
        if (await self.people.policy.may(by, address, "administer")).allowed:
            return schedule
        raise NotFound("Schedule {id} not found.", id=id)

    def is_owner(self, schedule: Schedule, by: Person) -> bool:
        return schedule.owner.key in self.people.list_keys(by.key)

    async def get_managed(self, id: str, by: Person, address: Address) -> Schedule:
        """Return a schedule that the person may pause, run or delete: their own, or any if they are
        an admin. Raise NotFound, NotAllowed, StatusUnknown."""
        schedule = await self._get_as_human(id, by, address)
        if self.is_owner(schedule, by):
            return schedule
        verdict = await self.people.policy.may(by, address, "administer")
        if not verdict.allowed and not verdict.is_unknown:
            raise NotAllowed(_OWNER_OR_ADMIN, name=schedule.owner.label)
        verdict.raise_if_denied()
        return schedule

    async def _get_as_human(self, id: str, by: Person, address: Address) -> Schedule:
        """Raise NotFound, and NotAllowed for a program, whose attempt is written to the audit
        log."""
        schedule = await self.get(id, by, address)
        if by.is_bot:
            self.people.audit.note(
                "schedule-refused", by, address, person=schedule.owner.key, schedule=schedule.id
            )
            raise NotAllowed("A program can't start, change or delete a schedule.")
        return schedule


def _check_readers(place: Address, here: Address) -> None:
    if here.is_shared and not place.is_same_channel(here):
        raise NotAllowed(_READ_BY_OTHERS)


CHANGED = "schedules"
FIRST_LOOK_BACKOFF = Backoff(1.0, max_seconds=30.0)


_SHOWN = ["id", "state", "reason", "next_due_at", "last_due_at", "runs", "failures", "created_at"]


def _describe_last(schedule: ReadableSchedule) -> str:
    """Return what the last look of an alert found; "" for another schedule."""
    state = read_state(schedule)
    if not state.looked_at:
        return ""
    when = describe_date(local_time(state.looked_at, schedule.draft.time_zone))
    return say(
        "Last check ({when}): {value}.", when=when, value=escape_markdown(state.value or "–")
    )


@dataclass
class Scheduling:
    """The parts of one process that work with schedules: the store of their rows, the service
    for people, the origin of runs, and the timer that starts them. Each is built with its first
    use, so an installation without schedules loads few of their modules. `notices` sends notices
    to people."""

    database: Database
    conversations: Conversations
    people: People
    platforms: Platforms
    approval: Approval
    notices: PersonNoticeService
    peers: Peers
    config: ScheduleConfig
    find_tool: FindTool
    may_know: MayKnow
    clock: Callable[[], float] = time.time
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    """The scheduler is loaded once there is one."""
    _tasks: BackgroundTasks = field(default_factory=lambda: BackgroundTasks("schedules"))

    @cached_property
    def store(self) -> Schedules:
        """After each change, the store wakes the timers of all processes (`_note_change`)."""
        # The engine builds every inbox as an SqlInbox; the field has the type of the port.
        store = Schedules(
            self.database,
            cast(SqlInbox, self.conversations.inbox),
            self.clock,
            peers=self.peers,  # the other processes on the same database
            destination=self._find_destination,
        )
        store.on_change = self._note_change
        return store

    @cached_property
    def service(self) -> ScheduleService:
        ledger = self.conversations.ledger
        return ScheduleService(
            self.store, ledger, self.people, self.config, self.platforms, self.clock
        )

    async def answer(self, turn: Turn, command: TypedCommand, *, is_demo: bool) -> Answer:
        """Carry out a typed command about schedules: `schedules` lists them (its ID is the number
        of a page), `schedule ID …` shows or manages one. In a shared place, answers that others
        need not read are private. `is_demo`: the demo model answers. Raise NotFound, NotAllowed,
        StatusUnknown or BadSchedule."""
        message, service, id = turn.message, self.service, command.id
        who = message.author, message.address
        if command.name in ("schedules", "alerts"):
            page, is_alerts = int(id or 1), command.name == "alerts"
            schedules, pages = await service.list_page(*who, page, alerts=is_alerts)
            if schedules:
                lines = [say("Alerts:" if is_alerts else "Schedules:"), ""]
                for schedule in schedules:
                    shown = await self.withhold(schedule, *who)
                    lines.append(f"- {describe_schedule(shown)} {_describe_last(shown)}".rstrip())
                if pages > 1:
                    lines += ["", say("Page {page} of {pages}.", page=page, pages=pages)]
                if page < pages:
                    typed = localize_command(command.name)
                    sentence = "For the next page, type `{command} {page}`."
                    lines[-1] += f" {say(sentence, command=typed, page=page + 1)}"
                reply = "\n".join(lines)
            elif is_alerts:
                reply = say(
                    "No alerts here. To create one, ask me, for example: “Tell me when more than "
                    "20 invoices are overdue.”"
                )
            elif pages:
                reply = plural(
                    "There is only {count} page of schedules.",
                    "There are only {count} pages of schedules.",
                    pages,
                )
            elif is_demo:
                reply = say(
                    "No schedules yet. The demo model can't create any. Connect a real model."
                )
            else:
                reply = say(
                    "No schedules yet. To create one, ask me, for example: “Remind me "
                    "tomorrow at 2 PM to call Ana.”"
                )
            return Answer(reply, is_private=message.address.is_shared)
        find = service.get if command.slug == "show" else service.get_managed
        schedule = await find(id, *who)
        # the parser lets nothing else through
        match command.slug:
            case "show":
                shown = await self.withhold(schedule, *who)
                runs = await self.store.list_runs(id)
                whole, last = describe_whole(shown, self.clock()), _describe_last(shown)
                lines = [f"{whole}\n{last}".rstrip(), ""]
                placed = draw_values(shown) if last else ()
                last = turn_id(runs[0].event_key) if runs else ""
                former = await self.conversations.journal.find_ended_turn(last) if last else None
                if schedule.draft.kind == "ask" and former and can_be_saved(former):
                    lines[1:] = ["", say(_NEEDS_NO_MODEL), ""]
                lines += [f"{drawing.text}\n" for drawing in placed]
                for run in runs:
                    due = describe_date(local_time(run.due_at, schedule.draft.time_zone))
                    result = describe_result(run.state, run.missed_count, is_late=run.is_late)
                    lines.append(f"- {due}: {result}")
                text = "\n".join(lines).strip()
                return Answer(text, is_private=message.address.is_shared, placed=placed)
            case "delete":
                shown = await self.withhold(await self.store.delete(id, by=who[0]), *who)
                reply = f"**{build_inert_title(shown)}**\n\n{say('Deleted.')}"
            case "run":
                run = await self.store.run_now(id, message.event_key, who[0])
                # A look that a person asked for has no run of its own.
                started = "The run has started." if run.event_key else "I'll post the result there."
                return Answer(say(started), is_private=message.address.is_shared)
            case word:
                if word == "pause":
                    schedule = await self.store.pause(id, "person", who[0])
                else:
                    schedule = await self.store.resume(id, who[0])
                reply = describe_whole(await self.withhold(schedule, *who), self.clock())
        # Others here need not learn of schedules of other places.
        is_elsewhere = not schedule.address.is_same_channel(message.address)
        return Answer(reply, is_private=message.address.is_shared and is_elsewhere)

    @cached_property
    def watch(self) -> AlertWatch:
        from core.schedules.looks import AlertWatch

        return AlertWatch(
            self.store,
            self.people.policy,
            self.find_tool,
            self.may_know,
            self.origin.check_standing,
            self._tasks,
        )

    @cached_property
    def origin(self) -> ScheduleOrigin:
        from core.schedules.runs import ScheduleOrigin

        return ScheduleOrigin(
            self.store, self.people, self.config, self.platforms.messengers, self.wake
        )

    @cached_property
    def scheduler(self) -> Scheduler:
        """The timer that starts runs."""
        from core.schedules.runs import Scheduler, ScheduleReports

        reports = ScheduleReports(
            self.store,
            self.platforms.messengers,
            self.approval,
            self.withhold,
            self.notices.wake,
        )
        return Scheduler(self.store, self.people.policy, reports.report, self.watch)

    def wake(self) -> None:
        self._changed.set()
        if "scheduler" in self.__dict__:  # built already; to build it here would load its modules
            self.scheduler.wake()

    async def run(self) -> None:
        """Before there is any schedule, only wait for one: the code of the timer is loaded then."""
        # Another process may create the first one; `_on_change` sets `_changed` then.
        self.peers.on(CHANGED, self._on_change)
        while not await retry(
            lambda: has_rows(self.database, "schedules"), NotStored, FIRST_LOOK_BACKOFF
        ):
            await self._changed.wait()
            self._changed.clear()
        await self.scheduler.run()

    async def withhold(
        self, schedule: Schedule, by: Person, address: Address, viewer: Viewer | None = None
    ) -> ReadableSchedule:
        """Return the schedule as the person may read it at the address: one of tables that they may
        not read there has neither its text nor what it found. `viewer` gets what it needs."""
        shown = await self._withhold_draft(schedule.draft, by, address, viewer)
        watch = schedule.watch if shown == schedule.draft else ""
        return ReadableSchedule(replace(schedule, draft=shown, watch=watch))

    async def withhold_change(self, change: Change, by: Person) -> Change:
        """Return the change with the drafts of a schedule as the person may read them in its
        place; any other change as it is."""
        if change.draft.kind != SCHEDULE_KIND:
            return change

        async def show(row: Row | None) -> Row | None:
            place = change.proposal.address
            return row and make_row(await self._withhold_draft(read_row(row), by, place))

        (step,) = change.steps
        before, after = await show(step.write.before), await show(step.write.after)
        write = replace(step.write, before=before, after=after)
        return replace(change, steps=(replace(step, write=write),))

    async def _withhold_draft(
        self, draft: ScheduleDraft, by: Person, address: Address, viewer: Viewer | None = None
    ) -> ScheduleDraft:
        if by == OPERATOR or not (draft.queries or draft.kind == "alert"):
            return draft
        rights = await self.people.policy.rights(by, address)
        calls = load_calls(draft.queries)
        needs = frozenset[Need]().union(*(call.needs for call in calls))
        if calls and self.may_know(rights, needs):
            if viewer:
                viewer.needs.update(needs)
            return draft
        return replace(draft, text=say(HIDDEN_TABLE), condition="")

    async def list_all(self, by: Person) -> Sequence[Mapping[str, Any]]:
        """Everybody's schedules, each with its last run, as `by` may read them."""
        every = ScheduleFilter(states=("active", "paused", "ended"))
        schedules = await self.store.list_matching(every)
        last = await self.store.find_last_runs() if schedules else {}
        return [
            {
                **await self.to_json(schedule, by),
                "last_run": asdict(last[schedule.id]) if schedule.id in last else None,
            }
            for schedule in schedules
        ]

    async def show(self, id: str, by: Person) -> Mapping[str, Any]:
        schedule, runs = await self.store.get(id), await self.store.list_runs(id)
        shown = await self.to_json(schedule, by)
        return {"schedules": [shown], "runs": [asdict(run) for run in runs]}

    async def to_json(self, schedule: Schedule, by: Person) -> Mapping[str, Any]:
        """For the shell and the operator's page. `value` and `looked_at` are those of an alert."""
        shown = await self.withhold(schedule, by, schedule.address)
        draft, state = shown.draft, read_state(shown)
        return {
            **{name: getattr(shown, name) for name in _SHOWN},
            **asdict(draft.rule),
            "owner": shown.owner.key,
            "place": shown.address.channel_key,
            "kind": draft.kind,
            "text": draft.text,
            "time_zone": draft.time_zone,
            "value": state.value,
            "looked_at": state.looked_at,
        }

    async def close(self) -> None:
        await self._tasks.close()
        if "watch" in self.__dict__:
            await self.watch.close()

    def _find_destination(self, to: ReplyTo) -> ReplyTo:
        """Return where a run in the place of `to` posts: as a new post in a channel, else below the
        earlier messages. A run answers no message, so it cannot use `to` itself."""
        messenger = self.platforms.messengers.get(to.address.platform)
        if messenger is None:
            return to
        if to.address.is_shared and not to.address.thread:
            return messenger.destination_in(to.address, to.asker)
        return messenger.destination_after(to)

    def _note_change(self) -> None:
        self.wake()
        self._tasks.start(self.peers.notify(CHANGED, ""))

    async def _on_change(self, _: str) -> None:
        self.wake()


WRITE_TIMEOUT_SECONDS = 30.0


class ScheduleApplier:
    """Carries out approved changes of schedules."""

    name = SCHEDULE_APPLIER
    patience = WRITE_TIMEOUT_SECONDS

    def __init__(self, schedules: Scheduling) -> None:
        self._schedules = schedules

    def batch(self, draft: Draft) -> int:
        return 1

    def open(self, draft: Draft) -> Batch:
        return _ScheduleBatch(draft, self._schedules.service)

    async def check_asker(self, draft: Draft) -> None:
        """Raise NotAllowed, StatusUnknown or BadSchedule if the asker may not own the schedule now,
        or it is never due again."""
        (row,) = draft.rows
        if row.after is not None:
            to = decode_json(ReplyTo, row.applier_data)
            await self._schedules.service.check(
                read_row(row.after), to.asker, to.address, is_new=row.before is None
            )

    async def revise(self, change: Change, values: Mapping[str, str], changer: Changer) -> Draft:
        """Return the draft of a schedule's proposal with the text, time or time zone that a person
        entered into its form (`values`). An edit begins from the schedule as it is now. Raise
        ToolError, BadSchedule, NotFound, NotAllowed or StatusUnknown.

        The proposal has one row. Its `before` is None for a new schedule, and its `applier_data` is
        the JSON of where the runs are answered, and to whom (`ReplyTo`)."""
        service = self._schedules.service
        base = await service.find_base(change.id, changer.person, changer.address)
        (row,) = base.rows
        draft, to = read_row(row.after or {}), decode_json(ReplyTo, row.applier_data)
        text, when = values.get(TEXT_KEY, draft.text), values.get(WHEN_KEY, "").strip()
        zone = get_zone(values.get(ZONE_KEY, "").strip() or draft.time_zone)
        now = datetime.fromtimestamp(service.clock(), zone)
        # A date and time as people type it, such as `24/11/2026 14:00`, becomes ISO 8601. A local
        # one has no offset, so that `read_rule` refuses a time that the clocks skip.
        if moment := parse_typed_moment(when, now):
            when = f"{moment:%Y-%m-%dT%H:%M:%S}" if moment.tzinfo is zone else moment.isoformat()
        # A person wrote the new text. A model may have written the addresses of the former one.
        new = find_addresses(text)
        # Addresses that were in the text count as the person's only if they did before.
        written_addresses = new - (find_addresses(draft.text) - set(draft.addresses))
        draft = replace(
            draft,
            text=text,
            addresses=tuple(sorted(written_addresses)),
            time_zone=zone.key,
            rule=read_rule(when, draft.rule, zone) if when else draft.rule,
        )
        draft = await service.check(draft, to.asker, to.address, is_new=row.before is None)
        return replace(base, title=draft.kind, rows=(replace(row, after=make_row(draft)),))

    def revert(self, change: Change) -> Draft:
        """The draft applies only to the revision that the change wrote."""
        write = change.steps[0].write
        state, runs = read_progress(write.applier_data)
        target = {**change.draft.target, "revision": change.id, "state": state, "runs": runs}
        row = replace(write, before=write.after, after=write.before)
        return replace(change.draft, target=target, rows=(row,))


@dataclass(frozen=True, slots=True)
class _ScheduleBatch:
    draft: Draft
    service: ScheduleService

    async def check(self, rows: Sequence[RowWrite]) -> Sequence[RowCheck]:
        """Return whether the schedule is as before the change, as after it (an earlier attempt
        wrote it), or otherwise (somebody else changed it). A written schedule has the id of the
        change as its revision. The schedule's state and the number of its runs are added to the
        row, because an undo restores them."""
        (row,) = rows
        # A new schedule gets the id of its change.
        row = replace(row, id=row.id or self.draft.change_id)
        try:
            schedule = await self.service.schedules.get(row.id)
        except NotFound:
            if row.before is None:
                return [RowCheck("before", row)]
            return [RowCheck("after" if row.after is None else "other", row)]
        current = make_row(schedule.draft)
        if schedule.revision == self.draft.change_id:
            return [RowCheck("after", row, current)]
        if row.before is None or schedule.revision != self.draft.target["revision"]:
            return [RowCheck("other", row, current)]
        row = replace(row, applier_data=add_progress(row.applier_data, schedule))
        return [RowCheck("before", row, current)]

    async def write(self, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        """Raise ToolError if the schedule is not at the revision that the change was made for, or
        must not be written."""
        (row,) = rows
        service, target = self.service, self.draft.target
        # The revision that the schedule must still have; "" for one that does not exist yet.
        former = "" if row.before is None else target["revision"]
        to = decode_json(ReplyTo, row.applier_data)  # where its runs are answered, and to whom
        try:
            if row.after is None:
                change = self.draft.change_id
                await service.schedules.delete(row.id, former, to.asker, change)
            else:
                schedule = Schedule(
                    row.id,
                    to.asker,
                    to,
                    read_row(row.after),
                    self._state_after(row),
                    locale=target["locale"],
                    revision=self.draft.change_id,  # by it, `check` finds what was written
                    runs=target.get("runs", 0),  # an undo has some
                )
                # The limit counts the schedules of all keys of one human.
                people = service.people.list_keys(to.asker.key)
                most = service.find_limits(schedule.draft).per_person
                await service.schedules.put(schedule, former, people, most)
        except (NotFound, BadSchedule) as error:
            raise ToolError("{why}", why=error) from error
        return rows

    def _state_after(self, row: RowWrite) -> ScheduleState:
        """For a schedule that exists, "paused" means that it keeps its state. An edit lets an ended
        schedule run again. An undo, whose target has the state to restore, does not."""
        former: ScheduleState | None = self.draft.target.get("state")
        if row.before is None:
            return former or "active"
        if former is None and read_progress(row.applier_data)[0] == "ended":
            return "active"
        return "ended" if former == "ended" else "paused"
