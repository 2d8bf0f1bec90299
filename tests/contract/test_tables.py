"""The declarations in `core/store/tables.py` make the schema that all migrations together make."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from core.store.database import SqliteDatabase
from core.store.postgres import CONNECTION_OPTIONS, PostgresDatabase
from core.store.schema import MIGRATIONS, Migration
from core.store.schema_check import find_foreign_entry
from core.store.tables import DECLARED_TABLES
from tests.real.postgres import Postgres

STEP_BY_STEP = tuple(replace(step, whole="", whole_shared="") for step in MIGRATIONS)
POSTGRES_SCHEMA = {
    "columns": "SELECT table_name, column_name, data_type, column_default, is_nullable,"
               " is_identity, identity_generation FROM information_schema.columns"
               " WHERE table_schema = 'ponte'",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'ponte'",
    "tables": "SELECT relname, relkind, relpersistence FROM pg_class AS c"
              " JOIN pg_namespace AS s ON s.oid = relnamespace WHERE nspname = 'ponte'",
    "constraints": "SELECT conname, conrelid::regclass::text, pg_get_constraintdef(c.oid)"
                   " FROM pg_constraint AS c JOIN pg_namespace AS s ON s.oid = connamespace"
                   " WHERE nspname = 'ponte'",
    "functions": "SELECT proname, pg_get_functiondef(p.oid) FROM pg_proc AS p"
                 " JOIN pg_namespace AS s ON s.oid = pronamespace WHERE nspname = 'ponte'"
                 " AND prokind = 'f'",
    "triggers": "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'ponte'",
}  # fmt: skip


async def test_a_new_home_has_the_schema_of_one_that_went_through_all_migrations(
    tmp_path: Any,
) -> None:
    shapes = []
    for name, migrations in (("new", MIGRATIONS), ("old", STEP_BY_STEP)):
        path = tmp_path / f"{name}.db"
        await (await SqliteDatabase.open(path, migrations)).close()
        assert find_foreign_entry(path, STEP_BY_STEP) == ""
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
            tables = [table.name for table in DECLARED_TABLES if not table.shared]
            shapes.append(
                {name: list(connection.execute(f"PRAGMA table_xinfo({name})")) for name in tables}
            )
    assert shapes[0] == shapes[1], "also the order of the columns"


@pytest.fixture
def empty_databases(real_postgres: Postgres) -> Iterator[Sequence[str]]:
    names = [real_postgres.database() for _ in range(2)]
    yield [real_postgres.url(name) for name in names]
    real_postgres.execute(*(f"DROP DATABASE {name} WITH (FORCE)" for name in names))


def test_a_new_postgres_has_the_schema_of_one_that_went_through_all_migrations(
    empty_databases: Sequence[str],
) -> None:
    new, old = (
        _schema_of(url, migrations)
        for url, migrations in zip(empty_databases, (MIGRATIONS, STEP_BY_STEP), strict=True)
    )
    for kind in POSTGRES_SCHEMA:
        assert new[kind] == old[kind], kind


def _schema_of(url: str, migrations: Sequence[Migration]) -> dict[str, set[Any]]:
    options = {**CONNECTION_OPTIONS, "row_factory": psycopg.rows.dict_row}
    with psycopg.connect(url, **options) as connection:
        PostgresDatabase(url, migrations)._migrate(connection)
    with psycopg.connect(url, **CONNECTION_OPTIONS) as connection:
        return {
            kind: set(connection.execute(sql.encode()).fetchall())
            for kind, sql in POSTGRES_SCHEMA.items()
        }
