"""Before a newer schema changes a home's database, a copy of it is kept for a while."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from bot.stores import SCHEMA, Stores
from core.base.errors import NotStored
from core.store import schema as snapshot
from core.store.database import SqliteDatabase
from core.store.schema import NoRoom
from tests.contract.test_migrations import NEXT
from tests.time_limits import Limits

DAY = 86_400


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return snapshot.read_schema_version(connection)[0]


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@pytest.fixture
async def home(tmp_path: Path) -> Path:
    """A home whose database is of version 1."""
    await (await SqliteDatabase.open(tmp_path / "ponte.db", SCHEMA)).close()
    return tmp_path


@pytest.fixture
def next_schema(limits: Limits) -> None:
    limits(SCHEMA=NEXT)


async def test_an_older_home_is_copied_before_it_is_changed(home: Path, next_schema: None) -> None:
    before = dump(home / "ponte.db")
    await (await Stores.open_in_home(home)).close()
    assert version(home / "ponte.db") == NEXT.version
    (snapshots,) = snapshot.list_snapshots(home)
    assert snapshots.name.startswith(f"ponte-{SCHEMA.version}-")
    assert dump(snapshots) == before
    assert snapshots.stat().st_mode & 0o777 == 0o600
    assert snapshots.parent.stat().st_mode & 0o777 == 0o700

    os.replace(snapshots, home / "ponte.db")  # the way back
    assert version(home / "ponte.db") == SCHEMA.version
    await (await Stores.open_in_home(home)).close()
    await (await Stores.open_in_home(home)).close()
    assert len(snapshot.list_snapshots(home)) == 1, "none where nothing is changed"


def test_a_copy_never_replaces_a_file(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "older-copy.db"
    target.write_bytes(b"someone else's")
    with pytest.raises(NotStored):
        snapshot.copy_database(home / "ponte.db", target)
    assert target.read_bytes() == b"someone else's"


async def test_a_new_home_has_no_snapshot(tmp_path: Path) -> None:
    await (await Stores.open_in_home(tmp_path)).close()
    assert not (tmp_path / "snapshots").exists()


async def test_the_newest_two_stay_and_for_two_weeks(home: Path, next_schema: None) -> None:
    folder = home / "snapshots"
    folder.mkdir()
    for age in (1, 2, 3, 20):
        one = folder / f"ponte-2-{age}.db"
        one.touch()
        os.utime(one, (time.time() - age * DAY, time.time() - age * DAY))
    stores = await Stores.open_in_home(home)
    remaining_files = {one.name for one in snapshot.list_snapshots(home)}
    assert len(remaining_files) == 2
    assert "ponte-2-1.db" in remaining_files
    assert stores.database.remains_notice == snapshot.SNAPSHOT_REMAINS, "`forget` says so"
    for one in snapshot.list_snapshots(home):
        os.utime(one, (time.time() - 15 * DAY, time.time() - 15 * DAY))
    await stores.database.remove_old_copies()
    assert snapshot.list_snapshots(home) == []
    assert stores.database.remains_notice == ""
    await stores.close()


async def test_without_room_it_does_not_start_and_changes_nothing(
    home: Path, next_schema: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dump(home / "ponte.db")
    usage = type(shutil.disk_usage(home))(1 << 30, 1 << 30, 100_000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(NoRoom) as error:
            await Stores.open_in_home(home)
    assert str(error.value).startswith("Not enough disk space for a copy before the upgrade in ")
    assert dump(home / "ponte.db") == before
    assert snapshot.list_snapshots(home) == []


async def test_a_damaged_database_is_not_copied_and_named(home: Path, next_schema: None) -> None:
    (home / "ponte.db").write_bytes(b"no database at all, " * 1000)
    with pytest.raises(NotStored, match=r"Can't use .*/ponte\.db: file is not a database"):
        await Stores.open_in_home(home)
    assert snapshot.list_snapshots(home) == []


def test_an_unfinished_copy_is_removed(home: Path, tmp_path: Path) -> None:
    """A page in the middle is damaged: it is copied, and found by the check of the copy."""
    database = home / "ponte.db"
    with database.open("r+b") as file:
        file.seek(database.stat().st_size // 4096 // 2 * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(NotStored, match="Can't copy"):
        snapshot.copy_database(database, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
