"""The buttons below rows and figures of tables: run them again, and save them under a name."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from core.base.i18n import find_zone, say
from core.base.text import clip_line
from core.commands.grammar import parse_message
from core.domain.buttons import Button, ButtonForm, ButtonPress, PressResult
from core.domain.changes import FormField
from core.domain.messages import Address, Person
from core.domain.records import Turn
from core.saved.queries import QUESTION_GONE, NotRunAgain, describe_calls, plan_calls
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


async def _find_question(stores: Any, turn: Turn | None) -> str:
    """Return what a person asked: an answer that ran again is of the command of its button."""
    while turn and (command := parse_message(turn.message)) and command.name == "rerun":
        turn = await stores.journal.find_ended_turn(command.id)
    return turn.message.text if turn else ""


async def _open_form(stores: Any, press: ButtonPress, person: Person, at: Address) -> PressResult:
    form = replace(_FORM, fields=await find_fields(stores, press.parts[-1], at))
    return PressResult(form=replace(press, button=replace(_KEEP, form=form), at=time.time()))


async def find_fields(stores: Any, turn_id: str, at: Address) -> tuple[FormField, ...]:
    """Return the fields of the form, with what the question reads as it would be kept. Raise
    NotRunAgain."""
    turn = await stores.journal.find_ended_turn(turn_id)
    if turn is None:
        raise NotRunAgain(QUESTION_GONE)
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


_FORM = ButtonForm("Save question", (_NAME, _SHARE, _MOVE))
_KEEP = Button("keep", form=_FORM, command="save {subject} {share}/{move} {title}")
_RERUN = Button(
    "rerun", "Run again", "answer", is_offered=lambda answer: answer.can_run_again, gone=MOVED_ON
)
SAVED_BUTTONS = (
    _RERUN,
    replace(_RERUN, name="save", label="Save…", work=_open_form),
    _KEEP,
)
