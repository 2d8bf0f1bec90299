"""The sections `[mcp.NAME]` of ponte.toml: MCP servers whose tools the model can use."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator

from bot.config.toml_values import Dollars, KeyPath, StrictSection, VariableName
from core.base.i18n import say
from core.base.proxies import is_local_host
from core.integrations import must_match, parse_url
from core.tools.mcp import McpServer, name_mcp_tool

if TYPE_CHECKING:
    from bot.settings import Settings

NO_MCP_EXTRA_SENTENCE = (
    "{where}: MCP servers need the `mcp` package. Install it with `pip install --require-hashes "
    "-r requirements/mcp.txt` (docs/guides/mcp.md)."
)
STDIO_HINT = (
    "Ponte reaches MCP servers only at a URL. Start the command behind a bridge (npm's "
    "supergateway or mcp-proxy: docs/guides/mcp-tools.md), and write the bridge's `url` instead"
)
_MISSING = "{where}: {variable} isn't set, so the MCP server {name} gets no token. Set it."
_OWN_SETTING = (
    "{where}: {variable} is one of Ponte's own settings. Put the token in another variable."
)


def _check_url(value: str) -> str:
    parts = parse_url(value, "https", "http")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("write the address without a name, password or fragment")
    if parts.scheme == "http" and not is_local_host(parts.hostname or ""):
        raise ValueError("write https://; http:// is for servers in your own network")
    return value


McpServerName = Annotated[
    str, must_match("[a-z0-9][a-z0-9-]{0,31}", "up to 32 lowercase letters, digits and hyphens")
]
"""Up to 32 lowercase letters, digits and hyphens."""
McpUrl = Annotated[str, AfterValidator(_check_url)]
"""An https address, or http for a host in your own network."""
McpToolName = Annotated[
    str, must_match(r"[A-Za-z0-9_./-]{1,128}", "the tool's name, as the server gives it")
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
            raise ValueError('write price = 0.01 with effect = "spend", and only with it')


@dataclass(frozen=True, slots=True)
class McpConfig(StrictSection):
    """An MCP server, whose tools the model can use once you have accepted them
    (`ponte mcp accept NAME`)."""

    url: McpUrl
    """its address (Streamable HTTP)"""
    token: VariableName | None = None
    """the environment variable with its token, sent as `Authorization: Bearer`"""
    protocol: Literal["2025-06-18", "2025-11-25"] | None = None
    """an older version of the protocol, for a server that lists no tools in a newer one"""
    tools: Mapping[McpToolName, McpToolConfig] = field(default_factory=dict)
    """its tools for the model, by the names that the server gives them; no others are offered"""

    def server(self, name: str, variable: Callable[[str], str]) -> McpServer:
        """Return the server with its token and tools. `variable` returns the value of an
        environment variable."""
        return McpServer(
            name,
            self.url,
            variable(self.token).strip() if self.token else "",
            tuple((tool, own.effect) for tool, own in self.tools.items()),
            tuple((tool, own.price) for tool, own in self.tools.items() if own.price is not None),
            self.token or "",
            "legacy" if self.protocol else "auto",
        )


def find_name_collisions(servers: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Yield the path and a fault for each tool of a server that models would know by the same name
    as another one: in these names, characters that models' servers do not take are replaced, and
    long names are cut."""
    for server, own in servers.items():
        names = dict[str, str]()
        for tool in own.tools:
            first = names.setdefault(name_mcp_tool(server, tool), tool)
            if first != tool:
                words = f"{tool!r}: models would know it by the same name as {first!r}"
                yield ("mcp", server, "tools", tool), words


def find_mcp_errors(
    servers: Mapping[str, McpConfig], locate: Callable[..., str], settings: Settings
) -> Iterator[str]:
    """Yield what makes the sections unusable: the extra is missing, or a token that belongs to
    another service would be sent to a server. `locate` returns where a key of ponte.toml is."""
    for name, own in servers.items():
        where = locate("mcp", name)
        if importlib.util.find_spec("mcp") is None:
            yield say(NO_MCP_EXTRA_SENTENCE, where=where)
        if own.token and own.token.lower() in type(settings).model_fields:
            yield say(_OWN_SETTING, where=where, variable=own.token)


def find_missing_tokens(
    servers: Mapping[str, McpConfig], locate: Callable[..., str], settings: Settings
) -> Iterator[str]:
    """Yield a sentence for each MCP server whose token is not set in the environment, with its line
    in ponte.toml."""
    for name, own in servers.items():
        if own.token and not settings.variable(own.token):
            where = locate("mcp", name)
            yield say(_MISSING, where=where, variable=own.token, name=name)
