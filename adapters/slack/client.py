"""Slack's Web API through slack_sdk (paced, and what its answers mean), and the workspace that the
token belongs to: its people, and what all replies in it share.

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
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import structlog

from adapters.slack.render import PART, Json, Links
from core.chat.presence import WaitingMarks
from core.errors import PlatformBusy, SettingsError
from core.http import Proxies
from core.messages import Person, ReplyTo
from core.policy import LONGEST_KEPT
from core.store.files import JsonFile
from core.tasks import Bounded, Tasks

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
    "conversations.open": 50, "conversations.info": 50, "conversations.members": 100,
}  # fmt: skip
"""Tiers 2, 3 and 4, in calls a minute and workspace; which one a method has stands on its own page
(docs.slack.dev/apis/web-api/rate-limits). The limits of chat.postMessage, auth.test and
assistant.threads.setStatus are special: no tier stands on their pages."""
_MOST_CHANNELS = 10_000
"""Channels whose lines are remembered."""

IN_A_ROW, PAUSE = 3, 3600.0
"""A feature that is refused so often in a row, for whatever reason, is left alone for so many
seconds."""

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
    "conversations.info", "conversations.members",
})  # fmt: skip
"""They take no JSON bodies (docs.slack.dev/apis/web-api, "POST bodies")."""

Feature = Literal["streams", "status", "sessions", "reactions"]

WAITS = "hourglass_flowing_sand"
"""The reaction on a message that waits its turn."""
ON_IT_AFTER = 1.0
"""Seconds after which a command's asker is told that it is under way; a quicker answer comes
alone."""
COURTESY = 0.3
"""Seconds that a turn waits for names, languages and zones."""
FRESH, KEPT, UNKNOWN = 3600.0, 30 * 86_400.0, 30.0
"""Seconds that a profile is not asked for again, that it is kept on disk, and that a failed look-up
is not repeated for a courtesy."""
_MOST = 5000
"""People who are remembered."""
_NEVER = float("-inf")

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


class RateLimiter:
    """Calls at the pace that Slack allows, so that none is refused: the lines of one workspace, in
    each of which a call takes the next free place. A burst and a minute's pace together stay
    under the tier."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._methods = {
            method: RateLimit(60 / (most * 2 / 3), most // 3) for method, most in TIERS.items()
        }
        self._channels: OrderedDict[str, RateLimit] = OrderedDict()

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

    def _lines(self, method: str, channel: str) -> list[RateLimit]:
        """The method's line, then the channel's where it counts."""
        lines = [self._methods[method]] if method in self._methods else []
        return [*lines, self._channel(channel)] if channel else lines

    def _channel(self, channel: str) -> RateLimit:
        line = self._channels.get(channel)
        if line is None:
            line = self._channels[channel] = RateLimit(CHANNEL_INTERVAL, CHANNEL_BURST)
            if len(self._channels) > _MOST_CHANNELS:
                self._channels.popitem(last=False)
        self._channels.move_to_end(channel)
        return line


class FeatureFlags:
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
        self.limiter = RateLimiter()
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
            await self.limiter.turn(method, channel, patience, claimed)
            claimed = False
            try:
                return _said(await self._once(method, arguments))
            except PlatformBusy as busy:
                self.limiter.hold(method, channel, busy.seconds)
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


class Pending:
    """Slash commands whose answer takes its time: who typed one is told so, and nobody else.

    A slash command leaves no message that could wear a sign. What its `response_url` showed can, by
    what was published, not be taken back (slackapi/bolt-js issue 2287, langchain-ai/open-swe pull
    2889); the deletion is asked for all the same, and at the latest the client's next start takes
    it away, as all that is shown to one person alone (docs.slack.dev/reference/methods/
    chat.postEphemeral).
    """

    def __init__(self, api: SlackApi, tasks: Tasks) -> None:
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
                async with asyncio.timeout(ON_IT_AFTER):
                    await answered.wait()
                    return
            await self._api.respond(url, {"text": words, "response_type": "ephemeral"})
            await answered.wait()
            await self._api.respond(url, {"delete_original": True})
        except InDoubt:
            return
        finally:
            self._waiting.pop(turn, None)


