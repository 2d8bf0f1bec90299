"""What the adapter remembers over a restart: a small JSON file in the home.

Losing its last second costs a second reading of some history, never a message or an answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import structlog

log = structlog.get_logger("discord")
K = TypeVar("K")
V = TypeVar("V")
PAUSE = 1.0
"""Seconds in which changes are gathered before they are written."""
MOST_NOTES, MOST_FORMS = 2000, 100
ALIAS_LIFE = 24 * 3600.0
"""Seconds that a conversation goes on under the thread that could not be made."""


@dataclass(slots=True)
class Seen:
    """A channel that Ponte was addressed in, and the last message there that it took in."""

    last: int
    guild: int = 0
    at: float = 0.0


@dataclass(slots=True)
class Company:
    """Who has talked in a thread, and whether Ponte has said that it waits to be mentioned.

    `heard` is the last message that the conversation knows the thread up to, `before` the one that
    it knew it up to then.
    """

    people: list[str] = field(default_factory=list)
    told: bool = False
    heard: int = 0
    before: int = 0

    def join(self, people: Iterable[str]) -> bool:
        """Whether one of them is new here."""
        new = [person for person in dict.fromkeys(people) if person not in self.people]
        self.people += new
        return bool(new)

    def hear(self, message: int) -> int:
        """The message up to which the thread was known; the same again for one that comes twice,
        since a turn may begin anew."""
        if message > self.heard:
            self.before, self.heard = self.heard, message
        return self.before


class Notes:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._dirty = asyncio.Event()
        self._writing = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None
        self.commands = ""
        """Hash of the commands that Discord knows of us."""
        self.seen: dict[int, Seen] = {}
        self.parents: dict[int, int] = {}
        """The channel that a thread hangs under."""
        self.company: dict[int, Company] = {}
        self.aliases: dict[str, tuple[int, float]] = {}
        self.hinted: dict[str, float] = {}
        self.asked: dict[str, list[dict[str, Any]]] = {}
        """Message → its files, while a form about it is being filled in: the form has no room."""
        self.waiting: dict[str, str] = {}
        """Turn → the message that wears an hourglass, as channel:message."""

    async def open(self) -> None:
        data = await asyncio.to_thread(_read, self._path)
        self.commands = str(data.get("commands", ""))
        self.seen = {int(k): Seen(**v) for k, v in data.get("seen", {}).items()}
        self.parents = {int(k): int(v) for k, v in data.get("parents", {}).items()}
        self.company = {int(k): Company(**v) for k, v in data.get("company", {}).items()}
        self.aliases = {k: (int(v[0]), float(v[1])) for k, v in data.get("aliases", {}).items()}
        self.hinted = {k: float(v) for k, v in data.get("hinted", {}).items()}
        self.waiting = {k: str(v) for k, v in data.get("waiting", {}).items()}
        self.asked = {str(k): list(v) for k, v in data.get("asked", {}).items()}
        self._writer = asyncio.create_task(self._write_on_change())

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
            await self.flush()

    def took(self, channel: int, message: int, guild: int = 0, *, known_only: bool = False) -> None:
        """Everything in `channel` up to `message` is taken in."""
        seen = self.seen.get(channel)
        if seen is None:
            if known_only:
                return
            seen = self.seen[channel] = Seen(message, guild)
        if message > seen.last or not seen.at:
            seen.last, seen.at = max(seen.last, message), time.time()
            self.changed()

    def alias(self, channel: int, person: str) -> int | None:
        """The thread id under which (channel, person) goes on where no thread could be made."""
        thread, at = self.aliases.get(f"{channel}:{person}", (None, 0.0))
        return thread if time.time() - at < ALIAS_LIFE else None

    def is_alias(self, thread: int) -> bool:
        return any(known == thread for known, _ in self.aliases.values())

    async def set_alias(self, channel: int, person: str, thread: int) -> None:
        self.aliases[f"{channel}:{person}"] = (thread, time.time())
        await self.flush()

    def first_hint(self, key: str, every: float) -> bool:
        """Whether a hint was not given under `key` for `every` seconds; it counts as given now."""
        if time.time() - self.hinted.get(key, 0.0) < every:
            return False
        self.hinted[key] = time.time()
        self.changed()
        return True

    def changed(self) -> None:
        self._dirty.set()

    async def flush(self) -> None:
        self._trim()
        data = {
            "commands": self.commands,
            "seen": {str(k): asdict(v) for k, v in self.seen.items()},
            "parents": {str(k): v for k, v in self.parents.items()},
            "company": {str(k): asdict(v) for k, v in self.company.items()},
            "aliases": {k: list(v) for k, v in self.aliases.items()},
            "hinted": self.hinted,
            "waiting": self.waiting,
            "asked": self.asked,
        }
        self._dirty.clear()
        async with self._writing:
            try:
                await asyncio.to_thread(_write, self._path, json.dumps(data))
            except OSError as error:
                log.warning("notes not written", why=repr(error))

    def _trim(self) -> None:
        """Keep the newest of each kind."""
        if len(self.seen) > MOST_NOTES:
            newest = sorted(self.seen.items(), key=lambda item: item[1].at)[-MOST_NOTES:]
            self.seen = dict(newest)
        self.parents = _newest(self.parents)
        self.company = _newest(self.company)
        self.aliases = _newest(self.aliases)
        self.hinted = _newest(self.hinted)
        self.waiting = _newest(self.waiting)
        self.asked = _newest(self.asked, MOST_FORMS)

    async def _write_on_change(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(PAUSE)
            await self.flush()


def _newest(kept: dict[K, V], most: int = MOST_NOTES) -> dict[K, V]:
    """A dictionary's order is the order of first use."""
    return dict(list(kept.items())[-most:]) if len(kept) > most else kept


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        log.warning("notes not read; starting without", why=repr(error))
        return {}
    return data if isinstance(data, dict) else {}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    os.replace(partial, path)
