"""The integration that serves Ponte to other programs over the Model Context Protocol (MCP).

A program reads tables and proposes changes for the person whose token it has. People decide on the
proposals where they are: nothing that the program can send decides on one.
"""

from __future__ import annotations

from core.base.i18n import say
from core.domain.records import Health
from core.integrations import Integration, SettingsPart, SharedSettings, Switch, setting

MCP_PATH = "/mcp"


class McpSettings(SettingsPart):
    """The settings of the MCP server, with which other programs use Ponte's tools."""

    ponte_mcp: Switch = setting("off", "whether programs can connect over MCP: on, off")


class McpIntegration(Integration[McpSettings]):
    """The MCP server: programs read tables and propose changes for the person whose token they
    have."""

    name = "mcp"
    settings = McpSettings

    def summary(self, settings: McpSettings, shared: SharedSettings) -> Health:
        if settings.ponte_mcp == "off":
            return Health(self.name, "off", "PONTE_MCP is off")
        if shared.ponte_web == "off":
            return Health(self.name, "off", "PONTE_WEB is off")
        return Health(self.name, "on", say("POST {path} on the page's server", path=MCP_PATH))


MCP = McpIntegration()
