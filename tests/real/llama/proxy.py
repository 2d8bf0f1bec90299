"""A proxy before a model's server that records each request with the raw answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
from aiohttp import web

from tests.fakes.loopback import serve_on_loopback

Json = dict[str, Any]
AddFields = Callable[[Json], Mapping[str, Any]]
TIMEOUT = aiohttp.ClientTimeout(total=None)


@dataclass
class Exchange:
    """A request as Ponte sent it, and the server's answer."""

    path: str
    body: Json
    status: int = 0
    answer: bytes = b""

    @property
    def events(self) -> list[Json]:
        """The events of a streamed answer."""
        data = [line[5:].strip() for line in self.answer.splitlines() if line.startswith(b"data:")]
        return [json.loads(event) for event in data if event != b"[DONE]"]

    @property
    def last_response(self) -> Json:
        """What the last event of a Responses stream says about the response, or the last chunk of
        a Chat Completions stream: the one with `usage`."""
        last = self.events[-1]
        response: Json = last.get("response") or last
        return response

    @property
    def text(self) -> str:
        """The text in the pieces of a streamed answer, of either API."""
        pieces = [
            event.get("delta") if "type" in event else choice["delta"].get("content")
            for event in self.events
            if event.get("type", TEXT_EVENT) == TEXT_EVENT
            for choice in event.get("choices", ({},))
        ]
        return "".join(piece or "" for piece in pieces)


TEXT_EVENT = "response.output_text.delta"


class RecordingProxy:
    """`async with RecordingProxy(origin) as proxy:` passes all requests at `proxy.base_url` on.

    `exchanges` lists them. `add_fields` returns what is added to the body of a request for an
    answer. `text_began` is set with the first text of an answer. A request whose sender hangs up is
    broken off at the server, too; `hung_up` is then set.
    """

    def __init__(self, upstream: str, add_fields: AddFields) -> None:
        self.upstream = upstream
        self.add_fields = add_fields
        self.base_url = ""
        self.exchanges: list[Exchange] = []
        self.text_began, self.hung_up = asyncio.Event(), asyncio.Event()

    @property
    def answers(self) -> list[Exchange]:
        """The requests that asked for an answer. A probe of the server's level does not."""
        return [exchange for exchange in self.exchanges if "stream" in exchange.body]

    async def __aenter__(self) -> Self:
        # The server closes a connection that is idle for 5 s, perhaps while a request is sent.
        connector = aiohttp.TCPConnector(force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=TIMEOUT)
        application = web.Application(client_max_size=64 * 2**20)
        application.add_routes([web.route("*", "/{rest:.*}", self._pass_on)])
        self._runner, origin = await serve_on_loopback(application, cancels=True)
        self.base_url = f"{origin}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else {}
        exchange = Exchange(request.path, body)
        self.exchanges.append(exchange)
        addition = self.add_fields(body) if "stream" in body else {}
        try:
            async with self._session.request(
                request.method,
                self.upstream + request.path,
                json={**body, **addition},
                headers={"Authorization": request.headers.get("Authorization", "")},
            ) as answer:
                exchange.status = answer.status
                response = web.StreamResponse(
                    status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]}
                )
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    exchange.answer += piece
                    await response.write(piece)
                    if b"data:" in exchange.answer and exchange.text:
                        self.text_began.set()
                await response.write_eof()
                return response
        except (asyncio.CancelledError, ConnectionResetError):
            self.hung_up.set()
            raise
