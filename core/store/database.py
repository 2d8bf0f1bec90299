"""The database interface of the stores, and its implementation for SQLite.

`SqliteDatabase` is one file with a writer thread and a reader thread, so the event loop never waits
for the disk. Writes that wait at the same time share one commit. A write is durable when its
`await` returns (WAL mode, synchronous=FULL), unless it is `repeatable`. `core/store/postgres.py`
implements the same interface for Postgres.
"""

from __future__ import annotations

import asyncio
import functools
import queue
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

import structlog

from core.base.errors import NotStored, Unstorable
from core.base.i18n import say
from core.base.json_text import make_storable
from core.domain.messages import ONE_REQUEST_PREFIX
from core.domain.records import ConversationArea, Health
from core.store import schema as snapshot
from core.store.schema import DifferentSchema, Migration, Schema
from core.store.tables import TableDeclaration

log = structlog.get_logger("store")
T = TypeVar("T")
P = ParamSpec("P")
Store = TypeVar("Store", bound="SqlStore")
REFUSING_SENTENCE = "Can't save messages ({why}). Check the data folder's disk."
SqlRow = Mapping[str, Any]
"""The alias is for type checkers, because `sqlite3.Row` has no base class that says so."""
MAX_WRITES_PER_COMMIT = 256
ROWS_PER_TRANSACTION = 500
"""Rows that one transaction of a cleanup changes, so that it holds others up only briefly."""
SYNCHRONOUS_MODE = "FULL"
"""The value of SQLite's `synchronous` pragma, which decides when SQLite waits for the disk
(sqlite.org/pragma.html#pragma_synchronous). With FULL, a commit survives a power failure. Only the
tests set another value."""
FREE_DISK_BYTES = 1 << 20
"""Bytes that a disk must take for its store to count as working."""
BUSY_TIMEOUT_MS = 5000
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
"""SQLite's primary result codes (https://sqlite.org/rescode.html) for a fault of one statement. Any
other code is a fault of the disk, the file or the machine. Then the commit is in doubt, so every
write that shares it fails."""


def area_condition(area: ConversationArea) -> tuple[str, Sequence[str | int]]:
    """Return an SQL condition that is true if the column `conversation` belongs to the area, and
    the values of its placeholders. A conversation's key begins with the names of its place
    (`Address.conversation`): it is compared with the area's place and those that are excluded from
    the area. The key of a conversation of a single request contains ONE_REQUEST_PREFIX."""
    # With a colon at both ends, `slack:T1` is no beginning of `slack:T12`. LIKE would take `_` and
    # `%` in an id for wildcards.
    clause = "substr(conversation || ':', 1, ?) = ?"
    clauses = [clause for _ in filter(None, [area.place])] + [
        f"NOT {clause}" for _ in area.excluded
    ]
    places = [f"{place}:" for place in filter(None, (area.place, *area.excluded))]
    values: list[str | int] = [v for p in places for v in (len(p), p)]
    if area.is_one_request:  # `replace` changes only a key that contains the prefix
        clauses.append("replace(conversation, ?, '') <> conversation")
        values.append(f":{ONE_REQUEST_PREFIX}")
    return " AND ".join(clauses) or "1 = 1", values


