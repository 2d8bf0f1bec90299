"""The time that passes while StackSpot works; tests bring a clock of their own."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Protocol

_RANDOM = random.SystemRandom()


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since whenever; they only grow."""

    async def sleep(self, seconds: float) -> None: ...

    def jitter(self) -> float:
        """A factor of 1 or a little more, so that many who wait do not come back together."""


class MachineClock:
    """A `Clock` that really waits."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def jitter(self) -> float:
        return _RANDOM.uniform(1.0, 1.2)