@dataclass(frozen=True, slots=True)
class Profile:
    """Empty fields where Slack did not tell."""

    id: str
    name: str = ""
    locale: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What users.info says of a person's place in the workspace, and when: `teams` are those that
    they are a member of; guests are marked (is_restricted, is_ultra_restricted)."""

    at: float
    guest: bool
    teams: frozenset[str]
    robot: bool = False


class Directory:
    """Who people are: names, languages and zones, whether they are guests, and their groups.

    A name is a courtesy, waited for no longer than a blink and kept over restarts. Who is a guest,
    and in which groups, is a right: kept for minutes, and not known means not allowed
    (`core.policy`). Asks for each person once at a time, and raises nothing that Slack does.
    """

    def __init__(
        self, api: SlackApi, path: Path | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """`path`: where profiles are kept over restarts."""
        self._api = api
        self._file = JsonFile(path, self._kept) if path else None
        self._clock = clock
        self._profiles: Bounded[str, tuple[float, Profile]] = Bounded(_MOST)
        self._standings: Bounded[str, Standing] = Bounded(_MOST)
        self._failed: Bounded[str, float] = Bounded(_MOST)
        self._nobody: Bounded[str, bool] = Bounded(_MOST)
        """Ids that Slack knows nobody by."""
        self._asked: dict[str, asyncio.Task[None]] = {}
        self._groups: tuple[float, dict[str, frozenset[str]]] = (_NEVER, {})
        self._listing: asyncio.Task[None] | None = None
        self.trouble = ""
        """Slack's word for why it says nothing of anybody; "" while it does."""

    async def open(self) -> None:
        kept = await self._file.read() if self._file else {}
        try:
            for id, (at, name, locale, zone) in kept.items():
                if self._clock() - at < KEPT:
                    self._profiles[id] = (at, Profile(id, str(name), str(locale), str(zone)))
        except (ValueError, TypeError) as error:
            log.warning("names not read; starting without", why=repr(error))

    async def close(self) -> None:
        tasks = [*self._asked.values(), *filter(None, [self._listing])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._file is not None:
            await self._file.close()

    async def forget(self, ids: frozenset[str]) -> None:
        """Who comes again is asked about again."""
        for id in ids:
            self._profiles.pop(id, None)
            self._standings.pop(id, None)
            self._failed.pop(id, None)
        if self._file is not None:
            await self._file.flush()

    def known(self, user: str) -> Profile:
        """What is known of a person without asking."""
        return self._profiles.get(user, (_NEVER, Profile(user)))[1]

    def locale(self, user: str) -> str:
        """As far as it is known already; English otherwise."""
        return self.known(user).locale or "en"

    async def profiles(self, users: Iterable[str], seconds: float = COURTESY) -> dict[str, Profile]:
        """What Slack says of people, within `seconds`; else what is known. Names leave half of the
        burst of users.info to rights."""
        wanted, tasks = set(users), []
        for user in filter(self._is_stale, wanted):
            if user in self._asked:
                tasks.append(self._asked[user])
            elif self._api.limiter.claim("users.info"):
                tasks.append(self._ask(user, claimed=True))
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        return {user: self.known(user) for user in wanted}

    async def guest(self, person: Person, ours: str) -> bool | None:
        """Whether somebody is less than a member of the workspace that they write as one of: a
        guest, or of another one although they write as one of `ours`. None where Slack does not
        tell. Waits as long as Slack takes."""
        standing = self._standings.get(person.id)
        if standing is None or self._clock() - standing.at > LONGEST_KEPT:
            await asyncio.wait({self._ask(person.id)})
            standing = self._standings.get(person.id)
        if standing is None or self._clock() - standing.at > LONGEST_KEPT:
            return None
        return standing.guest or (person.workspace == ours and ours not in standing.teams)

    async def membership(self, person: Person) -> frozenset[str] | None:
        """The user groups of a person (scope usergroups:read); None where Slack does not tell."""
        if self._clock() - self._groups[0] > LONGEST_KEPT:
            self._listing = self._listing or asyncio.create_task(self._list_groups())
            await asyncio.wait({self._listing})
            self._listing = None
        at, groups = self._groups
        if self._clock() - at > LONGEST_KEPT:
            return None
        return frozenset(f"slack:{id}" for id, users in groups.items() if person.id in users)

    async def people(self, names: Iterable[str], ours: str) -> Sequence[Person]:
        """Who is named, and who is in a user group; each as a member of `ours`, without bots.
        Raises PlatformBusy where Slack does not tell who they are."""
        ids = {name.removeprefix("slack:") for name in names if name.startswith("slack:")}
        if groups := {id for id in ids if id.startswith("S")}:
            await self.membership(Person("slack", ""))
            at, known = self._groups
            if self._clock() - at > LONGEST_KEPT:
                raise PlatformBusy(UNKNOWN)
            ids = ids - groups | frozenset().union(*(known.get(id, ()) for id in groups))
        users = sorted(id for id in ids if id[:1] in ("U", "W"))
        if users:
            await asyncio.wait([self._ask(user) for user in users])
        found = []
        for user in users:
            standing = self._standings.get(user)
            if standing is None and user not in self._nobody:
                raise PlatformBusy(UNKNOWN)
            if standing is not None and not standing.robot:
                found.append(Person("slack", user, ours, self.known(user).name))
        return found

    def _is_stale(self, user: str) -> bool:
        at, _ = self._profiles.get(user, (_NEVER, Profile(user)))
        now = self._clock()
        return now - at > FRESH and now - self._failed.get(user, _NEVER) > UNKNOWN

    def _ask(self, user: str, claimed: bool = False) -> asyncio.Task[None]:
        """One question at a time for each person, which outlives who waits for it."""
        if user not in self._asked:
            self._asked[user] = task = asyncio.create_task(self._look_up(user, claimed))
            task.add_done_callback(lambda _: self._asked.pop(user, None))
        return self._asked[user]

    async def _look_up(self, user: str, claimed: bool) -> None:
        try:
            told = await self._api.call(
                "users.info", user=user, include_locale=True, patience=5.0, claimed=claimed
            )
        except FAILURES as failure:
            self._failed[user] = self._clock()
            if isinstance(failure, SlackRefused) and failure.error == "user_not_found":
                self._nobody[user] = True
            elif isinstance(failure, SlackRefused):
                if failure.error != self.trouble:
                    log.warning("users.info refused", why=failure.error)
                self.trouble = failure.error
            return
        self.trouble = ""
        user_told, now = told.get("user", {}), self._clock()
        self._standings[user] = _standing(now, user_told)
        profile = _profile(user, user_told)
        changed = self.known(user) != profile
        self._profiles[user] = (now, profile)
        if changed and self._file is not None:
            self._file.changed()

    async def _list_groups(self) -> None:
        try:
            listed = await self._api.call("usergroups.list", include_users=True, patience=5.0)
        except FAILURES as failure:
            log.info("usergroups.list failed", why=str(failure))
            return
        groups = {g["id"]: frozenset(g.get("users") or ()) for g in listed.get("usergroups", [])}
        self._groups = (self._clock(), groups)

    def _kept(self) -> object:
        return {id: (at, p.name, p.locale, p.zone) for id, (at, p) in self._profiles.items()
                if self._clock() - at < KEPT}  # fmt: skip


async def _nobody(to: ReplyTo, ts: str) -> None:
    return None


@dataclass(slots=True)
class Workspace:
    """The workspace that the token belongs to, and what all replies in it share. `team` and `user`
    are our own ids, "" until `identify` has asked for them."""

    api: SlackApi
    directory: Directory
    links: Links = field(default_factory=Links)
    flags: FeatureFlags = field(default_factory=FeatureFlags)
    tasks: Tasks = field(default_factory=lambda: Tasks("slack"))
    team: str = ""
    user: str = ""
    scopes: frozenset[str] = frozenset()
    """What the token may do, as far as Slack tells; empty where it does not."""
    started: float = field(default_factory=time.time)
    part: int = PART
    """Bytes of an answer's text in one post; less, once Slack was found to take less."""
    working: Bounded[str, str] = field(default_factory=Bounded)
    """The turn that a thread's session was last set to "processing" for."""
    titles: Bounded[str, str] = field(default_factory=Bounded)
    """What a session is called that a turn begins: the first words of its message."""
    stopped: Callable[[ReplyTo, str], Awaitable[None]] = _nobody
    """Told of a stream (its time stamp) that its reader stopped, where no event tells of it."""
    pending: Pending = field(init=False)
    marks: WaitingMarks = field(init=False)
    _told: Json = field(default_factory=dict)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.pending = Pending(self.api, self.tasks)
        self.marks = WaitingMarks(self.tasks, self.mark, self.unmark, Bounded())

    async def mark(self, place: str) -> None:
        """The message at CHANNEL:TS waits its turn."""
        await self._react("reactions.add", place, 2.0)

    async def unmark(self, place: str) -> None:
        await self._react("reactions.remove", place, PATIENCE)

    async def _react(self, method: str, place: str, patience: float) -> None:
        if not self.flags.on("reactions"):
            return
        channel, _, ts = place.rpartition(":")
        try:
            await self.api.call(
                method, channel=channel, timestamp=ts, name=WAITS, patience=patience
            )
            self.flags.worked("reactions")
        except SlackRefused as refused:
            self.flags.refused("reactions", refused.error)
        except (InDoubt, PlatformBusy):
            return

    async def identify(self) -> Json:
        """What auth.test says, asked once: turns that are taken up again may come before the
        adapter's start. Raises as `setup.identity`."""
        async with self._asking:
            if not self.user:
                self._told, self.scopes = await identity(self.api)
                self.team, self.user = self._told["team_id"], self._told["user_id"]
        return self._told


async def identity(api: SlackApi) -> tuple[Json, frozenset[str]]:
    """Who we are, by auth.test, and the token's scopes. Raises SettingsError, or InDoubt where
    Slack does not answer."""
    try:
        return await api.scopes()
    except (SlackRefused, TokenRefused) as refused:
        raise SettingsError(REFUSED_BOT, error=refused.error) from None


async def history(
    api: SlackApi, channel: str, thread: str, since: str, patience: float = PATIENCE
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


def _profile(id: str, user: Json) -> Profile:
    told = user.get("profile", {})
    name = told.get("display_name") or told.get("real_name") or user.get("real_name") or ""
    return Profile(id, str(name)[:100], user.get("locale") or "", user.get("tz") or "")


def _standing(at: float, user: Json) -> Standing:
    """In a Grid organisation a person may be of several workspaces (`enterprise_user.teams`)."""
    others = (user.get("enterprise_user") or {}).get("teams") or ()
    guest = bool(user.get("is_restricted") or user.get("is_ultra_restricted"))
    teams = {str(user.get("team_id", "")), *map(str, others)}
    teams = set() if user.get("is_stranger") else teams
    return Standing(at, guest, frozenset(teams), bool(user.get("is_bot") or user.get("deleted")))
