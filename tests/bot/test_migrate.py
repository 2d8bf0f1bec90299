"""`ponte migrate` copies every table of a home to Postgres, each row once."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from pydantic import SecretStr

from bot.engine import Stores
from bot.home import Home
from bot.migrate import migrate
from bot.settings import Settings
from core.domain.records import Thread
from core.store.database import SqliteDatabase
from core.store.schema import MIGRATIONS
from core.store.tables import COPIED, DECLARED_TABLES, Column
from core.store.thread_map import FileThreadMap
from tests.real.postgres import Postgres


async def test_each_table_arrives_whole(
    nothing_set: None, real_postgres: Postgres, tmp_path: Path
) -> None:
    """Also those that no recorded home has rows in: one row with a value of its own in each."""
    await (await SqliteDatabase.open(tmp_path / "ponte.db", MIGRATIONS)).close()
    with closing(sqlite3.connect(tmp_path / "ponte.db")) as home:
        for table in COPIED:
            values = [_value(column) for column in table.columns if not column.shared]
            marks = ", ".join("?" * len(values))
            home.execute(f"INSERT INTO {table.name} VALUES ({marks})", values)
        home.commit()
    url = real_postgres.url(real_postgres.database())
    settings = Settings(ponte_home=tmp_path, database_url=SecretStr(url))
    for _ in range(2):
        assert await migrate(settings, Home(tmp_path)) == 0
    with psycopg.connect(url, options="-c search_path=ponte") as there:
        for table in COPIED:
            names = [column.name for column in table.columns if not column.shared]
            select = f"SELECT {', '.join(names)} FROM {table.name}"
            with closing(sqlite3.connect(tmp_path / "ponte.db")) as home:
                ours: Sequence[Any] = home.execute(select).fetchall()
            found = set(there.execute(select.encode()).fetchall())
            assert found >= set(ours), table.name


async def test_the_thread_of_each_conversation_arrives(
    nothing_set: None, real_postgres: Postgres, tmp_path: Path
) -> None:
    await (await SqliteDatabase.open(tmp_path / "ponte.db", MIGRATIONS)).close()
    threads = [
        Thread("web:main", "t1", generation=2, remote="conv_1", remote_upto=7),
        Thread("slack:T1:C1:1.5", "t2", level="chat", participants=("slack:T1:U1",)),
    ]
    home = await FileThreadMap.open(tmp_path / "threads.db")
    for thread in threads:
        await home.put(thread)
    await home.close()
    url = real_postgres.url(real_postgres.database())
    settings = Settings(ponte_home=tmp_path, database_url=SecretStr(url))
    assert await migrate(settings, Home(tmp_path)) == 0
    shared = await Stores.open_shared(url, takes=False, works=False)
    try:
        found = [await shared.threads.get(thread.conversation) for thread in threads]
    finally:
        await shared.close()
    assert found == threads


def test_what_is_not_copied_is_made_again_elsewhere() -> None:
    left = {table.name for table in DECLARED_TABLES if not table.shared} - {
        one.name for one in COPIED
    }
    assert left == {"directory"}, "Slack and Discord list their people again"


def _value(column: Column) -> Any:
    if column.name == "state":
        return "done"
    return {"TEXT": f"{column.name} of it", "INTEGER": 1, "REAL": 1.5}[column.type]
