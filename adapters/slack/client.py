"""Slack's Web API through slack_sdk: paced, and what its answers mean.

Each name of an error stands with the methods whose page has it (docs.slack.dev/reference/methods/
METHOD, "every page" for those that all have), or with who published that Slack says it.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import structlog

from adapters.slack.render import Json
from core.clients.http import Proxies
from core.domain.errors import NotStored, PlatformBusy, SettingsError
from core.integrations.integration import Pace
from core.runtime.retry import Backoff, retry
from core.runtime.tasks import BackgroundTasks, BoundedDict

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession
    from slack_sdk.web.async_client import AsyncWebClient
    from slack_sdk.web.async_slack_response import AsyncSlackResponse


log = structlog.get_logger("slack")
T = TypeVar("T")

GONE = frozenset({"message_not_found"})
"""Somebody deleted the post (chat.update, chat.delete, chat.appendStream, chat.stopStream)."""

STREAM_OVER = frozenset({
    "message_not_in_streaming_state",  # chat.appendStream, chat.stopStream
    "streaming_state_conflict",  # chat.update: the message is still streaming
})  # fmt: skip
"""The message streams no more, or still does: it is stopped, and then edited."""

STREAM_STOPPED = frozenset({"stopped_by_user"})
"""A person pressed Slack's own Stop (chat.appendStream)."""

