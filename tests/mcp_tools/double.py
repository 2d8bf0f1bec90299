"""An MCP server that does what a test says, and a Ponte that uses its tools."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from bot.ponte import Ponte
from core.tools.mcp import McpToolSource
from core.tools.mcp.source import McpServers
from tests.fakes.loopback import serve_on_loopback
from tests.fakes.models import EchoModel
from tests.mcp.client import run_ponte

Json = dict[str, Any]
Answer = Callable[[web.Request, Json], Awaitable[web.StreamResponse | Json]]
SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string", "description": "what to look for"}},
    "required": ["text"],
}
FILE = """
[mcp.desk]
url = "{url}/mcp"
token = "DESK_TOKEN"
[mcp.desk.tools]
find = {{ effect = "read" }}
file = {{ effect = "write" }}
print = {{ effect = "spend", price = 0.25 }}
"""


def make_text(text: str, **more: Any) -> Json:
    """Return the result of a tool with this text."""
    return {"content": [{"type": "text", "text": text}], **more}


async def answer_call(request: web.Request, params: Json) -> Json:
    """Answer with the arguments."""
    return make_text(f"{params['name']} got {json.dumps(params['arguments'])}")


@dataclass
class McpDouble:
    """A server of the protocol 2025-06-18, or 2026-07-28 if `is_modern`. `answer` makes the results
    of tools."""

    tools: list[Json] = field(
        default_factory=lambda: [
            {"name": name, "description": f"Tool {name}", "inputSchema": SCHEMA}
            for name in ("find", "file", "print", "hidden")
        ]
    )
    answer: Answer = answer_call
    is_modern: bool = False
    lists: int = 0
    calls: list[Json] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    called: asyncio.Event = field(default_factory=asyncio.Event)
    listed: asyncio.Condition = field(default_factory=asyncio.Condition)
    streams: list[web.StreamResponse] = field(default_factory=list)
    listening: asyncio.Event = field(default_factory=asyncio.Event)
    ends: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    """Each item ends one stream for notices."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.tokens.add(request.headers.get("Authorization", ""))
        if request.method == "GET":
            return await self._listen(request)
        if request.method != "POST":
            return web.Response(status=405)
        body = json.loads(await request.read())
        if "id" not in body:
            return web.Response(status=202)
        result: web.StreamResponse | Json | None = None
        headers = {}
        match body["method"]:
            case "server/discover" if self.is_modern:
                result = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
            case "initialize":
                result = {
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {"listChanged": True}},
                    "serverInfo": {"name": "desk", "version": "1"},
                }
                headers = {"Mcp-Session-Id": "s1"}
            case "subscriptions/listen" if self.is_modern:
                return await self._listen(request, body["id"])
            case "tools/list":
                async with self.listed:
                    self.lists += 1
                    self.listed.notify_all()
                result = {"tools": self.tools}
            case "tools/call":
                self.calls.append(body["params"])
                self.called.set()
                result = await self.answer(request, body["params"])
        if isinstance(result, web.StreamResponse):
            return result
        answer: Json = {"jsonrpc": "2.0", "id": body["id"]}
        if result is None:
            answer["error"] = {"code": -32601, "message": "no such method"}
        else:
            more = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
            answer["result"] = {**(more if self.is_modern else {}), **result}
        return web.json_response(answer, headers=headers)

    async def _listen(self, request: web.Request, id: str = "") -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        if id:
            meta = {"io.modelcontextprotocol/subscriptionId": id}
            params = {"_meta": meta, "notifications": {"toolsListChanged": True}}
            method = "notifications/subscriptions/acknowledged"
            notice = {"jsonrpc": "2.0", "method": method, "params": params}
            await stream.write(f"event: message\ndata: {json.dumps(notice)}\n\n".encode())
        self.streams.append(stream)
        self.listening.set()
        await self.ends.get()
        self.streams.remove(stream)
        return stream

    async def send_notice(self) -> None:
        """Say that the tools changed."""
        notice = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
        for stream in self.streams:
            await stream.write(f"event: message\ndata: {json.dumps(notice)}\n\n".encode())

    async def wait_for_lists(self, count: int) -> None:
        async with self.listed:
            await self.listed.wait_for(lambda: self.lists >= count)


@asynccontextmanager
async def serve(double: McpDouble) -> AsyncIterator[str]:
    """Serve the double, and yield its origin."""
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/mcp", double.handle)
    app.router.add_route("*", "/other", double.handle)
    runner, url = await serve_on_loopback(app, cancels=True)
    try:
        yield url
    finally:
        await runner.cleanup()


@dataclass
class Desk:
    """A Ponte whose model calls the tools that it is told to call."""

    app: Ponte
    double: McpDouble
    model: EchoModel
    page: str = ""

    @property
    def servers(self) -> McpServers:
        source: McpToolSource = self.app.sources["mcp_tools"]
        return source.servers

    async def list_offered(self) -> list[str]:
        """Return the names of the server's tools that models are offered."""
        specs = await self.app.engine.assistant.toolbox.list_specs()
        return [spec.name for spec in specs if "__" in spec.name]

    async def accept(self) -> list[str]:
        return list(await self.servers.accept("desk"))

    async def call(self, tool: str, **arguments: Any) -> Json:
        """Return the answer to a message that makes the model call a tool."""
        name = tool if tool.startswith("nocodb") else f"desk__{tool}"
        answer = await self.app.run_command(f"call {name} {json.dumps(arguments)}", True)
        return dict(answer)

    async def decide(self, word: str, id: str) -> Json:
        return dict(await self.app.run_command(f"{word} {id}", True))


@asynccontextmanager
async def run_desk(
    tmp_path: Path, double: McpDouble, *, accepts: bool = True, more: str = ""
) -> AsyncIterator[Desk]:
    """Run a Ponte with the double as its MCP server `desk`."""
    async with (
        serve(double) as url,
        run_ponte(tmp_path / "home", FILE.format(url=url) + more, ponte_mcp="off") as ponte,
    ):
        model = EchoModel()
        object.__setattr__(ponte.app.engine.assistant, "model", model)
        desk = Desk(ponte.app, double, model, ponte.url)
        if accepts:
            await desk.accept()
        yield desk
