"""What happens in one channel is taken in one at a time and in order; channels side by side.

The SDK starts a task of its own for each event, so order is the adapter's to keep.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger("discord")
Work = Callable[[], Awaitable[None]]


class Lanes:
    def __init__(self) -> None:
        self._waiting: dict[int, deque[Work]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, channel: int, work: Work) -> None:
        """Do `work` after all that was put into this channel's lane before."""
        queue = self._waiting.get(channel)
        if queue is not None:
            queue.append(work)
            return
        self._waiting[channel] = deque([work])
        self.aside(lambda: self._run(channel))

    def aside(self, work: Work) -> None:
        """Do `work` in a task of its own, which `close` awaits."""
        task = asyncio.ensure_future(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, channel: int) -> None:
        queue = self._waiting[channel]
        try:
            while queue:
                await _quietly(queue.popleft())
        finally:
            del self._waiting[channel]

    async def close(self, deadline: float) -> None:
        """Let what is under way end within `deadline` seconds; cancel the rest."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=deadline)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _quietly(work: Work) -> None:
    """One event that breaks must not take the channel's later ones with it."""
    try:
        await work()
    except Exception:
        log.exception("event not handled")
