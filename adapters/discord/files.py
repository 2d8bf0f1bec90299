"""How a file's bytes are got from Discord."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import discord

from adapters.discord.client import attempt
from adapters.discord.events import files
from core.errors import PonteError
from core.messages import Attachment

DEADLINE = 120.0
"""Seconds that one file may take."""


class DiscordFiles:
    def __init__(self, client: Callable[[], Awaitable[discord.Client]]) -> None:
        self._client = client

    async def read(self, attachment: Attachment) -> tuple[Attachment, bytes]:
        return attachment, await self._bytes(attachment)

    async def _bytes(self, attachment: Attachment) -> bytes:
        client = await self._client()
        where, _, url = attachment.reference.rpartition(" ")
        try:
            return await self._loaded(client, url)
        except PonteError:
            if not where or (fresh := await self._address(client, where)) is None:
                raise
            return await self._loaded(client, fresh)

    async def _loaded(self, client: discord.Client, url: str) -> bytes:
        """From the CDN of Discord, or whatever a proxy or fake named; without cookies."""
        return await attempt(lambda: client.http.get_from_cdn(url), deadline=DEADLINE)

    async def _address(self, client: discord.Client, where: str) -> str | None:
        """A fresh address: the one in the event ends within a day."""
        channel, message, _ = where.split("/")
        place = client.get_partial_messageable(int(channel))
        found = await attempt(lambda: place.fetch_message(int(message)))
        told = (one.reference for one in files(found))
        return next((r.split(" ")[1] for r in told if r.startswith(where + " ")), None)