class SqlCursor(Protocol):
    """The result of a statement: its rows, one after the other, and how many rows it changed. It
    has the methods of a DB-API cursor that the stores use."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...
    def close(self) -> None: ...


class SqlConnection(Protocol):
    """A connection inside a transaction. Its SQL must work on every engine, with `?` or `:name` for
    values. Rows are read by column name."""

    lock_source: str
    """An expression for FROM that gives one row, and locks the conversation `:conversation`
    first."""
    row_lock: str
    """The end of a SELECT whose rows are locked until the transaction ends."""
    free_row_lock: str
    """The end of a SELECT that leaves out rows that another transaction has locked, and locks the
    others."""
    current_turn: str
    """A query that locks the conversation `:conversation`, and returns the row of its turn `:seq`
    in the view `current_turns`."""

    def execute(self, sql: str, parameters: Any = ..., /) -> SqlCursor: ...

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> object: ...

    def lock_key(self, key: str) -> bool:
        """Lock a conversation (or another key) until this transaction ends, so that no other
        transaction changes it.

        Return True if other transactions can write at the same time (Postgres): the caller then
        reads again what it read before the lock. Return False if only one writes (SQLite).
        """

    def read_locked_message(self, seq: int) -> SqlRow | None:
        """Return None if there is no such row."""

    def run_steps(
        self, now: str, steps: Sequence[str], values: Mapping[str, object]
    ) -> SqlRow | None:
        """Run the SQL statements `steps`, and return the row of the query `now`, None if there is
        none, with how many rows the first step changed as `changed`. A step can read that row as
        the table `now`. One that reads the table `previous` runs only if the step before it changed
        a row. A step may see the changes of those before it or not: Postgres runs all of them as
        one statement."""

    def add_to_counters(
        self, counters: Sequence[tuple[str, str]], turns: int, tokens: int, money: int
    ) -> Sequence[SqlRow]:
        """Add to counters (each a scope and a period) in the order given, and return their rows.
        Stop before the first one without a row, which the caller must insert: so all transactions
        lock the rows in one order. `money` is in billionths of a US dollar. `notices` has a bit for
        each kind of notice that was sent about the counter."""


class Database(Protocol):
    """A database that runs functions as transactions. Each function takes the connection and
    nothing else.

    The database may run a function again from its start. So the function must not change anything
    in the process.
    """

    queue_deletes: Sequence[str]

    @property
    def schema(self) -> Schema: ...

    @property
    def tables(self) -> Sequence[TableDeclaration]: ...

    async def write(
        self,
        work: Callable[[SqlConnection], T],
        then: Callable[[T], None] | None = None,
        *,
        single: bool = False,
        repeatable: bool = False,
    ) -> T:
        """`work` runs outside the event loop. The transaction is on the disk when this returns,
        unless it is `repeatable`, which saves the wait for the disk. A power failure may then undo
        this transaction, and later repeatable ones, so the next start must be able to repeat it
        without harm. A killed process undoes nothing. `single` saves the round trips of BEGIN and
        COMMIT on a shared database. `work` then runs one statement, which must do no harm if it
        runs twice: after a broken connection it is not known whether the first one took effect.
        `then` gets the result on the event loop, even if the caller was cancelled meanwhile. Raise
        NotStored if nothing can be stored or the database is closed, Unstorable if the database
        rejects the values, and whatever `work` raises."""

    async def read(self, work: Callable[[SqlConnection], T], *, single: bool = False) -> T:
        """Run `work` and return its result. It sees every write that was awaited before, and one
        consistent state of all tables. `single`: `work` runs one statement.

        Raise NotStored if the database cannot be read, and whatever `work` raises.
        """

    @property
    def remains_notice(self) -> str:
        """Return "" if it exists nowhere."""

    async def scrub(self, *, whole: bool = False) -> None:
        """Remove deleted data from the tables and the write-ahead log, as far as the engine can.

        `whole` also removes the copies from before an upgrade, and data that a page still holds
        because it was moved within the page. That takes as long as writing the whole database
        again. Raise NotStored.
        """

    async def remove_old_copies(self) -> None:
        """Remove copies that have been kept for long enough. The caller repeats this from time to
        time."""

    async def close(self) -> None:
        """Commit the writes that wait, and refuse all later ones (NotStored)."""


class SqlStore:
    """The base class of everything that stores data with SQL. Methods with `@transaction` or
    `@query` each run as one transaction of the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def _execute(self, sql: str, *values: object) -> int:
        return await self._database.write(lambda c: c.execute(sql, values).rowcount)

    async def _select(self, sql: str, *values: object) -> list[Any]:
        return await self._database.read(lambda c: select_values(c, sql, *values))


def select_values(connection: SqlConnection, sql: str, *values: object) -> list[Any]:
    return [next(iter(dict(row).values())) for row in connection.execute(sql, values).fetchall()]


def select_value(connection: SqlConnection, sql: str, *values: object) -> Any:
    return next(iter(select_values(connection, sql, *values)), None)


def transaction(
    method: Callable[Concatenate[Store, SqlConnection, P], T],
) -> Callable[Concatenate[Store, P], Coroutine[Any, Any, T]]:
    """Decorate a method that takes a connection. Callers await it without the connection, and it
    runs as `Database.write` runs its `work`."""

    @functools.wraps(method)
    async def write(store: Store, /, *args: P.args, **options: P.kwargs) -> T:
        return await store._database.write(lambda c: method(store, c, *args, **options))

    return write


