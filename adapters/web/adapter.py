"""The web adapter: a page and an HTTP API on a port, and the same API on a Unix socket for the
terminal.

Routes of other adapters are served by the same server; those adapters import no web framework.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.web.hub import Hub
from core.chat.approval_notices import PersonNoticeService
from core.chat.people import People
from core.domain.messages import Answer, Post, Progress, ReplyTo
from core.domain.ports import PostJournal, Reply
from core.domain.records import Health
from core.integrations.integration import HookReceiver, HttpHandler, Operator, OperatorBoard

HOOKS_PREFIX = "/hooks/"
HOOKS_PATH = "/hooks/{name}"


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """The address to listen on. Port 0 means a free port."""

    host: str = "127.0.0.1"
    port: int = 8080


class WebAdapter:
    """One HTTP server, and the platform that answers through it.

    With a `ListenAddress` and `people` it serves the page, the platform "web": their accounts may
    sign in, and admins find the operations on `/admin`. With a listening Unix socket it is the
    platform "terminal", which has the operations as routes.

    `routes` are the handlers of other adapters' POST routes by path. They authenticate their
    callers themselves.
    """

    def __init__(
        self, hub: Hub, board: OperatorBoard, operator: Operator, notices: PersonNoticeService,
        listener: ListenAddress | socket.socket, people: People | None = None,
        routes: Mapping[str, HttpHandler] | None = None, hooks: HookReceiver | None = None,
    ) -> None:  # fmt: skip
        self.address = ""
        self.hub = hub
        self._own = (board, operator, notices, people)
        self._listener = listener
        self._mounted = (routes or {}, hooks)
        self._server: Any = None
        if people is not None:
            people.accounts.on_change(hub.recheck_visitors)

    @property
    def name(self) -> str:
        return self.hub.visitors.auth.platform

    def reply(self, to: ReplyTo, posts: PostJournal) -> Reply:
        return WebReply(self.hub, to)

    async def start(self) -> None:
        """Start to listen and set `address`. Raise SettingsError if the address cannot be used."""
        server = await asyncio.to_thread(importlib.import_module, "adapters.web.server")
        listening = await asyncio.to_thread(self._bind, server)
        routes = server.list_routes(self.hub, *self._own)
        app = server.make_application(self.hub, routes, *self._mounted)
        self._server = server.HttpServer(app, listening)
        await self._server.start()

    async def health(self) -> Health:
        if self._server is None:
            return Health(self.name, "off")
        return Health(self.name, "on", self.address)

    async def stop_intake(self) -> None:
        """Answer new messages with 503. Reading goes on."""
        self.hub.is_accepting = False

    async def close(self) -> None:
        await self.hub.close()
        if self._server is not None:
            await self._server.stop()
            self._server = None

    def _bind(self, server: Any) -> socket.socket:
        if isinstance(self._listener, socket.socket):
            self.address = str(self._listener.getsockname())
            return self._listener
        listening: socket.socket = server.bind_socket(self._listener.host, self._listener.port)
        host, port = listening.getsockname()[:2]
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        return listening


class WebReply:
    """The `Reply` of the page. It notifies the hub and posts nothing, since the stored answer is
    the message. A tab that is not connected reads it from the journal later."""

    def __init__(self, hub: Hub, to: ReplyTo) -> None:
        self._hub = hub
        self._conversation = to.address.conversation
        self._turn = to.turn

    first_key = ""

    def split(self, text: str) -> tuple[str, ...]:
        return (text,)

    async def show(self, progress: Progress) -> None:
        self._hub.show_progress(self._conversation, self._turn, progress)
        await self._hub.share_progress(self._turn, progress)

    async def wait_for_updates(self) -> None:
        return None

    async def finish(self, answer: Answer) -> None:
        self._hub.finish_turn(self._conversation, self._turn, answer)

    async def refresh(self, answer: Answer) -> None:
        self._hub.redraw_cards(self._conversation, self._turn, answer.cards)
        await self._hub.notify_peers("cards", self._turn)

    async def correct_late_posts(self, answer: Answer, posts: Sequence[Post]) -> None:
        self._hub.finish_turn(self._conversation, self._turn, answer)
