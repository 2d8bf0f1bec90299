"""The SQLite file: groups, threads, and what happens when the disk says no."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.base.errors import NotStored, Unstorable
from core.store.database import SqlConnection, SqliteDatabase, inspect_file
from core.store.schema import Schema
from core.store.tables import TableDeclaration, text
from tests.time_limits import Limits

NOTES_TABLE = TableDeclaration(
    name="notes",
    whose="person",
    contents="words",
    kept="for ever",
    columns=[text("text")],
    key=["text"],
    erased="by tests",
)
NOTES = Schema.of([NOTES_TABLE], [], [])
MEGABYTE = "x" * 1_000_000


@pytest.fixture
async def database(tmp_path: Path, durable_sqlite: None) -> AsyncIterator[SqliteDatabase]:
    database = await SqliteDatabase.open(tmp_path / "ponte.db", NOTES)
    yield database
    await database.close()


class Watched(sqlite3.Connection):
    """A connection that tells what it runs, and on which thread."""

    ran: list[tuple[int, str]]

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        self.ran.append((threading.get_ident(), sql))
        return super().execute(sql, parameters)

    def executescript(self, sql: str, /) -> sqlite3.Cursor:
        self.ran.append((threading.get_ident(), sql))
        return super().executescript(sql)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    connect, Watched.ran = sqlite3.connect, []

    def connect_and_record(*args: Any, **options: Any) -> sqlite3.Connection:
        Watched.ran.append((threading.get_ident(), "connect"))
        return connect(*args, **options, factory=Watched)

    monkeypatch.setattr(sqlite3, "connect", connect_and_record)
    return Watched.ran


class Held:
    """Keeps the writer busy, so that what is written meanwhile becomes one group."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._busy, self._go = threading.Event(), threading.Event()
        self._task = asyncio.create_task(database.write(self._wait))

    def _wait(self, connection: SqlConnection) -> None:
        self._busy.set()
        self._go.wait()

    @classmethod
    async def writer(cls, database: SqliteDatabase) -> Held:
        new_database = cls(database)
        await asyncio.to_thread(new_database._busy.wait)
        return new_database

    async def release(self) -> None:
        await asyncio.sleep(0)
        self._go.set()
        await self._task


def remove_all(connection: SqlConnection) -> None:
    connection.execute("DELETE FROM notes").close()


def note(text: str) -> Any:
    def work(connection: SqlConnection) -> str:
        connection.execute("INSERT INTO notes VALUES (?)", (text,))
        return text

    return work


async def notes(database: SqliteDatabase) -> list[str]:
    return await database.read(lambda c: [r["text"] for r in c.execute("SELECT text FROM notes")])


async def together(database: SqliteDatabase, *works: Any) -> list[Any]:
    """Write all in one group; the results or errors, in order."""
    new_database = await Held.writer(database)
    tasks = [asyncio.create_task(database.write(work)) for work in works]
    await new_database.release()
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_many_writes_share_a_commit(ran: list[tuple[int, str]], tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "ponte.db", NOTES)
    await together(database, *(note(f"n{n}") for n in range(200)))
    await database.close()
    assert sum(sql == "COMMIT" for _, sql in ran) == 2


async def test_nothing_of_sqlite_runs_on_the_event_loop(
    ran: list[tuple[int, str]], tmp_path: Path
) -> None:
    database = await SqliteDatabase.open(tmp_path / "ponte.db", NOTES)
    await database.write(note("one"))
    assert await notes(database) == ["one"]
    await database.close()
    assert len(ran) > 8
    assert threading.get_ident() not in {thread for thread, _ in ran}


