"""The sign that work goes on: it lives 10 seconds, so it is sent again while a turn lasts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from adapters.discord.calls import IN_DOUBT, attempt
from core.errors import PonteError

AGAIN = 8.0  # resources/channel.mdx#trigger-typing-indicator
LONGEST = 300.0
"""Seconds without a word from the turn after which the sign is given up."""


class TypingSign:
    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._heard: dict[str, float] = {}

    def start(self, turn: str, sign: Callable[[], Awaitable[None]]) -> None:
        self._heard[turn] = time.monotonic()
        if turn not in self._tasks:
            self._tasks[turn] = asyncio.create_task(self._keep(turn, sign))

    def stop(self, turn: str) -> None:
        self._heard.pop(turn, None)
        task = self._tasks.pop(turn, None)
        if task is not None:
            task.cancel()

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
        tasks = list(self._tasks.values())
        for turn in list(self._tasks):
            self.stop(turn)
        await asyncio.gather(*tasks, return_exceptions=True)
