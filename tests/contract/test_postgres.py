"""What Postgres alone has: transactions begun again, refusals."""

from __future__ import annotations

import asyncio
import re
import threading
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from bot.stores import SCHEMA
from core.base.errors import NotStored, SettingsError
from core.store.database import SqlConnection
from core.store.postgres import (
    CONNECTION_OPTIONS,
    IDLE_IN_TRANSACTION_TIMEOUT,
    PostgresDatabase,
    check_server,
)
from core.store.processes import read_cluster
from tests.real.postgres import Postgres
from tests.time_limits import Limits


@pytest.fixture
def url(migrated_postgres: str) -> str:
    return migrated_postgres


@pytest.fixture
def empty_url(real_postgres: Postgres) -> str:
    return real_postgres.url(real_postgres.database())


async def open_database(url: str) -> PostgresDatabase:
    return await PostgresDatabase.open(url, SCHEMA)


async def test_processes_that_start_together_make_one_schema(empty_url: str) -> None:
    results = await asyncio.gather(*(open_database(empty_url) for _ in range(4)))
    assert check_server(empty_url, lambda _: None)[1] == SCHEMA.version
    for database in results:
        await database.close()


async def test_a_transaction_whose_connection_is_cut_is_begun_again(url: str) -> None:
    database = await open_database(url)
    tries = 0

    def write(connection: SqlConnection) -> int:
        nonlocal tries
        tries += 1
        connection.execute("INSERT INTO audit (line) VALUES (?)", (f"try {tries}",))
        if tries < 3:
            connection.execute("SELECT pg_terminate_backend(pg_backend_pid())").fetchone()
        return tries

    assert await database.write(write) == 3
    lines = await database.read(lambda c: c.execute("SELECT line FROM audit").fetchall())
    assert [line["line"] for line in lines] == ["try 3"]
    await database.close()


@pytest.mark.parametrize("goes_on", [True, False], ids=["statement", "commit"])
async def test_a_transaction_that_falls_silent_lets_others_go_on(url: str, goes_on: bool) -> None:
    """What a frozen process leaves: its locks are gone while it says nothing, and its transaction
    is begun again when it wakes."""
    assert (
        f"idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT}"
        in CONNECTION_OPTIONS["options"]
    )
    database = await open_database(url)
    holds, others = threading.Event(), threading.Event()
    begun = 0

    def frozen(connection: SqlConnection) -> None:
        nonlocal begun
        begun += 1
        # In one statement: a slow machine may need 100 ms for two.
        setting = "set_config('idle_in_transaction_session_timeout', '100ms', true)"
        connection.execute(f"SELECT {setting if begun == 1 else 1}, ponte_lock(?)", ("here",))
        holds.set()
        others.wait()
        if goes_on:
            connection.execute("SELECT ponte_lock(?)", ("there",))

    silent = asyncio.ensure_future(database.write(frozen))
    await asyncio.to_thread(holds.wait)
    await database.write(lambda c: c.execute("SELECT ponte_lock(?)", ("here",)).fetchone())
    others.set()
    await silent
    assert begun == 2
    await database.close()


async def test_two_that_wait_for_each_other_both_come_through(url: str) -> None:
    """A deadlock: Postgres gives one up, and that one is begun again."""
    database = await open_database(url)
    both = asyncio.Barrier(2)
    loop = asyncio.get_running_loop()

    def write(first: str, second: str, connection: SqlConnection) -> None:
        for name in (first, second):
            connection.execute(
                "INSERT INTO remembered (name, data) VALUES (?, '') ON CONFLICT (name)"
                " DO UPDATE SET data = remembered.data || 'x'",
                (name,),
            )
            if name == first and not both.broken and both.n_waiting < 2:
                wait = asyncio.run_coroutine_threadsafe(_wait_for_both(both), loop)
                wait.result()

    await asyncio.gather(
        database.write(lambda c: write("a", "b", c)), database.write(lambda c: write("b", "a", c))
    )
    rows = await database.read(lambda c: c.execute("SELECT data FROM remembered").fetchall())
    assert [row["data"] for row in rows] == ["x", "x"]
    await database.close()


async def _wait_for_both(both: asyncio.Barrier) -> None:
    """The first time; who is begun again finds it broken."""
    with suppress(asyncio.BrokenBarrierError):
        await both.wait()
    await both.abort()


