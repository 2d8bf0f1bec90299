"""Bolt: Slack's envelopes and signed requests in, acknowledgements out.

Imported in a thread, since it takes a third of a second. Bolt acknowledges an event before its
listeners run, so what must be durable first stands in a middleware, which comes before that; an
event of any type is answered there, because Bolt acknowledges none that nobody listens to.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.authorization.async_authorize import AsyncAuthorize
from slack_bolt.context.ack.async_ack import AsyncAck
from slack_bolt.context.async_context import AsyncBoltContext
from slack_bolt.middleware.async_middleware import AsyncMiddleware
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.web.async_client import AsyncWebClient

from adapters.slack import cards, modals
from adapters.slack.api import sdk_log
from adapters.slack.interactions import Interactions
from core.errors import NotStored

log = structlog.get_logger("slack")

Take = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Stores an event; raises NotStored."""
QUICK_COMMAND = "/quick-command"
_STAMP = re.compile("[0-9]{1,12}")
_SEAL = re.compile("v0=[0-9a-f]{64}")
PING = 3.0
"""Seconds between two pings: a connection that died without a word is replaced after some three
of them (slack_sdk 3.47 waits one interval after a break, four for a silence)."""


class Ready(AsyncAuthorize):
    """The one installation, known since the start: Bolt's own way asks auth.test before acks."""

    def __init__(self, result: AuthorizeResult) -> None:
        self._result = result

    async def __call__(
        self, *, context: AsyncBoltContext, enterprise_id: str | None, team_id: str | None,
        user_id: str | None, **_: Any,
    ) -> AuthorizeResult:  # fmt: skip
        return self._result


class Intake(AsyncMiddleware):
    """Every event is stored here; only then does it get its acknowledgement."""

    def __init__(self, take: Take) -> None:
        self._take = take

    async def async_process(
        self, *, req: AsyncBoltRequest, resp: BoltResponse,
        next: Callable[[], Awaitable[BoltResponse]],
    ) -> BoltResponse | None:  # fmt: skip
        if req.body.get("type") != "event_callback":
            return await next()
        try:
            await self._take(req.body)
        except NotStored:
            log.error("event not stored")
            return BoltResponse(status=503, body="")
        return BoltResponse(status=200, body="")


class Listeners:
    """What people press and type, with their acknowledgements."""

    def __init__(self, interactions: Interactions) -> None:
        self._interactions = interactions

    def register(self, app: AsyncApp) -> None:
        app.command(QUICK_COMMAND)(self._command)
        app.shortcut(modals.ASK)(self._shortcut)
        app.shortcut(modals.QUICK)(self._shortcut)
        app.view(re.compile("^ponte_"))(self._view)
        app.action(re.compile(f"^(?:{cards.ACTION}|{cards.STOP}$)"))(self._action)
        app.action(re.compile(".*"))(self._ignore)
        app.view_closed(re.compile(".*"))(self._ignore)

    async def _command(self, ack: AsyncAck, command: dict[str, Any]) -> None:
        await ack(**await self._interactions.command(command))

    async def _shortcut(self, ack: AsyncAck, shortcut: dict[str, Any]) -> None:
        await self._interactions.shortcut(shortcut)
        await ack()

    async def _view(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack(**(await self._interactions.submitted(body) or {}))

    async def _action(self, ack: AsyncAck, body: dict[str, Any], action: dict[str, Any]) -> None:
        try:
            await self._interactions.clicked(body, action)
        except NotStored:
            log.error("click not stored")
            return
        await ack()

    async def _ignore(self, ack: AsyncAck) -> None:
        await ack()


class Socket(AsyncSocketModeHandler):
    """One Socket Mode connection, which knows what it still has in hand."""

    client: SocketModeClient

    def __init__(self, app: AsyncApp, app_token: str, proxy: str | None) -> None:
        super().__init__(app, app_token, sdk_log(), ping_interval=PING)
        self.client.proxy = proxy  # and not what the SDK found in the environment
        self.client.on_message_listeners.append(self._hear)
        self._heard_at = time.time()
        self._in_hand: set[asyncio.Task[Any] | None] = set()
        self._taking = True

    async def handle(self, client: Any, req: SocketModeRequest) -> None:
        """What comes after `stop` is left unacknowledged: Slack brings it to the next process."""
        if not self._taking:
            return
        task = asyncio.current_task()
        self._in_hand.add(task)
        try:
            await super().handle(client, req)
        finally:
            self._in_hand.discard(task)

    async def open(self, url: str) -> None:
        self.client.wss_uri = url
        untyped: Any = self.client
        await untyped.connect()

    async def stop(self, seconds: float = 2.0) -> None:
        """Take nothing more; what was taken is stored and acknowledged before the close."""
        self._taking = False
        if tasks := {task for task in self._in_hand if task}:
            await asyncio.wait(tasks, timeout=seconds)
        untyped: Any = self.client
        await untyped.close()

    @property
    def connected(self) -> bool:
        session = self.client.current_session
        return session is not None and not session.closed

    @property
    def heard_at(self) -> float:
        """When the last frame came (the answer to a ping too), in seconds since the epoch."""
        return max(self._heard_at, self.client.last_ping_pong_time or 0.0)

    async def _hear(self, frame: object) -> None:
        self._heard_at = time.time()


def build(
    client: AsyncWebClient, result: AuthorizeResult, signing_secret: str, take: Take,
    interactions: Interactions,
) -> AsyncApp:  # fmt: skip
    """Raises nothing that depends on the environment: SLACK_CLIENT_ID there would switch Bolt to
    OAuth, were it not for `authorize`. Without a signing secret only a socket may speak to it."""
    bolt_log = sdk_log()
    bolt_log.disabled = True  # it warns that the token in the environment is not used
    app = AsyncApp(
        logger=bolt_log, client=client, authorize=Ready(result), signing_secret=signing_secret,
        ssl_check_enabled=False, ignoring_self_events_enabled=False,
        attaching_function_token_enabled=False,
        url_verification_enabled=bool(signing_secret),
        request_verification_enabled=bool(signing_secret),
        attaching_conversation_kwargs_enabled=False,
    )  # fmt: skip
    bolt_log.disabled = False
    app.use(Intake(take))
    Listeners(interactions).register(app)
    return app


async def dispatch(
    app: AsyncApp, headers: Mapping[str, str], body: bytes
) -> tuple[int, Mapping[str, str], bytes]:
    """One signed request; Bolt checks signature and age before anything else."""
    given = {name.lower(): value for name, value in headers.items()}
    # slack_sdk's verifier takes int() of the one and compares the other as ASCII: both may raise.
    if not (_STAMP.fullmatch(given.get("x-slack-request-timestamp", ""))
            and _SEAL.fullmatch(given.get("x-slack-signature", ""))):  # fmt: skip
        return 401, {"content-type": "text/plain"}, b"not signed"
    try:
        request = AsyncBoltRequest(body=body.decode(), headers=dict(headers))
    except (ValueError, RecursionError):
        return 400, {"content-type": "text/plain"}, b"not a request of Slack's"
    answer = await app.async_dispatch(request)
    told = {name: values[0] for name, values in answer.headers.items() if values}
    return answer.status, told, str(answer.body or "").encode()


def authorized(told: Mapping[str, Any], token: str) -> AuthorizeResult:
    """auth.test's answer as Bolt's result."""
    return AuthorizeResult(
        enterprise_id=told.get("enterprise_id"), team_id=told.get("team_id"),
        bot_user_id=told.get("user_id"), bot_id=told.get("bot_id"), bot_token=token,
    )  # fmt: skip
