"""When a stored message may begin its turn: once its platform has told who wrote it.

Nobody is refused for not being known yet. Their message is stored and acknowledged; it waits here,
before its turn takes a place of any kind, until the platform has told who they are, for
`WAIT_SECONDS` at most. After that the turn itself asks them to try again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable

from core.commands import grammar
from core.domain.errors import PonteError
from core.domain.messages import Message
from core.ports.rights import Policy
from core.text import text

WAIT_SECONDS = 180.0
"""How long somebody whom the platform has not told of yet is waited for."""
CONFIRM_SECONDS = 2.0
"""How long a turn that can do without waits for the platform to confirm what it said before; until
then chat and reads go on, and nothing that needs a confirmed status is offered."""
NEED_CONFIRMATION = frozenset({"approve", "deny", "undo", "quick-command", grammar.RUN_PYTHON})
"""Commands that are of no use without a confirmed status."""

Stored = Callable[[int], Awaitable[tuple[Message, float] | None]]
"""A message that has not begun yet, by its `seq`, and when it was stored; else None."""


class Admission:
    def __init__(self, stored: Stored, policy: Policy) -> None:
        self._stored = stored
        self._policy = policy
        self._since = time.time()

    async def admit(self, seq: int, seconds: float = math.inf) -> bool:
        """Wait up to `seconds` until that turn may begin. Return whether it may."""
        stored = await self._stored(seq)
        if stored is None:
            return True
        message, stored_at = stored
        # What waited while no process ran has its whole time.
        waited = time.time() - max(stored_at, self._since)
        if await self._policy.prepare(message.author, message.address, confirmed=True, seconds=0.0):
            return True
        needed = await text.run_off_loop(lambda said: _needs_confirmation(said, message.locale),
                                  message.text)  # fmt: skip
        if not await self._prepare(message, needed, WAIT_SECONDS - waited, seconds):
            return False
        return needed or await self._prepare(message, True, CONFIRM_SECONDS - waited, seconds)

    async def _prepare(
        self, message: Message, confirmed: bool, left: float, seconds: float
    ) -> bool:
        """Wait until it is known, or no time is `left`. False where `seconds` ended before."""
        if left <= 0:
            return True
        known = await self._policy.prepare(
            message.author, message.address, confirmed=confirmed, seconds=min(left, seconds)
        )
        return known or left <= seconds


def _needs_confirmation(said: str, locale: str) -> bool:
    try:
        command = grammar.parse_command(said, locale or None)
    except PonteError:
        return False
    return command is not None and command.name in NEED_CONFIRMATION
