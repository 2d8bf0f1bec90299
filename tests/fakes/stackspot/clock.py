"""A clock without real time: each sleep moves it forward."""

from __future__ import annotations

import asyncio

from core.tools.stackspot.api import Clock


class SteppedClock(Clock):
    """`pauses` are all sleeps, in order; those that overlap share the time that they take."""

    def __init__(self) -> None:
        self.time = 1_000.0
        self.pauses: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(round(seconds, 3))
        until = self.time + seconds
        await asyncio.sleep(0)
        self.time = max(self.time, until)

    def jitter(self) -> float:
        return 1.0
