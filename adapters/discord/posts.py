"""Posts of Ponte that others changed or that may exist already, and the signs that an answer is
coming.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import discord
import structlog

from adapters.discord import render
from adapters.discord.client import IN_DOUBT, attempt, history, message_at, own_id
from adapters.discord.files import append_notes
from adapters.discord.render import Sheet, pages
from adapters.discord.state import DiscordState
from core.base.errors import PonteError, Undeliverable
from core.base.i18n import say
from core.base.tasks import BackgroundTasks, BoundedDict
from core.base.text import run_off_loop
from core.chat.incoming import SIGN_AFTER_SECONDS, WaitingMarks
from core.domain.messages import Answer
from core.journal.journal import Journal

HOURGLASS = "⏳"
HOURGLASS_AFTER_SECONDS = 1.0
"""Seconds until a waiting message gets an hourglass. Most turns end sooner."""
TYPING_PERIOD_SECONDS = 8.0
"""Seconds between two typing calls. The indicator lasts for 10
(resources/channel.mdx#trigger-typing-indicator)."""
STILL_TEXT_SECONDS = 5.0
"""After so many seconds without new text, the typing indicator is shown again."""


class DiscordSigns:
    """Hourglasses on waiting messages (`marks`), and a typing indicator for each turn. It is
    repeated while the answer shows no new text, until `end` is called for the turn."""

    def __init__(
        self, client: Callable[[], Awaitable[discord.Client]], state: DiscordState,
        tasks: BackgroundTasks,
    ) -> None:  # fmt: skip
        self._client = client
        self.marks = WaitingMarks(
            tasks, self._mark, self._unmark, state.hourglasses, state.note_change,
            HOURGLASS_AFTER_SECONDS,
        )  # fmt: skip
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._later: dict[str, asyncio.Task[None]] = {}
        self._grew: dict[str, float] = {}

    async def _mark(self, where: str) -> None:
        """Put an hourglass on a message. A failure is ignored, because a server may forbid
        reactions."""
        message = message_at(await self._client(), where)
        with suppress(PonteError, *IN_DOUBT):
            await attempt(lambda: message.add_reaction(HOURGLASS), repeat=False)

    async def _unmark(self, where: str) -> None:
        client = await self._client()
        message = message_at(client, where)
        with suppress(PonteError, *IN_DOUBT):
            if me := client.user:
                await attempt(lambda: message.remove_reaction(HOURGLASS, me))

    def start(self, turn: str, sign: Callable[[], Awaitable[None]]) -> None:
        """Call `sign` soon, and then again and again until the turn ends."""
        if turn not in self._tasks:
            self._tasks[turn] = asyncio.create_task(self._repeat(turn, sign))

    def note_growth(self, turn: str) -> None:
        """Note that new text was shown just now. It replaces the typing indicator for a while."""
        if turn in self._tasks:
            self._grew[turn] = time.monotonic()

    def do_later(self, turn: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` after so many seconds, unless the turn ends before. Only one such work is
        pending for a turn."""
        if turn not in self._later:
            task = asyncio.create_task(_do_after(seconds, work))
            self._later[turn] = task
            task.add_done_callback(lambda _: self._later.pop(turn, None))

    def stop(self, turn: str) -> None:
        """Stop the typing indicator of a turn."""
        self._grew.pop(turn, None)
        task = self._tasks.pop(turn, None)
        if task is not None:
            task.cancel()

    async def end(self, turn: str) -> None:
        """Stop the typing indicator and the delayed work of a turn, and wait until that has
        stopped."""
        self.stop(turn)
        later = self._later.pop(turn, None)
        if later is not None:
            later.cancel()
            await asyncio.wait({later})

    async def _repeat(self, turn: str, sign: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(SIGN_AFTER_SECONDS)
        while True:
            still = time.monotonic() - self._grew.get(turn, 0.0)
            if still < STILL_TEXT_SECONDS:
                await asyncio.sleep(STILL_TEXT_SECONDS - still)
                continue
            # A failure is ignored: it is only an indicator, and the answer reports the fault.
            with suppress(PonteError, *IN_DOUBT):
                await attempt(sign, repeat=False, deadline=TYPING_PERIOD_SECONDS)
            await asyncio.sleep(TYPING_PERIOD_SECONDS)

    async def close(self) -> None:
        """Stop all indicators and all delayed work."""
        tasks = [*self._tasks.values(), *self._later.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _do_after(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(seconds)
    with suppress(PonteError, *IN_DOUBT):
        await work()


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
        self._made: tuple[Answer, Rendering] | None = None

    async def rendering(self, answer: Answer) -> Rendering:
        """Return the embeds, buttons and files of an answer's last post."""
        if self._made is None or self._made[0] is not answer:
            made = await run_off_loop(lambda text: pages(text, self._most), answer.text)
            view = render.view(answer.cards) if answer.cards else None
            self._made = answer, Rendering(render.embeds(answer.cards), view, made.sheets)
        return self._made[1]

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
        found = await history(channel, after=after, limit=MAX_POSTS_SEARCHED, oldest_first=True)
    except Undeliverable as refused:
        if is_certain:
            raise
        log.info("could not read the channel history", error=str(refused))
        return []
    me = own_id(client)
    return [m for m in found if m.author.id == me and m.interaction_metadata is None]


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
        part = append_notes(part, render.in_words(answer.cards[render.MAX_CARDS :])).strip()
    if part or (answer and answer.cards):
        return part
    names = ", ".join(f"`{file.name}`" for file in answer.files) if answer else ""
    return names or say("(no text)")