def query(
    method: Callable[Concatenate[Store, SqlConnection, P], T],
) -> Callable[Concatenate[Store, P], Coroutine[Any, Any, T]]:
    """Decorate a method that takes a connection. Callers await it without the connection, and it
    runs as `Database.read` runs its `work`."""

    @functools.wraps(method)
    async def read(store: Store, /, *args: P.args, **options: P.kwargs) -> T:
        return await store._database.read(lambda c: method(store, c, *args, **options))

    return read


def in_batches(
    method: Callable[Concatenate[Store, SqlConnection, P], int],
) -> Callable[Concatenate[Store, P], Coroutine[Any, Any, int]]:
    """`method` changes at most ROWS_PER_TRANSACTION rows and returns their number. Callers await it
    without the connection. It runs in one transaction after the other until it changes nothing.
    Callers get the number of all rows."""

    @functools.wraps(method)
    async def write(store: Store, /, *args: P.args, **options: P.kwargs) -> int:
        total = 0
        while changed := await store._database.write(lambda c: method(store, c, *args, **options)):
            total += changed
        return total

    return write


async def has_rows(database: Database, table: str) -> bool:
    """Raise NotStored."""
    sql = f"SELECT 1 FROM {table} LIMIT 1"  # noqa: S608 - a name of ours
    return await database.read(lambda c: c.execute(sql).fetchone() is not None, single=True)


class SqliteStatements:
    """The interface `SqlConnection` over a connection of SQLite. It repairs texts that SQLite
    cannot encode (`make_storable`). SQLite has a single writer, so there is nothing to lock."""

    lock_source = "(SELECT 1)"
    row_lock = free_row_lock = ""
    current_turn = "SELECT * FROM current_turns WHERE seq = :seq"

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.raw = raw

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        try:
            return self.raw.execute(sql, parameters)
        except UnicodeEncodeError:  # raised before the statement ran, so it runs once
            return self.raw.execute(sql, make_storable(parameters))

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> None:
        for row in parameters:  # one by one, so that a repaired text repeats none of the others
            self.execute(sql, row).close()

    def lock_key(self, key: str) -> bool:
        return False

    def read_locked_message(self, seq: int) -> SqlRow | None:
        row: SqlRow | None = self.execute("SELECT * FROM inbox WHERE seq = ?", (seq,)).fetchone()
        return row

    def run_steps(
        self, now: str, steps: Sequence[str], values: Mapping[str, object]
    ) -> SqlRow | None:
        """Return the row of `now` as it was before the steps."""
        row, changed = self.execute(now, values).fetchone(), [1]
        for step in steps:
            if changed[-1] or " previous" not in step:
                # `rowcount` is -1 for a statement that begins with WITH.
                before = self.raw.total_changes
                source = now if "now." in step else "SELECT 1"
                sql = f"WITH now AS ({source}), previous AS (SELECT 1) {step}"
                self.execute(sql, values).close()
                changed.append(self.raw.total_changes - before)
        return {**row, "changed": sum(changed[1:2])} if row else None

    def add_to_counters(
        self, counters: Sequence[tuple[str, str]], turns: int, tokens: int, money: int
    ) -> Sequence[SqlRow]:
        sql = (
            "UPDATE counters SET turns = turns + ?, tokens = tokens + ?, money = money + ?"
            " WHERE scope = ? AND period = ? RETURNING turns, tokens, money, notices"
        )
        rows = (
            self.execute(sql, (turns, tokens, money, *counter)).fetchone() for counter in counters
        )
        return list(takewhile(bool, rows))


@dataclass
class _Write(Generic[T]):
    """A write that waits for the writer's thread: the function, the future that its caller awaits,
    and the function to call after the commit (`then`)."""

    work: Callable[[SqlConnection], T]
    future: asyncio.Future[T]
    then: Callable[[T], None] | None
    alone: bool = False
    repeatable: bool = False
    result: list[T] = field(default_factory=list)
    error: BaseException | None = None


