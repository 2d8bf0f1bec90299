"""Wraps the SDK's client for this adapter and maps failed calls to our own errors.

The client requests few intents, mentions nobody, and notes the time of every frame. The SDK starts
a task for each event, which loses their order. `ChannelQueues` restores it: events of one channel
are handled one after the other, those of several channels at the same time.
"""

from __future__ import annotations

import asyncio
import datetime
import functools
import re
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import discord
import structlog
from discord.http import Route

from core.base.errors import PlatformBusy, PonteError, PostRemoved, Undeliverable
from core.base.http import ErrorTable, on
from core.base.tasks import BackgroundTasks, BoundedDict, retry, wait_after_each

if TYPE_CHECKING:
    from adapters.discord.adapter import DiscordAdapter

log = structlog.get_logger("discord")
T = TypeVar("T")

# Ponte does not use voice channels. Without this the SDK warns at each start that the libraries for
# them are missing.
discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
CALL_PAUSES_SECONDS = (0.2, 1.0)
"""Pauses before a call whose outcome is unknown is repeated."""
DISCORD_CALL_SECONDS = 60.0
"""Timeout of one try of a call."""
RETRY_LATER_SECONDS = 60.0
"""Seconds until a call that Discord refuses only for now is tried again. An answer is tried for an
hour."""
MAX_RATE_LIMIT_SECONDS = 60.0
"""The longest rate limit that the SDK waits for. For a longer one it raises an error."""
MENTION_NOBODY = discord.AllowedMentions.none()
"""Prevents every mention. It is passed with each request that makes or changes a message: the SDK
leaves it out of an edit without content, and Discord then mentions by its own defaults
(resources/message.mdx#edit-message)."""
# discord.py 2.7.1 repeats a call after 500, 502, 504 and 524, but after a dropped connection only
# for the error numbers of macOS and Windows (http.py): on Linux the drop reaches the caller.
IN_DOUBT = (aiohttp.ClientError, OSError, TimeoutError, discord.DiscordServerError)
"""Errors after which it is not known whether Discord executed the call."""
# All codes: topics/opcodes-and-status-codes.mdx#json-json-error-codes. A code that is not listed
# here is a permanent refusal.
UNKNOWN_MESSAGE, UNKNOWN_INTERACTION, UNKNOWN_WEBHOOK = 10008, 10062, 10015
INVALID_WEBHOOK_TOKEN, ALREADY_ACKNOWLEDGED = 50027, 40060
SWITCHED_OFF, NO_ACCESS, NO_HISTORY, THREAD_EXISTS = 40006, 50001, 160002, 160004
"""40006: the feature is switched off for a while. 160002: a reply needs the permission Read Message
History. 160004: the message already has a thread, and it can have only one."""
NOBODY_THERE = (10007, 10013)
"""Unknown member, unknown user: the person is not in the server and has no roles there."""
OVER = (UNKNOWN_INTERACTION, UNKNOWN_WEBHOOK, INVALID_WEBHOOK_TOKEN)
"""Codes of an interaction token that has expired or was never acknowledged."""
TOO_LARGE_CODES = (40005, 50045)
"""The request, or a file in it, exceeds a limit."""
PASSING = frozenset(
    {
        20016,  # slow mode
        20028,  # the channel's write rate
        20029,  # the server's write rate
        30046,  # edits of a message that is older than an hour
        40001,  # the token is not valid: it was reset, and the new one is on its way
        40003,  # direct messages opened too fast
        40004,  # sending is switched off for a while
        SWITCHED_OFF,
        40062,  # rate limited
        40333,  # Cloudflare, in front of Discord
        50014,  # the token is not valid, as with 40001
        130000,  # overloaded
    }
)
"""Codes with which Discord refuses a call only for now."""
IN_FRONT = (401, 403, 429)
"""HTTP statuses that may come without a code. A proxy in front of Discord sends them, as does
Discord for an unknown token: 401 and 429 as in #http-http-response-codes, 403 as Cloudflare's."""
PLATFORM = "discord"
Interaction = discord.Interaction[Any]
Work = Callable[[], Awaitable[object]]
DISCORD_REFUSAL_SECONDS = 300.0
"""Seconds for which an optional call that Discord refused is not made again in the same place."""
_NEEDED = re.compile(
    r"(?:POST|PATCH) /channels/\{channel_id\}/messages(?:/\{message_id\})?"
    r"|POST /users/@me/channels|\w+ (?:/interactions|/webhooks|/gateway|/users/@me$|/oauth2).*"
)
"""The calls without which there is no answer. They are made even if Discord just refused them."""
# 0: no code, from a proxy in front of Discord; then access, verification level and permission.
_MISSING = frozenset({0, NO_ACCESS, 50009, 50013})
"""Codes of a refusal that is about the place, and not about one message."""
_PLAIN_FIELDS = frozenset({
    "id", "channel_id", "type", "content", "author", "timestamp", "edited_timestamp", "attachments",
    "mentions", "mention_roles", "guild_id", "member", "message_reference", "flags",
})  # fmt: skip
"""The fields of a message that are read if the SDK cannot read all of them."""
SESSION_EVENTS = ("READY", "RESUMED")
"""Events without which a session is of no use. If one cannot be read, Ponte connects again."""
CLOCK_DIFFERENCE = datetime.timedelta(minutes=5)
"""How far our clock may be ahead of Discord's."""


