"""State of channels, threads and people that the adapter keeps across restarts.

It is stored as one row of JSON. If the changes of the last second are lost, some history is read
twice; no message or answer is lost.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import discord
from pydantic import TypeAdapter

from adapters.discord import DISCORD_STATE_NAME
from adapters.discord.client import PLATFORM
from core.chat.participants import Participants
from core.domain.messages import Address
from core.journal.peers import Alone, Peers
from core.store.remembered import remove_ids

MAX_REMEMBERED, MAX_REMEMBERED_FORMS = 2000, 100
"""Largest number of entries of each kind, and of files for open forms. The oldest entries are
dropped."""
ALIAS_SECONDS = 24 * 3600.0
"""If a thread could not be created, its id names the conversation of the person for so many seconds
after that."""


@dataclass(frozen=True, slots=True)
class Location:
    """The place where a message was written, by Discord's ids.

    `channel` is the parent channel if `thread` is set. `guild` is the server, 0 in a direct message
    or a group DM. `is_shared`: several people can read there.
    """

    channel: int
    guild: int = 0
    thread: int = 0
    is_shared: bool = False

    def address(self, person: int | str = "", thread: int = 0) -> Address:
        """Return the Address of the conversation at this location.

        In a shared channel without a thread each `person` has a conversation of their own. `thread`
        is used if the location has none.
        """
        thread = self.thread or thread
        return Address(
            platform=PLATFORM,
            channel=str(self.channel),
            workspace=str(self.guild or ""),
            thread=str(thread or ""),
            person="" if thread or not self.is_shared else str(person),
            is_shared=self.is_shared,
        )


@dataclass(slots=True)
class SeenChannel:
    """A channel in which Ponte was addressed.

    `last_message` is the id of the last message that was processed there, `updated_at` the time of
    that in seconds since the epoch.
    """

    last_message: int
    guild: int = 0
    updated_at: float = 0.0


@dataclass(slots=True)
class ThreadState(Participants):
    """The participants of a thread, and the last message of it that the conversation knows.

    `last_message` is the id of that message, `previous_message` its previous value.
    """

    last_message: int = 0
    previous_message: int = 0

    def hear(self, message: int) -> int:
        """Note that the conversation knows the thread up to `message`. Return the id up to which it
        knew the thread before. A repeated call returns an equal result, because a turn may run
        again after a crash."""
        if message > self.last_message:
            self.previous_message, self.last_message = self.last_message, message
        return self.previous_message


SHARE_AFTER_SECONDS = 0.2
"""How long a process that does not lead collects changes before it stores them for the leading
one."""


@dataclass
class StoredState:
    """The part of the state that is stored as JSON."""

    commands: str = ""
    """Hash of the slash commands that Discord has registered for us."""
    channels: dict[int, SeenChannel] = field(default_factory=dict)
    """Channel id → the last message that was processed there."""
    parents: dict[int, int] = field(default_factory=dict)
    """Thread id → id of its parent channel; 0 for a channel that is not a thread."""
    threads: dict[int, ThreadState] = field(default_factory=dict)
    """Thread id → who takes part in it."""
    aliases: dict[str, tuple[int, float]] = field(default_factory=dict)
    """`channel:person` → id of a thread that could not be created, and the time of that."""
    hint_times: dict[str, float] = field(default_factory=dict)
    """Key of a hint → when it was given last."""
    hourglasses: dict[str, str] = field(default_factory=dict)
    """Turn → the message that has an hourglass, as `channel:message`."""
    form_files: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Message id → its files, while a form about the message is open: a form cannot contain
    them."""
    languages: dict[str, str] = field(default_factory=dict)
    """Person id → their language. Only interactions contain it."""


_STORED_FORM = TypeAdapter(StoredState)


