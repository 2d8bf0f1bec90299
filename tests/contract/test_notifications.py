"""A notification is a hint that anybody who may connect can send: processes believe rows alone."""

from __future__ import annotations

import asyncio
import json

import psycopg
import pytest

from core.base.errors import NotStored
from core.base.tasks import Backoff
from core.domain.messages import Progress
from core.store import processes as notifications
from tests.contract.engines import Shared, Worker
from tests.contract.test_inbox import says
from tests.contract.test_processes import Two, two
from tests.time_limits import Limits

__all__ = ["two"]
STRANGE = ("", " ", "stop", "stop x", "stop 4 2", "ended", "ended x", f"stop {10**30}", "nothing 1")


async def notify(
    engine: Shared, *payloads: str, channel: str = notifications.NOTIFY_CHANNEL
) -> None:
    """As another role of the same server would: over a connection of its own."""
    async with await psycopg.AsyncConnection.connect(engine.url, autocommit=True) as stranger:
        for payload in payloads:
            await stranger.execute("SELECT pg_notify(%s, %s)", (channel, payload))


async def caught_up(engine: Shared) -> None:
    """Wait until `engine` has handled every notification sent so far; they come in order."""
    handled = asyncio.Event()

    async def handle(_: str) -> None:
        handled.set()

    engine.jobs.on("marker", handle)
    await notify(engine, "marker 1")
    await handled.wait()


async def test_the_progress_of_a_turn_is_read_by_other_processes(two: Two) -> None:
    ours, theirs = two
    assert await theirs.jobs.read_progress("turn1") is None
    for progress in (Progress("It is"), Progress("It is 4", "runs Python")):
        await ours.jobs.save_progress("turn1", progress)
        assert await theirs.jobs.read_progress("turn1") == progress
    assert await theirs.jobs.read_progress("turn2") is None


async def test_nobody_stops_a_turn_by_a_notification_alone(two: Two) -> None:
    ours, theirs = two
    worker = Worker(theirs, held=True).start()
    receipt = await ours.inbox.accept(says("think"))
    await worker.until_begun(1)
    await notify(ours, f"stop {receipt.seq}")
    await caught_up(theirs)
    assert not theirs.inbox.is_stopped(receipt.seq)
    worker.let_go()
    assert (await ours.inbox.wait_for_answer(receipt.seq)).text == "re: think"


async def test_a_malformed_notification_ends_nothing(two: Two) -> None:
    ours, theirs = two
    worker = Worker(theirs, held=True).start()
    receipt = await ours.inbox.accept(says("think"))
    await worker.until_begun(1)
    await notify(ours, *STRANGE)
    await caught_up(theirs)
    assert await ours.inbox.cancel(receipt.seq)
    assert (await ours.inbox.wait_for_answer(receipt.seq)).text == "stopped"


async def test_a_handler_that_fails_ends_nothing(on_postgres: Shared) -> None:
    failure = list[str]()
    errors = {"1": NotStored(), "2": ValueError("x"), "3": asyncio.CancelledError()}

    async def fails(id: str) -> None:
        failure.append(id)
        await asyncio.create_task(_raise(errors[id]))

    on_postgres.jobs.on("word", fails)
    await notify(on_postgres, *(f"word {id}" for id in errors))
    await caught_up(on_postgres)
    assert failure == [*errors]


async def test_a_handler_that_hangs_does_not_hold_up_the_next(
    on_postgres: Shared, limits: Limits
) -> None:
    limits(HANDLER_TIMEOUT_SECONDS=0.05)

    async def hangs(_: str) -> None:
        await asyncio.Event().wait()

    on_postgres.jobs.on("word", hangs)
    await notify(on_postgres, "word 1")
    await caught_up(on_postgres)


async def test_a_worker_outlives_what_strangers_tell_procrastinate(on_postgres: Shared) -> None:
    """Garbage, and the abortion of a job that runs."""
    worker = Worker(on_postgres, held=True).start("web")
    first = await on_postgres.inbox.accept(says("one"))
    await worker.until_begun(1)
    job = await on_postgres.database.read(
        lambda c: c.execute("SELECT id FROM procrastinate_jobs WHERE status = 'doing'").fetchone()[
            "id"
        ]
    )
    abort = json.dumps({"type": "abort_job_requested", "job_id": job})
    for channel in ("procrastinate_queue_v1#web", "procrastinate_any_queue_v1"):
        await notify(on_postgres, abort, "garbage", "{}", channel=channel)
    second = await on_postgres.inbox.accept(says("two", "C2"))
    await worker.until_begun(2)
    assert (worker.began, worker.cut) == ([first.seq, second.seq], [])
    worker.let_go()
    assert (await on_postgres.inbox.wait_for_answer(first.seq)).text == "re: one"


async def test_health_tells_of_a_listener_that_cannot_connect(
    on_postgres: Shared, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    event, again = asyncio.Event(), asyncio.Event()
    view = on_postgres.jobs.notifications._connect

    async def connect() -> psycopg.AsyncConnection:
        if again.is_set():
            return await view()
        event.set()
        raise OSError("too many connections")

    monkeypatch.setattr(on_postgres.jobs.notifications, "_connect", connect)
    limits(RECONNECT_SECONDS=0.01)
    limits(RECONNECT_BACKOFF=Backoff(0.01))
    assert (await on_postgres.jobs.health()).state == "on"
    await on_postgres.database.read(
        lambda c: c.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query = 'LISTEN ponte'"
        ).fetchall()
    )
    await event.wait()
    on_postgres.jobs.notifications.disconnected_at -= 20
    health = await on_postgres.jobs.health()
    assert health.state == "failing"
    assert "has received no notifications" in health.words
    again.set()
    await on_postgres.jobs.notifications.connected.wait()
    assert (await on_postgres.jobs.health()).state == "on"
    await caught_up(on_postgres)


def test_the_listener_reconnects_less_and_less_often() -> None:
    pauses = [
        notifications.reconnect_pause(OSError(), failures) for failures in (1, 2, 3, 4, 5, 6, 5000)
    ]
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


async def _raise(error: BaseException) -> None:
    raise error