class TokenOver(PonteError):
    """An answer to an interaction came too late: its token can no longer be used, because 15
    minutes have passed, or because the interaction was never acknowledged."""

    code = "token_over"


class RefusedForNow(PlatformBusy):
    """Discord refuses the call for now. `reason` has the status, the code and the text of the
    refusal."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(RETRY_LATER_SECONDS)
        self.reason = reason


class FilesTooLarge(PonteError):
    """Discord refused the whole request because a file exceeds the size limit of this place.
    `reason` has the status, the code and the text of the refusal."""

    code = "files_too_large"


async def attempt(
    call: Callable[[], Awaitable[T]], *, repeat: bool = True, deadline: float = DISCORD_CALL_SECONDS
) -> T:
    """Make a call and return its result, with a timeout of `deadline` seconds for each try.

    After an error of IN_DOUBT the call is repeated, so it must be safe to repeat (a nonce, an
    edit), or `repeat` must be False. Raise PostRemoved, Undeliverable, PlatformBusy, TokenOver or
    FilesTooLarge if Discord refused the call. Raise an error of IN_DOUBT if it is not known whether
    Discord executed it.
    """

    async def once() -> T:
        """Make the call once, with the SDK's errors turned into Ponte's. Errors in IN_DOUBT stay as
        they are: the call may have had its effect, and the caller must find out."""
        try:
            async with asyncio.timeout(deadline):
                return await call()
        except discord.RateLimited as limited:
            raise PlatformBusy(limited.retry_after) from limited
        except IN_DOUBT:
            raise
        except discord.HTTPException as refused:
            raise DISCORD_ERRORS.explain(refused) from refused

    return await retry(once, IN_DOUBT, wait_after_each(CALL_PAUSES_SECONDS if repeat else ()))


def code_of(error: Exception) -> int:
    """Return Discord's error code behind one of our errors; 0 if there is none."""
    cause = error.__cause__
    return cause.code if isinstance(cause, discord.HTTPException) else 0


async def history(location: discord.abc.Messageable, **which: Any) -> list[discord.Message]:
    """Return the messages that `location.history(**which)` yields, as a list. Raise as `attempt`
    does."""

    async def read() -> list[discord.Message]:
        """Read all pages. After a failure, `attempt` begins again with the first page."""
        return [message async for message in location.history(**which)]

    return await attempt(read)


def snowflake() -> int:
    """Return an id that is smaller than any id Discord assigns from now on, if our clock is at most
    CLOCK_DIFFERENCE ahead of Discord's."""
    return discord.utils.time_snowflake(discord.utils.utcnow() - CLOCK_DIFFERENCE)


def own_id(client: discord.Client) -> int:
    """Return the id of our bot user; 0 before the login."""
    return client.user.id if client.user else 0


def message_at(client: discord.Client, where: str) -> discord.PartialMessage:
    """Return the message at `where` (`channel:message`) without a call to Discord."""
    channel, _, message = where.partition(":")
    return client.get_partial_messageable(int(channel)).get_partial_message(int(message))


def has_code(*codes: int) -> Callable[[discord.HTTPException], bool]:
    """Return a condition on a refusal: Discord's code is one of these; 0 means that it has none."""
    return lambda refusal: refusal.code in codes


def _reason_values(refusal: discord.HTTPException) -> Mapping[str, object]:
    return {"reason": f"Discord {refusal.status}/{refusal.code}: {refusal.text}"[:200]}


DISCORD_ERRORS = ErrorTable(
    PonteError,
    on(when=has_code(UNKNOWN_MESSAGE)).raises(PostRemoved),
    on(when=has_code(*OVER)).raises(TokenOver),
    on(when=has_code(*TOO_LARGE_CODES)).raises(FilesTooLarge, values=_reason_values),
    on(413).raises(FilesTooLarge, values=_reason_values),
    on(when=has_code(*PASSING)).raises(RefusedForNow, values=_reason_values),
    on(*IN_FRONT, when=has_code(0)).raises(RefusedForNow, values=_reason_values),
    on().raises(Undeliverable, values=_reason_values),
)
"""Maps a refused call to our error: the post was removed, the call must wait, or it can never
succeed."""


