"""State of a platform adapter that survives restarts: one JSON row in the table `remembered`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from core.base.errors import NotStored
from core.base.tasks import cancel_all
from core.store.database import Database, SqlConnection, select_value

log = structlog.get_logger("adapter_state")
GATHER_SECONDS = 1.0
"""Seconds for which changes are collected before one write."""
FORGOTTEN_ID = "forgotten"


class RememberedState:
    """A named row of JSON state.

    `data` is called for the state at each write. The state may be lost: the changes of the last
    second in a crash, or all of it if the row cannot be read. Without a `database`, nothing
    survives a restart.
    """

    def __init__(self, database: Database | None, name: str, data: Callable[[], object]) -> None:
        self.name = name
        self._database = database
        self._data = data
        self._dirty = False
        self._flushes = self._flushed = 0
        """By the numbers of `flush` calls, those that wait at the same time share one write."""
        self._writing = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None

    async def read(self) -> dict[str, Any]:
        """Return {} if the row is missing or unreadable."""
        try:
            return await self.load()
        except (ValueError, NotStored) as error:
            log.warning(
                "could not read adapter state; starting empty", file=self.name, error=repr(error)
            )
            return {}

    async def load(self) -> dict[str, Any]:
        """Return {} if the row is missing. Raise ValueError, and NotStored if the database is
        unavailable."""
        data = json.loads(await self._load() or "{}")
        return data if isinstance(data, dict) else {}

    def mark_changed(self) -> None:
        self._dirty = True
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_soon())

    async def flush(self) -> None:
        """A call that comes while another one writes waits, and then writes only if no write has
        begun after it came. A failed write is logged, not raised."""
        self._dirty = False
        self._flushes += 1
        flush_number = self._flushes
        async with self._writing:
            if flush_number <= self._flushed:
                return
            # Calls that begin from here on may have changes that this write does not contain.
            covered = self._flushes
            try:
                await self._save(json.dumps(self._data()))
            except NotStored as error:
                log.warning("could not write adapter state", file=self.name, error=repr(error))
            else:
                self._flushed = covered

    async def close(self) -> None:
        if self._writer is not None:
            await cancel_all([self._writer])
            await self.flush()

    async def _write_soon(self) -> None:
        while self._dirty:
            await asyncio.sleep(GATHER_SECONDS)
            await self.flush()

    async def _load(self) -> str:
        if self._database is None:
            return ""
        return await self._database.read(lambda c: read_text(c, self.name))

    async def _save(self, text: str) -> None:
        if self._database is not None:
            await self._database.write(lambda c: write_text(c, self.name, text))


class SharedRememberedState(RememberedState):
    """A row of JSON state that several processes write, each with its own copy in memory."""

    def __init__(self, database: Database, name: str, data: Callable[[], object]) -> None:
        super().__init__(database, name, data)
        self._shared = database
        self._known: dict[str, Any] = {}

    async def _load(self) -> str:
        text = await super()._load()
        self._known = json.loads(text or "{}")
        return text

    async def _save(self, text: str) -> None:
        ours, former_values = json.loads(text), self._known

        def write(connection: SqlConnection) -> None:
            """Other processes have their own copies of the row's state, so only what this process
            changed since its last save is written, while no other process can write the row."""
            connection.lock_key(self.name)
            whole = json.loads(read_text(connection, self.name) or "{}")
            for name, value in ours.items():
                # Objects are merged by their keys; any other value is replaced as a whole.
                if isinstance(value, dict):
                    before = former_values.get(name, {})
                    there = whole.setdefault(name, {})
                    there.update({k: v for k, v in value.items() if before.get(k) != v})
                    for removed_key in before.keys() - value.keys():
                        there.pop(removed_key, None)
                elif value != former_values.get(name):
                    whole[name] = value
            write_text(connection, self.name, json.dumps(whole))

        await self._shared.write(write)
        self._known = ours


async def rewrite_remembered(
    database: Database, name: str, change: Callable[[Mapping[str, Any]], object]
) -> None:
    """Nothing happens if the row does not exist."""

    def write(connection: SqlConnection) -> None:
        connection.lock_key(name)
        if text := read_text(connection, name):
            write_text(connection, name, json.dumps(change(json.loads(text))))

    await database.write(write)


def remove_ids(data: Any, ids: frozenset[str]) -> Any:
    """Entries with one of the ids in their key, whose parts are separated by colons, are left out.
    In lists, FORGOTTEN_ID replaces an id: the number of people in a thread, for example, stays
    true."""
    if isinstance(data, dict):
        return {k: remove_ids(v, ids) for k, v in data.items() if ids.isdisjoint(k.split(":"))}
    if isinstance(data, list):
        return [
            FORGOTTEN_ID if isinstance(value, str) and value in ids else remove_ids(value, ids)
            for value in data
        ]
    return data


def select_ids(data: Any, ids: frozenset[str]) -> Any:
    """Return the entries about these people for an export, in the same structure; None if there are
    none."""
    if isinstance(data, dict):
        # A key may be several ids, joined by colons.
        matches = {
            k: v if not ids.isdisjoint(k.split(":")) else select_ids(v, ids)
            for k, v in data.items()
        }
        return {k: v for k, v in matches.items() if v is not None} or None
    if isinstance(data, list):
        entries = [
            value if isinstance(value, str) and value in ids else select_ids(value, ids)
            for value in data
        ]
        return [value for value in entries if value is not None] or None
    return None


def read_text(connection: SqlConnection, name: str) -> str:
    return select_value(connection, "SELECT data FROM remembered WHERE name = ?", name) or ""


def write_text(connection: SqlConnection, name: str, text: str) -> None:
    connection.execute(
        "INSERT INTO remembered (name, data) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET data = excluded.data",
        (name, text),
    ).close()
