"""Files that came with a message, from Discord into `Files`: at once, and again when missing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import discord
import structlog

from adapters.discord.client import IN_DOUBT, attempt
from adapters.discord.events import files
from core.errors import PonteError
from core.messages import Attachment, File, Message
from core.ports import Files
from core.unread import LARGEST

log = structlog.get_logger("discord")
DEADLINE = 120.0
"""Seconds that one file may take."""


class Fetch:
    def __init__(self, client: Callable[[], Awaitable[discord.Client]], files: Files) -> None:
        self._client = client
        self._files = files
        self._under_way: dict[tuple[str, str], asyncio.Task[File | None]] = {}

    async def __call__(self, message: Message, attachment: Attachment) -> File | None:
        """The file, kept; None where it is too large, gone, or cannot be had."""
        key = (message.event_key, attachment.reference)
        if key not in self._under_way:
            task = asyncio.create_task(self._kept(message, attachment))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key))
        return await asyncio.shield(self._under_way[key])

    async def all_of(self, message: Message) -> None:
        for attachment in message.attachments:
            await self(message, attachment)

    async def close(self) -> None:
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _kept(self, message: Message, attachment: Attachment) -> File | None:
        if attachment.size > LARGEST:
            log.info("file too large", size=attachment.size)
            return None
        try:
            data = await self._bytes(attachment)
            if data is None or len(data) > LARGEST:
                return None
            return await self._files.put(
                message.event_key,
                attachment.name,
                attachment.type,
                data,
                message.author,
                message.address.conversation,
            )
        except (PonteError, *IN_DOUBT) as error:
            log.warning("file not fetched", why=type(error).__name__)
            return None

    async def _bytes(self, attachment: Attachment) -> bytes | None:
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
