"""What a double holds on its way, until a test lets it go."""

from __future__ import annotations

import asyncio


class Gate:
    """`reached` once something waits at it, until `release`."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._released = asyncio.Event()

    async def reached(self) -> None:
        await self._reached.wait()

    def release(self) -> None:
        self._released.set()

    async def wait(self) -> None:
        self._reached.set()
        await self._released.wait()
