"""Due times of schedules: checks of rules, the next due time, and what to do with missed ones.

Rules with five fields follow Debian's cron, as the library `cronsim` implements it. A job at a
certain time of day runs once on each day: a time that does not exist because clocks go forward runs
when the gap ends, and a time that occurs twice runs the first time. A job of every hour or of every
few minutes follows the elapsed time. `core.schedules.rule_words` puts rules into words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from core.base.text import clean_text
from core.schedules.schedule import (
    HOUR_SECONDS,
    LATE_SECONDS,
    MAX_CATCH_UP_SECONDS,
    MAX_WHAT_LENGTH,
    BadSchedule,
    DuePlan,
    ScheduleDraft,
    ScheduleLimits,
    ScheduleRule,
)

MAX_COUNTED_MISSED = 1_000
"""Missed due times are counted up to this number."""
CHECKED_DUE_TIMES = 200
"""Due times that a check of the shortest interval compares. Two full days of a rule with 15 minutes
between its runs have fewer."""
MAX_YEARS_AHEAD = 5
"""A schedule must be due within so many years."""
MAX_DATES_A_YEAR = 2_200
"""Due times in which changes of the clock are looked for: six on each day."""
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MONTHS = ("", "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_FIELDS = ((0, 60, ()), (0, 24, ()), (1, 31, ()), (1, 12, MONTHS), (0, 7, WEEKDAYS))
"""The first value, the number of values and their names, for each field of a rule."""


def check_draft(draft: ScheduleDraft, now: float, limits: ScheduleLimits) -> ScheduleDraft:
    """Return the draft, cleaned, with the end that the limits prescribe. Raise BadSchedule if a
    value is wrong."""
    what = clean_text(draft.text).strip()
    if not what:
        raise BadSchedule("Say what the schedule should do.")
    if len(what) > MAX_WHAT_LENGTH:
        raise BadSchedule(
            "That is too long for a schedule: {length} characters. The limit is {most}.",
            length=len(what), most=MAX_WHAT_LENGTH,
        )  # fmt: skip
    zone = get_zone(draft.time_zone)
    rule = draft.rule
    if bool(rule.cron) == bool(rule.run_at):
        raise BadSchedule("Give one date and time, or a rule that repeats, and not both.")
    if rule.run_at:
        if rule.run_at <= now:
            raise BadSchedule("That time has passed. Choose a later one.")
    else:
        rule = ScheduleRule(_checked_fields(rule.cron))
        _check_interval(rule, limits.shortest_minutes)
    first = next_after(rule, draft.time_zone, now)
    if first is None or first > now + MAX_YEARS_AHEAD * 366 * 24 * HOUR_SECONDS:
        raise BadSchedule(
            "This schedule would not run within the next {years} years.", years=MAX_YEARS_AHEAD
        )
    if not 0 <= draft.catch_up_seconds <= MAX_CATCH_UP_SECONDS:
        raise BadSchedule(
            "A missed run can be caught up for at most {days} days.",
            days=round(MAX_CATCH_UP_SECONDS / 24 / HOUR_SECONDS),
        )
    if draft.max_runs < 0:
        raise BadSchedule("The number of runs must not be negative.")
    if draft.ends_at and first > draft.ends_at:
        raise BadSchedule("The schedule would end before its first run. Choose a later end.")
    return replace(draft, text=what, rule=rule, time_zone=zone.key)


def get_zone(name: str) -> ZoneInfo:
    """Return the IANA time zone of this name. Raise BadSchedule if there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadSchedule(
            "There is no time zone {zone}. Use a name such as America/Sao_Paulo or Europe/Paris.",
            zone=repr(name[:60]),
        ) from None


def next_after(rule: ScheduleRule, zone: str, after: float) -> float | None:
    """Return the first due time later than `after`, None if there is none. Raise BadSchedule."""
    return next(_due_times(rule, zone, after), None)


def next_dates(draft: ScheduleDraft, after: float, number: int = 3) -> list[datetime]:
    """Return the next due times in the schedule's zone, at most `number`. Raise BadSchedule."""
    zone, found = get_zone(draft.time_zone), list[datetime]()
    for due in _due_times(draft.rule, draft.time_zone, after):
        is_over = (draft.ends_at and due > draft.ends_at) or (
            draft.max_runs and len(found) >= draft.max_runs
        )
        if is_over or len(found) >= number:
            break
        found.append(datetime.fromtimestamp(due, zone))
    return found


def find_clock_changes(draft: ScheduleDraft, now: float) -> list[datetime]:
    """Return the due times of the next year that the clocks move to the end of a gap, or whose time
    of day comes twice. A rule of every hour or minute has none, as it follows the elapsed time."""
    if any(field.startswith("*") for field in draft.rule.cron.split()[:2]):
        return []
    year = now + 366 * 24 * HOUR_SECONDS
    within = replace(draft, ends_at=min(draft.ends_at or year, year))
    return [
        due for due in next_dates(within, now, MAX_DATES_A_YEAR)
        if is_twice(due)
        or datetime.fromtimestamp(due.timestamp() - 1, due.tzinfo).utcoffset() != due.utcoffset()
    ]  # fmt: skip


