"""The HTTP server: its connections, its socket, its Starlette application, and the
routes for machines that watch us. Importing this takes long: do it in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Literal

import h11
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from adapters.web.adapter import Json, Site
from adapters.web.chat import Chat
from adapters.web.compatible import Compatible
from adapters.web.conversations import Conversations, OperatorRoutes, Pages
from adapters.web.errors import BadRequest, Unexpected, UnknownPath, WrongMethod
from adapters.web.requests import KNOWN, Guard, locale_of, refusal, visit_of, visitor_of
from adapters.web.usage import UsageRoutes
from core.domain.errors import NotFound, PonteError, Refusal, SettingsError

HEAD = 10.0
"""Seconds for the head of a request: from the connection, or from its first byte."""
BODY = 30.0
"""Seconds for a body, and one more for each `RATE` bytes that have come."""
RATE = 8_000
IDLE = 10.0
"""Seconds between two requests, where uvicorn's own deadline does not run: it forgets to set it
after the rest of a body that nobody wanted."""
READING = 60.0
"""Seconds in which a client that reads nothing of its answer is waited for."""
STRANGERS = 256
"""Connections at once whose request has not shown the token."""
ACCEPTED = 64
"""Connections that are accepted before what came on the last ones is read: well under `STRANGERS`,
so that a flood of others cannot push one out whose request has come already."""
BACKLOG = 512
"""Connections that the kernel holds until they are accepted."""
GRACE = 2
"""Seconds that requests have after every event stream was ended."""
DROPPED = 256 * 1024 * 1024
"""Bytes of a refused body that are still read."""
_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
)
_WORDS = b'{"error":{"code":"too_slow","message":"Your request did not come in time."}}'


class Connection(H11Protocol):
    """One HTTP connection, which ends when its client is slow.

    uvicorn waits for ever for a request's head, for its body, and for whoever does not read the
    answer (its `timeout_keep_alive` runs between two requests only); and it takes any number of
    connections. So who has not shown the token may hold some at once, of which the one that has
    kept us waiting for longest makes room for a new one. An honest request is whole before that:
    see `ACCEPTED`.

    What it waits for now is `_phase`; `_since` is when that began.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._phase: Literal["head", "body", "idle", "answer"] = "idle"
        self._since = 0.0
        self._taken = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._enter("head", HEAD)
        self._make_room()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._taken += len(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._deadline, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(READING, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    @property
    def _is_stranger(self) -> bool:
        return not (self.scope and self.scope["state"].get(KNOWN))

    def _make_room(self) -> None:
        strangers = [one for one in self.connections if isinstance(one, Connection)]
        strangers = [one for one in strangers if one._is_stranger and not one._is_closing]
        if len(strangers) > STRANGERS:
            waiting = [one for one in strangers if one._phase != "answer"]
            min(waiting or strangers, key=lambda one: one._since).transport.abort()

    @property
    def _is_closing(self) -> bool:
        return self.transport.is_closing()

    def _look(self) -> None:
        """What the client owes us now."""
        if self._is_closing:
            return
        match self.conn.their_state:
            case h11.IDLE if self.cycle is None or self.conn.trailing_data[0]:
                self._enter("head", HEAD)
            case h11.IDLE:
                self._enter("idle", IDLE)
            case h11.SEND_BODY:
                self._enter("body", BODY)
            case _:
                self._enter("answer", None)

    def _enter(
        self, phase: Literal["head", "body", "idle", "answer"], seconds: float | None
    ) -> None:
        if phase == self._phase:
            return
        self._phase, self._since, self._taken = phase, self.loop.time(), 0
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._late) if seconds else None

    def _late(self) -> None:
        """Honest slow bodies go on, and those whose rest we ourselves do not take yet."""
        if self._phase == "body":
            left = self._since + BODY + self._taken / RATE - self.loop.time()
            if self.flow.read_paused:
                left = BODY
            if left > 0:
                self._deadline = self.loop.call_later(left, self._late)
                return
        unanswered = self._phase == "body" and not self.cycle.response_started
        if self._phase == "head" or unanswered:
            self.transport.write(_LATE % (len(_WORDS), _WORDS))
        self.transport.close()


class _Server(uvicorn.Server):
    """Wakes once a second (for the Date header) and not ten times, and at once to leave.

    uvicorn takes SIGTERM and SIGINT for itself and raises them again when it ends
    (`capture_signals`): here it takes none.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.leaving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            # asyncio took `ACCEPTED` for the kernel's queue as well (create_server's `backlog`).
            listener.listen(BACKLOG)

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.leaving.wait(), 1.0)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """Listens from `start` on; `stop` returns when the last connection is closed.

    The socket is bound before: uvicorn calls `sys.exit` where it cannot listen, and opens a Unix
    socket to every user (0o666).
    """

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=ACCEPTED,
            timeout_graceful_shutdown=GRACE,
        )
        self._server = _Server(config)
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await asyncio.to_thread(self._server.config.load)
        self._task = asyncio.create_task(self._server.serve([self._listener]), name="uvicorn")

    async def stop(self) -> None:
        self._server.should_exit = True
        self._server.leaving.set()
        if self._task is not None:
            await self._task
        self._listener.close()


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one. Raises SettingsError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # asyncio sets TCP_NODELAY only where the socket says that it is TCP; without it an answer
        # waits up to 40 ms for the client's delayed acknowledgement.
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise SettingsError(
            "Cannot listen on {host}:{port} ({why}). Set PONTE_WEB_HOST and PONTE_WEB_PORT.",
            host=host, port=port, why=error.strerror or str(error),
        ) from None  # fmt: skip
    listener.listen(BACKLOG)
    return listener


class HealthRoutes:
    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/healthz", self.alive, methods=["GET"]),
            Route("/readyz", self.ready, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
            Route("/status", self.status, methods=["GET"]),
        ]

    async def alive(self, request: Request) -> Response:
        """200 while the process lives."""
        return JSONResponse({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """Whether it can answer: 503 while a configured platform or the model fails; why, only to
        owner and admins."""
        parts = await self._site.readiness()
        failing = [part for part in parts if part.state == "failing"]
        ready = self._site.taking and not failing
        body: Json = {"status": "ready" if ready else "not ready"}
        if await self._operates(request):
            body["reasons"] = [{"name": part.name, "words": part.words} for part in failing]
            if not self._site.taking:
                body["reasons"].append({"name": "ponte", "words": "stopping"})
        return JSONResponse(body, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        """What is counted, in Prometheus' text format; for the owner and admins."""
        if self._site.metrics is None:
            raise NotFound(what="metrics")
        await self._site.check_operates(visitor_of(request).person)
        return PlainTextResponse(
            await self._site.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    async def status(self, request: Request) -> Response:
        """How each part is; for the owner and admins."""
        await self._site.check_operates(visitor_of(request).person)
        parts = await self._site.board.health()
        return JSONResponse(
            {"parts": [{"name": p.name, "state": p.state, "words": p.words} for p in parts]}
        )

    async def _operates(self, request: Request) -> bool:
        visitor = await self._site.auth.known(visit_of(request.scope))
        if visitor is None:
            return False
        try:
            await self._site.check_operates(visitor.person)
        except Refusal:
            return False
        return True


def application(site: Site, extra: Mapping[str, ASGIApp] | None = None) -> ASGIApp:
    """All routes of `site`; `extra` are other adapters' applications by their exact path.

    Those check by themselves who calls (a signature), so they stand before the guard.
    """
    groups = (
        Pages(site), HealthRoutes(site), UsageRoutes(site), Chat(site), Conversations(site),
        Compatible(site),
    )  # fmt: skip
    routes: list[BaseRoute] = [route for group in groups for route in group.routes]
    if site.operator is not None:
        routes += OperatorRoutes(site.operator).routes
    routes.append(Route("/openapi.json", _describing(routes, extra or {}), methods=["GET"]))
    refuse = _refusing(site)
    app = Starlette(
        routes=routes,
        exception_handlers={
            PonteError: refuse,
            HTTPException: refuse,
            ClientDisconnect: _gone,
            Exception: refuse,
        },
    )
    app.router.redirect_slashes = False
    guarded = Guard(app, site)
    return Forked(extra, guarded) if extra else guarded


def _describing(
    routes: list[BaseRoute], extra: Mapping[str, ASGIApp]
) -> Callable[[Request], Awaitable[Response]]:
    @functools.cache
    def described() -> bytes:
        """Made when it is first asked for: its forms take as long to build as all else here."""
        from adapters.web.openapi import document

        return json.dumps(document(routes, extra)).encode()

    async def describe(request: Request) -> Response:
        return Response(await asyncio.to_thread(described), media_type="application/json")

    return describe


class Forked:
    """Other adapters' paths to them, all else to our own routes."""

    def __init__(self, extra: Mapping[str, ASGIApp], own: ASGIApp) -> None:
        self._extra = dict(extra)
        self._own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._extra.get(scope.get("path", ""), self._own)(scope, receive, send)


def _refusing(site: Site) -> Callable[[Request, Exception], Response]:
    def refuse(request: Request, error: Exception) -> Response:
        response = refusal(_worded(error), locale_of(request, site), request.url.path)
        if response.status_code == 413 and not _soon_over(request):
            response.headers["Connection"] = "close"
        if isinstance(error, HTTPException) and error.headers:
            response.headers.update(error.headers)
        return response

    return refuse


def _soon_over(request: Request) -> bool:
    """Whether the rest of a refused body may be read and dropped, so that the client gets to our
    answer; uvicorn would read an endless one for ever.
    """
    length = request.headers.get("content-length", "")
    return length.isdecimal() and int(length[:18]) <= DROPPED


def _worded(error: Exception) -> PonteError:
    """Starlette's own errors, and what nobody expected, in our words."""
    match error:
        case PonteError():
            return error
        case HTTPException(status_code=404):
            return UnknownPath()
        case HTTPException(status_code=405):
            return WrongMethod()
        case HTTPException():
            return BadRequest(why="it cannot be read")
    return Unexpected()


def _gone(request: Request, error: Exception) -> Response:
    """Nobody reads this: the client left in the middle of its request."""
    return Response(status_code=400)
