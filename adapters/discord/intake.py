"""Messages in, live or read back: what is addressed to Ponte is stored, all else neither stored
nor logged.

A RESUME replays what was missed; a new session (a restart, an invalid one) does not, so known
channels are read back then. Messages that came twice have one key: the inbox tells them apart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import discord
import structlog

from adapters.discord import events
from adapters.discord.client import IN_DOUBT, Lanes, history, own_id
from adapters.discord.events import Place, Places
from adapters.discord.participants import Roles, Threads
from adapters.discord.presence import Hints, Marks, TypingSign
from adapters.discord.state import Company, Notes
from core.chat.files import Downloads
from core.errors import NotStored, PlatformBusy, Undeliverable
from core.messages import turn_id
from core.ports import Inbox

log = structlog.get_logger("discord")

AT_ONCE = 4
"""Channels that are read back side by side."""
MOST_MESSAGES = 2000
"""Messages read back in one channel."""
IDLE_FOR = 30 * 24 * 3600.0
"""Seconds after which a channel that nobody used counts as unknown."""


class Intake:
    def __init__(
        self,
        inbox: Inbox,
        notes: Notes,
        places: Places,
        roles: Roles,
        threads: Threads,
        fetch: Downloads,
        lanes: Lanes,
        hints: Hints,
        sign: TypingSign,
        marks: Marks,
        removed: Callable[[str], Awaitable[None]],
    ) -> None:
        self._inbox = inbox
        self._notes = notes
        self._places = places
        self._roles = roles
        self._threads = threads
        self._fetch = fetch
        self._lanes = lanes
        self._hints = hints
        self._sign = sign
        self._marks = marks
        self._removed = removed
        self.open = True
        """False once intake has stopped; what comes then is read back at the next start."""

    async def message(self, client: discord.Client, message: discord.Message) -> bool:
        """Take it in, live or read back. Returns whether it is addressed to Ponte."""
        if not self.open:
            return False
        me = own_id(client)
        place = await self._places.of_message(client, message)
        guild = place.guild
        if not events.is_speech(message) or not await self._addressed(message, place, me):
            self._notes.took(message.channel.id, message.id, guild, known_only=True)
            return False
        self._roles.saw(message.author)
        await self._store(message, place, me)
        self._notes.took(message.channel.id, message.id, guild)
        return True

    async def edited(self, client: discord.Client, message: discord.Message) -> None:
        """An edit before the answer counts; a preview that Discord adds is no edit."""
        if not self.open or message.edited_at is None or not events.is_speech(message):
            return
        me = own_id(client)
        place = await self._places.of_message(client, message)
        key = events.event_key(message.channel.id, message.id)
        if place.guild and events.is_withheld(message):
            # Without our mention Discord tells no content: what it says now is not for us.
            await self._inbox.amend(key, None)
            return
        changed = events.to_message(message, place, self._places, me)
        await self._inbox.amend(key, changed)

    async def deleted(self, channel: int, messages: set[int]) -> None:
        """Theirs are withdrawn and blanked; ours stay away, and their turn stops."""
        for message in messages:
            key = events.event_key(channel, message)
            if await self._inbox.amend(key, None) != "unknown":
                self._sign.stop(turn_id(key))
            else:
                await self._removed(f"{channel}:{message}")

    async def _addressed(self, message: discord.Message, place: Place, me: int) -> bool:
        if not place.guild:
            return True
        told = not events.is_withheld(message)
        if events.names(message, me):
            if not told:
                await self._hints.by_role(message)
            elif place.thread:
                self._joined(message, place)
            return told
        if events.answers(message, me):
            if not told:
                await self._hints.mention_me(message)
            return told
        if not place.thread or not self._ours(message, place, me):
            return False
        return await self._followed_up(message, place, told)

    async def _followed_up(self, message: discord.Message, place: Place, told: bool) -> bool:
        """In a thread of ours without a mention: only while one person talks with Ponte."""
        company = self._joined(message, place)
        if not told:
            await self._hints.mention_me(message)
            return False
        if len(company.people) > 1:
            if not company.told:
                company.told = True
                self._notes.changed()
                await self._hints.waits_now(message)
            return False
        return True

    def _joined(self, message: discord.Message, place: Place) -> Company:
        company = self._notes.company.setdefault(place.thread, Company())
        if company.join([str(message.author.id)]):
            self._notes.changed()
        return company

    def _ours(self, message: discord.Message, place: Place, me: int) -> bool:
        """A thread that we made, or were mentioned in before."""
        channel = message.channel
        made = isinstance(channel, discord.Thread) and channel.owner_id == me
        return made or place.thread in self._notes.company

    async def _store(self, message: discord.Message, place: Place, me: int) -> None:
        begins = self._threads.wanted(message, place)
        thread = message.id if begins else 0
        said = events.to_message(message, place, self._places, me, thread)
        try:
            receipt = await self._inbox.accept(said)
        except NotStored as error:
            log.error("not stored", channel=message.channel.id)
            await self._hints.say(message, error.words(), "not-stored")
            return
        if not receipt.fresh:
            return
        if receipt.waiting:
            self._marks.put(receipt.turn, message.channel.id, message.id)
        if begins:
            self._notes.company[message.id] = Company([str(message.author.id)], heard=message.id)
            self._threads.open(message.channel.id, message.id, said.text or said.author.name)
        if said.attachments:
            self._lanes.aside(lambda: self._fetch.all_of(said))
        log.debug("accepted", turn=receipt.turn, after=time.time() - said.sent_at)


class Catchup:
    """Reads back what was said while no session was there to tell it.

    `age`: seconds; older messages are not answered, but told of.
    """

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
            missed = await self._history(client, channel, guild, last)
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
        return await history(place, after=after, limit=MOST_MESSAGES, oldest_first=True)

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
        me = own_id(client)
        place = await self._places.of_message(client, message)
        if not events.is_speech(message) or (place.guild and not events.names(message, me)):
            return False
        said = events.to_message(message, place, self._places, me)
        return await self._inbox.amend(said.event_key, said) == "unknown"
