"""Where something was said, as the core's Address: DM, channel, thread, another server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import discord

from adapters.discord.calls import attempt
from adapters.discord.notes import Notes
from core.messages import Address, Person

PLATFORM = "discord"


@dataclass(frozen=True, slots=True)
class Place:
    """`channel` is the parent where `thread` is set; `guild` is 0 in a DM or a group DM."""

    channel: int
    guild: int = 0
    thread: int = 0
    shared: bool = False

    def address(self, person: int | str = "", thread: int = 0) -> Address:
        """`person` counts in a shared channel without a thread: conversations there are theirs."""
        thread = self.thread or thread
        return Address(
            platform=PLATFORM,
            channel=str(self.channel),
            workspace=str(self.guild or ""),
            thread=str(thread or ""),
            person="" if thread or not self.shared else str(person),
            shared=self.shared,
        )


class Places:
    """Finds a message's or interaction's Place; asks Discord where the cache has no answer."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    async def of_message(self, client: discord.Client, message: discord.Message) -> Place:
        channel = message.channel
        guild = message.guild.id if message.guild else getattr(channel, "guild_id", None) or 0
        if not guild:
            return Place(channel.id)
        if isinstance(channel, discord.PartialMessageable):
            return await self._of_unknown(client, message, guild)
        return self._of_guild_channel(channel, guild)

    def of_interaction(self, interaction: discord.Interaction[Any]) -> Place:
        channel = interaction.channel
        id = interaction.channel_id or 0
        if interaction.guild_id:
            return self._of_guild_channel(channel, interaction.guild_id, id)
        # Where the app is only installed for its user, a DM may be between two other people.
        alone = bool(interaction.context.dm_channel)
        return Place(id, shared=not alone and not isinstance(channel, discord.DMChannel))

    def aliased(self, place: Place, person: int) -> Address:
        """The Address of `person` there, in the thread that could not be made if there is one."""
        alias = self._notes.alias(place.channel, str(person)) if not place.thread else None
        return place.address(person, alias or 0)

    def _of_guild_channel(self, channel: object, guild: int, id: int = 0) -> Place:
        if isinstance(channel, discord.Thread):
            self._notes.parents[channel.id] = channel.parent_id
            return Place(channel.parent_id, guild, channel.id, shared=True)
        known = getattr(channel, "id", id)
        parent = self._notes.parents.get(known)
        if parent:
            return Place(parent, guild, known, shared=True)
        return Place(known, guild, shared=True)

    async def _of_unknown(
        self, client: discord.Client, message: discord.Message, guild: int
    ) -> Place:
        """A channel that the cache lacks: a thread that was archived when Ponte started."""
        id = message.channel.id
        if id not in self._notes.parents:
            found = await attempt(lambda: client.fetch_channel(id))
            if isinstance(found, discord.Thread):
                self._notes.parents[id] = found.parent_id
                self._notes.changed()
            else:
                self._notes.parents[id] = 0
        return self._of_guild_channel(message.channel, guild)


def person(user: discord.abc.User) -> Person:
    """A Discord account belongs to no server, so its key is the same everywhere."""
    return Person(platform=PLATFORM, id=str(user.id), name=user.display_name)
