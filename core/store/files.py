"""Stored files. A row of the database describes each file. Its bytes are in a folder, or in rows
that several processes share."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from core.base import text
from core.base.errors import NotFound, NotStored
from core.domain.messages import File, Person
from core.store.database import (
    Database,
    SqlConnection,
    SqlRow,
    SqlStore,
    query,
    select_values,
    transaction,
)

PIECE_BYTES = 1 << 20

P = ParamSpec("P")
T = TypeVar("T")


class SqlFiles(SqlStore):
    """Stores files of messages and tools (the port `Files`). The database holds one row for each
    file, and `kept` (a folder, or another table) holds the bytes."""

    def __init__(self, database: Database, kept: FileBytes) -> None:
        super().__init__(database)
        self._bytes = kept

    async def put(
        self, event_key: str, name: str, type: str, data: bytes, owner: Person, conversation: str
    ) -> File:
        """Store a file and return it. Its id depends on the event, the bytes and the name, so a
        repeated event adds no file. Raise NotStored."""
        digest, name = hashlib.sha256(data).hexdigest(), text.safe_file_name(name)
        file = hashlib.sha256(f"{event_key}\n{digest}\n{name}".encode()).hexdigest()[:32]
        # The bytes come first, so that no row lacks its bytes. `sweep` removes bytes without a row.
        await self._bytes.put(file, data)

        def insert(connection: SqlConnection) -> File:
            """A row that the same message stored before stays."""
            connection.execute(
                "INSERT INTO files (id, event_key, sha256, name, type, size, person,"
                " conversation, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO"
                " NOTHING",
                (
                    file,
                    event_key,
                    digest,
                    name,
                    text.safe_media_type(type),
                    len(data),
                    owner.key,
                    conversation,
                    time.time(),
                ),
            )
            return _file_of(
                connection.execute("SELECT * FROM files WHERE id = ?", (file,)).fetchone()
            )

        return await self._database.write(insert)

    async def get(self, file: str) -> tuple[File, bytes]:
        """Raise NotFound."""
        return _file_of(await self._row(file)), await self._bytes.get(file)

    async def conversation_of(self, file: str) -> str:
        """Raise NotFound."""
        return str((await self._row(file))["conversation"])

    async def list_of_events(self, *event_keys: str) -> Sequence[File]:
        statement = "SELECT * FROM files WHERE event_key = ?"
        return await self._database.read(
            lambda c: [_file_of(row) for key in event_keys for row in c.execute(statement, (key,))]
        )

    async def delete(self, file: str) -> None:
        """A crash in between leaves bytes that nothing leads to, and that `sweep` deletes later."""
        await self._execute("DELETE FROM files WHERE id = ?", file)
        await self.discard(file)

    async def discard(self, file: str) -> None:
        """Remove the bytes of a file whose row is deleted already."""
        await self._bytes.discard(file)

    async def sweep(self, before: float) -> int:
        """Delete old files whose event was never accepted, and bytes without a row. `before` is in
        seconds since the epoch. A crash between the steps of `put`, or before the message is
        stored, leaves such files."""
        sql = (
            "DELETE FROM files WHERE created_at < ? AND NOT EXISTS (SELECT 1 FROM inbox"
            " WHERE inbox.event_key = files.event_key) RETURNING id"
        )
        old_ids = await self._database.write(lambda c: select_values(c, sql, before))
        for file in old_ids:
            await self.discard(file)
        return len(old_ids) + await self._bytes.sweep(before, self._known_ids)

    async def _known_ids(self) -> set[str]:
        return set(await self._select("SELECT id FROM files"))

    @query
    def _row(self, connection: SqlConnection, file: str) -> SqlRow:
        sql = "SELECT * FROM files WHERE id = ?"
        row: SqlRow | None = connection.execute(sql, (file,)).fetchone()
        if row is None:
            raise NotFound(what="file")
        return row


class FolderBytes:
    """Stores the bytes of files in a folder of this machine, for a Ponte that runs in one
    process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, file: str, data: bytes) -> None:
        """Bytes that are stored already count as new, so that `sweep` does not remove them before
        their row is stored. Raise NotStored."""
        await _run_on_disk(_write_file, self._path(file), data)

    async def get(self, file: str) -> bytes:
        """Raise NotFound."""
        try:
            return await asyncio.to_thread(self._path(file).read_bytes)
        except OSError as error:
            raise NotFound(what="file") from error

    async def discard(self, file: str) -> None:
        """Raise NotStored."""
        await _run_on_disk(self._path(file).unlink, missing_ok=True)

    async def sweep(self, before: float, known: Callable[[], Awaitable[set[str]]]) -> int:
        """Raise NotStored."""
        return await _run_on_disk(_remove_orphans, self._folder, before, await known())

    def _path(self, file: str) -> Path:
        # An id must not lead out of the folder.
        if not file.isalnum():
            raise NotFound(what="file")
        return self._folder / file[:2] / file


