"""Several questions at once: the answers in order, and nothing left behind."""

from __future__ import annotations

import asyncio

import pytest

from core.base.tasks import run_together


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
    ended = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    async def failing() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await run_together(endless(), failing())
    assert ended.is_set()


async def test_cancelling_the_caller_cancels_all_questions() -> None:
    ended = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    asking = asyncio.create_task(run_together(endless(), endless()))
    for _ in range(3):
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert ended.is_set()