def intents(message_content: bool) -> discord.Intents:
    """Return the intents that the adapter requests. Only `message_content`, the content of messages
    that do not address Ponte, is privileged."""
    return discord.Intents(
        guilds=True, guild_messages=True, dm_messages=True, message_content=message_content
    )


class DiscordClient(discord.Client):
    """The SDK's client with our settings. It passes events on to `events`. A client serves one
    connection; the next one gets a new client.

    `identify_wait` is the pause in seconds before each new identify after the first.
    """

    def __init__(
        self,
        events: DiscordAdapter,
        *,
        message_content: bool = False,
        proxy: str | None = None,
        identify_wait: float = 5.0,
    ) -> None:
        """Besides the settings, replace three parts of the SDK: the request, the building of a
        message from a response, and the parsers of events. The SDK has no setting for these.
        """
        super().__init__(
            intents=intents(message_content),
            allowed_mentions=MENTION_NOBODY,
            max_messages=None,  # no code reads the SDK's cache of messages
            max_ratelimit_timeout=MAX_RATE_LIMIT_SECONDS,
            chunk_guilds_at_startup=False,  # members are looked up one by one
            proxy=proxy,
            enable_debug_events=True,  # `dispatch` then gets each raw frame
        )
        self._events = events
        self._identify_wait = identify_wait
        """Seconds between two identifications, which Discord limits."""
        self._refusals = BoundedDict[tuple[str, str], tuple[float, discord.HTTPException]]()
        """By route and channel: until when (monotonic seconds) a call is not made again, and the
        error that it got."""
        # All calls of the API go through here, those that the SDK makes by itself, too.
        self._request = self.http.request
        self.http.request = self._request_unless_refused  # type: ignore[method-assign]
        # One message that the SDK cannot read must not cost the page that it is on.
        state = self._connection
        state.create_message = self._create_message  # type: ignore[method-assign]
        # An exception in a parser would end the connection, so `_parse` catches it. Without READY
        # or RESUMED there is no session, so there it must end.
        for event, parse in state.parsers.items():
            if event not in SESSION_EVENTS:
                state.parsers[event] = functools.partial(self._parse, event, parse)
        self.last_frame = 0.0
        """`time.monotonic` of the last frame of any kind; 0.0 before the first."""

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        """Pass an SDK event on. A raw frame only updates `last_frame`, by which `health` finds a
        silent connection. Frames that this client sends (`socket_raw_send`) are ignored.

        New messages, edits and deletions are queued right here, because the SDK would start a task
        for each and lose their order. Raw events come for every message, cached by the SDK or not.
        """
        if event == "socket_raw_receive":
            self.last_frame = time.monotonic()
        elif event == "message":
            self._events.on_message(*args)
        elif event == "raw_message_edit":
            self._events.on_edit(*args)
        elif event == "raw_message_delete":
            self._events.on_delete(args[0].channel_id, {args[0].message_id})
        elif event == "raw_bulk_message_delete":
            self._events.on_delete(args[0].channel_id, args[0].message_ids)
        elif event != "socket_raw_send":
            super().dispatch(event, *args, **kwargs)

    def _parse(self, event: str, parse: Callable[[Any], None], data: Any) -> None:
        """Let the SDK read one event of the gateway with `parse`, its parser. An exception would
        end the SDK's connection, so it is noted here and costs this event only."""
        try:
            # Events with messages may contain polls.
            if event.startswith(("MESSAGE_", "INTERACTION_")):
                complete_polls(data)
            try:
                parse(data)
            except Exception as error:
                if event not in ("MESSAGE_CREATE", "MESSAGE_UPDATE"):
                    raise
                parse(keep_plain_fields(data))
                self._events.on_failure(error, event)
        except Exception as error:
            self._events.on_failure(error, event, data)

    def _create_message(self, *, channel: Any, data: Any) -> discord.Message:
        """Return a message of a response. If the SDK cannot read it, return it with its plain
        fields only: an error would lose the other messages of the same response, too."""
        try:
            complete_polls(data)
            return discord.Message(state=self._connection, channel=channel, data=data)
        except Exception as error:
            self._events.on_failure(error, "response")
            plain = keep_plain_fields(data)
            return discord.Message(state=self._connection, channel=channel, data=plain)

    async def _request_unless_refused(self, route: Route, **options: Any) -> Any:
        """Make a call of the API, unless it is optional and Discord refused it in this place a
        short time ago. A refusal of an optional call is permanent for its caller."""
        place = route.key, route.major_parameters
        until, refusal = self._refusals.get(place, (0.0, None))
        if refusal is not None and time.monotonic() < until:
            raise refusal.with_traceback(None)  # it is raised many times; tracebacks would add up
        try:
            return await self._request(route, **options)
        except discord.HTTPException as refused:
            # The refusal is about the place (`_MISSING`), or the feature is switched off for a
            # while. `_NEEDED` are the calls without which there is no answer.
            is_missing = refused.status in (403, 404, 405) and refused.code in _MISSING
            if (is_missing or refused.code == SWITCHED_OFF) and not _NEEDED.fullmatch(route.key):
                # With a code of PASSING (refused only for now) or none (0), the caller would wait
                # and try again, but the call is optional.
                if refused.code in PASSING or not refused.code:
                    refused.code = NO_ACCESS
                self._refusals[place] = time.monotonic() + DISCORD_REFUSAL_SECONDS, refused
            raise

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Wait before each identify but the first, because Discord allows one in 5 s
        (events/gateway.mdx#rate-limiting)."""
        if not initial:
            await asyncio.sleep(self._identify_wait)

    async def setup_hook(self) -> None:
        """Report the login to the adapter. The SDK calls this method after each login."""
        await self._events.on_login(self)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """Note the exception of an event handler. The SDK calls this method while it handles the
        exception."""
        if isinstance(error := sys.exception(), Exception):
            self._events.on_failure(error, event_method)

    async def on_connect(self) -> None:
        """Tell the adapter that a new session has started."""
        await self._events.on_connect()

    async def on_interaction(self, interaction: Interaction) -> None:
        """Pass a command, click or form on to the adapter."""
        await self._events.on_interaction(interaction)


def keep_plain_fields(data: Mapping[str, Any]) -> Any:
    """Return the JSON of a message that the SDK could not read, with only what Ponte needs of it.
    The SDK would leave the attribute of a missing list unset."""
    plain = {name: data[name] for name in _PLAIN_FIELDS & data.keys()}
    for name in ("attachments", "mentions", "mention_roles"):
        plain[name] = [entry for entry in plain.get(name) or () if entry]
    # The waveform is a picture of a voice message. It need not be valid base64.
    files = [{**file, "waveform": None} for file in plain["attachments"]]
    return {**plain, "attachments": files, "components": []}


def complete_polls(value: Any) -> None:
    """Give each poll in the JSON of messages, at any depth, the fields that discord.py 2.7.1 needs:
    an expiry, results and a text for each option. Discord may leave them out or send null. The
    JSON itself is changed."""
    if isinstance(value, list):
        value = dict(enumerate(value))  # only to visit its entries as those of an object
    if isinstance(value, dict):
        poll, option = (value.get(name) for name in ("poll", "poll_media"))
        if isinstance(poll, dict):
            # The SDK reads a time there. Ponte does not use it, so that of the message will do.
            poll["expiry"] = poll.get("expiry") or value.get("timestamp")
            poll["results"] = poll.get("results") or {}
        elif poll is None:
            value.pop("poll", None)  # for the SDK, null is a poll too
        if isinstance(option, dict):
            option.setdefault("text", "")  # the SDK accepts null as a text
        for inner in value.values():
            if isinstance(inner, (dict, list)):
                complete_polls(inner)


class ChannelQueues:
    """Queues of work, such as the handling of new messages, one for each channel. Work of one
    channel runs in order; channels run side by side. `on_failure` is called with an exception, and
    the work after it runs all the same."""

    def __init__(self, on_failure: Callable[[Exception], None]) -> None:
        self._on_failure = on_failure
        self._waiting: dict[int, deque[Work]] = {}
        """By channel, the work that has not begun. A channel without work has no queue."""
        self.tasks = BackgroundTasks("discord")

    def put(self, channel: int, work: Work) -> None:
        """Run `work` in a task, after all work that was queued for this channel before."""
        queue = self._waiting.get(channel)
        if queue is not None:
            queue.append(work)
            return
        self._waiting[channel] = deque([work])
        self.tasks.start(self._run(channel))

    async def _run(self, channel: int) -> None:
        """Run the waiting work of one channel, one after the other, until there is none. `put` may
        add to the queue meanwhile. If the channel has no queue, `put` starts a new task."""
        queue = self._waiting[channel]
        try:
            while queue:
                try:
                    await queue.popleft()()
                except Exception as error:
                    self._on_failure(error)
        finally:
            del self._waiting[channel]
