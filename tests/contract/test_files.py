"""Files: bytes that are there wholly or not at all, and can be swept and found."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.errors import NotFound, NotStored
from core.messages import File, Person
from core.store.files import FolderFiles
from tests.contract.engines import Embedded
from tests.contract.test_inbox import says

ANA = Person("web", "ana")
PLOT = b"\x89PNG plot"


@dataclass
class Drawer:
    """The files of an engine, and the folder that they lie in."""

    engine: Embedded

    @property
    def folder(self) -> Path:
        return self.engine.home / "files"

    @property
    def files(self) -> FolderFiles:
        return FolderFiles(self.folder, self.engine.database)

    async def put(self, data: bytes = PLOT, event: str = "e1", name: str = "plot.png") -> File:
        return await self.files.put(event, name, "image/png", data, ANA, "web:C1")

    def on_disk(self) -> list[bytes]:
        return [path.read_bytes() for path in self.folder.rglob("*") if path.is_file()]

    def one(self) -> Path:
        (path,) = (path for path in self.folder.rglob("*") if path.is_file())
        return path


@pytest.fixture
def drawer(embedded: Embedded) -> Drawer:
    return Drawer(embedded)


async def test_a_file_comes_back_as_it_was(drawer: Drawer) -> None:
    file = await drawer.put()
    assert file == File(file.id, "plot.png", "image/png", len(PLOT))
    assert await drawer.files.get(file.id) == (file, PLOT)
    assert await drawer.files.conversation_of(file.id) == "web:C1"
    assert await drawer.files.of_event("e1") == [file]


async def test_the_next_process_has_it(drawer: Drawer) -> None:
    file = await drawer.put()
    heir = Drawer(await drawer.engine.killed())
    assert await heir.files.get(file.id) == (file, PLOT)


async def test_the_same_bytes_of_one_event_are_one_file(drawer: Drawer) -> None:
    files = await asyncio.gather(*(drawer.put() for _ in range(20)))
    files.append(await drawer.put(name="another name.png"))
    assert set(files) == {files[0]}
    assert drawer.on_disk() == [PLOT]
    assert await drawer.files.of_event("e1") == [files[0]]
    other_event = await drawer.put(event="e2")
    other_bytes = await drawer.put(b"other")
    assert len({files[0].id, other_event.id, other_bytes.id}) == 3


async def test_a_deleted_file_is_gone(drawer: Drawer) -> None:
    file = await drawer.put()
    await drawer.files.delete(file.id)
    await drawer.files.delete(file.id)
    assert drawer.on_disk() == []
    for look in (drawer.files.get, drawer.files.conversation_of):
        with pytest.raises(NotFound, match="There is no file here"):
            await look(file.id)
    assert await drawer.files.of_event("e1") == []


async def test_forgetting_hands_over_what_must_go(drawer: Drawer) -> None:
    file = await drawer.put()
    await drawer.engine.inbox.accept(says("hello"))
    forgot = await drawer.engine.journal.forget("web:C1")
    assert forgot.files == (file.id,)
    with pytest.raises(NotFound):
        await drawer.files.get(file.id)
    await drawer.files.discard(file.id)
    assert drawer.on_disk() == []


async def test_bytes_that_are_missing_are_not_found(drawer: Drawer) -> None:
    file = await drawer.put()
    drawer.one().unlink()
    with pytest.raises(NotFound):
        await drawer.files.get(file.id)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("..", "file"),
        ("", "file"),
        ("a\x00b\n.png", "ab_.png"),
        ("gnp.\u202egpj.exe", "gnp.gpj.exe"),
    ],
)
async def test_a_hostile_name_leads_nowhere(drawer: Drawer, name: str, kept: str) -> None:
    file = await drawer.put(name=name)
    assert file.name == kept
    assert drawer.one().parent.parent == drawer.folder
    assert drawer.one().name == file.id


@pytest.mark.parametrize("id", ["../ponte.db", "..", "/etc/passwd", "", "ab/../../ponte.db", "%"])
async def test_a_hostile_id_leads_nowhere(drawer: Drawer, id: str) -> None:
    with pytest.raises(NotFound):
        await drawer.files.get(id)
    with pytest.raises(NotFound):
        await drawer.files.discard(id)
    assert (drawer.engine.home / "ponte.db").exists()


async def test_a_full_disk_refuses_and_leaves_nothing(
    drawer: Drawer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(NotStored, match="did not take it"):
            await drawer.put()
    assert drawer.on_disk() == []
    assert await drawer.files.of_event("e1") == []
    assert await drawer.files.get((await drawer.put()).id)


async def test_a_row_that_is_refused_leaves_bytes_to_the_sweep(drawer: Drawer) -> None:
    await drawer.engine.database.close()
    with pytest.raises(NotStored):
        await drawer.put()
    assert drawer.on_disk() == [PLOT]
    heir = Drawer(await drawer.engine.beside())
    assert await heir.files.sweep(time.time() + 60) == 1
    assert drawer.on_disk() == []


async def test_a_folder_that_refuses_is_worded(drawer: Drawer) -> None:
    file = await drawer.put()
    drawer.one().unlink()
    (drawer.folder / file.id[:2] / file.id).mkdir()
    with pytest.raises(NotStored):
        await drawer.files.discard(file.id)


async def test_a_sweep_takes_what_was_never_accepted(drawer: Drawer) -> None:
    accepted = says("look")
    await drawer.engine.inbox.accept(accepted)
    kept = await drawer.put(event=accepted.event_key)
    await drawer.put(b"orphan", event="never accepted")
    assert await drawer.files.sweep(time.time() - 3600) == 0
    assert await drawer.files.sweep(time.time() + 3600) == 1
    assert drawer.on_disk() == [PLOT]
    assert await drawer.files.get(kept.id) == (kept, PLOT)


async def test_a_sweep_takes_bytes_without_a_row(drawer: Drawer) -> None:
    await drawer.put()
    await drawer.engine.database.write(lambda c: c.execute("DELETE FROM files").close())
    drawer.one().with_suffix(".4711.1").write_bytes(b"half")
    assert await drawer.files.sweep(time.time() - 3600) == 0
    assert await drawer.files.sweep(time.time() + 3600) == 2
    assert drawer.on_disk() == []


async def test_bytes_from_before_a_crash_are_taken_up_and_not_swept(drawer: Drawer) -> None:
    await drawer.put()
    await drawer.engine.database.write(lambda c: c.execute("DELETE FROM files").close())
    os.utime(drawer.one(), (1, 1))
    await drawer.put()
    assert drawer.one().stat().st_mtime > time.time() - 60


async def test_there_may_be_no_folder_yet(drawer: Drawer) -> None:
    assert await drawer.files.sweep(time.time()) == 0
    await drawer.files.discard("abcdef")
