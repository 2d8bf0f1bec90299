"""`ponte backup` and `ponte restore`, on a home that holds turns and changes in every state."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import sqlite3
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import pytest

from bot.features.backup import backup as work
from bot.features.backup.backup import (
    BACKUP_NAMES,
    FORMAT_VERSION,
    MANIFEST_NAME,
    ArchiveMember,
    Manifest,
    check,
    write_archive,
)
from bot.home import Home
from bot.stores import SCHEMA
from core.base.errors import RESTORED_REASON
from core.domain.messages import decode_json, encode_json
from core.store import schema as snapshot
from tests.bot.conftest import Shell
from tests.fakes.schedules import add_schedule

OPEN = "('new', 'running', 'answered', 'posting')"
EXCLUDED_NAMES = re.compile(
    r"ponte\.(lock|sock|db-(wal|shm))|sample\.db-journal|threads\.db.*|(python|snapshots)/.*"
)
"""The names in a home that a backup doesn't contain. Locks and sockets belong to the process, and
the WAL is part of the copied database. The thread map can be lost. The sandbox's Python and the
snapshots are made by other means."""


CHANGED = ("ponte.db",)
"""The files that differ once they are restored."""


def rows(home: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(home / "ponte.db")) as connection:
        return [row[0] for row in connection.execute(statement)]


def names(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


def read_backup(path: Path) -> tuple[Manifest, dict[str, bytes]]:
    with tarfile.open(path) as tar:
        files = {
            entry.name: file.read() for entry in tar if (file := tar.extractfile(entry)) is not None
        }
    return decode_json(Manifest, files.pop(MANIFEST_NAME)), files


def test_a_home_comes_back_as_it_was(ponte_with_home: Shell, tmp_path: Path) -> None:
    path, other = tmp_path / "kept.tar.gz", tmp_path / "other"
    before = {
        name: (ponte_with_home.home / name).read_bytes() for name in names(ponte_with_home.home)
    }
    unknown = [
        name
        for name in before
        if not BACKUP_NAMES.fullmatch(name) and not EXCLUDED_NAMES.fullmatch(name)
    ]
    assert unknown == [], "a new file of the home is in the backup, or is said not to be"
    assert ponte_with_home("backup", str(path)).code == 0
    assert f"The backup was verified: {path}." in ponte_with_home.err
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(ponte_with_home.home) - {"ponte.lock"} == {*before}, "nothing is left in the home"
    manifest, files = read_backup(path)
    assert (manifest.schema, manifest.is_ponte_stopped, manifest.lost_files) == (
        SCHEMA.version,
        True,
        (),
    )
    assert {*files} == {name for name in before if BACKUP_NAMES.fullmatch(name)}

    shutil.move(ponte_with_home.home, other)
    assert ponte_with_home("restore", str(path)).code == 0, ponte_with_home.err
    for name, data in before.items():
        if BACKUP_NAMES.fullmatch(name) and name not in CHANGED:
            assert (ponte_with_home.home / name).read_bytes() == data, name
    assert '"event": "backup-restored"' in ponte_with_home("audit", "--json").out
    modes = {
        path.stat().st_mode & 0o777 for path in ponte_with_home.home.rglob("*") if path.is_file()
    }
    assert modes == {0o600}
    assert not (ponte_with_home.home / "ponte.db-wal").exists(), "its database was closed"
    assert {
        path.stat().st_mode & 0o777 for path in ponte_with_home.home.rglob("*") if path.is_dir()
    } == {0o700}
    for table in ("items", "files", "usage", "conversations", "posts"):
        count = f"SELECT count(*) FROM {table}"
        assert rows(ponte_with_home.home, count) == rows(other, count), table
    assert rows(ponte_with_home.home, "SELECT version FROM database_schema") == [SCHEMA.version]
    records = "SELECT id FROM threads WHERE record <> ''"
    assert rows(other, records)
    assert rows(ponte_with_home.home, records) == [], "the model's server has changed since"


def test_what_was_under_way_is_closed_and_told_with_the_next_message(
    ponte_with_home: Shell, tmp_path: Path
) -> None:
    path = str(tmp_path / "kept.tar.gz")
    under_way = rows(
        ponte_with_home.home, f"SELECT seq FROM inbox WHERE state IN {OPEN} ORDER BY seq"
    )
    proposal = rows(ponte_with_home.home, "SELECT id FROM changes WHERE state = 'open'")
    posts = rows(ponte_with_home.home, "SELECT count(*) FROM posts")
    database = sqlite3.connect(ponte_with_home.home / "ponte.db")
    with closing(database) as connection, connection:  # a person changed its values
        connection.execute("UPDATE changes SET revision = 2 WHERE id = ?", (proposal[0],))
    assert len(under_way) > 5
    assert len(proposal) > 5
    ponte_with_home("backup", path)
    assert ponte_with_home("restore", "--replace", path).code == 0, ponte_with_home.err
    assert f"Messages without an answer: {len(under_way)}." in ponte_with_home.out
    assert f"Undecided requests: {len(proposal)}." in ponte_with_home.out
    home = ponte_with_home.home
    assert rows(home, f"SELECT seq FROM inbox WHERE state IN {OPEN}") == []
    closed_turns = rows(
        home, f"SELECT seq FROM inbox WHERE reason = '{RESTORED_REASON}' ORDER BY seq"
    )
    assert closed_turns == under_way
    text = f"SELECT count(*) FROM inbox WHERE reason = '{RESTORED_REASON}' AND is_notified = 0"
    assert rows(home, text) == rows(
        home, f"SELECT count(DISTINCT conversation) FROM inbox WHERE reason = '{RESTORED_REASON}'"
    )
    assert rows(
        home, f"SELECT DISTINCT state FROM changes WHERE id IN ({', '.join(map(repr, proposal))})"
    ) == ["withdrawn"]
    assert (
        rows(home, "SELECT id FROM changes WHERE state = 'withdrawn' AND drawn_version < version")
        == []
    )
    applying = "SELECT DISTINCT steps.state FROM steps JOIN changes ON change = id"
    assert set(rows(home, f"{applying} WHERE changes.state = 'applying'")) <= {"done", "unknown"}
    assert rows(home, "SELECT count(*) FROM outbox WHERE state IN ('new', 'posting')") == [0]
    assert rows(home, "SELECT count(*) FROM posts") == posts, "none is made"
    assert not any('"token": "' in message for message in rows(home, "SELECT message FROM inbox"))


def test_what_was_under_way_goes_on_where_nothing_ran_since(
    ponte_with_home: Shell, tmp_path: Path
) -> None:
    path = str(tmp_path / "kept.tar.gz")
    states = "SELECT state FROM inbox ORDER BY seq"
    before = rows(ponte_with_home.home, states)
    ponte_with_home("backup", path)
    assert ponte_with_home("restore", "--replace", "--resume", path).code == 0, ponte_with_home.err
    assert "closed" not in ponte_with_home.out
    assert rows(ponte_with_home.home, states) == before
    with Home(ponte_with_home.home).take():
        assert ponte_with_home("backup", path).code == 0, "also while it runs"
    assert ponte_with_home("restore", "--replace", "--resume", path).code == 1
    assert "was made while Ponte was running" in ponte_with_home.err


def test_discord_is_not_asked_for_what_was_said_meanwhile(
    ponte_with_home: Shell, tmp_path: Path
) -> None:
    path = str(tmp_path / "kept.tar.gz")
    select = "SELECT data FROM remembered WHERE name = 'discord'"
    before = json.loads(*rows(ponte_with_home.home, select))
    assert before["channels"]
    ponte_with_home("backup", path)
    ponte_with_home("restore", "--replace", path)
    after = json.loads(*rows(ponte_with_home.home, select))
    assert all(
        one["last_message"] > before["channels"][id]["last_message"]
        for id, one in after["channels"].items()
    )
    assert {**after, "channels": 0} == {**before, "channels": 0}


def test_a_home_that_keeps_something_is_laid_aside_and_not_lost(
    ponte_with_home: Shell, tmp_path: Path
) -> None:
    path = str(tmp_path / "kept.tar.gz")
    ponte_with_home("backup", path)
    (ponte_with_home.home / "web-token").write_text("another one than that of the backup\n")
    before = {
        name: (ponte_with_home.home / name).read_bytes() for name in names(ponte_with_home.home)
    }
    assert ponte_with_home("restore", path).code == 1
    assert ponte_with_home.err.endswith(
        "already has data. To replace it with the backup, add `--replace`. The current data is "
        "moved aside, not deleted.\n"
    )
    assert {
        name: (ponte_with_home.home / name).read_bytes() for name in names(ponte_with_home.home)
    } == before
    assert ponte_with_home("restore", "--replace", path).code == 0
    (aside,) = ponte_with_home.home.glob("replaced-*")
    assert f"The previous data folder is in {aside}." in ponte_with_home.out
    assert aside.stat().st_mode & 0o777 == 0o700
    del before["ponte.lock"]
    assert {name: (aside / name).read_bytes() for name in names(aside)} == before
    assert ponte_with_home("backup", path).code == 0, "and is in no backup"
    assert not any(name.startswith("replaced") for name in read_backup(Path(path))[1])


def test_two_restores_within_a_second_move_data_into_two_folders(
    ponte_with_home: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedClock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> StoppedClock:
            return cls(2026, 11, 29, 12, tzinfo=tz)

    monkeypatch.setattr(work, "datetime", StoppedClock)
    path, token = str(tmp_path / "kept.tar.gz"), ponte_with_home.home / "web-token"
    ponte_with_home("backup", path)
    for words in ("first", "second", "third"):
        token.write_text(words)
        assert ponte_with_home("restore", "--replace", path).code == 0
        aside = Path(ponte_with_home.out.partition("folder is in ")[2].partition(". Delete")[0])
        assert (aside / "web-token").read_text() == words
    kept = ponte_with_home.home.glob("replaced-20261129T120000Z*/web-token")
    assert {each.read_text() for each in kept} == {"first", "second", "third"}


def test_never_while_ponte_runs_on_it(ponte_with_home: Shell, tmp_path: Path) -> None:
    path = str(tmp_path / "kept.tar.gz")
    ponte_with_home("backup", path)
    with Home(ponte_with_home.home).take():
        assert ponte_with_home("restore", "--replace", path).code == 1
    assert ponte_with_home.err.startswith(
        f"Another Ponte (process {os.getpid()}) is using {ponte_with_home.home}."
    )


def rewritten(path: Path, change: Callable[[Manifest, list[tuple[Any, bytes]]], Manifest]) -> None:
    """The same archive, after `change` of what it tells and of its members."""
    manifest, files = read_backup(path)
    entries = []
    for name, data in files.items():
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        entries.append((entry, data))
    text = encode_json(change(manifest, entries)).encode()
    first = tarfile.TarInfo(MANIFEST_NAME)
    first.size = len(text)
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for entry, data in [(first, text), *entries]:
            tar.addfile(entry, io.BytesIO(data))


def _add_member(name: str) -> Callable[[Manifest, list[tuple[Any, bytes]]], Manifest]:
    """With one more member, of which the manifest knows."""

    def change(manifest: Manifest, entries: list[tuple[Any, bytes]]) -> Manifest:
        more = tarfile.TarInfo(name)
        more.size = 4
        entries.append((more, b"evil"))
        digest = "0b7c52d8ea1eaa8dd9d4f9b04d60d4a1d51cf2a29b9b6f6ee1d1cf6a7c8f1a2b"
        return replace(manifest, members={**manifest.members, name: ArchiveMember(4, digest)})

    return change


def _kind(type: bytes) -> Callable[[Manifest, list[tuple[Any, bytes]]], Manifest]:
    """The page's token is no plain file."""

    def change(manifest: Manifest, entries: list[tuple[Any, bytes]]) -> Manifest:
        for number, (entry, _) in enumerate(entries):
            if entry.name == "pseudonyms.key":
                entry.type, entry.linkname, entry.size = type, "/etc/passwd", 0
                entries[number] = (entry, b"")
        return manifest

    return change


