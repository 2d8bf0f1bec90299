"""The running Ponte as operations use it: its parts by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from adapters.web import add_token
from bot.config import LiveConfig
from bot.engine import Engine
from bot.health import HealthBoard
from bot.home import Home
from bot.page_accounts import PageAccountService
from bot.personal_data import PersonalDataService
from bot.reload import Reloader
from bot.settings import Settings
from bot.start import ModelRequests, Start
from bot.surfaces import Surfaces
from core.domain.changes import SAMPLE_APPLIER
from core.domain.errors import NotFound, PonteError
from core.domain.records import DoctorFinding, HistoryEntry
from core.tools.sample import SAMPLE_INTEGRATION, open_sample_base

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

    async def find_problems(self, *model: ModelRequests) -> Sequence[dict[str, Any]]:
        """Run the checks of `ponte doctor`, one caller after the other: they start a sandbox and
        ask each service."""
        async with self._checking:
            found = [asdict(one) async for one in self.check(self.start, *model)]
        if not (model or self.settings.database_url):
            part = await self.engine.stores.health()
            found.insert(0, {"part": part.name, "state": part.state, "words": part.words})
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

    def sign_in_link(self, name: str, token: str, page: str) -> dict[str, Any]:
        """Return a new sign-in token of a person, and the page's link with it if there is one."""
        return {"name": name, "token": token, "link": add_token(page, token) if page else ""}

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
