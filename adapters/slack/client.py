"""A client for Slack's Web API on top of slack_sdk: rate limits, retries and error names.

The comment beside each error name lists the methods whose page documents it
(docs.slack.dev/reference/methods/METHOD; "every page" means that all pages have it). For
undocumented names it cites who published that Slack returns it.
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
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from operator import not_
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import structlog

from adapters.slack.render import Json
from core.base.errors import NotSent, NotStored, PlatformBusy, SettingsError
from core.base.fault_bodies import parse_retry_after
from core.base.proxies import Proxies, add_proxy
from core.base.tasks import Backoff, BoundedDict, SharedAnswers, retry
from core.journal.jobs import SharedPace

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession
    from slack_sdk.web.async_client import AsyncWebClient
    from slack_sdk.web.async_slack_response import AsyncSlackResponse


log = structlog.get_logger("slack")
T = TypeVar("T")

GONE = frozenset({"message_not_found"})
"""Errors for a post that somebody deleted (chat.update, chat.delete, chat.appendStream,
chat.stopStream)."""

STREAM_OVER = frozenset(
    {
        "message_not_in_streaming_state",  # chat.appendStream, chat.stopStream
        "streaming_state_conflict",  # chat.update: the message is still streaming
    }
)
"""Errors for a message whose stream has already ended, or has not ended yet. Ponte stops the stream
and then edits the message."""

STREAM_STOPPED = frozenset({"stopped_by_user"})
"""Errors for a stream that a person ended with Slack's own Stop button (chat.appendStream)."""

MESSAGE_TOO_LONG = frozenset(
    {
        # chat.update, chat.postEphemeral; posts: seratch/ChatGPT-in-Slack issue 102, streams:
        # CopilotKit/CopilotKit pull 6064 and openclaw/openclaw pull 143882
        "msg_too_long",
        "msg_blocks_too_long",  # chat.postMessage, chat.startStream, .appendStream, .stopStream
        "msg_blocks_too_many",  # chat.startStream, .appendStream, .stopStream
    }
)
"""Errors for a message that is too long. Ponte tries a shorter form of it, or splits it into more
posts."""

SHAPE_REFUSED = frozenset(
    {
        "invalid_blocks",  # chat.postMessage, .postEphemeral, .update, .startStream and so on
        "invalid_blocks_format",  # chat.postMessage, .postEphemeral, .update, .startStream
        "invalid_chunks",  # chat.startStream, .appendStream, .stopStream
        "block_mismatch",  # chat.update
        # More than one table in a message, counting those of Markdown: "invalid_attachments error
        # with an only_one_table_allowed message"
        # (docs.slack.dev/reference/block-kit/blocks/table-block)
        "invalid_attachments",
        "only_one_table_allowed",
    }
)
"""Errors for blocks that Slack rejects. The same text may be accepted without these blocks."""

FEATURE_OFF = frozenset({
    "unknown_method", "method_deprecated", "deprecated_endpoint", "missing_scope",  # every page
    "not_allowed_token_type", "enterprise_is_restricted", "no_permission",  # every page
    "feature_disabled",  # agents.sessions.setStatus
    "not_authorized",  # agents.sessions.setStatus; for every app not declared as an agent
    #                    (kirodotdev/KiroCrew issue 9822)
    "channel_type_not_supported",  # chat.startStream, .appendStream, .stopStream
})  # fmt: skip
"""Errors for a feature or method that this workspace, plan or app does not have. Ponte does not try
it again for REFUSAL_SECONDS."""
REFUSAL_SECONDS = 300.0
"""Seconds for which a refused method is not called again. An admin may add a scope meanwhile."""
HTTP_ERROR = "http_"
"""The beginning of our name for an HTTP status that came without an error of Slack's."""
NEEDED_METHODS = frozenset(
    {"auth.test", "apps.connections.open", "chat.postMessage", "chat.postEphemeral", "chat.update"}
)
"""Methods without which there is no answer. They are called even if Slack just refused them."""

OF_THE_MESSAGE = frozenset({
    "message_not_found", "no_reaction", "already_reacted", "thread_locked", "not_reactable",
    "too_many_reactions", "too_many_emoji", "no_access", "is_archived",  # reactions.*
    "channel_not_found",  # all of these methods
    "invalid_thread_ts",  # assistant.threads.setStatus
    "thread_ts_required", "thread_ts_not_allowed",  # agents.sessions.setStatus
    "invalid_attachments", "only_one_table_allowed",  # see SHAPE_REFUSED
})  # fmt: skip
"""Errors that concern one message or channel. They do not count as refusals of a feature."""

