"""Commands, clicks and forms that arrive.

A platform shows the person an error unless an interaction is acknowledged within about three
seconds. `Interactions` therefore gives each step a deadline, stores the message before it
acknowledges the interaction, and starts no other work before that. If it cannot store the message,
it notifies the person at once.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from core.base.errors import BadInput, NotStored, PonteError
from core.base.i18n import say, use_locale
from core.base.tasks import BackgroundTasks
from core.base.text import clip_line
from core.chat.people import Conversations, People
from core.commands.grammar import render_change
from core.domain.buttons import FORM_LATE, ButtonForm, ButtonPress, PressResult, PressWork
from core.domain.changes import ChangeForm, FormField
from core.domain.messages import (
    PERSON,
    Address,
    AskedIn,
    Attachment,
    Message,
    MessageOrigin,
    Person,
    Quote,
)
from core.domain.ports import StatusBoard
from core.domain.records import QuickCommand, Receipt
from core.domain.rights import Action

FORM_UNREADABLE = "I couldn't read this form. Open it again."
FORM_UNCHANGED = "You didn't change any values."
MAX_FORM_VALUE_CHARACTERS = 4000
"""No platform has an input that takes more characters."""
_MAX_NAMED_FIELDS = 5
_NOT_IN_FORM = "Not in this form: {names}. To change one of them, type `change {id} {example}`."


def describe_fields_left_out(
    form: ChangeForm, fields: Sequence[FormField], escape: Callable[[str], str] = str
) -> str:
    """Return the sentence below a form that tells how to change the fields for which it has no
    room: by a typed command with their names. "" for none. The names come from a table, so `escape`
    makes them safe on the platform."""
    names = [escape(clip_line(field.key)) for field in fields]
    if len(names) > _MAX_NAMED_FIELDS:
        names[_MAX_NAMED_FIELDS:] = ["…"]
    words = say(_NOT_IN_FORM, names=", ".join(names), id=form.id, example=say("FIELD = VALUE"))
    return words if names else ""


def find_new_values(form: ChangeForm, values: Mapping[str, str]) -> dict[str, str]:
    """Return the values that the person has changed, by `FormField.key`. `form` has what the person
    saw; `values` are those that came back, by the field's position. Differences in spaces and line
    ends do not count. Raises BadInput if none differs, or if the form has no such field."""
    fields = {str(at): field for at, field in enumerate(form.fields)}
    # The proposal has other fields by now, or the request was not made by our form.
    if not values.keys() <= fields.keys() or any(
        len(value) > MAX_FORM_VALUE_CHARACTERS for value in values.values()
    ):
        raise BadInput(FORM_UNREADABLE)
    new_values = {
        fields[at].key: value
        for at, value in values.items()
        if _normalize(fields[at], value) != _normalize(fields[at], fields[at].value)
    }
    if not new_values:
        raise BadInput(FORM_UNCHANGED)
    return new_values


def _normalize(field: FormField, value: str) -> object:
    """Platforms change the line ends and the spaces of a text. An empty checkbox counts as not
    ticked."""
    value = value.replace("\r\n", "\n").replace("\u202f", " ").replace("\xa0", " ").strip()
    return value == "true" if field.type == "checkbox" else value


ASK_TEXT = "Type a question after the command. Only you will see the answer."
NO_DIRECT_MESSAGE = "I couldn't open our direct message. Try again, or write to me there."
ANSWERED_DIRECTLY = "The answer is in [our direct message]({url})."
_ONLY_THERE = (
    "I can answer you in this channel, but not privately: private questions need the permissions "
    "that you have in direct messages. Mention me in the channel instead."
)
REST_OF_CODE = "This is the beginning. Ask me for the rest of the code."
RESTARTING = "I'm about to restart. Try again in a minute."


def _localize(form: ButtonForm, locale: str) -> ButtonForm:
    fields = (
        replace(
            field,
            label=say(field.label, locale),
            hint=field.hint and say(field.hint, locale),
            labels=tuple(say(label, locale) for label in field.labels),
        )
        for field in form.fields
    )
    return replace(form, title=say(form.title, locale), fields=tuple(fields))


@dataclass(frozen=True, slots=True)
class InteractionLimits:
    """Deadlines of one interaction, and what happens when a person's rights are not known in time.

    `store_seconds` counts from the arrival of the interaction; None sets no deadline.
    `form_seconds` limits the look-up of a form, `work_seconds` what a press does at once.
    """

    rights_seconds: float
    store_seconds: float | None = None
    checks_rights_before_storing: bool = True
    """This is False where only the turn checks the rights."""
    without_rights: str = ""
    """The sentence in place of a form while rights are unknown; "" shows the form."""
    form_seconds: float = 1.0
    work_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class InteractionRequest:
    """A request made by a command, a click or a form; `action` is the least right it needs.

    `is_private`: only the person may see the answer. `is_typed`: the person wrote all of `text`, so
    it proves no more than a typed message. `mentions` are those in `Message`. Without an
    `event_key`, the interaction has one.
    """

    text: str
    action: Action = "chat"
    is_private: bool = False
    is_typed: bool = False
    context: tuple[Quote, ...] = ()
    files: tuple[Attachment, ...] = ()
    mentions: tuple[tuple[str, str], ...] = ()
    asked_in: AskedIn | None = None
    origin: MessageOrigin = PERSON
    event_key: str = ""
    repeated: str = ""
    """The sentence if another press has stored a message with this `event_key`."""


class ChatInteraction(Protocol):
    """One use of a command, button or form, and how its platform lets Ponte respond."""

    @property
    def limits(self) -> InteractionLimits:
        """The platform's time limits, such as three seconds."""

    @property
    def person(self) -> Person:
        """Return the person who used the command, button or form."""

    @property
    def address(self) -> Address:
        """The place where the person used it."""

    @property
    def locale(self) -> str:
        """The person's language, as far as known."""

    async def learn_about_person(self) -> None:
        """Store what the interaction tells about the person, such as their roles, before their
        rights are checked."""

    async def make_message(self, request: InteractionRequest) -> Message:
        """Return the request as a message of the person, for the inbox. Raises NotStored if a file
        of it cannot be stored."""

    async def acknowledge(self, receipt: Receipt, request: InteractionRequest) -> bool:
        """Acknowledge the stored interaction. False if it is a repeat, or the platform took the
        acknowledgement too late."""

    async def notify(self, words: str) -> None:
        """Show a sentence to this person only, in place of an acknowledgement. Raises nothing."""

    async def open_form(self, press: ButtonPress, form: ButtonForm | ChangeForm) -> str:
        """Return "", or a sentence if the button's form could not be opened."""

    async def show(self, result: PressResult) -> None:
        """Show the result of a press to this person only, as the response."""


