"""What was said while no session was there to tell it: read back from known channels.

A RESUME replays what was missed; a new session (a restart, an invalid one) does not. Messages
that came twice have one key, so the inbox tells them apart.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import discord
import structlog

from adapters.discord import events
from adapters.discord.calls import IN_DOUBT, attempt
from adapters.discord.hints import Hints
from adapters.discord.intake import Intake
from adapters.discord.lanes import Lanes
from adapters.discord.notes import Notes
from adapters.discord.places import Places
from core.errors import PlatformBusy, Undeliverable
from core.ports import Inbox

log = structlog.get_logger("discord")
AT_ONCE = 4
MOST_MESSAGES = 2000
"""Messages read back in one channel."""
IDLE_FOR = 30 * 24 * 3600.0
"""Seconds after which a channel that nobody used counts as unknown."""


class Catchup:
    """`age`: seconds; older messages are not answered, but told of."""

    def __init__(
        self,
        inbox: Inbox,
        notes: Notes,
        places: Places,
        intake: Intake,
        lanes: Lanes,
        hints: Hints,
        age: float,
    ) -> None:
        self._inbox = inbox
        self._notes = notes
        self._places = places
        self._intake = intake
        self._lanes = lanes
        self._hints = hints
        self._age = age
        self._gate = asyncio.Semaphore(AT_ONCE)

    def start(self, client: discord.Client) -> None:
        """Put each channel's missed messages into its lane, before anything that comes live."""
        fresh = time.time() - IDLE_FOR
        known = [(c, seen) for c, seen in self._notes.seen.items() if seen.at > fresh]
        for channel, seen in sorted(known, key=lambda item: -item[1].last):
            self._put(client, channel, seen.guild, seen.last)

    def _put(self, client: discord.Client, channel: int, guild: int, last: int) -> None:
        async def read_back() -> None:
            if guild:
                # Names, roles and threads of a server come with it, after the session began.
                await client.wait_until_ready()
            async with self._gate:
                await self._read_back(client, channel, guild, last)

        self._lanes.put(channel, read_back)

    async def _read_back(self, client: discord.Client, channel: int, guild: int, last: int) -> None:
        try:
            missed = await attempt(lambda: self._history(client, channel, guild, last))
        except Undeliverable as gone:
            log.info("channel not read back", channel=channel, why=str(gone))
            self._notes.seen.pop(channel, None)
            return
        except (PlatformBusy, *IN_DOUBT) as error:
            log.warning("channel not read back", channel=channel, why=repr(error))
            return
        skipped = await self._take(client, missed)
        if skipped:
            await self._hints.away(skipped[-1], len(skipped))
        if missed:
            log.info("read back", channel=channel, messages=len(missed), skipped=len(skipped))

    async def _history(
        self, client: discord.Client, channel: int, guild: int, last: int
    ) -> list[discord.Message]:
        found = client.get_channel(channel) if guild else None
        place = (
            found
            if isinstance(found, discord.abc.Messageable)
            else client.get_partial_messageable(channel, guild_id=guild or None)
        )
        after = discord.Object(last)
        history = place.history(after=after, limit=MOST_MESSAGES, oldest_first=True)
        return [message async for message in history]

    async def _take(
        self, client: discord.Client, missed: list[discord.Message]
    ) -> list[discord.Message]:
        """Answer the young ones; returns the older ones that nobody will answer."""
        skipped: list[discord.Message] = []
        oldest = datetime.now(UTC) - timedelta(seconds=self._age)
        for message in missed:
            if message.created_at >= oldest:
                await self._intake.message(client, message)
            elif await self._is_unanswered(client, message):
                skipped.append(message)
        if skipped:
            self._notes.took(skipped[-1].channel.id, skipped[-1].id)
        return skipped

    async def _is_unanswered(self, client: discord.Client, message: discord.Message) -> bool:
        """Addressed to Ponte, and not known to the inbox (the last second of notes may be lost)."""
        me = client.user.id if client.user else 0
        place = await self._places.of_message(client, message)
        if not events.is_speech(message) or (place.guild and not events.names(message, me)):
            return False
        said = events.to_message(message, place, self._places, me)
        return await self._inbox.amend(said.event_key, said) == "unknown"