async def test_the_writer_waits_for_the_disk_and_keeps_a_log(database: SqliteDatabase) -> None:
    """A write is in the file when it returns."""
    await database.write(note("kept"))
    with closing(sqlite3.connect(database.path)) as other:
        assert other.execute("SELECT text FROM notes").fetchall() == [("kept",)]

    def pragmas(connection: SqlConnection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await database.write(pragmas) == ["wal", 2, 1, 1]
    assert await database.write(pragmas, repeatable=True) == ["wal", 1, 1, 1]
    new_database = await Held.writer(database)
    task = asyncio.create_task(database.write(pragmas, repeatable=True))
    beside = asyncio.create_task(database.write(note("beside it")))
    await new_database.release()
    assert await task == ["wal", 2, 1, 1]
    await beside


async def test_a_write_that_raises_does_not_hurt_its_neighbours(database: SqliteDatabase) -> None:
    def half(connection: SqlConnection) -> None:
        connection.execute("INSERT INTO notes VALUES ('half')")
        raise ValueError("no")

    def wrong(connection: SqlConnection) -> None:
        connection.execute("INSERT INTO nowhere VALUES (1)")

    def raise_memory_error(connection: SqlConnection) -> None:
        raise MemoryError

    def store_too_large(connection: SqlConnection) -> None:
        connection.execute("INSERT INTO notes VALUES (?)", (2**63,))

    works = [note("a"), half, note("b"), wrong, note("c"), note("a"), raise_memory_error, note("d")]
    results = await together(database, *works, store_too_large)
    kinds = [type(result) for result in results]
    assert kinds == [
        str,
        ValueError,
        str,
        sqlite3.OperationalError,
        str,
        sqlite3.IntegrityError,
        MemoryError,
        str,
        Unstorable,
    ]
    causes = [type(error.__cause__) for error in results if isinstance(error, Exception)]
    assert causes == [type(None)] * 4 + [OverflowError]
    assert await notes(database) == ["a", "b", "c", "d"]


async def test_a_write_outside_of_transactions_that_raises_leaves_the_writer_running(
    database: SqliteDatabase,
) -> None:
    def fail(_: SqlConnection) -> None:
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        await database.write(fail, alone=True)
    assert await database.write(lambda _: 7) == 7


async def test_what_follows_a_write_runs_though_its_caller_left(database: SqliteDatabase) -> None:
    followed = asyncio.Event()
    new_database = await Held.writer(database)
    caller = asyncio.create_task(database.write(note("left"), then=lambda _: followed.set()))
    await asyncio.sleep(0)
    caller.cancel()
    await new_database.release()
    await followed.wait()
    assert caller.cancelled()
    assert await notes(database) == ["left"]


async def test_what_follows_writes_comes_in_their_order(database: SqliteDatabase) -> None:
    order: list[str] = []
    texts = [f"n{n}" for n in range(50)]
    await asyncio.gather(*(database.write(note(text), then=order.append) for text in texts))
    assert order == texts


async def test_a_fault_in_what_follows_reaches_its_caller_alone(database: SqliteDatabase) -> None:
    def raise_value_error(_: object) -> None:
        raise ValueError("then")

    new_database = await Held.writer(database)
    first = asyncio.create_task(database.write(note("a"), then=raise_value_error))
    second = asyncio.create_task(database.write(note("b")))
    await new_database.release()
    with pytest.raises(ValueError, match="then"):
        await first
    assert await second == "b"


async def test_a_full_disk_refuses_the_group_and_later_takes_it(database: SqliteDatabase) -> None:
    followed: list[object] = []

    def pages(number: int) -> Any:
        return lambda c: c.execute(f"PRAGMA max_page_count={number}").fetchone()[0]

    await database.write(note("before"))
    await database.write(pages(10))
    results = await together(database, note("beside"), note(MEGABYTE))
    assert [type(result) for result in results] == [NotStored, NotStored]
    log = database.path.with_name(f"{database.path.name}-wal")
    assert log.stat().st_size == 0, "its space is free again"
    with pytest.raises(NotStored, match="couldn't save your message"):
        await database.write(note(MEGABYTE), then=followed.append)
    assert followed == []
    assert await notes(database) == ["before"]
    await database.write(pages(10_000))
    await together(database, note("beside"), note(MEGABYTE))
    assert await notes(database) == ["before", "beside", MEGABYTE]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or os.system(f"mount -t tmpfs -o size=400k ponte '{disk}' 2>/dev/null"):
        pytest.skip("blocked: a file system can be mounted only by root")
    yield disk
    os.system(f"umount '{disk}'")


@pytest.mark.slow
async def test_a_disk_that_is_really_full(tiny_disk: Path) -> None:
    database = await SqliteDatabase.open(tiny_disk / "ponte.db", NOTES)
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(250_000))
    await database.write(note("before"))
    for _ in range(2):
        with pytest.raises(NotStored):
            await database.write(note("y" * 200_000))
    assert await notes(database) == ["before"]
    ballast.unlink()
    await database.write(note("after"))
    assert await notes(database) == ["before", "after"]
    await database.close()


