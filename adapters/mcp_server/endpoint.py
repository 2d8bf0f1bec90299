"""Answers the requests to `/mcp`: finds out whose token each has, limits it, and passes it to the
MCP SDK, which is loaded with the first valid token."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from adapters.mcp_server import MCP_PATH
from adapters.mcp_server.requests import MCP_ORIGIN, Caller, clean_client_name
from adapters.web.errors import ConfirmAgain, ForeignHost, ForeignOrigin, LinksOff
from adapters.web.hub import Hub
from adapters.web.sign_in import TokenAuthentication
from adapters.web.visitor import Visit, Visitor
from core.base.errors import PonteError, Refusal
from core.base.json_text import check_json, parse_json
from core.base.tasks import BoundedDict
from core.observability import metrics
from core.people.page_accounts import MCP_TOKEN_KIND, hash_token

if TYPE_CHECKING:
    from adapters.mcp_server.tools import McpTools

log = structlog.get_logger("mcp")
HttpAnswer = tuple[int, Mapping[str, str], bytes]
CALLER_KEY = "caller"
"""The key in a request's ASGI state under which the SDK's handlers find the `Caller`."""
MAX_MCP_REQUESTS, MAX_MCP_REQUESTS_OF_TOKEN = 200, 120
"""The connections of requests count among `adapters.web.server.MAX_UNAUTHENTICATED_CONNECTIONS`;
with more, that would close some of them."""
MAX_RUNNING_OF_TOKEN = 8
"""The others wait for these."""
MAX_MCP_VALUES, MAX_MCP_DEPTH = 20_000, 32
MAX_CLIENTS_IN_MEMORY = 1000
_INVALID_REQUEST, _PARSE_ERROR = -32600, -32700
_REFUSALS = {
    "off": (404, "MCP is off here: set PONTE_MCP=on and start Ponte again"),
    "no_token": (
        401,
        "send `Authorization: Bearer TOKEN` with a person's MCP token; create one on Ponte's page "
        "or with `ponte people token NAME --mcp`",
    ),
    "wrong_token": (
        401,
        "this is no valid MCP token: it was revoked, has expired, or is of another kind; create "
        "one on Ponte's page or with `ponte people token NAME --mcp`",
    ),
    "site": (
        403,
        "the request is for another host, or from a page of another site; if the host is Ponte's, "
        "set PONTE_WEB_URL to the address that programs use, or PONTE_WEB_HOST to the host's name",
    ),
    "json": (400, "the body is not JSON"),
    "large": (400, "the body has too many values or levels: send less"),
    "batch": (400, "send one request at a time: batches are not read"),
    "many": (429, "too many requests at once: send this one again later"),
    "not_ready": (503, "Ponte cannot answer now: send this again later"),
}


@dataclass(slots=True)
class _TokenQueue:
    """The requests that one token has sent and that are not answered: how many there are, and the
    semaphore that limits how many of them run at the same time."""

    count: int = 0
    places: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(MAX_RUNNING_OF_TOKEN)
    )


class _TooMany(Exception):
    """Raised when too many requests over MCP are unanswered."""


class McpEndpoint:
    """Answers `POST /mcp`. `tools` is None where MCP is off. `find_hub` returns the state of the
    web page, which checks the tokens; None without a page, where no token is valid."""

    def __init__(self, tools: McpTools | None, find_hub: Callable[[], Hub | None]) -> None:
        # The SDK is loaded with the first valid token.
        self._tools, self._find_hub = tools, find_hub
        self._queues: dict[str, _TokenQueue] = {}
        self._client_names: BoundedDict[str, str] = BoundedDict(MAX_CLIENTS_IN_MEMORY)
        self._manager: Any = None
        self._starting = asyncio.Lock()
        self._closing = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        """The SDK answers only while `_manager.run()` is entered."""

    async def handle(self, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """`headers` have names in lower case.

        The checks come in this order: is MCP on, may this site ask, whose token is it, is the body
        small and well-formed, and has the token a place. Only then does the SDK read the body.
        """
        hub = self._find_hub()
        auth = hub and hub.visitors.auth
        # `_tools` is None where MCP is off, and `hub` without the page, which checks the tokens.
        if self._tools is None or hub is None or not isinstance(auth, TokenAuthentication):
            return _refuse("off")
        if not hub.is_accepting:
            return _refuse("not_ready")
        scheme, _, text = headers.get("authorization", "").partition(" ")
        try:
            auth.check_site(Visit(MCP_PATH, headers, method="POST"))
            if scheme.lower() != "bearer" or not text.strip():
                return _refuse("no_token")
            visitor = await auth.find_program(hash_token(text.strip()))
            if visitor is None or visitor.program != MCP_TOKEN_KIND:
                return _refuse("wrong_token")
            if check_json(body, MAX_MCP_VALUES, MAX_MCP_DEPTH):
                return _refuse("large")
            try:
                request = parse_json(body)
            except ValueError:
                return _refuse("json")
            if not isinstance(request, dict):
                # A list of requests: newer versions of MCP have no batches.
                return _refuse("batch")
            # The person's own conversation on the page, for requests over MCP.
            address = hub.visitors.address_of(visitor.person, MCP_ORIGIN)
            caller = Caller(visitor.person, address, self._find_name(visitor, headers, request))
            async with self._take_place(caller.token):
                return await self._ask_sdk(caller, headers, body)
        except _TooMany:
            metrics.limits.labels("mcp").inc()
            return _refuse("many")
        except (ConfirmAgain, LinksOff) as refusal:
            return _refuse("wrong_token", refusal.words())
        except (ForeignHost, ForeignOrigin):
            return _refuse("site")
        except Refusal:  # expired, or its person may not come in any more
            return _refuse("wrong_token")
        except PonteError:  # such as a database that does not answer
            return _refuse("not_ready")
        except asyncio.CancelledError:  # uvicorn cancels what still runs when Ponte stops
            if hub.is_accepting:
                raise
            return _refuse("not_ready")

    async def close(self) -> None:
        self._closing.set()
        if self._serving is not None:
            await asyncio.gather(self._serving, return_exceptions=True)

    def _find_name(
        self, visitor: Visitor, headers: Mapping[str, str], request: Mapping[str, Any]
    ) -> str:
        """The name is shown on cards, and decides nothing: any program can give any name."""
        info: Mapping[str, Any] = {}
        match request:
            # Protocol 2026-07-28 has the name in each request; older clients send it only with
            # `initialize`. Either pattern puts it into `info`.
            case {"params": {"_meta": {"io.modelcontextprotocol/clientInfo": dict(info)}}} | {
                "method": "initialize",
                "params": {"clientInfo": dict(info)},
            }:
                pass
        # Remembered for later requests with this token, which may not have it.
        token = visitor.person.api_token
        if name := clean_client_name(str(info.get("title") or info.get("name") or "")):
            self._client_names[token] = name
        product = headers.get("user-agent", "").partition("/")[0]
        return self._client_names.get(token) or clean_client_name(product) or "MCP"

    @asynccontextmanager
    async def _take_place(self, token: str) -> AsyncIterator[None]:
        """Hold a place among the requests of the token that run at the same time, and wait for it
        first. Raise _TooMany if too many wait already."""
        queue = self._queues.setdefault(token, _TokenQueue())
        total = sum(token_queue.count for token_queue in self._queues.values())
        if queue.count >= MAX_MCP_REQUESTS_OF_TOKEN or total >= MAX_MCP_REQUESTS:
            raise _TooMany
        queue.count += 1
        try:
            async with queue.places:
                yield
        finally:
            queue.count -= 1
            if not queue.count:
                del self._queues[token]

    async def _ask_sdk(self, caller: Caller, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """The SDK is an ASGI application, so the request and the answer are passed as ASGI's
        events."""
        async with self._starting:
            # It starts with the first request, and once more if it ended with an error.
            if self._serving is None or self._serving.done():
                await self._start_sdk()
        unread = [{"type": "http.request", "body": body, "more_body": False}]
        # 500 stays if the SDK ends without an answer.
        status, answer_headers, parts = 500, dict[str, str](), list[bytes]()

        async def receive() -> Any:
            if not unread:
                # The SDK listens for a disconnect while it answers, which ends its answer.
                await self._closing.wait()
                return {"type": "http.disconnect"}
            return unread.pop()

        async def send(event: Any) -> None:
            nonlocal status
            if event["type"] == "http.response.start":
                status = event["status"]
                for name, value in event.get("headers", ()):
                    answer_headers[name.decode("latin-1").lower()] = value.decode("latin-1")
            else:
                parts.append(event.get("body", b""))

        # ASGI has headers as bytes, in the encoding of HTTP. The state is how the SDK's handlers
        # learn who calls.
        encoded = [
            (name.encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in headers.items()
        ]
        scope = {
            "type": "http",
            "method": "POST",
            "path": MCP_PATH,
            "query_string": b"",
            "headers": encoded,
            "state": {CALLER_KEY: caller},
        }
        await self._manager.handle_request(scope, receive, send)
        answer_headers.pop("content-length", None)  # the web server adds it
        return status, {**answer_headers, "cache-control": "no-store"}, b"".join(parts)

    async def _start_sdk(self) -> None:
        """If the SDK fails to start, the present request fails, and the next one starts it
        again."""
        name = "adapters.mcp_server.protocol"
        protocol: Any = await asyncio.to_thread(importlib.import_module, name)
        self._manager = protocol.build_manager(self._tools)
        is_ready = asyncio.Event()
        self._serving = asyncio.create_task(self._serve(is_ready), name="mcp")
        waiting = asyncio.create_task(is_ready.wait())
        # `_serving` ends before it is ready only if the SDK fails to start.
        await asyncio.wait({waiting, self._serving}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._serving.done():
            await self._serving  # raises what prevented the start
        log.info("MCP server started")

    async def _serve(self, is_ready: asyncio.Event) -> None:
        async with self._manager.run():
            is_ready.set()
            await self._closing.wait()


def _refuse(name: str, reason: str = "") -> HttpAnswer:
    """Return the HTTP answer for the refusal of that name (a key of _REFUSALS), as an error of
    JSON-RPC. `reason` replaces its sentence."""
    status, sentence = _REFUSALS[name]
    code = _PARSE_ERROR if name == "json" else _INVALID_REQUEST
    error = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": reason or sentence}}
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if status in (429, 503):
        headers["retry-after"] = "2"
    return status, headers, json.dumps(error).encode()
