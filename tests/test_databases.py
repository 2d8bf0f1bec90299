"""A database that a test gets as a copy is the one that the migrations make."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from core.store.database import SqlConnection, SqliteDatabase
from core.store.schema import MIGRATIONS


def read_schema(path: Path) -> list[object]:
    with closing(sqlite3.connect(path)) as connection:
        return [
            connection.execute("PRAGMA user_version").fetchone(),
            connection.execute("PRAGMA journal_mode").fetchone(),
            connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall(),
        ]


async def test_a_copy_is_what_the_migrations_make(tmp_path: Path) -> None:
    for name in ("first", "copy"):
        await (await SqliteDatabase.open(tmp_path / name, MIGRATIONS)).close()
    migrated = tmp_path / "migrated"
    await (await SqliteDatabase.open(migrated, list(MIGRATIONS))).close()
    assert read_schema(tmp_path / "copy") == read_schema(migrated)
    assert (tmp_path / "copy").stat().st_mode == migrated.stat().st_mode


async def test_no_test_waits_for_the_disk(tmp_path: Path) -> None:
    """But for those that use `durable_sqlite`: tests/core/test_database.py."""

    def synchronous(connection: SqlConnection) -> object:
        return connection.execute("PRAGMA synchronous").fetchone()[0]

    database = await SqliteDatabase.open(tmp_path / "ponte.db", MIGRATIONS)
    assert await database.write(synchronous) == 0
    await database.close()
