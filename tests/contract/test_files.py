"""Files: bytes that are there wholly or not at all, and can be swept and found."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from core.base.errors import NotFound, NotStored
from core.domain.messages import File, Person
from core.store.files import PIECE_BYTES, SqlFiles
from tests.contract.engines import Embedded, Shared
from tests.contract.test_inbox import says

ANA = Person("web", "ana")
BYTES = "application/octet-stream"
SLIDES = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
PLOT = b"\x89PNG plot"


@dataclass
class FileStore:
    """The files of an engine, and the folder that they lie in."""

    engine: Embedded

    @property
    def folder(self) -> Path:
        return self.engine.home / "files"

    @property
    def files(self) -> SqlFiles:
        return SqlFiles(self.engine.database, self.engine.bytes())

    async def put(self, data: bytes = PLOT, event: str = "e1", name: str = "plot.png") -> File:
        return await self.files.put(event, name, "image/png", data, ANA, "web:C1")

    async def stored_bytes(self) -> list[bytes]:
        """The bytes of every file, whether its row is there or not."""
        if not isinstance(self.engine, Shared):
            return [path.read_bytes() for path in self.folder.rglob("*") if path.is_file()]
        ids = await self.engine.database.read(
            lambda c: [row["file"] for row in c.execute("SELECT DISTINCT file FROM pieces")]
        )
        return [await self.engine.bytes().get(id) for id in ids]

    def one(self) -> Path:
        (path,) = (path for path in self.folder.rglob("*") if path.is_file())
        return path


async def test_a_type_is_safe_in_headers_and_on_cards(folder: FileStore) -> None:
    for type, safe in (
        ("Text/CSV; charset=utf-8", "text/csv"), ("", BYTES), ("csv", BYTES), ("a/b/c", BYTES),
        ("text/csv\r\nX-Evil: 1", BYTES), ("text/plain, SHA-256 0123) approved", BYTES),
        ("text/\u65e5\u672c", BYTES), ("text/" + "x" * 128, BYTES), ("image/x_y", "image/x_y"),
        (SLIDES, SLIDES),
    ):  # fmt: skip
        file = await folder.files.put(f"e {type}", "a", type, b"a", ANA, "web:C1")
        assert file.type == safe, type


@pytest.fixture
def drawer(stores: Embedded) -> FileStore:
    return FileStore(stores)


@pytest.fixture
def folder(sqlite: Embedded) -> FileStore:
    return FileStore(sqlite)


async def test_a_file_comes_back_as_it_was(drawer: FileStore) -> None:
    file = await drawer.put()
    assert file == File(file.id, "plot.png", "image/png", len(PLOT))
    assert re.fullmatch(r"[0-9a-f]{32}", file.id)
    assert await drawer.files.get(file.id) == (file, PLOT)
    assert await drawer.files.conversation_of(file.id) == "web:C1"
    assert await drawer.files.list_of_events("e1") == [file]


async def test_the_same_bytes_and_name_of_one_event_are_one_file(drawer: FileStore) -> None:
    files = await asyncio.gather(*(drawer.put() for _ in range(20)))
    assert set(files) == {files[0]}
    assert await drawer.stored_bytes() == [PLOT]
    assert await drawer.files.list_of_events("e1") == [files[0]]
    other_event = await drawer.put(event="e2")
    other_bytes = await drawer.put(b"other")
    other_name = await drawer.put(name="another name.png")
    assert len({files[0].id, other_event.id, other_bytes.id, other_name.id}) == 4
    assert other_name.name == "another name.png"


async def test_a_deleted_file_is_gone(drawer: FileStore) -> None:
    file = await drawer.put()
    await drawer.files.delete(file.id)
    await drawer.files.delete(file.id)
    assert await drawer.stored_bytes() == []
    for look in (drawer.files.get, drawer.files.conversation_of):
        with pytest.raises(NotFound, match="Not found: file"):
            await look(file.id)
    assert await drawer.files.list_of_events("e1") == []


async def test_forgetting_hands_over_what_must_go(drawer: FileStore) -> None:
    file = await drawer.put()
    await drawer.engine.inbox.accept(says("hello"))
    forgot = await drawer.engine.journal.forget("web:C1")
    assert forgot.files == (file.id,)
    with pytest.raises(NotFound):
        await drawer.files.get(file.id)
    await drawer.files.discard(file.id)
    assert await drawer.stored_bytes() == []


async def test_bytes_that_are_missing_are_not_found(folder: FileStore) -> None:
    file = await folder.put()
    folder.one().unlink()
    with pytest.raises(NotFound):
        await folder.files.get(file.id)


async def test_bytes_that_a_table_lacks_are_not_found(on_postgres: Shared) -> None:
    data = on_postgres.bytes()
    with pytest.raises(NotFound):
        await data.get("0" * 32)
    with pytest.raises(NotFound):
        await data.discard("../ponte.db")


async def test_a_hostile_name_leads_nowhere(folder: FileStore) -> None:
    for name, state in {
        "../../etc/passwd": "passwd",
        "..": "file",
        "": "file",
        "a\x00b\n.png": "ab_.png",
        "gnp.\u202egpj.exe": "gnp.gpj.exe",
    }.items():
        file = await folder.put(name=name)
        assert file.name == state, name
        assert folder.one().parent.parent == folder.folder, name
        assert folder.one().name == file.id, name
        await folder.files.delete(file.id)


async def test_a_hostile_id_leads_nowhere(folder: FileStore) -> None:
    for id in ("../ponte.db", "..", "/etc/passwd", "", "ab/../../ponte.db", "%"):
        for use in (folder.files.get, folder.files.discard):
            with pytest.raises(NotFound):
                pytest.fail(f"{id} was found: {await use(id)}")
    assert (folder.engine.home / "ponte.db").exists()


async def test_a_full_disk_refuses_and_leaves_nothing(
    folder: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(NotStored, match="couldn't save your message"):
            await folder.put()
    assert await folder.stored_bytes() == []
    assert await folder.files.list_of_events("e1") == []
    assert await folder.files.get((await folder.put()).id)


async def test_bytes_and_the_folders_that_name_them_are_written_to_disk(
    folder: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is only in the system's memory is lost when the power fails."""
    synced = list[tuple[Path, int]]()

    def sync(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink()
        synced.append((path.parent if path.suffix else path, os.stat(file).st_size))

    monkeypatch.setattr(os, "fsync", sync)
    await folder.put()
    own = folder.one().parent
    assert synced[0] == (own, len(PLOT))
    assert [path for path, _ in synced[1:]] == [own, own.parent]


async def test_a_row_that_is_refused_leaves_bytes_to_the_sweep(folder: FileStore) -> None:
    await folder.engine.database.close()
    with pytest.raises(NotStored):
        await folder.put()
    assert await folder.stored_bytes() == [PLOT]
    heir = FileStore(await folder.engine.beside())
    assert await heir.files.sweep(time.time() + 60) == 1
    assert await folder.stored_bytes() == []


async def test_a_folder_that_refuses_is_worded(folder: FileStore) -> None:
    file = await folder.put()
    folder.one().unlink()
    (folder.folder / file.id[:2] / file.id).mkdir()
    with pytest.raises(NotStored):
        await folder.files.discard(file.id)


async def test_a_sweep_takes_what_was_never_accepted(drawer: FileStore) -> None:
    reply = says("look")
    await drawer.engine.inbox.accept(reply)
    state = await drawer.put(event=reply.event_key)
    await drawer.put(b"orphan", event="never accepted")
    assert await drawer.files.sweep(time.time() - 3600) == 0
    assert await drawer.files.sweep(time.time() + 3600) == 1
    assert await drawer.stored_bytes() == [PLOT]
    assert await drawer.files.get(state.id) == (state, PLOT)


async def test_bytes_from_before_a_crash_are_taken_up_and_not_swept(folder: FileStore) -> None:
    await folder.put()
    await folder.engine.database.write(lambda c: c.execute("DELETE FROM files").close())
    os.utime(folder.one(), (1, 1))
    await folder.put()
    assert folder.one().stat().st_mtime > 1


async def test_there_may_be_no_folder_yet(drawer: FileStore) -> None:
    assert await drawer.files.sweep(time.time()) == 0
    await drawer.files.discard("abcdef")


async def test_a_large_file_comes_back_whole_in_the_next_process(drawer: FileStore) -> None:
    large = bytes(range(256)) * (3 * PIECE_BYTES // 256) + b"the end"
    files = [(await drawer.put(data, event=f"e{len(data)}"), data) for data in (large, b"")]
    heir = FileStore(await drawer.engine.kill())
    for file, data in files:
        assert await heir.files.get(file.id) == (file, data)


async def test_bytes_without_a_row_are_swept(drawer: FileStore) -> None:
    await drawer.put()
    await drawer.engine.database.write(lambda c: c.execute("DELETE FROM files").close())
    assert await drawer.files.sweep(time.time() - 3600) == 0
    await drawer.put()
    await drawer.put(b"another", event="e2")
    await drawer.engine.database.write(
        lambda c: c.execute("DELETE FROM files WHERE event_key = 'e2'").close()
    )
    half = 0
    if not isinstance(drawer.engine, Shared):
        half = 1
        next(drawer.folder.iterdir()).joinpath("cd" * 16).with_suffix(".4711.1").write_bytes(b"x")
    assert await drawer.files.sweep(time.time() - 3600) == 0
    await drawer.engine.inbox.accept(replace(says("look"), event_key="e1"))
    assert await drawer.files.sweep(time.time() + 3600) == 1 + half
    assert await drawer.stored_bytes() == [PLOT]