TOKEN_REFUSED = frozenset(
    {
        "token_revoked",
        "token_expired",
        "account_inactive",
        "not_authed",  # every page
        "invalid_auth",  # auth.test, apps.connections.open; other pages only in examples
    }
)
"""Errors for a token that Slack rejects: the app was removed, or its token is being replaced. The
token may become valid again (slackapi/bolt-python issue 1029, microsoft/botframework-sdk issue
2537)."""

NOT_NOW = frozenset({
    "update_failed",  # chat.update
    "fetch_members_failed",  # conversations.members; under load (wee-slack issue 775)
    "external_channel_migrating",  # chat.update, reactions.add, reactions.remove
    "messaging_processing_failed",  # chat.startStream, chat.appendStream
    "team_added_to_org", "org_login_required",  # every page: "until migration is complete"
    "request_timeout",  # every page: "the POST data was either missing or truncated"
})  # fmt: skip
"""Errors for a call that Slack did not carry out. A later call may succeed."""

UNSURE = frozenset(
    {
        "fatal_error",  # every page: "it's possible some aspect of the operation succeeded"
        "service_unavailable",  # every page
        # agents.sessions.setStatus, auth.test, apps.connections.open; elsewhere
        # slackapi/python-slack-sdk issue 1403, slackapi/node-slack-sdk issue 1305
        "internal_error",
    }
)
"""Errors for a failure inside Slack. The call may or may not have taken effect."""

RATE_LIMITED = frozenset(
    {
        "ratelimited",  # every page
        "rate_limited",  # chat.postMessage, chat.startStream, .appendStream, .stopStream
    }
)
"""Errors for a call over a rate limit. They count as such with any HTTP status."""

POSTS = frozenset({"chat.postMessage", "chat.startStream"})
"""The methods that also count against the rate limit of their channel. `chat.postEphemeral` has its
own tier instead (see its page), so a refusal takes no place from an answer."""
REFUSAL_LINE, REFUSALS_A_MINUTE = "refusals", 50
"""The queue for messages that refuse a request, and its calls per minute: half the tier of
`chat.postEphemeral`. Other answers to one person alone use the same method."""
CHANNEL_BURST, CHANNEL_INTERVAL = 5, 1.1
"""The rate limit of posts in one channel: how many may leave at once, and seconds between posts.

Slack allows one post a second in each channel, with short bursts
(docs.slack.dev/apis/web-api/rate-limits). The extra 0.1 seconds are a margin, because the intervals
between calls change on their way to Slack.
"""
SHARED_CHANNEL_BURST = 3
"""The burst of a channel in which several processes post. It is smaller, because each process may
add one post to a quiet channel without asking the database."""
QUIET_SECONDS = 10.0
"""Seconds without a post from this process in a channel. After that, its next post there does not
ask the database."""
TIERS: dict[str, int] = {
    "chat.startStream": 20, "chat.stopStream": 20, "usergroups.list": 20, "reactions.remove": 20,
    "users.list": 20,
    "chat.update": 50, "chat.delete": 50, "conversations.replies": 50,
    "conversations.history": 50, "agents.sessions.setStatus": 50, "reactions.add": 50,
    "chat.appendStream": 100, "chat.postEphemeral": 100, "users.info": 100,
    "views.publish": 100, "views.open": 100, "files.info": 100,
    "files.getUploadURLExternal": 100, "files.completeUploadExternal": 100,
    "assistant.threads.setSuggestedPrompts": 100,
    "conversations.open": 50, "conversations.info": 50, "conversations.members": 100,
    "users.conversations": 50, "bots.info": 50,
}  # fmt: skip
"""The rate limits of Slack's methods, in calls per minute and workspace.

These are Slack's tiers 2, 3 and 4; each method's page names its tier
(docs.slack.dev/apis/web-api/rate-limits). chat.postMessage, auth.test and
assistant.threads.setStatus have special limits: their pages name no tier.
"""
_MOST_CHANNELS = 10_000
"""The number of channels whose rate limits are kept in memory."""

