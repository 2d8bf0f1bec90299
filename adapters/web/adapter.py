"""The web: a page and an HTTP API on a port, and the same API for the terminal on a Unix socket.

Other adapters' routes are mounted on the same server, without their knowing a web framework.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.web.authentication import Door
from adapters.web.site import Hub, Site, Transcripts, WebReply
from core.integration import Handler, Operator
from core.messages import ReplyTo
from core.ports import Files, Inbox, Posts, Reply, StatusBoard
from core.records import Health

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Asgi = Callable[[Event, Receive, Send], Awaitable[None]]
"""An application, named here because importing Starlette takes long."""
CAP = 1_000_000
"""Bytes of one request; Slack's are some kilobytes."""


class Mounted:
    """An ASGI application for one POST route that checks its callers itself."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            return await _answer(send, 405, {"allow": "POST"}, b"")
        body = await _body(receive)
        if body is None:
            return await _answer(send, 413, {"connection": "close"}, b"")
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        return await _answer(send, *await self._handler(headers, body))


@dataclass(frozen=True, slots=True)
class Port:
    """Where to listen; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 8080


class WebAdapter:
    """One is one door: `WebDoor` with a `Port` is the platform "web", `SocketDoor` with a socket is
    the platform "terminal": whoever holds the home binds that socket, for its user alone.

    `listener` is a socket that listens already, or where to listen.

    `readiness` is what `/readyz` looks at (the board's health where it is not given); `extra` are
    other adapters' ASGI applications by path, which check their callers themselves.
    """

    def __init__(
        self,
        *,
        door: Door,
        listener: Port | socket.socket,
        inbox: Inbox,
        journal: Transcripts,
        files: Files,
        board: StatusBoard,
        readiness: Callable[[], Awaitable[Sequence[Health]]] | None = None,
        metrics: Callable[[], str] | None = None,
        operator: Operator | None = None,
        extra: Mapping[str, Asgi] | None = None,
        locale: str = "en",
        time_zone: str = "UTC",
    ) -> None:
        self.address = ""
        self._listener = listener
        self._extra = extra or {}
        self._server: Any = None
        self._hub = Hub(inbox.answer_of)
        self._site = Site(
            door=door, hub=self._hub, inbox=inbox, journal=journal, files=files, board=board,
            readiness=readiness or board.health, metrics=metrics, operator=operator,
            locale=locale, time_zone=time_zone,
        )  # fmt: skip

    @property
    def name(self) -> str:
        return self._site.door.platform

    def reply(self, to: ReplyTo, posts: Posts) -> Reply:
        return WebReply(self._hub, to)

    async def start(self) -> None:
        """Listen; `address` then says where. Raises SettingsError."""
        server = await asyncio.to_thread(importlib.import_module, "adapters.web.server")
        listening = await asyncio.to_thread(self._bind, server)
        self._server = server.Server(server.application(self._site, self._extra), listening)
        await self._server.start()

    async def health(self) -> Health:
        if self._server is None:
            return Health(self.name, "off")
        return Health(self.name, "on", self.address)

    async def stop_intake(self) -> None:
        """What comes in now is refused with 503; who reads may go on reading."""
        self._site.taking = False

    async def close(self) -> None:
        self._site.taking = False
        await self._hub.close()
        if self._server is not None:
            await self._server.stop()
            self._server = None

    def _bind(self, server: Any) -> socket.socket:
        if isinstance(self._listener, socket.socket):
            self.address = str(self._listener.getsockname())
            return self._listener
        listening: socket.socket = server.bind(self._listener.host, self._listener.port)
        host, port = listening.getsockname()[:2]
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        return listening


async def _body(receive: Receive) -> bytes | None:
    body = bytearray()
    more = True
    while more:
        piece = await receive()
        body += piece.get("body", b"")
        more = piece.get("more_body", False) and piece["type"] == "http.request"
        if len(body) > CAP:
            return None
    return bytes(body)


async def _answer(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    pairs = list(dict(pairs).items())
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
