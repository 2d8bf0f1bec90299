"""Tasks end when their owner ends them, also where a driver loses a cancellation."""

from __future__ import annotations

import asyncio

import pytest

from core.base import tasks
from core.base.tasks import BackgroundTasks, cancel_all


async def deaf(times: int, heard: list[int]) -> None:
    """Goes on after that many cancellations, as `asyncio.wait_for` before Python 3.12 can."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.append(len(heard))
            if len(heard) > times:
                raise


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "RECANCEL_SECONDS", 0.01)


async def test_a_lost_cancellation_is_given_again() -> None:
    heard: list[int] = []
    task = asyncio.create_task(deaf(2, heard))
    await asyncio.sleep(0)
    await cancel_all([task])
    assert (task.cancelled(), len(heard)) == (True, 3)


async def test_an_owner_of_such_a_task_can_close() -> None:
    heard: list[int] = []
    owner = BackgroundTasks("test")
    owner.start(deaf(1, heard))
    await asyncio.sleep(0)
    await owner.close()
    assert len(heard) == 2


async def test_cancelling_no_tasks_returns_at_once() -> None:
    await cancel_all([])
