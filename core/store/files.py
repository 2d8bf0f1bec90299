"""Files in a folder: the bytes by id, what they are in a row of `ponte.db`. And a file of JSON."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from sqlite3 import Row
from typing import Any, ParamSpec, TypeVar

import structlog

from core import text
from core.errors import NotFound, NotStored
from core.messages import File, Person
from core.store.database import Connection, Database

log = structlog.get_logger("files")
PAUSE = 1.0
"""Seconds in which changes to a `JsonFile` are gathered before they are written."""

P = ParamSpec("P")
T = TypeVar("T")


class FolderFiles:
    """The `Files` port."""

    def __init__(self, folder: Path, database: Database) -> None:
        self._folder = folder
        self._database = database

    async def put(
        self, event_key: str, name: str, type: str, data: bytes, owner: Person, conversation: str
    ) -> File:
        digest = hashlib.sha256(data).hexdigest()
        file = hashlib.sha256(f"{event_key}\n{digest}".encode()).hexdigest()[:32]
        await _on_disk(_write, self._path(file), data)

        def insert(connection: Connection) -> File:
            connection.execute(
                "INSERT INTO files (id, event_key, sha256, name, type, size, person,"
                " conversation, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (file, event_key, digest, text.file_name(name), type, len(data), owner.key,
                 conversation, time.time()),
            )  # fmt: skip
            return _file(connection.execute("SELECT * FROM files WHERE id = ?", (file,)).fetchone())

        return await self._database.write(insert)

    async def get(self, file: str) -> tuple[File, bytes]:
        row = await self._row(file)
        try:
            data = await asyncio.to_thread(self._path(file).read_bytes)
        except OSError as error:
            raise NotFound(what="file") from error
        return _file(row), data

    async def conversation_of(self, file: str) -> str:
        return str((await self._row(file))["conversation"])

    async def of_event(self, event_key: str) -> Sequence[File]:
        statement = "SELECT * FROM files WHERE event_key = ?"
        return await self._database.read(
            lambda c: [_file(row) for row in c.execute(statement, (event_key,))]
        )

    async def delete(self, file: str) -> None:
        await self._database.write(
            lambda c: c.execute("DELETE FROM files WHERE id = ?", (file,)).close()
        )
        await self.discard(file)

    async def discard(self, file: str) -> None:
        """Remove the bytes alone, where the row is gone already."""
        await _on_disk(self._path(file).unlink, missing_ok=True)

    async def sweep(self, before: float) -> int:
        """Rows whose event was never accepted, and bytes without a row."""

        def orphans(connection: Connection) -> list[Row]:
            return connection.execute(
                "DELETE FROM files WHERE created < ?"
                " AND event_key NOT IN (SELECT event_key FROM inbox) RETURNING id",
                (before,),
            ).fetchall()

        gone = [row["id"] for row in await self._database.write(orphans)]
        for file in gone:
            await self.discard(file)
        known = await self._database.read(
            lambda c: {row["id"] for row in c.execute("SELECT id FROM files")}
        )
        return len(gone) + await _on_disk(_sweep, self._folder, before, known)

    async def _row(self, file: str) -> Row:
        def select(connection: Connection) -> Row | None:
            row: Row | None = connection.execute(
                "SELECT * FROM files WHERE id = ?", (file,)
            ).fetchone()
            return row

        row = await self._database.read(select)
        if row is None:
            raise NotFound(what="file")
        return row

    def _path(self, file: str) -> Path:
        if not file.isalnum():
            raise NotFound(what="file")
        return self._folder / file[:2] / file


class JsonFile:
    """A small file in the home for what may be lost: a second's changes, and all where it broke.
    `data` gives what it holds."""

    def __init__(self, path: Path, data: Callable[[], object]) -> None:
        self._path = path
        self._data = data
        self._dirty = False
        self._writing = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None

    async def read(self) -> dict[str, Any]:
        """What it held, in whatever shape; empty where there is none."""
        try:
            data = json.loads(await asyncio.to_thread(self._path.read_text))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.warning("not read; starting without", file=self._path.name, why=repr(error))
            return {}
        return data if isinstance(data, dict) else {}

    def changed(self) -> None:
        """To be written within the next seconds."""
        self._dirty = True
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_soon())

    async def flush(self) -> None:
        self._dirty = False
        async with self._writing:
            try:
                await asyncio.to_thread(_replace, self._path, json.dumps(self._data()))
            except OSError as error:
                log.warning("not written", file=self._path.name, why=repr(error))

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
            await self.flush()

    async def _write_soon(self) -> None:
        while self._dirty:
            await asyncio.sleep(PAUSE)
            await self.flush()


def _file(row: Row) -> File:
    return File(row["id"], row["name"], row["type"], row["size"])


async def _on_disk(work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Run it in a thread. Raises NotStored when the disk refuses."""
    try:
        return await asyncio.to_thread(work, *args, **options)
    except OSError as error:
        raise NotStored from error


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, also across a power loss."""
    if path.exists():
        path.touch()  # a sweep takes it for new, until its row is there
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_suffix(f".{os.getpid()}.{time.monotonic_ns()}")
    try:
        with partial.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    for folder in (path.parent, path.parent.parent):
        _sync(folder)


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.touch(mode=0o600)
    partial.write_text(text)
    partial.replace(path)


def _sync(folder: Path) -> None:
    """A new name in a folder is durable only when the folder is (fsync(2))."""
    entry = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)


def _sweep(folder: Path, before: float, known: set[str]) -> int:
    gone = 0
    for path in folder.glob("*/*"):
        with suppress(FileNotFoundError):  # somebody forgot it meanwhile
            if path.name not in known and path.stat().st_mtime < before:
                path.unlink()
                gone += 1
    return gone
