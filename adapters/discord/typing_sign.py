"""The sign that work goes on: it lives 10 seconds, so it is sent again while a turn lasts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from adapters.discord.calls import IN_DOUBT, attempt
from core.errors import PonteError

AGAIN = 8.0  # resources/channel.mdx#trigger-typing-indicator
LONGEST = 300.0
"""Seconds without a word from the turn after which the sign is given up."""


class TypingSign:
    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._later: dict[str, asyncio.Task[None]] = {}
        self._heard: dict[str, float] = {}

    def start(self, turn: str, sign: Callable[[], Awaitable[None]]) -> None:
        self._heard[turn] = time.monotonic()
        if turn not in self._tasks:
            self._tasks[turn] = asyncio.create_task(self._keep(turn, sign))

    def later(self, turn: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` then, unless the turn ended before."""
        if turn not in self._later:
            task = asyncio.create_task(_after(seconds, work))
            self._later[turn] = task
            task.add_done_callback(lambda _: self._later.pop(turn, None))

    def stop(self, turn: str) -> None:
        self._heard.pop(turn, None)
        task = self._tasks.pop(turn, None)
        if task is not None:
            task.cancel()

    async def end(self, turn: str) -> None:
        """Nothing of the turn goes on from here."""
        self.stop(turn)
        later = self._later.pop(turn, None)
        if later is not None:
            later.cancel()
            await asyncio.wait({later})

    async def _keep(self, turn: str, sign: Callable[[], Awaitable[None]]) -> None:
        try:
            while time.monotonic() - self._heard.get(turn, 0.0) < LONGEST:
                await attempt(sign, repeat=False, deadline=AGAIN)
                await asyncio.sleep(AGAIN)
        except (PonteError, *IN_DOUBT):
            # Only a sign: the answer will meet the same fault, and tell it.
            return
        finally:
            if self._tasks.get(turn) is asyncio.current_task():
                self._tasks.pop(turn, None)

    async def close(self) -> None:
        tasks = [*self._tasks.values(), *self._later.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _after(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(seconds)
    with suppress(PonteError, *IN_DOUBT):
        await work()
