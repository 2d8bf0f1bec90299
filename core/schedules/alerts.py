"""Alerts: schedules that read a table at their times, without a model, and post only at an edge:
when their condition becomes true or ends, or when rows appear."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal

from core.base.i18n import babel_locale, plural, say
from core.base.markdown import escape_markdown
from core.base.value_formats import format_value, parse_number
from core.domain.messages import decode_json
from core.domain.rows import Chart, Placed, RowsResult, Series, to_number
from core.saved.buttons import VALUE_SENTENCES
from core.schedules.schedule import HOUR_SECONDS, ReadableSchedule, Schedule, ScheduleDraft
from core.schedules.words import local_time

AlertValue = Literal["count", "sum", "avg", "min", "max", "row"]
Comparison = Literal["over", "under", "changes"]
Edge = Literal["", "true", "ended", "changed", "row", "unknown", "asked"]
MAX_FAILED_LOOKS = 3
MAX_LEFT_ROWS = 5_000
MAX_STORED_VALUES = 50
NEW_AGAIN_SECONDS = 24 * HOUR_SECONDS
"""A row that was gone for so many seconds is new when it comes back."""
POST_PAUSE_SECONDS = HOUR_SECONDS
"""A value that dances around the limit is posted at most once in so many seconds."""
_COMPARISONS: Mapping[Comparison, str] = {
    "over": "{value} over {limit}",
    "under": "{value} under {limit}",
    "changes": "{value} changes by more than {limit}",
}
_EDGES: Mapping[Edge, str] = {
    "true": "Now true: {now} (before: {before}).",
    "ended": "No longer true: {now} (before: {before}).",
    "changed": "Changed: {now} (before: {before}).",
    "asked": "Now: {now} (before: {before}).",
    "unknown": "I can't check this: {why} I won't post again until I can.",
}
_ALREADY_TRUE = "Already true: {now}."
_LAST_VALUES = "The last {count} values: {least} to {most}."
_DANCING = (
    "The value has crossed the limit {count} times since my last post. I post at most once an hour."
)


@dataclass(frozen=True, slots=True)
class AlertCondition:
    """`limit` is a number; of a change, it may end in `%`. `first` and `first_ids` are the value
    and the rows on the card, from which the first look differs; with `tells_now`, a condition that
    is true then is posted, too."""

    value: AlertValue
    field: str = ""
    comparison: Comparison = "over"
    limit: str = ""
    tells_now: bool = False
    first: str = ""
    first_ids: tuple[str, ...] = ()

    @property
    def number(self) -> Decimal | None:
        """The limit; None if there is none."""
        return parse_number(self.limit.removesuffix("%"))

    def is_true(self, value: str, base: str) -> bool:
        """`base` is the value of the last post, with which a change is compared. False if there is
        no value."""
        number, limit = parse_number(value), self.number
        if number is None or limit is None:
            return False
        match self.comparison:
            case "over":
                return number > limit
            case "under":
                return number < limit
        if (before := parse_number(base)) is None:
            return False
        most = abs(before) * limit / 100 if "%" in self.limit else limit
        return abs(number - before) > most


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a look: the exact `value` and its text, or `why` it cannot be told; of rows,
    the place of each in `rows` by its id. `titles` are those of the table and its fields, by id."""

    value: str = ""
    text: str = ""
    why: str = ""
    ids: Mapping[str, int] = field(default_factory=dict)
    rows: RowsResult | None = None
    source: str = ""
    titles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AlertState:
    """The last value as people read it, `base`, the value of the last post, and the crossings that
    no post has told yet. `failed_at`: when a post last told that there was no value. `asked_by`:
    the event that last asked for a look. `rows`: known ids, each with when the row left; 0 for one
    that is there. `refused_at`: when the post of the look after this state was refused.
    `is_forgotten`: what was known is lost, so the next look is compared with nothing."""

    value: str = ""
    looked_at: float = 0.0
    is_true: bool = False
    base: str = ""
    posted_at: float = 0.0
    crossings: int = 0
    failures: int = 0
    failed_at: float = 0.0
    is_asked: bool = False
    asked_by: str = ""
    rows: Mapping[str, float] = field(default_factory=dict)
    refused_at: float = 0.0
    is_forgotten: bool = False
    values: tuple[tuple[float, float], ...] = ()
    """The last values, each with its time."""


def read_condition(draft: ScheduleDraft) -> AlertCondition:
    """A damaged one has no limit."""
    with suppress(ValueError):
        return decode_json(AlertCondition, draft.condition)
    return AlertCondition("count")


def read_state(schedule: Schedule) -> AlertState:
    """Before the first look, the state is that of the card."""
    if schedule.watch or not schedule.draft.condition:
        with suppress(ValueError):
            return decode_json(AlertState, schedule.watch or "{}")
        return AlertState(is_forgotten=True)
    condition = read_condition(schedule.draft)
    if condition.tells_now:
        return AlertState(base=condition.first)
    return _note(AlertState(), condition, condition.first, condition.first_ids)


def _note(
    state: AlertState, condition: AlertCondition, value: str, ids: Iterable[str]
) -> AlertState:
    is_true = condition.is_true(value, value)
    return replace(state, is_true=is_true, base=value, rows=dict.fromkeys(ids, 0.0))


