"""Move the clock of the running event loop, so that a test does not wait for its timers."""

from __future__ import annotations

import asyncio
from typing import Any


class LoopClock:
    """Make one inside the loop. Its timers, timeouts and sleeps follow; `time.monotonic` does not.

    A timeout that a test skips may be as long as it is for users, so that no machine is too slow
    for it. What else waits at that moment is late, too: skip as little as the test needs.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        real, self._ahead = loop.time, 0.0
        loop.time = lambda: real() + self._ahead  # type: ignore[method-assign]

    def skip(self, seconds: float) -> None:
        """Everything that is due by then happens as soon as the loop comes to it."""
        self._ahead += seconds

    async def skip_until_done(self, task: asyncio.Future[Any], seconds: float) -> None:
        """Skip `seconds` over and over, for a timer that begins anew with each event."""
        while not task.done():
            await run_ready()
            self.skip(seconds)


async def run_ready(turns: int = 500) -> None:
    """Give the loop so many turns, for a test of what must not happen.

    It counts turns and not seconds, so a slow machine gets as much done as a fast one.
    """
    for _ in range(turns):
        await asyncio.sleep(0)
