"""Makes calls of the SDK and maps failed ones to our own errors."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import aiohttp
import discord
import structlog

from core.base.errors import PlatformBusy, PonteError, PostRemoved, Undeliverable
from core.base.remote_errors import ErrorTable, on
from core.base.tasks import retry, wait_after_each

log = structlog.get_logger("discord")
T = TypeVar("T")

# Ponte does not use voice channels. The SDK would warn at each start that their libraries are
# missing.
discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
CALL_PAUSES_SECONDS = (0.2, 1.0)
"""The pauses before a call whose outcome is unknown is repeated."""
DISCORD_CALL_SECONDS = 60.0
"""The timeout of one try of a call."""
RETRY_LATER_SECONDS = 60.0
"""The pause before a call that Discord refuses only for now is tried again. An answer is tried for
an hour."""
MENTION_NOBODY = discord.AllowedMentions.none()
"""Passed with each request that makes or changes a message: the SDK leaves it out of an edit
without content, and Discord then mentions by its own defaults
(resources/message.mdx#edit-message)."""
# discord.py 2.7.1 repeats a call after 500, 502, 504 and 524, but after a dropped connection only
# for the error numbers of macOS and Windows (http.py): on Linux the drop reaches the caller.
IN_DOUBT = (aiohttp.ClientError, OSError, TimeoutError, discord.DiscordServerError)
"""After these errors, it is not known whether Discord executed the call."""
# All codes: topics/opcodes-and-status-codes.mdx#json-json-error-codes. A code that is not listed
# here is a permanent refusal.
UNKNOWN_MESSAGE, UNKNOWN_INTERACTION, UNKNOWN_WEBHOOK = 10008, 10062, 10015
INVALID_WEBHOOK_TOKEN, ALREADY_ACKNOWLEDGED = 50027, 40060
SWITCHED_OFF, NO_ACCESS, NO_HISTORY, THREAD_EXISTS = 40006, 50001, 160002, 160004
"""40006: the feature is switched off for a while. 160002: a reply needs the permission Read Message
History. 160004: the message already has its only thread."""
NOBODY_THERE = (10007, 10013)
"""Unknown member, unknown user: the person is not in the server, and has no roles there."""
OVER = (UNKNOWN_INTERACTION, UNKNOWN_WEBHOOK, INVALID_WEBHOOK_TOKEN)
"""These codes say that an interaction token has expired or was never acknowledged."""
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
"""With these codes, Discord refuses a call only for now."""
IN_FRONT = (401, 403, 429)
"""HTTP statuses that may come without a code, from a proxy in front of Discord, or from Discord for
an unknown token: 401 and 429 as in #http-http-response-codes, 403 as Cloudflare's."""
PLATFORM = "discord"
Interaction = discord.Interaction[Any]
CLOCK_DIFFERENCE = datetime.timedelta(minutes=5)
"""How far our clock may be ahead of Discord's."""


class TokenOver(PonteError):
    """An answer to an interaction came too late: its token is 15 minutes old, or the interaction
    was never acknowledged."""

    code = "token_over"


class RefusedForNow(PlatformBusy):
    """`reason` has the refusal's status, code and text."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(RETRY_LATER_SECONDS)
        self.reason = reason


class FilesTooLarge(PonteError):
    """Discord refused the whole request because a file exceeds the size limit of this place.
    `reason` has the refusal's status, code and text."""

    code = "files_too_large"


async def attempt(
    call: Callable[[], Awaitable[T]], *, repeat: bool = True, deadline: float = DISCORD_CALL_SECONDS
) -> T:
    """Make a call and return its result, with a timeout of `deadline` seconds for each try.

    After an error of IN_DOUBT the call is repeated, so it must be safe to repeat (a nonce, an
    edit), or `repeat` must be False. Raises PostRemoved, Undeliverable, PlatformBusy, TokenOver or
    FilesTooLarge if Discord refused the call, and an error of IN_DOUBT if it is not known whether
    Discord executed it.
    """

    async def once() -> T:
        """Make the call once, with Ponte's errors for the SDK's. Errors in IN_DOUBT stay: the call
        may have had its effect, and the caller must find out."""
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
    """Return Discord's code behind one of our errors; 0 if there is none."""
    cause = error.__cause__
    return cause.code if isinstance(cause, discord.HTTPException) else 0


async def history(location: discord.abc.Messageable, **which: Any) -> list[discord.Message]:
    """List messages of the place. Raises as `attempt` does."""

    async def read() -> list[discord.Message]:
        """After a failure, `attempt` begins again with the first page."""
        return [message async for message in location.history(**which)]

    return await attempt(read)


def snowflake() -> int:
    """Return an id smaller than any that Discord assigns from now on, if our clock is at most
    CLOCK_DIFFERENCE ahead."""
    return discord.utils.time_snowflake(discord.utils.utcnow() - CLOCK_DIFFERENCE)


def own_id(client: discord.Client) -> int:
    return client.user.id if client.user else 0


def message_at(client: discord.Client, where: str) -> discord.PartialMessage:
    """Return the message at `where` (`channel:message`) without a call to Discord."""
    channel, _, message = where.partition(":")
    return client.get_partial_messageable(int(channel)).get_partial_message(int(message))


def has_code(*codes: int) -> Callable[[discord.HTTPException], bool]:
    """Return a condition on a refusal's code; 0 means that it has none."""
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
