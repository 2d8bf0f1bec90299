"""The thread map: which thread a conversation has, and the records in the rows of the threads."""

from __future__ import annotations

import asyncio
import gzip
import json
import pickle
import re
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bot.stores import SCHEMA, Stores
from core.base.errors import NotStored
from core.domain.messages import encode_json
from core.domain.records import Remote, Thread
from core.journal import thread_map
from core.journal.thread_map import FileThreadMap, SqlThreadMap, store_record
from core.store.database import Database, SqliteDatabase, select_values
from core.store.postgres import PostgresDatabase
from core.store.schema import Schema
from tests.contract.engines import Embedded, Shared
from tests.contract.test_journal_threads import talk
from tests.contract.test_migrations import kill_at
from tests.real.postgres import Postgres
from tests.time_limits import Limits

FULL = Thread(
    "slack:T1:C1",
    "t1",
    generation=2,
    remote="conv_1",
    remote_upto=7,
    container="cntr_1",
    level="conversations",
    participants=("slack:T1:U1", "slack:T1:U2"),
    used_at=1.5,
)


@pytest.fixture
async def threads(sqlite: Embedded) -> AsyncIterator[FileThreadMap]:
    await add_thread(sqlite, FULL)
    threads = await open_map(sqlite)
    yield threads
    await threads.close()


async def open_map(engine: Embedded) -> FileThreadMap:
    return await FileThreadMap.open(engine.home / "threads.db", engine.database)


async def add_thread(engine: Embedded, thread: Thread) -> None:
    """Store the row of a thread, as the first turn of its conversation does."""
    await engine.database.write(
        lambda c: c.execute(
            "INSERT INTO threads (id, conversation, generation, started_at) VALUES (?, ?, ?, 0)",
            (thread.id, thread.conversation, thread.generation),
        ).close()
    )


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """Every connection that is made; none waits long for a lock."""
    results: list[sqlite3.Connection] = []
    connect: Any = sqlite3.connect

    def connect_and_record(*args: Any, **options: Any) -> sqlite3.Connection:
        results.append(connect(*args, **options, timeout=0.02))
        return results[-1]

    monkeypatch.setattr(sqlite3, "connect", connect_and_record)
    return results


class Lock:
    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


async def test_a_record_comes_back_as_it_was(stores: Embedded) -> None:
    shared = isinstance(stores, Shared)
    threads = SqlThreadMap(stores.database) if shared else await open_map(stores)
    journal = stores.journal
    assert await threads.get("slack:T1:C1") is None
    first = await journal.new_thread("slack:T1:C1")
    assert await threads.get("slack:T1:C1") is None
    full = replace(FULL, id=first.id, generation=first.generation)
    await threads.put(full)
    assert await threads.get("slack:T1:C1") == full
    newer = await journal.new_thread("slack:T1:C1")
    await threads.put(newer)
    assert await threads.get("slack:T1:C1") == newer
    other = await journal.new_thread("web:C1")
    await threads.put(other)
    await journal.forget("slack:T1:C1")
    assert await threads.get("slack:T1:C1") is None, "its record is gone with the thread"
    await threads.delete("slack:T1:C1")
    await threads.delete("web:nowhere")
    await threads.put(full)
    assert await threads.get("slack:T1:C1") is None, "a turn that was late brings nothing back"
    assert await threads.get("web:C1") == other
    await threads.close()