MAX_FEATURE_REFUSALS, FEATURE_PAUSE_SECONDS = 3, 3600.0
"""Consecutive refusals, for any reason, after which a feature is switched off, and for how many
seconds."""

SLACK_PLACE_SECONDS = 20.0
"""Seconds that a call waits for its turn under the rate limits before it raises PlatformBusy."""
REQUEST_SECONDS = 15.0
"""The timeout of one HTTP request, in seconds."""
_TRIES = 4
"""The number of times that a failed call is retried."""
CALL_BACKOFF = Backoff(0.2)
"""The pauses between retries of a call whose response was lost."""
_UNREPEATABLE = frozenset(
    {
        "chat.postMessage",
        "chat.startStream",
        "chat.appendStream",
        "chat.postEphemeral",
        "files.completeUploadExternal",
    }
)
"""Methods that are never retried when their response is lost: a second call would post a second
time."""
_FORMS = frozenset({
    "auth.test", "users.info", "users.list", "usergroups.list", "conversations.replies",
    "conversations.history",
    "files.info", "files.getUploadURLExternal", "reactions.add", "reactions.remove",
    "conversations.info", "conversations.members", "users.conversations", "bots.info",
})  # fmt: skip
"""Methods that accept form data only, no JSON bodies (docs.slack.dev/apis/web-api, "POST
bodies")."""

Feature = Literal[
    "streams", "status", "sessions", "reactions", "tables", "data", "prompts", "feedback"
]
"""An optional feature of Slack: streamed messages, the status line, agent sessions, reactions,
table blocks, the blocks of `data_blocks`, suggested prompts, and thumbs under answers."""

WAITING_REACTION = "hourglass_flowing_sand"
"""The emoji reaction that marks a message waiting for its turn."""

REFUSED_BOT = (
    "Slack rejected SLACK_BOT_TOKEN ({error}). Install the app to the workspace, then copy the "
    "Bot User OAuth Token (xoxb-…) from OAuth & Permissions."
)

HISTORY = ("channels:history", "groups:history")
"""The scopes that let Ponte receive messages which do not mention it, in public and in private
channels."""
_PAGE, _PAGES = 200, 5
"""Messages per page, and the maximum number of pages, when Ponte reads a thread or a channel."""


class SlackRefused(Exception):
    """Slack answered `{"ok": false}` and did nothing. `error` is Slack's name for the reason."""

    def __init__(self, method: str, error: str) -> None:
        super().__init__(f"{method}: {error}")
        self.method = method
        self.error = error


class InDoubt(Exception):
    """The outcome of a call is unknown: it may have taken effect. Callers must not simply repeat
    it."""

    @property
    def reason(self) -> str:
        """The reason: Slack's error name if there is one, else the message of the exception."""
        return str(self)


class Unsent(InDoubt, NotSent):
    """No connection was made, so the call did nothing and may be repeated."""


class NotNow(Unsent):
    """Slack did nothing, for a temporary reason. The caller waits and then calls again."""

    def __init__(self, method: str, error: str) -> None:
        super().__init__(f"{method}: {error}")
        self.error = error

    @property
    def reason(self) -> str:
        """Slack's name for the error."""
        return self.error


class TokenRefused(NotNow):
    """Slack does not accept the token. At startup, Ponte fails because of this error. Later, an
    answer waits until the token is accepted again."""


FAILURES = (SlackRefused, InDoubt, PlatformBusy)
"""The exceptions that `SlackApi.call` raises."""


@dataclass(slots=True)
class RateLimit:
    """A rate limit by the generic cell rate algorithm (GCRA): `burst` calls at once, then one every
    `interval` seconds.

    `due` is the time at which the next call would leave if there were no burst, by the caller's
    clock.
    """

    interval: float
    burst: int
    due: float = 0.0

    def delay(self, now: float) -> float:
        """Return the seconds until the next call may leave; 0.0 if it may leave now."""
        return max(0.0, self.due - (self.burst - 1) * self.interval - now)

    def take(self, now: float) -> None:
        """Count one call, so that the next one leaves an interval later."""
        self.due = max(self.due, now) + self.interval

    def hold(self, until: float) -> None:
        """Let no call leave before `until`, the time that Slack gave in Retry-After."""
        self.due = max(self.due, until + (self.burst - 1) * self.interval)

    def has_spare(self, now: float) -> bool:
        """Return whether at least half of the burst is free, which is enough for an optional
        call."""
        return self.due - now <= self.burst * self.interval / 2


