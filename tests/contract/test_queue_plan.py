"""How much Postgres reads to line a message up and to give out the next job, counted in pages."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import psycopg
import pytest
from procrastinate.schema import SchemaManager
from psycopg.rows import TupleRow

from core.journal import queue_manager
from core.store.postgres import CONNECTION_OPTIONS

MAX_PAGES_READ = 2000
"""Procrastinate's own function read 520,000 of them with 10,000 jobs and no statistics. The first
call of a connection also reads the catalogue."""
WAITING_JOB_COUNT = 10_000
Connection = psycopg.AsyncConnection[TupleRow]
FILL = """
INSERT INTO procrastinate_jobs (queue_name, task_name, lock, args)
SELECT 'slack', 'turn', 'slack:T:C' || mod(n, %s), jsonb_build_object('seq', n)
FROM generate_series(1, %s) AS n
"""


@pytest.fixture
async def connection(migrated_postgres: str) -> AsyncIterator[Connection]:
    """A database whose tables nobody has analysed, and nobody will."""
    async with await psycopg.AsyncConnection.connect(
        migrated_postgres, autocommit=True, **CONNECTION_OPTIONS
    ) as view:
        await view.execute("ALTER TABLE procrastinate_jobs SET (autovacuum_enabled = off)")
        await view.execute("INSERT INTO procrastinate_workers DEFAULT VALUES")
        yield view


async def fetch_job(connection: Connection) -> tuple[int, int | None]:
    """Pages that one fetch reads, and the `seq` of the job that it gave out."""
    query = queue_manager.FETCH_JOB_SQL % {
        "queues": "ARRAY['slack']",
        "worker_id": "1",
        "owner": "'p1'",
        "now": "0",
        "thread": "md5(clock_timestamp()::text)",
    }
    last = "SELECT max((args ->> 'seq')::bigint) FROM procrastinate_jobs WHERE status = 'doing'"
    page_count = await pages(connection, query)
    row = await (await connection.execute(last)).fetchone()
    return page_count, row[0] if row else None


@pytest.mark.parametrize(
    ("statistics", "conversations"),
    [
        ("none", WAITING_JOB_COUNT),
        ("none", 100),
        ("of the empty table", WAITING_JOB_COUNT),
        ("right", 100),
    ],
)
async def test_a_fetch_reads_little_of_a_long_queue(
    connection: Connection, statistics: str, conversations: int
) -> None:
    if statistics == "of the empty table":
        await connection.execute("VACUUM ANALYZE procrastinate_jobs")
    await connection.execute(FILL, (conversations, WAITING_JOB_COUNT))
    if statistics == "right":
        await connection.execute("ANALYZE procrastinate_jobs")
    await fetch_job(connection)  # it also reads the catalogue
    for number in range(2, 20):
        page_count, seq = await fetch_job(connection)
        assert seq == number, "the oldest comes first"
        assert page_count < MAX_PAGES_READ / 4, f"fetch {number}"


SENDERS = {
    "everybody": ("slack:T:C{n}", "slack:T:C{n}", "slack:T:U{n}"),
    "a crowd": ("slack:T:C:{n}", "slack:T:C", "slack:T:U{n}"),
    "a flood": ("slack:T:C:{n}", "slack:T:C", "slack:T:U"),
    "a flood over channels": ("slack:T:C{n}", "slack:T:C{n}", "slack:T:U"),
}
"""Of whom WAITING_JOB_COUNT messages wait: conversation, channel and person of each."""
WAITING_JOBS_SQL = """
INSERT INTO inbox (event_key, turn, conversation, channel, person, is_decision, message, created_at,
                   updated_at, position, job)
SELECT 'k' || n, 't' || n, {}, {}, {}, 0, repeat('x', 400), 0, 0,
       CASE {flood} WHEN true THEN 1000 * n ELSE least(n, 999) END,
       CASE WHEN {flood} AND n > 10 THEN 0 ELSE n END
FROM generate_series({first}, {last}) AS n
"""


def waiting(senders: str, first: int, last: int) -> bytes:
    sender = [f"'{one}'".replace("{n}", "' || n || '") for one in SENDERS[senders]]
    flood = "true" if senders == "a flood" else "false"
    return WAITING_JOBS_SQL.format(*sender, flood=flood, first=first, last=last).encode()


async def pages(connection: Connection, statement: str) -> int:
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
    row = await (await connection.execute(explain.encode())).fetchone()
    assert row
    plan = row[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.mark.parametrize("senders", SENDERS)
async def test_a_message_is_lined_up_and_ended_without_a_look_at_the_others(
    connection: Connection, senders: str
) -> None:
    """Also where the plans were made while nothing waited: they are kept for a connection."""
    await connection.execute("ALTER TABLE inbox SET (autovacuum_enabled = off)")
    for early in range(1, 8):
        await connection.execute(waiting(senders, early, early))
        await pages(connection, f"SELECT ponte_line_up({early})")
        await connection.execute(f"UPDATE inbox SET state = 'done' WHERE seq = {early}".encode())
    await connection.execute(waiting(senders, 8, WAITING_JOB_COUNT))
    for seq in range(WAITING_JOB_COUNT + 1, WAITING_JOB_COUNT + 8):
        await connection.execute(waiting(senders, seq, seq))
        await connection.execute(f"UPDATE inbox SET job = 0 WHERE seq = {seq}".encode())
        assert await pages(connection, f"SELECT ponte_line_up({seq})") < MAX_PAGES_READ
    for seq in range(20, 25):
        end = f"UPDATE inbox SET state = 'done' WHERE seq = {seq}"
        assert await pages(connection, end) < MAX_PAGES_READ


async def test_a_fetch_of_an_empty_queue_reads_next_to_nothing(connection: Connection) -> None:
    for _ in range(3):
        page_count, seq = await fetch_job(connection)
        assert seq is None
        assert page_count < MAX_PAGES_READ


async def test_the_plan_outlives_an_upgrade_of_procrastinate(connection: Connection) -> None:
    """An upgrade replaces its functions, and with them what was set on them."""
    schema = SchemaManager.get_schema()
    match = re.search(r"CREATE FUNCTION (procrastinate_fetch_job_v2.*?\$\$;)", schema, re.DOTALL)
    assert match
    await connection.execute(f"CREATE OR REPLACE FUNCTION {match[1]}".encode())
    await connection.execute(FILL, (WAITING_JOB_COUNT, WAITING_JOB_COUNT))
    for number in range(1, 4):
        page_count, seq = await fetch_job(connection)
        assert (seq, page_count < MAX_PAGES_READ) == (number, True)
