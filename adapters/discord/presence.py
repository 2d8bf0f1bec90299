"""Signs that Ponte is there: typing while a turn lasts, an hourglass on a message that waits, and
the few things that it says without having been asked."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import discord
import structlog

from adapters.discord.client import IN_DOUBT, attempt, message_at
from adapters.discord.state import Notes
from core.errors import PonteError
from core.i18n import say

log = structlog.get_logger("discord")

HOURGLASS = "⏳"
PATIENCE = 1.0
"""Seconds that a message waits without one: most turns end sooner."""

SOON = 0.4
"""Seconds before a turn shows that it works: a quicker answer needs no sign."""
AGAIN = 8.0
"""Seconds; the sign lives for 10 (resources/channel.mdx#trigger-typing-indicator)."""
STILL = 5.0
"""Seconds after which text that does not grow is no sign any more."""

LONGEST_NONCE = 25  # resources/message.mdx#create-message-jsonform-params
HINT_EVERY = 24 * 3600.0
"""Seconds until the same hint is given again in a channel."""

MENTION = (
    "I cannot read a message here that does not mention me. Please mention me in it, "
    "or reply to me with the mention on."
)
BY_ROLE = (
    "You mentioned my role, and Discord does not show me what such a message says. "
    "Please pick the bot of that name in the list, not the role."
)
WAITS = "There are several of you here now, so I wait to be mentioned."
AWAY = (
    "I was away, and left {count} older messages here unanswered. "
    "Please send again what still matters."
)


class Hints:
    """What Ponte says without having been asked: each once, as a reply."""

    def __init__(self, notes: Notes, locale: str) -> None:
        self._notes = notes
        self._locale = locale

    async def mention_me(self, message: discord.Message) -> None:
        """Once a day in a channel: who wrote meant Ponte, but Discord did not tell what."""
        if self._notes.first_hint(f"mention:{message.channel.id}", HINT_EVERY):
            await self.say(message, say(MENTION, self._locale), "mention")

    async def by_role(self, message: discord.Message) -> None:
        """Who wrote meant us, each time: silence would be no answer."""
        await self.say(message, say(BY_ROLE, self._locale), "role")

    async def waits_now(self, message: discord.Message) -> None:
        await self.say(message, say(WAITS, self._locale), "waits")

    async def away(self, newest: discord.Message, count: int) -> None:
        await self.say(newest, say(AWAY, self._locale, count=count), "away")

    async def say(self, message: discord.Message, words: str, about: str) -> None:
        """As a reply to `message`, so that it is never taken for an answer to another one."""
        nonce = hashlib.sha256(f"{about}:{message.id}".encode()).hexdigest()[:LONGEST_NONCE]
        reference = discord.MessageReference.from_message(message, fail_if_not_exists=False)
        try:
            await attempt(lambda: message.channel.send(words, nonce=nonce, reference=reference))
        except (PonteError, *IN_DOUBT) as error:
            log.info("hint not given", about=about, why=str(error)[:200])


class Marks:
    """Hourglasses. The notes know what wears one, so that the next process takes it off."""

    def __init__(self, client: Callable[[], Awaitable[discord.Client]], notes: Notes) -> None:
        self._client = client
        self._notes = notes
        self._waiting: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def put(self, turn: str, channel: int, message: int) -> None:
        """Unless its turn begins soon."""
        task = asyncio.create_task(self._react(turn, f"{channel}:{message}"))
        self._waiting[turn] = task
        task.add_done_callback(lambda _: self._waiting.pop(turn, None))

    def clear(self, turn: str) -> None:
        """Its turn begins."""
        waiting = self._waiting.pop(turn, None)
        if waiting is not None:
            waiting.cancel()
        where = self._notes.waiting.pop(turn, None)
        if where is not None:
            self._notes.changed()
            task = asyncio.create_task(self._unreact(where))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _react(self, turn: str, where: str) -> None:
        await asyncio.sleep(PATIENCE)
        self._notes.waiting[turn] = where
        self._notes.changed()
        message = message_at(await self._client(), where)
        try:
            await attempt(lambda: message.add_reaction(HOURGLASS), repeat=False)
        except (PonteError, *IN_DOUBT):
            # Only a sign, and one that a server may forbid.
            return

    async def _unreact(self, where: str) -> None:
        client = await self._client()
        message = message_at(client, where)
        try:
            if client.user is not None:
                me = client.user
                await attempt(lambda: message.remove_reaction(HOURGLASS, me))
        except (PonteError, *IN_DOUBT):
            return

    async def close(self) -> None:
        for task in self._waiting.values():
            task.cancel()
        await asyncio.gather(*self._waiting.values(), *self._leaving, return_exceptions=True)


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
            self._tasks[turn] = asyncio.create_task(self._keep(turn, sign))

    def grew(self, turn: str) -> None:
        """Text stands, and grew just now: that is sign enough for a while."""
        if turn in self._tasks:
            self._grew[turn] = time.monotonic()

    def later(self, turn: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` then, unless the turn ended before."""
        if turn not in self._later:
            task = asyncio.create_task(_after(seconds, work))
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

    async def _keep(self, turn: str, sign: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(SOON)
        while True:
            still = time.monotonic() - self._grew.get(turn, 0.0)
            if still < STILL:
                await asyncio.sleep(STILL - still)
                continue
            # Only a sign: the answer will meet the same fault, and tell it.
            with suppress(PonteError, *IN_DOUBT):
                await attempt(sign, repeat=False, deadline=AGAIN)
            await asyncio.sleep(AGAIN)

    async def close(self) -> None:
        tasks = [*self._tasks.values(), *self._later.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _after(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(seconds)
    with suppress(PonteError, *IN_DOUBT):
        await work()
