"""Handles commands, button clicks and submitted forms for every chat platform.

A platform shows the person an error unless an interaction is acknowledged within about three
seconds. `Interactions` therefore gives each step a deadline, stores the message before it
acknowledges the interaction, and starts no other work before that. If it cannot store the message,
it notifies the person at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.base.errors import NotStored
from core.base.i18n import say, use_locale
from core.base.tasks import BackgroundTasks
from core.chat.people import People
from core.domain.messages import Address, Attachment, Message, Person, Quote
from core.domain.ports import Inbox, StatusBoard
from core.domain.records import Action, QuickCommand, Receipt

RESTARTING = "I'm about to restart. Try again in a minute."


@dataclass(frozen=True, slots=True)
class InteractionLimits:
    """Deadlines of one interaction, and what happens when a person's rights are not known in time.

    `store_seconds` counts from the arrival of the interaction; None sets no deadline.
    """

    rights_seconds: float
    store_seconds: float | None = None
    checks_rights_before_storing: bool = True
    """False where only the turn checks the rights of commands and clicks."""
    without_rights: str = ""
    """The sentence shown in place of a form while rights are unknown; "" shows the form."""


@dataclass(frozen=True, slots=True)
class InteractionRequest:
    """A request made by a command, a click or a form; `action` is the least right it needs.

    `is_private`: only the person may see the answer.
    """

    text: str
    action: Action = "chat"
    is_private: bool = False
    context: tuple[Quote, ...] = ()
    files: tuple[Attachment, ...] = ()


class ChatInteraction(Protocol):
    """One interaction of a person, and the ways in which its platform lets Ponte respond to it."""

    @property
    def limits(self) -> InteractionLimits:
        """Return the platform's limits for responses to interactions."""

    @property
    def person(self) -> Person:
        """Return the person who used the command, button or form."""

    @property
    def address(self) -> Address:
        """Return the place of the interaction."""

    @property
    def locale(self) -> str:
        """The person's language, as far as it is known now."""

    async def learn_about_person(self) -> None:
        """Take in facts that help to decide on the person's rights, before these are checked."""

    async def make_message(self, request: InteractionRequest) -> Message:
        """Return the message to store. Raises NotStored."""

    async def acknowledge(self, receipt: Receipt, request: InteractionRequest) -> bool:
        """Acknowledge the stored interaction. Return False if it is a repeat, or if the platform
        took the acknowledgement too late."""

    async def notify(self, words: str) -> None:
        """Show words to this person only; they take the place of an acknowledgement. Raises
        nothing."""


class Interactions:
    """Checks rights, stores, acknowledges and notifies, for the interactions of one platform."""

    def __init__(
        self, inbox: Inbox, people: People, board: StatusBoard, tasks: BackgroundTasks
    ) -> None:
        self._inbox = inbox
        self._people = people
        self._board = board
        self._tasks = tasks
        self.is_open = True
        """False once intake has stopped: everybody is then asked to try again."""

    async def show_form(
        self, interaction: ChatInteraction, show: Callable[[], Awaitable[str]]
    ) -> bool:
        """Call `show` if the person may chat, and return whether they see the form.

        `show` returns "", or a sentence for the person if the platform does not show the form.
        """
        words = await self._find_refusal(interaction, "chat", interaction.limits.without_rights)
        words = words or await show()
        if words:
            await interaction.notify(words)
        return not words

    async def submit(self, interaction: ChatInteraction, request: InteractionRequest) -> bool:
        """Store a command, a click or a form, then acknowledge it. Return whether both happened in
        time, for the first time; otherwise the person is notified."""
        began = asyncio.get_running_loop().time()
        limits, message = interaction.limits, None
        refusal = ""
        if limits.checks_rights_before_storing:
            refusal = await self._find_refusal(interaction, request.action)
        if refusal:
            await interaction.notify(refusal)
            return False
        deadline = None if limits.store_seconds is None else began + limits.store_seconds
        try:
            async with asyncio.timeout_at(deadline):
                message = await interaction.make_message(request)
                receipt = await self._inbox.accept(message)
        except NotStored as error:
            with use_locale(interaction.locale):
                await interaction.notify(error.words())
            return False
        except TimeoutError:
            if message is not None:
                # The store may still complete it. The person is notified that it does not count,
                # so it must not be answered later.
                self._tasks.start(self._inbox.amend(message.event_key, None))
            with use_locale(interaction.locale):
                await interaction.notify(NotStored().words())
            return False
        return await interaction.acknowledge(receipt, request)

    async def find_quick_commands(
        self, interaction: ChatInteraction, seconds: float
    ) -> Sequence[QuickCommand]:
        """Return the quick commands that the person may use there; none if they are not known
        within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                return await self._board.commands(interaction.person, interaction.address)
        except TimeoutError:
            return ()

    async def _find_refusal(
        self, interaction: ChatInteraction, action: Action, while_unknown: str = ""
    ) -> str:
        """Return why the person may not do this, in their language; "" if they may, and
        `while_unknown` if their rights are not known in time. The turn checks all rights again."""
        if not self.is_open:
            return say(RESTARTING, interaction.locale)
        await interaction.learn_about_person()
        person, address = interaction.person, interaction.address
        try:
            async with asyncio.timeout(interaction.limits.rights_seconds):
                verdict = await self._people.policy.may(person, address, action)
        except TimeoutError:
            return while_unknown
        if verdict.is_unknown:
            return while_unknown
        if verdict.allowed:
            return ""
        self._people.note_refusal(person, address, verdict)
        with use_locale(interaction.locale):
            return verdict.words()
