"""Slack's Web API through slack_sdk: paced, within its lengths, and what its answers mean.

Each name of an error stands with the methods whose page has it (docs.slack.dev/reference/methods/
METHOD, "every page" for those that all have), or with who published that Slack says it.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import structlog

from core.errors import PlatformBusy
from core.http import Proxies
from core.text import whole

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession
    from slack_sdk.web.async_client import AsyncWebClient
    from slack_sdk.web.async_slack_response import AsyncSlackResponse

log = structlog.get_logger("slack")

GONE = frozenset({"message_not_found"})
"""Somebody deleted the post (chat.update, chat.delete, chat.appendStream, chat.stopStream)."""

STREAM_OVER = frozenset({
    "message_not_in_streaming_state",  # chat.appendStream, chat.stopStream
    "streaming_state_conflict",  # chat.update: the message is still streaming
})  # fmt: skip
"""The message streams no more, or still does: it is stopped, and then edited."""

STOPPED = frozenset({"stopped_by_user"})
"""A person pressed Slack's own Stop (chat.appendStream)."""

TOO_LONG = frozenset({
    "msg_too_long",  # chat.update, chat.postEphemeral; of posts seratch/ChatGPT-in-Slack issue 102,
    #                  of streams CopilotKit/CopilotKit pull 6064 and openclaw/openclaw pull 143882
    "msg_blocks_too_long",  # chat.postMessage, chat.startStream, .appendStream, .stopStream
    "msg_blocks_too_many",  # chat.startStream, .appendStream, .stopStream
})  # fmt: skip
"""The same answer fits in a shorter dress, or in one more post."""

SHAPE_REFUSED = frozenset({
    "invalid_blocks",  # chat.postMessage, .postEphemeral, .update, .startStream and so on
    "invalid_blocks_format",  # chat.postMessage, .postEphemeral, .update, .startStream
    "invalid_chunks",  # chat.startStream, .appendStream, .stopStream
    "block_mismatch",  # chat.update
})  # fmt: skip
"""The blocks do not please: the same text without them may."""

FEATURE_OFF = frozenset({
    "unknown_method", "method_deprecated", "deprecated_endpoint", "missing_scope",  # every page
    "not_allowed_token_type", "enterprise_is_restricted", "no_permission",  # every page
    "feature_disabled",  # agents.sessions.setStatus
    "not_authorized",  # agents.sessions.setStatus; so for every app that is declared no agent
    #                    (kirodotdev/KiroCrew issue 9822)
    "channel_type_not_supported",  # chat.startStream, .appendStream, .stopStream
})  # fmt: skip
"""This workspace, plan or app does not have it, and will not within this process."""

OF_THE_MESSAGE = frozenset({
    "message_not_found", "no_reaction", "already_reacted", "thread_locked", "not_reactable",
    "too_many_reactions", "too_many_emoji", "no_access", "is_archived",  # reactions.*
    "channel_not_found",  # all of these methods
    "invalid_thread_ts",  # assistant.threads.setStatus
    "thread_ts_required", "thread_ts_not_allowed",  # agents.sessions.setStatus
})  # fmt: skip
"""They say nothing about a feature, only about where it was tried."""

TOKEN_REFUSED = frozenset({
    "token_revoked", "token_expired", "account_inactive", "not_authed",  # every page
    "invalid_auth",  # auth.test, apps.connections.open; elsewhere the example answers have it
})  # fmt: skip
"""The app was removed, or its token is being replaced: it may come back (slackapi/bolt-python issue
1029, microsoft/botframework-sdk issue 2537)."""

NOT_NOW = frozenset({
    "update_failed",  # chat.update
    "external_channel_migrating",  # chat.update, reactions.add, reactions.remove
    "messaging_processing_failed",  # chat.startStream, chat.appendStream
    "team_added_to_org", "org_login_required",  # every page: "until migration is complete"
    "request_timeout",  # every page: "the POST data was either missing or truncated"
})  # fmt: skip
"""Nothing was done, and later it may be."""

