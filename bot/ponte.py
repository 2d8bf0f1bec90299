"""The running Ponte as operations use it: its parts by name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from uuid import uuid4
from zoneinfo import ZoneInfo

from adapters.terminal import TERMINAL
from adapters.web import add_token
from bot.config import LiveConfig
from bot.engine import Engine
from bot.health import HealthBoard
from bot.home import Home
from bot.operation_results import SignInLink
from bot.page_accounts import PageAccountService
from bot.personal_data import PersonalDataService
from bot.reload import Reloader
from bot.settings import Settings
from bot.start import ModelRequests, Start
from bot.surfaces import Surfaces
from core.commands.grammar import parse_command, render_command
from core.domain.changes import SAMPLE_APPLIER
from core.domain.errors import BadInput, NotFound, PonteError
from core.domain.messages import Address, ChangeAction, Message, Person, ReplyTo, turn_id
from core.domain.records import DoctorFinding, HistoryEntry
from core.rights.rules import OWNER_ID
from core.text.i18n import LANGUAGE
from core.tools.sample import SAMPLE_INTEGRATION, open_sample_base

if TYPE_CHECKING:
    from adapters.web.answers import ChatAnswer

CheckEverything = Callable[..., AsyncIterator[DoctorFinding]]
"""Runs the checks of `ponte doctor` on a `Start`. With `ModelRequests`, only those of the model."""


@dataclass(frozen=True, slots=True)
class Ponte:
    """All parts that operations use."""

    settings: Settings
    live: LiveConfig
    home: Home
    engine: Engine
    board: HealthBoard
    surfaces: Surfaces
    reloader: Reloader
    accounts: PageAccountService
    personal_data: PersonalDataService
    check: CheckEverything
    _checking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def start(self) -> Start:
        """The settings, the present ponte.toml and the home."""
        return Start(self.settings, self.live.current, self.home)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the installation."""
        return ZoneInfo(self.settings.ponte_timezone)

    async def find_problems(self, *model: ModelRequests) -> Sequence[DoctorFinding]:
        """Run the checks of `ponte doctor`, one caller after the other: they start a sandbox and
        ask each service."""
        async with self._checking:
            found = [one async for one in self.check(self.start, *model)]
        if not (model or self.settings.database_url):
            part = await self.engine.stores.health()
            found.insert(0, DoctorFinding(part.name, part.state, part.words))
        return found

    def page_links(self) -> tuple[str, str]:
        """Return the page's address without and with its token; "" for both if none is served."""
        return self.surfaces.page_links(self.settings, self.home)

    def page_for_links(self) -> str:
        """Return the page's address, also if it is not served now; "" if it has no fixed one. Raise
        PonteError if the page is turned off."""
        if self.settings.ponte_web == "off":
            raise PonteError("The page is turned off. Set PONTE_WEB=on to use it.")
        page, _ = self.page_links()
        return page or (self.settings.page_url() if self.settings.ponte_web_port else "")

    def sign_in_link(self, person: Person, page: str, token: str, earlier: int = 0) -> SignInLink:
        """Return a new sign-in token of a person, and the page's link with it if there is one.
        `earlier` is the number of conversations of an earlier person of that name."""
        link = add_token(page, token) if page else ""
        return SignInLink(person.id, person.key, token, link, earlier)

    async def decide(self, action: ChangeAction, id: str, linked: bool) -> ChatAnswer:
        """Approve, deny or undo a change as the owner. Raise BadInput for an ID of another form,
        which would make the command a message for the model."""
        command = parse_command(f"{action} {id}")
        if command is None or command.id != id.lower():
            raise BadInput(
                "Change {id} not found. `ponte changes list` shows the IDs.", id=repr(id[:40])
            )
        return await self.run_command(render_command(command), linked)

    async def run_command(self, text: str, linked: bool) -> ChatAnswer:
        """Run a typed command of the owner and return its answer. `linked`: the display turns
        addresses into links. Raise BadInput if it is refused.

        The command is stored like a message, so that a decision continues after a crash.
        """
        from adapters.web.chat import REFUSAL_CODES
        from adapters.web.stream import answer_json

        owner, inbox = Person(TERMINAL.name, OWNER_ID), self.engine.records.inbox
        names = await self.engine.find_names([owner.key])
        owner = replace(owner, name=names.get(owner.key, ""))
        key = f"{owner.platform}:{uuid4().hex}"
        address = Address(owner.platform, "operator")
        message = Message(
            key, text, owner, address, ReplyTo(address, owner, source=key, turn=turn_id(key)),
            locale=LANGUAGE.get(), sent_at=time.time(), is_answer_linkified=linked,
        )  # fmt: skip
        receipt = await inbox.accept(message)
        answer = await inbox.wait_for_answer(receipt.seq)
        if answer.status == "failed" and answer.code in REFUSAL_CODES:
            raise BadInput("{words}", words=answer.text)
        return answer_json(answer, address.channel, message.turn)

    async def list_entries(self, conversation: str) -> Sequence[HistoryEntry]:
        """Return the messages and answers of a stored conversation. Raise NotFound."""
        journal = self.engine.records.journal
        if not any(one.conversation == conversation for one in await journal.list_threads()):
            raise NotFound(what="conversation")
        return await journal.list_entries(conversation)

    async def reset_sample(self) -> int:
        """Restore the sample tables, and withdraw open requests to change them. Return how many.
        Raise PonteError if this Ponte has no sample tables."""
        if not SAMPLE_INTEGRATION.is_used(self.settings, self.settings):
            raise PonteError(
                "This Ponte has no sample tables, because NocoDB, a chat platform or Postgres is "
                "configured."
            )
        base = open_sample_base(self.home.path, self.settings.ponte_timezone)
        await asyncio.to_thread(base.reset)
        return await self.engine.changes.proposals.withdraw_drafts_of(SAMPLE_APPLIER)
