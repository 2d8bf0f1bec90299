"""A bridge on loopback that answers as the public one does, and fails when it is told to.

`python -m tests.fakes.bridge --port N` runs it by itself and prints its URL as one line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web

from tests.fakes.bridge_tables import NocoDBAPI


@dataclass(frozen=True, slots=True)
class Called:
    """A request to /execute that was well formed; `done`: its effect happened."""

    tool: str
    args: dict[str, Any]
    done: bool


@dataclass(frozen=True, slots=True)
class _Trouble:
    kind: Literal["status", "before", "after"]
    status: int = 0
    detail: str = ""


class FakeBridge:
    """`calls` are all of them, in order. Each switch is for the calls that come next."""

    def __init__(self, *, patched: bool = True, token: str = "", lists_tools: bool = True) -> None:
        self.api = NocoDBAPI(patched)
        self.calls: list[Called] = []
        self.listed = 0
        """How often /tools was asked."""
        self._token = token
        self._lists_tools = lists_tools
        self._troubles: deque[_Trouble] = deque()
        self._free = asyncio.Event()
        self._free.set()
        self._held = frozenset[str]()
        self._reached = asyncio.Event()
        self._called = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self.origin = ""

    @property
    def url(self) -> str:
        return f"{self.origin}/execute"

    @property
    def done(self) -> list[str]:
        """The tools whose effect happened."""
        return [call.tool for call in self.calls if call.done]

    def fail(self, times: int, status: int, detail: str = "") -> None:
        """Answer the next calls with `status` and do nothing."""
        self._troubles.extend([_Trouble("status", status, detail)] * times)

    def drop(self, when: Literal["before", "after"], times: int = 1) -> None:
        """Break the connection before or after the effect."""
        self._troubles.extend([_Trouble(when)] * times)

    def hang(self, *tools: str) -> None:
        """Hold calls (of these tools, or all), before their effect, until `release`."""
        self._held = frozenset(tools)
        self._reached.clear()
        self._free.clear()

    async def reached(self) -> None:
        """Until a held call has come in."""
        await self._reached.wait()

    async def until(self, calls: int) -> None:
        """Until that many calls have had their effect, or failed."""
        async with self._called:
            await self._called.wait_for(lambda: len(self.calls) >= calls)

    def release(self) -> None:
        self._free.set()

    async def start(self, port: int = 0) -> None:
        application = web.Application()
        application.add_routes(
            [
                web.get("/", self._root),
                web.get("/health", self._health),
                web.post("/execute", self._execute),
                *([web.get("/tools", self._tools)] if self._lists_tools else []),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.origin = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        self.release()
        if self._runner:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _root(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"message": "NocoDB HTTP Server", "version": "1.0.0", "docs": "/docs"}
        )

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "healthy"})

    async def _tools(self, request: web.Request) -> web.Response:
        self.listed += 1
        names = [name for name in dir(self.api) if callable(getattr(self.api, name))]
        return web.json_response(
            {"tools": [{"name": name, "description": name} for name in names if name[0] != "_"]}
        )

    async def _execute(self, request: web.Request) -> web.Response:
        if self._token and request.headers.get("Authorization") != f"Bearer {self._token}":
            return _detail(401, "Not authenticated")
        asked = await _asked(request)
        if isinstance(asked, web.Response):
            return asked
        if not self._free.is_set() and (not self._held or asked[0] in self._held):
            self._reached.set()
            await self._free.wait()
        answer = self._answered(request, *asked)
        async with self._called:
            self._called.notify_all()
        return answer

    def _answered(self, request: web.Request, tool: str, args: dict[str, Any]) -> web.Response:
        trouble = self._troubles.popleft() if self._troubles else None
        if trouble and trouble.kind != "after":
            self.calls.append(Called(tool, args, done=False))
            return _detail(trouble.status, trouble.detail) if trouble.status else _dropped(request)
        answer = self._done(tool, args)
        self.calls.append(Called(tool, args, done=answer.status == 200))
        return _dropped(request) if trouble else answer

    def _done(self, tool: str, args: dict[str, Any]) -> web.Response:
        """Every failure is a 500 with its text, as over there, the bridge's own 400 too."""
        if not hasattr(self.api, tool):
            return _detail(500, f"400: Unknown tool: {tool}")
        try:
            return web.json_response({"result": getattr(self.api, tool)(**args)})
        except Exception as error:
            return _detail(500, str(error))


async def _asked(request: web.Request) -> tuple[str, dict[str, Any]] | web.Response:
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


def _dropped(request: web.Request) -> web.Response:
    if request.transport:
        request.transport.abort()
    return web.Response()


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