UNSURE = frozenset({
    "fatal_error",  # every page: "it's possible some aspect of the operation succeeded"
    "service_unavailable",  # every page
    "internal_error",  # agents.sessions.setStatus, auth.test, apps.connections.open; elsewhere
    #                    slackapi/python-slack-sdk issue 1403, slackapi/node-slack-sdk issue 1305
})  # fmt: skip
"""Slack broke on the way: the call may have had its effect."""

RATE_LIMITED = frozenset({
    "ratelimited",  # every page
    "rate_limited",  # chat.postMessage, chat.startStream, .appendStream, .stopStream
})  # fmt: skip

POSTS = frozenset({"chat.postMessage", "chat.startStream", "chat.postEphemeral"})
"""The methods that count against a channel's pace too."""
CHANNEL_BURST, CHANNEL_INTERVAL = 5, 1.1
"""One post a second in each channel, with short bursts (docs.slack.dev/apis/web-api/rate-limits).
Calls do not arrive at the distances at which they leave: a tenth of a second for that."""
TIERS: dict[str, int] = {
    "chat.startStream": 20, "chat.stopStream": 20, "usergroups.list": 20, "reactions.remove": 20,
    "chat.update": 50, "chat.delete": 50, "conversations.replies": 50,
    "conversations.history": 50, "agents.sessions.setStatus": 50, "reactions.add": 50,
    "chat.appendStream": 100, "chat.postEphemeral": 100, "users.info": 100,
    "views.publish": 100, "views.open": 100, "files.info": 100,
    "files.getUploadURLExternal": 100, "files.completeUploadExternal": 100,
}  # fmt: skip
"""Tiers 2, 3 and 4, in calls a minute and workspace; which one a method has stands on its own page
(docs.slack.dev/apis/web-api/rate-limits). The limits of chat.postMessage, auth.test and
assistant.threads.setStatus are special: no tier stands on their pages."""
_MOST_CHANNELS = 10_000
"""Channels whose lines are remembered."""

IN_A_ROW, PAUSE = 3, 3600.0
"""A feature that is refused so often in a row, for whatever reason, is left alone for so many
seconds."""

TEXT = 3_900
"""Bytes of `text`, once `&`, `<` and `>` are escaped, as of all limits here. Slack's pages speak of
characters; measured were UTF-8 bytes: 4,000 on an edit, also beside blocks (openclaw/openclaw pull
115027, pymc-labs/daimon pull 106; of posts seratch/ChatGPT-in-Slack issue 102)."""
SHORT = 300
"""Of `text`, where Slack finds even that too long: its blocks say all."""
PART = 9_000
"""Of an answer's text in one post: 12,000 in all Markdown of a message
(docs.slack.dev/reference/block-kit/blocks/markdown-block), 10,000 in a stream."""
STREAM = 9_900
"""Of a streamed message, with what is put under it at its end; between 10,600 and 11,300 were
measured (openclaw/openclaw pull 143882)."""
MESSAGE = 11_500
"""Of all blocks of a message: "12,000 text characters with a buffer for block containers"
(slackapi/bolt-js issues 2509 and 2867)."""
CONTAINER = 100
"""What each block counts beside its text. That it counts is known, how much is not."""
SECTION = 2_900
"""Of a section's text: 3,000 (docs.slack.dev/reference/block-kit/blocks/section-block)."""

PATIENCE = 20.0
"""Seconds that a call waits for its place before it says PlatformBusy."""
REQUEST_SECONDS = 15.0
"""Seconds that one request may take."""
_TRIES = 4
"""How often a call is repeated."""
_UNREPEATABLE = frozenset({
    "chat.postMessage", "chat.startStream", "chat.appendStream", "chat.postEphemeral",
    "files.completeUploadExternal",
})  # fmt: skip
"""Done twice, they would show twice."""
_FORMS = frozenset({
    "auth.test", "users.info", "usergroups.list", "conversations.replies", "conversations.history",
    "files.info", "files.getUploadURLExternal", "reactions.add", "reactions.remove",
})  # fmt: skip
"""They take no JSON bodies (docs.slack.dev/apis/web-api, "POST bodies")."""

Json = dict[str, Any]
Feature = Literal["streams", "status", "sessions", "reactions"]


