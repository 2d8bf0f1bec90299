"""The record of a thread, and the map from conversations to threads in `threads.db` (sqlitedict).

The record is in the thread's row. The map is a cache that can be lost. Notes on sqlitedict:

- It opens SQLite with synchronous=OFF in every journal mode (its source, 2.1.0). This module sets
  NORMAL after opening. Then a power cut may lose the last entries, but does not damage the file
  (sqlite.org/pragma.html#pragma_synchronous).
- With autocommit off, a refused write kills its thread and the caller waits forever (measured).
  With autocommit on, it raises.
- Its calls block, so each one runs in a thread, with a timeout.
"""

from __future__ import annotations

import asyncio
import importlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import structlog

from core.base.errors import NotStored
from core.base.tasks import BoundedDict
from core.domain.messages import decode_json, encode_json
from core.domain.records import Thread
from core.store.database import (
    ROWS_PER_TRANSACTION,
    Database,
    SqlConnection,
    SqlStore,
    select_value,
)

log = structlog.get_logger("store")
T = TypeVar("T")
THREAD_MAP_TIMEOUT_SECONDS = 10.0
"""Maximum seconds of one call. If another process has a lock, sqlite3 itself waits for 5 s."""


class SqlThreadMap(SqlStore):
    """Finds the thread record of each conversation in the tables of the database."""

    async def get(self, conversation: str) -> Thread | None:
        """Raises NotStored."""
        current = "(SELECT thread FROM conversations WHERE conversation = ?)"
        return await self._database.read(
            lambda c: find_record(c, conversation, current), single=True
        )

    async def put(self, thread: Thread) -> None:
        """Raises NotStored."""
        await self._database.write(lambda c: store_record(c, thread))
        await self.link(thread)

    async def link(self, thread: Thread) -> None:
        """Do nothing: the table `conversations` has each current thread already."""

    async def delete(self, conversation: str) -> None:
        """Do nothing: the rows of the conversation, which are the map here, are deleted anyway."""

    async def scrub(self) -> None:
        """Do nothing: the owner of the database does that for all tables."""

    async def close(self) -> None:
        """Do nothing: the owner of the database closes it."""


