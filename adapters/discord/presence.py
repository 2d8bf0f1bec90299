"""The signs of a turn under way: the typing indicator, and an hourglass on a waiting message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import discord

from adapters.discord.client import IN_DOUBT, attempt, message_at
from adapters.discord.state import DiscordState
from core.base.errors import PonteError
from core.base.tasks import BackgroundTasks
from core.chat.incoming import SIGN_AFTER_SECONDS, WaitingMarks

HOURGLASS = "⏳"
HOURGLASS_AFTER_SECONDS = 1.0
"""The pause before a waiting message gets an hourglass. Most turns end sooner."""
TYPING_PERIOD_SECONDS = 8.0
"""The pause between two typing calls. The indicator lasts for 10 seconds
(resources/channel.mdx#trigger-typing-indicator)."""
STILL_TEXT_SECONDS = 5.0
"""After this time without new text, the typing indicator is shown again."""


class DiscordSigns:
    """Shows that Ponte works on a message: an hourglass on messages that wait (`marks`), and a
    typing indicator for each turn, repeated while the answer shows no new text, until `end`."""

    def __init__(
        self,
        client: Callable[[], Awaitable[discord.Client]],
        state: DiscordState,
        tasks: BackgroundTasks,
    ) -> None:
        """`client` waits for the login and returns the client in use then. `state` remembers
        hourglasses, so that they are removed after a restart, too."""
        self._client = client
        self.marks = WaitingMarks(
            tasks,
            self._mark,
            self._remove_mark,
            state.hourglasses,
            state.note_change,
            HOURGLASS_AFTER_SECONDS,
        )
        self._signs: dict[str, asyncio.TimerHandle | asyncio.Task[None]] = {}
        """The typing indicator of each turn: first the timer that will show it, then the task that
        repeats it."""
        self._later: dict[str, asyncio.Task[None]] = {}
        """Work that a turn has put off, by turn. The turn's end cancels it."""
        self._growth_times: dict[str, float] = {}
        """When a turn's text grew last (monotonic seconds)."""

    async def _mark(self, where: str) -> None:
        """`where` is `channel:message`. A failure is ignored, because a server may forbid
        reactions."""
        message = message_at(await self._client(), where)
        with suppress(PonteError, *IN_DOUBT):
            await attempt(lambda: message.add_reaction(HOURGLASS), repeat=False)

    async def _remove_mark(self, where: str) -> None:
        client = await self._client()
        message = message_at(client, where)
        with suppress(PonteError, *IN_DOUBT):
            if me := client.user:
                await attempt(lambda: message.remove_reaction(HOURGLASS, me))

    def start(self, turn: str, sign: Callable[[], Awaitable[None]]) -> None:
        """Call `sign` soon, and then again and again until the turn ends."""
        if turn not in self._signs:
            loop = asyncio.get_running_loop()
            self._signs[turn] = loop.call_later(SIGN_AFTER_SECONDS, self._show, turn, sign)

    def _show(self, turn: str, sign: Callable[[], Awaitable[None]]) -> None:
        self._signs[turn] = asyncio.create_task(self._repeat_sign(turn, sign))

    def note_growth(self, turn: str) -> None:
        """New text replaces the typing indicator for a while."""
        if turn in self._signs:
            self._growth_times[turn] = time.monotonic()

    def do_later(self, turn: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` after so many seconds, unless the turn ends before. Only one such work is
        pending for a turn."""
        if turn not in self._later:
            task = asyncio.create_task(_do_after(seconds, work))
            self._later[turn] = task
            task.add_done_callback(lambda _: self._later.pop(turn, None))

    def stop(self, turn: str) -> None:
        self._growth_times.pop(turn, None)
        if sign := self._signs.pop(turn, None):
            sign.cancel()

    async def end(self, turn: str) -> None:
        """Stop the typing indicator and the work that `do_later` delayed for this turn, such as
        adding a stop button. Wait until that has ended, so that it changes no post afterwards."""
        self.stop(turn)
        if later := self._later.pop(turn, None):
            later.cancel()
            await asyncio.wait({later})

    async def _repeat_sign(self, turn: str, sign: Callable[[], Awaitable[None]]) -> None:
        """Repeat the typing indicator, which Discord removes after ten seconds. While the answer's
        text grows, that is sign enough. The turn's end cancels this task."""
        while True:
            still = time.monotonic() - self._growth_times.get(turn, 0.0)
            if still < STILL_TEXT_SECONDS:
                await asyncio.sleep(STILL_TEXT_SECONDS - still)
                continue
            # A failure is ignored: it is only an indicator, and the answer reports the fault.
            with suppress(PonteError, *IN_DOUBT):
                # The loop makes the next call anyway.
                await attempt(sign, repeat=False, deadline=TYPING_PERIOD_SECONDS)
            await asyncio.sleep(TYPING_PERIOD_SECONDS)

    async def close(self) -> None:
        # `_later`: signs that are to be shown soon.
        signs = [*self._signs.values(), *self._later.values()]
        for sign in signs:
            sign.cancel()
        tasks = [sign for sign in signs if isinstance(sign, asyncio.Task)]
        await asyncio.gather(*tasks, return_exceptions=True)


async def _do_after(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(seconds)
    with suppress(PonteError, *IN_DOUBT):
        await work()
