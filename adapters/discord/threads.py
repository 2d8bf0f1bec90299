"""Creates the thread for a mention in a server's channel."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import discord
import structlog

from adapters.discord.client import IN_DOUBT, THREAD_EXISTS, attempt, code_of
from adapters.discord.events import Locations
from adapters.discord.state import Location
from core.base.errors import PlatformBusy, Undeliverable
from core.domain.messages import ReplyTo

log = structlog.get_logger("discord")

# resources/channel.mdx#start-thread-from-message-json-params: a name has up to 100 characters; a
# thread is archived after one of four numbers of minutes without a message.
MAX_THREAD_NAME_CHARACTERS = 100
ARCHIVE_AFTER_MINUTES: Final = 1440
THREAD_CREATION_SECONDS = 8.0
"""Timeout for the creation of a thread. After it, the answer is posted in the channel."""


@dataclass(slots=True)
class DiscordThreads:
    """Creates a thread for each mention in a server's channel, where that is enabled and
    permitted."""

    client: Callable[[], Awaitable[discord.Client]]
    locations: Locations
    _opening: dict[int, asyncio.Task[bool]] = field(default_factory=dict, init=False)

    def should_open(self, message: discord.Message, place: Location) -> bool:
        """Return whether a message in a channel gets a thread. It does not if the settings or
        permissions forbid it, or if a thread for this person could not be created there
        recently."""
        channel = message.channel
        if place.thread or not isinstance(channel, discord.TextChannel):
            return False
        if self.locations.settings_of(place).threads is False:
            return False
        if self.locations.state.find_alias(place.channel, str(message.author.id)):
            return False
        may = channel.permissions_for(channel.guild.me)
        return may.create_public_threads and may.send_messages_in_threads

    def open(self, channel: int, message: int, name: str) -> asyncio.Task[bool]:
        """Create the thread in a task and return the task. Later calls for that message get that
        task too."""
        if message not in self._opening:
            task = asyncio.create_task(self._create(channel, message, name))
            self._opening[message] = task
            task.add_done_callback(lambda _: self._opening.pop(message, None))
        return self._opening[message]

    def visible_channel(self, to: ReplyTo) -> int:
        """Return the id of the channel where the person looks now: the thread if it exists, else
        its parent."""
        thread = int(to.address.thread or 0)
        return thread if thread in self.locations.state.parents else int(to.address.channel)

    async def answer_channel(self, to: ReplyTo) -> int:
        """Return the id of the channel to post the answer in. The thread is created first if it
        does not exist; if that fails, the answer goes to its parent channel."""
        address = to.address
        if not address.thread:
            return int(address.channel)
        thread, channel = int(address.thread), int(address.channel)
        if self.locations.state.is_alias(thread):
            return channel
        if thread in self.locations.state.parents:
            return thread
        made = await asyncio.shield(self.open(channel, thread, to.asker.name))
        if not made:
            await self.locations.state.set_alias(channel, to.asker.id, thread)
        return thread if made else channel

    async def _create(self, channel: int, message: int, name: str) -> bool:
        """Create the thread and return whether it exists now."""
        client = await self.client()
        title = re.sub(r"\s+", " ", name).strip()[:MAX_THREAD_NAME_CHARACTERS] or "Ponte"
        try:
            # The SDK's own method needs the server in its cache, which is empty after a restart.
            await attempt(
                lambda: client.http.start_thread_with_message(
                    channel, message, name=title, auto_archive_duration=ARCHIVE_AFTER_MINUTES
                ),
                deadline=THREAD_CREATION_SECONDS,
            )
        except (Undeliverable, PlatformBusy, *IN_DOUBT) as error:
            # THREAD_EXISTS: the message has its thread already, for example from an earlier try.
            if code_of(error) != THREAD_EXISTS:
                log.info("could not create a thread", message=message, error=str(error))
                return False
        self.locations.state.parents[message] = channel
        self.locations.state.note_change()
        return True

    async def close(self) -> None:
        """Wait for the threads that are being created."""
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
