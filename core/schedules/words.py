"""Words that show schedules to people: titles, due times and states."""

from __future__ import annotations

from core.base.i18n import plural, say
from core.base.markdown import escape_markdown, quote_inert
from core.base.text import to_one_line
from core.schedules.rule_words import describe_date, describe_rule, local_time
from core.schedules.rules import find_clock_changes, next_dates
from core.schedules.schedule import BadSchedule, Schedule, ScheduleDraft, ScheduleKind
from core.turn.origins import PauseReason

MAX_CARD_TITLE_CHARACTERS = 120
_TITLES: dict[ScheduleKind, str] = {
    "ask": "Ask Ponte: {what}", "post": "Post: {what}", "command": "Run: {what}",
}  # fmt: skip
_COSTS: dict[ScheduleKind, str] = {
    "ask": "Each run is an ordinary message to the model and counts toward your limits. It uses "
    "your permissions in this place.",
    "post": "It posts this text and calls no model. Each run counts as one message toward your "
    "limits.",
    "command": "Each run is one quick command and counts toward your limits. It uses your "
    "permissions in this place.",
}
_PAUSED: dict[PauseReason, str] = {
    "person": "Paused.",
    "rights": "Paused: its owner no longer has the permissions.",
    "failures": "Paused because it failed repeatedly.",
    "restored": "Paused because a backup was restored.",
}
_HOLIDAYS = "Holidays are not taken into account."


def build_schedule_title(draft: ScheduleDraft) -> str:
    """Return what the schedule does, as one line."""
    what = to_one_line(draft.text, MAX_CARD_TITLE_CHARACTERS)
    return say(_TITLES[draft.kind], what=what)


def build_inert_title(draft: ScheduleDraft) -> str:
    """Return the title as Markdown that shows it as it is."""
    return escape_markdown(build_schedule_title(draft))


def describe_times(draft: ScheduleDraft, now: float) -> list[str]:
    """Return the lines with the rule, the zone, the next dates and the end."""
    lines = [say("When: {rule} ({zone}).", rule=describe_rule(draft), zone=draft.time_zone)]
    try:
        dates = next_dates(draft, now)
    except BadSchedule:
        dates = []
    if draft.rule.cron and dates:
        named = "; ".join(map(describe_date, dates))
        lines.append(say("Next dates: {dates}.", dates=named))
        if changes := find_clock_changes(draft, now):
            named = "; ".join(map(describe_date, changes))
            lines.append(say("When the clocks change: {dates}.", dates=named))
    if " LW " in draft.rule.cron or draft.rule.cron.endswith(("1-5", "MON-FRI")):
        lines.append(say(_HOLIDAYS))
    if draft.ends_at:
        end = local_time(draft.ends_at, draft.time_zone)
        lines.append(say("Ends after {when}.", when=describe_date(end)))
    if draft.max_runs:
        lines.append(plural("Ends after {count} run.", "Ends after {count} runs.", draft.max_runs))
    return lines


def describe_cost(draft: ScheduleDraft) -> str:
    """Return what a run costs, and with which rights it runs."""
    return say(_COSTS[draft.kind])


def describe_management(id: str) -> str:
    """Return how people manage a schedule that runs."""
    return say("Started. To manage it, type `schedule {id} pause`, `run` or `delete`.", id=id)


def describe_state(schedule: Schedule) -> str:
    """Return the state of a schedule, and what people can do about it."""
    match schedule.state:
        case "active":
            return describe_management(schedule.id)
        case "paused":
            resume = say("To continue, type `schedule {id} resume`.", id=schedule.id)
            return f"{say(_PAUSED[schedule.reason or 'person'])} {resume}"
    return say("Ended.")


def describe_schedule(schedule: Schedule) -> str:
    """Return one line for a list: id, title, rule, and the state or the next date."""
    rule, state = describe_rule(schedule.draft), describe_state(schedule)
    if schedule.state == "active" and schedule.next_due_at:
        when = local_time(schedule.next_due_at, schedule.draft.time_zone)
        state = say("Next: {when}.", when=describe_date(when))
    return f"`{schedule.id}` {build_inert_title(schedule.draft)} ({rule}). {state}"


def describe_whole(schedule: Schedule, now: float) -> str:
    """Return a schedule with all of its text."""
    owner = to_one_line(schedule.owner.name or schedule.owner.id, 80)
    lines = [
        *describe_times(schedule.draft, now),
        say("Place: this conversation. Owner: {name}.", name=owner),
        describe_state(schedule),
    ]
    title = f"**{build_inert_title(schedule.draft)}**"
    return "\n\n".join([title, quote_inert(schedule.draft.text), "\n".join(lines)])
