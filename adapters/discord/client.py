"""The SDK's client as this adapter uses it, and the outcome of each call in our own errors.

The client asks for few intents, mentions nobody, and counts every frame. The SDK starts a task for
each event, so `ChannelQueues` keeps the order: events of one channel are handled one after the
other, those of several channels at the same time.
"""

from __future__ import annotations

import asyncio
import datetime
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

import aiohttp
import discord
import structlog

from core.clients.error_table import ErrorTable, on
from core.domain.errors import PlatformBusy, PonteError, PostRemoved, Undeliverable
from core.runtime.retry import retry, wait_after_each
from core.runtime.tasks import BackgroundTasks

log = structlog.get_logger("discord")
T = TypeVar("T")

# Ponte has no voice, and the SDK warns at each start that the libraries for it are missing.
discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
CALL_PAUSES_SECONDS = (0.2, 1.0)
"""Pauses before a call whose outcome is unknown is repeated."""
DISCORD_CALL_SECONDS = 60.0
"""Seconds that one try may take."""
RETRY_LATER_SECONDS = 60.0
"""Seconds before what Discord refuses only for now is tried again; an answer has an hour."""
MAX_RATE_LIMIT_SECONDS = 60.0
"""Seconds of a rate limit that the SDK waits for; longer ones it raises."""
MENTION_NOBODY = discord.AllowedMentions.none()
"""Goes with every request that makes or changes a message: the SDK leaves it out of an edit that
has no content, and Discord mentions by its own defaults then (resources/message.mdx#edit-message).
"""
# discord.py 2.7.1 repeats a call after 500, 502, 504 and 524, but after a dropped connection only
# for the error numbers of macOS and Windows (http.py): on Linux the drop reaches the caller.
IN_DOUBT = (aiohttp.ClientError, OSError, TimeoutError, discord.DiscordServerError)
# All codes: topics/opcodes-and-status-codes.mdx#json-json-error-codes. A code that is not named
# here refuses for good.
UNKNOWN_MESSAGE, UNKNOWN_INTERACTION, UNKNOWN_WEBHOOK = 10008, 10062, 10015
INVALID_WEBHOOK_TOKEN, ALREADY_ACKNOWLEDGED = 50027, 40060
NO_HISTORY, THREAD_EXISTS = 160002, 160004
"""A reply needs Read Message History; a message has one thread at most."""
NOBODY_THERE = (10007, 10013)
"""Unknown member, unknown user: they have no roles there."""
OVER = (UNKNOWN_INTERACTION, UNKNOWN_WEBHOOK, INVALID_WEBHOOK_TOKEN)
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
        40006,  # this feature is
        40062,  # rate limited
        40333,  # Cloudflare, in front of Discord
        50014,  # as 40001
        130000,  # overloaded
    }
)
IN_FRONT = (401, 403, 429)
"""Statuses that come without a code from what stands in front of Discord, and for a token that it
does not know: 401 and 429 as in #http-http-response-codes, 403 as Cloudflare's."""
PLATFORM = "discord"
Interaction = discord.Interaction[Any]
Work = Callable[[], Awaitable[object]]
CLOCK_DIFFERENCE = datetime.timedelta(minutes=5)


class TokenOver(PonteError):
    """The interaction's token answers no more: 15 minutes are over, or it was never acked."""

    code = "token_over"


class RefusedForNow(PlatformBusy):
    """Refused only for now, in Discord's own words."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(RETRY_LATER_SECONDS)
        self.reason = reason


class FilesTooLarge(PonteError):
    """Discord took none of the request: a file in it is over the limit of this place."""

    code = "files_too_large"


class DiscordEvents(Protocol):
    """Who is told what happens on Discord."""

    async def on_login(self, client: DiscordClient) -> None: ...

    async def on_connect(self) -> None:
        """A new session began: what happened before it is not told."""

    async def on_message(self, message: discord.Message) -> None: ...

    async def on_edit(self, event: discord.RawMessageUpdateEvent) -> None: ...

    async def on_delete(self, channel: int, messages: set[int]) -> None: ...

    async def on_interaction(self, interaction: Interaction) -> None: ...


async def attempt(
    call: Callable[[], Awaitable[T]], *, repeat: bool = True, deadline: float = DISCORD_CALL_SECONDS
) -> T:
    """The call's outcome. `call` must be safe to repeat (a nonce, an edit), or `repeat` False.

    Raises PostRemoved, Undeliverable, PlatformBusy, TokenOver or FilesTooLarge when Discord
    refused, and one of IN_DOUBT when it is not known whether it took the call.
    """

    async def once() -> T:
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
    """Discord's code behind one of our errors; 0 where there is none."""
    cause = error.__cause__
    return cause.code if isinstance(cause, discord.HTTPException) else 0


