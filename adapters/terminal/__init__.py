"""The terminal integration. Anyone who can open the home's Unix socket has the owner's rights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from core.base.i18n import say
from core.chat.approval_notices import PersonNoticeService
from core.chat.people import Conversations, People
from core.domain.ports import Platform
from core.integrations import (
    FindHook,
    HomeFolder,
    HttpHandler,
    IntegrationDependencies,
    Operator,
    OperatorBoard,
    OwnerIntegration,
    SafetyFinding,
    SettingsPart,
    SharedSettings,
)
from core.people.rules import BASIC_RIGHTS, PlatformRights


class TerminalIntegration(OwnerIntegration[SettingsPart]):
    """Its messages arrive over an HTTP API on the home's Unix socket."""

    name = "terminal"
    settings = SettingsPart
    rights = PlatformRights(
        BASIC_RIGHTS, has_one_owner=True, owner_is_operator=True, links_code=True, has_room=True
    )
    always = True

    def summary(self, own: SettingsPart, shared: SharedSettings) -> None:
        """The terminal has no state to show."""

    async def build(
        self,
        deps: IntegrationDependencies[SettingsPart],
        conversations: Conversations,
        people: People,
        board: OperatorBoard,
        operator: Operator,
        notices: PersonNoticeService,
        routes: Mapping[str, HttpHandler],
        find_hook: FindHook,
    ) -> Platform:
        """Return the web adapter, listening on the home's socket, not yet started. Other machines
        call `routes` and `find_hook`: the page's server only."""
        # Commands that only read the settings load this module, too.
        from adapters.web.hub import Hub, WebAdapter
        from adapters.web.sign_in import SocketAuthentication, Visitors

        visitors = Visitors(SocketAuthentication(people.owner), locale=deps.shared.ponte_locale)
        hub = Hub(visitors, conversations, board, deps.peers)
        return WebAdapter(hub, board, operator, notices, deps.home.listen())

    def safety(
        self, own: SettingsPart, shared: SharedSettings, home: HomeFolder
    ) -> Iterator[SafetyFinding]:
        """Access to the socket gives all rights."""
        words = "terminal: anyone who can open the data folder's socket has the owner's permissions"
        yield SafetyFinding("rights", say(words))


TERMINAL = TerminalIntegration()
