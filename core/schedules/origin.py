"""The turns of schedules: whether a run may begin, and what its answer says if it is late.

A run has the rights of its schedule's owner in its place, at the moment when it begins. If they
lost them, the schedule pauses. If an allowance is used up, the run is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from core.base.errors import BadInput, NotAllowed, OverBudget, PlatformBusy, StatusUnknown
from core.base.i18n import say
from core.base.retry import Backoff, retry
from core.chat.people import People
from core.commands.grammar import TypedCommand
from core.domain.messages import Answer, Message
from core.domain.platform import Messenger
from core.domain.records import Turn
from core.schedules.rows import Schedules
from core.schedules.rule_words import describe_date, local_time
from core.turn.origins import Origin, RunSkipped

UNKNOWN_STATUS_BACKOFF = Backoff(2.0, max_seconds=30.0)
"""Pauses between questions for an owner's status that the platform does not report."""
MAX_STATUS_WAIT_SECONDS = 180.0
"""Seconds that a run waits for its owner's status. Then it is skipped."""


class ScheduleOrigin(Origin):
    """A run of a schedule. `messengers` are by platform. `wake` is called when a run has ended."""

    preface = (
        "A schedule of the asker sent this message now; nobody typed it. Do what it says without "
        "asking back."
    )
    refers_to_others = False

    def __init__(
        self,
        schedules: Schedules,
        people: People,
        messengers: Mapping[str, Messenger],
        wake: Callable[[], None],
    ) -> None:
        self._schedules = schedules
        self._people = people
        self._messengers = messengers
        self._wake = wake

    async def check_start(self, turn: Turn) -> str:
        """Raise RunSkipped unless the run may begin. A run whose answer is stored already may
        always end. Return the id of an undecided proposal of an earlier run."""
        if turn.answer is None:
            await self._check_run(turn)
        return await self._schedules.find_open_card(turn.message.origin.id, turn.seq)

    async def _check_run(self, turn: Turn) -> None:
        message = turn.message
        if not await self._schedules.is_current(turn.seq):
            raise RunSkipped("changed")
        try:
            await retry(
                lambda: self._check_owner(message), StatusUnknown,
                UNKNOWN_STATUS_BACKOFF, max_wait_seconds=MAX_STATUS_WAIT_SECONDS,
            )  # fmt: skip
        except NotAllowed:
            raise RunSkipped("rights", "rights") from None
        except StatusUnknown:
            raise RunSkipped("unknown") from None
        try:
            await self._people.budget.reserve(turn)
        except OverBudget:
            raise RunSkipped("allowance") from None

    async def _check_owner(self, message: Message) -> None:
        """Raise NotAllowed unless the owner may still have a schedule in this place and reads it.
        Raise StatusUnknown if the platform does not report that now."""
        person, address = message.author, message.address
        (await self._people.policy.may(person, address, "chat")).raise_if_denied()
        schedule = await self._schedules.get(message.origin.id)
        found = (
            await self._people.policy.has_left(person, address, schedule.created_at),
            await self._people.policy.is_stranger(person, address),
        )
        if any(found):
            raise NotAllowed
        if None in found:
            raise StatusUnknown
        messenger = self._messengers.get(address.platform)
        if messenger is None or not address.is_shared:
            return
        try:
            # None does not count: Slack never reports all members of a large channel.
            if await messenger.reads(person, address) is False:
                raise NotAllowed
        except PlatformBusy:
            raise StatusUnknown from None

    def answer_directly(self, message: Message, command: TypedCommand | None) -> Answer | None:
        """Return the text of a schedule that posts. Raise BadInput for a command that is no quick
        command."""
        kind = message.origin.data["kind"]
        if kind == "command" and (command is None or command.name != "quick-command"):
            raise BadInput("This schedule has no quick command. Edit it.")
        return Answer(message.text) if kind == "post" else None

    def addresses(self, message: Message) -> frozenset[str]:
        """Return the addresses that the owner wrote into the schedule."""
        return frozenset(message.origin.data["addresses"])

    def notes(self, message: Message) -> Sequence[str]:
        """Return a sentence for a run that is late."""
        if not message.origin.data["is_late"]:
            return ()
        due = local_time(message.origin.data["due_at"], message.time_zone or "UTC")
        return [say("This is late: it was due on {when}.", when=describe_date(due))]

    async def on_skip(self, turn: Turn, skipped: RunSkipped) -> None:
        """Record that the run is not carried out."""
        message = turn.message
        await self._schedules.skip(turn.seq, skipped.reason, skipped.pause)
        self._people.audit.note(
            "schedule-run-skipped", message.author, message.address,
            schedule=message.origin.id, reason=skipped.reason,
        )  # fmt: skip

    def on_end(self) -> None:
        """Wake the scheduler, which records the result of the run."""
        self._wake()