async def history(location: discord.abc.Messageable, **which: Any) -> list[discord.Message]:
    """`place.history(**which)`, as one call. Raises as `attempt` does."""

    async def read() -> list[discord.Message]:
        return [message async for message in location.history(**which)]

    return await attempt(read)


def snowflake() -> int:
    """Smaller than any id that Discord gives from this moment on, if our clock is not that far
    ahead of its own."""
    return discord.utils.time_snowflake(discord.utils.utcnow() - CLOCK_DIFFERENCE)


def own_id(client: discord.Client) -> int:
    """Our user's; 0 before the login."""
    return client.user.id if client.user else 0


def message_at(client: discord.Client, where: str) -> discord.PartialMessage:
    """`where`: channel:message."""
    channel, _, message = where.partition(":")
    return client.get_partial_messageable(int(channel)).get_partial_message(int(message))


def has_code(*codes: int) -> Callable[[discord.HTTPException], bool]:
    """Return a condition on a refusal: Discord's code is one of these; 0 means that it has none."""
    return lambda refused: refused.code in codes


def _reason_values(refused: discord.HTTPException) -> Mapping[str, object]:
    return {"reason": f"Discord {refused.status}/{refused.code}: {refused.text}"[:200]}


DISCORD_ERRORS = ErrorTable(
    PonteError,
    on(when=has_code(UNKNOWN_MESSAGE)).raises(PostRemoved),
    on(when=has_code(*OVER)).raises(TokenOver),
    on(when=has_code(*TOO_LARGE_CODES)).raises(FilesTooLarge),
    on(413).raises(FilesTooLarge),
    on(when=has_code(*PASSING)).raises(RefusedForNow, values=_reason_values),
    on(*IN_FRONT, when=has_code(0)).raises(RefusedForNow, values=_reason_values),
    on().raises(Undeliverable, values=_reason_values),
)
"""What a refused call means for the post: it is gone, it must wait, or it can never be made."""


def intents(message_content: bool) -> discord.Intents:
    """What the adapter needs; only the content of unaddressed messages is privileged."""
    return discord.Intents(
        guilds=True, guild_messages=True, dm_messages=True, message_content=message_content
    )


class DiscordClient(discord.Client):
    def __init__(
        self,
        events: DiscordEvents,
        *,
        message_content: bool = False,
        proxy: str | None = None,
        proxy_auth: aiohttp.BasicAuth | None = None,
        identify_wait: float = 5.0,
    ) -> None:
        super().__init__(
            intents=intents(message_content),
            allowed_mentions=MENTION_NOBODY,
            max_messages=None,  # nothing is read from the SDK's cache of them
            max_ratelimit_timeout=MAX_RATE_LIMIT_SECONDS,
            chunk_guilds_at_startup=False,
            proxy=proxy,
            proxy_auth=proxy_auth,
            enable_debug_events=True,
        )
        self._events = events
        self._identify_wait = identify_wait
        self.last_frame = 0.0
        """`time.monotonic` of the last frame of any kind; 0.0 before the first."""

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        if event == "socket_raw_receive":
            self.last_frame = time.monotonic()
        elif event != "socket_raw_send":
            super().dispatch(event, *args, **kwargs)

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """One identify in 5 s is allowed: events/gateway.mdx#rate-limiting."""
        if not initial:
            await asyncio.sleep(self._identify_wait)

    async def setup_hook(self) -> None:
        await self._events.on_login(self)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        log.exception("event not handled", on=event_method)

    async def on_connect(self) -> None:
        await self._events.on_connect()

    async def on_message(self, message: discord.Message) -> None:
        await self._events.on_message(message)

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        await self._events.on_edit(payload)

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        await self._events.on_delete(payload.channel_id, {payload.message_id})

    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        await self._events.on_delete(payload.channel_id, payload.message_ids)

    async def on_interaction(self, interaction: Interaction) -> None:
        await self._events.on_interaction(interaction)


class ChannelQueues:
    """Work in order for each channel, channels side by side."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[Work]] = {}
        self.tasks = BackgroundTasks("discord")

    def put(self, channel: int, work: Work) -> None:
        """Do `work` after all that was put into this channel's lane before."""
        queue = self._waiting.get(channel)
        if queue is not None:
            queue.append(work)
            return
        self._waiting[channel] = deque([work])
        self.tasks.start(self._run(channel))

    async def _run(self, channel: int) -> None:
        queue = self._waiting[channel]
        try:
            while queue:
                await _quietly(queue.popleft())
        finally:
            del self._waiting[channel]


async def _quietly(work: Work) -> None:
    """One event that breaks must not take the channel's later ones with it."""
    try:
        await work()
    except Exception:
        log.exception("event not handled")
