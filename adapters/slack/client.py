"""A client for Slack's Web API on top of slack_sdk: retries, and features that Slack refuses."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import structlog

from adapters.slack.errors import (
    FEATURE_OFF,
    HTTP_ERROR,
    NEEDED_METHODS,
    OF_THE_MESSAGE,
    InDoubt,
    NotNow,
    SlackRefused,
    TokenRefused,
    Unsent,
    explain_failure,
)
from adapters.slack.rate_limits import POSTS, TIERS, RateLimiter
from adapters.slack.render import Json
from core.base.errors import PlatformBusy, SettingsError
from core.base.proxies import Proxies, add_proxy
from core.base.tasks import Backoff, BoundedDict, SharedAnswers, retry
from core.journal.jobs import SharedPace

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession
    from slack_sdk.web.async_client import AsyncWebClient
    from slack_sdk.web.async_slack_response import AsyncSlackResponse


log = structlog.get_logger("slack")
T = TypeVar("T")
REFUSAL_SECONDS = 300.0
"""Seconds for which a refused method is not called again. An admin may add a scope meanwhile."""

MAX_FEATURE_REFUSALS, FEATURE_PAUSE_SECONDS = 3, 3600.0
"""Consecutive refusals after which a feature is switched off, and for how long."""

SLACK_PLACE_SECONDS = 20.0
"""How long a call waits for its turn under the rate limits before it raises PlatformBusy."""
REQUEST_SECONDS = 15.0
_TRIES = 4
"""Retries of a failed call."""
CALL_BACKOFF = Backoff(0.2)
"""Pauses before a call whose response was lost is made again."""
_UNREPEATABLE = frozenset(
    {
        "chat.postMessage",
        "chat.startStream",
        "chat.appendStream",
        "chat.postEphemeral",
        "files.completeUploadExternal",
        "tooling.tokens.rotate",  # a refresh token works once
    }
)
"""Never retried when the response is lost: a second call would post a second time."""
_FORMS = frozenset({
    "auth.test", "users.info", "users.list", "usergroups.list", "conversations.replies",
    "conversations.history",
    "files.info", "files.getUploadURLExternal", "reactions.add", "reactions.remove",
    "conversations.info", "conversations.members", "users.conversations", "bots.info",
})  # fmt: skip
"""Methods that accept no JSON bodies (docs.slack.dev/apis/web-api, "POST bodies")."""

Feature = Literal[
    "streams", "status", "sessions", "reactions", "tables", "data", "prompts", "ratings"
]
"""Optional features of Slack: `status` is the status line, `sessions` are agent sessions, `data`
the blocks of `data_blocks`, and `ratings` stand under answers."""

WAITING_REACTION = "hourglass_flowing_sand"
"""Marks a message that waits for its turn."""

REFUSED_BOT = (
    "Slack rejected SLACK_BOT_TOKEN ({error}). Install the app to the workspace, then copy the "
    "Bot User OAuth Token (xoxb-…) from OAuth & Permissions."
)

HISTORY = ("channels:history", "groups:history")
"""The scopes for messages that do not mention Ponte, in public and in private channels."""
_PAGE, _PAGES = 200, 5
"""How many messages a page has, and how many pages are read, when Ponte reads a thread or a
channel."""


class FeatureFlags:
    """The optional features that Slack refuses in this workspace, which Ponte does not try for a
    while. All replies of a process share one object."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._off: dict[Feature, tuple[str, float]] = {}
        """Features that are off: Slack's error, and until when (by `clock`) they are not tried."""
        self._refusals: Counter[Feature] = Counter()
        """Counts consecutive refusals of features that are still on."""

    def is_on(self, feature: Feature) -> bool:
        return feature not in self._off or self._off[feature][1] <= self._clock()

    def note_success(self, feature: Feature) -> None:
        self._refusals.pop(feature, None)
        self._off.pop(feature, None)

    def note_refusal(self, feature: Feature, error: str) -> None:
        """Count a refusal, which may switch the feature off.

        An error of FEATURE_OFF, such as a missing scope, does so for REFUSAL_SECONDS; any other for
        FEATURE_PAUSE_SECONDS after MAX_FEATURE_REFUSALS in a row. Errors of OF_THE_MESSAGE do not
        count: they are about one message or channel, such as a deleted message.
        """
        is_missing, is_counted = error in FEATURE_OFF, error not in OF_THE_MESSAGE
        self._refusals[feature] += is_counted
        if is_missing or (is_counted and self._refusals[feature] >= MAX_FEATURE_REFUSALS):
            if feature not in self._off:
                log.info("turned off a Slack feature", feature=feature, error=error)
            pause = REFUSAL_SECONDS if is_missing else FEATURE_PAUSE_SECONDS
            self._off[feature] = error, self._clock() + pause
            self._refusals.pop(feature, None)

    @property
    def words(self) -> str:
        """The refused features with Slack's error names, as in `streams: missing_scope`."""
        return ", ".join(f"{feature}: {error}" for feature, (error, _) in self._off.items())


