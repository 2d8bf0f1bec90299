"""Tasks end when their owner ends them; questions at once leave nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from core.base.tasks import BackgroundTasks, SharedAnswers, cancel_all, run_together
from tests.time_limits import Limits


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
def soon(limits: Limits) -> None:
    limits(RECANCEL_SECONDS=0.01)


async def test_a_lost_cancellation_is_given_again() -> None:
    await cancel_all([])
    numbers: list[int] = []
    task = asyncio.create_task(deaf(2, numbers))
    await asyncio.sleep(0)
    await cancel_all([task])
    assert (task.cancelled(), len(numbers)) == (True, 3)


async def test_an_owner_of_such_a_task_can_close() -> None:
    numbers: list[int] = []
    owner = BackgroundTasks("test")
    owner.start(deaf(1, numbers))
    await asyncio.sleep(0)
    await owner.close()
    assert len(numbers) == 2


async def test_those_who_wait_share_one_question() -> None:
    now, asked, gate = 0.0, list[int](), asyncio.Event()

    async def count() -> int:
        asked.append(len(asked))
        await gate.wait()
        if asked == [0]:
            raise OSError
        return len(asked)

    answers = SharedAnswers[str, int](lambda: now)
    waiting = [asyncio.create_task(answers.ask("key", count, 60.0)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting.pop().cancel()
    gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in results] == [OSError] * 2, "a failure is theirs"
    assert await answers.ask("key", count, 60.0) == 2, "and nobody else's"
    now = 60.0
    assert await answers.ask("key", count, 60.0) == 2
    now = 61.0
    assert await answers.ask("key", count, 60.0) == 3
    gate.clear()
    cut = asyncio.create_task(answers.ask("other", count, 60.0))
    await asyncio.sleep(0)
    await answers.close()
    gate.set()
    assert (await asyncio.wait({cut}), cut.cancelled()) == (({cut}, set()), True)
    assert await answers.ask("other", count, 60.0) == 4, "a question that was cut is asked again"


async def test_answers_come_in_the_order_of_the_questions() -> None:
    second = asyncio.Event()

    async def one() -> int:
        await second.wait()
        return 1

    async def two() -> str:
        second.set()
        return "two"

    assert await run_together(one(), two()) == (1, "two")
    assert await run_together() == ()


async def test_where_one_fails_the_others_are_ended_before_it_is_told() -> None:
    event = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            event.set()

    async def failing() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await run_together(endless(), failing())
    assert event.is_set()


async def test_cancelling_the_caller_cancels_all_questions() -> None:
    event = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            event.set()

    asking = asyncio.create_task(run_together(endless(), endless()))
    for _ in range(3):
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert event.is_set()
