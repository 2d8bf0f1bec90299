"""How Slack's events arrive: over Socket Mode, or over signed HTTP behind the web adapter's server.

Bolt parses and dispatches them. It is imported in a thread, since that takes a third of a second.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

import structlog
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.authorization.async_authorize import AsyncAuthorize
from slack_bolt.context.async_context import AsyncBoltContext
from slack_bolt.middleware.async_middleware import AsyncMiddleware
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse
from slack_sdk.signature import SignatureVerifier
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.web.async_client import AsyncWebClient

from adapters.slack.client import InDoubt, sdk_log
from adapters.slack.events import Payload
from core.domain.errors import NotStored, PlatformBusy
from core.runtime.retry import Backoff, retry

log = structlog.get_logger("slack")
SLACK_CONNECT_BACKOFF = Backoff(1.0, max_seconds=30.0)
"""Pauses between attempts to reach Slack at the start."""
PING_SECONDS = 3.0
"""Seconds between two pings. A connection that broke without a word is replaced after about three
of them (slack_sdk 3.47 waits one interval after a break, four for a silence)."""
_TIMESTAMP, _SIGNATURE = re.compile("[0-9]{1,12}"), re.compile("v0=[0-9a-f]{64}")
"""A request's time and its signature."""

T = TypeVar("T")
StoreEvent = Callable[[Payload], Awaitable[None]]
"""Stores an event; raises NotStored."""


class Listeners(Protocol):
    """Registers the handlers of commands, shortcuts, forms and buttons with Bolt."""

    def register(self, app: AsyncApp) -> None: ...


class KnownAuthorization(AsyncAuthorize):
    """Returns the one installation, known since the start. Bolt itself would call auth.test before
    each acknowledgement."""

    def __init__(self, result: AuthorizeResult) -> None:
        self._result = result

    async def __call__(
        self, *, context: AsyncBoltContext, enterprise_id: str | None, team_id: str | None,
        user_id: str | None, **_: Any,
    ) -> AuthorizeResult:  # fmt: skip
        return self._result


class StoreBeforeAcknowledging(AsyncMiddleware):
    """Stores every event, and only then lets Bolt acknowledge it. Bolt itself acknowledges an event
    before its listeners run, and never an event of a type that nobody listens to."""

    def __init__(self, store: StoreEvent) -> None:
        self._store = store

    async def async_process(
        self, *, req: AsyncBoltRequest, resp: BoltResponse,
        next: Callable[[], Awaitable[BoltResponse]],
    ) -> BoltResponse | None:  # fmt: skip
        if req.body.get("type") != "event_callback":
            return await next()
        try:
            await self._store(req.body)
        except NotStored:
            log.error("event not stored")
            return BoltResponse(status=503, body="")
        return BoltResponse(status=200, body="")


class SlackSocket(AsyncSocketModeHandler):
    """One Socket Mode connection, which knows which events it is still handling."""

    client: SocketModeClient

    def __init__(self, app: AsyncApp, app_token: str, proxy: str | None) -> None:
        super().__init__(app, app_token, sdk_log(), ping_interval=PING_SECONDS)
        self.client.proxy = proxy  # in place of the one that the SDK finds in the environment
        self.client.on_message_listeners.append(self._on_frame)
        self._last_frame_at = time.time()
        self._handling: set[asyncio.Task[Any] | None] = set()
        self._is_open = True

    async def handle(self, client: Any, req: SocketModeRequest) -> None:
        """Handle an event. After `stop` it stays unacknowledged, so that Slack sends it again, to
        the next process."""
        if not self._is_open:
            return
        task = asyncio.current_task()
        self._handling.add(task)
        try:
            await super().handle(client, req)
        finally:
            self._handling.discard(task)

    async def open(self, url: str) -> None:
        """Connect to the address that Slack gave for this socket."""
        self.client.wss_uri = url
        untyped: Any = self.client
        await untyped.connect()

    async def stop(self, seconds: float = 2.0) -> None:
        """Take no further events. Those under way are stored and acknowledged before the close."""
        self._is_open = False
        if tasks := {task for task in self._handling if task}:
            await asyncio.wait(tasks, timeout=seconds)
        untyped: Any = self.client
        await untyped.close()

    @property
    def is_connected(self) -> bool:
        """Return whether the socket is open."""
        session = self.client.current_session
        return session is not None and not session.closed

    @property
    def last_frame_at(self) -> float:
        """Return when the last frame came, an answer to a ping too, in seconds since the epoch."""
        return max(self._last_frame_at, self.client.last_ping_pong_time or 0.0)

    async def _on_frame(self, frame: object) -> None:
        self._last_frame_at = time.time()


