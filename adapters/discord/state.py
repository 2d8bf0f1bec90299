"""State of channels, threads and people that the adapter keeps across restarts.

It is stored as one row of JSON. If the changes of the last second are lost, some history is read
twice; no message or answer is lost.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import discord

from adapters.discord import DISCORD_STATE_NAME
from adapters.discord.client import PLATFORM
from core.chat.participants import Participants
from core.domain.messages import Address
from core.integrations.integration import Alone, Peers
from core.store.remembered import remove_ids

K = TypeVar("K")
V = TypeVar("V")

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
    or a group DM. `shared`: several people can read there.
    """

    channel: int
    guild: int = 0
    thread: int = 0
    shared: bool = False

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
            person="" if thread or not self.shared else str(person),
            shared=self.shared,
        )


@dataclass(slots=True)
class SeenChannel:
    """A channel in which Ponte was addressed.

    `last` is the id of the last message that was processed there, `at` the time of that in seconds
    since the epoch.
    """

    last: int
    guild: int = 0
    at: float = 0.0


@dataclass(slots=True)
class ThreadState(Participants):
    """The participants of a thread, and the last message of it that the conversation knows.

    `heard` is the id of that message. `before` is the previous value of `heard`.
    """

    heard: int = 0
    before: int = 0

    def hear(self, message: int) -> int:
        """Note that the conversation knows the thread up to `message`. Return the id up to which it
        knew the thread before. A repeated call returns an equal result, because a turn may run
        again after a crash."""
        if message > self.heard:
            self.before, self.heard = self.heard, message
        return self.before


SHARE_AFTER_SECONDS = 0.2
"""How long a process that does not lead collects changes before it stores them for the leading
one."""


