"""What Procrastinate's workers need around them: each test fails without a part of the adapter."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Any

import pytest
from procrastinate.exceptions import ConnectorException

from core.base.tasks import cancel_all
from core.journal.queue_manager import TurnJobManager
from core.store.database import SqlConnection
from tests.contract.engines import Shared, Worker
from tests.contract.test_inbox import says
from tests.time_limits import Limits


async def test_a_worker_whose_fetch_fails_takes_new_turns_beside_those_that_run(
    on_postgres: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Procrastinate would end the worker, and wait for its running jobs before that."""
    connector = on_postgres.jobs.workers.app.connector
    fetch = connector.execute_query_one_async
    to_fail = 0

    async def fail_sometimes(query: str, **arguments: Any) -> dict[str, Any]:
        nonlocal to_fail
        if to_fail and "ponte_fetch" in query:
            to_fail -= 1
            raise ConnectorException
        return await fetch(query, **arguments)

    monkeypatch.setattr(connector, "execute_query_one_async", fail_sometimes)
    worker = Worker(on_postgres, held=True).start("web")
    await on_postgres.inbox.accept(says("one", "C1"))
    await worker.until_begun(1)
    to_fail = 6
    await on_postgres.inbox.accept(says("two", "C2"))
    await worker.until_begun(2)
    assert worker.said == ["one", "two"]


async def test_the_database_is_not_asked_for_jobs_to_abort(on_postgres: Shared) -> None:
    """A worker of Procrastinate would ask every five seconds while a job runs."""
    workers = on_postgres.jobs.workers
    worker = Worker(on_postgres, held=True).start("web")
    await on_postgres.inbox.accept(says("one"))
    await worker.until_begun(1)
    await on_postgres.database.write(
        lambda c: c.execute(
            "UPDATE procrastinate_jobs SET abort_requested = true WHERE status = 'doing'"
        ).close()
    )
    assert list(await workers.app.job_manager.list_jobs_to_abort_async()) == []
    worker.let_go()


async def test_turns_begin_without_a_poll(on_postgres: Shared, limits: Limits) -> None:
    """Also those that wait for the end of another turn, maybe in another process."""
    limits(QUEUE_POLL_SECONDS=3600.0)
    other = await on_postgres.beside()
    workers = [Worker(engine).start("web") for engine in (on_postgres, other)]
    receipts = [await on_postgres.inbox.accept(says(f"{n}", f"C{n % 5}")) for n in range(40)]
    for receipt in receipts:
        await on_postgres.inbox.wait_for_answer(receipt.seq)
    values = sorted(text for worker in workers for text in worker.said)
    assert values == sorted(f"{n}" for n in range(40))


async def test_a_turn_that_is_put_back_begins_elsewhere_without_a_poll(
    on_postgres: Shared, limits: Limits
) -> None:
    limits(QUEUE_POLL_SECONDS=3600.0)
    worker = Worker(on_postgres, held=True).start("web")
    await on_postgres.inbox.accept(says("one"))
    await worker.until_begun(1)
    heir = Worker(await on_postgres.beside()).start("web")
    await on_postgres.jobs.drain(0)
    await heir.until_ended(1)
    assert heir.said == ["one"]


async def test_a_worker_that_has_ended_looks_for_no_job(
    on_postgres: Shared, limits: Limits
) -> None:
    """A timer of it would start a task, which the end of the event loop cuts off."""
    limits(RELISTEN_SECONDS=3600.0)
    times = 0
    looked = asyncio.Event()

    async def look(channel: str, notification: object) -> None:
        nonlocal times
        times += 1
        looked.set()

    await on_postgres.jobs.workers.open()
    manager = on_postgres.jobs.workers.app.job_manager
    assert isinstance(manager, TurnJobManager)
    listening = asyncio.create_task(
        manager.listen_for_jobs(on_notification=look, queues=["nobody's"])
    )
    await asyncio.sleep(0)
    manager._look_later(("nobody's",), 0.0)
    await looked.wait()
    await cancel_all([listening])
    manager._look_later(("nobody's",), 0.0)
    for _ in range(3):  # the timer, its task, and what that calls
        await asyncio.sleep(0)
    assert times == 1


