"""Runs stored messages in one process: a conversation's turns one at a time and in order,
conversations side by side, decisions at once."""

from __future__ import annotations

import asyncio
import heapq
from contextlib import suppress
from weakref import WeakValueDictionary

import structlog

from core import metrics
from core.ports import Handler

log = structlog.get_logger("inbox")
FIRST_WAIT, LONGEST_WAIT = 0.2, 30.0
"""Seconds before a turn that could not even be recorded is taken up again."""
HEAD_START = 30.0
"""Seconds that decisions which were left undone have before turns begin beside them."""
LAST_WORDS = 5.0
"""Seconds that a cancelled turn has to record where it stands."""


class Runner:
    def __init__(self) -> None:
        self._handler: Handler | None = None
        self._open = False
        self._waiting: dict[str, list[int]] = {}
        self._decisions: list[int] = []
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: set[int] = set()
        """Taken in and not at their end yet; `run` finds in the file what `accept` gave already."""
        self._current: dict[int, asyncio.Task[None] | None] = {}
        """Taken up, with the handler that is at it; None between two tries."""
        self._turns: dict[str, int] = {}
        self._stopped: set[int] = set()
        self._ended: WeakValueDictionary[int, asyncio.Event] = WeakValueDictionary()
        self._draining = asyncio.Event()

    def enqueue(self, seq: int, conversation: str, decision: bool) -> int:
        """Take a stored message in, once; returns how many turns stand before it."""
        if seq in self._known:
            return 0
        self._known.add(seq)
        if decision:
            self._decisions.append(seq)
            self._start_decisions()
            return 0
        queue = self._waiting.setdefault(conversation, [])
        before = len(queue) + (conversation in self._turns)
        heapq.heappush(queue, seq)
        metrics.queued.inc()
        self._start_lane(conversation)
        return before

    async def start(self, handler: Handler) -> None:
        """Decisions that a former process left come before any turn."""
        self._handler = handler
        self._start_decisions()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=HEAD_START)
        self._open = True
        for conversation in list(self._waiting):
            self._start_lane(conversation)

    async def until_drained(self) -> None:
        await self._draining.wait()

    def running(self, conversation: str) -> int | None:
        return self._turns.get(conversation)

    def cancel(self, seq: int) -> bool:
        """Cancel its handler, once, if it is taken up now.

        A handler that the cancellation took before it could record it runs again, and learns from
        `stopped` what it has to do.
        """
        if seq not in self._current:
            return False
        if seq not in self._stopped:
            self._stopped.add(seq)
            if task := self._current[seq]:
                task.cancel()
        return True

    def stopped(self, seq: int) -> bool:
        """Whether `cancel` (and not a drain) is why its handler was cancelled."""
        return seq in self._stopped

    def wake(self, seq: int) -> None:
        """Let those who wait for its end look at the row again."""
        if event := self._ended.pop(seq, None):
            event.set()

    def ended(self, seq: int) -> asyncio.Event:
        """Set when the message's handler has come to its end. Look up, then read the row."""
        return self._ended.setdefault(seq, asyncio.Event())

    async def drain(self, grace: float) -> None:
        self._draining.set()
        if running := self._handlers():
            await asyncio.wait(running, timeout=grace)
        for task in self._handlers():
            task.cancel()
        pending = {*self._handlers(), *self._lanes.values(), *self._tasks}
        if pending:
            await asyncio.wait(pending, timeout=LAST_WORDS)

    def _handlers(self) -> set[asyncio.Task[None]]:
        return {task for task in self._current.values() if task}

    def _start_decisions(self) -> None:
        while self._handler and self._decisions and not self._draining.is_set():
            task = asyncio.create_task(self._take(self._decisions.pop(0)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _start_lane(self, conversation: str) -> None:
        if self._open and conversation not in self._lanes and not self._draining.is_set():
            self._lanes[conversation] = asyncio.create_task(self._lane(conversation))

    async def _lane(self, conversation: str) -> None:
        queue = self._waiting[conversation]
        try:
            while queue and not self._draining.is_set():
                seq = heapq.heappop(queue)
                metrics.queued.dec()
                self._turns[conversation] = seq
                try:
                    await self._take(seq)
                finally:
                    del self._turns[conversation]
        finally:
            del self._lanes[conversation]
            if not queue:
                self._waiting.pop(conversation, None)

    async def _take(self, seq: int) -> None:
        self._current[seq], wait = None, FIRST_WAIT
        while not self._draining.is_set() and not await self._handled(seq):
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._draining.wait()
            wait = min(wait * 2, LONGEST_WAIT)
        del self._current[seq]
        self._stopped.discard(seq)
        self._known.discard(seq)
        self.wake(seq)

    async def _handled(self, seq: int) -> bool:
        if self._handler is None:
            raise RuntimeError("the runner has no handler yet")
        task = self._current[seq] = asyncio.create_task(self._handler(seq))
        metrics.running.inc()
        try:
            await asyncio.wait({task})
        finally:
            self._current[seq] = None
            metrics.running.dec()
        if task.cancelled():
            return False
        if error := task.exception():
            log.error("put off", seq=seq, why=repr(error), exc_info=error)
            return False
        return True
