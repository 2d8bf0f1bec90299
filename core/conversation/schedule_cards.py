"""Cards and lines that show schedules to people.

The id of a card, as in `abc234-2`, names a version of a schedule. Its buttons and the words that
people type do nothing once there is a newer version.
"""

from __future__ import annotations

from core.commands.grammar import render_card_action
from core.domain.changes import confirmation_code
from core.domain.messages import Card, CardAction
from core.domain.schedule_rules import find_clock_changes, next_dates
from core.domain.schedule_words import describe_date, describe_rule, local_time
from core.domain.schedules import BadSchedule, PauseReason, Schedule, ScheduleKind
from core.text.i18n import plural, say
from core.text.markdown import quote_inert
from core.text.text import to_one_line

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
_REPLACED = "This version was replaced. See the newest card of this schedule."
_DELETED = "Deleted."
_EDIT_WAITS = "A change waits: to see it, type `schedule {id} show`."
_UNTIL_STARTED = "Until then, the schedule stays as it is."


def card_id(schedule: Schedule) -> str:
    """Return the id of the card of a schedule's present revision, as in `abc234-1`."""
    return f"{schedule.id}-{schedule.revision + 1}"


def coded_id(schedule: Schedule) -> str:
    """Return the id of the card with the code that follows the whole text."""
    id = card_id(schedule)
    return f"{id}-{confirmation_code(id, schedule.owner, schedule.created_at)}"


def parse_card_id(id: str) -> tuple[str, int]:
    """Return the schedule and its revision that a card's id names. A schedule's own id names the
    first one."""
    schedule, number, *_ = [*id.split("-"), "1"]
    return schedule, int(number) - 1


def build_schedule_card(schedule: Schedule, now: float) -> Card:
    """Return the card of a schedule: its rule in words, zone, next dates, cost and rights, and all
    of its text until it is started. The text is in the language of the current task."""
    proposed = schedule.state == "proposed"
    actions: tuple[CardAction, ...] = ("start", "edit", "cancel") if proposed else ()
    text = "\n".join([*_describe_times(schedule, now), *_describe_state(schedule)])
    if proposed:
        text = f"{quote_inert(schedule.draft.text)}\n\n{text}"
    return Card(
        card_id(schedule), "schedule", build_schedule_title(schedule), text, actions=actions,
        state="open" if proposed else schedule.state, is_whole=proposed,
    )  # fmt: skip


def describe_whole(schedule: Schedule, now: float) -> str:
    """Return a schedule with all of its text, and the commands to type in place of its buttons.
    The one that starts it has a code, which shows that the person saw all of it."""
    card = build_schedule_card(schedule, now)
    words = ", ".join(
        f"`{render_card_action(action, coded_id(schedule) if action == 'start' else card.id)}`"
        for action in card.actions
    )
    parts = (
        f"**{card.title}**",
        "" if card.is_whole else quote_inert(schedule.draft.text),
        card.text,
        say("Type: {hints}", hints=words) if words else "",
    )
    return "\n\n".join(filter(None, parts))


def build_closed_card(id: str, title: str, *, is_deleted: bool) -> Card:
    """Return the card of a revision that was replaced, or of a deleted schedule."""
    words = say(_DELETED if is_deleted else _REPLACED)
    return Card(id, "schedule", title, words, state="withdrawn")


def build_schedule_title(schedule: Schedule) -> str:
    """Return what the schedule does, as one line."""
    what = to_one_line(schedule.draft.text, MAX_CARD_TITLE_CHARACTERS)
    return say(_TITLES[schedule.draft.kind], what=what)


def describe_schedule(schedule: Schedule) -> str:
    """Return one line for a list: id, title, rule, and the state or the next date."""
    rule, state = describe_rule(schedule.draft), " ".join(_describe_state(schedule))
    if schedule.state == "active" and schedule.next_due_at:
        when = local_time(schedule.next_due_at, schedule.draft.time_zone)
        state = say("Next: {when}.", when=describe_date(when))
    title = build_schedule_title(schedule)
    if schedule.edit:
        state += " " + say(_EDIT_WAITS, id=card_id(schedule.newest))
    return f"`{schedule.id}` {title} ({rule}). {state}".strip()


def _describe_times(schedule: Schedule, now: float) -> list[str]:
    """Return the lines with the rule, the zone, the next dates and the end."""
    draft = schedule.draft
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
    owner = to_one_line(schedule.owner.name or schedule.owner.id, 80)
    lines.append(say("Place: this conversation. Owner: {name}.", name=owner))
    return lines


def _describe_state(schedule: Schedule) -> list[str]:
    """Return the sentences about what a run costs, or about the state."""
    match schedule.state:
        case "proposed":
            lines = [
                say(_COSTS[schedule.draft.kind]),
                say("It runs only after its owner starts it."),
            ]
            return [*lines, say(_UNTIL_STARTED)] if schedule.edit else lines
        case "active":
            return [say("Started. To manage it, type `schedule {id} pause`, `run` or `delete`.",
                        id=schedule.id)]  # fmt: skip
        case "paused":
            return [
                say(_PAUSED[schedule.reason or "person"]),
                say("To continue, type `schedule {id} resume`.", id=schedule.id),
            ]
    return [say("Ended.")]
