"""The thread map in `threads.db`, on sqlitedict; and in a table, where many processes share one.

sqlitedict opens SQLite with synchronous=OFF whatever the journal mode (its source, 2.1.0). NORMAL
is set after opening: a power cut may take the last records, which the journal has, but does not
break the file (sqlite.org/pragma.html#pragma_synchronous). With autocommit off a refused write
kills its thread and the caller waits for ever (measured); with autocommit on it raises. Its calls
block, so each runs in a thread, with a deadline.
"""

from __future__ import annotations

import asyncio
import importlib
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from core.domain.errors import NotStored
from core.domain.messages import decode_json, encode_json
from core.domain.records import Thread
from core.runtime.tasks import BoundedDict
from core.store.database import Database, SqlConnection

T = TypeVar("T")
THREAD_MAP_TIMEOUT_SECONDS = 10.0
"""Seconds; a lock held by another process makes sqlite3 wait 5 s."""
MAX_CACHED_THREADS = 4096
"""Records kept in memory: this process is the only one that writes them."""


class SqlThreadMap:
    """The `ThreadMap` port in a shared database; nothing is kept in memory."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, conversation: str) -> Thread | None:
        def read(connection: SqlConnection) -> Thread | None:
            row = connection.execute(
                "SELECT record FROM thread_map WHERE conversation = ?", (conversation,)
            ).fetchone()
            return decode_json(Thread, row["record"]) if row else None

        return await self._database.read(read)

    async def put(self, thread: Thread) -> None:
        await self._execute(
            "INSERT INTO thread_map (conversation, record) VALUES (?, ?)"
            " ON CONFLICT (conversation) DO UPDATE SET record = excluded.record",
            thread.conversation, encode_json(thread),
        )  # fmt: skip

    async def delete(self, conversation: str) -> None:
        await self._execute("DELETE FROM thread_map WHERE conversation = ?", conversation)

    async def items(self) -> Sequence[Thread]:
        return await self._database.read(
            lambda c: [decode_json(Thread, row["record"]) for row in
                       c.execute("SELECT record FROM thread_map ORDER BY conversation")]
        )  # fmt: skip

    async def scrub(self) -> None:
        """The database is its owner's."""

    async def close(self) -> None:
        """The database is its owner's."""

    async def _execute(self, statement: str, *values: str) -> None:
        await self._database.write(lambda c: c.execute(statement, values).close())


class FileThreadMap:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="thread-map")
        self._map: Any = None
        self._recent: BoundedDict[str, Thread] = BoundedDict(MAX_CACHED_THREADS)

    @classmethod
    async def open(cls, path: Path) -> FileThreadMap:
        """Raises NotStored."""
        threads = cls(path)
        await threads._run_in_thread(threads._open)
        return threads

    async def get(self, conversation: str) -> Thread | None:
        if recent := self._recent.get(conversation):
            return recent
        thread: Thread | None = await self._run_in_thread(lambda: self._map.get(conversation))
        if thread:
            self._recent[conversation] = thread
        return thread

    async def put(self, thread: Thread) -> None:
        key = thread.conversation
        await self._change(key, lambda: self._map.__setitem__(key, thread))
        self._recent[key] = thread

    async def delete(self, conversation: str) -> None:
        await self._change(conversation, lambda: self._map.pop(conversation, None))

    async def items(self) -> Sequence[Thread]:
        return await self._run_in_thread(lambda: list(self._map.values()))

    async def scrub(self) -> None:
        """What was deleted or written over leaves the file. Raises NotStored."""
        await self._run_in_thread(self._compact)

    async def close(self) -> None:
        await self._run_in_thread(lambda: self._map.close())
        self._thread.shutdown(wait=False)

    async def _change(self, conversation: str, work: Callable[[], object]) -> None:
        """Also after a refusal, or past the deadline, what is in the file is read again."""
        try:
            await self._run_in_thread(work)
        finally:
            self._recent.pop(conversation, None)

    def _open(self) -> None:
        # sqlitedict's own thread dies, with a traceback, of a file that it cannot open.
        with closing(sqlite3.connect(self._path)) as probe:
            probe.execute("PRAGMA journal_mode=WAL")
        sqlitedict = importlib.import_module("sqlitedict")
        self._map = sqlitedict.SqliteDict(
            str(self._path), tablename="threads", autocommit=True, journal_mode="WAL",
            encode=encode_json, decode=lambda text: decode_json(Thread, text), outer_stack=False,
        )  # fmt: skip
        self._map.conn.execute("PRAGMA synchronous=NORMAL")
        self._map.conn.execute("PRAGMA secure_delete=ON")

    def _compact(self) -> None:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as beside:
            beside.execute("VACUUM")
            beside.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    async def _run_in_thread(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(THREAD_MAP_TIMEOUT_SECONDS):
                result: T = await loop.run_in_executor(self._thread, work)
                return result
        except Exception as error:
            raise NotStored(
                "{path} cannot be used: {why}.", path=self._path, why=str(error) or "no answer"
            ) from error
