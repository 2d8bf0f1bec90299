"""Files in a folder: the bytes by id, what they are in a row of `ponte.db`."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from sqlite3 import Row

from core import text
from core.errors import NotFound, NotStored
from core.messages import File, Person
from core.store.database import Connection, Database


class FolderFiles:
    def __init__(self, folder: Path, database: Database) -> None:
        self._folder = folder
        self._database = database

    async def put(
        self, event_key: str, name: str, type: str, data: bytes, owner: Person, conversation: str
    ) -> File:
        digest = hashlib.sha256(data).hexdigest()
        file = hashlib.sha256(f"{event_key}\n{digest}".encode()).hexdigest()[:32]
        kept = File(file, text.file_name(name), type, len(data))
        try:
            await asyncio.to_thread(_write, self._path(file), data)
        except OSError as error:
            raise NotStored from error

        def insert(connection: Connection) -> None:
            connection.execute(
                "INSERT INTO files (id, event_key, sha256, name, type, size, person,"
                " conversation, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (file, event_key, digest, kept.name, type, kept.size, owner.key, conversation,
                 time.time()),
            )  # fmt: skip

        await self._database.write(insert)
        return kept

    async def get(self, file: str) -> tuple[File, bytes]:
        row = await self._row(file)
        try:
            data = await asyncio.to_thread(self._path(file).read_bytes)
        except OSError as error:
            raise NotFound(what="file") from error
        return File(row["id"], row["name"], row["type"], row["size"]), data

    async def conversation_of(self, file: str) -> str:
        return str((await self._row(file))["conversation"])

    async def of_event(self, event_key: str) -> Sequence[File]:
        def select(connection: Connection) -> list[File]:
            rows = connection.execute("SELECT * FROM files WHERE event_key = ?", (event_key,))
            return [File(row["id"], row["name"], row["type"], row["size"]) for row in rows]

        return await self._database.read(select)

    async def delete(self, file: str) -> None:
        await self._database.write(
            lambda c: c.execute("DELETE FROM files WHERE id = ?", (file,)).close()
        )
        await self.discard(file)

    async def discard(self, file: str) -> None:
        """Remove the bytes alone, where the row is gone already."""
        await asyncio.to_thread(self._path(file).unlink, missing_ok=True)

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
        return len(gone) + await asyncio.to_thread(_sweep, self._folder, before, known)

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


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, also across a power loss."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists():
        return
    partial = path.with_suffix(f".{os.getpid()}.{time.monotonic_ns()}")
    with partial.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    partial.rename(path)


def _sweep(folder: Path, before: float, known: set[str]) -> int:
    gone = 0
    for path in folder.glob("*/*"):
        if path.name not in known and path.stat().st_mtime < before:
            path.unlink(missing_ok=True)
            gone += 1
    return gone
