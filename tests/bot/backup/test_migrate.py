"""`ponte migrate` copies every table of a home to Postgres, each row once."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from bot.features.backup.migrate import NotTheSame, migrate
from bot.home import Home
from bot.settings import Settings
from bot.stores import SCHEMA, Stores
from core.base.errors import SettingsError
from core.store.database import SqliteDatabase
from core.store.tables import Column
from tests.real.postgres import Postgres


async def test_each_table_arrives_whole(
    nothing_set: None, real_postgres: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those that no recorded home has rows in: one row with a value of its own in each. What
    the database has already stays, and rows that it cannot take are told."""
    await (await SqliteDatabase.open(tmp_path / "ponte.db", SCHEMA)).close()
    with closing(sqlite3.connect(tmp_path / "ponte.db")) as home:
        for table in SCHEMA.copy_tables:
            values = [_value(column) for column in table.columns if not column.shared]
            marks = ", ".join("?" * len(values))
            home.execute(f"INSERT INTO {table.name} VALUES ({marks})", values)
        home.commit()
    url = real_postgres.url(real_postgres.database())
    settings = Settings(ponte_home=tmp_path, database_url=SecretStr(url))
    for _ in range(2):
        assert await migrate(settings, Home(tmp_path)) == 0
    output = capsys.readouterr().out
    assert "which stays" not in output
    assert "  bytes of files: 1, 1 of which the home has no bytes any more\n" in output
    with psycopg.connect(url, options="-c search_path=ponte") as there:
        for table in SCHEMA.copy_tables:
            names = [column.name for column in table.columns if not column.shared]
            select = f"SELECT {', '.join(names)} FROM {table.name}"
            with closing(sqlite3.connect(tmp_path / "ponte.db")) as home:
                ours: Sequence[Any] = home.execute(select).fetchall()
            match = set(there.execute(select.encode()).fetchall())
            assert match >= set(ours), table.name

    other = tmp_path / "other"
    other.mkdir()
    await (await SqliteDatabase.open(other / "ponte.db", SCHEMA)).close()
    settings = Settings(ponte_home=other, database_url=SecretStr(url))
    assert await migrate(settings, Home(other)) == 0
    output = capsys.readouterr().out
    for name in Home(other).secrets():
        assert f"  {name}: the database has its own already, which stays\n" in output

    row = (
        "INSERT INTO api_tokens (id, person, token, name, added_at, expires_at)"
        " VALUES (?, ?, ?, '', 1, 0)"
    )
    with closing(sqlite3.connect(other / "ponte.db")) as home:
        home.execute(row, ("id of it", "web:ana", "t1"))
        home.execute(row, ("id 2", "web:bob", "token of it"))
        home.commit()
    with pytest.raises(NotTheSame) as error:
        await migrate(settings, Home(other))
    assert error.value.words().startswith(
        "After copying, api_tokens has 1 rows, but the data folder has 2."
    )


async def test_a_home_without_data_is_not_copied(nothing_set: None, tmp_path: Path) -> None:
    url = SecretStr("postgresql://ponte@127.0.0.1:1/ponte")
    settings = Settings(ponte_home=tmp_path, database_url=url)
    with pytest.raises(SettingsError, match="has no data to copy"):
        await migrate(settings, Home(tmp_path))


async def test_the_thread_of_each_conversation_arrives(
    nothing_set: None, real_postgres: Postgres, tmp_path: Path
) -> None:
    stores = await Stores.open_in_home(tmp_path)
    first = await stores.journal.new_thread("web:main")
    second = await stores.journal.new_thread("slack:T1:C1:1.5")
    threads = [
        replace(first, remote="conv_1", remote_upto=7),
        replace(second, level="chat", participants=("slack:T1:U1",)),
    ]
    for thread in threads:
        await stores.threads.put(thread)
    await stores.close()
    url = real_postgres.url(real_postgres.database())
    settings = Settings(ponte_home=tmp_path, database_url=SecretStr(url))
    assert await migrate(settings, Home(tmp_path)) == 0
    share = await Stores.open_shared(url, takes=False, works=False)
    try:
        matches = [await share.threads.get(thread.conversation) for thread in threads]
    finally:
        await share.close()
    assert matches == threads


def test_what_is_not_copied_is_made_again_elsewhere() -> None:
    remaining_tables = {table.name for table in SCHEMA.declarations if not table.shared} - {
        one.name for one in SCHEMA.copy_tables
    }
    assert remaining_tables == {"directory"}, "Slack and Discord list their people again"


def _value(column: Column) -> Any:
    if column.name == "state":
        return "done"
    return {"TEXT": f"{column.name} of it", "INTEGER": 1, "REAL": 1.5}[column.type]
