"""The state of each part, as adapters and the operator's page show it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace

from bot.settings import Settings
from core.base.errors import NotStored
from core.base.i18n import say, translate_word
from core.changes.cards import ChangeViews
from core.domain.changes import PendingRequest
from core.domain.messages import Address, Card, Person
from core.domain.ports import QuickCommands
from core.domain.records import Health, QuickCommand, Viewer
from core.observability import metrics
from core.people.policy import Policy

PART_TIMEOUT_SECONDS = 5.0
"""How long one part may take to report its health."""
ReportHealth = Callable[[], Awaitable[Health]]


def summaries(settings: Settings) -> tuple[Health, ...]:
    """Return the line of each integration by its settings, in their order. No service is asked."""
    found = (face.summary(settings, settings) for face in settings.faces)
    engine = "Postgres" if settings.database_url else "SQLite"
    shared = [Health("database", "on", engine), Health("config", "on")]
    return (*shared, *(part for part in found if part))


class HealthBoard:
    """The `StatusBoard` port. A part that runs reports its own health; for others the settings say
    it."""

    views: ChangeViews
    """The changes that it lists. It is set before anything is listed."""

    def __init__(
        self, summaries: Sequence[Health], quick: QuickCommands, policy: Policy | None = None,
        optional: Collection[str] = (),
    ) -> None:  # fmt: skip
        """`optional`: names of parts without which Ponte is ready too."""
        self._lineup = tuple(summaries)
        self._quick = quick
        self._policy = policy
        self._optional = optional
        self.live: dict[str, ReportHealth] = {}
        self._request_listeners: list[Callable[[], None]] = []
        self.titles: Callable[[Viewer], Awaitable[Sequence[str]]] | None = None
        """Returns the known tables; None if there is no base."""
        self.is_demo = False

    def mark_unserved(self, names: Collection[str], words: str) -> None:
        """Mark parts that are set up but not served by this process."""
        self._lineup = tuple(
            replace(part, state="off", words=words) if part.state == "on" and part.name in names
            else part for part in self._lineup
        )  # fmt: skip

    async def health(self, patience: float = PART_TIMEOUT_SECONDS) -> Sequence[Health]:
        return await asyncio.gather(*(self._ask_part(part, patience) for part in self._lineup))

    async def readiness(self) -> Sequence[Health]:
        """Return the parts that `/readyz` checks."""
        return [part for part in await self.health() if part.name not in self._optional]

    async def metrics(self) -> str:
        """Return the text of `/metrics`. A value that cannot be read now keeps its last state."""
        parts = await self.health()
        metrics.set_part_states({p.name: p.state == "on" for p in parts if p.state != "off"})
        with suppress(NotStored):
            metrics.set_proposal_counts(await self.views.ledger.count_unfinished())
        return metrics.render_metrics()

    async def commands(self, person: Person, address: Address) -> Sequence[QuickCommand]:
        return await self._quick.list_commands(person, address)

    async def tables(self, person: Person, address: Address) -> Sequence[str]:
        if self.titles is None:
            return ()
        rights = await self._policy.rights(person, address) if self._policy else None
        return await self.titles(Viewer(rights))

    async def changes(self, conversation: str) -> Sequence[Card]:
        return await self.views.find_latest(conversation)

    async def requests(self, person: Person, address: Address) -> Sequence[PendingRequest]:
        return await self.views.list_requests(person, address)

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