class SlackApi:
    """A client of Slack's Web API for one token.

    The SDK's retry handlers are off. Its default handler repeats a post whose response was lost,
    and its rate limit handler reads only the first digit of Retry-After (slack_sdk 3.47).
    """

    def __init__(
        self,
        token: str,
        base_url: str,
        proxies: Proxies,
        pace: SharedPace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pace` shares the rate limits with all processes that use this token."""
        self.base_url = base_url if base_url.endswith("/") else base_url + "/"
        self.limiter = RateLimiter(pace=pace)
        self.refused = ""
        """Slack's error name if it rejects the token at present, else ""."""
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._proxies = proxies
        self._clock = clock
        self._refusals: BoundedDict[tuple[str, str], tuple[str, float]] = BoundedDict()
        """By method and channel, the error with which Slack refused it, and until when it counts.
        One scope may be missing for private channels alone."""
        self.shared_answers = SharedAnswers[tuple[str | None, ...], Any](clock)
        """What Slack told about channels: what they are, their members, and people's channels."""
        self._opening = asyncio.Lock()
        # Created and imported by `open`, at the first call.
        self._session: ClientSession | None = None
        self._client: AsyncWebClient | None = None
        self._sdk: Any = None
        self._aiohttp: Any = None

    async def open(self) -> AsyncWebClient:
        """Return the SDK's client, created at the first call. Bolt may share it: it holds no token,
        because each call sends the token in its own headers. The SDK is imported in a thread,
        because that takes a while and would stop everything else."""
        async with self._opening:
            if self._client is None:
                # `slack_sdk` comes last, so that it stays in `_sdk`. Only an import makes the two
                # modules before it its attributes.
                for name in ("slack_sdk.errors", "slack_sdk.web.async_client", "slack_sdk"):
                    self._sdk = await asyncio.to_thread(importlib.import_module, name)
                # The SDK's client has imported aiohttp already, so this takes no time.
                self._aiohttp = importlib.import_module("aiohttp")
                limit = self._aiohttp.ClientTimeout(total=REQUEST_SECONDS)
                self._session = self._aiohttp.ClientSession(timeout=limit)
                self._client = self._sdk.web.async_client.AsyncWebClient(
                    base_url=self.base_url,
                    session=self._session,
                    retry_handlers=[],  # `call` makes the retries
                    logger=sdk_log(),
                )
                # The SDK reads a proxy from the environment; our setting replaces it.
                self._client.proxy = self._proxies.for_url(self.base_url)
            return self._client

    async def close(self) -> None:
        await self.shared_answers.close()
        if self._session is not None:
            await self._session.close()

    def refusal(self, method: str, channel: str = "") -> str:
        """Return the error with which Slack refused this method lately; "" if it may be called."""
        error, until = self._refusals.get((method, channel), ("", 0.0))
        return error if self._clock() < until else ""

    async def call(
        self,
        method: str,
        *,
        patience: float = SLACK_PLACE_SECONDS,
        claimed: bool = False,
        **arguments: Any,
    ) -> Json:
        """Call a method, with retries, and return the JSON of the response.

        After a lost response, Ponte retries only if a second call does no harm. `claimed`: the
        call's place under the rate limit was taken before.

        Raises:
        - SlackRefused if Slack refuses the call, or refused this method a short time ago;
        - PlatformBusy if the rate limits require a longer wait than `patience` seconds;
        - NotNow if Slack cannot do it for a while, and its subclass TokenRefused if it rejects the
          token;
        - InDoubt if the call may or may not have taken effect.
        """
        await self.open()
        channel = str(arguments.get("channel", ""))
        if error := self.refusal(method, channel):
            raise SlackRefused(method, error)
        pauses = iter(CALL_BACKOFF)

        async def attempt() -> Json:
            """Make the call once, within the rate limits. Refusals because a feature is off are
            remembered, so that Slack is not asked again soon."""
            nonlocal claimed
            is_claimed, claimed = claimed, False  # the place is used up by the first attempt
            await self.limiter.turn(method, channel, patience, is_claimed)
            try:
                return _data_of(await self._send_once(method, arguments))
            except PlatformBusy as busy:
                await self.limiter.hold(method, channel, busy.seconds)
                raise
            except SlackRefused as refused:
                is_missing = refused.error in FEATURE_OFF or refused.error.startswith(HTTP_ERROR)
                if is_missing and method not in NEEDED_METHODS:
                    until = self._clock() + REFUSAL_SECONDS
                    self._refusals[method, channel] = refused.error, until
                raise

        def wait(error: Exception, failed: int) -> float | None:
            # NotNow lasts longer than these retries, so the caller decides how long to wait.
            if failed > _TRIES or isinstance(error, NotNow):
                return None
            if isinstance(error, PlatformBusy):
                # `limiter.turn` waits for the Retry-After, which `hold` has noted. A method without
                # a known limit has no queue, and a pause here would hold up the answer.
                has_queue = method in TIERS or method in POSTS
                return 0.0 if has_queue and error.seconds <= patience else None
            # After a lost response, only a call that is harmless twice, or one that was never sent.
            is_repeatable = method not in _UNREPEATABLE or isinstance(error, Unsent)
            return next(pauses) if is_repeatable else None

        return await retry(attempt, (PlatformBusy, InDoubt), wait)

    async def identify(self) -> tuple[Json, frozenset[str]]:
        """Return the response of auth.test, which names our user and workspace, and the token's
        scopes, which only its headers contain.

        Raises SettingsError if Slack refuses the token, and InDoubt or PlatformBusy if Slack does
        not answer now. It makes one attempt.
        """
        try:
            answer = await self._send_once("auth.test", {})
        except (SlackRefused, TokenRefused) as refused:
            raise SettingsError(REFUSED_BOT, error=refused.error) from None
        granted = str(answer.headers.get("x-oauth-scopes", ""))
        return _data_of(answer), frozenset(filter(None, granted.replace(" ", "").split(",")))

    async def respond(self, url: str, body: Json) -> bool:
        """Post to a `response_url`. Return False if it is used up or expired. Raises InDoubt."""
        async with self._request("POST", url, json=body) as answer:
            return bool(answer.status < 300)

    @asynccontextmanager
    async def download(self, url: str) -> AsyncIterator[ClientResponse]:
        """Open a private file for reading. Raises InDoubt. Redirects, which lead to a login page,
        are not followed."""
        async with self._request("GET", url, headers=self._headers) as answer:
            yield answer

    async def send_file(self, url: str, data: bytes) -> None:
        """Send a file's bytes, the second step of an upload. Raises InDoubt; the caller then starts
        the upload again."""
        async with self._request("POST", url, data=data) as answer:
            if answer.status >= 300:
                raise InDoubt(f"upload: HTTP {answer.status}")

    @asynccontextmanager
    async def _request(self, verb: str, url: str, **options: Any) -> AsyncIterator[ClientResponse]:
        """Send an HTTP request. Raises InDoubt if no response arrives, or the connection breaks
        while the caller reads it.

        No redirect is followed: it could send a message, a file or the token to another server.
        """
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
            name = self._proxies.name_for(url)
            raise InDoubt(add_proxy(type(error).__name__, name)) from None

    async def _send_once(self, method: str, arguments: Mapping[str, Any]) -> AsyncSlackResponse:
        """Send one request without retries. Raises as `call`, and Unsent if no connection was made.
        Also updates `refused`, Slack's error while it rejects the token."""
        client = await self.open()
        fields = {name: value for name, value in arguments.items() if value is not None}
        form: dict[str, Any] | None = None
        # These methods read form data only. A form field holds text, so other values become JSON.
        if method in _FORMS:
            form = {
                name: json.dumps(value) if isinstance(value, dict | list | bool) else value
                for name, value in fields.items()
            }
        try:
            answer = await client.api_call(
                method, data=form, json=None if form is not None else fields, headers=self._headers
            )
        except self._sdk.errors.SlackApiError as error:
            failure = explain_failure(method, error.response)
            if isinstance(failure, TokenRefused):
                self.refused = failure.error
            raise failure from None
        except self._aiohttp.ClientConnectorError as error:
            raise Unsent(self._describe_failure(method, error)) from None
        except (OSError, TimeoutError, self._aiohttp.ClientError) as error:
            raise InDoubt(self._describe_failure(method, error)) from None
        self.refused = ""
        return answer

    def _describe_failure(self, method: str, error: Exception) -> str:
        name = self._proxies.name_for(self.base_url)
        return add_proxy(f"{method}: {type(error).__name__}", name)


def sdk_log() -> logging.Logger:
    """The SDKs log the content of messages at debug level, so the level is at least WARNING."""
    log = logging.getLogger("ponte.slack.sdk")
    log.setLevel(max(logging.WARNING, logging.getLogger().level))
    return log


async def history(
    api: SlackApi,
    channel: str,
    thread: str,
    since: str,
    patience: float = SLACK_PLACE_SECONDS,
    until: str = "",
    pages: int = _PAGES,
) -> Sequence[Json]:
    """Return the messages of a thread after `since`, oldest first; with `thread` "" those of a
    channel's top level. `until` is the last one's time stamp, "" for no end.

    It reads at most `pages` of 200 messages. Each call may wait `patience` seconds for the rate
    limit. Raises the errors of `SlackApi.call`.
    """
    return (await read_history(api, channel, thread, since, patience, until, pages))[0]


async def read_history(
    api: SlackApi, channel: str, thread: str, since: str, patience: float, until: str, pages: int
) -> tuple[Sequence[Json], bool]:
    """Return the messages of a thread after `since`, oldest first; with `thread` "" those of a
    channel's top level. `until` is the time stamp of the last one, "" for no end. `patience` is how
    many seconds each call may wait for the rate limit.

    Also return whether Slack has more than `pages` pages: older messages of a channel, but newer
    ones of a thread, because Slack begins a thread with its oldest message. Raises the errors of
    `SlackApi.call`.
    """
    method = "conversations.replies" if thread else "conversations.history"
    messages: list[Json] = []
    cursor = None
    for _ in range(pages):
        response = await api.call(
            method,
            channel=channel,
            ts=thread or None,
            oldest=since,
            latest=until or None,
            limit=_PAGE,
            include_all_metadata=True,  # by its metadata, Ponte finds a post of its own
            cursor=cursor,
            patience=patience,
        )
        messages += [one for one in response.get("messages") or () if one.get("ts")]
        # Slack sends "" or nothing with the last page.
        cursor = (response.get("response_metadata") or {}).get("next_cursor") or None
        if not cursor:
            break
    # Threads come oldest first, channels newest first.
    return sorted(messages, key=lambda message: str(message["ts"])), bool(cursor)


def _data_of(answer: AsyncSlackResponse) -> Json:
    return dict(answer.data) if isinstance(answer.data, dict) else {}
