"""Tools of other MCP servers, which an operator names in ponte.toml.

A tool is offered to the model only as an operator has accepted it: name, description and schema. A
tool that is not declared `read` becomes a change that people approve. This module loads neither the
MCP SDK nor the code that uses it as long as ponte.toml names no server.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from core.base.errors import ToolError
from core.base.i18n import say
from core.base.splitting import make_code_block
from core.base.text import to_one_line
from core.changes.kinds import ExternalRun, Kind
from core.domain.changes import Change, Draft, FormField, RowCheck, RowWrite
from core.domain.ports import QuickCommands, Tool
from core.domain.records import Health
from core.domain.rights import RIGHT_OF_EFFECT, Effect, Viewer
from core.integrations import (
    IntegrationDependencies,
    OperatorConfig,
    RuleNames,
    SettingsPart,
    SharedSettings,
    ToolBundle,
    ToolIntegration,
)
from core.money.usage import PaidRun
from core.tools.tool import FixedToolSource

if TYPE_CHECKING:
    from core.tools.mcp.source import McpServers

MCP_CALL_KIND = "mcp_call"
MCP_CALL_TIMEOUT_SECONDS = 60.0
"""Seconds that a call may take, with its connection."""
MCP_STATE_NAME = "mcp_tools"
"""The row of the table `remembered` with the accepted definitions: by server, then by tool."""
MAX_TOOL_NAME_CHARACTERS = 64
"""https://platform.openai.com/docs/api-reference/responses/create: a function's name."""
MCP_NO_UNDO = "This can't be undone."
_OUTCOMES = {
    "applying": "In progress.",
    "done": "Done.",
    "failed": "The call failed. {words}",
    "partial": "The result is unknown. Check it before you ask again. {words}",
}
_OTHERS_APPROVE = "{id} calls a tool of another server, so an admin must approve it."
CARRIES_ROWS = (
    "The tool only reads, but this conversation contains table rows. Check that the "
    "arguments don't send any of them to a server that shouldn't have them."
)


