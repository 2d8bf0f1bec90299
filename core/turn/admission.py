"""Decides when a stored message may begin its turn: once its platform has identified its author.

An author who is not known yet is not refused. Their message is already stored and acknowledged. It
waits for at most `WAIT_SECONDS` before its turn occupies a place. After that, the turn begins and
asks the person to try again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable

from core.base import text
from core.base.errors import PonteError
from core.commands import grammar
from core.domain.messages import Message
from core.people.policy import Policy

WAIT_SECONDS = 180.0
"""Seconds that a message waits until the platform has identified its author."""
CONFIRM_SECONDS = 2.0
"""Seconds that a turn waits for the platform to confirm older facts about the author. A turn that
needs no confirmed status then begins without it. It may chat and read, and is offered nothing else.
"""
NEED_CONFIRMATION = frozenset(
    {"approve", "deny", "undo", "schedule", "quick-command", grammar.RUN_PYTHON}
)
"""Commands that cannot run without a confirmed status of their author."""

Stored = Callable[[int], Awaitable[tuple[Message, float] | None]]
"""Returns the message with this `seq` and the time when it was stored (seconds since the epoch);
None if its turn has begun."""


class Admission:
    """Lets turns begin once their author is known, or the wait for that is over."""

    def __init__(self, stored: Stored, policy: Policy) -> None:
        self._stored = stored
        self._policy = policy
        self._since = time.time()

    async def admit(self, seq: int, seconds: float = math.inf) -> bool:
        """Wait up to `seconds` until this turn may begin. Return False if it may not begin yet."""
        stored = await self._stored(seq)
        if stored is None:
            return True
        message, stored_at = stored
        # A message that waited while no process ran gets the full time from the start.
        waited = time.time() - max(stored_at, self._since)
        # Most authors are known, so their text need not be parsed.
        if await self._policy.prepare(message.author, message.address, confirmed=True, seconds=0.0):
            return True
        needed = await text.run_off_loop(lambda _: _needs_confirmation(message), message.text)
        if not await self._prepare(message, needed, WAIT_SECONDS - waited, seconds):
            return False
        return needed or await self._prepare(message, True, CONFIRM_SECONDS - waited, seconds)

    async def _prepare(
        self, message: Message, confirmed: bool, left: float, seconds: float
    ) -> bool:
        """Wait until the author is known, or no time is `left`. Return False if `seconds` ended
        before that."""
        if left <= 0:
            return True
        known = await self._policy.prepare(
            message.author, message.address, confirmed=confirmed, seconds=min(left, seconds)
        )
        return known or left <= seconds


def _needs_confirmation(message: Message) -> bool:
    """Return whether the message is a command of `NEED_CONFIRMATION`."""
    try:
        command = grammar.parse_message(message)
    except PonteError:
        return False
    return command is not None and command.name in NEED_CONFIRMATION
