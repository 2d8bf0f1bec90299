"""The content of our posts on Discord in its final form, and how our posts are found again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import discord
import structlog

from adapters.discord import render
from adapters.discord.client import history, own_id
from adapters.discord.files import append_notes
from adapters.discord.render import Sheet, paginate
from core.base.errors import Undeliverable
from core.base.i18n import say
from core.base.tasks import BoundedDict
from core.base.text import run_off_loop
from core.domain.messages import Answer
from core.journal.journal import Journal

log = structlog.get_logger("discord")

MAX_POSTS_SEARCHED = 200
"""Number of messages in which a post of ours is looked for."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """The embeds, buttons and files of an answer's last post."""

    embeds: list[discord.Embed]
    view: discord.ui.View | None
    sheets: tuple[Sheet, ...]

    @property
    def plain(self) -> bool:
        """Return True if the post contains only text."""
        return not (self.embeds or self.view or self.sheets)


class Renderer:
    """Renders the final form of an answer once and keeps it, because a long answer takes time.

    `most` is the largest number of posts of the answer. Text that does not fit becomes a file.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._last_rendering: tuple[Answer, Rendering] | None = None

    async def rendering(self, answer: Answer) -> Rendering:
        """Return the embeds, buttons and files of an answer's last post."""
        if self._last_rendering is None or self._last_rendering[0] is not answer:
            pages = await run_off_loop(lambda text: paginate(text, self._most), answer.text)
            view = render.build_buttons(answer.cards) if answer.cards else None
            embeds = render.build_embeds(answer.cards)
            self._last_rendering = answer, Rendering(embeds, view, pages.sheets)
        return self._last_rendering[1]

    async def make_form(self, part: str, answer: Answer | None) -> dict[str, Any]:
        """Return the arguments of a post or an edit, without its files. `answer` is None while it
        grows."""
        form: dict[str, Any] = {"content": post_content(part, answer)}
        if answer is not None:
            rendering = await self.rendering(answer)
            form |= {"embeds": rendering.embeds, "view": rendering.view}
        return form


async def own_posts_since(
    client: discord.Client, channel: discord.PartialMessageable, since: int, *,
    is_certain: bool = False,
) -> Sequence[discord.Message]:  # fmt: skip
    """Return our posts after the message id `since`, oldest first, without answers to commands.

    They are needed if it is not known whether a post was made: Discord forgets a nonce after
    minutes, and history does not contain it. If history may not be read, return none, or raise
    Undeliverable if the caller must be certain.
    """
    after = discord.Object(since)
    try:
        messages = await history(channel, after=after, limit=MAX_POSTS_SEARCHED, oldest_first=True)
    except Undeliverable as refused:
        if is_certain:
            raise
        log.info("could not read the channel history", error=str(refused))
        return []
    me = own_id(client)
    return [m for m in messages if m.author.id == me and m.interaction_metadata is None]


def posts_answering(
    posts: Sequence[discord.Message], source: int | None
) -> Sequence[discord.Message]:
    """Return the posts that reply to `source`; for None, those that reply to nothing. In a thread
    that was made from the source, our posts reply to nothing."""
    return [post for post in posts if answered_id(post) == source]


def posts_with_text(
    posts: Sequence[discord.Message], text: str, source: int | None
) -> Sequence[discord.Message]:
    """Return the posts with this text that reply to `source` or to nothing. The source may have
    been deleted, so a post without a reference counts too."""
    mine = (post for post in posts if answered_id(post) in (None, source))
    return [post for post in mine if text and post.content == text]


class PostOwners:
    """Finds the turn of each of our posts, so that no turn takes over a post of another."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._turns = BoundedDict[str, str]()
        """The turns of the posts that this process made or found, recorded or not."""

    def claim(self, post: str, turn: str) -> bool:
        """Give the post to the turn. Return False if it belongs to another turn."""
        return self._turns.setdefault(post, turn) == turn

    async def find(self, posts: Sequence[discord.Message], turn: str) -> str | None:
        """Claim the first of the posts that is recorded for no turn. Return its id, or None."""
        for post in posts:
            id = f"{post.channel.id}:{post.id}"
            if await self._journal.seq_of_post(id) is None and self.claim(id, turn):
                return id
        return None


def answered_id(message: discord.Message) -> int | None:
    """Return the id of the message that this one replies to, or None."""
    return message.reference.message_id if message.reference else None


def post_content(part: str, answer: Answer | None) -> str:
    """Return the text of a post. Cards without buttons are added as commands to type. Discord
    refuses an empty message, so a post without text names its files or says that there is nothing
    to say."""
    if answer and len(answer.cards) > render.MAX_CARDS:
        part = append_notes(part, render.describe_cards(answer.cards[render.MAX_CARDS :])).strip()
    if part or (answer and answer.cards):
        return part
    names = ", ".join(f"`{file.name}`" for file in answer.files) if answer else ""
    return names or say("(no text)")
