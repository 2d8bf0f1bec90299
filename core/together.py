"""Several questions at once, none of which outlives its asker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar, overload

A = TypeVar("A")
B = TypeVar("B")


@overload
async def together(first: Awaitable[A], second: Awaitable[B], /) -> tuple[A, B]: ...


@overload
async def together(*asked: Awaitable[A]) -> tuple[A, ...]: ...


async def together(*asked: Awaitable[Any]) -> tuple[Any, ...]:
    """Their answers, in order. Where one fails the others are ended, and then its error raised."""
    tasks = [asyncio.ensure_future(each) for each in asked]
    try:
        return tuple(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
