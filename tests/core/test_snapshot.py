"""Before a newer schema changes a home's database, a copy of it is kept for a while."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from bot.engine import Stores
from core.domain.errors import NotStored
from core.store import snapshot
from core.store.database import SqliteDatabase
from core.store.schema import MIGRATIONS
from core.store.snapshot import NoRoom
from tests.recorded.recorded_ponte import put_home, read

DAY = 86_400


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """As schema 3 left it."""
    put_home(read(3)["home"], tmp_path)
    return tmp_path


async def test_an_older_home_is_copied_before_it_is_changed(home: Path) -> None:
    before = dump(home / "ponte.db")
    await (await Stores.open_in_home(home)).close()
    assert snapshot.schema_version(home / "ponte.db") == len(MIGRATIONS)
    (kept,) = snapshot.list_snapshots(home)
    assert kept.name.startswith("ponte-3-")
    assert dump(kept) == before
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700

    os.replace(kept, home / "ponte.db")  # the way back
    assert snapshot.schema_version(home / "ponte.db") == 3
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


async def test_the_newest_two_stay_and_for_two_weeks(home: Path) -> None:
    folder = home / "snapshots"
    folder.mkdir()
    for age in (1, 2, 3, 20):
        one = folder / f"ponte-2-{age}.db"
        one.touch()
        os.utime(one, (time.time() - age * DAY, time.time() - age * DAY))
    stores = await Stores.open_in_home(home)
    left = {one.name for one in snapshot.list_snapshots(home)}
    assert len(left) == 2
    assert "ponte-2-1.db" in left
    assert stores.database.remains_notice == snapshot.SNAPSHOT_REMAINS, "`forget` says so"
    for one in snapshot.list_snapshots(home):
        os.utime(one, (time.time() - 15 * DAY, time.time() - 15 * DAY))
    await stores.database.remove_old_copies()
    assert snapshot.list_snapshots(home) == []
    assert stores.database.remains_notice == ""
    await stores.close()


async def test_without_room_it_does_not_start_and_changes_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dump(home / "ponte.db")
    usage = type(shutil.disk_usage(home))(1 << 30, 1 << 30, 100_000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(NoRoom) as refused:
            await Stores.open_in_home(home)
    assert str(refused.value).startswith("Not enough disk space for a copy before the upgrade in ")
    assert dump(home / "ponte.db") == before
    assert snapshot.list_snapshots(home) == []


async def test_a_damaged_database_is_not_copied_and_named(home: Path) -> None:
    (home / "ponte.db").write_bytes(b"no database at all, " * 1000)
    with pytest.raises(NotStored, match=r"Cannot use .*/ponte\.db: file is not a database"):
        await Stores.open_in_home(home)
    assert snapshot.list_snapshots(home) == []


def test_an_unfinished_copy_is_removed(home: Path, tmp_path: Path) -> None:
    """A page in the middle is damaged: it is copied, and found by the check of the copy."""
    database = home / "ponte.db"
    with database.open("r+b") as file:
        file.seek(database.stat().st_size // 4096 // 2 * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(NotStored, match="Cannot copy"):
        snapshot.copy_database(database, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


@pytest.mark.parametrize(
    ("schema", "lacks", "drop"),
    [
        (3, "changes.named", "ALTER TABLE changes DROP COLUMN named"),
        (3, "inbox_untold", "DROP INDEX inbox_untold"),
        (3, "notes_person", "DROP INDEX notes_person; ALTER TABLE notes DROP COLUMN person"),
        (5, "inbox.owner", "ALTER TABLE inbox DROP COLUMN owner"),
        (6, "remotes.owner", "ALTER TABLE remotes DROP COLUMN owner"),
    ],
)
async def test_a_home_of_a_migrations_first_hours_gets_what_was_added(
    tmp_path: Path, schema: int, lacks: str, drop: str
) -> None:
    whole, old = tmp_path / "whole", tmp_path / "old"
    for folder in (whole, old):
        put_home(read(schema)["home"], folder)
    with closing(sqlite3.connect(old / "ponte.db")) as connection:
        connection.executescript(drop)
    for folder in (whole, old):
        await (await SqliteDatabase.open(folder / "ponte.db", MIGRATIONS)).close()
    assert shape(old / "ponte.db") == shape(whole / "ponte.db"), lacks


def shape(path: Path) -> Mapping[str, set[str]]:
    with closing(sqlite3.connect(path)) as connection:
        tables = [n for (n,) in connection.execute("SELECT name FROM sqlite_master")]
        return {
            name: {row[1] for row in connection.execute(f"PRAGMA table_info({name})")}
            for name in tables
        }
