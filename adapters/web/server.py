"""The HTTP server: its connections, its socket, its Starlette application, and the routes for
monitoring.

Importing this module is slow, so it is imported in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import h11
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from adapters.web import LISTENER_VARIABLE, http_io
from adapters.web.admin import AdminRoutes, OperatorRoutes
from adapters.web.api.answers import Json, PartList, Readiness, StatusAnswer
from adapters.web.api.chat import ChatRoutes
from adapters.web.api.openai_api import OpenAiRoutes
from adapters.web.errors import (
    BadRequest,
    UnexpectedError,
    UnknownCompatiblePath,
    UnknownPath,
    WrongMethod,
)
from adapters.web.http_io import DeclaredRoute, RouteGroup, endpoint, visitor_of
from adapters.web.hub import HOOKS_PATH, HOOKS_PREFIX, Hub
from adapters.web.oidc.routes import SignInRoutes
from adapters.web.page.routes import AccountRoutes, ConversationRoutes, PageRoutes, SessionRoutes
from adapters.web.setup.routes import SetupRoutes
from adapters.web.sign_in import Visitors
from adapters.web.visitor import COMPATIBLE_PREFIX, PROGRAMS_PATH
from core.base.errors import PonteError, SettingsError, TooLarge
from core.chat.approval_notices import PersonNoticeService
from core.chat.people import People
from core.integrations import FindHook, HttpHandler, Operator, OperatorBoard

HEAD_TIMEOUT_SECONDS = 10.0
BODY_TIMEOUT_SECONDS = 30.0
"""Time for a body. Each MIN_BODY_BYTES_PER_SECOND bytes that have arrived add a second."""
MIN_BODY_BYTES_PER_SECOND = 8_000
IDLE_TIMEOUT_SECONDS = 10.0
"""Time between two requests. uvicorn's own timeout does not start after it has discarded the rest
of a body."""
UNREAD_TIMEOUT_SECONDS = 60.0
MAX_UNAUTHENTICATED_CONNECTIONS = 256
ACCEPT_BATCH = 64
"""Connections that are accepted before the data of the earlier ones is read. It is far below
MAX_UNAUTHENTICATED_CONNECTIONS, so that a flood of connections cannot displace one whose request
has already arrived."""
LISTEN_BACKLOG = 512
HAND_OVER_CHECKS, HAND_OVER_CHECK_SECONDS = 100, 0.02
"""How often a restart checks for unanswered requests on connections that were accepted before it,
and the time before each check."""
SHUTDOWN_GRACE_SECONDS = 2
MAX_DISCARDED_BODY_BYTES = 256 * 1024 * 1024
MOUNTED_BODY_LIMIT_BYTES = 1_000_000
"""Slack's requests have a few kilobytes."""
_TOO_LARGE = (
    '{"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "send at most 1 MB"}}'
)
"""MCP clients read it, as an error of JSON-RPC 2.0."""
_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
)
_WORDS = b'{"error":{"code":"too_slow","message":"The request took too long to arrive."}}'


