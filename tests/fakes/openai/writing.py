"""Server-sent events as they go out, and how a socket is cut."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from tests.fakes.openai.odd import kinds_of, write_body, write_event
from tests.fakes.openai.state import Json, State


class Cut(Exception):
    """The connection was cut on purpose."""


class EventStream:
    """The event stream of one request; its headers go out with the first event."""

    def __init__(self, state: State, request: web.Request, kind: str) -> None:
        self._state = state
        self._request = request
        self._kind = kind
        self._opened = False
        self._kinds = kinds_of(state.odd, is_chat=kind == "chunk")
        self._sent = 0
        self.response = web.StreamResponse(
            headers={"content-type": "text/event-stream", "x-request-id": "req_stream"}
        )

    async def send(self, event: dict[str, Any]) -> None:
        if not self._kinds:
            self._state.emit(self._kind, event)
        mark = "\ufeff" if "bom" in self._kinds and not self._sent else ""
        self._sent += 1
        await self._write(mark + write_event(event, self._kinds))

    async def send_whole(self, whole: Json) -> None:
        """Answer with one object in place of a stream."""
        self.response.content_type = "application/json"
        await self._write(write_body((), {"json"}, whole).decode())

    async def send_done(self) -> None:
        if not {"no_done", "json"} & set(self._kinds):
            await self.send_text("[DONE]")

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
