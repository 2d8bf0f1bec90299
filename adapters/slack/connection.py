"""The transport of Slack's events: Socket Mode, or signed HTTP requests through the web adapter's
server.

Events are stored here, before Slack gets their acknowledgement. Everything else goes to Bolt,
which is imported in a thread: that takes a third of a second.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import structlog
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.authorization.async_authorize import AsyncAuthorize
from slack_bolt.context.async_context import AsyncBoltContext
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse
from slack_sdk.signature import SignatureVerifier
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web.async_client import AsyncWebClient

from adapters.slack.client import sdk_log
from adapters.slack.errors import InDoubt
from adapters.slack.events import Payload
from adapters.slack.interactions import SlackHandlers
from core.base.errors import NotStored, PlatformBusy
from core.base.tasks import BackgroundTasks, Backoff, retry

log = structlog.get_logger("slack")
SLACK_CONNECT_BACKOFF = Backoff(1.0, max_seconds=30.0)
PING_SECONDS = 3.0
"""Seconds between two pings. A connection that broke silently is replaced after about three of them
(slack_sdk 3.47 waits one interval after a break, four after silence)."""
EVENT = "event_callback"
"""The type of a request that contains an event (docs.slack.dev/apis/events-api)."""
_TIMESTAMP, _SIGNATURE = re.compile("[0-9]{1,12}"), re.compile("v0=[0-9a-f]{64}")

T = TypeVar("T")
StoreEvent = Callable[[Payload], Awaitable[None]]
"""Raises NotStored if the event could not be saved."""
OnFailure = Callable[[Exception, Payload], None]
"""Notes an exception; the second argument is the JSON of the event or interaction."""


class KnownAuthorization(AsyncAuthorize):
    """Returns the single installation, known since startup. Bolt itself would call auth.test before
    each acknowledgement."""

    def __init__(self, result: AuthorizeResult) -> None:
        self._result = result

    async def __call__(
        self,
        *,
        context: AsyncBoltContext,
        enterprise_id: str | None,
        team_id: str | None,
        user_id: str | None,
        **_: Any,
    ) -> AuthorizeResult:
        return self._result


async def _is_stored(store: StoreEvent, body: Payload) -> bool:
    """Store an event. Return whether Slack may get its acknowledgement; else Slack sends it again.

    Bolt acknowledges an event before its listeners run, and never one without a listener.
    """
    try:
        await store(body)
    except NotStored:
        log.error("could not store an event")
        return False
    return True


class SlackSocket(AsyncSocketModeHandler):
    """The WebSocket (Socket Mode) on which Slack sends events and interactions. `stop` waits for
    the events that it is still handling."""

    client: SocketModeClient

    def __init__(
        self,
        app: AsyncApp,
        app_token: str,
        proxy: str | None,
        store: StoreEvent,
        on_failure: OnFailure,
    ) -> None:
        self._store = store
        self._on_failure = on_failure  # notes an exception
        super().__init__(app, app_token, sdk_log(), ping_interval=PING_SECONDS)
        client: Any = self.client
        client.proxy = proxy  # the SDK has read one from the environment; our setting replaces it
        # Handled at once: in the SDK's queue, each frame would wait for another pass of the event
        # loop.
        client.enqueue_message = self._start_frame
        client.on_message_listeners.append(self._on_frame)  # notes the time for `health`
        self._frames = BackgroundTasks("slack")
        # The connection is new, so the time without a frame, which `health` tells, begins now.
        self._last_frame_at = time.time()
        self._handling: set[asyncio.Task[Any] | None] = set()
        """Tasks that handle a request. The type allows None, as that of `current_task`."""
        self._is_open = True
        """False once no further event is taken."""

    async def handle(self, client: Any, req: SocketModeRequest) -> None:
        """Handle an event or an interaction. After `stop` it is left unacknowledged, so that Slack
        sends it to the next process. Events do not go to Bolt, which acknowledges them before they
        are stored."""
        if not self._is_open:
            return
        task = asyncio.current_task()
        self._handling.add(task)  # `stop` waits for it
        body = req.payload if isinstance(req.payload, Mapping) else {}
        try:
            if body.get("type") != EVENT:
                await super().handle(client, req)
            # Only a stored event is acknowledged; Slack sends the others again.
            elif await _is_stored(self._store, body):
                await client.send_socket_mode_response(SocketModeResponse(req.envelope_id))
        except ConnectionError:
            raise  # the acknowledgement could not be sent; Slack sends the event again
        except Exception as error:
            self._on_failure(error, body)
            # Acknowledged all the same: sent again, it would fail again.
            await client.send_socket_mode_response(SocketModeResponse(req.envelope_id))
        finally:
            self._handling.discard(task)

    async def open(self, url: str) -> None:
        """`url` is what Slack returned for this socket."""
        self.client.wss_uri = url
        untyped: Any = self.client
        await untyped.connect()

    async def stop(self, seconds: float = 2.0) -> None:
        """Close the connection. Events in progress have up to `seconds` to be stored and
        acknowledged first."""
        self._is_open = False
        if tasks := {task for task in self._handling if task}:
            await asyncio.wait(tasks, timeout=seconds)
        untyped: Any = self.client
        await untyped.close()

    @property
    def is_connected(self) -> bool:
        session = self.client.current_session
        return session is not None and not session.closed

    @property
    def last_frame_at(self) -> float:
        """The time of the last frame, in seconds since the epoch. Responses to pings count."""
        return max(self._last_frame_at, self.client.last_ping_pong_time or 0.0)

    async def _on_frame(self, frame: object) -> None:
        self._last_frame_at = time.time()

    async def _start_frame(self, frame: str) -> None:
        self._frames.start(self._handle_frame(frame))

    async def _handle_frame(self, frame: str) -> None:
        message = json.loads(frame) if frame.startswith("{") else {}
        await self.client.run_message_listeners(message, frame)


class SlackApp(AsyncApp):
    """Acknowledges what none of the handlers claims before Bolt sees it, because Bolt's matchers
    raise KeyError where a part of an interaction is missing (slack_bolt 1.30)."""

    def __init__(self, handlers: SlackHandlers, **options: Any) -> None:
        super().__init__(**options)
        self._handlers = handlers
        handlers.register(self)

    async def async_dispatch(self, req: AsyncBoltRequest) -> BoltResponse:
        if self._handlers.claims(req.body) or req.body.get("type") == "url_verification":
            return await super().async_dispatch(req)
        return BoltResponse(status=200, body=self._handlers.answer_unknown(req.body) or "")


def build_app(
    client: AsyncWebClient,
    result: AuthorizeResult,
    signing_secret: str,
    handlers: SlackHandlers,
    on_failure: OnFailure,
) -> AsyncApp:
    """Return the Bolt app. Without a signing secret it takes requests from a socket only. A request
    that causes an exception is acknowledged, so that Slack does not repeat it.

    Without `authorize`, Bolt would read the environment, where SLACK_CLIENT_ID switches it to
    OAuth. Middleware that Ponte does not need is off.
    """
    bolt_log = sdk_log()
    bolt_log.disabled = True  # Bolt warns that it ignores the token in the environment
    app = SlackApp(
        handlers,
        # Without a name, Bolt searches the whole call stack and reads the source of each frame.
        name="ponte",
        logger=bolt_log,
        client=client,
        authorize=KnownAuthorization(result),
        signing_secret=signing_secret,
        ssl_check_enabled=False,
        ignoring_self_events_enabled=False,
        attaching_function_token_enabled=False,
        url_verification_enabled=bool(signing_secret),
        request_verification_enabled=bool(signing_secret),
        attaching_conversation_kwargs_enabled=False,
    )
    bolt_log.disabled = False

    async def on_error(
        error: Exception, body: dict[str, Any], response: BoltResponse | None
    ) -> None:
        on_failure(error, body)
        # A submitted form is not acknowledged: Slack then tells the person, in the form, that it
        # failed.
        if response is not None and body.get("type") != "view_submission":
            response.status = 200

    app.error(on_error)
    return app


async def dispatch(
    app: AsyncApp, store: StoreEvent, secret: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, Mapping[str, str], bytes]:
    """Answer one HTTP request from Slack with status, headers and body.

    Signature and age are checked before the body is parsed; Bolt parses it first. The status is 401
    without a valid signature, 400 if the body cannot be decoded, and 503 for an event that could
    not be stored: Slack then sends it again. Events go to `store`, because Bolt would acknowledge
    them before they are stored.
    """
    lowercase_headers = {name.lower(): value for name, value in headers.items()}
    # slack_sdk's verifier calls int() on the timestamp and compares the signature as ASCII. Both
    # may raise, so the formats are checked first.
    if not (
        _TIMESTAMP.fullmatch(lowercase_headers.get("x-slack-request-timestamp", ""))
        and _SIGNATURE.fullmatch(lowercase_headers.get("x-slack-signature", ""))
    ):
        return 401, {"content-type": "text/plain"}, b"not signed"
    try:
        if not SignatureVerifier(secret).is_valid_request(body, lowercase_headers):
            return 401, {"content-type": "text/plain"}, b"not signed"
        request = AsyncBoltRequest(body=body.decode(), headers=dict(headers))
    except (ValueError, RecursionError):
        return 400, {"content-type": "text/plain"}, b"not a request of Slack's"
    if not request.body:
        return 400, {"content-type": "text/plain"}, b"not a request of Slack's"
    if request.body.get("type") == EVENT:
        return 200 if await _is_stored(store, request.body) else 503, {}, b""
    answer = await app.async_dispatch(request)
    response_headers = {name: values[0] for name, values in answer.headers.items() if values}
    return answer.status, response_headers, str(answer.body or "").encode()


async def retry_until_answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Return what `ask` returns once Slack answers. Retries on InDoubt and PlatformBusy; any other
    error is raised."""

    def wait(error: Exception, failed: int) -> float:
        seconds = SLACK_CONNECT_BACKOFF.seconds_after(failed)
        write = log.warning if failed == 1 else log.debug  # later failures show in `status`
        write("could not reach Slack; retrying", error=str(error), delay_seconds=seconds)
        return seconds

    return await retry(ask, (InDoubt, PlatformBusy), wait)