def decide(
    condition: AlertCondition, state: AlertState, found: Finding, now: float
) -> tuple[AlertState, Edge, Sequence[str]]:
    """Return the next state, the edge that is posted ("" for none), and the ids of new rows."""
    if 0 <= now - state.refused_at < POST_PAUSE_SECONDS:
        return replace(state, value=found.text, looked_at=now), "", ()
    is_asked, state = state.is_asked, replace(state, is_asked=False, looked_at=now)
    if not found.value:
        failures, failed_at = state.failures + 1, state.failed_at
        if failures == MAX_FAILED_LOOKS:
            if 0 <= now - failed_at < POST_PAUSE_SECONDS:
                failures -= 1  # told as soon as the pause is over
            else:
                failed_at = now
        is_told = is_asked or failures == MAX_FAILED_LOOKS
        state = replace(state, failures=failures, failed_at=failed_at)
        return state, "unknown" if is_told else "", ()
    if state.is_forgotten:
        state = _note(state, condition, found.value, found.ids)
    known = {id: at for id, at in state.rows.items() if not at or 0 <= now - at < NEW_AGAIN_SECONDS}
    new = [id for id in found.ids if id not in known]
    left = [(id, at or now) for id, at in known.items() if id not in found.ids]
    rows = dict(left[-MAX_LEFT_ROWS:]) | dict.fromkeys(found.ids, 0.0)
    is_true = condition.is_true(found.value, state.base)
    is_change = condition.comparison == "changes"
    # A change is measured from the last post, so one that went back is none.
    crossings = is_true if is_change else state.crossings + (is_true is not state.is_true)
    edge: Edge = "row" if new else ""
    # A post in the future was made before the clock was set back.
    if crossings and not 0 <= now - state.posted_at < POST_PAUSE_SECONDS:
        edge = "changed" if is_change else "true" if is_true else "ended"
    posted_at = now if edge else state.posted_at
    if edge := edge or ("asked" if is_asked else ""):
        crossings = 0
    number = to_number(found.value)
    new_values = [] if number is None else [(now, number)]
    return (
        AlertState(
            found.text,
            now,
            is_true,
            found.value if edge or parse_number(state.base) is None else state.base,
            posted_at,
            int(crossings),
            failed_at=state.failed_at,
            asked_by=state.asked_by,
            rows=rows,
            values=(*state.values, *new_values)[-MAX_STORED_VALUES:],
        ),
        edge,
        new,
    )


def describe_condition(condition: AlertCondition, title: str) -> str:
    """`title` is that of the field."""
    value = say(VALUE_SENTENCES[condition.value.replace("row", "new")], field=title)
    if condition.value == "row":
        return value
    limit = _write(condition.limit.removesuffix("%")) + "%" * condition.limit.endswith("%")
    return say(_COMPARISONS[condition.comparison], value=value, limit=limit)


def _write(number: str) -> str:
    """Return a stored number as people of the current language write it."""
    found = parse_number(number)
    return number if found is None else format_value(found.normalize(), "")


def describe_now(draft: ScheduleDraft) -> str:
    """Return a line of the card: the value, and whether the condition is true now."""
    condition = read_condition(draft)
    sentence = "Now: {value}. The condition isn't true."
    if condition.is_true(condition.first, condition.first):
        sentence = (
            "Now: {value}. The condition is already true, so I'll post when it becomes true again."
        )
        if condition.tells_now:
            sentence = (
                "Now: {value}. The condition is true, so I'll post right after you approve this."
            )
    return say(sentence, value=_write(condition.first) or "–")


def draw_values(schedule: ReadableSchedule) -> tuple[Placed, ...]:
    """Return the values of the last looks as a line, in whose place the page draws a chart; () for
    fewer than two."""
    from babel.dates import format_skeleton  # at the first use: a start does not wait

    draft = schedule.draft
    if len(found := read_state(schedule).values) < 2:
        return ()
    times, values = zip(*found, strict=True)
    moments = [local_time(at, draft.time_zone) for at in times]
    labels = [f"{format_skeleton('Md', at, locale=babel_locale())} {at:%H:%M}" for at in moments]
    texts = tuple(format_value(value, "number") for value in values)
    least, most = (texts[values.index(find(values))] for find in (min, max))
    title = say(_LAST_VALUES, count=len(values), least=least, most=most)
    series = Series(draft.text, values, texts)
    return (Placed(title, Chart("line", title, tuple(labels), (series,))),)


def write_post(
    schedule: Schedule, before: AlertState, found: Finding, edge: Edge, new: Sequence[str]
) -> str:
    """Return the text of a post in Markdown. `before` is the state before the look."""
    base = _write(before.base) or "–"
    values = {"now": found.text, "before": base, "why": found.why}
    lines = [f"**{escape_markdown(schedule.draft.text)}**"]
    if edge == "row":
        lines.append(plural("{count} new row.", "{count} new rows.", len(new)))
    else:
        inert = {name: escape_markdown(text) for name, text in values.items()}
        condition = read_condition(schedule.draft)
        # `before.base` is the value of the card until the first look.
        was_true = not before.looked_at and condition.is_true(before.base, before.base)
        is_news = edge != "true" or not was_true
        lines.append(say(_EDGES[edge] if is_news else _ALREADY_TRUE, **inert))
    # The crossing of this look is counted, too.
    crossings = before.crossings + (before.is_true is not (edge == "true"))
    if edge in ("true", "ended") and crossings > 1:
        lines.append(say(_DANCING, count=crossings))
    lines += [found.rows.to_markdown()] if found.rows else []
    return "\n\n".join([*lines, found.source]).strip()