class HttpConnection(H11Protocol):
    """One HTTP connection, which is closed if its client is too slow. uvicorn waits without a limit
    for a request's head, for its body, and for clients that do not read the answer: its
    `timeout_keep_alive` applies only between two requests. It also accepts any number of
    connections. So connections without a valid token are limited. If there are too many, the one
    that has waited longest is closed. A request that arrives without delay is complete before that
    (see ACCEPT_BATCH).
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._phase: Literal["head", "body", "idle", "answer"] = "idle"
        """What the connection waits for: the head of a request, its body, the next request (idle),
        or the end of the answer."""
        self._since = 0.0  # when the phase began
        self._byte_count = 0  # bytes that arrived in the phase
        self._is_leaving = False  # closes after its present request
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """If there are too many connections, close an old one."""
        super().connection_made(transport)
        self._enter_phase("head", HEAD_TIMEOUT_SECONDS)
        # Connections whose request was not authenticated, or that have sent none yet.
        strangers = [
            connection
            for connection in self.connections
            if isinstance(connection, HttpConnection)
            and not connection._is_closing
            and not (connection.scope and connection.scope["state"].get(http_io.VISITOR_KEY))
        ]
        if len(strangers) > MAX_UNAUTHENTICATED_CONNECTIONS:
            # One that is being answered is closed only if there is no other. `_since`: when the
            # present phase of a connection began, so that the one that waits longest is closed.
            waiting = [connection for connection in strangers if connection._phase != "answer"]
            min(waiting or strangers, key=lambda connection: connection._since).transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._byte_count += len(data)
        self._update_phase()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._update_phase()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._deadline, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_TIMEOUT_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def leave(self) -> bool:
        """Close the connection after its present request, or the first one that still arrives.
        Return whether it has a request of which no answer has begun."""
        self._is_leaving = True
        if self._is_closing:
            return False
        if self._phase == "idle":
            self.shutdown()
            return False
        self._update_phase()  # closes the connection after the present answer
        return self._phase != "answer" or (bool(self.cycle) and not self.cycle.response_started)

    @property
    def _is_closing(self) -> bool:
        return self.transport.is_closing()

    def _update_phase(self) -> None:
        """Set the connection's phase and its time limit by what the client has to send next: the
        head of a request, its body, or nothing, between two requests or while it is answered.

        h11's state machine knows it (`conn.their_state`). `cycle` is uvicorn's object for the
        present request, None before the first. `trailing_data[0]` are bytes that arrived and are
        not parsed yet. When the server stops, the answer under way also becomes the last one."""
        if self._is_closing:
            return
        # The server stops: uvicorn then closes the connection after this answer.
        if self._is_leaving and self.cycle:
            self.cycle.keep_alive = False
        # A client that has sent nothing yet, or the beginning of its next request, owes the rest of
        # a head. One that may rest between two requests owes nothing.
        match self.conn.their_state:
            case h11.IDLE if self.cycle is None or self.conn.trailing_data[0]:
                self._enter_phase("head", HEAD_TIMEOUT_SECONDS)
            case h11.IDLE:
                self._enter_phase("idle", IDLE_TIMEOUT_SECONDS)
            case h11.SEND_BODY:
                self._enter_phase("body", BODY_TIMEOUT_SECONDS)
            case _:
                self._enter_phase("answer", None)

    def _enter_phase(
        self, phase: Literal["head", "body", "idle", "answer"], seconds: float | None
    ) -> None:
        """`seconds`: how long the client may take to send something; None for no limit. A phase
        that goes on keeps its timer, so that slow bytes do not extend it."""
        if phase == self._phase:
            return
        self._phase, self._since, self._byte_count = phase, self.loop.time(), 0
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._on_deadline) if seconds else None

    def _on_deadline(self) -> None:
        """Close the connection, unless a body arrives fast enough or we ourselves have paused
        reading it."""
        if self._phase == "body":
            allowed_seconds = BODY_TIMEOUT_SECONDS + self._byte_count / MIN_BODY_BYTES_PER_SECOND
            remaining_seconds = self._since + allowed_seconds - self.loop.time()
            if self.flow.read_paused:
                remaining_seconds = BODY_TIMEOUT_SECONDS
            if remaining_seconds > 0:
                self._deadline = self.loop.call_later(remaining_seconds, self._on_deadline)
                return
        # 408, but not in the middle of an answer that has begun, and not to a client that rests.
        unanswered = self._phase == "body" and not self.cycle.response_started
        if self._phase == "head" or unanswered:
            self.transport.write(_LATE % (len(_WORDS), _WORDS))
        self.transport.close()


class _UvicornServer(uvicorn.Server):
    """A uvicorn server that leaves signals alone and ends without delay.

    uvicorn wakes ten times a second; here it wakes once, for the Date header. It also installs
    handlers for SIGTERM and SIGINT and raises them again when it ends (`capture_signals`).
    `bot.app` handles those signals.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.leaving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            # asyncio took ACCEPT_BATCH for the kernel's queue as well (create_server's `backlog`).
            listener.listen(LISTEN_BACKLOG)

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.leaving.wait(), 1.0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in sockets or ():
            await _stop_accepting(listener)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _stop_accepting(listener: socket.socket) -> None:
    # Accept no more connections, so that the socket can be closed. Afterwards uvicorn knows each
    # that was accepted before. asyncio makes the transport of an accepted connection in the loop's
    # next step, or drops the connection unclosed if its listener is closed by then. uvicorn learns
    # of the connection in the step after that, and would not close it before.
    if listener.fileno() >= 0:  # below 0 after a hand-over, which has closed it
        asyncio.get_running_loop().remove_reader(listener)
    for _ in range(2):
        await asyncio.sleep(0)


