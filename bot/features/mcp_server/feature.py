"""Ponte's own MCP server: programs read tables and propose changes for a person."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapters.mcp_server import MCP, MCP_PATH
from adapters.mcp_server.endpoint import McpEndpoint
from adapters.mcp_server.requests import MCP_ORIGIN, ChangeRequests, McpOrigin
from bot.config.toml_values import HookPlace, StrictSection
from bot.features.base import Feature
from core.base.errors import SettingsError
from core.chat.destinations import Destinations
from core.integrations import HttpHandler

if TYPE_CHECKING:
    from adapters.mcp_server.tools import McpTools
    from bot.ponte import Ponte

NO_MCP_SENTENCE = (
    "PONTE_MCP=on needs the `mcp` package. Install it with `pip install --require-hashes -r "
    "requirements/mcp.txt` (docs/guides/mcp.md)."
)


@dataclass(frozen=True, slots=True)
class McpServerConfig(StrictSection):
    """Requests of programs that connect over MCP (`PONTE_MCP=on`)."""

    post_to: HookPlace | None = None
    """a channel or a person that gets the cards of all requests; default: whoever asked, in a
    direct message or on the page"""


class McpServerFeature(Feature):
    """Serves `/mcp` on the page's server."""

    def list_extras(self, config: Any, settings: Any) -> Iterable[str]:
        return ["mcp"] if settings.ponte_mcp == "on" else ()

    def mount(self, ponte: Ponte) -> Mapping[str, HttpHandler]:
        """The handler also answers while MCP is off. Raises SettingsError if the package `mcp` is
        missing."""
        surfaces = ponte.surfaces
        endpoint = McpEndpoint(_build_tools(ponte), lambda: surfaces.page and surfaces.page.hub)
        return {MCP_PATH: endpoint.handle}


def _build_tools(ponte: Ponte) -> McpTools | None:
    """Return None if MCP is off."""
    engine = ponte.engine
    # `settings` has the integration's own and the shared ones.
    settings: Any = ponte.settings
    if not MCP.is_used(settings, settings):
        return None
    if importlib.util.find_spec("mcp") is None:
        raise SettingsError(NO_MCP_SENTENCE)
    from adapters.mcp_server.tools import McpTools

    inbox, messengers = engine.conversations.inbox, engine.platforms.messengers
    return McpTools(
        engine.assistant,
        engine.people,
        engine.changes,
        ChangeRequests(inbox, engine.changes, Destinations(messengers), ponte.live),
        settings.ponte_locale,
        settings.ponte_timezone,
    )


FEATURE = McpServerFeature(
    integration=MCP,
    origins={
        MCP_ORIGIN: lambda engine: McpOrigin(
            engine.people, engine.changes, engine.assistant.contexts
        )
    },
    sections={"mcp_server": McpServerConfig},
    audit_sentences={"mcp-request": "An MCP client of {asker} sent a request"},
)
