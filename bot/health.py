"""The state of each part (the board), and the operator's commands on the home's Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bot.settings import Settings
from core.conversation.commands import CommandService
from core.domain.changes import PendingRequest
from core.domain.errors import NotFound
from core.domain.messages import Address, Card, Person
from core.domain.records import Health, HistoryEntry, QuickCommand, Viewer
from core.integrations.integration import OperatorAction
from core.ports.tools import QuickCommands
from core.rights.audit import OPERATOR, Audit
from core.rights.policy import Policy
from core.store.turns import Journal
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


Json = Mapping[str, Any]


class OperatorService:
    """The `Operator` port: conversations, forgetting, and other services' `acts`. `link` returns
    the page's address with its token."""

    def __init__(
        self, journal: Journal, commands: CommandService, link: Callable[[], str],
        acts: Mapping[str, OperatorAction], audit: Audit,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._commands = commands
        self._audit = audit
        self.link = link
        self.acts = {"audit": self._read_audit_lines, **acts}

    async def threads(self) -> Sequence[Json]:
        return [
            {"conversation": one.conversation, "thread": one.id, "used_at": one.used_at,
             "messages": len(await self._journal.list_entries(one.conversation))}
            for one in await self._journal.list_threads()
        ]  # fmt: skip

    async def thread(self, conversation: str) -> Json:
        """Return the messages of a conversation. Raise NotFound."""
        if not any(one.conversation == conversation for one in await self._journal.list_threads()):
            raise NotFound(what="conversation")
        exchanges = await self._journal.list_entries(conversation)
        return {
            "conversation": conversation,
            "messages": [line for one in exchanges for line in _exchange_messages(one)],
        }

    async def forget(self, conversation: str) -> Json:
        """Erase a conversation. Raise NotFound, and AuditRefused before anything is erased."""
        if not any(one.conversation == conversation for one in await self._journal.list_threads()):
            raise NotFound(what="conversation")
        shown = await self._journal.list_entries(conversation)
        where = shown[0].message.address if shown else None
        await self._audit.write_note("conversation-forgotten", OPERATOR, where)
        messages = await self._commands.forget(conversation)
        return {"messages": messages, "remains": self._commands.remains()}

    async def _read_audit_lines(self, asked: Json) -> Json:
        """Return a page of the audit log and where the next one begins. Raise BadInput."""
        wanted = {name: str(asked.get(name, "")) for name in ("since", "until", "person", "event")}
        lines, after = await self._audit.read(str(asked.get("after", "")), **wanted)
        return {"lines": lines, "next": after}


def _exchange_messages(one: HistoryEntry) -> Sequence[Json]:
    said = {"role": "user", "name": one.message.author.name, "text": one.message.text}
    both = [said | {"state": one.state}]
    if one.answer:
        both.append({"role": "assistant", "name": "Ponte", "text": one.answer.text})
    return [line | {"at": one.created_at, "turn": one.turn} for line in both]
