"""The buttons below rows and figures of tables: run them again, save them under a name, and watch
them."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from core.base.errors import BadInput
from core.base.i18n import find_zone, format_duration, say
from core.base.text import clip_line
from core.base.value_formats import parse_typed_number
from core.commands.grammar import parse_message
from core.domain.buttons import Button, ButtonForm, ButtonPress, PressResult, PressWork
from core.domain.changes import FormField
from core.domain.messages import Address, Person
from core.domain.records import Turn
from core.saved.queries import (
    QUESTION_GONE,
    NotRunAgain,
    describe_calls,
    find_watchable,
    plan_calls,
    plan_query,
)
from core.saved.questions import (
    MAX_SAVED_NAME,
    MOVING_WORDS,
    find_fixed_days,
    fold_name,
    propose_name,
)

MOVED_ON = "Press the button below the newest result. If there is none, ask the question again."
_NAME = FormField("title", "Name", "text", is_required=True, max_characters=MAX_SAVED_NAME)
_SHARE = FormField("share", "Everyone in this channel can use it", "checkbox")
_MOVE = FormField("move", "{word} instead of {days}", "checkbox")
VALUE_SENTENCES: Mapping[str, str] = {
    "count": "number of rows",
    "new": "a row appears",
    "sum": "sum of {field}",
    "avg": "average of {field}",
    "min": "smallest {field}",
    "max": "largest {field}",
}
_LOOKS: Mapping[int, str] = {
    5: "*/5 * * * *",
    15: "*/15 * * * *",
    60: "0 * * * *",
    240: "0 */4 * * *",
    1440: "0 9 * * *",
}
"""The rules of looks by the minutes between them."""
MAX_ALERT_VALUES = 21
"""A menu of Discord has 25 options, of which a column has four."""
_NUMBER = r"\d{1,15}(?:\.\d{1,9})?"
ALERT = re.compile(
    r"(?P<result>r\d{1,3}|[a-z2-7]{16}) (?:new|"
    r"(?:count|(?P<value>sum|avg|min|max)(?: of)? (?P<field>.{1,255}?))"
    rf" (?:(?P<sign>[<>]) (?P<limit>-?{_NUMBER})|changes (?P<change>{_NUMBER}%?)))(?P<now> now)?"
    rf"(?:: (?P<title>.{{1,{MAX_SAVED_NAME}}}))?"
)
"""An alert as the tool of schedules reads it. A form names the turn, a model one of its results."""
_ALERT_VALUES = "{value}|{comparison}|{every}|{now}|{limit}|{title}"
_BAD_LIMIT = "Enter a number as the limit. Only a change can be in %."
_BAD_SIGN = "A limit or a title can't contain `|`."


async def _find_question(stores: Any, turn: Turn | None) -> str:
    """Return what a person asked: an answer that ran again is of the command of its button."""
    while turn and (command := parse_message(turn.message)) and command.name == "rerun":
        turn = await stores.journal.find_ended_turn(command.id)
    return turn.message.text if turn else ""


async def _find_turn(stores: Any, id: str) -> Turn:
    turn: Turn | None = await stores.journal.find_ended_turn(id)
    if turn is None:
        raise NotRunAgain(QUESTION_GONE)
    return turn


def _open_form(button: Button, find: Callable[..., Awaitable[tuple[FormField, ...]]]) -> PressWork:
    async def work(stores: Any, press: ButtonPress, person: Person, at: Address) -> PressResult:
        fields = await find(stores, press.parts[-1], at)
        form = button.form and replace(button.form, fields=fields)
        return PressResult(form=replace(press, button=replace(button, form=form), at=time.time()))

    return work


async def find_fields(stores: Any, turn_id: str, at: Address) -> tuple[FormField, ...]:
    """Return the fields of the form, with what the question reads as it would be kept. Raise
    NotRunAgain."""
    turn = await _find_turn(stores, turn_id)
    calls, message = plan_calls(turn), turn.message
    hint = clip_line(describe_calls(calls), 150)
    name = propose_name(await _find_question(stores, turn))
    # What the demo model showed is asked for by the table's title, which is taken.
    fields = [replace(_NAME, value=name if fold_name(name) != fold_name(hint) else "", hint=hint)]
    fields += [_SHARE] if at.is_shared else []
    zone = find_zone(message.time_zone) or ZoneInfo("UTC")
    days = find_fixed_days(calls, datetime.fromtimestamp(turn.accepted_at, zone))
    for span, word in list(days.items())[:1]:
        label = say(_MOVE.label, word=say(MOVING_WORDS[word]), days=span)
        fields.append(replace(_MOVE, label=label, value="true"))
    return tuple(fields)


async def find_alert_fields(stores: Any, turn_id: str, at: Address) -> tuple[FormField, ...]:
    """Return the fields of the form for an alert about what an answer shows. Raise NotRunAgain."""
    outcome = find_watchable(await _find_turn(stores, turn_id))
    call, columns = plan_query(outcome), getattr(outcome.data, "columns", ())
    # The name of a figure is `sum of Amount`.
    numbers = [f" {column.name or column.title}" for column in columns if column.kind == "number"]
    values = {kind: VALUE_SENTENCES[kind] for kind in ("count", "new")}
    for id, title in call.titles.items():
        if len(values) <= MAX_ALERT_VALUES and any(name.endswith(f" {title}") for name in numbers):
            for kind in ("sum", "avg", "min", "max"):
                values[f"{kind} {id}"] = clip_line(say(VALUE_SENTENCES[kind], field=title), 75)
    figures = [f"{part['fn']} {part.get('field')}" for part in call.arguments.get("aggregates", ())]
    least = stores.find_shortest_look()
    looks = {
        rule: format_duration(60 * minutes)
        for minutes, rule in _LOOKS.items()
        if minutes >= least or minutes == 1440
    }
    value = replace(_VALUE, hint=clip_line(describe_calls([call]), 100))
    every = _offer(_EVERY, looks, _LOOKS[60])
    return _offer(value, values, *figures[:1]), _COMPARISON, _LIMIT, every, _NOW, _ALERT_TITLE


def _offer(field: FormField, labels: Mapping[str, str], value: str = "") -> FormField:
    value = value if value in labels else next(iter(labels))
    return replace(field, value=value, options=tuple(labels), labels=tuple(labels.values()))


def read_alert_form(source: str, text: str) -> tuple[str, str]:
    """Return the alert, as `ALERT`, and the rule of its looks. Raise BadInput."""
    value, comparison, rule, now, limit, title = text.split("|", 5)
    if "|" in title:  # or in the limit, so that all after it stands in the title
        raise BadInput(_BAD_SIGN)
    if value != "new":
        number = parse_typed_number(limit.strip().rstrip("%"))
        if number is None:
            raise BadInput(_BAD_LIMIT)
        value += f" {comparison} {number.normalize():f}{'%' * limit.strip().endswith('%')}"
    what = f"{source} {value}{' now' * (now == 'true')}{f': {title}' * bool(title.strip())}"
    if not ALERT.fullmatch(what):
        raise BadInput(_BAD_LIMIT)
    return what, rule


_FORM = ButtonForm("Save question", (_NAME, _SHARE, _MOVE))
_KEEP = Button("keep", form=_FORM, command="save {subject} {share}/{move} {title}")
_VALUE = FormField("value", "What to watch", "select", is_required=True)
_COMPARISON = FormField(
    "comparison",
    "Condition",
    "select",
    ">",
    (">", "<", "changes"),
    is_required=True,
    labels=("is over", "is under", "changes by more than"),
)
_LIMIT = FormField(
    "limit", "Limit", "text", hint="A number. A change can also be a percentage, such as 10%."
)
_EVERY = FormField("every", "Check every", "select", is_required=True)
_ALERT_TITLE = FormField("title", "Title", "text", max_characters=MAX_SAVED_NAME)
_NOW = FormField("now", "Post right away if it's already true", "checkbox")
_ALERT_FORM = ButtonForm(
    "New alert",
    (_VALUE, _COMPARISON, _EVERY),
    lambda values: read_alert_form("r1", _ALERT_VALUES.format_map(defaultdict(str, values))),
)
_WATCH = Button("watch", form=_ALERT_FORM, command=f"watch {{subject}} {_ALERT_VALUES}")
_RERUN = Button(
    "rerun", "Run again", "answer", is_offered=lambda answer: answer.can_run_again, gone=MOVED_ON
)
SAVED_BUTTONS = (
    _RERUN,
    replace(_RERUN, name="save", label="Save…", work=_open_form(_KEEP, find_fields)),
    _KEEP,
    replace(_RERUN, name="alert", label="Alert…", work=_open_form(_WATCH, find_alert_fields)),
    _WATCH,
)
