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
WAITS = (0.2, 1.0)
DEADLINE = 60.0
NETWORK_WAIT = 60.0
# topics/opcodes-and-status-codes.mdx#json-json-error-codes
UNKNOWN_MESSAGE, UNKNOWN_INTERACTION, UNKNOWN_WEBHOOK = 10008, 10062, 10015
INVALID_WEBHOOK_TOKEN, ALREADY_ACKNOWLEDGED = 50027, 40060
TOO_LARGE = 40005
EDITED_TOO_OFTEN = 30046
NO_HISTORY, THREAD_EXISTS = 160002, 160004
"""A reply needs Read Message History; a message has one thread at most."""
OVER = (UNKNOWN_INTERACTION, UNKNOWN_WEBHOOK, INVALID_WEBHOOK_TOKEN)


class TokenOver(PonteError):
    """The interaction's token answers no more: 15 minutes are over, or it was never acked."""

    code = "token_over"


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
    if (error.status in (401, 429) and error.code != INVALID_WEBHOOK_TOKEN) or not error.code:
        # A token that was reset meanwhile, or the network in front of Discord: no answer is lost
        # for that. The latter names no time.
        return PlatformBusy(NETWORK_WAIT)
    if error.code == UNKNOWN_MESSAGE:
        return PostRemoved()
    if error.code in OVER:
        return TokenOver()
    if error.code == TOO_LARGE or error.status == 413:
        return FilesTooLarge()
    if error.code == EDITED_TOO_OFTEN:
        return PlatformBusy(30.0)
    return Undeliverable(reason=f"Discord {error.status}/{error.code}: {error.text}"[:200])
