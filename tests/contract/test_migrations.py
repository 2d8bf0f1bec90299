"""A schema changes by numbered migrations, on both engines, also if a process is killed meanwhile.

The last migration here exists only for these tests.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bot.stores import SCHEMA
from core.base.errors import NotStored
from core.store import schema as snapshot
from core.store.database import SqliteDatabase
from core.store.postgres import CONNECTION_OPTIONS, PostgresDatabase
from core.store.schema import (
    DifferentSchema,
    DifferentSharedSchema,
    Migration,
    Schema,
    find_foreign_entry,
    hash_statements,
)
from tests.real.postgres import Postgres

NEW_COLUMN = "color TEXT NOT NULL DEFAULT ''"
NEXT = Schema(
    SCHEMA.tables.replace("is_pinned INTEGER", f"{NEW_COLUMN}, is_pinned INTEGER", 1)
    + ";CREATE TABLE paints (id INTEGER PRIMARY KEY, color TEXT NOT NULL)",
    f"{SCHEMA.shared};CREATE TABLE shades (id INTEGER PRIMARY KEY)",
    (
        *SCHEMA.migrations,
        Migration(
            SCHEMA.fingerprint,
            f"ALTER TABLE conversations ADD COLUMN {NEW_COLUMN};"
            "UPDATE conversations SET color = 'blue';"
            "CREATE TABLE paints (id INTEGER PRIMARY KEY, color TEXT NOT NULL);"
            "INSERT INTO paints (color) SELECT color FROM conversations",
            "CREATE TABLE shades (id INTEGER PRIMARY KEY)",
        ),
    ),
)
"""The next version: a column, a table for both engines, and a table for Postgres."""
BROKEN = replace(
    NEXT, migrations=(*SCHEMA.migrations, replace(NEXT.migrations[-1], script="CREATE NONSENSE"))
)
INSERT = "INSERT INTO conversations (conversation, thread, used_at) VALUES ('web:one', 'thread', 1)"


def kill_at(step: int, run: Callable[[Callable[[], None]], object]) -> bool:
    """Run a function in a process that dies in the call number `step` of the function that it
    gets. Return whether it died."""
    pid = os.fork()
    if not pid:
        left = step

        def count() -> None:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            run(count)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def migrate_until(count: Callable[[], None], url: str, schema: Schema) -> None:
    """Migrate a database of Postgres; call `count` before each statement, the COMMIT included."""

    class Counting(psycopg.Connection[Any]):
        def execute(self, *args: Any, **options: Any) -> Any:
            count()
            return super().execute(*args, **options)

        def commit(self) -> None:
            count()
            super().commit()

    options = {**CONNECTION_OPTIONS, "row_factory": psycopg.rows.dict_row}
    with Counting.connect(url, **options) as connection:
        PostgresDatabase(url, schema)._migrate(connection)


async def open_and_close(path: Path, schema: Schema) -> None:
    snapshot.snapshot_before_migration(path, schema)
    await (await SqliteDatabase.open(path, schema)).close()


def read_bytes(path: Path) -> bytes:
    return path.read_bytes()


def begin_again(path: Path, data: bytes) -> None:
    for file in path.parent.glob("ponte.db*"):
        file.unlink()
    path.write_bytes(data)


def read_colors(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return [
            *connection.execute("SELECT version, fingerprint FROM database_schema"),
            *connection.execute("SELECT conversation, color FROM conversations"),
            *connection.execute("SELECT id, color FROM paints"),
        ]


MIGRATED = [(len(NEXT.migrations) + 1, NEXT.fingerprint), ("web:one", "blue"), (1, "blue")]


@pytest.fixture
async def home_database(tmp_path: Path) -> Path:
    """A database of version 1 with a row."""
    path = tmp_path / "ponte.db"
    database = await SqliteDatabase.open(path, SCHEMA)
    await database.write(lambda c: c.execute(INSERT).close())
    await database.close()
    return path


async def test_sqlite_is_copied_and_migrated(home_database: Path) -> None:
    await open_and_close(home_database, NEXT)
    assert read_colors(home_database) == MIGRATED
    (copy,) = snapshot.list_snapshots(home_database.parent)
    assert copy.name.startswith(f"ponte-{len(NEXT.migrations)}-")
    with closing(sqlite3.connect(copy)) as connection:
        assert snapshot.read_schema_version(connection) == (
            len(NEXT.migrations),
            SCHEMA.fingerprint,
        )
    await open_and_close(home_database, NEXT)
    assert read_colors(home_database) == MIGRATED, "a migration runs once"
    assert len(snapshot.list_snapshots(home_database.parent)) == 1


@pytest.mark.slow
async def test_sqlite_goes_on_after_a_kill_at_any_step(home_database: Path) -> None:
    data, step, deaths = read_bytes(home_database), 0, 0

    def migrate(count: Callable[[], None]) -> None:
        """Die at a statement: of the copy, or of the migration."""
        connect = sqlite3.connect

        def connect_and_count(*args: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **options)
            connection.set_trace_callback(lambda _: count())
            return connection

        sqlite3.connect = connect_and_count  # type: ignore[assignment]
        snapshot.snapshot_before_migration(home_database, NEXT)
        database = SqliteDatabase.__new__(SqliteDatabase)
        database.path, database.schema = home_database, NEXT
        database._open()

    while True:
        step += 1
        begin_again(home_database, data)
        death = kill_at(step, migrate)
        deaths += death
        await open_and_close(home_database, NEXT)
        assert read_colors(home_database) == MIGRATED, step
        if not death:
            break
    assert deaths > 10


async def test_a_migration_of_sqlite_that_fails_changes_nothing(home_database: Path) -> None:
    before = read_bytes(home_database)
    with pytest.raises(NotStored, match="syntax error"):
        await SqliteDatabase.open(home_database, BROKEN)
    assert read_bytes(home_database) == before
    await open_and_close(home_database, NEXT)


async def test_sqlite_with_another_schema_is_refused_and_left_as_it_is(
    home_database: Path, tmp_path: Path
) -> None:
    await open_and_close(home_database, NEXT)
    before = read_bytes(home_database)
    sentence = (
        f"{home_database} was written by another version of Ponte, and this version can't use it. "
        "Nothing was changed. Start the version that wrote it, or set PONTE_HOME to a new folder."
    )
    for schema in (SCHEMA, replace(NEXT, tables=f"{NEXT.tables};CREATE TABLE x (y)")):
        with pytest.raises(DifferentSchema) as error:
            await SqliteDatabase.open(home_database, schema)
        assert str(error.value) == sentence
    assert read_bytes(home_database) == before
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE inbox (seq INTEGER)")
    with pytest.raises(DifferentSchema):
        await SqliteDatabase.open(other, SCHEMA)
    with closing(sqlite3.connect(home_database)) as connection, connection:
        connection.execute("UPDATE database_schema SET version = 'two'")
    with pytest.raises(DifferentSchema):
        await SqliteDatabase.open(home_database, NEXT)


async def test_a_migrated_file_has_the_schema_of_a_new_one(home_database: Path) -> None:
    """A column stands in another place in it. `ponte restore` compares these."""
    assert find_foreign_entry(home_database, NEXT) == "", "version 1"
    await open_and_close(home_database, NEXT)
    assert find_foreign_entry(home_database, NEXT) == ""
    assert find_foreign_entry(home_database, SCHEMA) == "conversations"


def test_the_fingerprint_depends_on_every_part_of_the_schema() -> None:
    for changes in (
        replace(SCHEMA, tables=SCHEMA.tables.replace("used_at REAL", "used_at INTEGER")),
        replace(SCHEMA, shared=SCHEMA.shared.replace("pg_notify", "pg_tell")),
    ):
        assert changes.fingerprint != SCHEMA.fingerprint
    first, second = "CREATE TABLE a (b TEXT, c REAL)", "CREATE INDEX d ON a (b)"
    text = "CREATE TABLE a (\n    c REAL,\n    b TEXT\n)"
    assert hash_statements([first, second]) == hash_statements([second, text])


@pytest.fixture
def url(migrated_postgres: str) -> str:
    with psycopg.connect(migrated_postgres, **CONNECTION_OPTIONS) as connection:
        connection.execute(INSERT)
    return migrated_postgres


async def reopen(url: str, schema: Schema) -> None:
    await (await PostgresDatabase.open(url, schema)).close()


def read_shared_colors(url: str) -> list[Any]:
    with psycopg.connect(url, **CONNECTION_OPTIONS) as connection:
        assert connection.execute("SELECT count(*) FROM shades").fetchone() == (0,)
        return [
            *connection.execute("SELECT version, fingerprint FROM database_schema"),
            *connection.execute("SELECT conversation, color FROM conversations"),
            *connection.execute("SELECT id, color FROM paints"),
        ]


async def test_postgres_is_migrated_once_by_processes_that_start_together(url: str) -> None:
    await asyncio.gather(*(reopen(url, NEXT) for _ in range(3)))
    assert read_shared_colors(url) == MIGRATED


async def test_postgres_goes_on_after_a_kill_at_any_step(real_postgres: Postgres, url: str) -> None:
    name, step, deaths = url.partition("@/")[2].partition("?")[0], 0, 0
    while True:
        step += 1
        copy = real_postgres.url(real_postgres.database(name))
        death = kill_at(step, lambda count, copy=copy: migrate_until(count, copy, NEXT))  # type: ignore[misc]
        deaths += death
        await reopen(copy, NEXT)
        assert read_shared_colors(copy) == MIGRATED, step
        if not death:
            break
    assert deaths > 3


async def test_a_migration_of_postgres_that_fails_changes_nothing(url: str) -> None:
    with pytest.raises(NotStored, match="syntax error"):
        await reopen(url, BROKEN)
    await reopen(url, SCHEMA)


async def test_postgres_with_another_schema_is_refused(url: str) -> None:
    await reopen(url, NEXT)
    with pytest.raises(DifferentSharedSchema) as error:
        await reopen(url, SCHEMA)
    assert str(error.value) == (
        "The database that DATABASE_URL points to was written by another version of Ponte, "
        "and this version can't use it. Nothing was changed. Start the version that wrote it, or "
        "set DATABASE_URL to an empty database."
    )
    with psycopg.connect(url, **CONNECTION_OPTIONS) as connection:
        connection.execute("DROP TABLE database_schema")
    with pytest.raises(DifferentSharedSchema):
        await reopen(url, SCHEMA)
