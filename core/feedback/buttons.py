"""The thumbs under an answer, and the form that asks what was wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from core.base.i18n import say
from core.domain.buttons import Button, ButtonForm, ButtonPress, PressResult
from core.domain.changes import FormField
from core.domain.messages import Address, Person
from core.feedback.votes import (
    MAX_FEEDBACK_CHARACTERS,
    RATE_LABELS,
    SHARE_HINT,
    NotRateable,
    Press,
    Vote,
)

_STORED, _REMOVED = "Thanks for your feedback.", "Your feedback was removed."
_LATE = "Your feedback couldn't be saved in time. Try again."
_REASON = FormField("reason", "What was wrong?", "lines", max_characters=MAX_FEEDBACK_CHARACTERS)
_SHARE = FormField("share", "Share the question and the answer", "checkbox", hint=SHARE_HINT)


async def _vote(stores: Any, press: ButtonPress, person: Person, at: Address) -> PressResult:
    """After a thumb down, a form asks why."""
    vote: Vote = "down" if press.parts[0] == "down" else "up"
    thumb = Press(press.parts[-1], person, vote, press.at, press.post)
    # A platform that marks the pressed thumb itself reports no second press.
    is_stored = await stores.votes.vote(thumb, toggles=not press.is_marked)
    if is_stored and vote == "down":
        # In a place that others read, nobody can let operators read the question and the answer.
        form = replace(_FORM, fields=(_REASON,)) if at.is_shared else _FORM
        why = replace(press, button=replace(_WHY, form=form), subject=thumb.turn)
        return replace(_confirm(press, _STORED), form=why)
    return _confirm(press, _STORED if is_stored else _REMOVED)


async def _explain(stores: Any, press: ButtonPress, person: Person, at: Address) -> PressResult:
    values = press.values or {}
    thumb = Press(press.subject, person, "down", press.at, press.post)
    await stores.votes.explain(thumb, values.get("reason", ""), values.get("share") == "true")
    return _confirm(press, _STORED)


def _confirm(press: ButtonPress, words: str) -> PressResult:
    return PressResult("" if press.is_marked else say(words))


_FORM = ButtonForm("Feedback", (_REASON, _SHARE))
_WHY = Button("why", form=_FORM, work=_explain, late=_LATE)
FEEDBACK_BUTTONS = (
    Button(
        "vote",
        "",
        "answer",
        ".*",
        lambda answer: answer.is_rateable,
        {"up": (RATE_LABELS["up"], "👍"), "down": (RATE_LABELS["down"], "👎")},
        is_rating=True,
        work=_vote,
        late=_LATE,
        gone=NotRateable.sentence,
    ),
    _WHY,
    replace(_WHY, name="feedback"),  # its name on Slack in version 0.2
)
