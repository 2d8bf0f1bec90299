"""Shows and accepts the tools of MCP servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from bot.operation_results import Json, Rows
from bot.operations import ShellArgument, add_command_group, operation

if TYPE_CHECKING:
    from bot.ponte import Ponte
    from core.domain.messages import Person
    from core.tools.mcp import McpToolSource

add_command_group(
    "mcp", "Show and accept the tools of the MCP servers in ponte.toml.", after="hooks"
)


_McpServerName = Annotated[str, ShellArgument("The server's name in ponte.toml.")]


@operation("mcp show", needs="running", example="github")
async def show_mcp_tools(ponte: Ponte, name: _McpServerName) -> Rows:
    """Show how the tools of an MCP server differ from those that were accepted."""
    source: McpToolSource = ponte.sources["mcp_tools"]
    return await source.servers.compare(name)


@operation(
    "mcp accept",
    needs="running",
    right="own",
    preview="mcp show",
    confirm="Let the model use these tools of {name}?",
    example="github",
    shown_by="mcp show {name}",
)
async def accept_mcp_tools(ponte: Ponte, name: _McpServerName, actor: Person) -> Json:
    """Accept the tools of an MCP server as they are now. Until then, new and changed ones are
    off."""
    names = await ponte.sources["mcp_tools"].servers.accept(name)
    ponte.engine.people.audit.note("mcp-tools-accepted", actor, server=name)
    return {"name": name, "tools": names}
