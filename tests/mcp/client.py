"""A composed Ponte with the sample tables, and programs that connect to it over MCP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import httpx2
import mcp_types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.transport_security import DEFAULT_MAX_REQUEST_BODY_SIZE

from adapters.web import WEB
from bot.compose import compose
from bot.config.ponte_toml import Config, read_config
from bot.home import Home
from bot.ponte import Ponte
from bot.settings import Settings
from tests.fakes.link import parse_page_link

__all__ = ["DEFAULT_MAX_REQUEST_BODY_SIZE"]
ALONE = {
    "ponte_code": "off",
    "ponte_web_port": 0,
    "ponte_grace": 0.5,
    "ponte_timezone": "UTC",
    "ponte_mcp": "on",
    "ponte_sample": "on",
}
PAY = {
    "action": "update",
    "table": "Invoices",
    "changes": [{"id": 3, "fields": {"Status": "Paid"}}],
}
Json = dict[str, Any]


@dataclass
class McpPonte:
    """A running Ponte, its page's address, and the owner's browser."""

    app: Ponte
    url: str
    page: httpx.AsyncClient

    async def create_token(self, name: str = "owner", kind: str = "mcp", days: int = 0) -> str:
        """Return the text of a new token; the person gets an account if they have none."""
        person = self.app.accounts.person(name, owner=True)
        if name != "owner" and await self.app.accounts.find(person.key) is None:
            await self.app.accounts.invite(person)
        _, text = await self.app.accounts.create_api_token(person.key, "", days, None, kind)
        return text

    @asynccontextmanager
    async def connect(
        self, token: str, mode: str = "auto", **headers: str
    ) -> AsyncIterator[Client]:
        """Yield the SDK's own client with this token."""
        bearer = {"Authorization": f"Bearer {token}", **headers}
        async with httpx2.AsyncClient(headers=bearer, timeout=30) as http:
            transport = streamable_http_client(f"{self.url}/mcp", http_client=http)
            info = mcp_types.Implementation(name="claude-code", title="Claude Code", version="2")
            async with Client(transport, mode=mode, client_info=info) as client:
                yield client

    async def post(
        self, token: str, body: object, path: str = "/mcp", **headers: str
    ) -> httpx.Response:
        """Return the answer to a request that no SDK made."""
        named = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json, text/event-stream",
        }
        async with httpx.AsyncClient(base_url=self.url, timeout=30) as client:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            kind = {"Content-Type": "application/json"}
            return await client.post(path, content=content, headers=named | kind | headers)


def read_result(result: mcp_types.CallToolResult) -> Any:
    """Return the JSON of a tool's result, which may be followed by its sources."""
    content, *_ = result.content
    assert isinstance(content, mcp_types.TextContent)
    return json.loads(content.text)


def make_request(method: str, params: Mapping[str, Any] | None = None, id: int = 1) -> Json:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": dict(params or {})}


@asynccontextmanager
async def run_ponte(home: Path, file: str = "", **settings: Any) -> AsyncIterator[McpPonte]:
    """Run Ponte with MCP and this ponte.toml."""
    config = Config()
    options = {**ALONE, "ponte_home": home, **settings}
    if file:
        path = home.parent / "ponte.toml"
        path.write_text(file)
        config = read_config(path)
        options["ponte_config"] = path
    home_of_ponte = Home(home)
    with home_of_ponte.take():
        app = await compose(Settings.model_validate(options), config, home_of_ponte)
        await app.start()
        try:
            _, bearer = parse_page_link(app.links()[1])
            web: Any = next(own for face, own in app.surfaces.owned if face is WEB)
            page = web.address
            async with httpx.AsyncClient(base_url=page, headers=bearer, timeout=20) as browser:
                yield McpPonte(app, page, browser)
        finally:
            await app.stop()