MESSAGE_TOO_LONG = frozenset({
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

POSTS = frozenset({"chat.postMessage", "chat.startStream"})
"""The methods that count against a channel's pace too. `chat.postEphemeral` has a tier of its own
instead (its page), so that a refusal takes no place of an answer's."""
REFUSAL_LINE, REFUSALS_A_MINUTE = "refusals", 50
"""The line of what is said to people who are refused: half the tier of `chat.postEphemeral`, which
other answers to one person alone need too."""
CHANNEL_BURST, CHANNEL_INTERVAL = 5, 1.1
"""One post a second in each channel, with short bursts (docs.slack.dev/apis/web-api/rate-limits).
Calls do not arrive at the distances at which they leave: a tenth of a second for that."""
SHARED_CHANNEL_BURST = 3
"""The burst of a channel where several processes post. Each may add one post to a quiet channel."""
QUIET_SECONDS = 10.0
"""A process that has not posted in a channel for so long posts without asking the database."""
TIERS: dict[str, int] = {
    "chat.startStream": 20, "chat.stopStream": 20, "usergroups.list": 20, "reactions.remove": 20,
    "users.list": 20,
    "chat.update": 50, "chat.delete": 50, "conversations.replies": 50,
    "conversations.history": 50, "agents.sessions.setStatus": 50, "reactions.add": 50,
    "chat.appendStream": 100, "chat.postEphemeral": 100, "users.info": 100,
    "views.publish": 100, "views.open": 100, "files.info": 100,
    "files.getUploadURLExternal": 100, "files.completeUploadExternal": 100,
    "conversations.open": 50, "conversations.info": 50, "conversations.members": 100,
}  # fmt: skip
"""Tiers 2, 3 and 4, in calls a minute and workspace; which one a method has stands on its own page
(docs.slack.dev/apis/web-api/rate-limits). The limits of chat.postMessage, auth.test and
assistant.threads.setStatus are special: no tier stands on their pages."""
_MOST_CHANNELS = 10_000
"""Channels whose lines are remembered."""

MAX_FEATURE_REFUSALS, FEATURE_PAUSE_SECONDS = 3, 3600.0
"""A feature that is refused so often in a row, for whatever reason, is left alone for so many
seconds."""

SLACK_PLACE_SECONDS = 20.0
"""Seconds that a call waits for its place before it says PlatformBusy."""
REQUEST_SECONDS = 15.0
"""Seconds that one request may take."""
_TRIES = 4
"""How often a call is repeated."""
CALL_BACKOFF = Backoff(0.2)
"""Pauses before a call is repeated whose answer was lost."""
_UNREPEATABLE = frozenset({
    "chat.postMessage", "chat.startStream", "chat.appendStream", "chat.postEphemeral",
    "files.completeUploadExternal",
})  # fmt: skip
"""Done twice, they would show twice."""
_FORMS = frozenset({
    "auth.test", "users.info", "users.list", "usergroups.list", "conversations.replies",
    "conversations.history",
    "files.info", "files.getUploadURLExternal", "reactions.add", "reactions.remove",
    "conversations.info", "conversations.members",
})  # fmt: skip
"""They take no JSON bodies (docs.slack.dev/apis/web-api, "POST bodies")."""

Feature = Literal["streams", "status", "sessions", "reactions"]

WAITING_REACTION = "hourglass_flowing_sand"
"""The reaction on a message that waits its turn."""
NOTICE_AFTER_SECONDS = 1.0
"""Seconds after which a command's asker is told that it is under way; a quicker answer comes
alone."""

REFUSED_BOT = (
    "SLACK_BOT_TOKEN: Slack refuses it ({error}). Copy the Bot User OAuth Token (xoxb-…) from "
    "OAuth & Permissions; install the app to the workspace first."
)

HISTORY = ("channels:history", "groups:history")
"""The scopes by which it is told what does not mention it, in public and in private channels."""
_PAGE, _PAGES = 200, 5
"""Messages asked for at once when a place is read, and how often."""


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
class RateLimit:
    """A line of calls: `burst` at once, then one each `interval` seconds (GCRA)."""

    interval: float
    burst: int
    due: float = 0.0

    def delay(self, now: float) -> float:
        """Seconds until the next call may leave."""
        return max(0.0, self.due - (self.burst - 1) * self.interval - now)

    def take(self, now: float) -> None:
        self.due = max(self.due, now) + self.interval

    def hold(self, until: float) -> None:
        """Slack said when to come back: nothing leaves before."""
        self.due = max(self.due, until + (self.burst - 1) * self.interval)

    def spare(self, now: float) -> bool:
        """Whether half of the burst is still there: enough for what may as well be left out."""
        return self.due - now <= self.burst * self.interval / 2


class RateLimiter:
    """Calls at the pace that Slack allows, so that none is refused: the lines of one workspace, in
    each of which a call takes the next free place. A burst and a minute's pace together stay
    under the tier.

    `pace`: the lines are those of all processes. A post in a channel where this process has not
    posted for QUIET_SECONDS takes no place in the shared line, which saves a transaction for most
    answers.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, pace: Pace | None = None
    ) -> None:
        self._clock = clock
        self._pace = pace
        self._methods = {
            method: RateLimit(60 / (most * 2 / 3), most // 3)
            for method, most in {**TIERS, REFUSAL_LINE: REFUSALS_A_MINUTE}.items()
        }
        self._channels: BoundedDict[str, RateLimit] = BoundedDict(_MOST_CHANNELS)
        self._posted_at: BoundedDict[str, float] = BoundedDict(_MOST_CHANNELS)
        """When this process posted last in each channel, or may post again after Slack refused."""

    async def turn(self, method: str, channel: str, patience: float, claimed: bool = False) -> None:
        """Wait for a place. Raises PlatformBusy, taking none, when it is further than `patience`
        seconds away. `claimed`: the method's place was taken before, by `claim`."""
        lines = [method] if method in self._methods and not claimed else []
        if channel and method in POSTS and not self._is_quiet(channel):
            lines.append(_line_of(channel))
        if not lines:
            return

        def take(lines: Sequence[RateLimit], now: float) -> float:
            wait = max(line.delay(now) for line in lines)
            if wait <= patience:
                for line in lines:
                    line.take(now)
            return wait

        wait = await self._on_lines(lines, take, lambda wait: wait > patience)
        if wait > patience:
            raise PlatformBusy(wait)
        if wait > 0:
            await asyncio.sleep(wait)

    async def hold(self, method: str, channel: str, seconds: float) -> None:
        """Slack said when to come back."""
        if channel and method in POSTS:
            self._posted_at[channel] = self._clock() + seconds
            line = _line_of(channel)
        elif method in self._methods:
            line = method
        else:
            return
        await self._on_lines(
            [line], lambda lines, now: lines[0].hold(now + seconds), lambda _: False
        )

    async def spare(self, method: str) -> bool:
        """Return whether a call may be made that may as well be left out."""
        if method not in self._methods:
            return True
        return await self._on_lines([method], lambda lines, now: lines[0].spare(now), _is_refused)

    async def claim(self, *methods: str) -> bool:
        """Take a place now for calls that will be made later, if each has one to spare."""

        def take(lines: Sequence[RateLimit], now: float) -> bool:
            if not all(line.spare(now) for line in lines):
                return False
            for line in lines:
                line.take(now)
            return True

        return await self._on_lines(methods, take, _is_refused)

    async def reserve(self, method: str, places: int) -> bool:
        """Take so many places now for calls that belong together, if they are free."""

        def take(lines: Sequence[RateLimit], now: float) -> bool:
            (line,) = lines
            if line.delay(now + (1 - places) * line.interval) > 0:
                return False
            for _ in range(places):
                line.take(now)
            return True

        return await self._on_lines([method], take, _is_refused)

    async def _on_lines(
        self,
        methods: Sequence[str],
        work: Callable[[Sequence[RateLimit], float], T],
        is_refused: Callable[[T], bool],
    ) -> T:
        """Run `work` on these lines, while no other process does.

        A line that this process saw full stays full, whatever the others do, so `work` is tried on
        what was seen last; where `is_refused` says so of its result, the database is not asked.
        """
        own = [self._methods.get(method) or self._channel(method) for method in methods]
        pace = self._pace
        if pace is None:
            return work(own, self._clock())
        if is_refused(result := work([replace(line) for line in own], self._clock())):
            return result

        def on_dues(
            dues: Sequence[float], now: float
        ) -> tuple[Sequence[float], tuple[T, Sequence[float]]]:
            lines = [replace(line, due=due) for line, due in zip(own, dues, strict=True)]
            result = work(lines, now)
            kept = [line.due for line in lines]
            return kept, (result, [due - now for due in kept])

        began = self._clock()
        try:
            result, ahead = await pace.run([f"slack:{method}" for method in methods], on_dues)
        except NotStored:  # the database is away: this process keeps to its own pace
            return work(own, self._clock())
        for line, seconds in zip(own, ahead, strict=True):
            line.due = max(line.due, began + seconds)
        return result

    def _is_quiet(self, channel: str) -> bool:
        """Note a post; return whether it may leave without a place in the line of all processes."""
        if self._pace is None:
            return False
        now = self._clock()
        quiet = now - self._posted_at.get(channel, -math.inf) > QUIET_SECONDS
        self._posted_at[channel] = max(now, self._posted_at.get(channel, now))
        return quiet

    def _channel(self, line: str) -> RateLimit:
        if line not in self._channels:
            burst = CHANNEL_BURST if self._pace is None else SHARED_CHANNEL_BURST
            self._channels[line] = RateLimit(CHANNEL_INTERVAL, burst)
        self._channels[line] = self._channels[line]  # the one that was used last goes last
        return self._channels[line]


def _line_of(channel: str) -> str:
    return f"channel:{channel}"


def _is_refused(allowed: bool) -> bool:
    return not allowed


class FeatureFlags:
    """Features that Slack turned out not to have here: tried, then left alone. Shared by all
    replies of the process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._off: dict[Feature, tuple[str, float]] = {}
        self._refusals: Counter[Feature] = Counter()

    def is_on(self, feature: Feature) -> bool:
        return feature not in self._off or self._off[feature][1] <= self._clock()

    def note_success(self, feature: Feature) -> None:
        self._refusals.pop(feature, None)

    def note_refusal(self, feature: Feature, error: str) -> bool:
        """Whether the feature is off now: for good where `error` means that, else for an hour
        where it is only refused."""
        if error in OF_THE_MESSAGE:
            return False
        self._refusals[feature] += 1
        for_good = error in FEATURE_OFF
        if not for_good and self._refusals[feature] < MAX_FEATURE_REFUSALS:
            return False
        if self.is_on(feature):
            log.info("slack feature off", feature=feature, why=error)
        self._off[feature] = (
            error,
            float("inf") if for_good else self._clock() + FEATURE_PAUSE_SECONDS,
        )
        self._refusals.pop(feature, None)
        return True

    @property
    def words(self) -> str:
        """For the operator: which are off, and Slack's word for why."""
        off = {
            feature: error for feature, (error, _) in self._off.items() if not self.is_on(feature)
        }
        return ", ".join(f"{feature}: {error}" for feature, error in off.items())


class SlackApi:
    """One bot token. `call` raises SlackRefused, PlatformBusy, or InDoubt.

    The SDK's retry handlers are off: its default one repeats a post whose answer was lost, and its
    rate limit handler reads only the first digit of Retry-After (slack_sdk 3.47).
    """

    def __init__(
        self, token: str, base_url: str, proxies: Proxies, pace: Pace | None = None
    ) -> None:
        """`pace`: that of all processes that use this token."""
        self.base_url = base_url if base_url.endswith("/") else base_url + "/"
        self.limiter = RateLimiter(pace=pace)
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
                self._sdk = await asyncio.to_thread(_import_sdk)
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
        self,
        method: str,
        *,
        patience: float = SLACK_PLACE_SECONDS,
        claimed: bool = False,
        **arguments: Any,
    ) -> Json:
        """Call it until it was done once, or until it is known why not.

        A refused connection, a rate limit or, for calls that may be repeated, a lost answer are
        met by another try. Raises SlackRefused; PlatformBusy when Slack wants a longer wait than
        `patience`; NotNow where it does nothing for a while; InDoubt when the call may or may not
        have had its effect. `claimed`: its place in the method's line was taken before.
        """
        await self.open()
        channel = str(arguments.get("channel", ""))
        pauses = iter(CALL_BACKOFF)

        async def attempt() -> Json:
            nonlocal claimed
            is_claimed, claimed = claimed, False  # a claimed place serves the first attempt
            await self.limiter.turn(method, channel, patience, is_claimed)
            try:
                return _data_of(await self._once(method, arguments))
            except PlatformBusy as busy:
                await self.limiter.hold(method, channel, busy.seconds)
                raise

        def wait(error: Exception, failed: int) -> float | None:
            if failed > _TRIES or isinstance(error, NotNow):
                return None
            if isinstance(error, PlatformBusy):
                return 0.0 if error.seconds <= patience else None  # the limiter waits
            is_repeatable = method not in _UNREPEATABLE or isinstance(error, Unsent)
            return next(pauses) if is_repeatable else None

        return await retry(attempt, (PlatformBusy, InDoubt), wait)

    async def scopes(self) -> tuple[Json, frozenset[str]]:
        """What auth.test says, and the scopes that the token has. Raises as `call`."""
        answer = await self._once("auth.test", {})
        granted = str(answer.headers.get("x-oauth-scopes", ""))
        return _data_of(answer), frozenset(filter(None, granted.replace(" ", "").split(",")))

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


class Pending:
    """Slash commands whose answer takes its time: who typed one is told so, and nobody else.

    A slash command leaves no message that could wear a sign. What its `response_url` showed can, by
    what was published, not be taken back (slackapi/bolt-js issue 2287, langchain-ai/open-swe pull
    2889); the deletion is asked for all the same, and at the latest the client's next start takes
    it away, as all that is shown to one person alone (docs.slack.dev/reference/methods/
    chat.postEphemeral).
    """

    def __init__(self, api: SlackApi, tasks: BackgroundTasks) -> None:
        self._api = api
        self._tasks = tasks
        self._waiting: dict[str, asyncio.Event] = {}

    def begin(self, turn: str, url: str, words: str) -> None:
        """`turn` was accepted; `words` are shown at `url` while its answer takes its time."""
        if url and turn not in self._waiting:
            self._waiting[turn] = asyncio.Event()
            self._tasks.start(self._watch(turn, url, words))

    def end(self, turn: str) -> None:
        """Its answer is there."""
        if answered := self._waiting.get(turn):
            answered.set()

    async def _watch(self, turn: str, url: str, words: str) -> None:
        answered = self._waiting[turn]
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(NOTICE_AFTER_SECONDS):
                    await answered.wait()
                    return
            await self._api.respond(url, {"text": words, "response_type": "ephemeral"})
            await answered.wait()
            await self._api.respond(url, {"delete_original": True})
        except InDoubt:
            return
        finally:
            self._waiting.pop(turn, None)


async def identity(api: SlackApi) -> tuple[Json, frozenset[str]]:
    """Who we are, by auth.test, and the token's scopes. Raises SettingsError, or InDoubt where
    Slack does not answer."""
    try:
        return await api.scopes()
    except (SlackRefused, TokenRefused) as refused:
        raise SettingsError(REFUSED_BOT, error=refused.error) from None


async def history(
    api: SlackApi, channel: str, thread: str, since: str, patience: float = SLACK_PLACE_SECONDS
) -> AsyncIterator[Json]:
    """The messages of a thread, or of a channel's top level, after `since`, oldest first."""
    method = "conversations.replies" if thread else "conversations.history"
    pages: list[Json] = []
    cursor = None
    for _ in range(_PAGES):
        told = await api.call(
            method, channel=channel, ts=thread or None, oldest=since, limit=_PAGE,
            include_all_metadata=True, cursor=cursor, patience=patience,
        )  # fmt: skip
        pages += told.get("messages", [])
        cursor = told.get("response_metadata", {}).get("next_cursor") or None
        if not cursor:
            break
    for message in sorted(pages, key=lambda message: str(message["ts"])):
        yield message


def _import_sdk() -> Any:
    for name in ("slack_sdk.errors", "slack_sdk.web.async_client"):
        importlib.import_module(name)
    return importlib.import_module("slack_sdk")


def _data_of(answer: AsyncSlackResponse) -> Json:
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
