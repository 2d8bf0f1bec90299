"""How fast NocoDB's own cloud may be asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from core.tools.again import Sleep

CLOUD = 0.25
"""Seconds between calls. 5 a second are allowed to a user (https://nocodb.com/docs), and calls do
not arrive at the distances at which they leave. A server of one's own has no limit."""


class Pace:
    """Calls leave `interval` seconds apart; none waits where that is 0."""

    def __init__(
        self,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._interval = interval
        self._clock = clock
        self._sleep = sleep
        self._due = 0.0

    async def take(self) -> None:
        """Wait for the next free place."""
        if not self._interval:
            return
        now = self._clock()
        due = max(now, self._due)
        self._due = due + self._interval
        if due > now:
            await self._sleep(due - now)


def interval_of(url: str) -> float:
    """Seconds between two calls of the server at `url`."""
    host = urlsplit(url).hostname or ""
    return CLOUD if host == "nocodb.com" or host.endswith(".nocodb.com") else 0.0
