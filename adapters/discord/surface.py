"""An answer's posts: in a channel, thread or DM, in a command's original response, or where a
click's card is; with its cards and the stop button. The signs that Ponte works: typing, an
hourglass on a message that waits. And the thread that a mention gets.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakValueDictionary

import discord
import structlog

from adapters.discord import render
from adapters.discord.client import (
    IN_DOUBT,
    NO_HISTORY,
    NOBODY,
    THREAD_EXISTS,
    Acks,
    Location,
    OriginalResponse,
    State,
    Token,
    TokenOver,
    attempt,
    code_of,
    history,
    message_at,
    own_id,
)
from adapters.discord.files import FILE_LIMIT, Call, noted, put_files, with_sheets
from adapters.discord.render import LIMIT, MOST_PARTS, Sheet, inert, pages
from core.chat.participants import Ways, as_everywhere
from core.chat.presence import SOON, WaitingMarks
from core.domain.errors import PlatformBusy, PonteError, PostRemoved, Undeliverable
from core.domain.messages import Answer, Card, File, ReplyTo
from core.ports.conversations import Files
from core.runtime.tasks import BackgroundTasks
from core.text.i18n import say
from core.text.text import run_off_loop

log = structlog.get_logger("discord")

INTERVAL = 1.3
"""Seconds between two edits. 5 messages and edits in 5 s were let through (#20); what holds now
stands in the headers alone, which the SDK obeys (topics/rate-limits.mdx)."""
LOOK_BACK = 200
"""Messages in which a post of ours is looked for."""
ORIGINAL_PARTS = 1
"""A command's answer is one message, the original response."""

_redrawing: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
"""One click at a time on each message: its cards are read, changed and written back."""

HOURGLASS = "⏳"
PATIENCE = 1.0
"""Seconds that a message waits without one: most turns end sooner."""

AGAIN = 8.0
"""Seconds; the sign lives for 10 (resources/channel.mdx#trigger-typing-indicator)."""
STILL = 5.0
"""Seconds after which text that does not grow is no sign any more."""

# resources/channel.mdx#start-thread-from-message-json-params: up to 100 characters; minutes after
# which it is archived, of four that there are.
LONGEST_NAME = 100
IDLE_MINUTES: Final = 1440
THREAD_DEADLINE = 8.0
"""Seconds for the thread to be made; then the channel has the answer."""


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What every surface works with."""

    client: Callable[[], Awaitable[discord.Client]]
    threads: Threads
    sign: TypingSign
    marks: WaitingMarks
    acks: Acks
    files: Files


@dataclass(frozen=True, slots=True)
class Shown:
    """What a post of ours shows, as far as this process knows."""

    content: str
    stop: bool = False


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

    async def form(self, part: str, answer: Answer | None) -> dict[str, Any]:
        """What a post or an edit says and shows, without its files."""
        form: dict[str, Any] = {"content": content(part, answer, self._locale)}
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


class ChannelSurface:
    """Posts in a channel, thread or DM: made once by their nonce, found again by what they answer.

    `source` is the message that is answered; None where a command's own post is lost.
    """

    limit = LIMIT
    interval = INTERVAL

    def __init__(self, to: ReplyTo, deps: Dependencies, source: int | None, locale: str) -> None:
        self._to = to
        self._deps = deps
        self._source = source
        self._locale = locale
        self._renderer = Renderer(locale, MOST_PARTS)
        self._parts: tuple[str, ...] = ()
        self._doubted: set[int] = set()
        self._shown: dict[str, Shown] = {}
        self._changing = asyncio.Lock()
        self._last: tuple[str, str, Answer] | None = None
        self._uploads = 0
        self._refused: Undeliverable | None = None

    def split(self, text: str) -> tuple[str, ...]:
        self._parts = pages(text, self._locale, MOST_PARTS).parts
        return self._parts

    async def busy(self, doing: str) -> None:
        self._deps.marks.clear(self._to.turn)
        self._deps.sign.start(self._to.turn, self.type)

    async def type(self) -> None:
        """In the channel while its thread is still being made."""
        client = await self._deps.client()
        await client.get_partial_messageable(self._deps.threads.standing(self._to)).typing()

    async def wait_for_updates(self) -> None:
        await self._deps.sign.end(self._to.turn)

    async def post(self, number: int, key: str, part: str, answer: Answer | None) -> str:
        if self._refused is not None:
            # Discord punishes who knocks at a closed door again and again.
            raise self._refused
        self._deps.marks.clear(self._to.turn)
        channel = await self._channel()
        if number in self._doubted and (found := await self._by_text(channel, part)):
            await self.edit(found, part, answer)
            return found
        if answer is not None:
            await self.wait_for_updates()
        form = await self._renderer.form(part, answer)
        try:
            message = await self._sent(channel, key, form, answer)
        except (PlatformBusy, *IN_DOUBT):
            await self.busy("")
            raise
        self._deps.sign.grew(self._to.turn)
        post = f"{channel.id}:{message.id}"
        self._shown[post] = Shown(form["content"])
        if answer is None:
            self._deps.sign.later(self._to.turn, INTERVAL, self._offer_stop)
        await self._settled(post, part, answer)
        return post

    async def _sent(
        self,
        channel: discord.PartialMessageable,
        key: str,
        form: dict[str, Any],
        answer: Answer | None,
    ) -> discord.Message:
        reference = self._answering(channel.id)

        async def send(files: list[discord.File], notes: Sequence[str]) -> discord.Message:
            said = form | {"content": noted(form["content"], notes)}
            return await channel.send(
                nonce=key, files=files, mention_author=False, **said, **reference
            )

        try:
            return await self._with_sheets(send, answer)
        except Undeliverable as refused:
            if code_of(refused) != NO_HISTORY:
                self._refused = refused
                raise
            reference.clear()
            return await self._with_sheets(send, answer)

    async def edit(self, post: str, part: str, answer: Answer | None) -> None:
        """The stop button stands under the last part while the answer grows."""
        if answer is not None:
            await self.wait_for_updates()
        form = await self._renderer.form(part, answer)
        growing = answer is None and bool(self._parts) and part == self._parts[-1]
        async with self._changing:
            await self._change(post, Shown(form["content"], growing), form, answer)
        await self._settled(post, part, answer)

    async def _offer_stop(self) -> None:
        """The newest post has grown for a while, and may go on to: it gets the button."""
        async with self._changing:
            for post, shown in list(self._shown.items())[-1:]:
                if not shown.stop:
                    await self._change(post, Shown(shown.content, stop=True), {})

    async def _change(
        self, post: str, shown: Shown, form: dict[str, Any], answer: Answer | None = None
    ) -> None:
        """Nothing is sent where the post shows that already: edits are few (see INTERVAL)."""
        had = self._shown.pop(post, None)
        plain = answer is None or (await self._renderer.rendering(answer)).plain
        if had != shown or not plain:
            message = message_at(await self._deps.client(), post)
            if shown.stop and not (had and had.stop):
                form = form | {"view": render.stop_view(self._to.asker.id, self._locale)}
            elif had and had.stop and not shown.stop:
                form = {"view": None} | form

            async def change(files: list[discord.File], notes: Sequence[str]) -> discord.Message:
                more: dict[str, Any] = {"attachments": files} if answer else {}
                if notes:
                    more["content"] = noted(form["content"], notes)
                return await message.edit(**form | more, allowed_mentions=NOBODY)

            await self._with_sheets(change, answer)
            self._deps.sign.grew(self._to.turn)
        self._shown[post] = shown

    async def delete(self, post: str) -> None:
        message = message_at(await self._deps.client(), post)
        self._shown.pop(post, None)
        await attempt(message.delete)

    async def find(self, number: int, key: str) -> str | None:
        """By what it answers; a post that answers nothing is found by its text, in `post`."""
        self._doubted.add(number)
        if number < 1 or self._source is None:
            return None
        channel = await self._channel()
        own = await self._own(channel)
        mine = answering(own, None if channel.id == self._source else self._source)
        return f"{channel.id}:{mine[number - 1].id}" if len(mine) >= number else None

    async def upload(self, key: str, files: Sequence[File]) -> str:
        """Put them under the answer's last post: an edit, so that it can be done again."""
        if self._last is None:
            raise Undeliverable(reason="files before their answer")
        post, part, answer = self._last
        message = message_at(await self._deps.client(), post)
        self._uploads += 1
        rendering = await self._renderer.rendering(answer)
        await put_files(
            lambda text, attached: message.edit(
                content=text, attachments=attached, allowed_mentions=NOBODY
            ),
            content(part, answer, self._locale),
            rendering.sheets,
            files,
            store=self._deps.files,
            largest=await self._largest(),
            tries=self._uploads,
            locale=self._locale,
        )
        return post

    async def _largest(self) -> int:
        """Bytes of one file: by the server's boosts, which the SDK knows once it has the server."""
        client, id = await self._deps.client(), int(self._to.address.workspace or 0)
        if not id:
            return FILE_LIMIT
        guild = client.get_guild(id)
        with suppress(PonteError, *IN_DOUBT):
            guild = guild or await attempt(lambda: client.fetch_guild(id, with_counts=False))
        return guild.filesize_limit if guild else FILE_LIMIT

    async def _with_sheets(self, call: Call, answer: Answer | None) -> discord.Message:
        if answer is None:
            return await attempt(lambda: call([], ()))
        rendering = await self._renderer.rendering(answer)
        return await with_sheets(call, rendering.sheets, self._locale)

    async def _settled(self, post: str, part: str, answer: Answer | None) -> None:
        """The answer stands: no typing, and no stop button under an earlier part of it."""
        if answer is None:
            return
        self._last = (post, part, answer)
        for other, shown in list(self._shown.items()):
            if shown.stop:
                await self._change(other, Shown(shown.content), {})

    async def _channel(self) -> discord.PartialMessageable:
        client = await self._deps.client()
        guild = int(self._to.address.workspace or 0) or None
        where = await self._deps.threads.where(self._to)
        return client.get_partial_messageable(where, guild_id=guild)

    def _answering(self, channel: int) -> dict[str, Any]:
        """What our post refers to; a thread's starter stands in the channel above it."""
        if self._source is None or channel == self._source:
            return {}
        reference = discord.MessageReference(
            message_id=self._source, channel_id=channel, fail_if_not_exists=False
        )
        return {"reference": reference}

    async def _by_text(self, channel: discord.PartialMessageable, part: str) -> str | None:
        found = saying(await self._own(channel), part, self._source)
        return f"{channel.id}:{found.id}" if found else None

    async def _own(self, channel: discord.PartialMessageable) -> Sequence[discord.Message]:
        since = self._source or int(self._to.source)
        return await own_since(await self._deps.client(), channel, since)


class ResponseSurface:
    """A command's whole answer in its original response: by edits, the rest as attached files.

    Where the token ended before the answer, a post in the channel takes the answer's place.
    """

    limit = LIMIT
    interval = INTERVAL

    def __init__(self, to: ReplyTo, token: Token, deps: Dependencies, locale: str) -> None:
        self._to = to
        self._token = token
        self._deps = deps
        self._locale = locale
        self._renderer = Renderer(locale, ORIGINAL_PARTS)
        self._channel = ChannelSurface(to, deps, None, locale)
        self._last: tuple[str, str, Answer] | None = None
        self._uploads = 0
        self._lost = False

    def split(self, text: str) -> tuple[str, ...]:
        return pages(text, self._locale, ORIGINAL_PARTS).parts

    async def busy(self, doing: str) -> None:
        """ "thinking…" stands there since the ack, as long as the token lives, and then typing;
        what is being done says more."""
        self._deps.sign.start(self._to.turn, self._type)
        if doing and not await self._over():
            await self._edit(f"*{discord.utils.escape_markdown(inert(doing))}*", None)

    async def _type(self) -> None:
        if not self._token.private and await self._over():
            await self._channel.type()

    async def wait_for_updates(self) -> None:
        await self._channel.wait_for_updates()

    async def post(self, number: int, key: str, part: str, answer: Answer | None) -> str:
        if not await self._over():
            try:
                return await self._edit(part, answer)
            except TokenOver:
                self._lost = True
        return await self._instead(number, key, part, answer)

    async def edit(self, post: str, part: str, answer: Answer | None) -> None:
        if not await self._over():
            try:
                await self._edit(part, answer)
                return
            except TokenOver:
                self._lost = True
        if self._token.private:
            raise Undeliverable(reason="the command's token is over")
        await self._channel.edit(post, part, answer)

    async def delete(self, post: str) -> None:
        await self._channel.delete(post)

    async def find(self, number: int, key: str) -> str | None:
        """While the token lives an edit can be repeated; then the response is sought by its id."""
        if not await self._over():
            return None
        return await self._standing() or await self._channel.find(number, key)

    async def upload(self, key: str, files: Sequence[File]) -> str:
        if self._last is None or await self._over():
            return await self._channel.upload(key, files)
        post, part, answer = self._last
        self._uploads += 1
        original = await self._original()
        rendering = await self._renderer.rendering(answer)
        await put_files(
            lambda text, attached: original.edit(content=text, attachments=attached),
            content(part, answer, self._locale),
            rendering.sheets,
            files,
            store=self._deps.files,
            largest=self._token.largest,
            tries=self._uploads,
            locale=self._locale,
        )
        return post

    async def _over(self) -> bool:
        """Whether the token answers no more: its time is over, or it was acked too late."""
        if self._lost or time.time() > self._to.token_expires:
            return True
        self._lost = await self._deps.acks.of(self._to.turn) is False
        return self._lost

    async def _original(self) -> OriginalResponse:
        return OriginalResponse(await self._deps.client(), self._token, self._to.token_expires)

    async def _edit(self, part: str, answer: Answer | None) -> str:
        original = await self._original()
        form = await self._renderer.form(part, answer)
        sheets: tuple[Sheet, ...] = ()
        if answer is None:
            form["view"] = render.stop_view(self._to.asker.id, self._locale)
        else:
            sheets = (await self._renderer.rendering(answer)).sheets

        async def edit(files: list[discord.File], notes: Sequence[str]) -> discord.Message:
            said = form | {"content": noted(form["content"], notes)}
            return await original.edit(**said, attachments=files)

        message = await with_sheets(edit, sheets, self._locale)
        post = f"{self._to.address.thread or self._to.address.channel}:{message.id}"
        if answer is not None:
            self._last = (post, part, answer)
        return post

    async def _instead(self, number: int, key: str, part: str, answer: Answer | None) -> str:
        """In the channel, where others may read it: never for what was private."""
        if self._token.private and self._to.address.shared:
            raise Undeliverable(reason="the command's token is over")
        if standing := await self._standing():
            await self._channel.edit(standing, part, answer)
            return standing
        return await self._channel.post(number, key, part, answer)

    async def _standing(self) -> str | None:
        """The original response, as a message of the channel that names its interaction."""
        client = await self._deps.client()
        where = int(self._to.address.thread or self._to.address.channel)
        channel = client.get_partial_messageable(where)
        after = discord.Object(int(self._to.source))
        try:
            found = await history(channel, after=after, limit=100, oldest_first=True)
        except Undeliverable:
            return None
        for message in found:
            made_by = message.interaction_metadata
            if made_by is not None and made_by.id == int(self._to.source):
                return f"{where}:{message.id}"
        return None


class ClickSurface:
    """The outcome of a click: on the card itself, said to the one who clicked, or posted aloud.

    `to.source` is the message that holds the card.
    """

    limit = LIMIT
    interval = INTERVAL

    def __init__(self, to: ReplyTo, token: Token, deps: Dependencies, locale: str) -> None:
        self._to = to
        self._deps = deps
        self._token = token
        self._locale = locale
        self._channel = ChannelSurface(to, deps, None, locale)
        self._aloud = False

    def split(self, text: str) -> tuple[str, ...]:
        return self._channel.split(text)

    async def busy(self, doing: str) -> None:
        """Once it is acked, the client shows nothing of a click."""
        await self._channel.busy(doing)

    async def wait_for_updates(self) -> None:
        await self._channel.wait_for_updates()

    async def post(self, number: int, key: str, part: str, answer: Answer | None) -> str:
        if answer is None or answer.aloud:
            return await self._posted(number, key, part, answer)
        await self._take(part, answer)
        return self._card

    async def _posted(self, number: int, key: str, part: str, answer: Answer | None) -> str:
        self._aloud = True
        try:
            return await self._channel.post(number, key, part, answer)
        except Undeliverable:
            await self._whisper(part)  # the bot is no member there; the token still answers
            return self._card

    async def _take(self, part: str, answer: Answer) -> None:
        await self._deps.acks.of(self._to.turn)
        for card in answer.cards:
            await self._redraw(card)
        if part and (answer.private or answer.status == "failed" or not answer.cards):
            await self._whisper(part)

    async def edit(self, post: str, part: str, answer: Answer | None) -> None:
        if post != self._card:
            await self._channel.edit(post, part, answer)
        elif answer is not None and not answer.aloud:
            await self._take(part, answer)

    async def delete(self, post: str) -> None:
        """The card's message stays."""

    async def find(self, number: int, key: str) -> str | None:
        return await self._channel.find(number, key)

    async def upload(self, key: str, files: Sequence[File]) -> str:
        return await self._channel.upload(key, files) if self._aloud else self._card

    @property
    def _card(self) -> str:
        """The message that holds the card."""
        return f"{self._where}:{self._to.source}"

    @property
    def _where(self) -> int:
        return int(self._to.address.thread or self._to.address.channel)

    async def _redraw(self, card: Card) -> None:
        lock = _redrawing.setdefault(int(self._to.source), asyncio.Lock())
        # Where the card was deleted meanwhile, what it decided stands in the ledger.
        async with lock:
            with suppress(PostRemoved):
                try:
                    await self._redraw_by_token(card)
                except TokenOver:
                    await self._redraw_in_channel(card)

    async def _redraw_by_token(self, card: Card) -> None:
        original = await self._original()
        message = await attempt(original.read)
        embeds, view = render.redrawn(message, card, self._locale)
        await attempt(lambda: original.edit(embeds=embeds, view=view))

    async def _redraw_in_channel(self, card: Card) -> None:
        client = await self._deps.client()
        channel = client.get_partial_messageable(self._where)
        message = await attempt(lambda: channel.fetch_message(int(self._to.source)))
        embeds, view = render.redrawn(message, card, self._locale)
        await attempt(lambda: message.edit(embeds=embeds, view=view, allowed_mentions=NOBODY))

    async def _whisper(self, part: str) -> None:
        original = await self._original()
        try:
            await attempt(lambda: original.whisper(part), repeat=False)
        except TokenOver:
            raise Undeliverable(reason="the click's token is over") from None

    async def _original(self) -> OriginalResponse:
        return OriginalResponse(await self._deps.client(), self._token, self._to.token_expires)


async def own_since(
    client: discord.Client, channel: discord.PartialMessageable, since: int
) -> Sequence[discord.Message]:
    """Our posts, asked for when it is not known whether one was made: Discord forgets a nonce after
    minutes, and history does not tell it. Oldest first, without answers to commands; none where
    history may not be read."""
    after = discord.Object(since)
    try:
        found = await history(channel, after=after, limit=LOOK_BACK, oldest_first=True)
    except Undeliverable as refused:
        log.info("history not read", why=str(refused))
        return []
    me = own_id(client)
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


def content(part: str, answer: Answer | None, locale: str) -> str:
    """Discord refuses a message of nothing; one that only carries files says so."""
    if answer and len(answer.cards) > render.MOST_CARDS:
        part = noted(part, render.in_words(answer.cards[render.MOST_CARDS :], locale)).strip()
    if part or (answer and answer.cards):
        return part
    names = ", ".join(f"`{file.name}`" for file in answer.files) if answer else ""
    return names or say("(nothing to say)", locale)


def waiting_marks(
    client: Callable[[], Awaitable[discord.Client]], state: State, tasks: BackgroundTasks
) -> WaitingMarks:
    """Hourglasses; a server may forbid them."""

    async def put_on(where: str) -> None:
        message = message_at(await client(), where)
        with suppress(PonteError, *IN_DOUBT):
            await attempt(lambda: message.add_reaction(HOURGLASS), repeat=False)

    async def take_off(where: str) -> None:
        known = await client()
        message = message_at(known, where)
        with suppress(PonteError, *IN_DOUBT):
            if me := known.user:
                await attempt(lambda: message.remove_reaction(HOURGLASS, me))

    return WaitingMarks(tasks, put_on, take_off, state.waiting, state.changed, PATIENCE)


class TypingSign:
    """Typing, by turn, sent again while nothing else shows that the turn lasts. Each sign lasts
    until `end`, which whoever ends a turn calls."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._later: dict[str, asyncio.Task[None]] = {}
        self._grew: dict[str, float] = {}

    def start(self, turn: str, sign: Callable[[], Awaitable[None]]) -> None:
        """`sign` from soon on, again and again."""
        if turn not in self._tasks:
            self._tasks[turn] = asyncio.create_task(self._keep(turn, sign))

    def grew(self, turn: str) -> None:
        """Text stands, and grew just now: that is sign enough for a while."""
        if turn in self._tasks:
            self._grew[turn] = time.monotonic()

    def later(self, turn: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` then, unless the turn ended before."""
        if turn not in self._later:
            task = asyncio.create_task(_after(seconds, work))
            self._later[turn] = task
            task.add_done_callback(lambda _: self._later.pop(turn, None))

    def stop(self, turn: str) -> None:
        self._grew.pop(turn, None)
        task = self._tasks.pop(turn, None)
        if task is not None:
            task.cancel()

    async def end(self, turn: str) -> None:
        """Nothing of the turn goes on from here."""
        self.stop(turn)
        later = self._later.pop(turn, None)
        if later is not None:
            later.cancel()
            await asyncio.wait({later})

    async def _keep(self, turn: str, sign: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(SOON)
        while True:
            still = time.monotonic() - self._grew.get(turn, 0.0)
            if still < STILL:
                await asyncio.sleep(STILL - still)
                continue
            # Only a sign: the answer will meet the same fault, and tell it.
            with suppress(PonteError, *IN_DOUBT):
                await attempt(sign, repeat=False, deadline=AGAIN)
            await asyncio.sleep(AGAIN)

    async def close(self) -> None:
        tasks = [*self._tasks.values(), *self._later.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Threads:
    """The thread that a mention in a server's channel gets, where that is permitted."""

    def __init__(
        self,
        client: Callable[[], Awaitable[discord.Client]],
        state: State,
        enabled: bool,
        ways: Ways = as_everywhere,
    ) -> None:
        """`enabled`: where a channel has no way of its own."""
        self._client = client
        self._state = state
        self._enabled = enabled
        self._ways = ways
        self._opening: dict[int, asyncio.Task[bool]] = {}

    def wanted(self, message: discord.Message, place: Location) -> bool:
        """Whether this message, in a channel, begins a thread."""
        channel, own = message.channel, self._ways(place.address()).threads
        enabled = self._enabled if own is None else own
        if not enabled or place.thread or not isinstance(channel, discord.TextChannel):
            return False
        if self._state.alias(place.channel, str(message.author.id)):
            return False
        may = channel.permissions_for(channel.guild.me)
        return may.create_public_threads and may.send_messages_in_threads

    def open(self, channel: int, message: int, name: str) -> asyncio.Task[bool]:
        """Make the thread, in a task that later callers share."""
        if message not in self._opening:
            task = asyncio.create_task(self._make(channel, message, name))
            self._opening[message] = task
            task.add_done_callback(lambda _: self._opening.pop(message, None))
        return self._opening[message]

    def standing(self, to: ReplyTo) -> int:
        """Where people look now: the thread if there is one already, else the channel."""
        thread = int(to.address.thread or 0)
        return thread if thread in self._state.parents else int(to.address.channel)

    async def where(self, to: ReplyTo) -> int:
        """The channel to post the answer in: the thread, or its parent where it could not be."""
        address = to.address
        if not address.thread:
            return int(address.channel)
        thread, channel = int(address.thread), int(address.channel)
        if self._state.is_alias(thread):
            return channel
        if thread in self._state.parents:
            return thread
        made = await asyncio.shield(self.open(channel, thread, to.asker.name))
        if not made:
            await self._state.set_alias(channel, to.asker.id, thread)
        return thread if made else channel

    async def _make(self, channel: int, message: int, name: str) -> bool:
        client = await self._client()
        title = re.sub(r"\s+", " ", name).strip()[:LONGEST_NAME] or "Ponte"
        try:
            # The SDK's own method wants the server in its cache, which fills after a restart.
            await attempt(
                lambda: client.http.start_thread_with_message(
                    channel, message, name=title, auto_archive_duration=IDLE_MINUTES
                ),
                deadline=THREAD_DEADLINE,
            )
        except (Undeliverable, PlatformBusy, *IN_DOUBT) as error:
            if code_of(error) != THREAD_EXISTS:
                log.info("no thread", message=message, why=str(error))
                return False
        self._state.parents[message] = channel
        self._state.changed()
        return True

    async def close(self) -> None:
        await asyncio.gather(*self._opening.values(), return_exceptions=True)


async def _after(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(seconds)
    with suppress(PonteError, *IN_DOUBT):
        await work()
