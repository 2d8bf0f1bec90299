"""The texts of the MCP server."""

from __future__ import annotations

from bot.operation_texts import AUDIT_SENTENCES

AUDIT_SENTENCES["mcp-request"] = "An MCP client of {asker} sent a request"
