"""The board: how each part is, for people, `/readyz` and `status`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from core.messages import Address, Card, Person
from core.ports import QuickCommands
from core.records import Health, QuickCommand

Live = Callable[[], Awaitable[Health]]
PATIENCE = 5.0
"""Seconds that one part may take to tell how it is."""


class Board:
    """`lineup` is what the settings turn on; a part that runs tells for itself."""

    def __init__(self, lineup: Sequence[Health], quick: QuickCommands) -> None:
        self._lineup = tuple(lineup)
        self._quick = quick
        self.live: dict[str, Live] = {}

    async def health(self) -> Sequence[Health]:
        return await asyncio.gather(*(self._of(part) for part in self._lineup))

    async def commands(self, person: Person, address: Address) -> Sequence[QuickCommand]:
        return await self._quick.known(person, address)

    async def changes(self, conversation: str) -> Sequence[Card]:
        return ()

    async def _of(self, part: Health) -> Health:
        ask = self.live.get(part.name)
        if part.state == "off" or ask is None:
            return part
        try:
            async with asyncio.timeout(PATIENCE):
                return await ask()
        except TimeoutError:
            return Health(part.name, "failing", f"no answer within {PATIENCE:.0f} s")
