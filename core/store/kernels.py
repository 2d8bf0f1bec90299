"""Records which threads have or had a kernel, the process that runs their Python. There is one row
for each thread."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

import structlog

from core.domain.errors import NotStored
from core.store.database import Database, SqlConnection

log = structlog.get_logger("files")  # operators know these lines by this name
MARK = re.compile("[0-9a-f]{32}")
"""The name of a mark, the file of an earlier version: half of the SHA-256 of a thread's id."""


class KernelRows:
    """The kernel rows of a process that works alone. They outlive the process. After a restart they
    show that a thread's variables are lost.

    If the database fails, Python still runs, but a thread does not learn of that loss. Without a
    `database`, nothing is stored.
    """

    why = "Ponte was restarted"
    """Why an earlier kernel of a thread is gone."""

    def __init__(self, database: Database | None, process: str = "") -> None:
        self._database = database
        self._process = process

    async def is_here(self, thread: str) -> bool:
        """Return True: no other process can have the thread's kernel."""
        return True

    async def record_start(self, thread: str) -> bool:
        """Record that this process has started a kernel for the thread. Return whether the thread
        had one before."""

        def write(connection: SqlConnection) -> bool:
            had = connection.execute("SELECT 1 FROM kernels WHERE thread = ?", (thread,)).fetchone()
            connection.execute(
                "INSERT INTO kernels (thread, process) VALUES (?, ?)"
                " ON CONFLICT (thread) DO UPDATE SET process = excluded.process",
                (thread, self._process),
            ).close()
            return had is not None

        with suppress(NotStored):
            return self._database is not None and await self._database.write(write)
        return False

    async def record_end(self, thread: str) -> None:
        # The row stays, because it records that the thread had a kernel.
        return None

    async def forget(self, thread: str) -> None:
        """Delete the thread's row."""
        await self._write("DELETE FROM kernels WHERE thread = ?", thread)

    async def _write(self, statement: str, *values: str) -> None:
        if self._database is not None:
            with suppress(NotStored):
                await self._database.write(lambda c: c.execute(statement, values).close())


class SharedKernelRows(KernelRows):
    """The kernel rows of several processes. A row also names the process that has the kernel now,
    "" if none has."""

    why = "its previous process ended"
    """Why an earlier kernel of a thread is gone."""

    def __init__(
        self, database: Database, process: str, tell: Callable[[str, str], Awaitable[None]]
    ) -> None:
        """`tell` sends the word "kernel" and the thread's id to all processes, so that each ends
        its kernel of that thread."""
        super().__init__(database, process)
        self._shared = database
        self._tell = tell

    async def is_here(self, thread: str) -> bool:
        """Return whether this process has the thread's kernel. Return True if the database
        fails."""

        def read(connection: SqlConnection) -> bool:
            row = connection.execute(
                "SELECT process FROM kernels WHERE thread = ?", (thread,)
            ).fetchone()
            return row is not None and row["process"] == self._process

        try:
            return await self._shared.read(read)
        except NotStored:
            return True

    async def record_end(self, thread: str) -> None:
        """Record that this process no longer has the thread's kernel."""
        await self._write(
            "UPDATE kernels SET process = '' WHERE thread = ? AND process = ?",
            thread, self._process,
        )  # fmt: skip

    async def forget(self, thread: str) -> None:
        """Delete the thread's row, and end its kernel in every process."""
        await super().forget(thread)
        with suppress(NotStored):
            await self._tell("kernel", thread)


async def import_marks(database: Database, folder: Path) -> None:
    """Move the marks of an earlier version into rows. A mark is an empty file in `folder` for each
    thread, named by the hash of the thread's id.

    The files are removed once the rows are durable and were read back. If the process is killed
    before that, files remain, and the next process repeats the import. The mark of an unknown
    thread is removed. Raise NotStored.
    """
    marks = await asyncio.to_thread(_list_marks, folder)
    if marks is None:
        return
    threads = await database.read(_threads_by_hash)
    marked = [threads[mark] for mark in marks if mark in threads]

    def write(connection: SqlConnection) -> None:
        for thread in marked:
            connection.execute(
                "INSERT INTO kernels (thread, process) VALUES (?, '') ON CONFLICT DO NOTHING",
                (thread,),
            ).close()

    if marked:
        await database.write(write)
        if not set(marked) <= await database.read(_known_threads):
            raise _unusable(folder, "the database lacks rows of it")
    await asyncio.to_thread(_remove_marks, folder, marks)
    if marks:
        log.info("moved into the database", file=folder.name)


def _threads_by_hash(connection: SqlConnection) -> Mapping[str, str]:
    rows = connection.execute("SELECT id FROM threads").fetchall()
    return {_mark_of(row["id"]): row["id"] for row in rows}


def _mark_of(thread: str) -> str:
    return hashlib.sha256(thread.encode()).hexdigest()[:32]


def _known_threads(connection: SqlConnection) -> set[str]:
    return {row["thread"] for row in connection.execute("SELECT thread FROM kernels").fetchall()}


def _list_marks(folder: Path) -> list[str] | None:
    """Return the names of the marks in the folder, None if there is no such folder. Raise
    NotStored."""
    try:
        return [name for name in os.listdir(folder) if MARK.fullmatch(name)]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(folder, error) from error


def _remove_marks(folder: Path, marks: list[str]) -> None:
    """Remove the marks, and the folder if it is empty then. Raise NotStored."""
    try:
        for mark in marks:
            (folder / mark).unlink()
        with suppress(OSError):  # the folder holds other files
            folder.rmdir()
        parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(parent)  # a removal is durable only when the folder is (fsync(2))
        finally:
            os.close(parent)
    except OSError as error:
        raise _unusable(folder, error) from error


def _unusable(path: Path, why: object) -> NotStored:
    return NotStored("Cannot use {path}: {why}.", path=path, why=why)
