"""Our own posts since a message: what is asked when it is not known whether a post was made.

Discord forgets a nonce after minutes, and history does not tell it.
"""

from __future__ import annotations

from collections.abc import Sequence

import discord
import structlog

from adapters.discord.calls import attempt
from core.errors import Undeliverable

log = structlog.get_logger("discord")
LOOK_BACK = 200


async def own_since(
    client: discord.Client, channel: discord.PartialMessageable, since: int
) -> Sequence[discord.Message]:
    """Oldest first, without answers to commands; none where history may not be read."""

    async def read() -> list[discord.Message]:
        after = discord.Object(since)
        history = channel.history(after=after, limit=LOOK_BACK, oldest_first=True)
        return [message async for message in history]

    try:
        found = await attempt(read)
    except Undeliverable as refused:
        log.info("history not read", why=str(refused))
        return []
    me = client.user.id if client.user else 0
    return [m for m in found if m.author.id == me and m.interaction_metadata is None]


def answering(posts: Sequence[discord.Message], source: int | None) -> Sequence[discord.Message]:
    """Those that answer `source`: in a thread made from it (None), those that answer nothing."""
    return [post for post in posts if answered(post) == source]


def saying(
    posts: Sequence[discord.Message], text: str, source: int | None
) -> discord.Message | None:
    """The one with this text that answers `source`, or nothing: the source may be gone."""
    if not text:
        return None
    mine = (post for post in posts if answered(post) in (None, source))
    return next((post for post in mine if post.content == text), None)


def answered(message: discord.Message) -> int | None:
    """The message that this one refers to."""
    return message.reference.message_id if message.reference else None
