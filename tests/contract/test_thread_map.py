"""The thread map: small records that outlive the process, and can be lost without harm."""

from __future__ import annotations

import asyncio
import json
import pickle
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.base.errors import NotStored
from core.domain.ports import ThreadMap
from core.domain.records import Remote, Thread
from core.journal import threads as thread_map
from core.journal.threads import FileThreadMap, SqlThreadMap
from tests.contract.engines import Embedded, Shared
from tests.contract.test_journal_threads import talk

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
async def threads(tmp_path: Path) -> AsyncIterator[FileThreadMap]:
    threads = await FileThreadMap.open(tmp_path / "threads.db")
    yield threads
    await threads.close()


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


@pytest.fixture(params=["file", "table"], ids=["file", "postgres"])
def stored_threads(request: pytest.FixtureRequest) -> ThreadMap:
    """Every thread map passes the same suite; a new one is added here."""
    if request.param == "file":
        threads: ThreadMap = request.getfixturevalue("threads")
        return threads
    engine: Shared = request.getfixturevalue("on_postgres")
    return SqlThreadMap(engine.database)


async def test_a_record_comes_back_as_it_was(stored_threads: ThreadMap) -> None:
    assert await stored_threads.get(FULL.conversation) is None
    await stored_threads.put(FULL)
    assert await stored_threads.get(FULL.conversation) == FULL
    newer = Thread(FULL.conversation, "t2")
    await stored_threads.put(newer)
    assert await stored_threads.get(FULL.conversation) == newer
    await stored_threads.put(FULL)
    await stored_threads.put(Thread("web:C1", "t3"))
    assert sorted(thread.id for thread in await stored_threads.items()) == ["t1", "t3"]
    await stored_threads.delete(FULL.conversation)
    await stored_threads.delete("web:nowhere")
    assert await stored_threads.get(FULL.conversation) is None
    assert [thread.id for thread in await stored_threads.items()] == ["t3"]


async def test_a_record_outlives_the_process_as_json(
    threads: FileThreadMap, tmp_path: Path
) -> None:
    await threads.put(FULL)
    heir = await FileThreadMap.open(tmp_path / "threads.db")
    assert await heir.get(FULL.conversation) == FULL
    await heir.close()
    with closing(sqlite3.connect(tmp_path / "threads.db")) as connection:
        key, value = connection.execute("SELECT * FROM threads").fetchone()
    assert key == FULL.conversation
    assert json.loads(value)["participants"] == list(FULL.participants)


async def test_a_power_cut_cannot_break_the_file(
    connections: list[sqlite3.Connection], tmp_path: Path
) -> None:
    threads = await FileThreadMap.open(tmp_path / "threads.db")
    await threads.put(FULL)
    assert connections[-1].execute("PRAGMA synchronous").fetchone() == (1,)
    assert connections[-1].execute("PRAGMA journal_mode").fetchone() == ("wal",)
    await threads.close()


@pytest.mark.usefixtures("connections")
async def test_a_locked_file_is_told_and_works_afterwards(
    threads: ThreadMap, tmp_path: Path
) -> None:
    await threads.put(FULL)
    lock = Lock(tmp_path / "threads.db")
    for change in (threads.put(Thread("web:C1", "t2")), threads.delete(FULL.conversation)):
        with pytest.raises(NotStored, match=r"Cannot use .*/threads\.db: database is locked"):
            await change
    assert await threads.get(FULL.conversation) == FULL
    lock.release()
    await threads.put(Thread("web:C1", "t3"))
    assert len(await threads.items()) == 2


async def test_a_change_that_does_not_answer_is_given_up(
    threads: ThreadMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await threads.put(FULL)
    lock = Lock(tmp_path / "threads.db")
    with monkeypatch.context() as patch:
        patch.setattr(thread_map, "THREAD_MAP_TIMEOUT_SECONDS", 0.02)
        with pytest.raises(NotStored, match="no answer"):
            await threads.put(Thread(FULL.conversation, "t2"))
    lock.release()
    response = await threads.get(FULL.conversation)
    assert response in (FULL, Thread(FULL.conversation, "t2"))
    assert await threads.items() == [response]


async def test_a_reader_beside_a_deletion_does_not_bring_it_back(tmp_path: Path) -> None:
    threads = await FileThreadMap.open(tmp_path / "threads.db")
    await threads.put(FULL)
    await threads.close()
    threads = await FileThreadMap.open(tmp_path / "threads.db")
    await asyncio.gather(threads.get(FULL.conversation), threads.delete(FULL.conversation))
    assert await threads.get(FULL.conversation) is None
    await threads.close()


@pytest.mark.parametrize("bad", ["no database", "a folder", "nowhere"])
async def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "threads.db"
    if bad == "no database":
        path.write_text("my diary " * 1000)
    elif bad == "a folder":
        path.mkdir()
    else:
        path = tmp_path / "nowhere" / "threads.db"
    with pytest.raises(NotStored, match=r"Cannot use .*/threads\.db: "):
        await FileThreadMap.open(path)


async def test_a_map_that_is_deleted_loses_nothing(stores: Embedded, tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    journal, threads = stores.journal, await FileThreadMap.open(path)
    turn = await talk(stores, "hello")
    await journal.forget("web:C2")
    record = Thread("web:C1", turn.thread, turn.generation, remote="conv_1", remote_upto=turn.seq)
    await threads.put(record)
    await journal.record_remote(turn.thread, Remote("conversation", "conv_1"))
    await threads.close()
    path.unlink()
    threads = await FileThreadMap.open(path)
    for thread in await journal.list_threads():
        await threads.put(thread)
    response = await threads.get("web:C1")
    assert response
    assert (response.id, response.generation) == (turn.thread, turn.generation)
    assert [entry.item.text for entry in await journal.transcript(response.id)] == [
        "hello",
        "re: hello",
    ]
    await journal.forget("web:C1")
    assert await journal.list_remotes_to_erase() == [Remote("conversation", "conv_1")]
    await threads.close()


class Evil:
    """What a pickle can do when it is loaded (CVE-2024-35515)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


async def test_a_pickle_in_the_file_is_not_loaded(tmp_path: Path) -> None:
    """sqlitedict's own decoder would run it; ours takes nothing but JSON."""
    run = tmp_path / "run"
    pickle.loads(pickle.dumps(Evil(run)))
    assert run.exists(), "it bites where pickles are loaded"
    run.unlink()
    threads = await FileThreadMap.open(tmp_path / "threads.db")
    await threads.put(FULL)
    await threads.close()
    with closing(sqlite3.connect(tmp_path / "threads.db")) as db, db:
        (table,) = [
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        db.execute(f'UPDATE "{table}" SET value = ?', (pickle.dumps(Evil(run)),))
    threads = await FileThreadMap.open(tmp_path / "threads.db")
    with pytest.raises(NotStored):
        await threads.get(FULL.conversation)
    await threads.close()
    assert not run.exists()
    assert b"T1" in (tmp_path / "threads.db").read_bytes()
