"""An author who is not known yet is not refused. Their message is already stored and acknowledged.
It waits for at most `WAIT_SECONDS` before its turn occupies a place. After that, the turn begins
and asks the person to try again."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from core.base import text
from core.base.errors import PonteError
from core.commands import grammar
from core.commands.grammar import TypedCommand
from core.domain.messages import Answer, Message, Progress
from core.domain.ports import Tool
from core.domain.records import Turn
from core.domain.rights import PlaceRights
from core.people.policy import Policy

PauseReason = Literal["", "person", "rights", "failures", "restored"]
"""Why a schedule is paused: a person paused it, its owner lost their rights or membership, it
failed too often in a row, or a backup was restored."""


SkipReason = Literal["rights", "allowance", "changed", "busy", "unknown", "no_fields"]
"""Why a run was skipped: its owner may not do this there any more, an allowance is used up, the
schedule was changed before the run began, its previous run had not ended, the platform did not
report the owner's status, or a webhook's template is empty."""


class RunSkipped(Exception):
    """Raised to end the turn of a run, such as a schedule's, that must not be carried out. Nothing
    is posted."""

    def __init__(self, reason: SkipReason, pause: PauseReason = "") -> None:
        self.reason: SkipReason = reason
        self.pause: PauseReason = pause
        super().__init__(reason)


class Origin:
    """The rules that differ between turns by where their message comes from. This class stands for
    messages that a person or their program sent just now; other origins derive from it and override
    what differs."""

    preface = ""
    """A sentence for the model about where the message comes from."""
    has_profile = True
    """The author has a profile on the platform, and the message may refer to others there."""
    refers_to_others = True
    is_refusal_private = True
    """Only the author reads why something is refused; False if the readers of the place do."""

    async def check_start(self, turn: Turn) -> str:
        """Raise RunSkipped if the turn must not begin. Return the id of an earlier proposal that
        must be decided before this turn can propose anything; "" for none. The call is cancelled if
        a person stops the turn or the process ends."""
        return ""

    def answer_directly(self, message: Message, command: TypedCommand | None) -> Answer | None:
        """Return the answer if the message's own text is it, as of a schedule that only posts; None
        if a command or the model makes it. Raise PonteError for a message that cannot be
        answered."""
        return None

    async def make_answer(
        self, turn: Turn, show: Callable[[Progress], Awaitable[None]], rights: PlaceRights
    ) -> Answer | None:
        return None

    def offer(self, tools: Sequence[Tool]) -> Sequence[Tool]:
        return tools

    def addresses(self, message: Message) -> frozenset[str]:
        """Return the addresses in the message's text that may be links because a person wrote them,
        although the author did not write the text for this message (as with a schedule)."""
        return frozenset()

    def notes(self, message: Message) -> Sequence[str]:
        return ()

    async def on_skip(self, turn: Turn, skipped: RunSkipped) -> None: ...

    def on_end(self) -> None: ...


PEOPLE = Origin()


WAIT_SECONDS = 180.0
"""Seconds that a message waits until the platform has identified its author."""
CONFIRM_SECONDS = 2.0
"""Seconds that a turn waits for the platform to confirm older facts about the author. A turn that
needs no confirmed status then begins without it. It may chat and read, and is offered nothing else.
"""
NEED_CONFIRMATION = frozenset(
    {"approve", "change", "deny", "undo", "again", "schedule", "quick-command", grammar.RUN_PYTHON}
)

FindUnstarted = Callable[[int], Awaitable[tuple[Message, float] | None]]
"""Returns the message with this `seq` and the time when it was stored (seconds since the epoch);
None if its turn has begun."""


class Admission:
    """Decides when a turn may begin: once the platform has told what its author's rights depend on
    (groups, guest status), or has taken too long to tell."""

    def __init__(self, find_unstarted: FindUnstarted, policy: Policy) -> None:
        self._find_unstarted = find_unstarted
        self._policy = policy
        self._since = time.time()
        """When this process began: it does not count the time before as waiting."""

    async def admit(self, seq: int, seconds: float = math.inf) -> bool:
        """Wait up to `seconds` until this turn may begin; False if it may not begin yet. A turn
        waits for the platform's facts about its author: up to WAIT_SECONDS for any that its rights
        need, and then up to CONFIRM_SECONDS for newer ones. A command that needs a confirmed status
        waits up to WAIT_SECONDS for newer ones."""
        unstarted = await self._find_unstarted(seq)
        if unstarted is None:  # it has begun before, and was admitted then
            return True
        message, stored_at = unstarted
        # A message that waited while no process ran gets the full time from the start.
        waited = time.time() - max(stored_at, self._since)
        # Most authors are known, so their text need not be parsed.
        if await self._policy.prepare(message.author, message.address, confirmed=True, seconds=0.0):
            return True
        # A long text is parsed in a thread, and its length decides that: so it is passed, too.
        needed = await text.run_off_loop(lambda _: _needs_confirmation(message), message.text)
        if not await self._prepare(message, needed, WAIT_SECONDS - waited, seconds):
            return False
        return needed or await self._prepare(message, True, CONFIRM_SECONDS - waited, seconds)

    async def _prepare(
        self, message: Message, confirmed: bool, limit: float, seconds: float
    ) -> bool:
        """Return True once the author is known, or once `limit` seconds have passed without that.
        Return False if the caller's `seconds` end before either. `confirmed`: only data that the
        platform has confirmed lately counts."""
        if limit <= 0:
            return True
        is_known = await self._policy.prepare(
            message.author, message.address, confirmed=confirmed, seconds=min(limit, seconds)
        )
        # If `limit` was the shorter time, it has passed. Then the turn may begin with an unknown
        # author: the policy denies what depends on unknown data.
        return is_known or limit <= seconds


def _needs_confirmation(message: Message) -> bool:
    try:
        command = grammar.parse_message(message)
    except PonteError:
        return False
    return command is not None and command.name in NEED_CONFIRMATION
