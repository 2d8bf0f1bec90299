"""The terminal: who can open the home's Unix socket is the operator."""

from __future__ import annotations

from collections.abc import Iterator

from core.chat.platform import Platform
from core.integration import (
    ChatPorts,
    Finding,
    Given,
    HomeFolder,
    OwnerIntegration,
    PagePorts,
    Shared,
)
from core.policy import EVERYTHING, PlatformRights
from core.settings import SettingsPart


class Terminal(OwnerIntegration[SettingsPart]):
    name = "terminal"
    settings = SettingsPart
    rights = PlatformRights(EVERYTHING, one_name=True, operator=True, links_code=True)
    always = True

    def summary(self, own: SettingsPart, shared: Shared) -> None:
        return None

    async def build(
        self, given: Given[SettingsPart], ports: ChatPorts, page: PagePorts
    ) -> Platform:
        from adapters.web.adapter import WebAdapter
        from adapters.web.authentication import SocketDoor

        return WebAdapter(
            door=SocketDoor(), listener=given.home.listen(), operator=page.operator,
            inbox=ports.inbox, journal=ports.journal, files=ports.files, board=ports.board,
            readiness=page.readiness, metrics=page.metrics, locale=given.shared.ponte_locale,
            time_zone=given.shared.ponte_timezone,
        )  # fmt: skip

    def safety(self, own: SettingsPart, shared: Shared, home: HomeFolder) -> Iterator[Finding]:
        words = "terminal: who can open the home's socket may do everything, as its owner"
        yield Finding("rights", words)


TERMINAL = Terminal()
