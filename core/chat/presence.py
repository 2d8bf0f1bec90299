"""Signs that Ponte has received a message or works on it: marks and their timing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from core.base.errors import Forgotten, NotStored
from core.base.tasks import BackgroundTasks
from core.domain.conversation_ports import Inbox
from core.domain.messages import Message
from core.domain.records import Receipt
from core.people.policy import Policy

UNKNOWN_MARK_SECONDS = 1.0
"""Seconds that the author of a message may be unknown before it is marked as waiting."""
SIGN_AFTER_SECONDS = 0.4
"""Seconds before a turn shows that it is under way. A faster answer needs no sign."""

Mark = Callable[[str], Coroutine[Any, Any, None]]
"""Sets or removes the mark of the message at a place; raises nothing."""


@dataclass(slots=True)
class WaitingMarks:
    """Marks the messages that wait for their turn.

    `worn` maps each turn to its marked message. It is shared state, so that another process can
    remove the mark; `on_change` is called after each change of it. `patience`: seconds before a
    message is marked; most turns begin earlier.
    """

    tasks: BackgroundTasks
    put_on: Mark
    take_off: Mark
    worn: MutableMapping[str, str]
    on_change: Callable[[], None] = lambda: None
    patience: float = 0.0
    _due: dict[str, asyncio.Task[object]] = field(default_factory=dict, init=False)

    def put(self, turn: str, place: str) -> None:
        """Mark the message of a turn, after the pause of `patience` seconds."""
        if task := self.tasks.start(self._mark(turn, place)):
            self._due[turn] = task
            task.add_done_callback(lambda _: self._due.pop(turn, None))

    def mark_stored(
        self, policy: Policy, inbox: Inbox, message: Message, receipt: Receipt, place: str
    ) -> None:
        """Mark a stored message if it waits for other turns, or while its author is unknown."""
        if receipt.turns_ahead:
            self.put(receipt.turn, place)
        else:
            self.tasks.start(self._mark_while_unknown(policy, inbox, message, receipt, place))

    def clear(self, turn: str) -> None:
        """Remove the mark: the turn begins."""
        if waiting := self._due.pop(turn, None):
            waiting.cancel()
        if place := self.worn.pop(turn, ""):
            self.on_change()
            self.tasks.start(self.take_off(place))

    def close(self) -> None:
        """Mark no further messages."""
        for waiting in self._due.values():
            waiting.cancel()

    async def _mark(self, turn: str, place: str) -> None:
        """Mark the message after the pause. The mark is noted first, so that it is removed in any
        case."""
        await asyncio.sleep(self.patience)
        self.worn[turn] = place
        self.on_change()
        await self.put_on(place)

    async def _mark_while_unknown(
        self, policy: Policy, inbox: Inbox, message: Message, receipt: Receipt, place: str
    ) -> None:
        """Mark a message while the platform has not identified its author. Remove the mark when it
        is answered."""
        known = await policy.prepare(
            message.author, message.address, confirmed=False, seconds=UNKNOWN_MARK_SECONDS
        )
        if not known:
            self.put(receipt.turn, place)
            with suppress(Forgotten, NotStored):
                await inbox.wait_for_answer(receipt.seq)
            self.clear(receipt.turn)