def is_twice(when: datetime) -> bool:
    """Return whether this time of day comes twice on that day."""
    return when.replace(fold=0).utcoffset() != when.replace(fold=1).utcoffset()


def plan_due(draft: ScheduleDraft, due: float, now: float) -> DuePlan:
    """Return what to do about a schedule that is due at `due`, which is not later than `now`.

    Only the last due time that is not later than `now` can run, if it is younger than
    `draft.catch_up_seconds`. All earlier ones are missed, so a pause of the process leads to one
    run and never to a burst.
    """
    run, next_due, first_missed, missed = 0.0, 0.0, 0.0, 0
    window = now - draft.catch_up_seconds
    if due < window:
        first_missed, missed = due, 1
        for each in _due_times(draft.rule, draft.time_zone, due):
            if each >= window or missed >= MAX_COUNTED_MISSED:
                break
            missed += 1
        # The rule may have been due very often meanwhile, so the rest is looked up from here.
        start = window - 1
    else:
        start = due - 1
    for each in _due_times(draft.rule, draft.time_zone, start):
        if each <= now:
            if run:
                first_missed, missed = first_missed or run, missed + 1
            run = each
        else:
            next_due = each
            break
    if draft.ends_at and next_due > draft.ends_at:
        next_due = 0.0
    return DuePlan(run, next_due, bool(run) and now - run > LATE_SECONDS, first_missed, missed)


def _due_times(rule: ScheduleRule, zone: str, after: float) -> Iterator[float]:
    """Yield the due times later than `after`, in order, each once. Raise BadSchedule."""
    if rule.run_at:
        if rule.run_at > after:
            yield rule.run_at
        return
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
        raise _explain_fault(rule.cron) from None


def _explain_fault(cron: str) -> BadSchedule:
    """Return which field of a rule is wrong, or that its fields are never true together."""
    from cronsim import CronSim, CronSimError

    for number, field in enumerate(cron.split()):
        try:
            CronSim(f"{'* ' * number}{field}{' *' * (4 - number)}", datetime.now(UTC))
        except CronSimError:
            return BadSchedule(
                "The rule {rule} is not valid. It has a wrong field: {field}.",
                rule=repr(cron[:100]), field=repr(field[:40]),
            )  # fmt: skip
    never = "The rule {rule} is never due: its months do not have that day."
    return BadSchedule(never, rule=repr(cron[:100]))


def parse_field_number(word: str, names: Sequence[str]) -> int | None:
    """Return the number of a value such as `5` or `FRI`; None if it is neither."""
    if word in names:
        return list(names).index(word)
    return int(word) if word.isdecimal() else None


def _checked_fields(cron: str) -> str:
    """Return the rule for cronsim. Raise BadSchedule unless it has five fields.

    cronsim also accepts a field of seconds. Minutes such as `*/30` in certain hours are written
    out, because cronsim would treat such a job as one of every hour, and skip the hour that a
    change of the clock leaves out. So are ranges over the end of a day, week, month or year, such
    as `FRI-MON`, which cronsim refuses.
    """
    fields = cron.upper().split()
    if len(fields) != len(_FIELDS) or len(cron) > 200:
        raise BadSchedule(
            "The rule {rule} is not valid. It needs five fields: minute, hour, day of the month, "
            "month, day of the week.",
            rule=repr(cron[:100]),
        )
    minute, hour = fields[:2]
    step = re.fullmatch(r"\*(?:/(\d{1,2}))?", minute)
    if step and not hour.startswith("*") and int(step[1] or 1):
        fields[0] = ",".join(str(each) for each in range(0, 60, int(step[1] or 1)))
    return " ".join(
        ",".join(_split_range(part, *values) for part in field.split(","))
        for field, values in zip(fields, _FIELDS, strict=True)
    )


def _split_range(part: str, first: int, count: int, names: Sequence[str]) -> str:
    """Return a range over the end of its cycle as a list. Anything else is returned unchanged."""
    begin, end = (parse_field_number(each, names) for each in (*part.split("-", 1), "")[:2])
    if begin is None or end is None or not first <= end < begin < first + count + (count == 7):
        return part
    return ",".join(str(first + (n - first) % count) for n in range(begin, end + count + 1))


def _check_interval(rule: ScheduleRule, minutes: int) -> None:
    """Raise BadSchedule if two runs can be closer than that many minutes. The times of day are
    compared, so that a change of the clock refuses nothing."""
    began = last = datetime(2028, 1, 1, tzinfo=UTC).timestamp()
    first = True
    for number, due in enumerate(_due_times(rule, "UTC", began)):
        if not first and due - last < minutes * 60:
            raise BadSchedule(
                "This schedule would run every {found} minutes. At least {minutes} minutes must be "
                "between two runs.",
                found=round((due - last) / 60), minutes=minutes,
            )  # fmt: skip
        first, last = False, due
        if number >= CHECKED_DUE_TIMES:
            return
