"""The data of each release reaches the newest schema with all its rows, also if the upgrade is
killed at any statement or before any file is deleted.

`test_recorded.py` then goes on with such data: its schedules, changes, people and cards.
"""

from __future__ import annotations

import asyncio
import gzip
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
import pytest

from bot.stores import SCHEMA, Stores
from core.people.audit import list_audit_files
from core.store.postgres import CONNECTION_OPTIONS, PostgresDatabase
from core.store.schema import find_foreign_entry, list_snapshots
from tests.contract.test_migrations import kill_at, migrate_until
from tests.real.postgres import Postgres
from tests.recorded.recorded_ponte import Json, put_home, read_record
from tests.recorded.test_recorded import FOLDER, RELEASES

Rows = dict[str, list[tuple[Any, ...]]]
NEWEST = [(SCHEMA.version, SCHEMA.fingerprint)]


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> Json:
    return read_record(FOLDER / f"{request.param}.json.gz")


async def upgrade(home: Path) -> None:
    """Open and close the stores, as the first start of a new version does."""
    stores = await Stores.open_in_home(home)
    await stores.close()


def read_rows(home: Path) -> Rows:
    """Return table → its rows, of the database."""
    with closing(sqlite3.connect(home / "ponte.db")) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall()
        return {
            table: sorted(connection.execute(f"SELECT * FROM {table}"), key=repr)
            for (table,) in tables
        }


def upgrade_until(count: Callable[[], None], home: Path) -> None:
    """Upgrade, and call `count` at each statement of SQLite and before each deletion of a file."""
    connect, unlink = sqlite3.connect, Path.unlink

    def connect_and_count(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)
        connection.set_trace_callback(lambda _: count())
        return connection

    def count_and_unlink(path: Path, missing_ok: bool = False) -> None:
        count()
        unlink(path, missing_ok)

    with (
        mock.patch.object(sqlite3, "connect", connect_and_count),
        mock.patch.object(Path, "unlink", count_and_unlink),
    ):
        asyncio.run(upgrade(home))


def test_every_row_of_a_release_is_kept(release: Json, tmp_path: Path) -> None:
    put_home(release["home"], tmp_path)
    before = read_rows(tmp_path)
    lines = len(before.get("audit", []))
    lines += sum(len(path.read_text().splitlines()) for path in list_audit_files(tmp_path))
    asyncio.run(upgrade(tmp_path))
    after = read_rows(tmp_path)
    for table, rows in before.items():
        if table not in {"database_schema", "sqlite_sequence", "audit"}:
            assert len(after[table]) == len(rows), table
    assert (len(after["audit"]), list_audit_files(tmp_path)) == (lines, [])
    assert lines
    assert after["database_schema"] == NEWEST
    assert find_foreign_entry(tmp_path / "ponte.db", SCHEMA) == "", "as in a new database"
    assert sum(bool(record) for *_, record in after["threads"]) >= 30


@pytest.mark.slow
def test_a_killed_upgrade_ends_at_the_next_start(release: Json, tmp_path: Path) -> None:
    recorded, whole = tmp_path / "recorded", tmp_path / "whole"
    put_home(release["home"], recorded)
    is_old = read_rows(recorded)["database_schema"] != NEWEST
    shutil.copytree(recorded, whole)
    asyncio.run(upgrade(whole))
    expected, step = read_rows(whole), 0
    while True:
        step += 1
        home = tmp_path / str(step)
        shutil.copytree(recorded, home)
        died = kill_at(step, lambda count, home=home: upgrade_until(count, home))  # type: ignore[misc]
        asyncio.run(upgrade(home))
        assert read_rows(home) == expected, step
        assert list_audit_files(home) == []
        assert bool(list_snapshots(home)) == is_old, "a copy of the old database stays"
        if not died:
            break
    assert step > 20


@pytest.fixture(params=RELEASES)
def shared_release(request: pytest.FixtureRequest, real_postgres: Postgres) -> str:
    """The name of a database that holds the same data as that version wrote it into Postgres."""
    name = real_postgres.database()
    script = gzip.decompress((FOLDER / f"{request.param}.sql.gz").read_bytes())
    with psycopg.connect(real_postgres.url(name)) as connection:
        connection.execute(script)
    return name


def read_shared_rows(url: str) -> Rows:
    """Return table → its rows."""
    with psycopg.connect(url, **CONNECTION_OPTIONS) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'ponte'::regnamespace"
        ).fetchall()
        return {
            table: sorted(connection.execute(f"SELECT * FROM {table}".encode()), key=repr)
            for (table,) in tables
        }


async def upgrade_shared(url: str) -> None:
    await (await PostgresDatabase.open(url, SCHEMA)).close()


def test_a_killed_upgrade_of_postgres_ends_at_the_next_start(
    real_postgres: Postgres, shared_release: str
) -> None:
    before = read_shared_rows(real_postgres.url(shared_release))
    expected: Rows = {}
    step = 0
    while True:
        url = real_postgres.url(real_postgres.database(shared_release))
        died = step and kill_at(step, lambda count, url=url: migrate_until(count, url, SCHEMA))  # type: ignore[misc]
        asyncio.run(upgrade_shared(url))
        rows = read_shared_rows(url)
        expected = expected or rows
        assert rows == expected, step
        if step and not died:
            break
        step += 1
    assert step > 3
    assert expected["database_schema"] == NEWEST
    if records := before.pop("thread_map", []):  # of 0.1.0; later versions have them in the rows
        assert sum(bool(record) for *_, record in expected["threads"]) == len(records)
    del before["database_schema"]
    assert {name: len(rows) for name, rows in before.items()} == {
        name: len(expected[name]) for name in before
    }
