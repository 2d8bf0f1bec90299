"""The map from conversations to threads: in `threads.db` (sqlitedict), or in a shared table.

The map is a cache that can be rebuilt from the journal. Notes on sqlitedict:

- It opens SQLite with synchronous=OFF in every journal mode (its source, 2.1.0). This module sets
  NORMAL after opening. Then a power cut may lose the last records, which the journal has, but does
  not damage the file (sqlite.org/pragma.html#pragma_synchronous).
- With autocommit off, a refused write kills its thread and the caller waits forever (measured).
  With autocommit on, it raises.
- Its calls block, so each one runs in a thread, with a timeout.
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

from core.base.errors import NotStored
from core.base.tasks import BoundedDict
from core.domain.conversation_ports import TransactionStep
from core.domain.messages import decode_json, encode_json
from core.domain.records import Thread
from core.store.database import SqlStore, select_value

T = TypeVar("T")
THREAD_MAP_TIMEOUT_SECONDS = 10.0
"""Maximum seconds of one call. If another process has a lock, sqlite3 itself waits for 5 s."""
MAX_CACHED_THREADS = 4096
"""Maximum records kept in memory. That is safe because only this process writes the file."""


class SqlThreadMap(SqlStore):
    """The `ThreadMap` port over a table of a shared database. It keeps nothing in memory, because
    other processes change the table."""

    async def get(self, conversation: str) -> Thread | None:
        """Return the thread of a conversation, None if there is none. Raises NotStored."""
        sql = "SELECT record FROM thread_map WHERE conversation = ?"
        record = await self._database.read(
            lambda c: select_value(c, sql, conversation), single=True
        )
        return decode_json(Thread, record) if record else None

    async def put(self, thread: Thread) -> None:
        """Store the thread of its conversation. Raises NotStored."""
        await self._database.write(self.put_step(thread))

    def put_step(self, thread: Thread) -> TransactionStep:
        """Return the write of `put` as a step of a transaction of the same database."""
        values = (thread.conversation, encode_json(thread))
        sql = (
            "INSERT INTO thread_map (conversation, record) VALUES (?, ?)"
            " ON CONFLICT (conversation) DO UPDATE SET record = excluded.record"
        )
        return lambda connection: connection.execute(sql, values).close()

    async def delete(self, conversation: str) -> None:
        """Remove the thread of a conversation. Raises NotStored."""
        await self._execute("DELETE FROM thread_map WHERE conversation = ?", conversation)

    async def items(self) -> Sequence[Thread]:
        """Return all threads. Raises NotStored."""
        records = await self._select("SELECT record FROM thread_map ORDER BY conversation")
        return [decode_json(Thread, record) for record in records]

    async def scrub(self) -> None:
        """Do nothing: the owner of the database scrubs it."""

    async def close(self) -> None:
        """Do nothing: the owner of the database closes it."""


class FileThreadMap:
    """The `ThreadMap` port over the file `threads.db`, with recent records in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="thread-map")
        self._map: Any = None
        self._recent: BoundedDict[str, Thread] = BoundedDict(MAX_CACHED_THREADS)

    @classmethod
    async def open(cls, path: Path) -> FileThreadMap:
        """Open or create the file. Raises NotStored."""
        threads = cls(path)
        await threads._run_in_thread(threads._open)
        return threads

    async def get(self, conversation: str) -> Thread | None:
        """Return the thread of a conversation, None if there is none. Raises NotStored."""
        if recent := self._recent.get(conversation):
            return recent
        thread: Thread | None = await self._run_in_thread(lambda: self._map.get(conversation))
        if thread:
            self._recent[conversation] = thread
        return thread

    async def put(self, thread: Thread) -> None:
        """Store the thread of its conversation. Raises NotStored."""
        key = thread.conversation
        await self._change(key, lambda: self._map.__setitem__(key, thread))
        self._recent[key] = thread

    def put_step(self, thread: Thread) -> None:
        """Return None: the file is not a part of the database."""

    async def delete(self, conversation: str) -> None:
        """Remove the thread of a conversation. Raises NotStored."""
        await self._change(conversation, lambda: self._map.pop(conversation, None))

    async def items(self) -> Sequence[Thread]:
        """Return all threads. Raises NotStored."""
        return await self._run_in_thread(lambda: list(self._map.values()))

    async def scrub(self) -> None:
        """Remove deleted and overwritten records from the file. Raises NotStored."""
        await self._run_in_thread(self._compact)

    async def close(self) -> None:
        """Close the file. Raises NotStored."""
        await self._run_in_thread(lambda: self._map.close())
        self._thread.shutdown(wait=False)

    async def _change(self, conversation: str, work: Callable[[], object]) -> None:
        """Run a write, and drop the record from memory even if it fails or times out.

        So the next `get` reads the file, which may or may not have been changed.
        """
        try:
            await self._run_in_thread(work)
        finally:
            self._recent.pop(conversation, None)

    def _open(self) -> None:
        """Open the file with sqlitedict and set its pragmas. Blocking."""
        # Tests whether the file can be opened: if not, sqlitedict's thread dies with a traceback.
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
        """Rewrite the file without deleted records, and empty its write-ahead log."""
        with closing(sqlite3.connect(self._path, isolation_level=None)) as beside:
            beside.execute("VACUUM")
            beside.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    async def _run_in_thread(self, work: Callable[[], T]) -> T:
        """Run `work` in the file's thread. Raises NotStored if it fails or takes too long."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(THREAD_MAP_TIMEOUT_SECONDS):
                result: T = await loop.run_in_executor(self._thread, work)
                return result
        except Exception as error:
            raise NotStored(
                "Cannot use {path}: {why}.", path=self._path, why=str(error) or "no answer"
            ) from error