def build_app(
    client: AsyncWebClient, result: AuthorizeResult, signing_secret: str, store: StoreEvent,
    listeners: Listeners,
) -> AsyncApp:  # fmt: skip
    """Return the Bolt app. Without a signing secret it takes events from a socket only.

    `authorize` keeps Bolt from reading the environment: SLACK_CLIENT_ID would switch it to OAuth.
    """
    bolt_log = sdk_log()
    bolt_log.disabled = True  # it warns that the token in the environment is not used
    app = AsyncApp(
        # Without a name, Bolt walks the whole stack for one and reads the source of each frame.
        name="ponte",
        logger=bolt_log, client=client, authorize=KnownAuthorization(result),
        signing_secret=signing_secret, ssl_check_enabled=False, ignoring_self_events_enabled=False,
        attaching_function_token_enabled=False,
        url_verification_enabled=bool(signing_secret),
        request_verification_enabled=bool(signing_secret),
        attaching_conversation_kwargs_enabled=False,
    )  # fmt: skip
    bolt_log.disabled = False
    app.use(StoreBeforeAcknowledging(store))
    listeners.register(app)
    return app


async def dispatch(
    app: AsyncApp, secret: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, Mapping[str, str], bytes]:
    """Answer one signed request with status, headers and body.

    The signature and its age are checked before the body is parsed; Bolt parses the body first.
    """
    given = {name.lower(): value for name, value in headers.items()}
    # slack_sdk's verifier takes int() of the one and compares the other as ASCII: both may raise.
    if not (_TIMESTAMP.fullmatch(given.get("x-slack-request-timestamp", ""))
            and _SIGNATURE.fullmatch(given.get("x-slack-signature", ""))):  # fmt: skip
        return 401, {"content-type": "text/plain"}, b"not signed"
    try:
        if not SignatureVerifier(secret).is_valid_request(body, given):
            return 401, {"content-type": "text/plain"}, b"not signed"
        request = AsyncBoltRequest(body=body.decode(), headers=dict(headers))
    except (ValueError, RecursionError):
        return 400, {"content-type": "text/plain"}, b"not a request of Slack's"
    answer = await app.async_dispatch(request)
    sent = {name: values[0] for name, values in answer.headers.items() if values}
    return answer.status, sent, str(answer.body or "").encode()


def authorize_result(identity: Mapping[str, Any], token: str) -> AuthorizeResult:
    """Return the answer of auth.test in the form that Bolt takes."""
    return AuthorizeResult(
        enterprise_id=identity.get("enterprise_id"), team_id=identity.get("team_id"),
        bot_user_id=identity.get("user_id"), bot_id=identity.get("bot_id"), bot_token=token,
    )  # fmt: skip


async def retry_until_answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Call `ask` until Slack answers, and return the answer. Raises what `ask` raises for a
    refusal."""

    def wait(error: Exception, failed: int) -> float:
        seconds = SLACK_CONNECT_BACKOFF.seconds_after(failed)
        tell = log.warning if failed == 1 else log.debug  # after that, `status` shows it
        tell("slack does not answer", why=str(error), wait=seconds)
        return seconds

    return await retry(ask, (InDoubt, PlatformBusy), wait)
