"""A test gets a database as if it were the first one to use it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.stores import SCHEMA
from core.store.database import SqlConnection, SqliteDatabase
from tests.real.nocodb.seed import ReusedBase, Seeded, base_with_rows, call


def read_schema(path: Path) -> list[object]:
    with closing(sqlite3.connect(path)) as connection:
        return [
            connection.execute("SELECT * FROM database_schema").fetchone(),
            connection.execute("PRAGMA journal_mode").fetchone(),
            connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall(),
        ]


async def test_a_copy_equals_a_new_database(tmp_path: Path) -> None:
    for name in ("first", "copy"):
        await (await SqliteDatabase.open(tmp_path / name, SCHEMA)).close()
    creation = tmp_path / "created"
    await (await SqliteDatabase.open(creation, replace(SCHEMA))).close()
    assert read_schema(tmp_path / "copy") == read_schema(creation)
    assert (tmp_path / "copy").stat().st_mode == creation.stat().st_mode


async def test_no_test_waits_for_the_disk(tmp_path: Path) -> None:
    """But for those that use `durable_sqlite`: tests/core/store/test_database.py."""

    def synchronous(connection: SqlConnection) -> object:
        return connection.execute("PRAGMA synchronous").fetchone()[0]

    database = await SqliteDatabase.open(tmp_path / "ponte.db", SCHEMA)
    assert await database.write(synchronous) == 0
    await database.close()


def test_a_base_of_nocodbs_has_its_first_rows_again_for_the_next_test(real_nocodb: Seeded) -> None:
    url, token = real_nocodb.url, real_nocodb.token
    reused = ReusedBase(real_nocodb, lambda: base_with_rows(url, token, "Reused"))
    base = reused.take()
    orders = base.tables["Orders"]
    records = f"{url}/api/v3/data/{base.id}/{orders}/records"

    def read_rows() -> Any:
        return call(f"{records}?pageSize=100", xc_token=token)

    first = read_rows()
    call(records, [{"id": 1}, {"id": 2}], method="DELETE", xc_token=token)
    call(records, {"id": 3, "fields": {"Title": "x"}}, method="PATCH", xc_token=token)
    assert read_rows() != first
    assert reused.take() is base
    assert read_rows() == first

    field = {"title": "More", "type": "SingleLineText"}
    call(f"{url}/api/v3/meta/bases/{base.id}/tables/{orders}/fields", field, xc_token=token)
    other = reused.take()
    assert other.id != base.id, "a test changed its fields"
    assert reused.take() is other