@pytest.mark.parametrize("single", [True, False])
async def test_another_isolation_of_the_server_changes_nothing(url: str, single: bool) -> None:
    """What a transaction reads after it waited for a lock must be what its holder wrote."""
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        setting = f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"
        connection.execute(setting.encode())
    database = await open_database(url)
    sql = "SELECT current_setting('transaction_isolation') AS isolation"
    row = await database.write(lambda c: c.execute(sql).fetchone(), single=single)
    assert row["isolation"] == "read committed"
    await database.close()


async def test_a_wrong_statement_is_not_tried_again_and_odd_text_is_kept(url: str) -> None:
    """Postgres has no room for a zero character."""
    database = await open_database(url)
    tries = 0

    def write(connection: SqlConnection) -> None:
        nonlocal tries
        tries += 1
        connection.execute("SELECT * FROM nowhere").close()

    with pytest.raises(psycopg.errors.UndefinedTable):
        await database.write(write)
    assert tries == 1
    words = "%s ? :name \\ ' é 🌉 \0 \u2028"
    insert = "INSERT INTO audit (line) VALUES (?) RETURNING line"
    record = await database.write(lambda c: c.execute(insert, (words,)).fetchone())
    assert record["line"] == words.replace("\0", "\N{REPLACEMENT CHARACTER}")
    await database.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda url: url.replace("@/t", "@/nowhere"), "does not exist"),
        (lambda url: "postgresql://ana:secret-word@127.0.0.1:1/ponte", "refused"),
    ],
)
async def test_a_database_that_cannot_be_used_is_told_in_words(
    url: str, change: object, told: str
) -> None:
    assert callable(change)
    database = await open_database(url)
    database._url = change(url)
    for use in (
        open_database(change(url)),
        asyncio.to_thread(check_server, change(url), read_cluster),
        database.scrub(),
    ):
        with pytest.raises(NotStored, match=told) as error:
            await use
        assert str(error.value).startswith("Can't use the database that DATABASE_URL points to: ")
        assert "secret-word" not in str(error.value)
    await database.close()


async def test_a_server_that_is_too_old_is_refused_with_words(
    empty_url: str, limits: Limits
) -> None:
    limits(MIN_SERVER_VERSION=99)
    with pytest.raises(
        SettingsError, match=r"^Postgres \d+ is too old\. Ponte needs 99 or newer\.$"
    ):
        await asyncio.to_thread(check_server, empty_url, read_cluster)


async def test_doctor_looks_and_changes_nothing(empty_url: str) -> None:
    url = empty_url
    text, schema, match = await asyncio.to_thread(check_server, url, read_cluster)
    assert (schema, match) == (0, None)
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT to_regnamespace('ponte')").fetchone()
    assert row == (None,)
    await (await open_database(url)).close()
    text, schema, match = await asyncio.to_thread(check_server, url, read_cluster)
    assert (int(text.split(".")[0]) >= 14, schema) == (True, SCHEMA.version)
    assert match
    assert "that answer messages: 0" in match.words


async def test_a_database_as_the_document_makes_it_lets_no_other_role_in(
    real_postgres: Postgres,
) -> None:
    text = (Path(__file__).parents[2] / "docs/guides/scaling.md").read_text("utf-8")
    match = re.search(r"```sql\n(.*?)```", text, re.DOTALL)
    assert match
    statements = [line.strip() for line in match[1].splitlines() if line.strip()]
    try:
        real_postgres.execute(*statements, "CREATE ROLE stranger LOGIN")
        address = f"{{}}@/ponte?host={real_postgres.folder}"
        database = await open_database("postgresql://" + address.format("ponte"))
        await database.close()
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect("postgresql://" + address.format("stranger"))
    finally:
        real_postgres.execute(
            "DROP DATABASE ponte WITH (FORCE)", "DROP ROLE ponte", "DROP ROLE IF EXISTS stranger"
        )


async def test_a_scrub_takes_deleted_rows_out_of_the_files(url: str) -> None:
    def size(connection: SqlConnection) -> int:
        return int(
            connection.execute("SELECT pg_relation_size('directory') AS size").fetchone()["size"]
        )

    fill = (
        "INSERT INTO directory SELECT 'slack', '', 'U' || n, 'U' || n, 'Zoe', '', '', 0, 0,"
        " '', 1e12 FROM generate_series(1, 1000) AS n"
    )
    database = await open_database(url)
    await database.write(lambda connection: connection.execute(fill).close())
    await database.write(lambda connection: connection.execute("DELETE FROM directory").close())
    assert await database.read(size) > 0
    await database.scrub()
    assert await database.read(size) == 0
    await database.close()