class FileThreadMap(SqlThreadMap):
    """The thread map of a process with its own database. It is in the file `threads.db`, which can
    be lost."""

    def __init__(self, path: Path, database: Database) -> None:
        super().__init__(database)
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="thread-map")
        self._map: Any = None
        self._linked = BoundedDict[str, str](1000)
        """Entries that are known to be in the file."""

    @classmethod
    async def open(cls, path: Path, database: Database) -> FileThreadMap:
        """Open or create the file, and move records of an older Ponte out of it."""
        threads = cls(path, database)
        await threads._run_in_thread(threads._open)
        while await threads._move_old_records():
            pass
        return threads

    async def get(self, conversation: str) -> Thread | None:
        """Raises NotStored."""
        id = await self._run_in_thread(lambda: self._map.get(conversation))
        return await self._database.read(lambda c: find_record(c, id)) if id else None

    async def link(self, thread: Thread) -> None:
        """The file can be lost without harm, so a failure is only logged."""
        key, id = thread.conversation, thread.id
        if self._linked.get(key) == id:  # most turns change the record alone
            return
        try:
            await self._run_in_thread(lambda: self._map.update({key: id}))
            self._linked[key] = id
        except NotStored as error:
            log.warning("could not save the thread", error=str(error))

    async def delete(self, conversation: str) -> None:
        self._linked.pop(conversation, None)
        await self._run_in_thread(lambda: self._map.pop(conversation, None))

    async def scrub(self) -> None:
        """Remove the remains of deleted and overwritten entries from the file, because they name
        people."""
        await self._run_in_thread(self._compact)

    async def close(self) -> None:
        await self._run_in_thread(lambda: self._map.close())
        self._thread.shutdown(wait=False)

    async def _move_old_records(self) -> int:
        """Move some records that Ponte 0.1.0 kept in the file (`_map`, a table of text values) into
        the rows of their threads. The caller repeats this until it returns 0.

        Such a value is JSON, which begins with `{`. The id of the thread replaces it in the file.
        """
        # As bytes, since a damaged value may be no UTF-8.
        old = (
            "SELECT key, CAST(value AS BLOB) FROM threads WHERE value LIKE '{%'"  # noqa: S608
            f" LIMIT {ROWS_PER_TRANSACTION}"
        )
        rows = await self._run_in_thread(lambda: list(self._map.conn.select(old)))
        # Thread ids by conversation. A damaged record becomes "", so that it is not read again.
        ids = dict.fromkeys((key for key, _ in rows), "")
        values = list[tuple[str, str]]()
        for key, record in rows:
            try:
                ids[key] = decode_json(Thread, record).id
                values.append((record.decode(), ids[key]))
            except ValueError:
                log.warning("replaced a damaged record of a thread", conversation=key)
        if rows:
            # A start that was killed here may have moved the record before, and a turn may have
            # changed it since: so only an empty record is written.
            sql = "UPDATE threads SET record = ? WHERE id = ? AND record = ''"
            await self._database.write(lambda c: c.executemany(sql, values))
            await self._run_in_thread(lambda: self._map.update(ids))
        return len(rows)

    def _open(self) -> None:
        # It blocks, so it runs in a thread. The probe tests whether the file can be opened, and
        # raises if not: sqlitedict's own thread would die with a traceback instead.
        with closing(sqlite3.connect(self._path)) as probe:
            probe.execute("PRAGMA journal_mode=WAL")
        sqlitedict = importlib.import_module("sqlitedict")
        self._map = sqlitedict.SqliteDict(
            str(self._path),
            tablename="threads",
            autocommit=True,  # without it, a refused write would block the caller forever
            journal_mode="WAL",
            encode=str,  # the values are ids; by default, sqlitedict would pickle them
            decode=str,
            outer_stack=False,  # it would record the stack of each call, for messages of errors
        )
        # sqlitedict sets OFF, with which a power cut can damage the file.
        self._map.conn.execute("PRAGMA synchronous=NORMAL")
        self._map.conn.execute("PRAGMA secure_delete=ON")  # deleted keys name people

    def _compact(self) -> None:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as beside:
            beside.execute("VACUUM")
            beside.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    async def _run_in_thread(self, work: Callable[[], T]) -> T:
        """Run `work` in the one thread that uses the file, because sqlitedict blocks. Raises
        NotStored if it fails or takes too long."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(THREAD_MAP_TIMEOUT_SECONDS):
                result: T = await loop.run_in_executor(self._thread, work)
                return result
        except Exception as error:
            # A TimeoutError has no text of its own.
            raise NotStored(
                "Can't use {path}: {why}.", path=self._path, why=str(error) or "no answer"
            ) from error


STORE_RECORD_SQL = (
    "UPDATE threads SET record = CASE WHEN EXISTS (SELECT 1 FROM remotes WHERE kind ="
    " 'conversation' AND remotes.id = :remote AND erasure > 0) THEN :bare_record ELSE :record END"
    " WHERE id = :thread_id"
)
"""Does nothing if the row was deleted. A turn that ends may name a conversation that is to be
erased since: then the thread's next turn begins a new one."""


def record_values(thread: Thread) -> dict[str, object]:
    bare, record = encode_json(replace(thread, remote="", remote_upto=0)), encode_json(thread)
    return {"remote": thread.remote, "bare_record": bare, "record": record, "thread_id": thread.id}


def store_record(connection: SqlConnection, thread: Thread) -> None:
    connection.execute(STORE_RECORD_SQL, record_values(thread)).close()


def find_record(connection: SqlConnection, value: str, id: str = "?") -> Thread | None:
    """`id` is an SQL expression for the id of the thread that `value` leads to."""
    record = select_value(connection, f"SELECT record FROM threads WHERE id = {id}", value)  # noqa: S608
    return decode_json(Thread, record) if record else None