def name_mcp_tool(server: str, tool: str) -> str:
    """A server's name precedes the tool's, because two servers may have tools of one name. Model
    servers accept few characters in it."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", f"{server}__{tool}")
    return name[:MAX_TOOL_NAME_CHARACTERS]


def hash_definition(definition: str) -> str:
    """A proposal stores the hash, so that the call is made only while the tool is the one that was
    approved."""
    return hashlib.sha256(definition.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class McpServer:
    """An MCP server that ponte.toml names. `effects` and `prices` are by the names that the server
    gives its tools; a price is in US dollars. `token` is secret, "" for none; `token_name` is the
    variable that holds it. `mode` is the SDK's: "legacy" is for versions of the
    protocol before 2026-07-28."""

    name: str
    url: str
    token: str
    effects: tuple[tuple[str, Literal["read", "write", "spend"]], ...]
    prices: tuple[tuple[str, float], ...] = ()
    token_name: str = ""
    mode: Literal["auto", "legacy"] = "auto"

    def __repr__(self) -> str:
        return f"McpServer({self.name!r})"


class McpCall(ExternalRun):
    """A change that calls a tool once. The arguments are its only row."""

    title = "Call {title}"
    outcomes = _OUTCOMES
    no_undo = MCP_NO_UNDO
    has_end = False
    has_rows = False
    noun = "tool"

    def rights_to_propose(self, draft: Draft) -> Sequence[tuple[str, ...]]:
        effect: Effect = draft.target["effect"]
        return [(RIGHT_OF_EFFECT[effect],), ("tool", draft.view.slug)]

    def needs_admin(self, draft: Draft) -> str:
        return _OTHERS_APPROVE

    def paid_run(self, draft: Draft) -> PaidRun | None:
        return PaidRun("mcp", draft.view.slug) if draft.target["effect"] == "spend" else None

    def describe(self, change: Change) -> str:
        """Characters that nobody sees are escaped, so that people approve what is really sent."""
        target, after = change.draft.target, change.steps[0].write.after
        if after is None:  # the proposal's content was erased, so there is nothing to show
            return ""
        text = json.dumps(after, ensure_ascii=False, indent=2)
        visible = "".join(
            character
            if character.isprintable() or character == "\n"
            else json.dumps(character)[1:-1]
            for character in text
        )
        sentence = say("The server {server} gets these arguments:", server=target["server"])
        price = target.get("price")
        cost = say("The call costs ${price}.", price=f"{price:g}") if price is not None else ""
        # Slack would show the name of a language as the first line of the code.
        return "\n\n".join(filter(None, [sentence, make_code_block(visible), cost]))

    def build_note(self, change: Change, outcome: str) -> str:
        """The reason of a failure is left out of the outcome, because it may be the server's own
        words, which must not stand in a note of Ponte."""
        reason = to_one_line(change.steps[0].explanation)
        return super().build_note(change, outcome.replace(f" {reason}", "") if reason else outcome)

    def form_fields(self, change: Change) -> Sequence[FormField]:
        """People approve the arguments as they are, or deny the call."""
        return ()


class McpCalls:
    """The `Applier` that makes approved calls of tools of MCP servers. The row's id is set once the
    server has answered."""

    name = MCP_CALL_KIND
    patience = MCP_CALL_TIMEOUT_SECONDS + 30.0

    def __init__(self, source: McpToolSource) -> None:
        self._source = source

    def batch(self, draft: Draft) -> int:
        return 1

    def open(self, draft: Draft) -> McpCallBatch:
        return McpCallBatch(self._source, draft)

    def revert(self, change: Change) -> Draft:
        raise ToolError(MCP_NO_UNDO)


@dataclass(frozen=True, slots=True)
class McpCallBatch:
    """The `Batch` of one call of an MCP server's tool. Nothing can tell whether a call without an
    answer had its effect, so it is never repeated."""

    source: McpToolSource
    draft: Draft

    async def check(self, rows: Sequence[RowWrite]) -> Sequence[RowCheck]:
        """The row as `write` stored it decides: "before" if the server has not answered."""
        (row,) = rows
        if not row.id:
            return [RowCheck("before", row)]
        state: Literal["failed", "after"] = "failed" if row.id == "failed" else "after"
        return [RowCheck(state, row, {"result": row.applier_data})]

    async def write(self, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        """Raise ToolError if the tool was not called, WriteUnsure if that is not known."""
        (row,) = rows
        is_error, text = await self.source.servers.call_approved(
            self.draft.target, dict(row.after or {})
        )
        return [replace(row, id="failed" if is_error else "done", applier_data=text)]


class McpToolSource(FixedToolSource):
    """The tools of all MCP servers in ponte.toml (the port `ToolSource`)."""

    name = MCP_STATE_NAME

    def __init__(self, deps: IntegrationDependencies[Any]) -> None:
        self._deps = deps
        self._servers: McpServers | None = None

    @property
    def servers(self) -> McpServers:
        if self._servers is None:
            from core.tools.mcp.source import McpServers

            self._servers = McpServers(self._deps)
        return self._servers

    def start(self) -> None:
        if self._deps.config.section("mcp"):
            self.servers.watch()

    async def tools(self, viewer: Viewer) -> Sequence[Tool]:
        """No server is waited for."""
        return await self.servers.list_tools() if self._deps.config.section("mcp") else ()

    async def list_states(self) -> Sequence[Health]:
        return await self.servers.list_states() if self._deps.config.section("mcp") else ()

    async def close(self) -> None:
        if self._servers is not None:
            await self._servers.close()


class McpToolsIntegration(ToolIntegration[SettingsPart]):
    """Builds the tools of the MCP servers that ponte.toml names."""

    name = MCP_STATE_NAME
    settings = SettingsPart

    def summary(self, settings: SettingsPart, shared: SharedSettings) -> None: ...

    def build(
        self, deps: IntegrationDependencies[SettingsPart], quick: QuickCommands
    ) -> ToolBundle:
        """No server is asked before `start`."""
        source = McpToolSource(deps)
        return ToolBundle(
            source, [McpCalls(source)], list_states=source.list_states, start=source.start
        )

    async def check(self, deps: IntegrationDependencies[SettingsPart]) -> Sequence[Health]:
        if not deps.config.section("mcp"):
            return []
        accepted = json.loads(await deps.read_remembered(MCP_STATE_NAME) or "{}")
        return await McpToolSource(deps).servers.check_all(accepted)

    def rule_names(self, settings: SettingsPart, config: OperatorConfig) -> RuleNames:
        servers = config.section("mcp").items()
        return {
            "tool": [name_mcp_tool(name, tool) for name, server in servers for tool in server.tools]
        }


MCP_TOOLS = McpToolsIntegration()
MCP_CALL: Kind = McpCall()
