"""What the stores need of a database, and SQLite for it: one file, a single writer thread that
commits in groups, and a reader thread beside it.

Nothing here runs on the event loop. A write is durable (WAL, synchronous=FULL) when its await
returns; writes that wait together share one commit. `core/store/postgres.py` is the other one.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import structlog

from core.domain.errors import NotStored, PonteError, Unstorable
from core.domain.messages import ONE_REQUEST_PREFIX
from core.domain.records import ConversationArea
from core.store import snapshot
from core.store.schema import Migration, migration_steps
from core.text.text import make_storable

log = structlog.get_logger("store")
T = TypeVar("T")
SqlRow = Mapping[str, Any]
"""By the names of its columns. (`sqlite3.Row` has no base class, so a type checker is told.)"""
MAX_WRITES_PER_COMMIT = 256
"""Writes in one commit, at most."""
SYNCHRONOUS_MODE = "FULL"
"""SQLite's setting for when it waits for the disk (sqlite.org/pragma.html#pragma_synchronous).
FULL: a commit survives a power cut. Only the tests, which survive none, set another one."""
BUSY_TIMEOUT_MS = 5000
"""Milliseconds to wait while another process, a backup, say, holds the file."""
STATEMENT_FAULT_CODES = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_MISUSE,
        sqlite3.SQLITE_RANGE,
    }
)
"""Primary result codes (https://sqlite.org/rescode.html) that are a statement's own fault; all
others are the disk's, the file's or the machine's, and none of a group can count on its commit."""


def area_condition(area: ConversationArea) -> tuple[str, Sequence[str | int]]:
    """That `conversation` is in there, as a condition and its values: its key begins with the
    names of where it is (`Address.conversation`)."""
    one = "substr(conversation || ':', 1, ?) = ?"
    clauses = [one for _ in filter(None, [area.place])] + [f"NOT {one}" for _ in area.excluded]
    places = [f"{place}:" for place in filter(None, (area.place, *area.excluded))]
    values: list[str | int] = [v for p in places for v in (len(p), p)]
    if area.is_one_request:
        clauses.append("replace(conversation, ?, '') <> conversation")
        values.append(f":{ONE_REQUEST_PREFIX}")
    return " AND ".join(clauses) or "1 = 1", values


class NewerDatabase(PonteError):
    code = "newer_database"
    sentence = (
        "{path} was written by a newer Ponte (schema {found}, this one knows {known}). "
        "Install that version again, or set PONTE_HOME to another folder."
    )


class SqlCursor(Protocol):
    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...
    def close(self) -> None: ...


class SqlConnection(Protocol):
    """What a transaction is written with: SQL that every engine understands, `?` and `:name` for
    values; rows are read by the names of their columns."""

    def execute(self, sql: str, parameters: Any = ..., /) -> SqlCursor: ...
    def executemany(self, sql: str, parameters: Iterable[Any], /) -> object: ...


class Database(Protocol):
    """Transactions, each a function of the connection alone: it may be run again from its start,
    so it touches nothing of the process."""

    async def write(
        self, work: Callable[[SqlConnection], T], then: Callable[[T], None] | None = None
    ) -> T:
        """Run `work` in a transaction off the event loop; durable on return.

        `then` runs on the event loop, even if the caller was cancelled meanwhile. Raises NotStored
        when it cannot be kept or the database is closed, Unstorable when the database does not
        take the values, and whatever `work` raises.
        """

    async def read(self, work: Callable[[SqlConnection], T]) -> T:
        """Run `work`; it sees every write that was awaited before, and one state of all.

        Raises NotStored when nothing can be read, and whatever `work` raises.
        """

    @property
    def remains_notice(self) -> str:
        """Where what was deleted may still stand, for who had it deleted; "" for nowhere."""

    async def scrub(self, *, whole: bool = False) -> None:
        """What was deleted leaves the tables and the log of writes, as far as the engine can.
        `whole`: also what a page still holds that was moved within it, which takes as long as
        writing all anew, and the copies from before an upgrade. Raises NotStored."""

    async def remove_old_copies(self) -> None:
        """Copies that have been kept for long enough go; asked now and then."""

    async def close(self) -> None:
        """Let what waits be committed; nothing more is taken."""


def lock_key(connection: SqlConnection, conversation: str) -> bool:
    """Nobody else changes that conversation until this transaction ends.

    Whether others write at all beside it: then what was read before is to be read again. (SQLite
    has one writer; there this costs a call.)
    """
    row = connection.execute("SELECT ponte_lock(?) AS taken", (conversation,)).fetchone()
    return bool(row["taken"])


class SqliteStatements:
    """The stores' `Connection` over SQLite's: texts become storable here, if they are not yet."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.raw = raw

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        try:
            return self.raw.execute(sql, parameters)
        except UnicodeEncodeError:  # raised before the statement ran
            return self.raw.execute(sql, make_storable(parameters))

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> None:
        for each in parameters:  # one after the other, so that none runs twice
            self.execute(sql, each).close()


@dataclass
class _Write(Generic[T]):
    work: Callable[[SqlConnection], T]
    future: asyncio.Future[T]
    then: Callable[[T], None] | None
    alone: bool = False
    """In no transaction."""
    result: list[T] = field(default_factory=list)
    error: BaseException | None = None

    def settle(self) -> None:
        """Tell whoever waits for it; on the event loop."""
        if self.error is None and self.then is not None:
            try:
                self.then(self.result[0])
            except Exception as error:
                self.error = error
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result[0])
        else:
            self.future.set_exception(self.error)


class SqliteDatabase:
    def __init__(self, path: Path, migrations: Sequence[Migration]) -> None:
        self.path = path
        self._migrations = migrations
        self._writes: queue.SimpleQueue[_Write[Any] | None] = queue.SimpleQueue()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-read")
        self._read_connection: sqlite3.Connection | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run_writer, name="store-write", daemon=True)

    @classmethod
    async def open(cls, path: Path, migrations: Sequence[Migration]) -> SqliteDatabase:
        """Open or make it, and bring it to the newest schema. Raises NotStored, NewerDatabase."""
        database = cls(path, migrations)
        await asyncio.to_thread(database._open)
        database._thread.start()
        return database

    @property
    def remains_notice(self) -> str:
        return snapshot.SNAPSHOT_REMAINS if snapshot.list_snapshots(self.path.parent) else ""

    async def scrub(self, *, whole: bool = False) -> None:
        """`secure_delete` has overwritten it; older pages stand in the write-ahead log until that
        is cut off, and cells that a page gave to its neighbour in the gap that they left."""

        def work(connection: SqlConnection) -> None:
            if whole:
                connection.execute("VACUUM").close()
            if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise sqlite3.OperationalError("another process reads it")

        await self._enqueue(_Write(work, self._loop.create_future(), None, alone=True))
        if whole:
            await asyncio.to_thread(snapshot.remove_snapshots, self.path.parent)

    async def remove_old_copies(self) -> None:
        await asyncio.to_thread(snapshot.remove_old_snapshots, self.path.parent)

    async def write(
        self, work: Callable[[SqlConnection], T], then: Callable[[T], None] | None = None
    ) -> T:
        """On the writer thread; `then` comes in the order of commits."""
        return await self._enqueue(_Write(work, self._loop.create_future(), then))

    async def read(self, work: Callable[[SqlConnection], T]) -> T:
        """On the reader thread."""
        if self._closed:
            raise NotStored
        result: T = await self._loop.run_in_executor(self._reader, self._read, work)
        return result

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._writes.put(None)
        await asyncio.to_thread(self._thread.join)
        await self._loop.run_in_executor(self._reader, self._close_reader)
        self._reader.shutdown()

    async def _enqueue(self, job: _Write[T]) -> T:
        if self._closed:
            raise NotStored
        self._writes.put(job)
        return await job.future

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.create_function("ponte_lock", 1, lambda _: 0)
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        return connection

    def _open(self) -> None:
        try:
            self._connection = self._connect()
            try:
                self._prepare(self._connection)
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: sqlite3.Error) -> NotStored:
        return NotStored("{path} cannot be used: {why}.", path=self.path, why=error)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={SYNCHRONOUS_MODE}")
        connection.execute("PRAGMA foreign_keys=ON")
        # What is erased is overwritten; only some builds of SQLite do so by themselves.
        connection.execute("PRAGMA secure_delete=ON")
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > len(self._migrations):
            raise NewerDatabase(path=self.path, found=found, known=len(self._migrations))
        _add_late_parts(connection, self._migrations[:found])
        for step in migration_steps(found, self._migrations):
            connection.executescript(
                f"BEGIN IMMEDIATE; {step.script}; {step.moves};"
                f" PRAGMA user_version={step.version}; COMMIT;"
            )
        # What a killed process erased stands in its log until then.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def _run_writer(self) -> None:
        while (batch := self._next_batch()) is not None:
            if together := [job for job in batch if not job.alone]:
                self._commit(together)
            for job in batch:
                if job.alone:
                    self._run_outside_transaction(job)
            self._loop.call_soon_threadsafe(_settle_all, batch)
        self._connection.close()

    def _next_batch(self) -> list[_Write[Any]] | None:
        first = self._writes.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < MAX_WRITES_PER_COMMIT and not self._writes.empty():
            job = self._writes.get()
            if job is None:
                self._writes.put(None)
                break
            batch.append(job)
        return batch

    def _commit(self, batch: list[_Write[Any]]) -> None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                self._run_in_savepoint(connection, job)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            log.error("commit refused", why=str(error), writes=len(batch))
            with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                connection.execute("ROLLBACK")
            with suppress(sqlite3.Error):  # a full disk: give back what the log holds
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            for job in batch:
                job.error = job.error or NotStored()

    def _run_outside_transaction(self, job: _Write[Any]) -> None:
        try:
            job.result.append(job.work(SqliteStatements(self._connection)))
        except sqlite3.Error as error:
            job.error = self._unusable(error)

    def _run_in_savepoint(self, connection: sqlite3.Connection, job: _Write[Any]) -> None:
        connection.execute("SAVEPOINT job")
        try:
            job.result.append(job.work(SqliteStatements(connection)))
        except BaseException as error:  # goes to whoever awaits the job
            if isinstance(error, sqlite3.Error) and not _is_statement_fault(error):
                raise  # the disk's: the whole group fails
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
            job.error = Unstorable() if _is_unstorable(error) else error
            job.error.__cause__ = error if job.error is not error else None
        else:
            connection.execute("RELEASE job")

    def _read(self, work: Callable[[SqlConnection], T]) -> T:
        try:
            if self._read_connection is None:
                self._read_connection = self._connect()
                self._read_connection.execute("PRAGMA query_only=ON")
            return work(SqliteStatements(self._read_connection))
        except OverflowError as error:
            raise Unstorable from error
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _close_reader(self) -> None:
        if self._read_connection is not None:
            self._read_connection.close()


def inspect_file(path: Path, look: Callable[[SqlConnection], T]) -> T | None:
    """Return what `look` finds in a database that another process may have open; nothing is made or
    changed. None where there is no such file. Blocking. Raises NotStored."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as raw:
            raw.row_factory = sqlite3.Row
            return look(SqliteStatements(raw))
    except sqlite3.Error as error:
        raise NotStored("{path} cannot be used: {why}.", path=path, why=error) from error


def _add_late_parts(connection: sqlite3.Connection, done: Sequence[Migration]) -> None:
    """A file that has these migrations gets what came late to them."""
    has = {
        name
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' UNION"
            " SELECT tables.name || '.' || columns.name FROM sqlite_master AS tables"
            " JOIN pragma_table_info(tables.name) AS columns WHERE tables.type = 'table'"
        )
    }
    for step in done:
        for name, script in step.late.items():
            if name not in has:
                connection.executescript(f"BEGIN IMMEDIATE; {script}; COMMIT;")


def _settle_all(batch: list[_Write[Any]]) -> None:
    for job in batch:
        job.settle()


def _is_statement_fault(error: sqlite3.Error) -> bool:
    """Whether the statement is to blame."""
    return _primary_code(error) in STATEMENT_FAULT_CODES


def _is_unstorable(error: BaseException) -> bool:
    """Whether the values of a statement are to blame: a number beyond 64 bits, a text too long."""
    if isinstance(error, sqlite3.Error):
        return _primary_code(error) in (sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH)
    return isinstance(error, OverflowError)


def _primary_code(error: sqlite3.Error) -> int:
    """The primary result code; the module's own errors carry none."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF
