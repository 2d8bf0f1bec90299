"""The Web API through slack_sdk: paced, told apart by what a failure means, one session for all.

The SDK's retry handlers are off: its default one repeats a post whose answer was lost, and its
rate limit handler reads only the first digit of Retry-After (slack_sdk 3.47).
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from adapters.slack.pace import Pace
from adapters.slack.refusals import RATE_LIMITED, InDoubt, NotNow, TokenRefused, Unsent, meaning
from core.errors import PlatformBusy
from core.proxies import Proxies

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession
    from slack_sdk.web.async_client import AsyncWebClient
    from slack_sdk.web.async_slack_response import AsyncSlackResponse

Json = dict[str, Any]

PATIENCE = 20.0
"""Seconds that a call waits for its place before it says PlatformBusy."""
SECONDS = 15.0
"""Seconds that one request may take."""
_TRIES = 4
_UNREPEATABLE = frozenset({
    "chat.postMessage", "chat.startStream", "chat.appendStream", "chat.postEphemeral",
    "files.completeUploadExternal",
})  # fmt: skip
# These take no JSON bodies (docs.slack.dev/apis/web-api, "POST bodies").
_FORMS = frozenset({
    "auth.test", "users.info", "usergroups.list", "conversations.replies", "conversations.history",
    "files.info", "files.getUploadURLExternal", "reactions.add", "reactions.remove",
})  # fmt: skip


class SlackApi:
    """One bot token. `call` raises SlackRefused, PlatformBusy, or InDoubt."""

    def __init__(self, token: str, base_url: str, proxies: Proxies) -> None:
        self.base_url = base_url if base_url.endswith("/") else base_url + "/"
        self.pace = Pace()
        self.refused = ""
        """Slack's word for why it does not take the token now; "" while it does."""
        self._token = token
        self._proxies = proxies
        self._opening = asyncio.Lock()
        self._session: ClientSession | None = None
        self._client: AsyncWebClient | None = None
        self._sdk: Any = None

    async def open(self) -> AsyncWebClient:
        """The SDK's client, without a token, which Bolt may share; imported in a thread."""
        async with self._opening:
            if self._client is None:
                self._sdk = await asyncio.to_thread(_imported)
                aiohttp: Any = importlib.import_module("aiohttp")
                limit = aiohttp.ClientTimeout(total=SECONDS)
                self._session = aiohttp.ClientSession(timeout=limit)
                self._client = self.web_client()
            return self._client

    def web_client(self) -> AsyncWebClient:
        client: AsyncWebClient = self._sdk.web.async_client.AsyncWebClient(
            base_url=self.base_url, session=self._session, retry_handlers=[], logger=sdk_log()
        )
        client.proxy = self._proxies.for_url(self.base_url)  # and not what the SDK found itself
        return client

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self, method: str, *, patience: float = PATIENCE, claimed: bool = False, **arguments: Any
    ) -> Json:
        """Call it until it was done once, or until it is known why not.

        A refused connection, a rate limit or, for calls that may be repeated, a lost answer are
        met by another try. Raises SlackRefused; PlatformBusy when Slack wants a longer wait than
        `patience`; NotNow where it does nothing for a while; InDoubt when the call may or may not
        have had its effect. `claimed`: its place in the method's line was taken before.
        """
        await self.open()
        channel = str(arguments.get("channel", ""))
        wait = 0.2
        for left in range(_TRIES, -1, -1):
            await self.pace.turn(method, channel, patience, claimed)
            claimed = False
            try:
                return _said(await self._once(method, arguments))
            except PlatformBusy as busy:
                self.pace.hold(method, channel, busy.seconds)
                if busy.seconds > patience or not left:
                    raise
            except NotNow:
                raise
            except InDoubt as doubt:
                once = method in _UNREPEATABLE and not isinstance(doubt, Unsent)
                if once or not left:
                    raise
                await asyncio.sleep(wait)
                wait *= 2
        raise InDoubt(method)

    async def scopes(self) -> tuple[Json, frozenset[str]]:
        """What auth.test says, and the scopes that the token has. Raises as `call`."""
        answer = await self._once("auth.test", {})
        granted = str(answer.headers.get("x-oauth-scopes", ""))
        return _said(answer), frozenset(filter(None, granted.replace(" ", "").split(",")))

    async def respond(self, url: str, body: Json) -> bool:
        """Answer at a `response_url`; False when it is used up or too old."""
        async with self._request("POST", url, json=body) as answer:
            return bool(answer.status < 300)

    @asynccontextmanager
    async def download(self, url: str) -> AsyncIterator[ClientResponse]:
        """A file's bytes; redirects lead to a login page."""
        headers = self._authorization()
        async with self._request("GET", url, headers=headers) as answer:
            yield answer

    async def send_file(self, url: str, data: bytes) -> None:
        """The second step of an upload. Raises InDoubt, which only means: begin anew."""
        async with self._request("POST", url, data=data) as answer:
            if answer.status >= 300:
                raise InDoubt(f"upload: HTTP {answer.status}")

    @asynccontextmanager
    async def _request(self, verb: str, url: str, **options: Any) -> AsyncIterator[ClientResponse]:
        """No redirect is followed: it would carry a message, a file or the token elsewhere."""
        await self.open()
        if self._session is None:
            raise RuntimeError("the session is closed")
        proxy = self._proxies.for_url(url)
        try:
            async with self._session.request(
                verb, url, proxy=proxy, allow_redirects=False, **options
            ) as answer:
                yield answer
        except (OSError, TimeoutError, self._aiohttp.ClientError) as error:
            raise InDoubt(type(error).__name__) from None

    async def _once(self, method: str, arguments: Mapping[str, Any]) -> AsyncSlackResponse:
        client = await self.open()
        sent = {name: value for name, value in arguments.items() if value is not None}
        headers = self._authorization()
        form = _form(sent) if method in _FORMS else None
        try:
            answer = await client.api_call(
                method, data=form, json=None if form is not None else sent, headers=headers
            )
        except self._sdk.errors.SlackApiError as error:
            refused = _meaning(method, error.response)
            if isinstance(refused, TokenRefused):
                self.refused = refused.error
            raise refused from None
        except self._aiohttp.ClientConnectorError as error:
            raise Unsent(f"{method}: {type(error).__name__}") from None
        except (OSError, TimeoutError, self._aiohttp.ClientError) as error:
            raise InDoubt(f"{method}: {type(error).__name__}") from None
        self.refused = ""
        return answer

    @property
    def _aiohttp(self) -> Any:
        return importlib.import_module("aiohttp")

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}