class RateLimiter:
    """Delays calls so that they stay within Slack's rate limits for one workspace.

    Each method of `TIERS` and each channel has its own queue (a `RateLimit`), in which a call takes
    the next free place. The burst and one minute of calls at the interval together stay within the
    tier.

    `pace` shares these queues between all processes. A post in a channel where this process has not
    posted for QUIET_SECONDS takes no place in the shared queue. This saves a database transaction
    for most answers.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, pace: SharedPace | None = None
    ) -> None:
        """`clock` returns monotonic seconds. `pace` shares the queues between all processes that
        use the token; None if there is one process."""
        self._clock = clock
        self._pace = pace
        # Of the calls that Slack allows in a minute, a third is the burst, two thirds are the rate.
        # REFUSAL_LINE is our own queue, for messages that refuse a request.
        self._methods = {
            method: RateLimit(60 / (most * 2 / 3), most // 3)
            for method, most in {**TIERS, REFUSAL_LINE: REFUSALS_A_MINUTE}.items()
        }
        self._channels: BoundedDict[str, RateLimit] = BoundedDict(_MOST_CHANNELS)
        """The rate limits of posts, by channel."""
        self._posted_at: BoundedDict[str, float] = BoundedDict(_MOST_CHANNELS)
        """For each channel, the time of this process's last post, or the end of a Retry-After.
        After a pause of QUIET_SECONDS, a post takes no place in the queue that processes share."""

    async def turn(self, method: str, channel: str, patience: float, claimed: bool = False) -> None:
        """Wait until a call of `method` may leave, and count it.

        Raises PlatformBusy, without counting the call, if the wait exceeds `patience` seconds.
        `claimed` means that `claim` or `reserve` has already counted the call for its method.
        """
        # A post also counts against the rate limit of its channel (POSTS).
        names = [method] if method in self._methods and not claimed else []
        if channel and method in POSTS:
            now, last_post = self._clock(), self._posted_at.get(channel, -math.inf)
            # Noted even if the call has to wait, so that the next one finds the channel busy. After
            # a Retry-After (`hold`), `last_post` is in the future and stays.
            self._posted_at[channel] = max(now, last_post)
            # Among several processes (`_pace`), a post in a quiet channel takes no place,
            # which saves most answers a transaction.
            if self._pace is None or now - last_post <= QUIET_SECONDS:
                names.append(f"channel:{channel}")
        if not names:
            return

        def take(limits: Sequence[RateLimit], now: float) -> float:
            """Return the seconds to wait; take a place in each queue if they are few enough."""
            wait = max(limit.delay(now) for limit in limits)
            if wait <= patience:
                for limit in limits:
                    limit.take(now)
            return wait

        # A wait that is too long in memory is too long in the database as well: if the last
        # argument is true for it, `_with_limits` does not ask the database.
        wait = await self._with_limits(names, take, lambda wait: wait > patience)
        if wait > patience:
            raise PlatformBusy(wait)
        if wait > 0:
            await asyncio.sleep(wait)

    async def hold(self, method: str, channel: str, seconds: float) -> None:
        """Let no call of the method leave for `seconds`, as Slack asked in Retry-After, in any
        process. After a post, this holds its channel instead: Slack limits posts by channel. A
        method without a known limit has no queue to hold."""
        if channel and method in POSTS:
            # The channel counts as busy until then, so that the next post takes a place there.
            self._posted_at[channel] = self._clock() + seconds
            name = f"channel:{channel}"
        elif method in self._methods:
            name = method
        else:
            return
        # The last argument: `hold` is never refused, so it is always written to the database.
        await self._with_limits(
            [name], lambda limits, now: limits[0].hold(now + seconds), lambda _: False
        )

    async def has_spare(self, method: str) -> bool:
        """Return whether the rate limit of this method leaves room for an optional call. No call is
        counted by that."""
        return await self._with_limits([method], lambda limits, now: limits[0].has_spare(now), not_)

    async def claim(self, *methods: str) -> bool:
        """Take one place for each method, for calls that follow later. Return False and take none
        unless at least half of each method's burst is free.

        For example, a stream is only started if the call that stops it has a place too."""

        def take(limits: Sequence[RateLimit], now: float) -> bool:
            if not all(limit.has_spare(now) for limit in limits):
                return False
            for limit in limits:
                limit.take(now)
            return True

        # `not_`: a result of False means that the claim is refused. If the limits in memory refuse
        # it, the database that processes share is not asked.
        return await self._with_limits(methods, take, not_)

    async def reserve(self, method: str, places: int) -> bool:
        """Take `places` places of one method for calls that belong together. Return False and take
        none if they are not free now."""

        def take(limits: Sequence[RateLimit], now: float) -> bool:
            (limit,) = limits
            # Each call moves the next place one interval later. So the last of them is free now
            # only if the first one was already free `places - 1` intervals ago.
            if limit.delay(now + (1 - places) * limit.interval) > 0:
                return False
            for _ in range(places):
                limit.take(now)
            return True

        # `not_` (of the module operator): the reservation is refused if `take` returns False.
        return await self._with_limits([method], take, not_)

    async def _with_limits(
        self,
        names: Sequence[str],
        work: Callable[[Sequence[RateLimit], float], T],
        is_refused: Callable[[T], bool],
    ) -> T:
        """Run `work` on the rate limits of these methods and channels, while no other process
        changes them.

        `work` gets the limits and the time, may change the limits, and returns a result. Without
        other processes it runs once, on the limits in memory. Otherwise it first runs on copies of
        them. Other processes only add calls, so a queue that was full there is still full. If
        `is_refused` is true for that first result, it is returned without asking the database.
        """
        own: list[RateLimit] = []
        for name in names:
            limit = self._methods.get(name)
            if limit is None:
                burst = CHANNEL_BURST if self._pace is None else SHARED_CHANNEL_BURST
                limit = self._channels.get(name) or RateLimit(CHANNEL_INTERVAL, burst)
                # Written at each use, because the dict drops what was written longest ago.
                self._channels[name] = limit
            own.append(limit)
        pace = self._pace
        # No other process: the limits in memory are the only ones.
        if pace is None:
            return work(own, self._clock())
        if is_refused(result := work([replace(limit) for limit in own], self._clock())):
            return result

        # `now` and `dues` are by the clock that the processes share, `RateLimit.due` here is by
        # our own one. So what comes back are the seconds from now.
        def on_dues(
            dues: Sequence[float], now: float
        ) -> tuple[Sequence[float], tuple[T, Sequence[float]]]:
            """Return the new due times for the database, then the result of `work` with the seconds
            from now until each due time. The transaction may be repeated, so it changes copies."""
            limits = [replace(limit, due=due) for limit, due in zip(own, dues, strict=True)]
            result = work(limits, now)
            new_dues = [limit.due for limit in limits]
            return new_dues, (result, [due - now for due in new_dues])

        began = self._clock()
        try:
            result, ahead = await pace.run([f"slack:{name}" for name in names], on_dues)
        except NotStored:  # without the database, each process limits only its own calls
            return work(own, self._clock())
        for limit, seconds in zip(own, ahead, strict=True):
            # Another call of this process may have moved it further meanwhile.
            limit.due = max(limit.due, began + seconds)
        return result


class FeatureFlags:
    """Records which optional features Slack refuses in this workspace, so that Ponte stops trying
    them for a while. All replies of a process share one object."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._off: dict[Feature, tuple[str, float]] = {}
        """Features that are off: Slack's error, and until when (by `clock`) they are not tried."""
        self._refusals: Counter[Feature] = Counter()
        """Consecutive refusals of each feature that is still on."""

    def is_on(self, feature: Feature) -> bool:
        """Return whether a feature may be tried now."""
        return feature not in self._off or self._off[feature][1] <= self._clock()

    def note_success(self, feature: Feature) -> None:
        """Reset the count of consecutive refusals of a feature, which is on from now."""
        self._refusals.pop(feature, None)
        self._off.pop(feature, None)

    def note_refusal(self, feature: Feature, error: str) -> None:
        """Count a refusal, which may switch the feature off.

        An error of FEATURE_OFF, such as a missing scope, switches the feature off for
        REFUSAL_SECONDS. Any other error does so for an hour (FEATURE_PAUSE_SECONDS) after
        MAX_FEATURE_REFUSALS refusals in a row. Errors of OF_THE_MESSAGE do not count: they are
        about one message or channel, such as a deleted message. `_off` holds Slack's error and
        until when the feature is off.
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
        """The features that Slack refused last, with its error names, for the operator, as in
        `streams: missing_scope`."""
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
        self._headers = {"Authorization": f"Bearer {token}"}
        self._proxies = proxies
        self._clock = clock
        self._refusals: BoundedDict[tuple[str, str], tuple[str, float]] = BoundedDict()
        """By method and channel, the error with which Slack refused it, and until when it counts.
        One scope may be missing for private channels alone."""
        self.pages = SharedAnswers[tuple[str | None, ...], Any](clock)
        """Pages of the members of channels, and of the channels of people."""
        self._opening = asyncio.Lock()
        # Created and imported by `open`, at the first call.
        self._session: ClientSession | None = None
        self._client: AsyncWebClient | None = None
        self._sdk: Any = None
        """The package `slack_sdk`."""
        self._aiohttp: Any = None
        """The package `aiohttp`."""

    async def open(self) -> AsyncWebClient:
        """Return the SDK's client, and create it at the first call. Bolt may share it, because it
        holds no token: each call sends the token in its own headers. The SDK is imported in a
        thread, because its import takes a while and would stop everything else."""
        async with self._opening:
            if self._client is None:
                # The package comes last, so that it stays in `_sdk`. The two modules before it are
                # used here as its attributes, which only their import creates.
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
                # The SDK reads a proxy from the environment; our own setting replaces it.
                self._client.proxy = self._proxies.for_url(self.base_url)
            return self._client

    async def close(self) -> None:
        """Close the HTTP session."""
        await self.pages.close()
        if self._session is not None:
            await self._session.close()

    def refusal(self, method: str, channel: str = "") -> str:
        """Return the error with which Slack refused this method in the last REFUSAL_SECONDS; "" if
        it may be called."""
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

        Ponte retries after a refused connection and after a rate limit. It retries after a lost
        response only if a second call does no harm. `claimed` means that the call's place under the
        rate limit was taken before.

        Raises:
        - SlackRefused if Slack refuses the call, or refused this method a short time ago;
        - PlatformBusy if the rate limits require a longer wait than `patience` seconds;
        - NotNow if Slack cannot do it for a while, and its subclass TokenRefused if it rejects the
          token;
        - InDoubt if the call may or may not have taken effect.
        """
        await self.open()  # makes the SDK's client at the first call
        channel = str(arguments.get("channel", ""))
        if error := self.refusal(method, channel):
            raise SlackRefused(method, error)
        pauses = iter(CALL_BACKOFF)

        async def attempt() -> Json:
            """Make the call once, within the rate limits. What Slack refuses because a feature is
            off is remembered, so that `refusal` returns it at the next call and Slack is not asked
            again soon."""
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
            """Return the seconds until the next attempt; None to raise the error."""
            # NotNow lasts longer than these retries, so the caller decides how long to wait.
            if failed > _TRIES or isinstance(error, NotNow):
                return None
            if isinstance(error, PlatformBusy):
                # `limiter.turn` waits, because `hold` has noted the Retry-After. A method without a
                # known limit has no queue, and a pause here would hold up the answer.
                has_queue = method in TIERS or method in POSTS
                return 0.0 if has_queue and error.seconds <= patience else None
            # After a lost response, only a call that is harmless twice, or one that was never sent.
            is_repeatable = method not in _UNREPEATABLE or isinstance(error, Unsent)
            return next(pauses) if is_repeatable else None

        return await retry(attempt, (PlatformBusy, InDoubt), wait)

    async def identify(self) -> tuple[Json, frozenset[str]]:
        """Return the response of auth.test, which names our user and workspace, and the token's
        scopes.

        Raises SettingsError if Slack refuses the token, and InDoubt or PlatformBusy if Slack does
        not answer now. It makes one attempt, without `call`, which returns no headers: the scopes
        are only there.
        """
        try:
            answer = await self._send_once("auth.test", {})
        except (SlackRefused, TokenRefused) as refused:
            raise SettingsError(REFUSED_BOT, error=refused.error) from None
        granted = str(answer.headers.get("x-oauth-scopes", ""))
        return _data_of(answer), frozenset(filter(None, granted.replace(" ", "").split(",")))

    async def respond(self, url: str, body: Json) -> bool:
        """Post to a `response_url`. Return False if that address is used up or expired. Raises
        InDoubt."""
        async with self._request("POST", url, json=body) as answer:
            return bool(answer.status < 300)

    @asynccontextmanager
    async def download(self, url: str) -> AsyncIterator[ClientResponse]:
        """Open a private file for reading. Raises InDoubt. Redirects are not followed: they lead to
        a login page."""
        async with self._request("GET", url, headers=self._headers) as answer:
            yield answer

    async def send_file(self, url: str, data: bytes) -> None:
        """Send the bytes of a file, the second step of an upload. Raises InDoubt; the caller then
        starts the upload again."""
        async with self._request("POST", url, data=data) as answer:
            if answer.status >= 300:
                raise InDoubt(f"upload: HTTP {answer.status}")

    @asynccontextmanager
    async def _request(self, verb: str, url: str, **options: Any) -> AsyncIterator[ClientResponse]:
        """Send an HTTP request and yield the response. Raises InDoubt if none arrives, or if the
        connection breaks while the caller reads it.

        No redirect is followed, because it could send a message, a file or the token to another
        server.
        """
        await self.open()  # makes the session at the first call
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
        It also updates `refused`, Slack's error name while it rejects the token."""
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
    """Return the logger for the SDKs. Its level is at least WARNING, because the SDKs log the
    content of messages at debug level."""
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
    channel's top level. `until` is the time stamp of the last one, "" for no end.

    It reads at most that many pages of 200 messages. `patience` is how many seconds a call may
    wait for the rate limit. Raises the errors of `SlackApi.call`. `read_history` also returns
    whether there are more pages, which is not needed here.
    """
    return (await read_history(api, channel, thread, since, patience, until, pages))[0]


async def read_history(
    api: SlackApi,
    channel: str,
    thread: str,
    since: str,
    patience: float,
    until: str,
    pages: int,
) -> tuple[Sequence[Json], bool]:
    """Return the messages of a thread after `since`, oldest first; with `thread` "" those of a
    channel's top level. `until` is the time stamp of the last one, "" for no end. `patience` is how
    many seconds each call may wait for the rate limit.

    Also return whether Slack has more than `pages` pages: these are older messages of a channel,
    but newer ones of a thread, because Slack begins a thread with its oldest message. Raises the
    errors of `SlackApi.call`.
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
        # Without a time stamp, a message cannot be sorted below.
        messages += [one for one in response.get("messages") or () if one.get("ts")]
        # Slack sends "" or nothing with the last page.
        cursor = (response.get("response_metadata") or {}).get("next_cursor") or None
        if not cursor:
            break
    # Threads come oldest first, channels newest first.
    return sorted(messages, key=lambda message: str(message["ts"])), bool(cursor)


