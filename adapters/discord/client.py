"""The SDK's client as this adapter uses it: few intents, no pings, every frame counted."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Protocol

import aiohttp
import discord
import structlog

from adapters.discord.calls import NOBODY

log = structlog.get_logger("discord")

# Ponte has no voice, and the SDK warns at each start that the libraries for it are missing.
discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
# Nothing is read from the SDK's cache of messages, so none are kept.
_NO_MESSAGES = None
_MAX_WAIT = 60.0


class Events(Protocol):
    """Who is told what happens on Discord."""

    async def logged_in(self, client: Client) -> None: ...

    async def connected(self) -> None:
        """A new session began: what happened before it is not told."""

    async def message(self, message: discord.Message) -> None: ...

    async def edited(self, event: discord.RawMessageUpdateEvent) -> None: ...

    async def deleted(self, channel: int, messages: set[int]) -> None: ...

    async def interaction(self, interaction: discord.Interaction[Any]) -> None: ...


def intents(message_content: bool) -> discord.Intents:
    """What the adapter needs; only the content of unaddressed messages is privileged."""
    return discord.Intents(
        guilds=True, guild_messages=True, dm_messages=True, message_content=message_content
    )


class Client(discord.Client):
    def __init__(
        self,
        events: Events,
        *,
        message_content: bool = False,
        proxy: str | None = None,
        proxy_auth: aiohttp.BasicAuth | None = None,
        identify_wait: float = 5.0,
    ) -> None:
        super().__init__(
            intents=intents(message_content),
            allowed_mentions=NOBODY,
            max_messages=_NO_MESSAGES,
            max_ratelimit_timeout=_MAX_WAIT,
            chunk_guilds_at_startup=False,
            proxy=proxy,
            proxy_auth=proxy_auth,
            enable_debug_events=True,
        )
        self._events = events
        self._identify_wait = identify_wait
        self.last_frame = 0.0
        """`time.monotonic` of the last frame of any kind; 0.0 before the first."""

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        if event == "socket_raw_receive":
            self.last_frame = time.monotonic()
        elif event != "socket_raw_send":
            super().dispatch(event, *args, **kwargs)

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """One identify in 5 s is allowed: events/gateway.mdx#rate-limiting."""
        if not initial:
            await asyncio.sleep(self._identify_wait)

    async def setup_hook(self) -> None:
        await self._events.logged_in(self)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        log.exception("event not handled", on=event_method)

    async def on_connect(self) -> None:
        await self._events.connected()

    async def on_message(self, message: discord.Message) -> None:
        await self._events.message(message)

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        await self._events.edited(payload)

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        await self._events.deleted(payload.channel_id, {payload.message_id})

    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        await self._events.deleted(payload.channel_id, payload.message_ids)

    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        await self._events.interaction(interaction)
