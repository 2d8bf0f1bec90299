"""`ponte run` on the data of each release, killed at each migration and started again on what that
left: the last start has every row, and no step was run twice."""

from __future__ import annotations

import gzip
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import psycopg
import pytest

from bot.stores import SCHEMA
from core.store.schema import list_snapshots, read_schema_version
from tests.real.machines import Machine
from tests.real.postgres import Postgres
from tests.recorded.recorded_ponte import TOKEN, put_home, read_record
from tests.recorded.test_recorded import FOLDER, RELEASES
from tests.recorded.test_upgrade import Rows, read_rows, read_shared_rows

pytestmark = pytest.mark.slow
KEPT = [
    "inbox",
    "items",
    "calls",
    "changes",
    "steps",
    "consents",
    "people",
    "api_tokens",
    "usage",
    "conversations",
    "schedules",
    "schedule_runs",
    "files",
    "votes",
    "sign_ins",
]
"""Tables whose rows no start deletes in the first day."""
NOTIFY = """
CREATE FUNCTION public.tell_of_statement() RETURNS event_trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE NOTICE '%', tg_tag; END $$;
CREATE EVENT TRIGGER tell_of_statements ON ddl_command_end
    EXECUTE FUNCTION public.tell_of_statement()
"""
"""The server tells the client of each statement that has changed the schema."""


def list_statements(script: str) -> list[str]:
    return [part.strip() for part in script.split(";") if part.strip()]


def make_machine(folder: Path, database: str = "") -> Machine:
    settings = {"PONTE_WEB_PORT": "0", "PONTE_WEB_TOKEN": TOKEN, "DATABASE_URL": database}
    return Machine("home", "run", folder, settings)


async def start_and_die(machine: Machine, statement: str) -> bool:
    """Whether it died; otherwise it is ready."""
    try:
        await machine.start(PONTE_DIES_UPGRADING=statement)
    except AssertionError:
        assert await machine.wait_for_exit() == -signal.SIGKILL, machine.lines
        return True
    return False


async def ask(machine: Machine) -> str:
    """Sign in on the page with the token, and ask something."""
    (page,) = re.findall(r"http://[^/#]+", machine.page)
    async with httpx.AsyncClient(base_url=page, timeout=60) as browser:
        (await browser.post("/login", json={"token": TOKEN})).raise_for_status()
        request = {"message": "help", "conversation": "after"}
        reply = (await browser.post("/chat", json=request)).raise_for_status()
    return str(reply.json()["response"])


def check_rows(before: Rows, after: Rows) -> None:
    """By their first column, which is a key or a part of one."""
    for table in KEPT:
        keys = {row[0] for row in before.get(table, [])}
        assert keys <= {row[0] for row in after[table]}, table
    assert len(after["audit"]) >= len(before.get("audit", []))
    assert after["database_schema"] == [(SCHEMA.version, SCHEMA.fingerprint)]


@pytest.mark.parametrize("release", RELEASES)
async def test_in_a_data_folder(release: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    put_home(read_record(FOLDER / f"{release}.json.gz")["home"], home)
    before = read_rows(home)
    with closing(sqlite3.connect(home / "ponte.db")) as connection:
        old = read_schema_version(connection)
    machine = make_machine(tmp_path)
    for migration in SCHEMA.migrations[old[0] - 1 :]:
        statements = list_statements(migration.script)
        for statement in dict.fromkeys((statements[0], statements[-1])):
            assert await start_and_die(machine, statement), statement
            with closing(sqlite3.connect(home / "ponte.db")) as connection:
                assert read_schema_version(connection) == old, statement
    assert read_rows(home) == before
    await machine.start()
    assert await ask(machine)
    assert await machine.terminate() == 0
    check_rows(before, read_rows(home))
    for snapshot in list_snapshots(home):
        with closing(sqlite3.connect(snapshot)) as connection:
            assert read_schema_version(connection) == old


@pytest.mark.parametrize("release", RELEASES)
async def test_on_postgres(release: str, real_postgres: Postgres, tmp_path: Path) -> None:
    url = real_postgres.url(real_postgres.database())
    with psycopg.connect(url) as connection:
        connection.execute(gzip.decompress((FOLDER / f"{release}.sql.gz").read_bytes()))
        connection.execute("SET search_path = public")
        connection.execute(NOTIFY.encode())
    before, deaths = read_shared_rows(url), 0
    machine = make_machine(tmp_path, url)
    while await start_and_die(machine, str(deaths + 1)):
        deaths += 1
        assert read_shared_rows(url) == before, deaths
    assert deaths >= len(SCHEMA.migrations) - before["database_schema"][0][0]
    assert await ask(machine)
    assert await machine.terminate() == 0
    check_rows(before, read_shared_rows(url))
