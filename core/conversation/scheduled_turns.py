"""The turns of schedules: whether a run may begin, and what its answer says if it is late.

A run has the rights of its schedule's owner in its place, at the moment when it begins. If they
lost them, the schedule pauses. If an allowance is used up, the run is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from core.chat.platform import Messenger
from core.domain.errors import NotAllowed, OverBudget, PlatformBusy, StatusUnknown
from core.domain.messages import Message
from core.domain.records import Turn
from core.domain.schedule_words import describe_date, local_time
from core.domain.schedules import RunSkipped
from core.ports.rights import Audit, Budget, Policy
from core.ports.schedules import Schedules
from core.runtime.retry import Backoff, retry
from core.text.i18n import say

UNKNOWN_STATUS_BACKOFF = Backoff(2.0, max_seconds=30.0)
"""Pauses between questions for an owner's status that the platform does not report."""
MAX_STATUS_WAIT_SECONDS = 180.0
"""Seconds that a run waits for its owner's status. Then it is skipped."""


class ScheduledTurns:
    """Checks runs before they begin. `messengers` are by platform. `on_end` is called when the turn
    of a run has ended."""

    def __init__(
        self,
        schedules: Schedules,
        policy: Policy,
        budget: Budget,
        audit: Audit,
        messengers: Mapping[str, Messenger],
        on_end: Callable[[], None],
    ) -> None:
        self._schedules = schedules
        self._policy = policy
        self._budget = budget
        self._audit = audit
        self._messengers = messengers
        self.on_end = on_end

    async def check(self, turn: Turn) -> None:
        """Raise RunSkipped unless the run may begin. A run whose answer is stored already may
        always end."""
        message, scheduled = turn.message, turn.message.scheduled_run
        if turn.answer is not None or scheduled is None:
            return
        if not await self._schedules.is_current(turn.seq):
            raise RunSkipped("changed")
        try:
            await retry(
                lambda: self._check_owner(message, scheduled.schedule), StatusUnknown,
                UNKNOWN_STATUS_BACKOFF, max_wait_seconds=MAX_STATUS_WAIT_SECONDS,
            )  # fmt: skip
        except NotAllowed:
            raise RunSkipped("rights", "rights") from None
        except StatusUnknown:
            raise RunSkipped("unknown") from None
        try:
            await self._budget.reserve(turn)
        except OverBudget:
            raise RunSkipped("allowance") from None

    async def skip(self, turn: Turn, skipped: RunSkipped) -> None:
        """Record that the run is not carried out."""
        message = turn.message
        if message.scheduled_run is not None:
            await self._schedules.skip(turn.seq, skipped.reason, skipped.pause)
            self._audit.note(
                "schedule-run-skipped", message.author, message.address,
                schedule=message.scheduled_run.schedule, reason=skipped.reason,
            )  # fmt: skip

    async def find_open_card(self, turn: Turn) -> str:
        """Return the id of an undecided proposal of an earlier run, "" if there is none."""
        scheduled = turn.message.scheduled_run
        if scheduled is None:
            return ""
        return await self._schedules.find_open_card(scheduled.schedule, turn.seq)

    async def _check_owner(self, message: Message, schedule_id: str) -> None:
        """Raise NotAllowed unless the owner may still have a schedule in this place and reads it.
        Raise StatusUnknown if the platform does not report that now."""
        person, address = message.author, message.address
        (await self._policy.may(person, address, "chat")).raise_if_denied()
        schedule = await self._schedules.get(schedule_id)
        found = (
            await self._policy.has_left(person, address, schedule.created_at),
            await self._policy.is_stranger(person, address),
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

    def describe_lateness(self, message: Message) -> Sequence[str]:
        """Return a sentence for a run that is late, none for any other."""
        scheduled = message.scheduled_run
        if scheduled is None or not scheduled.is_late:
            return ()
        due = local_time(scheduled.due_at, message.time_zone or "UTC")
        return [say("This is late: it was due on {when}.", when=describe_date(due))]
