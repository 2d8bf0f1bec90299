"""What the adapter remembers of channels, threads and people over restarts.

It is one row of JSON. Losing its last second costs a second reading of some history, never a
message or an answer.
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
ALIAS_SECONDS = 24 * 3600.0
"""Seconds that a conversation goes on under the thread that could not be made."""


@dataclass(frozen=True, slots=True)
class Location:
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


@dataclass(slots=True)
class SeenChannel:
    """A channel that Ponte was addressed in, and the last message there that it took in."""

    last: int
    guild: int = 0
    at: float = 0.0


@dataclass(slots=True)
class ThreadState(Participants):
    """`heard` is the last message that the conversation knows the thread up to, `before` the one
    that it knew it up to then."""

    heard: int = 0
    before: int = 0

    def hear(self, message: int) -> int:
        """The message up to which the thread was known; the same again for one that comes twice,
        since a turn may begin anew."""
        if message > self.heard:
            self.before, self.heard = self.heard, message
        return self.before


SHARE_AFTER_SECONDS = 0.2
"""Seconds in which what is added for the leading process is gathered."""


class DiscordState:
    """Where several processes share it, the one that `leads` Discord reads what the others add."""

    def __init__(self, peers: Peers | None = None) -> None:
        self._peers = peers or Alone()
        self._row = self._peers.remembered_state(DISCORD_STATE_NAME, self._data)
        self.leads = isinstance(self._peers, Alone)
        self._telling: asyncio.Task[None] | None = None
        self._peers.on("remembered", self._on_remembered)
        self.commands = ""
        """Hash of the commands that Discord knows of us."""
        self.seen: dict[int, SeenChannel] = {}
        self.parents: dict[int, int] = {}
        """The channel that a thread hangs under."""
        self.threads: dict[int, ThreadState] = {}
        self.aliases: dict[str, tuple[int, float]] = {}
        self.hinted: dict[str, float] = {}
        self.asked: dict[str, list[dict[str, Any]]] = {}
        """Message → its files, while a form about it is being filled in: the form has no room."""
        self.waiting: dict[str, str] = {}
        """Turn → the message that wears an hourglass, as channel:message."""
        self.languages: dict[str, str] = {}
        """Person → their language, which interactions alone tell."""

    async def open(self) -> None:
        self._take(await self._row.read())

    async def forget(self, ids: frozenset[str]) -> None:
        """Of a thread stays how many people there are."""
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
        await self.flush()
        await self.open()
        self.leads = True

    async def close(self) -> None:
        await self._row.close()

    async def _on_remembered(self, name: str) -> None:
        if self.leads and name == DISCORD_STATE_NAME:
            await self._row.flush()
            await self.open()

    def note_taken(
        self, channel: int, message: int, guild: int = 0, *, known_only: bool = False
    ) -> None:
        """Everything in `channel` up to `message` is taken in."""
        seen = self.seen.get(channel)
        if seen is None:
            if known_only:
                return
            seen = self.seen[channel] = SeenChannel(message, guild)
        if message > seen.last or not seen.at:
            seen.last, seen.at = max(seen.last, message), time.time()
            self.note_change()

    async def note_channel(self, channel: int, message: int, guild: int) -> None:
        """Before the first message of a channel is stored the channel is known for good: a bot
        cannot list its direct messages, and none of them could be read back."""
        if channel not in self.seen:
            self.note_taken(channel, message - 1, guild)
            await self.flush()

    def find_alias(self, channel: int, person: str) -> int | None:
        """The thread id under which (channel, person) goes on where no thread could be made."""
        thread, at = self.aliases.get(f"{channel}:{person}", (None, 0.0))
        return thread if time.time() - at < ALIAS_SECONDS else None

    def is_alias(self, thread: int) -> bool:
        return any(known == thread for known, _ in self.aliases.values())

    def note_language(self, person: int, language: str) -> None:
        if self.languages.get(str(person)) != language:
            self.languages[str(person)] = language
            self.note_change()

    def language_of(self, person: str, guild: discord.Guild | None, otherwise: str) -> str:
        """Their own, else that of a community server, which alone chooses one."""
        if known := self.languages.get(person):
            return known
        chosen = guild is not None and "COMMUNITY" in guild.features
        return str(guild.preferred_locale) if guild and chosen else otherwise

    async def set_alias(self, channel: int, person: str, thread: int) -> None:
        self.aliases[f"{channel}:{person}"] = (thread, time.time())
        await self.flush()

    def is_first_notice(self, key: str, every: float) -> bool:
        """Whether a hint was not given under `key` for `every` seconds; it counts as given now."""
        if time.time() - self.hinted.get(key, 0.0) < every:
            return False
        self.hinted[key] = time.time()
        self.note_change()
        return True

    def note_change(self) -> None:
        self._row.mark_changed()
        if not self.leads and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._tell())

    async def flush(self) -> None:
        await self._row.flush()
        if not self.leads:
            await self._peers.notify("remembered", DISCORD_STATE_NAME)

    async def _tell(self) -> None:
        await asyncio.sleep(SHARE_AFTER_SECONDS)
        await self.flush()

    def _data(self) -> object:
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
        """Keep the newest of each kind."""
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
    """Return what a `State` remembers, with all that was said until now taken in."""
    now = discord.utils.time_snowflake(discord.utils.utcnow())
    seen = {
        channel: {**one, "last": max(one["last"], now)}
        for channel, one in data.get("seen", {}).items()
    }
    return {**data, "seen": seen}


def _newest(kept: dict[K, V], most: int = MAX_REMEMBERED) -> dict[K, V]:
    """A dictionary's order is the order of first use."""
    return dict(list(kept.items())[-most:]) if len(kept) > most else kept