class SlackRefused(Exception):
    """Slack answered `{"ok": false}`; nothing was done. `error` is its word for why."""

    def __init__(self, method: str, error: str) -> None:
        super().__init__(f"{method}: {error}")
        self.method = method
        self.error = error


class InDoubt(Exception):
    """No answer came to a call that must not simply be repeated: it may have had its effect."""

    @property
    def reason(self) -> str:
        """In Slack's word, where it said one."""
        return str(self)


class Unsent(InDoubt):
    """No connection was made, so nothing was done: the call may be repeated."""


class NotNow(Unsent):
    """Slack did nothing, for a reason that passes: who called waits, and calls again."""

    def __init__(self, method: str, error: str) -> None:
        super().__init__(f"{method}: {error}")
        self.error = error

    @property
    def reason(self) -> str:
        return self.error


class TokenRefused(NotNow):
    """The token is not taken. A start does not wait for that; an answer does."""


FAILURES = (SlackRefused, InDoubt, PlatformBusy)
"""What `SlackApi.call` raises."""


@dataclass(slots=True)
class Line:
    """A line of calls: `burst` at once, then one each `interval` seconds (GCRA)."""

    interval: float
    burst: int
    _due: float = 0.0

    def delay(self, now: float) -> float:
        """Seconds until the next call may leave."""
        return max(0.0, self._due - (self.burst - 1) * self.interval - now)

    def take(self, now: float) -> None:
        self._due = max(self._due, now) + self.interval

    def hold(self, until: float) -> None:
        """Slack said when to come back: nothing leaves before."""
        self._due = max(self._due, until + (self.burst - 1) * self.interval)

    def spare(self, now: float) -> bool:
        """Whether half of the burst is still there: enough for what may as well be left out."""
        return self._due - now <= self.burst * self.interval / 2


class Pace:
    """Calls at the pace that Slack allows, so that none is refused: the lines of one workspace, in
    each of which a call takes the next free place. A burst and a minute's pace together stay
    under the tier."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._methods = {
            method: Line(60 / (most * 2 / 3), most // 3) for method, most in TIERS.items()
        }
        self._channels: OrderedDict[str, Line] = OrderedDict()

    async def turn(self, method: str, channel: str, patience: float, claimed: bool = False) -> None:
        """Wait for a place. Raises PlatformBusy, taking none, when it is further than `patience`
        seconds away. `claimed`: the method's place was taken before, by `claim`."""
        lines = self._lines("" if claimed else method, channel if method in POSTS else "")
        now = self._clock()
        delay = max((line.delay(now) for line in lines), default=0.0)
        if delay > patience:
            raise PlatformBusy(delay)
        for line in lines:
            line.take(now)
        if delay > 0:
            await asyncio.sleep(delay)

    def hold(self, method: str, channel: str, seconds: float) -> None:
        lines = self._lines(method, channel if method in POSTS else "")
        for line in lines[-1:]:
            line.hold(self._clock() + seconds)

    def spare(self, method: str) -> bool:
        """Whether a call may be made that may as well be left out."""
        line = self._methods.get(method)
        return line is None or line.spare(self._clock())

    def claim(self, *methods: str) -> bool:
        """Take a place now for calls that will be made later, if each has one to spare."""
        if not all(map(self.spare, methods)):
            return False
        for method in methods:
            self._methods[method].take(self._clock())
        return True

    def reserve(self, method: str, places: int) -> bool:
        """Take so many places now for calls that belong together, if they are free."""
        line, now = self._methods[method], self._clock()
        if line.delay(now + (1 - places) * line.interval) > 0:
            return False
        for _ in range(places):
            line.take(now)
        return True

    def _lines(self, method: str, channel: str) -> list[Line]:
        """The method's line, then the channel's where it counts."""
        lines = [self._methods[method]] if method in self._methods else []
        return [*lines, self._channel(channel)] if channel else lines

    def _channel(self, channel: str) -> Line:
        line = self._channels.get(channel)
        if line is None:
            line = self._channels[channel] = Line(CHANNEL_INTERVAL, CHANNEL_BURST)
            if len(self._channels) > _MOST_CHANNELS:
                self._channels.popitem(last=False)
        self._channels.move_to_end(channel)
        return line