def _other(manifest: Manifest, entries: list[tuple[Any, bytes]]) -> Manifest:
    for number, (entry, data) in enumerate(entries):
        if entry.name == "pseudonyms.key":
            entries[number] = (entry, b"x" * len(data))
    return manifest


def _without(manifest: Manifest, entries: list[tuple[Any, bytes]]) -> Manifest:
    entries[:] = [one for one in entries if one[0].name != "ponte.db"]
    return manifest


def _twice(manifest: Manifest, entries: list[tuple[Any, bytes]]) -> Manifest:
    entries.append(entries[0])
    return manifest


def _no_database(manifest: Manifest, entries: list[tuple[Any, bytes]]) -> Manifest:
    """`ponte.db` is no database, and the manifest says so."""
    data = b"no database at all" * 100
    for number, (entry, _) in enumerate(entries):
        if entry.name == "ponte.db":
            entry.size = len(data)
            entries[number] = (entry, data)
    member = ArchiveMember(len(data), hashlib.sha256(data).hexdigest())
    return replace(manifest, members={**manifest.members, "ponte.db": member})


def _empty_database(manifest: Manifest, entries: list[tuple[Any, bytes]]) -> Manifest:
    rest = {name: one for name, one in manifest.rows.items() if name != "inbox"}
    return replace(manifest, rows={**rest, "inbox": 0})