def _data_of(answer: AsyncSlackResponse) -> Json:
    return dict(answer.data) if isinstance(answer.data, dict) else {}


def explain_failure(method: str, response: Any) -> Exception:
    """Return the exception for a failed response.

    - PlatformBusy: the call is over a rate limit; it says after how many seconds to try again.
    - NotNow and TokenRefused: Slack did nothing, and a later call may succeed.
    - InDoubt: the call may have taken effect, as after an error inside Slack.
    - SlackRefused: Slack refused for good. An error name that is in none of the lists counts here.
    """
    # The SDK raises with its own response, or with that of aiohttp if the body is no JSON.
    status = getattr(response, "status_code", getattr(response, "status", 0))
    data = getattr(response, "data", None)
    error = data.get("error", "") if isinstance(data, dict) else ""
    if status == 429 or error in RATE_LIMITED:
        headers = {name.lower(): str(value) for name, value in response.headers.items()}
        seconds = parse_retry_after(headers)
        # Slack says how long; a proxy may not.
        return PlatformBusy(1.0 if seconds is None else seconds)
    if 400 <= status < 500 and not error:
        # A proxy or firewall in front of Slack refused it, without Slack's JSON. A method that no
        # answer can do without is tried again later; any other one counts as refused.
        error = f"{HTTP_ERROR}{status}"
        return NotNow(method, error) if method in NEEDED_METHODS else SlackRefused(method, error)
    if status >= 500 or not error:
        return InDoubt(f"{method}: {status} {error}".strip())
    if error in TOKEN_REFUSED:
        return TokenRefused(method, error)
    if error in NOT_NOW:
        return NotNow(method, error)
    return InDoubt(f"{method}: {error}") if error in UNSURE else SlackRefused(method, error)