def _rewrite_table(connection: SqlConnection, name: str) -> None:
    # Pages can hold remains of deleted rows in the gaps of rows that moved.
    connection.execute(f"CREATE TEMP TABLE copy AS SELECT * FROM {name}").close()  # noqa: S608
    connection.execute(f"DELETE FROM {name}").close()  # noqa: S608
    connection.execute(f"INSERT INTO {name} SELECT * FROM copy").close()  # noqa: S608
    connection.execute("DROP TABLE copy").close()


class SqliteDatabase:
    """A database in one SQLite file."""

    queue_deletes: Sequence[str] = ()

    def __init__(self, path: Path, schema: Schema) -> None:
        self.path = path
        self.schema = schema
        # One thread writes and one reads, so that the event loop never waits for the disk.
        self._writes: queue.SimpleQueue[_Write[Any] | None] = queue.SimpleQueue()
        """SQLite lets one connection write at a time."""
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-read")
        self._reading: SqliteStatements | None = None
        self._closed = False
        self._waits_for_disk = SYNCHRONOUS_MODE == "FULL"
        """A commit waits until the disk has it. This is the connection's present mode, which is
        changed only if a group of writes needs the other one."""
        self._refusal = ""
        self._loop = asyncio.get_running_loop()  # the writer's thread reports results to it
        self._thread = threading.Thread(target=self._run_writer, name="store-write", daemon=True)

    @classmethod
    async def open(cls, path: Path, schema: Schema) -> SqliteDatabase:
        """Raise NotStored or DifferentSchema."""
        database = cls(path, schema)
        await asyncio.to_thread(database._open)
        database._thread.start()
        return database

    @property
    def tables(self) -> Sequence[TableDeclaration]:
        return [table for table in self.schema.declarations if not table.shared]

    @property
    def remains_notice(self) -> str:
        return snapshot.SNAPSHOT_REMAINS if snapshot.list_snapshots(self.path.parent) else ""

    async def health(self) -> Health:
        """After a commit that failed (`_refusal`), try another one, whose success clears
        `_refusal`: without messages to store, nothing else would show that the disk works again.
        NotStored has no cause of its own, so `_refusal` names it."""
        try:
            await asyncio.to_thread(check_free_space, self.path.parent)
            if self._refusal:
                await self.write(_write_something)
        except (OSError, NotStored) as error:
            why = self._refusal if isinstance(error, NotStored) else error.strerror
            return Health("database", "failing", say(REFUSING_SENTENCE, why=why))
        return Health("database", "on", "SQLite")

    async def scrub(self, *, whole: bool = False) -> None:
        """Remove deleted data that `secure_delete` does not overwrite. Older versions of pages
        remain in the write-ahead log until it is truncated. Rows that moved to another page remain
        in the gap that they left; with `whole`, one table after the other is rewritten. Other
        writes come in between: VACUUM would block them while it copies the whole database."""
        for table in self.tables if whole else ():
            # Rows of a table that `names_nobody` lead to no person once other tables are erased, so
            # what is left of them does no harm.
            if not table.names_nobody:
                await self.write(functools.partial(_rewrite_table, name=table.name))

        def work(connection: SqlConnection) -> None:
            # The first column is 1 if a reader kept the log from being truncated.
            if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise sqlite3.OperationalError("another process reads it")

        await self.write(work, alone=True)  # SQLite truncates the log outside of transactions only
        if whole:
            # Copies from before an upgrade still have the data.
            await asyncio.to_thread(snapshot.remove_snapshots, self.path.parent)

    async def remove_old_copies(self) -> None:
        await asyncio.to_thread(snapshot.remove_old_snapshots, self.path.parent)

    async def write(
        self,
        work: Callable[[SqlConnection], T],
        then: Callable[[T], None] | None = None,
        *,
        single: bool = False,
        repeatable: bool = False,
        alone: bool = False,
    ) -> T:
        """Run `work` on the writer thread. `repeatable`: the commit need not wait for the disk. The
        `then` functions run in the order of the commits. `alone`: run it outside of any
        transaction, as SQLite requires for emptying the write-ahead log. `single` changes nothing
        here: only a database server saves a round trip by it."""
        if self._closed:
            raise NotStored
        job: _Write[T] = _Write(work, self._loop.create_future(), then, alone, repeatable)
        self._writes.put(job)
        return await job.future

    async def read(self, work: Callable[[SqlConnection], T], *, single: bool = False) -> T:
        """Run `work` on the reader thread, whose connection cannot write. It runs beside a commit,
        which does not stop readers (write-ahead log)."""
        if self._closed:
            raise NotStored
        result: T = await self._loop.run_in_executor(self._reader, self._read, work)
        return result

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._writes.put(None)  # ends the writer's thread after the writes before it
        await asyncio.to_thread(self._thread.join)
        await self._loop.run_in_executor(self._reader, self._close_reader)
        self._reader.shutdown()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        return connection

    def _open(self) -> None:
        """Open the connection on which the writer's thread will work, and migrate the file. Raise
        NotStored or DifferentSchema if the file cannot be used."""
        try:
            self._connection = self._connect()
            try:
                self._configure_and_migrate(self._connection)
                self._writing = SqliteStatements(self._connection)
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: sqlite3.Error) -> NotStored:
        return NotStored("Can't use {path}: {why}.", path=self.path, why=error)

    def _configure_and_migrate(self, connection: sqlite3.Connection) -> None:
        """A file with a schema of another program, or of a newer Ponte, is left as it is: then
        `_find_pending` raises."""
        schema = self.schema
        is_new, pending = _find_pending(connection, schema, self.path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={SYNCHRONOUS_MODE}")
        # For macOS, where fsync(2) leaves data in the disk's cache.
        connection.execute("PRAGMA fullfsync=ON")
        connection.execute("PRAGMA foreign_keys=ON")
        # Overwrite deleted data. Only some builds of SQLite do so by default.
        connection.execute("PRAGMA secure_delete=ON")
        if is_new or pending:
            script = ";".join([schema.script] if is_new else [step.script for step in pending])
            connection.executescript(
                f"BEGIN IMMEDIATE; {script}; {schema.store_version_script}; COMMIT;"
            )
        # Data that a killed process deleted may still be in the write-ahead log: empty it.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def _run_writer(self) -> None:
        """Commit queued writes in groups until the database is closed. This is the writer
        thread. The callers of a group are answered on the event loop after the commit. Writes that
        must run outside of any transaction (`alone`) come after the others of their group."""
        while (batch := self._next_batch()) is not None:
            if together := [job for job in batch if not job.alone]:
                self._commit(together)
            for job in batch:
                if job.alone:
                    try:
                        job.result.append(job.work(self._writing))
                    except sqlite3.Error as error:
                        job.error = self._unusable(error)  # NotStored, with the reason
                    except Exception as error:  # it must not end the thread: all writes would wait
                        job.error = error
            self._loop.call_soon_threadsafe(_settle_all, batch)
        self._connection.close()

    def _next_batch(self) -> list[_Write[Any]] | None:
        """Wait for a write and return it with those that have queued up behind it, which one commit
        makes durable. Return None at the end: then the queue has None."""
        first = self._writes.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < MAX_WRITES_PER_COMMIT and not self._writes.empty():
            job = self._writes.get()
            if job is None:
                # Commit this batch first. The next call then returns None.
                self._writes.put(None)
                break
            batch.append(job)
        return batch

    def _commit(self, batch: list[_Write[Any]]) -> None:
        """Run a group of writes in one transaction. If the disk or the file fails, nothing of the
        group is stored and every caller gets an error. `_refusal` is the reason of the last failed
        commit."""
        connection = self._connection
        try:
            # A `repeatable` write may be lost in a power failure: the next start does it again.
            # With NORMAL, the commit survives a killed process. The next FULL one syncs the whole
            # write-ahead log, so no later commit survives a power failure without this one.
            waits = SYNCHRONOUS_MODE == "FULL" and not all(job.repeatable for job in batch)
            if waits != self._waits_for_disk:
                mode = "FULL" if waits else "NORMAL"
                connection.execute(f"PRAGMA synchronous={mode}").close()
                self._waits_for_disk = waits
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                self._run_in_savepoint(connection, job)
            connection.execute("COMMIT")
            if self._refusal:
                self._refusal = ""
                log.info("the database can be written again")
        except sqlite3.Error as error:
            self._refusal = str(error)
            log.error("could not commit to the database", error=str(error), writes=len(batch))
            with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                connection.execute("ROLLBACK")
            with suppress(sqlite3.Error):  # on a full disk, free the log's space
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            for job in batch:
                job.error = job.error or NotStored()

    def _run_in_savepoint(self, connection: sqlite3.Connection, job: _Write[Any]) -> None:
        """Raise sqlite3.Error if the disk or the file fails."""
        connection.execute("SAVEPOINT job")
        # `_writing` is this connection as stores use it.
        try:
            job.result.append(job.work(self._writing))
        except BaseException as error:  # raised where the caller awaits this write
            if (
                isinstance(error, sqlite3.Error)
                and _primary_code(error) not in STATEMENT_FAULT_CODES
            ):
                raise  # a fault of the disk: the whole group fails
            connection.execute("ROLLBACK TO job")  # undoes the write, but keeps the savepoint
            connection.execute("RELEASE job")
            # Values that SQLite cannot store, such as a number beyond 64 bits, are Unstorable.
            # An error that the caller gets as it is must not become its own cause.
            job.error = Unstorable() if _is_unstorable(error) else error
            job.error.__cause__ = error if job.error is not error else None
        else:
            connection.execute("RELEASE job")

    def _read(self, work: Callable[[SqlConnection], T]) -> T:
        """Run `work` on the connection that only reads, which is opened with the first read. All
        its statements see one state of the tables."""
        try:
            if self._reading is None:
                connection = self._connect()
                connection.execute("PRAGMA query_only=ON")
                self._reading = SqliteStatements(connection)
            # Without a transaction each statement of `work` would see its own state of the tables.
            self._reading.raw.execute("BEGIN")
            try:
                return work(self._reading)
            finally:
                self._reading.raw.rollback()
        except OverflowError as error:  # a value of a statement is a number beyond 64 bits
            raise Unstorable from error
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _close_reader(self) -> None:
        if self._reading is not None:
            self._reading.raw.close()


def check_free_space(folder: Path) -> None:
    """Raise OSError if the disk is full or cannot be written. To find out, write FREE_DISK_BYTES to
    a temporary file, which has no name and is gone at once."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(FREE_DISK_BYTES))
        file.flush()


def _write_something(connection: SqlConnection) -> None:
    number = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.execute(f"PRAGMA user_version = {1 - number}").close()


def check_schema(path: Path, schema: Schema) -> None:
    """A missing file is fine."""
    inspect_file(path, lambda connection: _find_pending(connection.raw, schema, path))


def _find_pending(
    connection: sqlite3.Connection, schema: Schema, path: Path
) -> tuple[bool, Sequence[Migration]]:
    """Raise DifferentSchema if another version of Ponte, or another program, wrote it."""
    is_new = not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    database_version = snapshot.read_schema_version(connection)
    pending = () if is_new else schema.find_pending(*database_version)
    if pending is None:  # no known version
        raise DifferentSchema(path=path)
    return is_new, pending


def inspect_file(path: Path, look: Callable[[SqliteStatements], T]) -> T | None:
    """Return None if there is no such file. It is opened read-only, another process may have it
    open, and it is not created. Blocks the calling thread. Raise NotStored."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as raw:
            raw.row_factory = sqlite3.Row
            return look(SqliteStatements(raw))
    except sqlite3.Error as error:
        raise NotStored("Can't use {path}: {why}.", path=path, why=error) from error


def _settle_all(batch: list[_Write[Any]]) -> None:
    """The list `result` holds one value after a success, even None, and is empty before. If a
    `then` fails, its caller gets that error although the write is committed: what should follow did
    not happen. This runs on the event loop."""
    # Writes with a `then` come first, because a platform waits for the acknowledgement of theirs.
    for job in sorted(batch, key=lambda job: job.then is None):
        if job.error is None and job.then is not None:
            try:
                job.then(job.result[0])
            except Exception as error:
                job.error = error
        if job.future.done():  # the caller was cancelled
            continue
        if job.error is None:
            job.future.set_result(job.result[0])
        else:
            job.future.set_exception(job.error)


def _is_unstorable(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        return _primary_code(error) in (sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH)
    return isinstance(error, OverflowError)


def _primary_code(error: sqlite3.Error) -> int:
    # Errors of Python's own module carry none and count as SQLITE_ERROR.
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF
