"""One REST call: tried again while its outcome is in doubt, its refusal put in our words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp
import discord

from core.errors import PlatformBusy, PonteError, PostRemoved, Undeliverable

T = TypeVar("T")

# discord.py 2.7.1 repeats a call after 500, 502, 504 and 524, but after a dropped connection only
# for the error numbers of macOS and Windows (http.py): on Linux the drop reaches the caller.
IN_DOUBT = (aiohttp.ClientError, OSError, TimeoutError, discord.DiscordServerError)
NOBODY = discord.AllowedMentions.none()
"""Goes with every request that makes or changes a message: the SDK leaves it out of an edit that
has no content, and Discord mentions by its own defaults then (resources/message.mdx#edit-message).
"""
WAITS = (0.2, 1.0)
DEADLINE = 60.0
AGAIN = 60.0
"""Seconds before what Discord refuses only for now is tried again; an answer has an hour."""
# What follows "developers/" in an address is a page of Discord's documentation, here and in this
# whole package (github.com/discord/discord-api-docs); a number such as #20 is an issue there.
# All codes: topics/opcodes-and-status-codes.mdx#json-json-error-codes. A code that is not named
# here refuses for good.
UNKNOWN_MESSAGE, UNKNOWN_INTERACTION, UNKNOWN_WEBHOOK = 10008, 10062, 10015
INVALID_WEBHOOK_TOKEN, ALREADY_ACKNOWLEDGED = 50027, 40060
NO_HISTORY, THREAD_EXISTS = 160002, 160004
"""A reply needs Read Message History; a message has one thread at most."""
OVER = (UNKNOWN_INTERACTION, UNKNOWN_WEBHOOK, INVALID_WEBHOOK_TOKEN)
TOO_LARGE = (40005, 50045)
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


class TokenOver(PonteError):
    """The interaction's token answers no more: 15 minutes are over, or it was never acked."""

    code = "token_over"


class Later(PlatformBusy):
    """Refused only for now, in Discord's own words."""

    def __init__(self, reason: str) -> None:
        super().__init__(AGAIN)
        self.reason = reason


class FilesTooLarge(PonteError):
    """Discord took none of the request: a file in it is over the limit of this place."""

    code = "files_too_large"


async def attempt(
    call: Callable[[], Awaitable[T]], *, repeat: bool = True, deadline: float = DEADLINE
) -> T:
    """The call's outcome. `call` must be safe to repeat (a nonce, an edit), or `repeat` False.

    Raises PostRemoved, Undeliverable, PlatformBusy, TokenOver or FilesTooLarge when Discord
    refused, and one of IN_DOUBT when it is not known whether it took the call.
    """
    for wait in (*WAITS, None):
        try:
            async with asyncio.timeout(deadline):
                return await call()
        except discord.RateLimited as limited:
            raise PlatformBusy(limited.retry_after) from limited
        except IN_DOUBT:
            if wait is None or not repeat:
                raise
            await asyncio.sleep(wait)
        except discord.HTTPException as refused:
            raise refusal(refused) from refused
    raise AssertionError("the last try returns or raises")


def code_of(error: Exception) -> int:
    """Discord's code behind one of our errors; 0 where there is none."""
    cause = error.__cause__
    return cause.code if isinstance(cause, discord.HTTPException) else 0


def refusal(error: discord.HTTPException) -> PonteError:
    """What Discord's refusal means for the post: gone, not now, or never."""
    if error.code == UNKNOWN_MESSAGE:
        return PostRemoved()
    if error.code in OVER:
        return TokenOver()
    if error.code in TOO_LARGE or error.status == 413:
        return FilesTooLarge()
    reason = f"Discord {error.status}/{error.code}: {error.text}"[:200]
    if error.code in PASSING or (not error.code and error.status in IN_FRONT):
        return Later(reason)
    return Undeliverable(reason=reason)
