"""Processes of schema 7 beside newer ones on one database, by the statements that they send.

`make rolling OLD=…` runs the real old version; these tests keep what it found.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from core.domain.messages import encode_json
from core.store.database import SqlConnection, lock_key
from core.store.rolling_upgrade import WAITING_JOB
from tests.contract.engines import Shared, Worker
from tests.contract.test_inbox import says

ABANDONED_OF_SCHEMA_7 = (
    "SELECT inbox.seq FROM inbox LEFT JOIN procrastinate_jobs AS jobs ON jobs.id = inbox.job"
    " WHERE inbox.state IN ('new', 'running', 'answered', 'posting')"
    " AND (jobs.id IS NULL OR jobs.status NOT IN ('todo', 'doing'))"
)
"""Commit 9bb4dd6, core/store/jobs.py, without the part about processes that died."""
DEFER_OF_SCHEMA_7 = (
    "SELECT unnest(procrastinate_defer_jobs_v1(ARRAY[ROW('web', 'turn', 0, ?, NULL,"
    " jsonb_build_object('seq', ?), NULL)::procrastinate_job_to_defer_v1])) AS id"
)


async def accept_by_schema_7(engine: Shared, text: str) -> int:
    """Store a message as `serve` of commit 9bb4dd6 does: without a channel, with a job at once."""
    message = says(text)
    conversation = message.address.conversation

    def store(connection: SqlConnection) -> int:
        lock_key(connection, conversation)
        seq = connection.execute(
            "INSERT INTO inbox (event_key, turn, conversation, person, decision, message, created,"
            " updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING seq",
            (
                message.event_key,
                message.turn,
                conversation,
                message.author.key,
                0,
                encode_json(message),
                time.time(),
                time.time(),
            ),
        ).fetchone()["seq"]
        job = connection.execute(DEFER_OF_SCHEMA_7, (conversation, seq)).fetchone()["id"]
        connection.execute("UPDATE inbox SET job = ? WHERE seq = ?", (job, seq))
        return int(seq)

    return await engine.database.write(store)


async def answer_in_order(engine: Shared, seqs: Sequence[int]) -> list[str]:
    worker = Worker(engine).start()
    for seq in seqs:
        await engine.inbox.wait_for_answer(seq)
    return worker.said


async def test_an_old_process_does_not_take_over_turns_that_wait(on_postgres: Shared) -> None:
    for number in range(3):
        await on_postgres.inbox.accept(says(f"{number}"))
    found = await on_postgres.database.read(lambda c: c.execute(ABANDONED_OF_SCHEMA_7).fetchall())
    assert found == []


async def test_a_message_that_an_old_process_stores_runs_after_those_that_wait(
    on_postgres: Shared,
) -> None:
    first = [(await on_postgres.inbox.accept(says(f"{n}"))).seq for n in range(3)]
    middle = [await accept_by_schema_7(on_postgres, f"{n}") for n in range(3, 5)]
    last = [(await on_postgres.inbox.accept(says(f"{n}"))).seq for n in range(5, 7)]
    said = await answer_in_order(on_postgres, [*first, *middle, *last])
    assert said == [str(number) for number in range(7)]


async def test_a_turn_that_is_put_back_runs_before_what_an_old_process_stored_meanwhile(
    on_postgres: Shared,
) -> None:
    seqs = [await accept_by_schema_7(on_postgres, "0")]
    seqs.append((await on_postgres.inbox.accept(says("1"))).seq)
    first = "UPDATE procrastinate_jobs SET status = ?, priority = least(priority, ?) WHERE id = ?"
    job = await on_postgres.database.read(
        lambda c: c.execute("SELECT job FROM inbox WHERE seq = ?", (seqs[0],)).fetchone()["job"]
    )
    await on_postgres.database.write(lambda c: c.execute(first, ("doing", -2000, job)).close())
    seqs.append(await accept_by_schema_7(on_postgres, "2"))
    await on_postgres.database.write(lambda c: c.execute(first, ("todo", 0, job)).close())
    assert await answer_in_order(on_postgres, seqs) == ["0", "1", "2"]


async def test_a_turn_that_its_process_gave_up_runs_before_what_an_old_process_stored(
    on_postgres: Shared,
) -> None:
    seqs = [(await on_postgres.inbox.accept(says("0"))).seq]
    seqs.append(await accept_by_schema_7(on_postgres, "1"))

    def give_up(connection: SqlConnection) -> None:
        connection.execute(
            "UPDATE procrastinate_jobs SET status = 'doing' WHERE id ="
            " (SELECT job FROM inbox WHERE seq = ?)",
            (seqs[0],),
        )
        connection.execute("DELETE FROM procrastinate_jobs WHERE status = 'doing'")

    await on_postgres.database.write(give_up)
    assert await answer_in_order(on_postgres, seqs) == ["0", "1"]


async def test_a_newer_message_runs_after_those_that_an_old_process_stored(
    on_postgres: Shared,
) -> None:
    first = [await accept_by_schema_7(on_postgres, f"{n}") for n in range(2)]
    last = [(await on_postgres.inbox.accept(says(f"{n}"))).seq for n in range(2, 4)]
    assert await answer_in_order(on_postgres, [*first, *last]) == ["0", "1", "2", "3"]


async def test_a_turn_of_a_migrated_home_that_had_begun_is_taken_up(on_postgres: Shared) -> None:
    """It has no job either, and is not one of those that wait."""
    receipt = await on_postgres.inbox.accept(says("one"))

    def begin(connection: SqlConnection) -> None:
        connection.execute("UPDATE inbox SET state = 'running', job = 0")
        connection.execute("DELETE FROM procrastinate_jobs WHERE id <> ?", (WAITING_JOB,))

    await on_postgres.database.write(begin)
    await on_postgres.jobs.sweep()
    assert await answer_in_order(on_postgres, [receipt.seq]) == ["one"]
    waits = await on_postgres.database.read(
        lambda c: c.execute(
            "SELECT status FROM procrastinate_jobs WHERE id = ?", (WAITING_JOB,)
        ).fetchone()
    )
    assert waits["status"] == "todo", "the row that stands for all that wait is still there"