async def test_a_file_held_by_another_process(tmp_path: Path, limits: Limits) -> None:
    limits(BUSY_TIMEOUT_MS=20)
    database = await SqliteDatabase.open(tmp_path / "ponte.db", NOTES)
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(NotStored):
        await database.write(note("refused"))
    other.execute("ROLLBACK")
    other.close()
    await database.write(note("taken"))
    assert await notes(database) == ["taken"]
    await database.close()


async def test_a_read_sees_one_state_of_all_tables(database: SqliteDatabase) -> None:
    """Also where another connection commits between two of its statements."""
    count = "SELECT count(*) AS n FROM notes"

    def read(connection: SqlConnection) -> tuple[int, int]:
        (before,) = connection.execute(count)
        with closing(sqlite3.connect(database.path)) as other, other:
            other.execute("INSERT INTO notes (text) VALUES ('meanwhile')")
        (after,) = connection.execute(count)
        return int(before["n"]), int(after["n"])

    assert await database.read(read) == (0, 0)


async def test_a_read_that_fails_is_worded(database: SqliteDatabase) -> None:
    with pytest.raises(NotStored, match=r"Can't use .*/ponte\.db: no such table: nowhere"):
        await database.read(lambda c: c.execute("SELECT * FROM nowhere").fetchall())
    with pytest.raises(NotStored, match="readonly"):
        await database.read(remove_all)
    with pytest.raises(Unstorable):
        await database.read(lambda c: c.execute("SELECT ?", (2**63,)).fetchall())


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """A folder that may be read but not written, also by root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(me)
    folder.rmdir()


async def test_a_folder_that_cannot_be_written_is_told(closed_folder: Path) -> None:
    with pytest.raises(NotStored, match=rf"Can't use {closed_folder}/ponte\.db: unable to"):
        await SqliteDatabase.open(closed_folder / "ponte.db", NOTES)


async def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ponte.db"
    path.write_text("my diary " * 1000)
    with pytest.raises(NotStored, match="not a database"):
        await SqliteDatabase.open(path, NOTES)
    with pytest.raises(NotStored, match=r"Can't use .*/ponte\.db: file is not a database"):
        inspect_file(path, lambda c: c.execute("SELECT * FROM notes").fetchall())
    assert path.read_text().startswith("my diary")


async def test_closing_commits_what_waits_and_takes_nothing_more(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "ponte.db", NOTES)
    new_database = await Held.writer(database)
    waiting = asyncio.create_task(database.write(note("waiting")))
    await asyncio.sleep(0)
    closing = asyncio.create_task(database.close())
    await new_database.release()
    await closing
    assert await waiting == "waiting"
    with pytest.raises(NotStored):
        await database.write(note("late"))
    with pytest.raises(NotStored):
        await notes(database)
    await database.close()


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_what_was_deleted_leaves_the_log_of_writes(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "ponte.db", NOTES)
    await database.write(note("a secret"))
    await database.write(remove_all)
    assert b"a secret" in bytes_of(tmp_path)
    await asyncio.gather(database.scrub(), database.write(note("new")))
    assert b"a secret" not in bytes_of(tmp_path)
    await database.write(note("a secret"))
    await database.write(remove_all)
    assert b"a secret" in bytes_of(tmp_path)
    heir = await SqliteDatabase.open(tmp_path / "ponte.db", NOTES)
    assert b"a secret" not in bytes_of(tmp_path), "a killed process's go with the next start"
    await heir.close()
    await database.close()


async def test_nothing_stays_in_a_gap_of_a_page(tmp_path: Path) -> None:
    """Cells that were moved to a neighbour and deleted there."""
    database = await SqliteDatabase.open(tmp_path / "ponte.db", NOTES)

    def fill(connection: SqlConnection) -> None:
        for n in range(3000):
            text = f"{'secret' if n % 3 else 'public'} {n * 7919 % 3001:05} {'x' * (n % 90)}"
            connection.execute("INSERT INTO notes VALUES (?)", (text,)).close()
            if n % 11 == 0:
                connection.execute("DELETE FROM notes WHERE text = ?", (text,)).close()

    await database.write(fill)
    await database.write(lambda c: c.execute("DELETE FROM notes WHERE text LIKE 'secret%'").close())
    await database.scrub(whole=True)
    remaining = bytes_of(tmp_path)
    assert (b"secret" in remaining, b"public" in remaining) == (False, True)
    await database.close()


def connection_of(database: SqliteDatabase) -> sqlite3.Connection:
    """Return the connection of the writer thread."""
    return database._connection


async def test_tables_are_rewritten_one_after_the_other(tmp_path: Path) -> None:
    """Lines that name nobody stay where they are, however many they are."""
    lines = replace(NOTES_TABLE, name="lines", names_nobody=True)
    schema = Schema.of([NOTES_TABLE, lines, replace(NOTES_TABLE, name="others")], [], [])
    database = await SqliteDatabase.open(tmp_path / "ponte.db", schema)
    statements: list[str] = []
    for word in ("c", "a", "b"):
        await database.write(note(word))
    connection_of(database).set_trace_callback(statements.append)
    await asyncio.gather(database.scrub(whole=True), database.write(note("meanwhile")))
    assert sorted(await notes(database)) == ["a", "b", "c", "meanwhile"]
    writes = [sql for sql in statements if sql.startswith(("DELETE", "INSERT", "COMMIT"))]
    assert not [sql for sql in writes if "lines" in sql]
    first, second = (writes.index(f"DELETE FROM {name}") for name in ("notes", "others"))
    assert "COMMIT" in writes[first:second], "one transaction for each table"
    await database.close()


async def test_what_another_process_reads_cannot_be_cut_off(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "ponte.db", NOTES)
    await database.write(note("one"))
    with closing(sqlite3.connect(tmp_path / "ponte.db")) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM notes").fetchall()
        await database.write(remove_all)
        connection_of(database).execute("PRAGMA busy_timeout=10")
        with pytest.raises(NotStored, match="another process reads it"):
            await database.scrub()
    await database.scrub()
    await database.close()


async def test_a_store_that_refuses_says_so_until_it_works_again(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if nobody writes meanwhile, and for causes other than a full disk."""
    assert (await database.health()).state == "on"
    connection_of(database).execute("PRAGMA query_only=ON")
    with pytest.raises(NotStored):
        await database.write(note("a"))
    ill = await database.health()
    assert (ill.name, ill.state) == ("database", "failing")
    assert "attempt to write a readonly database" in ill.words
    connection_of(database).execute("PRAGMA query_only=OFF")
    assert (await database.health()).state == "on"

    def refuse(**_: object) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    full = await database.health()
    assert (full.state, "No space left on device" in full.words) == ("failing", True)
    monkeypatch.undo()
    assert (await database.health()).state == "on"
