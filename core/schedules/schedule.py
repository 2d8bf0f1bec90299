"""Schedules: what runs when, for whom and where; their due times, and what to do with missed ones.

Times are in seconds since the epoch; 0 means none. `core.schedules.schedule` computes due times.

Rules with five fields follow Debian's cron, as the library `cronsim` implements it. A job at a
certain time of day runs once on each day: a time that does not exist because clocks go forward runs
when the gap ends, and a time that occurs twice runs the first time. A job of every hour or of every
few minutes follows the elapsed time.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from itertools import islice, pairwise
from typing import Any, Literal, NewType, Protocol
from zoneinfo import ZoneInfo

from core.base.errors import BadInput, ToolError
from core.base.i18n import find_zone
from core.base.text import clean_text
from core.domain.messages import (
    Address,
    Message,
    MessageOrigin,
    Person,
    ReplyTo,
    decode_json,
    encode_json,
    turn_id,
)
from core.store.database import SqlRow
from core.store.tables import Column, Index, TableDeclaration, count, real, text
from core.turn.origins import PauseReason

ScheduleKind = Literal["ask", "post", "command", "saved", "alert"]
"""What a run does: ask the model (a turn with tools), post a text, run a quick command, or show a
saved question; an alert has looks. Only the first calls a model."""
ScheduleState = Literal["active", "paused", "ended"]
RunState = Literal["queued", "done", "failed", "stopped", "skipped", "missed"]
"""`done`: its post is confirmed. `skipped`: it did not begin. `missed`: no process ran when it was
due, and it was too old to be caught up."""
HOUR_SECONDS = 3600.0
DEFAULT_CATCH_UP_SECONDS = 6 * HOUR_SECONDS
MAX_CATCH_UP_SECONDS = 7 * 24 * HOUR_SECONDS
LATE_SECONDS = 120.0
KEPT_RUNS = 50
MAX_FAILED_RUNS = 3
MAX_WHAT_LENGTH = 4_000
SCHEDULE_CHANGED = "Nothing was done, because this schedule has since changed."


class BadSchedule(BadInput):
    """A schedule has a value that the person can correct."""

    code = "bad_schedule"
    sentence = "This schedule isn't valid."


@dataclass(frozen=True, slots=True)
class ScheduleRule:
    """The due times of a schedule: one instant (`run_at`), or the five fields of `cron` (minute,
    hour, day, month, weekday) in the schedule's time zone. Exactly one of the two is set."""

    cron: str = ""
    run_at: float = 0.0


@dataclass(frozen=True, slots=True)
class ScheduleDraft:
    """The part of a schedule that its owner chooses and confirms. `text` is the instruction for the
    model, the text to post, or the quick command as a person types it (`quick-command SLUG …`).
    `time_zone` is an IANA time zone. `ends_at`: no run is due after it. `max_runs`: the schedule
    ends after so many runs. 0 is no limit for both."""

    kind: ScheduleKind
    text: str
    rule: ScheduleRule
    time_zone: str
    catch_up_seconds: float = DEFAULT_CATCH_UP_SECONDS
    ends_at: float = 0.0
    max_runs: int = 0
    addresses: tuple[str, ...] = ()
    """The addresses in `text` that the owner wrote in the conversation. A model wrote the rest."""
    queries: str = ""
    """Of the kind `saved`, whose `text` is the question's name: its own copy of the calls. Of an
    alert, the call that reads its rows."""
    condition: str = ""
    """Of an alert: the JSON of its `AlertCondition`."""


def make_row(draft: ScheduleDraft) -> dict[str, Any]:
    return dict(json.loads(encode_json(draft)))


def read_row(row: Mapping[str, Any]) -> ScheduleDraft:
    return decode_json(ScheduleDraft, json.dumps(row))


@dataclass(frozen=True, slots=True)
class Schedule:
    """`reply_to` has the place and everything that a reply there needs, without a token. `locale`
    is the language of its owner. The schedule has the id of the change that created it, and
    `revision` is the id of the change that wrote `draft`."""

    id: str
    owner: Person
    reply_to: ReplyTo
    draft: ScheduleDraft
    state: ScheduleState = "active"
    reason: PauseReason = ""
    locale: str = ""
    next_due_at: float = 0.0
    last_due_at: float = 0.0
    runs: int = 0
    failures: int = 0
    revision: str = ""
    created_at: float = 0.0
    watch: str = ""
    """Of an alert: the JSON of its `AlertState`; "" before its first look."""

    @property
    def address(self) -> Address:
        return self.reply_to.address


ReadableSchedule = NewType("ReadableSchedule", Schedule)
"""A schedule as one reader may read it (`Scheduling.withhold`). All that people read of a schedule
is made of one, except its card and its posts."""


def add_progress(applier_data: str, schedule: Schedule) -> str:
    """An undo restores both."""
    runs = 0 if schedule.state == "ended" else schedule.runs
    return json.dumps({**json.loads(applier_data), "state": schedule.state, "runs": runs})


def read_progress(applier_data: str) -> tuple[ScheduleState | None, int]:
    values = json.loads(applier_data)
    return values.get("state"), values.get("runs", 0)


@dataclass(frozen=True, slots=True)
class ScheduleRun:
    """`seq` is its turn, 0 if there is none.

    `missed_count` is the number of due times that a row of missed runs stands for; `due_at` is the
    first of them.
    """

    event_key: str
    schedule: str
    due_at: float
    state: RunState
    seq: int = 0
    reason: str = ""
    is_late: bool = False
    missed_count: int = 1
    started_at: float = 0.0
    ended_at: float = 0.0


@dataclass(frozen=True, slots=True)
class DuePlan:
    """The steps for a schedule that is due: start the run of `due_at` (0: none), record the
    `missed_count` due times since `first_missed_at` as missed, and wait for `next_due_at` (0: the
    schedule ends)."""

    due_at: float
    next_due_at: float
    is_late: bool = False
    first_missed_at: float = 0.0
    missed_count: int = 0


@dataclass(frozen=True, slots=True)
class ScheduleLimits:
    """`shortest_minutes` is the shortest time between two runs. `per_person` is the number of
    active and paused schedules of one person."""

    shortest_minutes: int = 15
    per_person: int = 20


class ScheduleConfig(Protocol):
    """The part of ponte.toml that schedules read. An operator can reload it."""

    def section(self, name: str) -> Any:
        """Return the section of this name; that of "schedules" is a `ScheduleLimits`."""

    @property
    def quick_commands(self) -> Mapping[str, Any]:
        """Return the quick commands that are listed now, by their slugs, each with its `effect`."""


@dataclass(frozen=True, slots=True)
class ScheduleFilter:
    """Selects schedules to list: those of a person (a key), of a conversation, or all, in these
    states."""

    person: str = ""
    conversation: str = ""
    states: tuple[ScheduleState, ...] = field(default=("active", "paused"))


def make_run_message(
    schedule: Schedule, to: ReplyTo, due: float, event_key: str, is_late: bool, read_until: str
) -> Message:
    """Return the message that carries out a run, as if the schedule's owner had sent its text in
    its place. `to` is the destination of its answer. Nobody waits for the answer, a model may have
    written the text (so `is_authored` is False), and the turn reads no earlier messages."""
    turn, draft = turn_id(event_key), schedule.draft
    # A platform's token for the answer to a message expires soon, so a run has none.
    reply_to = replace(to, asker=schedule.owner, turn=turn, token="", token_expires_at=0.0)
    return Message(
        event_key,
        draft.text,
        schedule.owner,
        schedule.address,
        reply_to,
        locale=schedule.locale,
        time_zone=draft.time_zone,
        sent_at=due,
        origin=MessageOrigin(
            "schedule",
            schedule.id,
            may_be_command=draft.kind == "command",
            is_authored=False,
            is_attended=False,
            reads_history=False,
            # A run is skipped if its schedule was edited meanwhile and so has another `revision`. A
            # late run names `due_at` below its answer. `read_until`: how far the last run that was
            # posted read the messages of its place (`core.tools.reading`).
            data={
                "kind": draft.kind,
                "due_at": due,
                "revision": schedule.revision,
                "is_late": is_late,
                "read_until": read_until,
                "addresses": draft.addresses,
                "queries": draft.queries,
                # An alert gets back this state if the post is refused (`Schedules.skip`).
                "watch": schedule.watch,
                "condition": draft.condition,
            },
        ),
    )


MAX_COUNTED_MISSED = 1_000
CHECKED_DUE_TIMES = 200
"""Two full days of a rule with 15 minutes between its runs have fewer."""
MAX_YEARS_AHEAD = 5
MAX_DATES_A_YEAR = 2_200
"""Due times that are all looked at for changes of the clock: six on each day."""
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MONTHS = ("", "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_FIELDS = ((0, 60, ()), (0, 24, ()), (1, 31, ()), (1, 12, MONTHS), (0, 7, WEEKDAYS))


def check_draft(draft: ScheduleDraft, now: float, limits: ScheduleLimits) -> ScheduleDraft:
    """Return the draft with a cleaned text, a rule that cronsim reads, and the full name of its
    time zone. Raise BadSchedule for a value that is wrong or outside the `limits`."""
    what = clean_text(draft.text).strip()
    if not what:
        raise BadSchedule("Say what the schedule should do.")
    if len(what) > MAX_WHAT_LENGTH:
        raise BadSchedule(
            "That is too long for a schedule: {length} characters. The limit is {most}.",
            length=len(what),
            most=MAX_WHAT_LENGTH,
        )
    zone = get_zone(draft.time_zone)
    rule = draft.rule
    # Both, or neither.
    if bool(rule.cron) == bool(rule.run_at):
        raise BadSchedule("Enter either one date and time or a repeating rule, not both.")
    if rule.run_at:
        if rule.run_at <= now:
            raise BadSchedule("That time has passed. Choose a later one.")
    else:
        rule = ScheduleRule(_checked_fields(rule.cron))
        # Times of day are compared, so that a change of the clock refuses nothing. The year is a
        # leap year, so that rules of February 29 have a due time in it.
        # Enough due times are compared to cover two days of the most frequent rule.
        last = 0.0
        began = datetime(2028, 1, 1, tzinfo=UTC).timestamp()
        for due in islice(_due_times(rule, "UTC", began), CHECKED_DUE_TIMES + 1):
            if last and due - last < limits.shortest_minutes * 60:
                raise BadSchedule(
                    "This schedule would run every {found} min. The minimum is {minutes} min.",
                    found=round((due - last) / 60),
                    minutes=limits.shortest_minutes,
                )
            last = due
    first = next_after(rule, draft.time_zone, now)
    if first is None or first > now + MAX_YEARS_AHEAD * 366 * 24 * HOUR_SECONDS:
        raise BadSchedule(
            "This schedule wouldn't run within the next {years} years.", years=MAX_YEARS_AHEAD
        )
    if not 0 <= draft.catch_up_seconds <= MAX_CATCH_UP_SECONDS:
        raise BadSchedule(
            "A missed run can be made up at most {days} days later.",
            days=round(MAX_CATCH_UP_SECONDS / 24 / HOUR_SECONDS),
        )
    if draft.max_runs < 0:
        raise BadSchedule("The number of runs must not be negative.")
    if draft.ends_at and first > draft.ends_at:
        raise BadSchedule("The schedule would end before its first run. Choose a later end.")
    return replace(draft, text=what, rule=rule, time_zone=zone.key)


def get_zone(name: str) -> ZoneInfo:
    """Raise BadSchedule if there is no IANA time zone of this name."""
    if (zone := find_zone(name)) is None:
        raise BadSchedule(
            "Time zone `{zone}` not found. Use a name such as America/Sao_Paulo or Europe/Paris.",
            zone=name[:60],
        )
    return zone


def next_after(rule: ScheduleRule, zone: str, after: float) -> float | None:
    return next(_due_times(rule, zone, after), None)


def next_dates(draft: ScheduleDraft, after: float, number: int = 3) -> list[datetime]:
    """Raise BadSchedule."""
    zone, dates = get_zone(draft.time_zone), list[datetime]()
    for due in _due_times(draft.rule, draft.time_zone, after):
        is_over = (draft.ends_at and due > draft.ends_at) or (
            draft.max_runs and len(dates) >= draft.max_runs
        )
        if is_over or len(dates) >= number:
            break
        dates.append(datetime.fromtimestamp(due, zone))
    return dates


def find_clock_changes(draft: ScheduleDraft, now: float) -> list[datetime]:
    """Due times of the next year that move to the end of a gap, and those whose time of day comes
    twice."""
    # A rule of every hour or every few hours follows the elapsed time.
    if any(field.startswith("*") for field in draft.rule.cron.split()[1:2]):
        return []
    year = now + 366 * 24 * HOUR_SECONDS
    within = replace(draft, ends_at=min(draft.ends_at or year, year))
    dates = next_dates(within, now, MAX_DATES_A_YEAR)
    if len(dates) == MAX_DATES_A_YEAR:  # too often to look at all: at those around each change
        days = next_dates(replace(within, rule=ScheduleRule("0 12 * * *")), now, 366)
        dates = [
            due
            for day, following in pairwise(days)
            if day.utcoffset() != following.utcoffset()
            for due in next_dates(within, day.timestamp(), CHECKED_DUE_TIMES)
        ]
    # A time of day in a gap runs when the gap ends. A second before that instant, clocks have
    # another offset.
    return [
        due
        for due in dates
        if is_twice(due)
        or datetime.fromtimestamp(due.timestamp() - 1, due.tzinfo).utcoffset() != due.utcoffset()
    ]


def is_twice(when: datetime) -> bool:
    return when.replace(fold=0).utcoffset() != when.replace(fold=1).utcoffset()


def plan_due(draft: ScheduleDraft, due: float, now: float) -> DuePlan:
    """Only the last due time that is not later than `now` can run, if it is younger than
    `draft.catch_up_seconds`. All earlier ones are missed, so a pause of the process leads to one
    run and never to a burst."""
    run, next_due, first_missed, missed = 0.0, 0.0, 0.0, 0
    window, end = now - draft.catch_up_seconds, draft.ends_at or math.inf
    if due < window:  # too old to be caught up: count what was missed until the window begins
        first_missed, missed = due, 1
        for due_time in _due_times(draft.rule, draft.time_zone, due):
            if due_time >= window or due_time > end or missed >= MAX_COUNTED_MISSED:
                break
            missed += 1
        # The rule may have been due very often meanwhile, so the rest is looked up from here. The
        # second before may hold a due time that was counted above.
        start = window - 1
    else:
        # One second before, so that `due` itself comes first.
        start = due - 1
    for due_time in _due_times(draft.rule, draft.time_zone, start):
        if due_time > end:
            break
        if due_time < window:
            continue
        if due_time <= now:
            if run:  # a later one can run instead, so this one is missed
                first_missed, missed = first_missed or run, missed + 1
            run = due_time
        else:
            next_due = due_time
            break
    return DuePlan(run, next_due, bool(run) and now - run > LATE_SECONDS, first_missed, missed)


def _due_times(rule: ScheduleRule, zone: str, after: float) -> Iterator[float]:
    """Yield the due times later than `after`, in order, each once. Raise BadSchedule."""
    if rule.run_at:
        if rule.run_at > after:
            yield rule.run_at
        return
    # Loaded for the first rule that repeats, so that a start does not wait for it.
    from cronsim import CronSim, CronSimError

    last = after
    try:
        for due in CronSim(
            _checked_fields(rule.cron), datetime.fromtimestamp(after, get_zone(zone))
        ):
            # At a change of the clock, two times of day can be the same instant, and the first
            # occurrence of a time that occurs twice can be before `after`.
            if (instant := due.timestamp()) > last:
                last = instant
                yield instant
    except CronSimError:
        # One of the fields is wrong, or they are never true together. Try each field alone, with
        # `*` for the others, to name the wrong one.
        for number, part in enumerate(rule.cron.split()):
            try:
                CronSim(f"{'* ' * number}{part}{' *' * (4 - number)}", datetime.now(UTC))
            except CronSimError:
                raise BadSchedule(
                    "The rule `{rule}` has an invalid field: `{field}`.",
                    rule=rule.cron[:100],
                    field=part[:40],
                ) from None
        never = "The rule `{rule}` is never due: none of its months has that day."
        raise BadSchedule(never, rule=rule.cron[:100]) from None


def parse_field_number(word: str, names: Sequence[str]) -> int | None:
    if word in names:
        return list(names).index(word)
    return int(word) if word.isdecimal() else None


def _checked_fields(cron: str) -> str:
    """cronsim also accepts a field of seconds. Minutes such as `*/30` in certain hours are written
    out, because cronsim would treat such a job as one of every hour, and skip the hour that a
    change of the clock leaves out. So are ranges over the end of a day, week, month or year, such
    as `FRI-MON`, which cronsim refuses."""
    # `_FIELDS` has, for each field, its first value, the number of its values, and their names.
    fields = cron.upper().split()
    if len(fields) != len(_FIELDS) or len(cron) > 200:
        raise BadSchedule(
            "The rule `{rule}` isn't valid. It needs five fields: minute, hour, day of the "
            "month, month, day of the week.",
            rule=cron[:100],
        )
    minute, hour = fields[:2]
    # `*/0` stays as it is: cronsim refuses it.
    step = re.fullmatch(r"\*(?:/(\d{1,2}))?", minute)
    if step and not hour.startswith("*") and int(step[1] or 1):
        fields[0] = ",".join(str(number) for number in range(0, 60, int(step[1] or 1)))
    return " ".join(
        ",".join(_split_range(part, *values) for part in field.split(","))
        for field, values in zip(fields, _FIELDS, strict=True)
    )


def _split_range(part: str, first: int, count: int, names: Sequence[str]) -> str:
    """Return a range over the end of its cycle as a list: of weekdays (`first` 0, `count` 7),
    `FRI-MON` becomes `5,6,0,1`."""
    # `end` is None if the part has no dash.
    begin, end = (parse_field_number(bound, names) for bound in (*part.split("-", 1), "")[:2])
    # Of weekdays, 7 is Sunday as well as 0.
    if begin is None or end is None or not first <= end < begin < first + count + (count == 7):
        return part
    return ",".join(str(first + (n - first) % count) for n in range(begin, end + count + 1))


_CLOCK = re.compile(r"(\d{1,2}):(\d{2})", re.ASCII)


def read_rule(when: str, before: ScheduleRule, zone: ZoneInfo) -> ScheduleRule:
    """Return the rule that `when` means: five fields of cron, a local date and time, or a time of
    day alone, which keeps the days of the schedule's earlier rule `before`."""
    if len(when.split()) > 2:  # a date and time has at most one space
        return ScheduleRule(cron=when)
    clock = _CLOCK.fullmatch(when)
    if clock and before.cron:
        days = before.cron.split()[2:]
        return ScheduleRule(" ".join([str(int(clock[2])), str(int(clock[1])), *days]))
    if clock and before.run_at:
        day = datetime.fromtimestamp(before.run_at, zone).date()
        when = f"{day}T{clock[1]:0>2}:{clock[2]}"
    # A time alone is refused here if there is no earlier rule whose days it could keep.
    return ScheduleRule(run_at=read_time(when, zone))


def read_time(iso_text: str, zone: ZoneInfo) -> float:
    """Raise ToolError if it is no such text, or a time that the clocks skip."""
    try:
        moment = datetime.fromisoformat(iso_text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        at = moment.timestamp()
    except (ValueError, OverflowError) as error:
        raise ToolError(
            "Invalid date or time. Write it as 2026-11-24 14:00.", hint=str(error)
        ) from None
    # A skipped time comes back as another one.
    if datetime.fromtimestamp(at, moment.tzinfo) != moment:
        raise ToolError(
            "This time doesn't exist: the clocks skip it on that day.", hint="ask for another one"
        )
    return at


SCHEDULES_TABLE = TableDeclaration(
    name="schedules",
    whose="person",
    section="schedules",
    seen_at="created_at",
    contents="each schedule: what it does and where, when it is due, the time zone, the owner; of"
    " an alert, the last value and the IDs of rows",
    kept="until its owner deletes it or is forgotten",
    columns=(
        text("id"),
        text("person"),
        text("owner", json=True),
        text("conversation"),
        text("reply_to", json=True),
        text("kind"),
        text("text"),
        text("cron", default=""),
        Column("run_at", "REAL", 0),
        text("time_zone"),
        text("locale", default=""),
        text("state"),  # active, paused or ended
        text("reason", default=""),
        Column("next_due_at", "REAL", 0),
        Column("last_due_at", "REAL", 0),
        real("catch_up_seconds"),
        Column("ends_at", "REAL", 0),
        text("addresses", default=""),
        text("queries", default=""),
        text("condition", default=""),
        text("watch", default=""),
        count("max_runs"),
        count("runs"),
        count("failures"),
        text("revision"),  # the change that wrote the draft
        real("created_at"),
        real("updated_at"),
    ),
    key=("id",),
    indexes=(
        Index("schedules_due", "next_due_at", "state = 'active'"),
        Index("schedules_person", "person"),
        Index("schedules_conversation", "conversation"),
    ),
    deleted_by=("person",),
)
SCHEDULE_RUNS_TABLE = TableDeclaration(
    name="schedule_runs",
    whose="person",
    section="schedule_runs",
    seen_at="started_at",
    contents="when a schedule ran or should have, and the outcome",
    kept="the newest 50 of each schedule",
    columns=(
        text("event_key"),
        text("schedule"),
        text("person"),
        real("due_at"),
        count("seq"),
        text("state"),  # queued, done, failed, stopped, skipped or missed
        text("reason", default=""),
        count("is_late"),
        count("missed_count", default=1),  # how many due times a row of missed runs stands for
        real("started_at"),
        Column("ended_at", "REAL", 0),
        count("is_notified"),
    ),
    key=("event_key",),
    indexes=(
        Index("schedule_runs_schedule", "schedule, due_at"),
        Index("schedule_runs_person", "person"),
        Index("schedule_runs_seq", "seq"),
        Index("schedule_runs_open", "schedule", "state = 'queued'"),
        Index("schedule_runs_unnotified", "schedule", "is_notified = 0 AND state <> 'queued'"),
    ),
    deleted_by=("person",),
)


_IN_OTHER_COLUMNS = {"owner", "reply_to", "draft", "rule", "addresses"}


def make_columns(draft: ScheduleDraft) -> dict[str, Any]:
    addresses = " ".join(draft.addresses)  # URLs, which contain no spaces
    values = {**asdict(draft), **asdict(draft.rule), "addresses": addresses}
    values.pop("rule")
    return values


def read_schedule(row: SqlRow) -> Schedule:
    """Raise ValueError for a damaged owner or place."""
    rule, addresses = ScheduleRule(row["cron"], row["run_at"]), tuple(row["addresses"].split())
    return Schedule(
        owner=decode_json(Person, row["owner"]),
        reply_to=decode_json(ReplyTo, row["reply_to"]),
        draft=ScheduleDraft(rule=rule, addresses=addresses, **_read_fields(ScheduleDraft, row)),
        **_read_fields(Schedule, row),
    )


def read_run(row: SqlRow) -> ScheduleRun:
    return ScheduleRun(**_read_fields(ScheduleRun, row) | {"is_late": bool(row["is_late"])})


def _read_fields(kind: type[Schedule | ScheduleDraft | ScheduleRun], row: SqlRow) -> dict[str, Any]:
    names = {field.name for field in fields(kind)} - _IN_OTHER_COLUMNS
    return {name: row[name] for name in names}
