"""Asking again, where an answer was lost or put off and asking twice does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from core.http import HttpError

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]

PAUSES = (0.3, 1.2)
"""Seconds before the second and the third attempt of a read."""


async def again(
    ask: Callable[[], Awaitable[T]],
    wait: Callable[[HttpError, float], float | None],
    pauses: Sequence[float] = PAUSES,
    sleep: Sleep = asyncio.sleep,
) -> T:
    """What `ask` gives, at the latest at the attempt after the last of `pauses`. Raises HttpError.

    `wait` says of an error and the pause that is due how many seconds to wait, or None where
    asking again is of no use.
    """
    for pause in pauses:
        try:
            return await ask()
        except HttpError as error:
            seconds = wait(error, pause)
            if seconds is None:
                raise
        await sleep(seconds)
    return await ask()
