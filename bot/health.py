"""The state of each part (the board), and the operator's commands on the home's Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace

from bot.settings import Settings
from core.domain.changes import PendingRequest
from core.domain.messages import Address, Card, Person
from core.domain.records import Health, QuickCommand, Viewer
from core.ports.tools import QuickCommands
from core.rights.policy import Policy
from core.text.i18n import say, translate_word

PART_TIMEOUT_SECONDS = 5.0
"""How long one part may take to report its health."""
ReportHealth = Callable[[], Awaitable[Health]]
ListCards = Callable[[str], Awaitable[Sequence[Card]]]
"""Returns the cards of a conversation."""
ListRequests = Callable[[Person, Address], Awaitable[Sequence[PendingRequest]]]
"""Returns the requests that wait for a person's decision."""


def summaries(settings: Settings) -> tuple[Health, ...]:
    """Return the line of each integration by its settings, in their order. No service is asked."""
    found = (face.summary(settings, settings) for face in settings.faces)
    engine = "Postgres" if settings.database_url else "SQLite"
    shared = [Health("database", "on", engine), Health("config", "on")]
    return (*shared, *(part for part in found if part))


class HealthBoard:
    """The `StatusBoard` port. A part that runs reports its own health; for others the settings say
    it."""

    def __init__(
        self, summaries: Sequence[Health], quick: QuickCommands, policy: Policy | None = None
    ) -> None:
        self._lineup = tuple(summaries)
        self._quick = quick
        self._policy = policy
        self.live: dict[str, ReportHealth] = {}
        self.ledger: ListCards | None = None
        self.pending: ListRequests | None = None
        self._request_listeners: list[Callable[[], None]] = []
        """None until the stores are open."""
        self.titles: Callable[[Viewer], Awaitable[Sequence[str]]] | None = None
        self.is_demo = False

    def mark_unserved(self, names: Collection[str], words: str) -> None:
        """Mark parts that are set up but not served by this process."""
        self._lineup = tuple(
            replace(part, state="off", words=words) if part.state == "on" and part.name in names
            else part for part in self._lineup
        )  # fmt: skip

    async def health(self, patience: float = PART_TIMEOUT_SECONDS) -> Sequence[Health]:
        return await asyncio.gather(*(self._ask_part(part, patience) for part in self._lineup))

    async def commands(self, person: Person, address: Address) -> Sequence[QuickCommand]:
        return await self._quick.list_commands(person, address)

    async def tables(self, person: Person, address: Address) -> Sequence[str]:
        if self.titles is None:
            return ()
        rights = await self._policy.rights(person, address) if self._policy else None
        return await self.titles(Viewer(rights))

    async def changes(self, conversation: str) -> Sequence[Card]:
        return await self.ledger(conversation) if self.ledger else ()

    async def requests(self, person: Person, address: Address) -> Sequence[PendingRequest]:
        return await self.pending(person, address) if self.pending else ()

    def on_requests_change(self, listener: Callable[[], None]) -> None:
        self._request_listeners.append(listener)

    def announce_requests(self) -> None:
        """Call the listeners: a proposal was made, decided or ended."""
        for listener in self._request_listeners:
            listener()

    async def _ask_part(self, part: Health, patience: float) -> Health:
        ask = self.live.get(part.name)
        if part.state == "off" or ask is None:
            return replace(part, words=translate_word(part.words))
        try:
            async with asyncio.timeout(patience):
                return await ask()
        except TimeoutError:
            if patience < PART_TIMEOUT_SECONDS:
                words = say("{words} (no response yet)", words=translate_word(part.words))
                return Health(part.name, "on", words)
            words = say("no response within {age} s", age=round(patience))
            return Health(part.name, "failing", words)
