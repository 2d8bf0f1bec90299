"""A proxy that fails or holds the calls that write. The server behind it works normally."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from tests.fakes.faulty import FaultyServer

_PASSED_ON = ("Content-Type", "User-Agent", "xc-token")


@dataclass(frozen=True, slots=True)
class WriteCall:
    """A call that writes; `succeeded`: the server answered it with 200."""

    method: str
    path: str
    body: Any
    agent: str
    succeeded: bool


class FaultyProxy(FaultyServer):
    """`written` lists the calls that wrote, or tried to. Reads pass unchanged; `read` lists their
    paths.

    `hang` takes the method and "records", "links" or "upload", as "PATCH records"; `until` counts
    reads too. A call that arrived has its effect, also when its caller dies.
    """

    def __init__(self, upstream: str) -> None:
        super().__init__()
        self.upstream = upstream
        self.written: list[WriteCall] = []
        self.read: list[str] = []
        self._session: aiohttp.ClientSession | None = None

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        return [web.route("*", "/{rest:.*}", self._call)]

    async def start(self, port: int = 0) -> None:
        self._session = aiohttp.ClientSession(auto_decompress=True)
        await super().start(port)

    async def stop(self) -> None:
        await super().stop()
        if self._session:
            await self._session.close()

    async def _call(self, request: web.Request) -> web.Response:
        if request.method == "GET":
            self.read.append(request.path)
            answer = await self._forward(request, b"")
            await self.count_finished_call()
            return answer
        body = await request.read()
        kind = "links" if "/links/" in request.path else "records"
        kind = "upload" if request.path.endswith("/storage/upload") else kind
        trouble = await self.take_trouble(f"{request.method} {kind}")
        response = web.Response(status=500)
        if trouble is None or trouble.kind == "after":
            response = await self._forward(request, body)
        agent = request.headers.get("User-Agent", "")
        is_done = response.status == 200
        content = None if kind == "upload" else json.loads(body)
        self.written.append(WriteCall(request.method, request.path, content, agent, is_done))
        await self.count_finished_call()
        return trouble.answer(request) if trouble else response

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        assert self._session
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        try:
            async with self._session.request(
                request.method, f"{self.upstream}{request.raw_path}", data=body, headers=headers
            ) as answer:
                text = await answer.read()
                return web.Response(
                    status=answer.status, body=text, content_type=answer.content_type
                )
        except aiohttp.ClientError:
            return web.json_response(None, status=502)