HOSTILE = [
    *((_add_member(name), "which doesn't belong in a backup") for name in (
        "../evil", "/tmp/evil", "files/../../evil", "ponte.lock", "ponte.sock", "threads.db",
        "python/bin/python", "files/aa/../../ponte.lock", "audit.log/x", "evil",
    )),
    *((_kind(kind), "doesn't match its checksum") for kind in (
        tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE,
    )),
    (_other, "doesn't match its checksum"),
    (_without, "ponte.db is missing"),
    (_twice, "which doesn't belong in a backup"),
    (_empty_database, "its parts come from different backups"),
    (_no_database, "file is not a database"),
]  # fmt: skip


def test_a_hostile_or_damaged_archive_changes_nothing(ponte: Shell, archive: Path) -> None:
    whole = archive.read_bytes()
    for number, (change, why) in enumerate(HOSTILE):
        archive.write_bytes(whole)
        rewritten(archive, change)
        outside = {path for path in archive.parent.rglob("*") if ponte.home not in path.parents}
        assert ponte("restore", str(archive)).code == 1, (number, why)
        assert ponte.err.startswith(f"{archive} is damaged or isn't a Ponte backup: "), number
        assert why in ponte.err, number
        assert names(ponte.home) == {"ponte.lock"}, (number, why)
        assert {p for p in archive.parent.rglob("*") if ponte.home not in p.parents} <= {
            *outside,
            ponte.home,
        }