async def test_a_link_that_is_known_does_not_open_the_file_again(
    threads: FileThreadMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    await threads.link(FULL)
    monkeypatch.setattr(threads, "_map", None)  # any use of the file would fail
    with capture_logs() as logs:
        await threads.link(FULL)
        assert not logs
        await threads.link(replace(FULL, id="t2"))
    assert [entry["event"] for entry in logs] == ["could not save the thread"]
    monkeypatch.undo()
    await threads.delete(FULL.conversation)
    await threads.link(FULL)
    assert await threads.get(FULL.conversation) is None, "the record is empty, the entry is back"
    assert threads._map[FULL.conversation] == FULL.id


async def test_a_turn_begins_with_the_record_of_its_thread(stores: Embedded) -> None:
    turn = await talk(stores, "hello")
    assert turn.thread_record is None
    record = Thread("web:C1", turn.thread, turn.generation, container="c")
    await stores.database.write(lambda c: store_record(c, record))
    assert (await talk(stores, "and now?")).thread_record == record


async def test_the_map_outlives_the_process(threads: FileThreadMap, sqlite: Embedded) -> None:
    await threads.put(FULL)
    heir = await open_map(sqlite)
    assert await heir.get(FULL.conversation) == FULL
    await heir.close()
    assert read_map(sqlite.home) == {FULL.conversation: FULL.id}


def read_map(home: Path) -> dict[str, str]:
    with closing(sqlite3.connect(home / "threads.db")) as connection:
        return dict(connection.execute("SELECT key, value FROM threads").fetchall())


async def test_a_power_cut_cannot_break_the_file(
    connections: list[sqlite3.Connection], sqlite: Embedded
) -> None:
    threads = await open_map(sqlite)
    await threads.link(FULL)
    assert connections[-1].execute("PRAGMA synchronous").fetchone() == (1,)
    assert connections[-1].execute("PRAGMA journal_mode").fetchone() == ("wal",)
    await threads.close()


@pytest.mark.usefixtures("connections")
async def test_a_locked_file_costs_an_entry_and_works_afterwards(
    threads: FileThreadMap, sqlite: Embedded
) -> None:
    await threads.put(FULL)
    lock = Lock(sqlite.home / "threads.db")
    with capture_logs() as logs:
        await threads.put(Thread("web:C1", "t2"))
    (line,) = [entry["error"] for entry in logs if entry["event"] == "could not save the thread"]
    assert re.fullmatch(r"Can't use .*/threads\.db: database is locked\.", line)
    with pytest.raises(NotStored, match=r"Can't use .*/threads\.db: database is locked"):
        await threads.delete(FULL.conversation)
    assert await threads.get(FULL.conversation) == FULL
    lock.release()
    await threads.put(Thread("web:C1", "t3"))
    assert read_map(sqlite.home) == {FULL.conversation: FULL.id, "web:C1": "t3"}


async def test_a_change_that_does_not_answer_is_given_up(
    threads: FileThreadMap, sqlite: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    await threads.put(FULL)
    lock = Lock(sqlite.home / "threads.db")
    with monkeypatch.context() as patch:
        patch.setattr(thread_map, "THREAD_MAP_TIMEOUT_SECONDS", 0.02)
        with pytest.raises(NotStored, match="no answer"):
            await threads.delete(FULL.conversation)
    lock.release()
    assert await threads.get(FULL.conversation) in (FULL, None)


@pytest.mark.parametrize("bad", ["no database", "a folder", "nowhere"])
async def test_a_file_that_cannot_be_opened_is_told(
    sqlite: Embedded, tmp_path: Path, bad: str
) -> None:
    path = tmp_path / "threads.db"
    if bad == "no database":
        path.write_text("my diary " * 1000)
    elif bad == "a folder":
        path.mkdir()
    else:
        path = tmp_path / "nowhere" / "threads.db"
    with pytest.raises(NotStored, match=r"Can't use .*/threads\.db: "):
        await FileThreadMap.open(path, sqlite.database)


async def test_a_map_that_is_deleted_loses_nothing(sqlite: Embedded) -> None:
    journal, threads = sqlite.journal, await open_map(sqlite)
    turn = await talk(sqlite, "hello")
    record = Thread("web:C1", turn.thread, turn.generation, remote="conv_1", remote_upto=turn.seq)
    await threads.put(record)
    await journal.record_object_to_erase(turn.thread, Remote("conversation", "conv_1"))
    await threads.close()
    (sqlite.home / "threads.db").unlink()
    threads = await open_map(sqlite)
    assert await threads.get("web:C1") is None
    assert (await talk(sqlite, "and now?")).thread_record == record
    await threads.link(record)
    assert await threads.get("web:C1") == record
    await journal.forget("web:C1")
    assert await journal.list_remotes_to_erase() == [Remote("conversation", "conv_1")]
    await threads.close()


class Evil:
    """What a pickle can do when it is loaded (CVE-2024-35515)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


async def test_a_pickle_in_the_file_is_not_loaded(sqlite: Embedded, tmp_path: Path) -> None:
    """sqlitedict's own decoder would run it; ours takes nothing but text."""
    run = tmp_path / "run"
    pickle.loads(pickle.dumps(Evil(run)))
    assert run.exists(), "it bites where pickles are loaded"
    run.unlink()
    threads = await open_map(sqlite)
    await threads.put(FULL)
    await threads.close()
    with closing(sqlite3.connect(tmp_path / "threads.db")) as db, db:
        db.execute("UPDATE threads SET value = ?", (pickle.dumps(Evil(run)),))
    threads = await open_map(sqlite)
    assert await threads.get(FULL.conversation) is None
    await threads.close()
    assert not run.exists()


AFTER = 2
"""The number of the migration that moves the records into the rows."""
_FROZEN = json.loads(
    gzip.decompress(Path(__file__).with_name("before_thread_records.json.gz").read_bytes())
)
OLD = Schema(_FROZEN["tables"], _FROZEN["shared"], SCHEMA.migrations[:AFTER])
"""The schema before threads had their records in their rows."""
OLD_RECORDS = [FULL, Thread("web:C1", "t3", participants=("web:ana",))]


def test_the_old_schema_is_that_of_the_migration() -> None:
    assert OLD.fingerprint == SCHEMA.migrations[AFTER].fingerprint


async def fill_old(database: Database, home: Path) -> None:
    """Store the rows of threads without records."""
    for thread in OLD_RECORDS:
        await add_thread(Embedded(home, database), thread)


async def make_old_home(home: Path) -> None:
    database = await SqliteDatabase.open(home / "ponte.db", OLD)
    await fill_old(database, home)
    await database.close()
    write_old_map(home)


def write_old_map(home: Path) -> None:
    """Write `threads.db` as Ponte 0.1.0 did."""
    with closing(sqlite3.connect(home / "threads.db")) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS threads (key TEXT PRIMARY KEY, value BLOB)")
        sql = "REPLACE INTO threads (key, value) VALUES (?, ?)"
        gone = Thread("web:gone", "t9")
        for thread in (*OLD_RECORDS, gone):
            connection.execute(sql, (thread.conversation, encode_json(thread)))


async def read_records(home: Path) -> list[Thread | None]:
    stores = await Stores.open_in_home(home)
    try:
        return [await stores.threads.get(thread.conversation) for thread in OLD_RECORDS]
    finally:
        await stores.close()


@pytest.mark.slow
def test_the_records_of_an_older_ponte_move_into_the_rows_also_after_a_kill_at_any_step(
    tmp_path: Path,
) -> None:
    (tmp_path / "old").mkdir()
    asyncio.run(make_old_home(tmp_path / "old"))
    step, has_died, deaths = 0, True, 0
    while has_died:
        step += 1
        home = tmp_path / str(step)
        shutil.copytree(tmp_path / "old", home)

        def upgrade(count: Callable[[], None], home: Path = home) -> None:
            connect: Any = sqlite3.connect

            def connect_and_count(*args: Any, **options: Any) -> sqlite3.Connection:
                connection: sqlite3.Connection = connect(*args, **options)
                connection.set_trace_callback(lambda _: count())
                return connection

            sqlite3.connect = connect_and_count  # type: ignore[assignment]
            asyncio.run(read_records(home))

        has_died = kill_at(step, upgrade)
        deaths += has_died
        assert asyncio.run(read_records(home)) == OLD_RECORDS, step
        ids = {thread.conversation: thread.id for thread in OLD_RECORDS}
        assert read_map(home) == {**ids, "web:gone": "t9"}, step
    assert deaths > 20


async def test_a_record_that_a_turn_stored_since_is_not_replaced_by_the_old_one(
    tmp_path: Path, limits: Limits
) -> None:
    limits(ROWS_PER_TRANSACTION=1)
    await make_old_home(tmp_path)
    stores = await Stores.open_in_home(tmp_path)
    newer = replace(FULL, remote="conv_2")
    await stores.threads.put(newer)
    await stores.close()
    write_old_map(tmp_path)
    assert await read_records(tmp_path) == [newer, OLD_RECORDS[1]]


async def test_the_records_of_an_older_shared_database_move_into_the_rows(
    real_postgres: Postgres, tmp_path: Path
) -> None:
    url = real_postgres.url(real_postgres.database())
    database = await PostgresDatabase.open(url, OLD)
    await fill_old(database, tmp_path)
    ids = [(one.conversation, one.id) for one in OLD_RECORDS]
    records = [(one.conversation, encode_json(one)) for one in OLD_RECORDS]
    for sql, rows in (
        ("INSERT INTO conversations (conversation, thread, used_at) VALUES (?, ?, 0)", ids),
        ("INSERT INTO thread_map (conversation, record) VALUES (?, ?)", records),
    ):
        await database.write(methodcaller("executemany", sql, rows))
    await database.close()
    database = await PostgresDatabase.open(url, SCHEMA)
    threads = SqlThreadMap(database)
    assert [await threads.get(one.conversation) for one in OLD_RECORDS] == OLD_RECORDS
    sql = "SELECT prosrc FROM pg_proc WHERE proname = 'ponte_begin'"
    (source,) = await database.read(lambda c: select_values(c, sql))
    assert source.strip() in SCHEMA.shared
    await database.close()


async def test_a_thread_that_the_map_has_is_not_written_again(
    threads: FileThreadMap, sqlite: Embedded
) -> None:
    await threads.put(FULL)
    lock = Lock(sqlite.home / "threads.db")
    with capture_logs() as logs:
        await threads.put(replace(FULL, remote_upto=8))
    lock.release()
    assert logs == []
    record = await threads.get(FULL.conversation)
    assert record is not None
    assert record.remote_upto == 8


DAMAGED: dict[str, str | bytes] = {
    "web:cut": encode_json(FULL)[:40],
    "web:no id": '{"conversation": "web:no id"}',
    "web:number": '{"conversation": "web:number", "id": 7}',
    "web:list": '{"conversation": "web:list", "id": "t4", "participants": 7}',
    "web:bytes": b'{"conversation": "web:\xff',
    "web:twice": "{{}",
}


async def test_a_damaged_record_is_named_in_the_log_and_stops_no_start(tmp_path: Path) -> None:
    """The others move, and the thread of the conversation stays what it was."""
    await make_old_home(tmp_path)
    turn_of = Thread("web:cut", "t8")
    database = await SqliteDatabase.open(tmp_path / "ponte.db", OLD)
    await add_thread(Embedded(tmp_path, database), turn_of)
    await database.close()
    with closing(sqlite3.connect(tmp_path / "threads.db")) as connection, connection:
        rows = "REPLACE INTO threads (key, value) VALUES (?, CAST(? AS TEXT))"
        connection.executemany(rows, DAMAGED.items())
    with capture_logs() as logs:
        assert await read_records(tmp_path) == OLD_RECORDS
    event = "replaced a damaged record of a thread"
    lines = [entry["conversation"] for entry in logs if entry["event"] == event]
    assert sorted(lines) == sorted(DAMAGED)
    stores = await Stores.open_in_home(tmp_path)
    for conversation in DAMAGED:
        assert await stores.threads.get(conversation) is None
    await stores.threads.put(turn_of)
    assert await stores.threads.get("web:cut") == turn_of
    await stores.close()