class HttpServer:
    """Serves an application on a bound socket. `stop` returns when the last connection is closed.

    The socket is bound by the caller. uvicorn itself would call `sys.exit` if it cannot listen, and
    would make a Unix socket accessible to every user (0o666).
    """

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        # Ponte has its own log, and reads the headers of a proxy itself where they matter, so
        # uvicorn's parts for both are off.
        config = uvicorn.Config(
            app,
            http=HttpConnection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            # asyncio accepts so many connections at a time; the kernel's queue is set at the start.
            backlog=ACCEPT_BATCH,
            timeout_graceful_shutdown=SHUTDOWN_GRACE_SECONDS,
        )
        self._server = _UvicornServer(config)
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await asyncio.to_thread(self._server.config.load)
        self._task = asyncio.create_task(self._server.serve([self._listener]), name="uvicorn")

    async def hand_over(self) -> int:
        """Connections that arrive from now on wait in the socket's queue for the process that
        inherits it."""
        # A copy, because the close below closes the listener's own descriptor.
        descriptor = os.dup(self._listener.fileno())
        await _stop_accepting(self._listener)
        for listening in self._server.servers:
            listening.close()
        # Called for its effect: it closes idle connections, and the others after their request.
        # `finish_requests` waits for these.
        self._find_unanswered()
        return descriptor

    async def finish_requests(self) -> None:
        """No other process can answer requests on accepted connections."""
        for _ in range(HAND_OVER_CHECKS):
            await asyncio.sleep(HAND_OVER_CHECK_SECONDS)
            if not self._find_unanswered():
                return

    def _find_unanswered(self) -> list[asyncio.Protocol]:
        # `leave` closes a connection after its request, and says whether one is unanswered.
        connections = list(self._server.server_state.connections)
        return [
            connection
            for connection in connections
            if isinstance(connection, HttpConnection) and connection.leave()
        ]

    async def stop(self) -> None:
        self._server.should_exit = True
        self._server.leaving.set()
        if self._task is not None:
            await self._task
        self._listener.close()