def sdk_log() -> logging.Logger:
    """The logger of the SDKs: never below warnings, since at debug they log what people say."""
    log = logging.getLogger("ponte.slack.sdk")
    log.setLevel(max(logging.WARNING, logging.getLogger().level))
    return log


def _imported() -> Any:
    for name in ("slack_sdk.errors", "slack_sdk.web.async_client"):
        importlib.import_module(name)
    return importlib.import_module("slack_sdk")


def _said(answer: AsyncSlackResponse) -> Json:
    return dict(answer.data) if isinstance(answer.data, dict) else {}


def _form(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: json.dumps(value) if isinstance(value, dict | list | bool) else value
        for name, value in arguments.items()
    }


def _meaning(method: str, response: Any) -> Exception:
    """A failed answer as SlackRefused, PlatformBusy, NotNow or InDoubt."""
    status = getattr(response, "status_code", getattr(response, "status", 0))
    data = getattr(response, "data", None)
    error = data.get("error", "") if isinstance(data, dict) else ""
    if status == 429 or error in RATE_LIMITED:
        after = response.headers.get("Retry-After", "1")
        return PlatformBusy(float(after) if str(after).isdigit() else 1.0)
    if status >= 500 or not error:
        return InDoubt(f"{method}: {status} {error}".strip())
    return meaning(method, error)