class Latches:
    """Features that Slack turned out not to have here: tried, then left alone. Shared by all
    replies of the process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._off: dict[Feature, tuple[str, float]] = {}
        self._refusals: Counter[Feature] = Counter()

    def on(self, feature: Feature) -> bool:
        return feature not in self._off or self._off[feature][1] <= self._clock()

    def worked(self, feature: Feature) -> None:
        self._refusals.pop(feature, None)

    def refused(self, feature: Feature, error: str) -> bool:
        """Whether the feature is off now: for good where `error` means that, else for an hour
        where it is only refused."""
        if error in OF_THE_MESSAGE:
            return False
        self._refusals[feature] += 1
        for_good = error in FEATURE_OFF
        if not for_good and self._refusals[feature] < IN_A_ROW:
            return False
        if self.on(feature):
            log.info("slack feature off", feature=feature, why=error)
        self._off[feature] = (error, float("inf") if for_good else self._clock() + PAUSE)
        self._refusals.pop(feature, None)
        return True

    @property
    def words(self) -> str:
        """For the operator: which are off, and Slack's word for why."""
        off = {feature: error for feature, (error, _) in self._off.items() if not self.on(feature)}
        return ", ".join(f"{feature}: {error}" for feature, error in off.items())


class SlackApi:
    """One bot token. `call` raises SlackRefused, PlatformBusy, or InDoubt.

    The SDK's retry handlers are off: its default one repeats a post whose answer was lost, and its
    rate limit handler reads only the first digit of Retry-After (slack_sdk 3.47).
    """

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
                limit = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
                self._session = aiohttp.ClientSession(timeout=limit)
                self._client = self._sdk.web.async_client.AsyncWebClient(
                    base_url=self.base_url, session=self._session, retry_handlers=[],
                    logger=sdk_log(),
                )  # fmt: skip
                # Not what the SDK found in the environment.
                self._client.proxy = self._proxies.for_url(self.base_url)
            return self._client

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
            refused = _failure(method, error.response)
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


def meaning(method: str, error: str) -> Exception:
    """A refusal as one of these, by its name; one in no list ends the call for good."""
    if error in TOKEN_REFUSED:
        return TokenRefused(method, error)
    if error in NOT_NOW:
        return NotNow(method, error)
    if error in UNSURE:
        return InDoubt(f"{method}: {error}")
    return SlackRefused(method, error)


def size(text: str) -> int:
    """Of text that is not escaped yet."""
    marks = 4 * text.count("&") + 3 * (text.count("<") + text.count(">"))
    return len(text.encode(errors="surrogatepass")) + marks


def weight(blocks: Sequence[Mapping[str, Any]]) -> int:
    """Of a message's blocks."""
    return CONTAINER * len(blocks) + sum(_texts(blocks))


def fit(text: str, limit: int) -> str:
    """Text that is not escaped, in `limit` bytes at most once it is; "…" where something is
    missing."""
    if size(text) <= limit:
        return text
    fits, over = 0, min(len(text), limit) + 1
    while over - fits > 1:
        middle = (fits + over) // 2
        if size(text[:middle] + "…") <= limit:
            fits = middle
        else:
            over = middle
    return text[: whole(text, fits)] + "…"


def cut(escaped: str, limit: int) -> str:
    """Escaped text in `limit` bytes at most, with "…" where something is missing; neither a
    character nor an entity is torn."""
    data = escaped.encode()
    if len(data) <= limit:
        return escaped
    kept = data[: limit - len("…".encode())].decode(errors="ignore")
    kept = escaped[: whole(escaped, len(kept))]
    entity = kept.rfind("&")
    if entity >= 0 and ";" not in kept[entity:]:
        kept = kept[:entity]
    return kept + "…"


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


def _failure(method: str, response: Any) -> Exception:
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


def _texts(part: Any) -> Iterator[int]:
    if isinstance(part, Mapping):
        if isinstance(text := part.get("text"), str):
            yield len(text.encode()) if part.get("type") == "mrkdwn" else size(text)
        for name, value in part.items():
            if name != "text" or not isinstance(value, str):
                yield from _texts(value)
    elif isinstance(part, Sequence) and not isinstance(part, str):
        for each in part:
            yield from _texts(each)
