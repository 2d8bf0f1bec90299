"""What a platform's side remembers over restarts, as JSON in one row of the table `remembered`."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from core.domain.errors import NotStored
from core.store.database import Database, SqlConnection, lock_key

log = structlog.get_logger("files")  # the name that operators know it by
GATHER_SECONDS = 1.0
"""How long changes are gathered before they are written."""
FORGOTTEN_ID = "forgotten"
"""Replaces the id of a person who was forgotten, where only their number matters."""


class RememberedState:
    """The row with that name. `data` returns what it is to hold.

    What it holds may be lost: the changes of the last second, or all of it if it cannot be read.
    Without a `database` nothing is kept over a restart.
    """

    def __init__(self, database: Database | None, name: str, data: Callable[[], object]) -> None:
        self.name = name
        self._database = database
        self._data = data
        self._dirty = False
        self._flushes = self._flushed = 0
        """How many calls of `flush` began, and how many of them a write has covered."""
        self._writing = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None

    async def read(self) -> dict[str, Any]:
        """Return the row's JSON object; an empty one if there is none, or it cannot be read."""
        try:
            data = json.loads(await self._load() or "{}")
        except (ValueError, NotStored) as error:
            log.warning("not read; starting without", file=self.name, why=repr(error))
            return {}
        return data if isinstance(data, dict) else {}

    def mark_changed(self) -> None:
        """Write the row within the next seconds."""
        self._dirty = True
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_soon())

    async def flush(self) -> None:
        """Write what changed before this call. Calls that wait for a write share the next one."""
        self._dirty = False
        self._flushes += 1
        own = self._flushes
        async with self._writing:
            if own <= self._flushed:
                return
            covered = self._flushes
            try:
                await self._save(json.dumps(self._data()))
            except NotStored as error:
                log.warning("not written", file=self.name, why=repr(error))
            else:
                self._flushed = covered

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
            await self.flush()

    async def _write_soon(self) -> None:
        while self._dirty:
            await asyncio.sleep(GATHER_SECONDS)
            await self.flush()

    async def _load(self) -> str:
        if self._database is None:
            return ""
        return await self._database.read(lambda c: _read_text(c, self.name))

    async def _save(self, text: str) -> None:
        if self._database is not None:
            await self._database.write(lambda c: _write_text(c, self.name, text))


class SharedRememberedState(RememberedState):
    """The row where several processes write it: each writes only the entries that it changed."""

    def __init__(self, database: Database, name: str, data: Callable[[], object]) -> None:
        super().__init__(database, name, data)
        self._shared = database
        self._known: dict[str, Any] = {}
        """The row's object as this process read or wrote it last."""

    async def _load(self) -> str:
        stored = await super()._load()
        self._known = json.loads(stored or "{}")
        return stored

    async def _save(self, text: str) -> None:
        ours, known = json.loads(text), self._known

        def write(connection: SqlConnection) -> None:
            lock_key(connection, self.name)
            whole = json.loads(_read_text(connection, self.name) or "{}")
            for name, value in ours.items():
                if isinstance(value, dict):
                    before = known.get(name, {})
                    there = whole.setdefault(name, {})
                    there.update({k: v for k, v in value.items() if before.get(k) != v})
                    for gone in before.keys() - value.keys():
                        there.pop(gone, None)
                elif value != known.get(name):
                    whole[name] = value
            _write_text(connection, self.name, json.dumps(whole))

        await self._shared.write(write)
        self._known = ours


async def rewrite_remembered(
    database: Database, name: str, change: Callable[[Mapping[str, Any]], object]
) -> None:
    """Replace what the row holds, if there is one, by what `change` makes of it."""

    def write(connection: SqlConnection) -> None:
        lock_key(connection, name)
        if stored := _read_text(connection, name):
            _write_text(connection, name, json.dumps(change(json.loads(stored))))

    await database.write(write)


async def import_file(database: Database, path: Path) -> None:
    """Move the JSON file in which an earlier version kept this into the row with the file's name.

    The file is removed once the row is durable and was read back. So a process that is killed
    anywhere in between leaves the file, and the next one does all of it again. A file that is no
    JSON object, which that version would have begun anew too, is removed. Raises NotStored.
    """
    text = await asyncio.to_thread(_read_file, path)
    if text is None:
        return
    try:
        data = json.loads(text or "{}")
    except ValueError:
        data = None
    if isinstance(data, dict):
        await database.write(lambda c: _write_text(c, path.name, json.dumps(data)))
        stored = await database.read(lambda c: _read_text(c, path.name))
        if json.loads(stored or "null") != data:
            raise _unusable(path, "the database holds something else")
    else:
        log.warning("not read; starting without", file=path.name, why="no JSON object")
    await asyncio.to_thread(_remove_file, path)
    log.info("moved into the database", file=path.name)


def remove_ids(data: Any, ids: frozenset[str]) -> Any:
    """Return such JSON without people of these ids: entries whose key has one of them (its parts
    are separated by colons) are left out, and in lists FORGOTTEN replaces the id."""
    if isinstance(data, dict):
        return {k: remove_ids(v, ids) for k, v in data.items() if ids.isdisjoint(k.split(":"))}
    if isinstance(data, list):
        return [FORGOTTEN_ID if one in ids else remove_ids(one, ids) for one in data]
    return data


def select_ids(data: Any, ids: frozenset[str]) -> Any:
    """Return the entries of such JSON that are about people of these ids, None without any."""
    if isinstance(data, dict):
        found = {
            k: v if not ids.isdisjoint(k.split(":")) else select_ids(v, ids)
            for k, v in data.items()
        }
        return {k: v for k, v in found.items() if v is not None} or None
    if isinstance(data, list):
        return [one for one in data if one in ids] or None
    return None


def _read_text(connection: SqlConnection, name: str) -> str:
    row = connection.execute("SELECT data FROM remembered WHERE name = ?", (name,)).fetchone()
    return str(row["data"]) if row else ""


def _write_text(connection: SqlConnection, name: str, text: str) -> None:
    connection.execute(
        "INSERT INTO remembered (name, data) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET data = excluded.data",
        (name, text),
    ).close()


def _read_file(path: Path) -> str | None:
    """Return the file's text, None if there is no file. Raises NotStored."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, error) from error


def _remove_file(path: Path) -> None:
    """Raises NotStored."""
    try:
        path.unlink()
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # a removal is durable only when the folder is (fsync(2))
        finally:
            os.close(folder)
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, why: object) -> NotStored:
    return NotStored("{path} cannot be used: {why}.", path=path, why=why)
