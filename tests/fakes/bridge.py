"""A bridge on loopback that answers as the public one does, and fails when it is told to.

`python -m tests.fakes.bridge --port N` runs it by itself and prints its URL as one line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.fakes.bridge_tables import NocoDBAPI, NocoDBAPIWithViews
from tests.fakes.faulty import FaultyServer, Trouble


@dataclass(frozen=True, slots=True)
class BridgeCall:
    """A request to /execute that was well formed; `succeeded`: its effect happened."""

    tool: str
    args: dict[str, Any]
    succeeded: bool


class FakeBridge(FaultyServer):
    """`calls` are all of them, in order."""

    def __init__(
        self,
        *,
        patched: bool = True,
        token: str = "",
        lists_tools: bool = True,
        has_views: bool = False,
    ) -> None:
        super().__init__()
        self.api = NocoDBAPIWithViews(patched) if has_views else NocoDBAPI(patched)
        self.calls: list[BridgeCall] = []
        self.listed = 0
        """How often /tools was asked."""
        self.listing_status = 200
        self._token = token
        self._lists_tools = lists_tools

    @property
    def url(self) -> str:
        return f"{self.origin}/execute"

    @property
    def executed_tools(self) -> list[str]:
        """The tools whose effect happened."""
        return [call.tool for call in self.calls if call.succeeded]

    def fail(self, times: int, status: int, detail: str = "") -> None:
        """Answer the next calls with `status` and do nothing."""
        self.trouble(*[Trouble("status", status, {"detail": detail})] * times)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        yield web.get("/", self._root)
        yield web.get("/health", self._health)
        yield web.post("/execute", self._execute)
        if self._lists_tools:
            yield web.get("/tools", self._tools)

    async def _root(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"message": "NocoDB HTTP Server", "version": "1.0.0", "docs": "/docs"}
        )

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "healthy"})

    async def _tools(self, request: web.Request) -> web.Response:
        self.listed += 1
        if self.listing_status != 200:
            return _detail(self.listing_status, "Internal Server Error")
        names = [name for name in dir(self.api) if callable(getattr(self.api, name))]
        return web.json_response(
            {"tools": [{"name": name, "description": name} for name in names if name[0] != "_"]}
        )

    async def _execute(self, request: web.Request) -> web.Response:
        if self._token and request.headers.get("Authorization") != f"Bearer {self._token}":
            return _detail(401, "Not authenticated")
        call = await _parse_call(request)
        if isinstance(call, web.Response):
            return call
        trouble = await self.take_trouble(call[0])
        answer = self._answer_call(request, trouble, *call)
        await self.count_finished_call()
        return answer

    def _answer_call(
        self, request: web.Request, trouble: Trouble | None, tool: str, args: dict[str, Any]
    ) -> web.Response:
        if trouble and trouble.kind != "after":
            self.calls.append(BridgeCall(tool, args, succeeded=False))
            return trouble.answer(request)
        answer = self._run_tool(tool, args)
        self.calls.append(BridgeCall(tool, args, succeeded=answer.status == 200))
        return trouble.answer(request) if trouble else answer

    def _run_tool(self, tool: str, args: dict[str, Any]) -> web.Response:
        """Every failure is a 500 with its text, as over there, the bridge's own 400 too."""
        if not hasattr(self.api, tool):
            return _detail(500, f"400: Unknown tool: {tool}")
        try:
            return web.json_response({"result": getattr(self.api, tool)(**args)})
        except Exception as error:
            return _detail(500, str(error))


async def _parse_call(request: web.Request) -> tuple[str, dict[str, Any]] | web.Response:
    """The call, or FastAPI's 422 with a list of what is wrong with the body."""
    try:
        body = json.loads(await request.text())
    except ValueError:
        return _wrong("json_invalid", ["body", 0], "JSON decode error")
    if request.content_type != "application/json" or not isinstance(body, dict):
        return _wrong("model_attributes_type", ["body"], "Input should be a valid dictionary")
    for name, kind in (("tool", str), ("args", dict)):
        if name not in body:
            return _wrong("missing", ["body", name], "Field required")
        if not isinstance(body[name], kind):
            return _wrong(f"{kind.__name__}_type", ["body", name], f"Input should be {kind}")
    return body["tool"], body["args"]


def _wrong(kind: str, place: list[str | int], message: str) -> web.Response:
    return _detail(422, [{"type": kind, "loc": place, "msg": message, "input": {}}])


def _detail(status: int, detail: object) -> web.Response:
    return web.json_response({"detail": detail}, status=status)


async def main(port: int, patched: bool) -> None:
    bridge = FakeBridge(patched=patched)
    await bridge.start(port)
    print(bridge.url, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="A bridge with two tables, for trying Ponte.")
    arguments.add_argument("--port", type=int, default=0)
    arguments.add_argument("--public", action="store_true", help="answer as the unpatched code")
    given = arguments.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(given.port, not given.public))
