"""The recording platform over HTTP: it stays when the bot is killed.

`RemoteRecorder` is the bot's side of the wire, `serve` the platform's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from core.base.errors import PlatformBusy, PostRemoved, Undeliverable
from tests.fakes.loopback import serve_on_loopback
from tests.fakes.recorder import AnswerLost, Recorder

Gate = Callable[[str, int], Awaitable[None]]
"""Awaited before each model round: (turn, round)."""


class RemoteRecorder:
    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def post(self, channel: str, source: str, key: str, text: str) -> str:
        return str(await self._call("post", channel=channel, source=source, key=key, text=text))

    async def edit(self, post: str, text: str) -> None:
        await self._call("edit", post=post, text=text)

    async def delete(self, post: str) -> None:
        await self._call("delete", post=post)

    async def find(self, source: str, key: str) -> str | None:
        match = await self._call("find", source=source, key=key)
        return None if match is None else str(match)

    async def gate(self, turn: str, number: int) -> None:
        await self._call("gate", turn=turn, number=number)

    async def _call(self, name: str, **arguments: Any) -> object:
        async with self._session.post(f"{self._url}/{name}", json=arguments) as answer:
            body = await answer.json()
        match answer.status:
            case 200:
                return body
            case 410:
                raise PostRemoved
            case 429:
                raise PlatformBusy(body)
            case 403:
                raise Undeliverable(reason=body)
        raise AnswerLost


@asynccontextmanager
async def serve(recorder: Recorder, gate: Gate | None = None) -> AsyncIterator[str]:
    """Serve `recorder`; yield its URL."""

    async def call(request: web.Request) -> web.Response:
        name, arguments = request.match_info["name"], await request.json()
        try:
            if name == "gate":
                if gate:
                    await gate(arguments["turn"], arguments["number"])
                return web.json_response(None)
            return web.json_response(await getattr(recorder, name)(**arguments))
        except PostRemoved:
            return web.json_response(None, status=410)
        except PlatformBusy as busy:
            return web.json_response(busy.seconds, status=429)
        except Undeliverable as refused:
            return web.json_response(str(refused.values["reason"]), status=403)
        except AnswerLost:
            if request.transport:
                request.transport.abort()
            return web.json_response(None, status=500)

    app = web.Application()
    app.router.add_post("/{name}", call)
    runner, origin = await serve_on_loopback(app)
    try:
        yield origin
    finally:
        await runner.cleanup()