class DiscordState:
    """The state that the adapter keeps across restarts.

    If several processes share it, the one that `leads` holds the gateway and reads the changes that
    the others store.
    """

    def __init__(self, peers: Peers | None = None) -> None:
        self._peers = peers or Alone()
        self._row = self._peers.remembered_state(DISCORD_STATE_NAME, self._data)
        self.leads = isinstance(self._peers, Alone)
        self._telling: asyncio.Task[None] | None = None
        self._peers.on("remembered", self._on_remembered)
        self.commands = ""
        """Hash of the slash commands that Discord has registered for us."""
        self.seen: dict[int, SeenChannel] = {}
        """Channel id → the last message that was processed there."""
        self.parents: dict[int, int] = {}
        """Thread id → id of its parent channel; 0 for a channel that is not a thread."""
        self.threads: dict[int, ThreadState] = {}
        """Thread id → who takes part in it."""
        self.aliases: dict[str, tuple[int, float]] = {}
        """`channel:person` → id of a thread that could not be created, and the time of that."""
        self.hinted: dict[str, float] = {}
        """Key of a hint → when it was given last."""
        self.asked: dict[str, list[dict[str, Any]]] = {}
        """Message id → its files, while a form about the message is open: a form cannot contain
        them."""
        self.waiting: dict[str, str] = {}
        """Turn → the message that has an hourglass, as `channel:message`."""
        self.languages: dict[str, str] = {}
        """Person id → their language. Only interactions contain it."""

    async def open(self) -> None:
        """Read the stored state."""
        self._take(await self._row.read())

    async def forget(self, ids: frozenset[str]) -> None:
        """Erase these people and places and store the result. A thread keeps the number of its
        participants."""
        self._take(remove_ids(json.loads(json.dumps(self._data())), ids))
        await self.flush()

    def _take(self, data: Mapping[str, Any]) -> None:
        self.commands = str(data.get("commands", ""))
        self.seen = {int(k): SeenChannel(**v) for k, v in data.get("seen", {}).items()}
        self.parents = {int(k): int(v) for k, v in data.get("parents", {}).items()}
        self.threads = {int(k): ThreadState(**v) for k, v in data.get("company", {}).items()}
        self.aliases = {k: (int(v[0]), float(v[1])) for k, v in data.get("aliases", {}).items()}
        self.hinted = {k: float(v) for k, v in data.get("hinted", {}).items()}
        self.waiting = {k: str(v) for k, v in data.get("waiting", {}).items()}
        self.asked = {str(k): list(v) for k, v in data.get("asked", {}).items()}
        self.languages = {str(k): str(v) for k, v in data.get("languages", {}).items()}

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
        seen = self.seen.get(channel)
        if seen is None:
            if known_only:
                return
            seen = self.seen[channel] = SeenChannel(message, guild)
        if message > seen.last or not seen.at:
            seen.last, seen.at = max(seen.last, message), time.time()
            self.note_change()

    async def note_channel(self, channel: int, message: int, guild: int) -> None:
        """Store a new channel durably before its first message is stored. A bot cannot list its
        direct messages, so Ponte can read back only channels that it knows."""
        if channel not in self.seen:
            self.note_taken(channel, message - 1, guild)
            await self.flush()

    def find_alias(self, channel: int, person: str) -> int | None:
        """Return the id of the thread that could not be created for this person in the channel,
        within ALIAS_SECONDS; None if there is none."""
        thread, at = self.aliases.get(f"{channel}:{person}", (None, 0.0))
        return thread if time.time() - at < ALIAS_SECONDS else None

    def is_alias(self, thread: int) -> bool:
        """Return whether `thread` is the id of a thread that could not be created."""
        return any(known == thread for known, _ in self.aliases.values())

    def note_language(self, person: int, language: str) -> None:
        """Remember the language of a person."""
        if self.languages.get(str(person)) != language:
            self.languages[str(person)] = language
            self.note_change()

    def language_of(self, person: str, guild: discord.Guild | None, otherwise: str) -> str:
        """Return the person's language, else that of a community server, else `otherwise`. Only
        community servers choose a language."""
        if known := self.languages.get(person):
            return known
        chosen = guild is not None and "COMMUNITY" in guild.features
        return str(guild.preferred_locale) if guild and chosen else otherwise

    async def set_alias(self, channel: int, person: str, thread: int) -> None:
        """Remember durably that `thread` could not be created for this person in the channel."""
        self.aliases[f"{channel}:{person}"] = (thread, time.time())
        await self.flush()

    def is_first_notice(self, key: str, every: float) -> bool:
        """Return whether the hint `key` was not given within the last `every` seconds. If so, it
        counts as given now."""
        if time.time() - self.hinted.get(key, 0.0) < every:
            return False
        self.hinted[key] = time.time()
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
        """Return the state as JSON to be stored."""
        self._trim()
        return {
            "commands": self.commands,
            "seen": {str(k): asdict(v) for k, v in self.seen.items()},
            "parents": {str(k): v for k, v in self.parents.items()},
            "company": {str(k): asdict(v) for k, v in self.threads.items()},
            "aliases": {k: list(v) for k, v in self.aliases.items()},
            "hinted": self.hinted,
            "waiting": self.waiting,
            "asked": self.asked,
            "languages": self.languages,
        }

    def _trim(self) -> None:
        """Drop the oldest entries of each kind."""
        if len(self.seen) > MAX_REMEMBERED:
            newest = sorted(self.seen.items(), key=lambda item: item[1].at)[-MAX_REMEMBERED:]
            self.seen = dict(newest)
        self.parents = _newest(self.parents)
        self.threads = _newest(self.threads)
        self.aliases = _newest(self.aliases)
        self.hinted = _newest(self.hinted)
        self.waiting = _newest(self.waiting)
        self.asked = _newest(self.asked, MAX_REMEMBERED_FORMS)
        self.languages = _newest(self.languages)


def catch_up(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return stored state in which all messages up to now count as processed. It is used when a
    backup is restored, so that old messages are not answered."""
    now = discord.utils.time_snowflake(discord.utils.utcnow())
    seen = {
        channel: {**one, "last": max(one["last"], now)}
        for channel, one in data.get("seen", {}).items()
    }
    return {**data, "seen": seen}


def _newest(kept: dict[K, V], most: int = MAX_REMEMBERED) -> dict[K, V]:
    """Return the `most` newest entries. A dict has the order in which its keys were first set."""
    return dict(list(kept.items())[-most:]) if len(kept) > most else kept
