"""Messages in: what is addressed to Ponte is stored, all else neither stored nor logged."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import discord
import structlog

from adapters.discord import events
from adapters.discord.fetch import Fetch
from adapters.discord.hints import Hints
from adapters.discord.lanes import Lanes
from adapters.discord.marks import Marks
from adapters.discord.notes import Company, Notes
from adapters.discord.places import Place, Places
from adapters.discord.roles import Roles
from adapters.discord.threads import Threads
from adapters.discord.typing_sign import TypingSign
from core.errors import NotStored
from core.messages import turn_id
from core.ports import Inbox

log = structlog.get_logger("discord")


class Intake:
    def __init__(
        self,
        inbox: Inbox,
        notes: Notes,
        places: Places,
        roles: Roles,
        threads: Threads,
        fetch: Fetch,
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
        me = client.user.id if client.user else 0
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
        me = client.user.id if client.user else 0
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