class PieceBytes(SqlStore):
    """Stores the bytes of files in rows of a database that several processes share. A row holds at
    most PIECE_BYTES, so a file can have several."""

    @transaction
    def put(self, connection: SqlConnection, file: str, data: bytes) -> None:
        """Raise NotStored.

        Another process may insert the same file after the DELETE. Its rows may stay: the id is made
        from a digest of the bytes, so they are equal.
        """
        connection.execute("DELETE FROM pieces WHERE file = ?", (file,))
        connection.executemany(
            "INSERT INTO pieces (file, number, created_at, data) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            # An empty file has one row too: `get` takes a file without rows for a missing one.
            [
                (file, number, time.time(), data[begin : begin + PIECE_BYTES])
                for number, begin in enumerate(range(0, max(1, len(data)), PIECE_BYTES))
            ],
        )

    async def get(self, file: str) -> bytes:
        """Raise NotFound."""
        sql = "SELECT data FROM pieces WHERE file = ? ORDER BY number"
        if not (pieces := await self._select(sql, file)):
            raise NotFound(what="file")
        return b"".join(map(bytes, pieces))

    async def discard(self, file: str) -> None:
        """Raise NotStored."""
        if not file.isalnum():
            raise NotFound(what="file")
        await self._execute("DELETE FROM pieces WHERE file = ?", file)

    async def sweep(self, before: float, known: Callable[[], Awaitable[set[str]]]) -> int:
        """`known` (the ids with a row) is not needed, because both tables are in one database."""
        sql = (
            "DELETE FROM pieces WHERE created_at < ? AND NOT EXISTS"
            " (SELECT 1 FROM files WHERE files.id = pieces.file) RETURNING file"
        )
        return len(set(await self._database.write(lambda c: select_values(c, sql, before))))


FileBytes = FolderBytes | PieceBytes


def _file_of(row: SqlRow) -> File:
    return File(row["id"], row["name"], row["type"], row["size"])


async def _run_on_disk(work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    try:
        return await asyncio.to_thread(work, *args, **options)
    except OSError as error:
        raise NotStored from error


def _write_file(path: Path, data: bytes) -> None:
    """The file is written completely or not at all, even if the power fails. Its name comes from a
    digest of its bytes, so a file that exists has them already."""
    if path.exists():
        path.touch()  # so that a sweep does not remove it before its row is stored
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # A name of its own, because two callers may write the same file at the same time.
    partial = path.with_suffix(f".{os.getpid()}.{time.monotonic_ns()}")
    try:
        with partial.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    # A new name in a folder is durable only once the folder is written to disk, too (fsync(2)).
    for folder in (path.parent, path.parent.parent):
        entry = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)


def _remove_orphans(folder: Path, before: float, known: set[str]) -> int:
    removed_count = 0
    for path in folder.glob("*/*"):
        with suppress(FileNotFoundError):  # another caller removed it meanwhile
            if path.name not in known and path.stat().st_mtime < before:
                path.unlink()
                removed_count += 1
    return removed_count