def _extended_header(size: int) -> bytes:
    entry = tarfile.TarInfo("././@PaxHeader")
    entry.type, entry.size = tarfile.XHDTYPE, size
    return entry.tobuf(tarfile.GNU_FORMAT) + bytes(size)


def _sparse_parts(size: int) -> bytes:
    """A file whose list of parts has `size` bytes."""
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": MANIFEST_NAME}
    entry = tarfile.TarInfo(MANIFEST_NAME)
    entry.size, entry.pax_headers = size, headers
    return entry.tobuf(tarfile.PAX_FORMAT) + f"{size}\n".encode() + b"0\n" * (size // 2)


def _deep_manifest() -> bytes:
    entry = tarfile.TarInfo(MANIFEST_NAME)
    entry.size = 512 * 400
    return entry.tobuf(tarfile.GNU_FORMAT) + b"[" * entry.size


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: _extended_header(32 << 20), id="one header of 32 MiB"),
        pytest.param(lambda: _extended_header(0) * 5_000, id="many headers"),
        pytest.param(lambda: _sparse_parts(32 << 20), id="a sparse file of many parts"),
        pytest.param(_deep_manifest, id="a manifest that is nested deeply"),
    ],
)
def test_headers_that_fill_the_memory_are_not_read(
    ponte: Shell, tmp_path: Path, content: Callable[[], bytes]
) -> None:
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(content(), 1))
    tracemalloc.start()
    try:
        assert ponte("restore", str(path)).code == 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ponte.err.startswith(f"{path} is damaged or isn't a Ponte backup: ")
    assert peak < 24 << 20


