"""Schedules in words, in the language of the current task: their titles, rules, due times and
states.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time

from core.base.i18n import babel_locale, format_date, plural, say, write_first_day
from core.base.markdown import escape_markdown
from core.base.text import to_one_line
from core.base.trust import quote_inert
from core.domain.messages import Address
from core.schedules.schedule import (
    MONTHS,
    WEEKDAYS,
    BadSchedule,
    ReadableSchedule,
    ScheduleDraft,
    ScheduleKind,
    ScheduleRule,
    ScheduleState,
    find_clock_changes,
    get_zone,
    is_twice,
    next_dates,
    parse_field_number,
)
from core.turn.origins import PauseReason

_WORKING_DAYS = (1, 2, 3, 4, 5)
_NTH_WEEKDAY = {
    1: "on the first {day} of each month at {times}",
    2: "on the second {day} of each month at {times}",
    3: "on the third {day} of each month at {times}",
    4: "on the fourth {day} of each month at {times}",
    5: "on the fifth {day} of a month at {times}",
}
STATE_SENTENCES = {"active": "active", "paused": "paused", "ended": "ended"}
REASON_SENTENCES = {
    "person": "someone paused it",
    "rights": "its owner no longer has permission there",
    "failures": "several of its runs failed",
    "restored": "Ponte was restored from a backup",
    "owner": "its new owner hasn't accepted it yet",
}
RUN_SENTENCES = {
    "queued": "in progress", "done": "done", "failed": "failed", "stopped": "stopped",
    "skipped": "skipped", "missed": "missed",
}  # fmt: skip
MAX_TIMES_IN_WORDS = 6
"""A rule with more times of day than this is shown as its five fields."""


def describe_rule(draft: ScheduleDraft) -> str:
    """The time zone is not included. A rule that no sentence covers is shown as its five fields."""
    if draft.rule.run_at:
        when = local_time(draft.rule.run_at, draft.time_zone)
        return _agree(say("once, on {when}", when=describe_date(when)))
    return _agree(_describe_cron(draft.rule)) or say(
        "by the rule {rule} (minute, hour, day, month, weekday)", rule=f"`{draft.rule.cron}`"
    )


def _agree(sentence: str) -> str:
    # The Portuguese catalogue has the feminine, as of "segunda-feira".
    return re.sub(
        r"\b(?:toda|na)(?: última| \dª)?(?= (?:sábado|domingo))",
        lambda match: re.sub(r"a\b", "o", match[0]).replace("ª", "º"),
        sentence,
    )


def local_time(at: float, zone: str) -> datetime:
    """The time is in UTC if this machine no longer knows the zone."""
    try:
        return datetime.fromtimestamp(at, get_zone(zone))
    except BadSchedule:
        return datetime.fromtimestamp(at, UTC)


def describe_result(state: str, missed: int, *, is_late: bool) -> str:
    """`missed` is the number of due times that a row of missed runs stands for."""
    result = say(RUN_SENTENCES[state])
    if state == "missed":
        result = plural("missed {count} run", "missed {count} runs", missed)
    return f"{result}, {say('late')}" if is_late else result


def describe_date(when: datetime) -> str:
    """Return a date with its weekday and time in the current language, as in `Monday, November 23,
    2026, 9:00 AM`. A time that comes twice on that day, because clocks go back, has its offset."""
    from babel.dates import get_timezone_gmt

    date_text = f"{format_date(when, None, 'full')}, {_format_time(when.time())}"
    return (
        f"{date_text} ({get_timezone_gmt(when, locale=babel_locale())})"
        if is_twice(when)
        else date_text
    )


def _describe_cron(rule: ScheduleRule) -> str:
    """Return the rule in words in the current language, "" if no sentence covers it. The five
    fields are those of cron, in which `*` means every value."""
    minute, hour, day, month, weekday = rule.cron.split()
    if (day, month, weekday) == ("*", "*", "*") and hour == "*":
        if step := re.fullmatch(r"\*/(\d+)", minute):
            # "*/7" begins anew each hour, so it is not every 7 minutes.
            if 60 % int(step[1]):
                return ""
            return plural("every minute", "every {count} minutes", int(step[1]))
        if minute == "0":
            return say("every hour, on the hour")
        if minute.isdigit():
            return plural(
                "every hour, at {count} minute past",
                "every hour, at {count} minutes past",
                int(minute),
            )
        return ""  # such as `*` or `0,30`: the caller shows the rule itself
    hours, minutes = _parse_list(hour, ()), _parse_list(minute, ())
    if not hours or not minutes or len(hours) * len(minutes) > MAX_TIMES_IN_WORDS:
        return ""
    times = _join([_format_time(time(h, m)) for h in hours for m in minutes])
    parts = (day, month, weekday, times)
    return _describe_weekly(*parts) or _describe_monthly(*parts) or _describe_yearly(*parts)


def _describe_weekly(day: str, month: str, weekday: str, times: str) -> str:
    """Return a sentence for a rule that runs every day or on some days of the week; "" for another
    rule. `times` are its times of day in words; the other arguments are fields of the cron rule."""
    if (day, month) != ("*", "*"):
        return ""
    if weekday == "*":
        return say("every day at {times}", times=times)
    # Cron knows Sunday as 0 and as 7.
    days = sorted({number % 7 for number in _parse_list(weekday, WEEKDAYS)})
    if tuple(days) == _WORKING_DAYS:
        return say("Monday to Friday at {times}", times=times)
    if not days:
        return ""
    # A week begins on Monday where people read these sentences.
    names = _join(
        [_weekday_name(number) for number in sorted(days, key=lambda number: (number - 1) % 7)]
    )
    return say("every week on {days} at {times}", days=names, times=times)


def _describe_monthly(day: str, month: str, weekday: str, times: str) -> str:
    """Of cron's extensions, `L` is the last day, `LW` the last working day, `5L` the last Friday,
    `5#2` the second Friday. "" for another rule."""
    if month != "*":
        return ""
    if day == "LW" and weekday == "*":
        return say(
            "on the last working day (Monday to Friday) of each month at {times}", times=times
        )
    if day == "L" and weekday == "*":
        return say("on the last day of each month at {times}", times=times)
    if day == "*" and (last := re.fullmatch(r"([0-7])L", weekday)):
        return say(
            "on the last {day} of each month at {times}",
            day=_weekday_name(int(last[1])),
            times=times,
        )
    if day == "*" and (nth := re.fullmatch(r"(\w+)#([1-5])", weekday)):
        named = _parse_list(nth[1], WEEKDAYS)
        sentence = _NTH_WEEKDAY[int(nth[2])]
        return say(sentence, day=_weekday_name(named[0]), times=times) if named else ""
    days = _parse_list(day, ()) if weekday == "*" else ()
    # Also for a rule with both a day and a weekday, which cron reads as "or".
    if not days:
        return ""
    # French writes the first as `1er`.
    listed = _join([write_first_day(str(number)) for number in days])
    description = say("on day {day} of each month at {times}", day=listed, times=times)
    if len(days) > 1:
        description = say("on days {listed} of each month at {times}", listed=listed, times=times)
    return description + _describe_missing_days(days, range(1, 13))


def _describe_yearly(day: str, month: str, weekday: str, times: str) -> str:
    """Return a sentence for a rule that runs on one day of some months, as in `every year on March
    1 and June 1 at …`; "" for another rule. Months without that day follow in brackets."""
    # Babel is loaded at the first use, so that a start does not wait for it.
    from babel.dates import format_skeleton

    months = _parse_list(month, MONTHS)
    if weekday != "*" or not day.isdigit() or not months:
        return ""
    # 2024 is a leap year, so that 29 February exists.
    dates = [datetime(2024, number, int(day)) for number in months if _has_day(number, int(day))]  # noqa: DTZ001
    spelled = [format_skeleton("MMMMd", date, locale=babel_locale()) for date in dates]
    # French writes the first of a month as `1er`, which Babel does not.
    listed = _join([*map(write_first_day, spelled)])
    sentence = say("every year on {days} at {times}", days=listed, times=times) if dates else ""
    # "" if none has that day
    return sentence and sentence + _describe_missing_days([int(day)], months)


def _describe_missing_days(days: Sequence[int], months: Sequence[int]) -> str:
    """Return which of the months lack one of the days, in brackets in the current language, as in
    ` (no day 31 in April and June)`; "" if none does. The rule runs on no other day instead."""
    from babel.dates import format_skeleton, get_month_names

    names = get_month_names("wide", "stand-alone", babel_locale())
    notes = [
        say("no day {day} in {months}", day=day, months=_join([names[month] for month in missing]))
        for day in days
        if (missing := [month for month in months if not _has_day(month, day)])
    ]
    # For the sentence, any leap year such as 2024 will do.
    if 29 in days and 2 in months:
        date = format_skeleton("MMMMd", datetime(2024, 2, 29), locale=babel_locale())  # noqa: DTZ001
        notes.append(say("{date} only in leap years", date=date))
    return f" ({'; '.join(notes)})" if notes else ""


def _has_day(month: int, day: int) -> bool:
    # In a leap year: 29 February has a note of its own.
    return day <= monthrange(2024, month)[1]


def _parse_list(field: str, names: Sequence[str]) -> list[int]:
    """Return the numbers of a field of cron such as `1,15` or `MON-WED`, sorted; none if it has
    another form, such as `*/5`. `names` are the names of its values by number, () for none."""
    numbers = list[int]()
    for part in field.split(","):
        first, _, last = part.partition("-")
        ends = [parse_field_number(bound, names) for bound in (first, last or first)]
        if ends[0] is None or ends[1] is None:
            return []
        numbers += range(ends[0], ends[1] + 1)
    return sorted({*numbers})


def _weekday_name(number: int) -> str:
    from babel.dates import get_day_names

    # Babel's week begins with 0 for Monday, cron's with 0 for Sunday.
    name: str = get_day_names("wide", locale=babel_locale())[(number - 1) % 7]
    return name


def _format_time(when: time) -> str:
    from babel.dates import format_time

    return format_time(when, "short", locale=babel_locale())


def _join(texts: Sequence[str]) -> str:
    from babel.lists import format_list

    join: Callable[..., str] = format_list
    return join(list(texts), locale=babel_locale())


MAX_CARD_TITLE_CHARACTERS = 120
_TITLES: dict[ScheduleKind, str] = {
    "ask": "Ask Ponte: {what}",
    "post": "Reminder: {what}",
    "command": "Run: {what}",
    "saved": "Show: {what}",
    "alert": "Alert: {what}",
}
_COSTS: dict[ScheduleKind, str] = {
    "ask": (
        "Each run is an ordinary message to the model, counts toward your limits and uses your "
        "permissions here."
    ),
    "post": (
        "The schedule only posts this text, without a model. Each run counts as one message toward "
        "your limits."
    ),
    "command": (
        "Each run starts one StackSpot quick command with your permissions here and counts "
        "toward your limits."
    ),
    "saved": (
        "Each run reads the tables with your permissions here, without a model. It counts as one "
        "message toward your limits."
    ),
    "alert": (
        "Each check reads the table with your permissions here, without a model. It uses no "
        "tokens and doesn't count as a message; only a post does."
    ),
}
_PAUSED: dict[PauseReason, str] = {
    "person": "Paused.",
    "rights": "Paused: its owner no longer has the permissions it needs.",
    "failures": "Paused because it failed repeatedly.",
    "restored": "Paused because a backup was restored.",
}
_LAST_RUN = ("Ends after {count} run.", "Ends after {count} runs.")
_LAST_LOOK = ("Ends after {count} check.", "Ends after {count} checks.")
_HOLIDAYS = "Holidays aren't taken into account."


def build_schedule_title(draft: ScheduleDraft) -> str:
    return say(_TITLES[draft.kind], what=to_one_line(draft.text, MAX_CARD_TITLE_CHARACTERS))


def build_inert_title(schedule: ReadableSchedule) -> str:
    """A model or a person wrote the title, so no character of it works as markup."""
    return escape_markdown(build_schedule_title(schedule.draft))


def describe_times(draft: ScheduleDraft, now: float, runs: int) -> list[str]:
    """`runs` is the number of runs that have started. A `max_runs` of 0 means no limit, so a
    schedule whose last run has started must not get 0 remaining runs."""
    rest = replace(draft, max_runs=max(draft.max_runs - runs, 0))
    has_more = rest.max_runs or not draft.max_runs
    lines = [say("When: {rule} ({zone}).", rule=describe_rule(draft), zone=draft.time_zone)]
    try:
        dates = next_dates(rest, now) if has_more else []
    except BadSchedule:  # for example a time zone that this machine no longer knows
        dates = []
    # A single run has no `cron`, and its date is in the first line.
    if draft.rule.cron and dates:
        lines.append(say("Next dates: {dates}.", dates="; ".join(map(describe_date, dates))))
        if changes := find_clock_changes(rest, now):
            named = "; ".join(map(describe_date, changes))
            lines.append(say("When the clocks change: {dates}.", dates=named))
    # Working days: cron knows no holidays, and the line says so.
    if " LW " in draft.rule.cron or draft.rule.cron.endswith(("1-5", "MON-FRI")):
        lines.append(say(_HOLIDAYS))
    if draft.ends_at:
        end = local_time(draft.ends_at, draft.time_zone)
        lines.append(say("Ends after {when}.", when=describe_date(end)))
    if draft.max_runs:
        sentence = plural(*(_LAST_LOOK if draft.kind == "alert" else _LAST_RUN), draft.max_runs)
        started = plural("{count} has already started.", "{count} have already started.", runs)
        lines.append(f"{sentence} {started}" if runs else sentence)
    return lines


def describe_cost(draft: ScheduleDraft) -> str:
    return say(_COSTS[draft.kind])


def describe_state(id: str, state: ScheduleState, reason: PauseReason = "") -> str:
    """The sentence also says what people can do about the state."""
    match state:
        case "active":
            sentence = "Started. To manage it, type `schedule {id} pause`, `run` or `delete`."
            return say(sentence, id=id)
        case "paused":
            resume = say("To continue, type `schedule {id} resume`.", id=id)
            return f"{say(_PAUSED[reason or 'person'])} {resume}"
    return say("Ended.")


def describe_schedule(schedule: ReadableSchedule) -> str:
    """One line for a list: id, title, rule, and the state or the next date."""
    rule = describe_rule(schedule.draft)
    state = describe_state(schedule.id, schedule.state, schedule.reason)
    if schedule.state == "active" and schedule.next_due_at:
        when = local_time(schedule.next_due_at, schedule.draft.time_zone)
        state = say("Next: {when}.", when=describe_date(when))
    return f"`{schedule.id}` {build_inert_title(schedule)} ({rule}). {state}"


def describe_place(address: Address) -> str:
    if not address.is_shared:
        return say("Posts in this conversation.")
    return say("Posts in this thread.") if address.thread else say("Posts in this channel.")


def describe_whole(schedule: ReadableSchedule, now: float) -> str:
    """A person or a model wrote title and text, so they are made inert: nothing in them becomes a
    link, a mention or other markup that would hide what the schedule asks for."""
    owner = to_one_line(schedule.owner.label, 80)
    lines = [
        *describe_times(schedule.draft, now, schedule.runs),
        f"{describe_place(schedule.address)} {say('Owner: {name}.', name=owner)}",
        describe_state(schedule.id, schedule.state, schedule.reason),
    ]
    title = f"**{build_inert_title(schedule)}**"
    return "\n\n".join([title, quote_inert(schedule.draft.text), "\n".join(lines)])
