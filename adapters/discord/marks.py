"""An hourglass on a message that waits behind others, gone when its turn begins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import discord

from adapters.discord.calls import IN_DOUBT, attempt
from adapters.discord.lanes import Lanes
from adapters.discord.notes import Notes
from core.errors import PonteError

HOURGLASS = "⏳"


class Marks:
    def __init__(
        self, client: Callable[[], Awaitable[discord.Client]], notes: Notes, lanes: Lanes
    ) -> None:
        self._client = client
        self._notes = notes
        self._lanes = lanes

    def put(self, turn: str, channel: int, message: int) -> None:
        self._notes.waiting[turn] = f"{channel}:{message}"
        self._notes.changed()
        self._lanes.aside(lambda: self._react(turn))

    def clear(self, turn: str) -> None:
        """Also one that a former process put."""
        where = self._notes.waiting.pop(turn, None)
        if where is not None:
            self._notes.changed()
            self._lanes.aside(lambda: self._unreact(where))

    async def _react(self, turn: str) -> None:
        where = self._notes.waiting.get(turn)
        if where is None:
            return
        message = await self._message(where)
        try:
            await attempt(lambda: message.add_reaction(HOURGLASS), repeat=False)
        except (PonteError, *IN_DOUBT):
            # Only a sign, and one that a server may forbid.
            self._notes.waiting.pop(turn, None)
            return
        if turn not in self._notes.waiting:
            await self._unreact(where)

    async def _unreact(self, where: str) -> None:
        client = await self._client()
        message = await self._message(where)
        me = client.user
        if me is None:
            return
        try:
            await attempt(lambda: message.remove_reaction(HOURGLASS, me))
        except (PonteError, *IN_DOUBT):
            return

    async def _message(self, where: str) -> discord.PartialMessage:
        client = await self._client()
        channel, _, message = where.partition(":")
        return client.get_partial_messageable(int(channel)).get_partial_message(int(message))