class DiscordState(StoredState):
    """The state that the adapter keeps across restarts.

    If several processes share it, the one that `leads` holds the gateway and reads the changes that
    the others store.
    """

    def __init__(self, peers: Peers | None = None) -> None:
        super().__init__()
        self._peers = peers or Alone()
        self._row = self._peers.remembered_state(DISCORD_STATE_NAME, self._data)
        self.leads = not self._peers.is_shared
        self._telling: asyncio.Task[None] | None = None
        self._peers.on("remembered", self._on_remembered)

    async def open(self) -> None:
        """Read the stored state."""
        self._take(await self._row.read())

    async def forget(self, ids: frozenset[str]) -> None:
        """Erase these people and places and store the result. A thread keeps the number of its
        participants."""
        self._take(remove_ids(json.loads(json.dumps(self._data())), ids))
        await self.flush()

    def _take(self, data: Mapping[str, Any]) -> None:
        """Replace the stored part of the state. Its dictionaries stay, because others hold them."""
        for name, value in vars(_STORED_FORM.validate_python(data)).items():
            if isinstance(value, dict):
                entries = getattr(self, name)
                entries.clear()
                entries.update(value)
            else:
                setattr(self, name, value)

    async def lead(self) -> None:
        """Store our own changes, read those of the former leader, and lead from now on."""
        await self.flush()
        await self.open()
        self.leads = True

    async def close(self) -> None:
        """Store what has changed and stop."""
        await self._row.close()

    async def _on_remembered(self, name: str) -> None:
        if self.leads and name == DISCORD_STATE_NAME:
            await self._row.flush()
            await self.open()

    def note_taken(
        self, channel: int, message: int, guild: int = 0, *, known_only: bool = False
    ) -> None:
        """Note that all messages of `channel` up to `message` are processed. With `known_only`,
        ignore a channel in which Ponte was never addressed."""
        seen = self.channels.get(channel)
        if seen is None:
            if known_only:
                return
            seen = self.channels[channel] = SeenChannel(message, guild)
        if message > seen.last_message or not seen.updated_at:
            seen.last_message, seen.updated_at = max(seen.last_message, message), time.time()
            self.note_change()

    async def note_channel(self, channel: int, message: int, guild: int) -> None:
        """Store a new channel durably before its first message is stored. A bot cannot list its
        direct messages, so Ponte can read back only channels that it knows."""
        if channel not in self.channels:
            self.note_taken(channel, message - 1, guild)
            await self.flush()

    def find_alias(self, channel: int, person: str) -> int | None:
        """Return the id of the thread that could not be created for this person in the channel,
        within ALIAS_SECONDS; None if there is none."""
        thread, at = self.aliases.get(f"{channel}:{person}", (None, 0.0))
        return thread if time.time() - at < ALIAS_SECONDS else None

    def is_alias(self, thread: int) -> bool:
        """Return whether `thread` is the id of a thread that could not be created."""
        return any(alias == thread for alias, _ in self.aliases.values())

    def note_language(self, person: int, language: str) -> None:
        """Remember the language of a person."""
        if self.languages.get(str(person)) != language:
            self.languages[str(person)] = language
            self.note_change()

    def language_of(self, person: str, guild: discord.Guild | None, otherwise: str) -> str:
        """Return the person's language, else that of a community server, else `otherwise`. Only
        community servers choose a language."""
        if language := self.languages.get(person):
            return language
        has_language = guild is not None and "COMMUNITY" in guild.features
        return str(guild.preferred_locale) if guild and has_language else otherwise

    async def set_alias(self, channel: int, person: str, thread: int) -> None:
        """Remember durably that `thread` could not be created for this person in the channel."""
        self.aliases[f"{channel}:{person}"] = (thread, time.time())
        await self.flush()

    def is_first_notice(self, key: str, every: float) -> bool:
        """Return whether the hint `key` was not given within the last `every` seconds. If so, it
        counts as given now."""
        if time.time() - self.hint_times.get(key, 0.0) < every:
            return False
        self.hint_times[key] = time.time()
        self.note_change()
        return True

    def note_change(self) -> None:
        """Have the state stored soon. A process that does not lead also notifies the others."""
        self._row.mark_changed()
        if not self.leads and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._tell())

    async def flush(self) -> None:
        """Store the state now. A process that does not lead also notifies the others."""
        await self._row.flush()
        if not self.leads:
            await self._peers.notify("remembered", DISCORD_STATE_NAME)

    async def _tell(self) -> None:
        await asyncio.sleep(SHARE_AFTER_SECONDS)
        await self.flush()

    def _data(self) -> object:
        """Return the state as JSON to be stored, without the oldest entries of each kind. A
        dictionary has the order in which its keys were first set."""
        if len(self.channels) > MAX_REMEMBERED:
            channels = sorted(self.channels.items(), key=lambda item: item[1].updated_at)
            self.channels.clear()
            self.channels.update(channels)
        for kind in fields(StoredState):
            if isinstance(entries := getattr(self, kind.name), dict):
                most = MAX_REMEMBERED_FORMS if entries is self.form_files else MAX_REMEMBERED
                for key in list(entries)[:-most]:
                    del entries[key]
        return _STORED_FORM.dump_python(self, mode="json")


def catch_up(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return stored state in which all messages up to now count as processed. It is used when a
    backup is restored, so that old messages are not answered."""
    now = discord.utils.time_snowflake(discord.utils.utcnow())
    channels = {
        channel: {**one, "last_message": max(one["last_message"], now)}
        for channel, one in data.get("channels", {}).items()
    }
    return {**data, "channels": channels}
