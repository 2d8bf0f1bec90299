"""Listening to a stream, but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from core.openai import Fault, Json

LONGEST_ROUND = 1800.0
"""Seconds that one round may take, however much is said in it."""


async def listen(source: AsyncIterator[Json], silence: float) -> AsyncGenerator[Json, None]:
    """The events of `source`; raises Fault when none comes for `silence` seconds, or no end."""
    until = asyncio.get_running_loop().time() + LONGEST_ROUND
    while True:
        left = until - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(silence, left)):
                event = await anext(source)
        except TimeoutError:
            if left <= silence:
                raise Fault("excess", message=f"{LONGEST_ROUND / 60:.0f} minutes") from None
            raise Fault("silent") from None
        except StopAsyncIteration:
            return
        yield event