def bind_socket(host: str, port: int) -> socket.socket:
    """Port 0 means a free port. Raise SettingsError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # A restart by the setup page hands its socket over. The new settings may name another
        # address.
        if inherited := _take_inherited_socket():
            own_host, own_port = inherited.getsockname()[:2]
            # A restart with the same address goes on with the socket, so that no connection is
            # refused meanwhile.
            if own_host == address[0] and port in (0, own_port):
                return inherited
            inherited.close()
        # asyncio sets TCP_NODELAY only where the socket says that it is TCP; without it an answer
        # waits up to 40 ms for the client's delayed acknowledgement.
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise SettingsError(
            "Can't listen on {host}:{port} ({why}). Change PONTE_WEB_HOST or PONTE_WEB_PORT.",
            host=host,
            port=port,
            why=error.strerror or str(error),
        ) from None
    listener.listen(LISTEN_BACKLOG)
    return listener


def _take_inherited_socket() -> socket.socket | None:
    """Return None without such a socket, also if somebody else has set the variable."""
    # The variable has the number of the socket's descriptor. It is removed, because processes that
    # this one starts must not read it.
    try:
        inherited = socket.socket(fileno=int(os.environ.pop(LISTENER_VARIABLE, "")))
    except (OSError, OverflowError, ValueError):
        return None
    is_internet = inherited.family in (socket.AF_INET, socket.AF_INET6)
    if not is_internet or not inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        inherited.detach()  # such as stdout, if that is a socket; it must stay open
        return None
    inherited.set_inheritable(False)
    inherited.setblocking(False)
    return inherited


@dataclass(frozen=True)
class HealthRoutes(RouteGroup):
    """The HTTP routes for monitoring: whether the process runs, whether it can answer, its metrics,
    and the state of its parts."""

    hub: Hub
    visitors: Visitors
    board: OperatorBoard

    @endpoint("GET", "/healthz")
    async def alive(self, request: Request) -> StatusAnswer:
        """Return 200 while the process runs."""
        return {"status": "alive"}

    @endpoint("GET", "/readyz", refuses=(503,))
    async def ready(self, request: Request) -> Readiness | Response:
        """Return 200 if Ponte can answer, 503 while a platform, the model or the database fails.

        Only the owner and admins get the reasons.
        """
        parts = await self.board.readiness()
        failing = [part for part in parts if part.state in ("failing", "checking")]
        ready = self.hub.is_accepting and not failing
        body: Readiness = {"status": "ready" if ready else "not ready"}
        visitor = await self.visitors.auth.identify(http_io.read_visit(request.scope))
        if visitor and await self.visitors.is_operator(visitor.person):
            body["reasons"] = [{"name": part.name, "words": part.words} for part in failing]
            if not self.hub.is_accepting:
                body["reasons"].append({"name": "ponte", "words": "stopping"})
        return JSONResponse(body, 200 if ready else 503)

    @endpoint("GET", "/metrics", media=("text/plain",))
    async def metrics(self, request: Request) -> Response:
        """Return all metrics in Prometheus' text format, for the owner, admins and tokens of
        metrics."""
        visitor = visitor_of(request)
        if visitor.program != "metrics":
            await self.visitors.check_is_operator(visitor.person)
        media_type = "text/plain; version=0.0.4; charset=utf-8"
        return PlainTextResponse(await self.board.metrics(), media_type=media_type)

    @endpoint("GET", "/status")
    async def status(self, request: Request) -> PartList:
        """Return the state of each part, for the owner and admins."""
        await self.visitors.check_is_operator(visitor_of(request).person)
        parts = await self.board.health()
        return {"parts": [{"name": p.name, "state": p.state, "words": p.words} for p in parts]}


def list_routes(
    hub: Hub,
    board: OperatorBoard,
    operator: Operator,
    notices: PersonNoticeService,
    people: People | None,
) -> list[DeclaredRoute]:
    """The page and, without `people`, the Unix socket in the home folder both have the routes of
    conversations. Accounts, setup and `/admin` are for the page alone, the operations as JSON for
    the socket alone. The first route that matches a request is used, in the order of this list."""
    visitors, conversations = hub.visitors, hub.conversations
    page = PageRoutes(visitors, board)
    groups: list[RouteGroup] = [
        page,
        SignInRoutes(visitors, page.serve_sign_in),
        SessionRoutes(visitors, notices),
        HealthRoutes(hub, visitors, board),
        ChatRoutes(visitors, conversations, hub, board),
        ConversationRoutes(visitors, conversations, hub, board),
        OpenAiRoutes(visitors, conversations, hub),
    ]
    if people:
        accounts = AccountRoutes(people.accounts, people.owner)
        groups += [accounts, SetupRoutes(visitors, operator), AdminRoutes(visitors, operator)]
    else:
        groups.append(OperatorRoutes(operator))
    return [route for group in groups for route in group.routes]


def make_application(
    hub: Hub,
    routes: Sequence[DeclaredRoute],
    mounted: Mapping[str, HttpHandler],
    find_hook: FindHook | None,
) -> ASGIApp:
    """`mounted` are other adapters' handlers by exact path, and `find_hook` finds those of
    webhooks. They authenticate their callers by a signature, so they come before the guard."""
    # The paths of these handlers. `/openapi.json` lists them beside the routes.
    signed = [*mounted, *([HOOKS_PATH] if find_hook else [])]
    app = Starlette(
        routes=[*routes, *DocumentRoutes(routes, signed).routes],
        exception_handlers={
            PonteError: _respond_to_error,
            HTTPException: _respond_to_error,
            ClientDisconnect: lambda request, error: Response(status_code=400),  # nobody reads it
            Exception: _respond_to_error,
        },
    )
    app.router.redirect_slashes = False  # an address with another slash is unknown, with 404
    guarded = http_io.Guard(app, hub.visitors)
    return PathRouter(hub, mounted, find_hook, guarded) if signed else guarded


@dataclass(frozen=True)
class DocumentRoutes(RouteGroup):
    """The route of the description of `described` and of other platforms' paths, `signed`."""

    described: Sequence[DeclaredRoute]
    signed: Sequence[str]

    @endpoint("GET", "/openapi.json")
    async def describe(self, request: Request) -> Json:
        """Return the description of this API for programs (OpenAPI 3.1)."""
        return await asyncio.to_thread(lambda: self._document)

    @functools.cached_property
    def _document(self) -> Json:
        # Built at the first request: its schemas take as long as everything else at the start.
        from adapters.web.api.openapi import build_document

        return build_document([*self.described, *self.routes], self.signed)


