"""Posts of ours in Discord: their content in its final form, and how they are found again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import discord
import structlog

from adapters.discord import render
from adapters.discord.client import history, own_id
from adapters.discord.files import append_notes
from adapters.discord.render import Sheet, pages
from core.domain.errors import Undeliverable
from core.domain.messages import Answer
from core.text.i18n import say
from core.text.text import run_off_loop

log = structlog.get_logger("discord")

MAX_POSTS_SEARCHED = 200
"""Messages in which a post of ours is looked for."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """The final form of an answer's last post."""

    embeds: list[discord.Embed]
    view: discord.ui.View | None
    sheets: tuple[Sheet, ...]

    @property
    def plain(self) -> bool:
        """Whether it carries text alone."""
        return not (self.embeds or self.view or self.sheets)


class Renderer:
    """Dresses the answer that is being brought, once; a long one takes time."""

    def __init__(self, locale: str, most: int) -> None:
        self._locale = locale
        self._most = most
        self._made: tuple[Answer, Rendering] | None = None

    async def rendering(self, answer: Answer) -> Rendering:
        """`most`, above, is how many parts it was split into at most: what is over is a file."""
        if self._made is None or self._made[0] is not answer:
            self._made = (answer, await self._make(answer))
        return self._made[1]

    async def make_form(self, part: str, answer: Answer | None) -> dict[str, Any]:
        """What a post or an edit says and shows, without its files."""
        form: dict[str, Any] = {"content": post_content(part, answer, self._locale)}
        if answer is not None:
            rendering = await self.rendering(answer)
            form |= {"embeds": rendering.embeds, "view": rendering.view}
        return form

    async def _make(self, answer: Answer) -> Rendering:
        made = await run_off_loop(lambda text: pages(text, self._locale, self._most), answer.text)
        return Rendering(
            embeds=render.embeds(answer.cards, self._locale),
            view=render.view(answer.cards, self._locale) if answer.cards else None,
            sheets=made.sheets,
        )


async def own_posts_since(
    client: discord.Client, channel: discord.PartialMessageable, since: int
) -> Sequence[discord.Message]:
    """Our posts, asked for when it is not known whether one was made: Discord forgets a nonce after
    minutes, and history does not tell it. Oldest first, without answers to commands; none where
    history may not be read."""
    after = discord.Object(since)
    try:
        found = await history(channel, after=after, limit=MAX_POSTS_SEARCHED, oldest_first=True)
    except Undeliverable as refused:
        log.info("history not read", why=str(refused))
        return []
    me = own_id(client)
    return [m for m in found if m.author.id == me and m.interaction_metadata is None]


def posts_answering(
    posts: Sequence[discord.Message], source: int | None
) -> Sequence[discord.Message]:
    """Those that answer `source`: in a thread made from it (None), those that answer nothing."""
    return [post for post in posts if answered_id(post) == source]


def find_by_text(
    posts: Sequence[discord.Message], text: str, source: int | None
) -> discord.Message | None:
    """The one with this text that answers `source`, or nothing: the source may be gone."""
    if not text:
        return None
    mine = (post for post in posts if answered_id(post) in (None, source))
    return next((post for post in mine if post.content == text), None)


def answered_id(message: discord.Message) -> int | None:
    """The message that this one refers to."""
    return message.reference.message_id if message.reference else None


def post_content(part: str, answer: Answer | None, locale: str) -> str:
    """Discord refuses a message of nothing; one that only carries files says so."""
    if answer and len(answer.cards) > render.MAX_CARDS:
        part = append_notes(part, render.in_words(answer.cards[render.MAX_CARDS :], locale)).strip()
    if part or (answer and answer.cards):
        return part
    names = ", ".join(f"`{file.name}`" for file in answer.files) if answer else ""
    return names or say("(nothing to say)", locale)
