"""Server-sent events as they go out, and how a socket is cut."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from tests.fakes.openai.state import State


class Cut(Exception):
    """The connection was cut on purpose."""


class EventStream:
    """The event stream of one request; its headers go out with the first event."""

    def __init__(self, state: State, request: web.Request, kind: str) -> None:
        self._state = state
        self._request = request
        self._kind = kind
        self._opened = False
        self.response = web.StreamResponse(
            headers={"content-type": "text/event-stream", "x-request-id": "req_stream"}
        )

    async def send(self, event: dict[str, Any]) -> None:
        self._state.emit(self._kind, event)
        named = f"event: {event['type']}\n" if "type" in event else ""
        await self._write(f"{named}data: {json.dumps(event)}\n\n")

    async def send_text(self, text: str) -> None:
        await self._write(f"data: {text}\n\n")

    async def end(self) -> None:
        await self._open()
        await self.response.write_eof()

    async def _write(self, text: str) -> None:
        await self._open()
        await self.response.write(text.encode())

    async def _open(self) -> None:
        if not self._opened:
            self._opened = True
            await self.response.prepare(self._request)


def cut(request: web.Request) -> None:
    """Close the socket without an end of the answer."""
    if request.transport is not None:
        request.transport.close()
