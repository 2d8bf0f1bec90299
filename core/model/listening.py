"""Listening to a stream, but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from core.openai import Fault, Json


async def listen(source: AsyncIterator[Json], silence: float) -> AsyncGenerator[Json, None]:
    """The events of `source`; raises Fault when none comes for `silence` seconds."""
    while True:
        try:
            async with asyncio.timeout(silence):
                event = await anext(source)
        except TimeoutError:
            raise Fault("silent") from None
        except StopAsyncIteration:
            return
        yield event
