"""What the settings turn on, and why the rest is off; and the board: how each part is now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace

from bot.settings import Settings
from core.messages import Address, Card, Person
from core.ports import QuickCommands
from core.records import Health, QuickCommand

PATIENCE = 5.0
"""Seconds that one part may take to tell how it is."""
Live = Callable[[], Awaitable[Health]]
Changed = Callable[[str], Awaitable[Sequence[Card]]]
"""Gives the cards of a conversation."""


def lineup(settings: Settings) -> tuple[Health, ...]:
    """Each integration's line, in their order. No service is asked."""
    found = (face.summary(settings, settings) for face in settings.faces)
    return tuple(part for part in found if part)


class Board:
    """`lineup` is what the settings turn on; a part that runs tells for itself."""

    def __init__(self, lineup: Sequence[Health], quick: QuickCommands) -> None:
        self._lineup = tuple(lineup)
        self._quick = quick
        self.live: dict[str, Live] = {}
        self.ledger: Changed | None = None
        """None until the stores are open."""

    def asleep(self, names: Collection[str]) -> None:
        """These are set up, but not served by this process."""
        words = "set up; `ponte run` serves it"
        self._lineup = tuple(
            replace(part, state="off", words=words) if part.state == "on" and part.name in names
            else part for part in self._lineup
        )  # fmt: skip

    async def health(self, patience: float = PATIENCE) -> Sequence[Health]:
        return await asyncio.gather(*(self._of(part, patience) for part in self._lineup))

    async def commands(self, person: Person, address: Address) -> Sequence[QuickCommand]:
        return await self._quick.known(person, address)

    async def changes(self, conversation: str) -> Sequence[Card]:
        return await self.ledger(conversation) if self.ledger else ()

    async def _of(self, part: Health, patience: float) -> Health:
        ask = self.live.get(part.name)
        if part.state == "off" or ask is None:
            return part
        try:
            async with asyncio.timeout(patience):
                return await ask()
        except TimeoutError:
            if patience < PATIENCE:
                return Health(part.name, "on", f"{part.words} (not answered yet)")
            return Health(part.name, "failing", f"no answer within {patience:.0f} s")
