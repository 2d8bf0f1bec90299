"""Which threads have a kernel, as rows; and the marks of an earlier version, which become rows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from core.domain.errors import NotStored
from core.store import kernels
from core.store.database import SqlConnection
from core.store.kernels import KernelRows, SharedKernelRows, import_marks
from tests.contract.engines import Embedded
from tests.contract.test_inbox import says


def mark_of(thread: str) -> str:
    return hashlib.sha256(thread.encode()).hexdigest()[:32]


async def begin_thread(here: Embedded) -> str:
    receipt = await here.inbox.accept(says("x = 1"))
    turn = await here.journal.begin(receipt.seq)
    assert turn is not None
    return turn.thread


async def rows(here: Embedded) -> list[tuple[str, str]]:
    def read(connection: SqlConnection) -> list[tuple[str, str]]:
        found = connection.execute("SELECT * FROM kernels").fetchall()
        return [(row["thread"], row["process"]) for row in found]

    return await here.database.read(read)


def put_marks(home: Path, *names: str) -> Path:
    folder = home / "kernels"
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


async def test_a_thread_had_a_kernel_until_it_is_forgotten(database_engine: Embedded) -> None:
    places = KernelRows(database_engine.database)
    assert not await places.record_start("a")
    await places.record_end("a")
    assert await places.record_start("a")
    heir = await database_engine.kill()
    places = KernelRows(heir.database)
    assert await places.record_start("a")
    await places.forget("a")
    assert not await places.record_start("a")


async def test_without_a_database_nothing_is_remembered() -> None:
    places = KernelRows(None)
    assert [await places.record_start("a") for _ in range(2)] == [False, False]
    await places.forget("a")


async def test_a_database_that_fails_keeps_nothing_from_running(sqlite: Embedded) -> None:
    places = KernelRows(sqlite.database)
    await sqlite.database.close()
    assert not await places.record_start("a")
    assert await places.is_here("a")
    await places.forget("a")


async def test_marks_of_before_become_rows(sqlite: Embedded) -> None:
    await import_marks(sqlite.database, sqlite.home / "kernels")
    thread = await begin_thread(sqlite)
    folder = put_marks(sqlite.home, mark_of(thread), mark_of("forgotten since"))
    await import_marks(sqlite.database, folder)
    assert not folder.exists()
    assert await rows(sqlite) == [(thread, "")]
    assert await KernelRows(sqlite.database).record_start(thread), "so that its loss is told"


async def test_what_is_no_mark_stays(sqlite: Embedded) -> None:
    folder = put_marks(sqlite.home, "notes.txt", mark_of("a"))
    (folder / mark_of("b")[:-1]).mkdir()
    await import_marks(sqlite.database, folder)
    assert sorted(path.name for path in folder.iterdir()) == [mark_of("b")[:-1], "notes.txt"]


async def test_marks_stay_while_their_rows_are_not_there(
    sqlite: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = await begin_thread(sqlite)
    folder = put_marks(sqlite.home, mark_of(thread))
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "_known_threads", lambda _: set())
        with pytest.raises(NotStored, match="the database lacks rows of it"):
            await import_marks(sqlite.database, folder)
    assert [path.name for path in folder.iterdir()] == [mark_of(thread)]
    await import_marks(sqlite.database, folder)
    assert not folder.exists()


async def test_marks_that_cannot_be_read_or_removed_are_reported(sqlite: Embedded) -> None:
    file = sqlite.home / "not-a-folder"
    file.touch()
    with pytest.raises(NotStored, match="not-a-folder"):
        await import_marks(sqlite.database, file)
    folder = put_marks(sqlite.home)
    (folder / mark_of("a")).mkdir()
    with pytest.raises(NotStored, match=r"Cannot use .*/kernels"):
        await import_marks(sqlite.database, folder)


async def test_a_failed_look_up_ends_no_kernel(sqlite: Embedded) -> None:
    async def tell(kind: str, thread: str) -> None:
        return None

    places = SharedKernelRows(sqlite.database, "p1", tell)
    await places.record_start("a")
    assert (await places.is_here("a"), await places.is_here("b")) == (True, False)
    await sqlite.database.close()
    assert await places.is_here("b")