@pytest.mark.parametrize("is_writing", [False, True])
async def test_a_process_that_drains_gives_signs_of_life_while_its_turns_run(
    on_postgres: Shared, monkeypatch: pytest.MonkeyPatch, limits: Limits, is_writing: bool
) -> None:
    """A turn may take PONTE_GRACE seconds to end, which is longer than LEASE_SECONDS. A write ends
    even later, because it is not cancelled. Another process would make it a second time."""
    worker = Worker(on_postgres, held=True)
    handle = worker.handle

    async def outlive_cancellation(seq: int) -> None:
        write = asyncio.create_task(handle(seq))
        try:
            await asyncio.shield(write)
        except asyncio.CancelledError:
            await asyncio.wait({write})
            raise

    if is_writing:
        monkeypatch.setattr(worker, "handle", outlive_cancellation)
        limits(CANCELLED_TURN_SECONDS=0.0)
        limits(RECANCEL_SECONDS=0.0)
    worker.start("web")
    await on_postgres.inbox.accept(says("one"))
    await worker.until_begun(1)
    draining = asyncio.create_task(on_postgres.jobs.drain(0 if is_writing else 60))
    await on_postgres.jobs._draining.wait()
    for _ in range(3):
        before = await last_sign_of_life(on_postgres)
        while await last_sign_of_life(on_postgres) == before:
            assert not draining.done()
    worker.let_go()
    await draining
    assert worker.said == ["one"]


async def last_sign_of_life(engine: Shared) -> datetime:
    """Return the oldest of the workers of this process."""
    ids = engine.jobs.workers.ids

    def read(connection: SqlConnection) -> datetime:
        row: datetime = connection.execute(
            "SELECT min(last_heartbeat) AS at FROM procrastinate_workers WHERE id = ANY(?)", (ids,)
        ).fetchone()["at"]
        return row

    return await engine.database.read(read)


async def test_a_process_that_was_pruned_takes_turns_again(on_postgres: Shared) -> None:
    """It stood still for so long that another process's worker deleted the rows of its workers."""
    worker = Worker(on_postgres).start("web")
    first = await on_postgres.inbox.accept(says("one"))
    await on_postgres.inbox.wait_for_answer(first.seq)
    await on_postgres.database.write(lambda c: c.execute("DELETE FROM procrastinate_workers"))
    second = await on_postgres.inbox.accept(says("two"))
    await on_postgres.inbox.wait_for_answer(second.seq)
    assert worker.said == ["one", "two"]


async def test_a_job_that_nobody_works_at_is_dropped(on_postgres: Shared) -> None:
    """The answer to the fetch was lost: the job is in `doing`, and the conversation waits."""
    worker = Worker(on_postgres).start("web")
    first = await on_postgres.inbox.accept(says("one", "C1"))
    await on_postgres.inbox.wait_for_answer(first.seq)
    conversation = says("", "C2").address.conversation

    def leave(connection: SqlConnection) -> None:
        connection.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, lock, status, worker_id, args)"
            " VALUES ('web', 'turn', ?, 'doing', ?, '{\"seq\": 12345}')",
            (conversation, on_postgres.jobs.workers.ids[0]),
        ).close()

    await on_postgres.database.write(leave)
    second = await on_postgres.inbox.accept(says("two", "C2"))
    await on_postgres.inbox.wait_for_answer(second.seq)
    assert worker.said == ["one", "two"]


async def test_an_end_that_cannot_be_recorded_fails_no_task(
    on_postgres: Shared, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connector = on_postgres.jobs.workers.app.connector
    event = asyncio.Event()
    execute = connector.execute_query_async

    async def refuse(query: str, **arguments: Any) -> None:
        if "finish_job" in query:
            event.set()
            raise ConnectorException
        await execute(query, **arguments)

    monkeypatch.setattr(connector, "execute_query_async", refuse)
    on_postgres.journal.on_end = None  # as if the turn had ended elsewhere
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    Worker(on_postgres).start("web")
    receipt = await on_postgres.inbox.accept(says("one"))
    await on_postgres.inbox.wait_for_answer(receipt.seq)
    await event.wait()
    await on_postgres.jobs.drain(0)
    assert errors == []


async def test_procrastinate_logs_nothing_of_a_job(
    on_postgres: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    Worker(on_postgres).start("web")
    receipt = await on_postgres.inbox.accept(says("one"))
    await on_postgres.inbox.wait_for_answer(receipt.seq)
    await on_postgres.jobs.drain(0)
    assert [record.name for record in caplog.records if "procrastinate" in record.name] == []
