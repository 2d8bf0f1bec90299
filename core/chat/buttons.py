"""The table of the buttons of chat platforms: a new button is a row here.

A platform makes an identifier of a button's name and subject, draws what the functions here offer,
opens forms, and hands each press to `Interactions.press`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any

from core.base.errors import Refusal
from core.base.i18n import say
from core.commands.grammar import MAX_APPROVED_TOGETHER, localize_command
from core.domain.buttons import (
    CARD_SUBJECT,
    Button,
    ButtonForm,
    ButtonOffer,
    ButtonPress,
    ButtonStyle,
    PressResult,
)
from core.domain.changes import MAX_REASON_CHARACTERS, FormField
from core.domain.messages import CHOICE, Address, Answer, Card, Person
from core.feedback.buttons import FEEDBACK_BUTTONS
from core.saved.buttons import SAVED_BUTTONS

SHOW_CODE = "Show code"
CHOICE_SECONDS = 86_400.0
"""How long after its message a question can be answered by a button."""
_NOT_WHOLE = "The full request doesn't fit here. To read and confirm it, type `{hint}`."
_OTHER_CHOICE = "Something else…"
_TYPE_ANSWER = "Type your answer as a message."
_NOT_ASKED = "Only the person who was asked can choose."
_QUESTION_CLOSED = "This question is closed. Type your answer as a message."
_QUESTION_BEFORE_NEW = (
    "This question is from before you started a new conversation. Type your answer as a message."
)
CODE_LATE = "The code couldn't be shown in time. Try again."
_CODE_GONE = "This code is no longer stored. Code is deleted together with its conversation."
_REASON = FormField(
    "reason", "Reason", "lines", is_required=True, max_characters=MAX_REASON_CHARACTERS
)


async def _find_code(stores: Any, press: ButtonPress, person: Person, at: Address) -> PressResult:
    code = await stores.find_code(press.subject, press.post)
    return PressResult(code=code) if code else PressResult(say(_CODE_GONE))


async def choose(stores: Any, press: ButtonPress, person: Person, at: Address) -> PressResult:
    """Return the choice as a message. Raise Refusal for another person, and once the question was
    answered, is older than CHOICE_SECONDS, or is of an earlier conversation than `new` began."""
    entry = await stores.journal.history_entry(press.parts[-1])
    if entry.message.author.key != person.key:
        raise Refusal(_NOT_ASKED)
    number, choices = int(press.parts[0]), entry.answer.choices if entry.answer else ()
    if entry.created_at < time.time() - CHOICE_SECONDS or number > len(choices):
        raise Refusal(_QUESTION_CLOSED)
    if not await stores.journal.is_thread_current(entry.turn):
        raise Refusal(_QUESTION_BEFORE_NEW)
    if not number:
        return PressResult(say(_TYPE_ANSWER))
    return PressResult(choices[number - 1], origin=CHOICE, event_key=f"{CHOICE.name}:{entry.turn}")


_on_card = partial(Button, place="card", subject=CARD_SUBJECT)
_ROWS = (
    _on_card("approve", "Approve"),
    _on_card("change", "Change…", form=ButtonForm("")),
    _on_card("deny", "Deny"),
    _on_card("undo", "Undo"),
    _on_card(
        "reason",
        "Say why…",
        form=ButtonForm("Say why", (_REASON,)),
        command="deny {subject} {reason}",
        typed="deny {id} REASON",
        without_form="Type `deny ID`, then the reason.",
    ),
    _on_card("again", "Propose again"),
    Button(
        "together",
        "Approve all {count}",
        "cards",
        rf"{CARD_SUBJECT}(?: {CARD_SUBJECT}){{1,{MAX_APPROVED_TOGETHER - 1}}}",
        command="approve {subject}",
    ),
    Button(
        CHOICE.name,
        place="answer",
        subject="[0-5]:[a-z2-7]{16}",
        is_offered=attrgetter("question"),
        work=choose,
        gone=_QUESTION_CLOSED,
    ),
    Button(
        "code",
        SHOW_CODE,
        "answer",
        ".*",
        lambda answer: answer.has_run_code,
        work=_find_code,
        late=CODE_LATE,
        gone=_CODE_GONE,
    ),
    Button(
        "share", "Share in {place}", "answer", is_offered=lambda answer: bool(answer.share_place)
    ),
    # On Discord, the subject is the person whose conversation it stops.
    Button("stop", "Stop", "growing", "[0-9]{1,20}|stop", is_quiet=True, command="{name}"),
    Button(
        "schedule", "Pause", "home", "schedule [a-z2-7]{6} (?:pause|resume)", command="{subject}"
    ),
    *SAVED_BUTTONS,
    *FEEDBACK_BUTTONS,
)
BUTTONS = {button.name: button for button in _ROWS}


def find_button(name: str, subject: str) -> Button | None:
    """Return None also if the subject is none of the button's."""
    button = BUTTONS.get(name)
    return button if button and re.fullmatch(button.subject, subject) else None