def test_a_truncated_archive_changes_nothing(ponte: Shell, archive: Path) -> None:
    whole = archive.read_bytes()
    for length in (0, 1, 20, 500, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        archive.write_bytes(whole[:length])
        assert ponte("restore", str(archive)).code == 1, length
        assert "is damaged or isn't a Ponte backup" in ponte.err
        assert names(ponte.home) == {"ponte.lock"}
    flipped = bytearray(whole)
    flipped[-5] ^= 1
    archive.write_bytes(flipped)
    assert ponte("restore", str(archive)).code == 1, "its checksum"
    archive.write_bytes(b"no archive at all" * 100)
    assert ponte("restore", str(archive)).code == 1
    assert ponte("restore", str(archive.with_name("none"))).code == 1
    assert ponte.err.startswith("Can't read the file ")


COMPLETE_MANIFEST = encode_json(Manifest(FORMAT_VERSION, "0", 1, "", "", True, {}, {})).encode()


def test_an_archive_without_a_list_of_contents_changes_nothing(
    ponte: Shell, tmp_path: Path
) -> None:
    path = tmp_path / "other.tar.gz"
    for name, contents in (
        ("ponte.db", COMPLETE_MANIFEST),
        (MANIFEST_NAME, b"{}"),
        (MANIFEST_NAME, b"not JSON"),
        (MANIFEST_NAME, b"[]"),
        (MANIFEST_NAME, b'{"format": %d}' % FORMAT_VERSION),
    ):
        entry = tarfile.TarInfo(name)
        entry.size = len(contents)
        with tarfile.open(path, "w:gz") as tar:
            tar.addfile(entry, io.BytesIO(contents))
        assert ponte("restore", str(path)).code == 1, (name, contents)
        assert ponte.err == (
            f"{path} is damaged or isn't a Ponte backup: its list of contents is missing. "
            "Nothing was changed. Use another backup.\n"
        )
        assert names(ponte.home) == {"ponte.lock"}, (name, contents)


@pytest.mark.parametrize(
    "newer", [{"schema": 99, "version": "9.1.0"}, {"format": FORMAT_VERSION + 1}]
)
def test_one_of_another_version_is_refused(
    ponte: Shell, archive: Path, newer: dict[str, Any]
) -> None:
    rewritten(archive, lambda manifest, entries: replace(manifest, **newer))
    assert ponte("restore", str(archive)).code == 1
    assert "was made by another version of Ponte" in ponte.err
    assert "Install that version" in ponte.err
    assert names(ponte.home) == {"ponte.lock"}


class Killed(BaseException):
    """As SIGKILL: nothing that catches errors catches it."""


def dying_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """At the `number`-th file that is moved from here on."""
    rename, count = Path.rename, iter(range(1, 1000))

    def dies(self: Path, target: Path) -> Path:
        if next(count) == number:
            raise Killed
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", dies)


def test_killed_while_it_moves_the_next_one_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_files(folder: Path, names: str, words: str) -> None:
        for name in names.split():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(words)

    def words(folder: Path) -> dict[str, str]:
        return {name: (folder / name).read_text() for name in names(folder) - {"ponte.lock"}}

    moves = 0
    for number in itertools.count(1):
        home = Home(tmp_path / str(number))
        write_files(home.path, "ponte.db ponte.db-wal files/aa/aab kernels/k python/x", "former")
        former = words(home.path)
        with monkeypatch.context() as patch, contextlib.suppress(Killed), home.take():
            with home.staging("restore") as staged:
                write_files(staged, "ponte.db audit.log files/bb/bbc", "new")
                dying_at(patch, number)
                home.replace(staged, "replaced-then")
            break
        with home.take():
            match = words(home.path)
        if match == former:
            assert number == 1, "before the plan stood"
            continue
        moves += 1
        assert match == {
            "ponte.db": "new",
            "audit.log": "new",
            "files/bb/bbc": "new",
            "python/x": "former",
            **{f"replaced-then/{name}": "former" for name in former if name != "python/x"},
        }
    assert moves == 7
    assert match == words(home.path), "as where nobody was killed"


def test_killed_while_it_is_written_there_is_no_backup_of_that_name(
    ponte_with_home: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.tar.gz"
    before = names(ponte_with_home.home)
    staged = ponte_with_home.home / "backup-abcdefgh"
    staged.mkdir()
    (staged / "ponte.db").write_text("of one that was killed")

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(work, "write_archive", fails)
        assert ponte_with_home("backup", str(path)).code == 1
    assert ponte_with_home.err == (
        f"Can't write {path} (No space left on device). No backup was made.\n"
    )
    assert list(tmp_path.glob("kept*")) == []
    assert names(ponte_with_home.home) - {"ponte.lock"} == before
    assert ponte_with_home("backup", str(path)).code == 0
    earlier = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(work, "write_archive", fails)
        assert ponte_with_home("backup", str(path)).code == 1
    assert path.read_bytes() == earlier, "the one of before stands"


def test_a_leftover_that_another_backup_removes_at_this_moment_stops_no_backup(
    ponte_with_home: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, part, flock = tmp_path / "kept.tar.gz", tmp_path / "kept.tar.gz.part", fcntl.flock
    part.touch()

    def lock_late(descriptor: int, operation: int) -> None:
        if leftovers and os.path.samestat(os.fstat(descriptor), leftovers[0].stat()):
            leftovers.pop().unlink()
        flock(descriptor, operation)

    leftovers = [part]
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", lock_late)
        assert ponte_with_home("backup", str(path)).code == 0, ponte_with_home.err
    assert (leftovers, part.exists()) == ([], False)


def test_a_backup_that_cannot_be_read_back_is_not_left_behind(
    ponte_with_home: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.tar.gz"
    monkeypatch.setattr(work, "check", lambda file, name: replace(check(file, name), members={}))
    assert ponte_with_home("backup", str(path)).code == 1
    assert f"{path} is damaged" in ponte_with_home.err
    assert list(tmp_path.glob("kept*")) == []


def test_a_disk_that_is_full_during_a_restore_is_told_and_changes_nothing(
    ponte_with_home: Shell, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = names(ponte_with_home.home)

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(work, "extract_archive", fails)
    assert ponte_with_home("restore", "--replace", str(archive)).code == 1
    assert ponte_with_home.err == (
        f"Can't use {ponte_with_home.home} (No space left on device). Make it "
        "writable, or set PONTE_HOME to another folder.\n"
    )
    assert names(ponte_with_home.home) - {"ponte.lock"} == before


def test_a_file_system_without_links_is_backed_up_too(
    ponte_with_home: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    path = tmp_path / "kept.tar.gz"
    monkeypatch.setattr(os, "link", fails)
    assert ponte_with_home("backup", str(path)).code == 0, ponte_with_home.err
    manifest, files = read_backup(path)
    ids = rows(ponte_with_home.home, "SELECT id FROM files")
    assert manifest.lost_files == ()
    for id in ids:
        data = (ponte_with_home.home / "files" / id[:2] / id).read_bytes()
        assert files[f"files/{id[:2]}/{id}"] == data
    assert ids


def test_what_is_forgotten_while_it_is_made_is_not_in_it(
    ponte_with_home: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.tar.gz"
    id, *others = rows(ponte_with_home.home, "SELECT id FROM files")
    copy, copies = snapshot.copy_database, []

    def forgets(source: Path, target: Path) -> None:
        copy(source, target)
        copies.append(source)
        if len(copies) == 1:
            with closing(sqlite3.connect(source)) as connection, connection:
                connection.execute("DELETE FROM files WHERE id = ?", (id,))
            (ponte_with_home.home / "files" / id[:2] / id).unlink()

    monkeypatch.setattr(snapshot, "copy_database", forgets)
    assert ponte_with_home("backup", str(path)).code == 0
    manifest, files = read_backup(path)
    assert len(copies) == 2, "the moment was taken anew"
    assert manifest.lost_files == ()
    assert manifest.rows["files"] == len(others)
    assert not any(name.endswith(id) for name in files)


def test_bytes_that_are_lost_are_told_and_stop_nothing(
    ponte_with_home: Shell, tmp_path: Path
) -> None:
    path = tmp_path / "kept.tar.gz"
    id = rows(ponte_with_home.home, "SELECT id FROM files")[0]
    (ponte_with_home.home / "files" / id[:2] / id).unlink()
    assert ponte_with_home("backup", str(path)).code == 0
    assert "The content of 1 file was already missing from the data folder." in ponte_with_home.err
    assert read_backup(path)[0].lost_files == (id,)
    assert ponte_with_home("restore", "--replace", str(path)).code == 0, ponte_with_home.err


def test_without_room_nothing_is_begun(
    ponte_with_home: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = tmp_path / "kept.tar.gz", names(ponte_with_home.home)
    ponte_with_home("backup", str(path))
    whole = path.read_bytes()
    usage = type(shutil.disk_usage(tmp_path))(1 << 30, 1 << 30, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert ponte_with_home("backup", str(path)).code == 1
    assert ponte_with_home.err.startswith(
        f"Not enough disk space for a backup in {ponte_with_home.home}: "
    )
    assert ponte_with_home("restore", "--replace", str(path)).code == 1
    assert ponte_with_home.err.startswith(
        f"Not enough disk space for a restored data folder in {ponte_with_home.home}: "
    )
    assert path.read_bytes() == whole
    assert names(ponte_with_home.home) - {"ponte.lock"} == before


def test_a_folder_keeps_the_newest(ponte_with_home: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    for day in range(1, 5):
        (folder / f"ponte-2026010{day}T031700Z.tar.gz").touch()
    (folder / "moving.tar.gz").touch()
    assert ponte_with_home("backup", str(folder)).code == 0
    assert len(list(folder.iterdir())) == 6
    (newest,) = [path for path in folder.iterdir() if path.stat().st_size]
    assert re.fullmatch(r"ponte-\d{8}T\d{6}Z\.tar\.gz", newest.name)
    assert ponte_with_home("backup", "--keep", "2", str(folder)).code == 0
    remaining_files = sorted(path.name for path in folder.iterdir())
    assert remaining_files[0] == "moving.tar.gz", "what is called otherwise is left alone"
    assert len(remaining_files) == 3
    assert (folder / remaining_files[-1]).stat().st_size, "the newest is this one"
    assert ponte_with_home("backup", "--keep", "2", str(tmp_path / "one.tar.gz")).code == 1
    assert "one.tar.gz isn't one. Create it" in ponte_with_home.err


def test_what_cannot_be_backed_up_is_told(
    ponte_with_home: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ponte_with_home("backup", str(ponte_with_home.home / "in-itself.tar.gz")).code == 1
    assert "is inside the data folder" in ponte_with_home.err
    assert ponte_with_home("backup", str(tmp_path / "none" / "x.tar.gz")).code == 1
    assert "Can't write " in ponte_with_home.err
    assert "(No such file or directory)" in ponte_with_home.err
    token = ponte_with_home.home / "web-token"
    token.unlink(missing_ok=True)
    token.mkdir()
    assert ponte_with_home("backup", str(tmp_path / "x.tar.gz")).code == 1
    assert ponte_with_home.err.startswith(f"Can't write {ponte_with_home.home}/backup-")
    assert ponte_with_home.err.endswith("(Is a directory). No backup was made.\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: ponte_with_home.home.stat().st_uid + 1)
        assert ponte_with_home("backup", str(tmp_path / "x.tar.gz")).code == 1
    assert ponte_with_home.err == (
        f"The folder {ponte_with_home.home} belongs to another user. Run this command as that "
        "user.\n"
    )
    assert not (tmp_path / "x.tar.gz").exists()
    monkeypatch.setenv("PONTE_HOME", str(tmp_path / "nothing"))
    assert ponte_with_home("backup", str(tmp_path / "x.tar.gz")).code == 1
    assert ponte_with_home.err == f"{tmp_path / 'nothing'} has no data yet.\n"
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("words", [("backup",), ("restore",)])
def test_of_postgres_its_own_command_is_told_without_the_password(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://ponte:hunter22@db.example.com/ponte")
    assert ponte(*words, "x.tar.gz").code == 1
    assert 'pg_dump --format=custom --file=ponte.dump "$DATABASE_URL"' in ponte.err
    assert "hunter22" not in ponte.out + ponte.err


def test_the_archive_is_listed_by_any_tar(archive: Path) -> None:
    with gzip.open(archive) as zipped, tarfile.open(fileobj=zipped) as tar:
        entries = tar.getmembers()
    assert entries[0].name == MANIFEST_NAME
    assert {entry.mode for entry in entries} == {0o600}
    assert {entry.uid for entry in entries} == {0}


@pytest.fixture(autouse=True)
def quiet_umask() -> Iterator[None]:
    mask = os.umask(0o022)
    yield
    os.umask(mask)


def test_packing_fails_if_a_file_is_shorter_than_its_manifest_says(tmp_path: Path) -> None:
    (tmp_path / "web-token").write_text("x")
    wrong = Manifest(FORMAT_VERSION, "0", 1, "", "", True, {}, {"web-token": ArchiveMember(5, "")})
    with pytest.raises(OSError, match="unexpected end of data"):
        write_archive(tmp_path, wrong, io.BytesIO())


def test_the_settings_of_the_page_are_in_a_backup_only_if_asked_for(
    ponte_with_home: Shell, tmp_path: Path
) -> None:
    kept = "# mine\nOPENAI_API_KEY='sk-typed'\n"
    (ponte_with_home.home / "settings.env").write_text(kept)
    (ponte_with_home.home / "settings.env.last").write_text("OPENAI_API_KEY='sk-before'\n")
    without, whole = tmp_path / "without.tar.gz", tmp_path / "whole.tar.gz"
    assert ponte_with_home("backup", str(without)).code == 0
    assert "settings.env" not in read_backup(without)[1]
    assert "the setup page's settings.env either" in ponte_with_home.err
    assert ponte_with_home("backup", "--secrets", str(whole)).code == 0
    assert "It contains settings.env, which has the secrets" in ponte_with_home.err
    assert "only with `--secrets`" not in ponte_with_home.err
    assert read_backup(whole)[1]["settings.env"].decode() == kept
    assert "settings.env.last" not in read_backup(whole)[1]
    (ponte_with_home.home / "settings.env").write_text("OPENAI_API_KEY='sk-newer'\n")
    assert ponte_with_home("restore", "--replace", str(without)).code == 0
    assert "sk-newer" in (ponte_with_home.home / "settings.env").read_text(), "it stays"
    shutil.rmtree(ponte_with_home.home)
    assert ponte_with_home("restore", str(whole)).code == 0
    assert (ponte_with_home.home / "settings.env").read_text() == kept


def test_a_restore_says_that_schedules_are_paused(ponte_with_home: Shell, tmp_path: Path) -> None:
    add_schedule(ponte_with_home.home)
    file = tmp_path / "kept.tar.gz"
    assert ponte_with_home("backup", str(file)).code == 0
    assert "paused, because" in ponte_with_home("restore", str(file), "--replace").out
    assert "`ponte schedules resume ID`" in ponte_with_home.out
