"""MCP servers whose tools the model can use: `[mcp.NAME]` of ponte.toml."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator

from bot.config.toml_values import Dollars, KeyPath, StrictSection, VariableName
from bot.features.base import Feature
from core.base.i18n import say
from core.base.proxies import is_local_host
from core.integrations import must_match, parse_url
from core.tools.mcp import MCP_CALL, MCP_CALL_KIND, MCP_TOOLS, McpServer, name_mcp_tool

_NO_EXTRA = (
    "{where}: MCP servers need the `mcp` package. Install it with `pip install --require-hashes "
    "-r requirements/mcp.txt` (docs/guides/mcp.md)."
)
_UNSET = "{where}: {variable} isn't set, so the MCP server {name} gets no token. Set it."
_OWN_SETTING = (
    "{where}: {variable} is one of Ponte's own settings. Put the token in another variable."
)

_STDIO_HINT = (
    "Ponte reaches MCP servers only at a URL: start the command behind a bridge (npm's "
    "supergateway or mcp-proxy: docs/guides/mcp-tools.md), and write the bridge's `url` instead"
)


def _check_url(value: str) -> str:
    parts = parse_url(value, "https", "http")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("write the address without a user name, password or fragment")
    if parts.scheme == "http" and not is_local_host(parts.hostname or ""):
        raise ValueError("write https://; http:// is for servers in your own network")
    return value


McpServerName = Annotated[
    str,
    must_match("[a-z0-9][a-z0-9-]{0,31}", "write up to 32 lowercase letters, digits and hyphens"),
]
"""Up to 32 lowercase letters, digits and hyphens."""
McpUrl = Annotated[str, AfterValidator(_check_url)]
"""An https address, or http for a host in your own network."""
McpToolName = Annotated[
    str, must_match(r"[A-Za-z0-9_./-]{1,128}", "write the tool's name, as the server gives it")
]
"""The name that the server gives the tool."""


@dataclass(frozen=True, slots=True)
class McpToolConfig(StrictSection):
    """A tool of an MCP server: what its calls do, and what a call costs."""

    effect: Literal["read", "write", "spend"]
    """`read`: the model calls it by itself; `write`, `spend`: a person approves each call"""
    price: Dollars | None = None
    """US dollars a call, with `spend`"""

    def __post_init__(self) -> None:
        if (self.effect == "spend") != (self.price is not None):
            raise ValueError('write price = 0.01 and effect = "spend" together, or leave out both')


@dataclass(frozen=True, slots=True)
class McpConfig(StrictSection):
    """An MCP server, whose tools the model can use once you have accepted them
    (`ponte mcp accept NAME`)."""

    hints: ClassVar = {"command": _STDIO_HINT}

    url: McpUrl
    """its address (Streamable HTTP)"""
    token: VariableName | None = None
    """the environment variable with its token, sent as `Authorization: Bearer`"""
    protocol: Literal["2025-06-18", "2025-11-25"] | None = None
    """an older version of the protocol, for a server that lists no tools in a newer one"""
    tools: Mapping[McpToolName, McpToolConfig] = field(default_factory=dict)
    """its tools for the model, by the names that the server gives them; no others are offered"""

    def server(self, name: str, variable: Callable[[str], str]) -> McpServer:
        """`variable` returns the value of an environment variable."""
        return McpServer(
            name,
            self.url,
            variable(self.token).strip() if self.token else "",
            tuple((tool, own.effect) for tool, own in self.tools.items()),
            tuple((tool, own.price) for tool, own in self.tools.items() if own.price is not None),
            self.token or "",
            "legacy" if self.protocol else "auto",
        )


class McpToolsFeature(Feature):
    """Reads and checks the servers in ponte.toml."""

    def list_extras(self, config: Any, settings: Any) -> Iterable[str]:
        return ["mcp"] if config.mcp else ()

    def call_prices(self, config: Any) -> Mapping[str, float]:
        return {
            name_mcp_tool(name, tool): own.price
            for name, server in config.mcp.items()
            for tool, own in server.tools.items()
            if own.price is not None
        }

    def check_file(self, config: Any) -> Iterator[tuple[KeyPath, str]]:
        """Yield a fault for each tool that models would know by the same name as another one of its
        server: in these names, characters that models' servers do not take are replaced, and long
        names are cut."""
        for server, own in config.mcp.items():
            names = dict[str, str]()
            for tool in own.tools:
                first = names.setdefault(name_mcp_tool(server, tool), tool)
                if first != tool:
                    words = say(
                        "models would see this tool under the same name as {name}; remove one "
                        "of the two",
                        name=repr(first),
                    )
                    yield ("mcp", server, "tools", tool), words

    def list_secrets(self, config: Any) -> Iterator[tuple[str, bool]]:
        for server in config.mcp.values():
            yield server.token or "", True

    def check_secrets(self, config: Any, settings: Any) -> Iterator[str]:
        for name, server in config.mcp.items():
            where = config.location("mcp", name)
            if importlib.util.find_spec("mcp") is None:
                yield say(_NO_EXTRA, where=where)
            # Else a token of another service would be sent to the server.
            if server.token and server.token.lower() in type(settings).model_fields:
                yield say(_OWN_SETTING, where=where, variable=server.token)

    def find_faults(self, config: Any, settings: Any) -> Iterator[str]:
        for name, server in config.mcp.items():
            if server.token and not settings.variable(server.token):
                where = config.location("mcp", name)
                yield say(_UNSET, where=where, variable=server.token, name=name)


FEATURE = McpToolsFeature(
    integration=MCP_TOOLS,
    kinds={MCP_CALL_KIND: MCP_CALL},
    sections={"mcp": Mapping[McpServerName, McpConfig]},
    audit_sentences={"mcp-tools-accepted": "{asker} accepted the tools of the MCP server {server}"},
)
