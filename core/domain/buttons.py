"""Buttons as data: what a row of the table of buttons (`core.chat.buttons`) says, where a button is
drawn, and what a press carries."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from core.base.i18n import say
from core.domain.changes import FormField
from core.domain.messages import Address, Answer, File, Person
from core.domain.rights import Action

TURN_SUBJECT = r"(?:\w+[.:])?[a-z2-7]{16}"
CARD_SUBJECT = r"[a-z2-7]{6}(?:\.\d{1,4})?"
"""A turn, with the choice before it if the button has several; a change with its revision."""
Place = Literal["answer", "growing", "card", "cards", "home", ""]


@dataclass(frozen=True, slots=True)
class ButtonForm:
    """A form that a button opens. Titles, labels and hints are in English until `localize`."""

    title: str
    fields: tuple[FormField, ...]


@dataclass(frozen=True, slots=True)
class Button:
    """A row of the table of buttons.

    - `place`: under the last post of an answer, under one that grows, on a card, under all cards of
      a message, on a home page; "" for a form that another button opens.
    - `subject`: the regular expression of what a press is about. It becomes a part of a command, so
      it admits no text of others.
    - `right`: the least right that it needs. The rule of the same name decides about a card
      (`core.changes.standing`).
    - `command`: the typed command that a press or its form sends, with `{subject}` and the keys of
      the form's fields. `work` is done at once instead, and nothing is stored as a message.
    """

    name: str
    label: str = ""
    place: Place = ""
    subject: str = TURN_SUBJECT
    is_offered: Callable[[Answer], bool] = lambda answer: True
    """Whether an answer has it, for the place "answer". A press is checked by this, too."""
    choices: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Several buttons of one row: the word before the subject → its label and emoji."""
    is_rating: bool = False
    """The two choices are for and against, which a platform may draw as one element."""
    style: Literal["primary", "danger", ""] = ""
    right: Action = "chat"
    is_quiet: bool = False
    """What it does concerns only the person who pressed it, and the button goes away then."""
    form: ButtonForm | None = None
    edits_change: bool = False
    """Its form has the values of the change, and sends those that the person changes."""
    command: str = ""
    typed: str = ""
    """What a person types instead, with `{id}`; "" for the name and the id."""
    without_form: str = ""
    """What to do if the form cannot be shown, in English."""
    work: PressWork | None = None
    late: str = "The form couldn't be opened in time. Try again."
    """The sentence if `work` is not done in time."""
    gone: str = "This answer was deleted or replaced."
    """The sentence for a press under a post that is none of the answer's any more."""
    former_names: tuple[str, ...] = ()

    @property
    def opens_form(self) -> bool:
        """True if the press of the button itself only opens a form."""
        return self.form is not None or self.edits_change

    def offer(self, subject: str, label: str = "") -> tuple[ButtonOffer, ...]:
        """Return the button, or one for each choice, in the language of the current task."""
        if not self.choices:
            return (ButtonOffer(self, subject, label or say(self.label)),)
        return tuple(
            ButtonOffer(self, f"{choice}:{subject}", say(words), emoji)
            for choice, (words, emoji) in self.choices.items()
        )


@dataclass(frozen=True, slots=True)
class ButtonOffer:
    """A button as it is drawn once. A button with an emoji shows no label where it may lack one."""

    button: Button
    subject: str
    label: str
    emoji: str = ""


@dataclass(frozen=True, slots=True)
class ButtonPress:
    """A press of a button, or the form that it opened (`values` by the keys of the fields).

    `at` is in seconds since the epoch. `post`: the platform's id of the post with the button.
    `is_marked`: the platform itself shows what the person chose, and takes a second press back.
    """

    button: Button
    subject: str
    person: Person
    address: Address
    at: float
    post: str
    is_marked: bool = False
    values: Mapping[str, str] | None = None

    @property
    def choice(self) -> str:
        """The word before the turn. Slack posts of version 0.2 have a dot after it."""
        return re.split("[.:]", self.subject)[0]

    @property
    def turn(self) -> str:
        """The turn of the answer that the button is under."""
        return re.split("[.:]", self.subject)[-1]


@dataclass(frozen=True, slots=True)
class PressResult:
    """What `Button.work` shows to the person alone: a sentence, code, or a form that the press
    opens next."""

    words: str = ""
    code: Sequence[tuple[File, bytes]] = ()
    form: ButtonPress | None = None


PressWork = Callable[[Any, ButtonPress], Awaitable[PressResult]]
"""Gets `core.chat.people.Conversations` and the press. Raises PonteError."""
