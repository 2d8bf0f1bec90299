"""The signs that a turn is under way: typing, and an hourglass on a message that waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import discord

from adapters.discord.client import IN_DOUBT, attempt, message_at
from adapters.discord.state import DiscordState
from core.chat.presence import SIGN_AFTER_SECONDS, WaitingMarks
from core.domain.errors import PonteError
from core.runtime.tasks import BackgroundTasks

HOURGLASS = "⏳"
HOURGLASS_AFTER_SECONDS = 1.0
"""Seconds that a message waits without one: most turns end sooner."""
TYPING_PERIOD_SECONDS = 8.0
"""Seconds; the sign lives for 10 (resources/channel.mdx#trigger-typing-indicator)."""
STILL_TEXT_SECONDS = 5.0
"""Seconds after which text that does not grow is no sign any more."""


def waiting_marks(
    client: Callable[[], Awaitable[discord.Client]], state: DiscordState, tasks: BackgroundTasks
) -> WaitingMarks:
    """Hourglasses; a server may forbid them."""

    async def put_on(where: str) -> None:
        message = message_at(await client(), where)
        with suppress(PonteError, *IN_DOUBT):
            await attempt(lambda: message.add_reaction(HOURGLASS), repeat=False)

    async def take_off(where: str) -> None:
        known = await client()
        message = message_at(known, where)
        with suppress(PonteError, *IN_DOUBT):
            if me := known.user:
                await attempt(lambda: message.remove_reaction(HOURGLASS, me))

    return WaitingMarks(
        tasks, put_on, take_off, state.waiting, state.note_change, HOURGLASS_AFTER_SECONDS
    )


class TypingSign:
    """Typing, by turn, sent again while nothing else shows that the turn lasts. Each sign lasts
    until `end`, which whoever ends a turn calls."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._later: dict[str, asyncio.Task[None]] = {}
        self._grew: dict[str, float] = {}

    def start(self, turn: str, sign: Callable[[], Awaitable[None]]) -> None:
        """`sign` from soon on, again and again."""
        if turn not in self._tasks:
            self._tasks[turn] = asyncio.create_task(self._repeat(turn, sign))

    def note_growth(self, turn: str) -> None:
        """Text stands, and grew just now: that is sign enough for a while."""
        if turn in self._tasks:
            self._grew[turn] = time.monotonic()

    def do_later(self, turn: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` then, unless the turn ended before."""
        if turn not in self._later:
            task = asyncio.create_task(_do_after(seconds, work))
            self._later[turn] = task
            task.add_done_callback(lambda _: self._later.pop(turn, None))

    def stop(self, turn: str) -> None:
        self._grew.pop(turn, None)
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

    async def _repeat(self, turn: str, sign: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(SIGN_AFTER_SECONDS)
        while True:
            still = time.monotonic() - self._grew.get(turn, 0.0)
            if still < STILL_TEXT_SECONDS:
                await asyncio.sleep(STILL_TEXT_SECONDS - still)
                continue
            # Only a sign: the answer will meet the same fault, and tell it.
            with suppress(PonteError, *IN_DOUBT):
                await attempt(sign, repeat=False, deadline=TYPING_PERIOD_SECONDS)
            await asyncio.sleep(TYPING_PERIOD_SECONDS)

    async def close(self) -> None:
        tasks = [*self._tasks.values(), *self._later.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _do_after(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(seconds)
    with suppress(PonteError, *IN_DOUBT):
        await work()
