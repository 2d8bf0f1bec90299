"""An hourglass on a message that waits behind others, gone when its turn begins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import discord

from adapters.discord.calls import IN_DOUBT, attempt
from adapters.discord.notes import Notes
from core.errors import PonteError

HOURGLASS = "⏳"
PATIENCE = 1.0
"""Seconds that a message waits without one: most turns end sooner."""


class Marks:
    """The notes know which messages wear one, so that the next process takes it off."""

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
        message = await self._message(where)
        try:
            await attempt(lambda: message.add_reaction(HOURGLASS), repeat=False)
        except (PonteError, *IN_DOUBT):
            # Only a sign, and one that a server may forbid.
            return

    async def _unreact(self, where: str) -> None:
        client = await self._client()
        message = await self._message(where)
        try:
            if client.user is not None:
                me = client.user
                await attempt(lambda: message.remove_reaction(HOURGLASS, me))
        except (PonteError, *IN_DOUBT):
            return

    async def _message(self, where: str) -> discord.PartialMessage:
        client = await self._client()
        channel, _, message = where.partition(":")
        return client.get_partial_messageable(int(channel)).get_partial_message(int(message))

    async def close(self) -> None:
        for task in self._waiting.values():
            task.cancel()
        await asyncio.gather(*self._waiting.values(), *self._leaving, return_exceptions=True)