@dataclass
class Interactions:
    """Handles the commands, clicks and forms of one chat platform: checks rights, stores each as a
    message, and acknowledges it in time."""

    conversations: Conversations
    people: People
    board: StatusBoard
    tasks: BackgroundTasks
    is_open: bool = field(default=True, init=False)
    """This is False once intake has stopped: people are asked to try again."""

    async def show_form(
        self, interaction: ChatInteraction, show: Callable[[], Awaitable[str]]
    ) -> bool:
        """Open a form by `show` if the person may chat here, and return whether they see it.
        Otherwise tell the person why not.

        `show` returns "", or a sentence for the person if the platform does not show the form.
        While their rights are unknown, they get the sentence `limits.without_rights`, or the form
        if that is "".
        """
        words = await self._find_refusal(interaction, "chat", interaction.limits.without_rights)
        words = words or await show()
        if words:
            await interaction.notify(words)
        return not words

    async def submit(self, interaction: ChatInteraction, request: InteractionRequest) -> bool:
        """Store a command, a click or a form as a message, then acknowledge it: the platform shows
        the person an error if that comes too late. Return whether both happened in time, False also
        for a repeat. Notify the person if it is refused or not stored."""
        began = asyncio.get_running_loop().time()  # the check of rights takes time, too
        limits, message = interaction.limits, None
        refusal = ""
        # Else only the turn checks them.
        if limits.checks_rights_before_storing:
            refusal = await self._find_refusal(interaction, request.action)
        if refusal:
            if (place := request.asked_in) and not await self._find_refusal(
                interaction, request.action, refusal, place.address
            ):
                refusal = say(_ONLY_THERE, interaction.locale)
            await interaction.notify(refusal)
            return False
        deadline = None if limits.store_seconds is None else began + limits.store_seconds
        try:
            async with asyncio.timeout_at(deadline):
                message = await interaction.make_message(request)
                receipt = await self.conversations.inbox.accept(message)
        except (NotStored, TimeoutError) as error:
            if message is not None and isinstance(error, TimeoutError):
                # Only the wait has ended: the message may still be stored. The person reads that
                # it does not count, so it must not be answered later.
                self.tasks.start(self.conversations.inbox.amend(message.event_key, None))
            with use_locale(interaction.locale):
                await interaction.notify(NotStored().words())
            return False
        if request.repeated and not receipt.is_new:
            await interaction.notify(say(request.repeated, interaction.locale))
            return False
        return await interaction.acknowledge(receipt, request)

    async def find_quick_commands(
        self, interaction: ChatInteraction, seconds: float
    ) -> Sequence[QuickCommand]:
        """Return the quick commands that the person may use here, to be offered while they type;
        none after `seconds`, when the platform takes no answer any more."""
        try:
            async with asyncio.timeout(seconds):
                return await self.board.commands(interaction.person, interaction.address)
        except TimeoutError:
            return ()

    async def press(self, interaction: ChatInteraction, press: ButtonPress) -> bool:
        """Do what a button, or the form that it opened, is for. Return whether a message was
        stored. The person is notified if nothing is done."""
        button = press.button
        if button.form and press.values is None:
            await self._open_form(interaction, press, button.form)
        elif button.work:
            result = await self._work(interaction, press, button.work)
            if isinstance(result, str):
                await interaction.notify(result)
            elif origin := result.origin:
                request = InteractionRequest(
                    result.words, origin=origin, event_key=result.event_key, repeated=button.gone
                )
                return await self.submit(interaction, request)
            elif not (then := result.form) or not (form := then.button.form):
                await interaction.show(result)
            elif await interaction.open_form(then, _localize(form, interaction.locale)):
                # The press itself counts, also if its form cannot be opened.
                await interaction.show(replace(result, form=None))
        elif button.form and not button.form.fields:
            return await self._submit_form(interaction, press)
        # The turn checks a press on a card.
        elif (button.place != "card" or press.values is not None) and (
            words := await self._find_objection(interaction, press)
        ):
            await interaction.notify(words)
        else:
            values = defaultdict(str, press.values or {}, name=button.name, subject=press.subject)
            request = InteractionRequest(button.command.format_map(values), button.right)
            return await self.submit(interaction, request)
        return False

    async def _open_form(
        self, interaction: ChatInteraction, press: ButtonPress, form: ButtonForm
    ) -> None:
        if form.fields:

            async def show() -> str:
                objection = await self._find_objection(interaction, press)
                localized = _localize(form, interaction.locale)
                return objection or await interaction.open_form(press, localized)

            await self.show_form(interaction, show)
            return
        found = await self._find_form(interaction, press.subject)
        words = found if isinstance(found, str) else await interaction.open_form(press, found)
        if words:
            await interaction.notify(words)

    async def _work(
        self, interaction: ChatInteraction, press: ButtonPress, work: PressWork
    ) -> PressResult | str:
        """Return the result of `work` if the person has the right here. Otherwise, or if `work`
        fails or takes too long, return a sentence for the person. Rights that are not known in time
        count as too late, because nothing checks them later."""
        late = say(press.button.late, interaction.locale)
        try:
            async with asyncio.timeout(interaction.limits.work_seconds):
                refusal = await self._find_refusal(interaction, press.button.right, late)
                if words := refusal or await self._find_objection(interaction, press):
                    return words
                with use_locale(interaction.locale):
                    person, address = interaction.person, interaction.address
                    return await work(self.conversations, press, person, address)
        except (NotStored, TimeoutError):
            return late
        except PonteError as error:
            with use_locale(interaction.locale):
                return error.words()

    async def _find_objection(self, interaction: ChatInteraction, press: ButtonPress) -> str:
        """Return a sentence if the post with the button is none of the answer's any more, or the
        answer has no such button, so that no press can be made up; also if the form lacks a
        required value, or a right other than to chat is missing, which no turn checks; else ""."""
        button, late = press.button, say(press.button.late, interaction.locale)
        if (values := press.values) is not None and button.form:
            required = (field.key for field in button.form.fields if field.is_required)
            if not all(values.get(key, "").strip() for key in required):
                return say(FORM_UNREADABLE, interaction.locale)
            with use_locale(interaction.locale):
                try:
                    button.form.check(values)
                except BadInput as error:
                    return error.words()
        try:
            async with asyncio.timeout(interaction.limits.work_seconds):
                if button.right != "chat" and (
                    refusal := await self._find_refusal(interaction, button.right, late)
                ):
                    return refusal
                if button.place != "answer":
                    return ""
                journal = self.conversations.journal
                answer = await journal.find_answer(press.parts[-1], press.post)
        except (NotStored, TimeoutError):
            return late
        is_offered = answer is not None and button.is_offered(answer)
        return "" if is_offered else say(button.gone, interaction.locale)

    async def _find_form(self, interaction: ChatInteraction, press_id: str) -> ChangeForm | str:
        """Return the form by which the person changes the values of a proposal. Return a sentence
        for them instead if they may not change it, if it was replaced or decided, or if the form is
        not known in time.

        `press_id` comes from the pressed button: the change's id and the revision that the card
        shows (`abc234.2`). A button of the first revision has the id alone.
        """
        # Without a revision, `board.find_form` would take the newest one.
        press_id = press_id if "." in press_id else f"{press_id}.1"
        try:
            async with asyncio.timeout(interaction.limits.form_seconds):
                person, address = interaction.person, interaction.address
                if words := await self._find_refusal(interaction, "chat"):
                    return words
                with use_locale(interaction.locale):
                    return await self.board.find_form(press_id, person, address)
        except TimeoutError:
            return say(FORM_LATE, interaction.locale)
        except PonteError as error:
            with use_locale(interaction.locale):
                return error.words()

    async def _submit_form(self, interaction: ChatInteraction, press: ButtonPress) -> bool:
        """Submit the values that a person changed, by the position of their field, as the command
        `change`. If the form is not valid any more, or no value was changed, tell the person and
        return False."""
        # Built once more, to find out which values differ from what it showed.
        form = await self._find_form(interaction, press.subject)
        if isinstance(form, ChangeForm):
            try:
                text = render_change(press.subject, find_new_values(form, press.values or {}))
                return await self.submit(interaction, InteractionRequest(text))
            except BadInput as error:
                with use_locale(interaction.locale):
                    refusal = error.words()
        else:
            refusal = form
        await interaction.notify(refusal)
        return False

    async def _find_refusal(
        self,
        interaction: ChatInteraction,
        action: Action,
        while_unknown: str = "",
        address: Address | None = None,
    ) -> str:
        """Return a sentence, in the person's language, that says why they may not do this; "" if
        they may, and `while_unknown` if their rights are not known in time. With "" for that, an
        unknown person passes here, because the turn checks all rights again. A verdict is unknown
        if the platform did not tell what the right depends on. A refusal goes to the audit log,
        since it does not become a message."""
        # Ponte is about to stop.
        if not self.is_open:
            return say(RESTARTING, interaction.locale)
        await interaction.learn_about_person()
        person, address = interaction.person, address or interaction.address
        try:
            async with asyncio.timeout(interaction.limits.rights_seconds):
                verdict = await self.people.policy.may(person, address, action)
        except TimeoutError:
            return while_unknown
        if verdict.is_unknown:
            return while_unknown
        if verdict.allowed:
            return ""
        self.people.note_refusal(person, address, verdict)
        with use_locale(interaction.locale):
            return verdict.words()
