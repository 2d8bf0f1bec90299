"""Buttons as data: what a row of the table of buttons (`core.chat.buttons`) says, where a button is
drawn, and what a press carries."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from core.base.errors import NotStored
from core.domain.changes import FormField
from core.domain.messages import Address, Answer, File, MessageOrigin, Person
from core.domain.rights import Action

TURN_SUBJECT = r"(?:\w+[.:])?[a-z2-7]{16}"
"""A turn, with the choice before it if the button has several."""
CARD_SUBJECT = r"(?=[a-z]*[2-7])[a-z2-7]{6}(?:\.[1-9][0-9]{0,3})?"
"""A change with the revision that people see, as the grammar of commands takes it."""
FORM_LATE = "The form couldn't be opened in time. Try again."
ButtonStyle = Literal["primary", "danger", ""]
Place = Literal["answer", "growing", "card", "cards", "home", ""]


@dataclass(frozen=True, slots=True)
class ButtonForm:
    """A form that a button opens, in English. Without fields, it has the values of the change."""

    title: str
    fields: tuple[FormField, ...] = ()
    check: Callable[[Mapping[str, str]], object] = lambda values: None
    """Raises BadInput for values that the person can correct."""


@dataclass(frozen=True, slots=True)
class Button:
    """A row of the table of buttons.

    - `place`: under the last post of an answer, under one that grows, on a card, under all cards of
      a message, on a home page; "" for a form that another button opens.
    - `subject`: the regular expression of what a press is about. It becomes a part of a command, so
      it admits no text of others.
    - `right`: the least right that a press needs. On a card, the rule of the button's name decides,
      too (`core.changes.standing`).
    - `command`: the typed command that a press or its form sends, with `{name}`, `{subject}` and
      the keys of the form's fields. `work` is done at once instead, and no message is stored.
    """

    name: str
    label: str = ""
    place: Place = ""
    subject: str = TURN_SUBJECT
    is_offered: Callable[[Answer], bool] = lambda answer: True
    """Whether an answer has it. A press counts only if it has."""
    choices: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Several buttons: the word before the subject → the label and the emoji."""
    is_rating: bool = False
    """The two choices are for and against, which a platform may draw as one element."""
    right: Action = "chat"
    is_quiet: bool = False
    """What it does concerns only the person who pressed it, and the button goes away then."""
    form: ButtonForm | None = None
    command: str = "{name} {subject}"
    typed: str = ""
    """What a person types instead, with `{id}`; "" for the name and the id."""
    without_form: str = FORM_LATE
    """What a person reads if the form cannot be opened."""
    work: PressWork | None = None
    late: str = NotStored.sentence
    """The sentence if a press is not checked, or `work` is not done, in time."""
    gone: str = "This answer was deleted or replaced."
    """The sentence for a press under a post that is none of the answer's any more."""


@dataclass(frozen=True, slots=True)
class ButtonOffer:
    """A button as it is drawn once, in the language of the current task."""

    button: Button
    subject: str
    label: str
    emoji: str = ""
    style: ButtonStyle = ""


@dataclass(frozen=True, slots=True)
class ButtonPress:
    """A press of a button, or the form that it opened (`values` by the keys of the fields).

    `at` is in seconds since the epoch. `post`: the platform's id of the post with the button.
    `is_marked`: the platform itself shows what the person chose, and reports no second press.
    """

    button: Button
    subject: str
    at: float
    post: str
    values: Mapping[str, str] | None = None
    is_marked: bool = False

    @property
    def parts(self) -> list[str]:
        """The choice and the turn; on Slack, version 0.2 wrote a dot between them."""
        return re.split("[.:]", self.subject)


@dataclass(frozen=True, slots=True)
class PressResult:
    """A sentence, code or a further form for the person alone, which `Button.work` returns. Beside
    a form, the sentence is for a person who cannot see it. With an `origin`, the sentence is a
    message of theirs, stored once for each `event_key`."""

    words: str = ""
    code: Sequence[tuple[File, bytes]] = ()
    form: ButtonPress | None = None
    origin: MessageOrigin | None = None
    event_key: str = ""


PressWork = Callable[[Any, ButtonPress, Person, Address], Awaitable[PressResult]]
"""Gets `core.chat.people.Conversations`, the press, and who pressed where. Raises PonteError."""
