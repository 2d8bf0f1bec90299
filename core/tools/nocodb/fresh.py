"""A value that is asked for by one at a time and kept for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

FRESH = 300.0
"""Seconds that it is taken as true."""


class Fresh(Generic[T]):
    """Who comes while it is asked for waits for that answer; a failure is not kept."""

    def __init__(self, ask: Callable[[], Awaitable[T]], clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._turn = asyncio.Lock()
        self._kept: tuple[T, float] | None = None

    @property
    def age(self) -> float:
        """Seconds since it was asked for; without end where nothing is kept."""
        return self._clock() - self._kept[1] if self._kept else float("inf")

    async def value(self) -> T:
        async with self._turn:
            if self._kept is None or self.age >= FRESH:
                asked = self._clock()
                self._kept = await self._ask(), asked
            return self._kept[0]