def offer(name: str, subject: str, label: str = "", **values: object) -> ButtonOffer:
    """`values` are for the label."""
    button = BUTTONS[name]
    return ButtonOffer(button, subject, say(label or button.label, **values))


def list_offers(shown: Answer | Card, subject: str) -> tuple[ButtonOffer, ...]:
    """Return the buttons of a card, or under the last post of an answer. A private one has none: a
    press could not be checked, because Ponte does not know that post's id."""
    offers = list[ButtonOffer]()
    for button in BUTTONS.values():
        if isinstance(shown, Card):
            is_offered = button.name in shown.actions
        else:
            on_answer = button.place == "answer" and not shown.is_private
            is_offered = on_answer and button.is_offered(shown)
        if not is_offered:
            continue
        if button.name == "approve" and isinstance(shown, Card):
            label = shown.label or say(button.label)
            is_deletion = shown.rows and not any(map(itemgetter("after"), shown.rows))
            style: ButtonStyle = "danger" if is_deletion else "primary"
            offers.append(ButtonOffer(button, subject, label, style=style))
        elif button.name == CHOICE.name and isinstance(shown, Answer):
            for number, label in enumerate(shown.choices, 1):
                offers.append(ButtonOffer(button, f"{number}:{subject}", label))
            if shown.choices:
                offers.append(offer(CHOICE.name, f"0:{subject}", _OTHER_CHOICE))
        elif not button.choices:
            label = say(button.label, place=getattr(shown, "share_place", ""))
            offers.append(ButtonOffer(button, subject, label))
        for choice, (label, emoji) in button.choices.items():
            offers.append(ButtonOffer(button, f"{choice}:{subject}", say(label), emoji))
    return tuple(offers)


def offer_together(cards: Sequence[Card]) -> ButtonOffer | None:
    """Return the button that approves all open cards of a message. There is none if there are fewer
    than two cards, they are of several turns, or one has no button to approve, as a card that was
    cut."""
    open_cards = [card for card in cards if card.state == "open"]
    turns = {card.seq for card in open_cards}
    is_offered = 2 <= len(open_cards) <= MAX_APPROVED_TOGETHER and len(turns) == 1
    if not is_offered or not all(must_fit(card) for card in open_cards):
        return None
    ids = " ".join(card.press_id for card in open_cards)
    return offer("together", ids, count=len(open_cards))


def must_fit(card: Card) -> bool:
    """The card has a button to approve, which may only be shown with all of its text: nobody may
    approve what they cannot read."""
    return card.is_whole and "approve" in card.actions


def without_approval(card: Card) -> Card:
    """Return the card for a place where not all of it fits: it says how to read it whole, and has
    no button to approve, because nobody may approve what they cannot read."""
    actions = tuple(action for action in card.actions if action != "approve")
    words = say(_NOT_WHOLE, hint=f"{localize_command('approve')} {card.id}")
    return replace(card, text=f"{words}\n\n{card.text}", actions=actions)