async def serve_mounted(handler: HttpHandler, scope: Scope, receive: Receive, send: Send) -> None:
    """The handler gets the whole body, because a signature is over all of it."""
    request = Request(scope, receive)
    try:
        if request.method != "POST":
            response = Response(status_code=405, headers={"allow": "POST"})
        else:
            body = await http_io.limit_body(request, MOUNTED_BODY_LIMIT_BYTES).body()
            status, headers, answer = await handler(dict(request.headers.items()), body)
            response = Response(answer, status, headers)
    except TooLarge as error:
        response = http_io.error_response(error, http_io.read_visit(scope))
        if request.url.path.removesuffix("/") == PROGRAMS_PATH:
            response = Response(_TOO_LARGE, 413, media_type="application/json")
        # Without this header, uvicorn would read the rest of the body, without a limit.
        response.headers["connection"] = "close"
    except ClientDisconnect:  # the body is incomplete, and nobody reads an answer
        return
    await response(scope, receive, send)


@dataclass(frozen=True, slots=True)
class PathRouter:
    """An ASGI application that passes webhooks and the paths of other adapters (with a slash at the
    end, too) to their handlers, and every other request to `page`, the page."""

    hub: Hub
    mounted: Mapping[str, HttpHandler]
    find_hook: FindHook | None
    page: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Webhooks are refused while Ponte stops, so that their senders repeat them."""
        path = scope.get("path", "")
        handler = self.mounted.get(path.removesuffix("/"))
        if self.find_hook and path.startswith(HOOKS_PREFIX):
            handler = self.find_hook(path.removeprefix(HOOKS_PREFIX))
            if handler and not self.hub.is_accepting:
                handler = _refuse_for_now
        if handler is None:
            await self.page(scope, receive, send)
        else:
            await serve_mounted(handler, scope, receive, send)


async def _refuse_for_now(
    headers: Mapping[str, str], body: bytes
) -> tuple[int, Mapping[str, str], bytes]:
    return 503, {"retry-after": "5"}, b""


def _respond_to_error(request: Request, error: Exception) -> Response:
    """Return the response for an error in our words, also for Starlette's own errors and unexpected
    ones."""
    match error:
        case PonteError():
            refusal = error
        case HTTPException(status_code=404):
            is_compatible = request.url.path.startswith(COMPATIBLE_PREFIX)
            refusal = UnknownCompatiblePath() if is_compatible else UnknownPath()
        case HTTPException(status_code=405):
            refusal = WrongMethod()
        case HTTPException():
            refusal = BadRequest(why="it can't be read")
        case _:
            refusal = UnexpectedError()
    response = http_io.error_response(refusal, http_io.read_visit(request.scope))
    # A client reads our answer only when its body was read, so uvicorn reads and discards the rest,
    # without a limit. If that may be much, the connection is closed instead.
    length = request.headers.get("content-length", "")
    # The first 18 digits of a longer number are above the limit, too.
    is_small = length.isdecimal() and int(length[:18]) <= MAX_DISCARDED_BODY_BYTES
    if response.status_code == 413 and not is_small:
        response.headers["Connection"] = "close"
    if response.status_code == 405:
        # Starlette names only the methods of the first route of the path.
        matches = (
            route for route in request.app.routes if route.matches(request.scope)[0] != Match.NONE
        )
        response.headers["Allow"] = ", ".join(
            sorted({m for route in matches for m in route.methods})
        )
    return response
