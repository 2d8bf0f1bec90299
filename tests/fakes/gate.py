"""A gate that stops a double until the test releases it."""

from __future__ import annotations

import asyncio


class Gate:
    """Stops everything that waits at it until `release` is called."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._released = asyncio.Event()

    async def wait_until_reached(self) -> None:
        """Return as soon as something waits at the gate."""
        await self._reached.wait()

    def release(self) -> None:
        self._released.set()

    async def wait(self) -> None:
        self._reached.set()
        await self._released.wait()
