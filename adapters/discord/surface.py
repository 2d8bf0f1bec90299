"""The `Surface` of Discord: an answer in a channel, in a command's response, or on a card."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import discord

from adapters.discord import render
from adapters.discord.client import (
    IN_DOUBT,
    MENTION_NOBODY,
    NO_HISTORY,
    TokenOver,
    attempt,
    code_of,
    history,
    message_at,
)
from adapters.discord.files import (
    DEFAULT_FILE_BYTES,
    Call,
    append_notes,
    put_files,
    send_with_sheets,
)
from adapters.discord.posts import (
    Renderer,
    find_by_text,
    own_posts_since,
    post_content,
    posts_answering,
)
from adapters.discord.presence import TypingSign
from adapters.discord.render import LIMIT, MAX_POSTS_OF_ANSWER, Sheet, inert, pages
from adapters.discord.threads import DiscordThreads
from adapters.discord.tokens import Acks, OriginalResponse, Token
from core.chat.platform import AnswerPart
from core.chat.presence import WaitingMarks
from core.domain.errors import PlatformBusy, PonteError, PostRemoved, Undeliverable
from core.domain.messages import Answer, Card, File, ReplyTo
from core.ports.conversations import Files

EDIT_INTERVAL_SECONDS = 1.3
"""Seconds between two edits. 5 messages and edits in 5 s were let through (#20); what holds now
stands in the headers alone, which the SDK obeys (topics/rate-limits.mdx)."""
ORIGINAL_PARTS = 1
"""A command's answer is one message, the original response."""
_redrawing: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
"""One click at a time on each message: its cards are read, changed and written back."""


@dataclass(frozen=True, slots=True)
class SurfaceParts:
    """What every surface works with."""

    client: Callable[[], Awaitable[discord.Client]]
    threads: DiscordThreads
    sign: TypingSign
    marks: WaitingMarks
    acks: Acks
    files: Files


@dataclass(frozen=True, slots=True)
class ShownPost:
    """What a post of ours shows, as far as this process knows."""

    content: str
    stop: bool = False


class ChannelSurface:
    """Posts in a channel, thread or DM: made once by their nonce, found again by what they answer.

    `source` is the message that is answered; None where a command's own post is lost.
    """

    limit = LIMIT
    interval = EDIT_INTERVAL_SECONDS

    def __init__(self, to: ReplyTo, deps: SurfaceParts, source: int | None, locale: str) -> None:
        self._to = to
        self._deps = deps
        self._source = source
        self._locale = locale
        self._renderer = Renderer(locale, MAX_POSTS_OF_ANSWER)
        self._doubted: set[int] = set()
        self._shown: dict[str, ShownPost] = {}
        self._changing = asyncio.Lock()
        self._last: tuple[str, str, Answer] | None = None
        self._uploads = 0
        self._refused: Undeliverable | None = None

    def split(self, text: str) -> tuple[str, ...]:
        return pages(text, self._locale, MAX_POSTS_OF_ANSWER).parts

    async def seconds_until_growth(self) -> float:
        return 0.0

    async def show_activity(self, doing: str) -> None:
        self._deps.marks.clear(self._to.turn)
        self._deps.sign.start(self._to.turn, self.type)

    async def type(self) -> None:
        """In the channel while its thread is still being made."""
        client = await self._deps.client()
        await client.get_partial_messageable(self._deps.threads.visible_channel(self._to)).typing()

    async def end_activity(self) -> None:
        await self._deps.sign.end(self._to.turn)

    async def post(self, key: str, part: AnswerPart) -> str:
        if self._refused is not None:
            # Discord punishes who knocks at a closed door again and again.
            raise self._refused
        self._deps.marks.clear(self._to.turn)
        channel = await self._channel()
        if part.number in self._doubted and (found := await self._by_text(channel, part.text)):
            await self.edit(found, part)
            return found
        answer = part.answer
        if answer is not None:
            await self.end_activity()
        form = await self._renderer.make_form(part.text, answer)
        try:
            message = await self._send(channel, key, form, answer)
        except (PlatformBusy, *IN_DOUBT):
            await self.show_activity("")
            raise
        self._deps.sign.note_growth(self._to.turn)
        post = f"{channel.id}:{message.id}"
        self._shown[post] = ShownPost(form["content"])
        if answer is None:
            self._deps.sign.do_later(self._to.turn, EDIT_INTERVAL_SECONDS, self._offer_stop)
        await self._end_answer(post, part)
        return post

    async def _send(
        self,
        channel: discord.PartialMessageable,
        key: str,
        form: dict[str, Any],
        answer: Answer | None,
    ) -> discord.Message:
        reference = self._answering(channel.id)

        async def send(files: list[discord.File], notes: Sequence[str]) -> discord.Message:
            said = form | {"content": append_notes(form["content"], notes)}
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

    async def edit(self, post: str, part: AnswerPart) -> None:
        """The stop button stands under the last part while the answer grows."""
        if part.answer is not None:
            await self.end_activity()
        form = await self._renderer.make_form(part.text, part.answer)
        async with self._changing:
            await self._change(post, ShownPost(form["content"], part.is_growing), form, part.answer)
        await self._end_answer(post, part)

    async def _offer_stop(self) -> None:
        """The newest post has grown for a while, and may go on to: it gets the button."""
        async with self._changing:
            for post, shown in list(self._shown.items())[-1:]:
                if not shown.stop:
                    await self._change(post, ShownPost(shown.content, stop=True), {})

    async def _change(
        self, post: str, shown: ShownPost, form: dict[str, Any], answer: Answer | None = None
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
                    more["content"] = append_notes(form["content"], notes)
                return await message.edit(**form | more, allowed_mentions=MENTION_NOBODY)

            await self._with_sheets(change, answer)
            self._deps.sign.note_growth(self._to.turn)
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
        mine = posts_answering(own, None if channel.id == self._source else self._source)
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
                content=text, attachments=attached, allowed_mentions=MENTION_NOBODY
            ),
            post_content(part, answer, self._locale),
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
            return DEFAULT_FILE_BYTES
        guild = client.get_guild(id)
        with suppress(PonteError, *IN_DOUBT):
            guild = guild or await attempt(lambda: client.fetch_guild(id, with_counts=False))
        return guild.filesize_limit if guild else DEFAULT_FILE_BYTES

    async def _with_sheets(self, call: Call, answer: Answer | None) -> discord.Message:
        if answer is None:
            return await attempt(lambda: call([], ()))
        rendering = await self._renderer.rendering(answer)
        return await send_with_sheets(call, rendering.sheets, self._locale)

    async def _end_answer(self, post: str, part: AnswerPart) -> None:
        """The answer stands: no typing, and no stop button under an earlier part of it."""
        if part.answer is None:
            return
        self._last = (post, part.text, part.answer)
        for other, shown in list(self._shown.items()):
            if shown.stop:
                await self._change(other, ShownPost(shown.content), {})

    async def _channel(self) -> discord.PartialMessageable:
        client = await self._deps.client()
        guild = int(self._to.address.workspace or 0) or None
        where = await self._deps.threads.answer_channel(self._to)
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
        found = find_by_text(await self._own(channel), part, self._source)
        return f"{channel.id}:{found.id}" if found else None

    async def _own(self, channel: discord.PartialMessageable) -> Sequence[discord.Message]:
        since = self._source or int(self._to.source)
        return await own_posts_since(await self._deps.client(), channel, since)


class ResponseSurface:
    """A command's whole answer in its original response: by edits, the rest as attached files.

    Where the token ended before the answer, a post in the channel takes the answer's place.
    """

    limit = LIMIT
    interval = EDIT_INTERVAL_SECONDS

    def __init__(self, to: ReplyTo, token: Token, deps: SurfaceParts, locale: str) -> None:
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

    async def seconds_until_growth(self) -> float:
        return 0.0

    async def show_activity(self, doing: str) -> None:
        """ "thinking…" stands there since the ack, as long as the token lives, and then typing;
        what is being done says more."""
        self._deps.sign.start(self._to.turn, self._type)
        if doing and not await self._over():
            await self._edit(f"*{discord.utils.escape_markdown(inert(doing))}*", None)

    async def _type(self) -> None:
        if not self._token.private and await self._over():
            await self._channel.type()

    async def end_activity(self) -> None:
        await self._channel.end_activity()

    async def post(self, key: str, part: AnswerPart) -> str:
        if not await self._over():
            try:
                return await self._edit(part.text, part.answer)
            except TokenOver:
                self._lost = True
        return await self._instead(key, part)

    async def edit(self, post: str, part: AnswerPart) -> None:
        if not await self._over():
            try:
                await self._edit(part.text, part.answer)
                return
            except TokenOver:
                self._lost = True
        if self._token.private:
            raise Undeliverable(reason="the command's token is over")
        await self._channel.edit(post, part)

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
            post_content(part, answer, self._locale),
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
        self._lost = await self._deps.acks.wait_for(self._to.turn) is False
        return self._lost

    async def _original(self) -> OriginalResponse:
        return OriginalResponse(await self._deps.client(), self._token, self._to.token_expires)

    async def _edit(self, part: str, answer: Answer | None) -> str:
        original = await self._original()
        form = await self._renderer.make_form(part, answer)
        sheets: tuple[Sheet, ...] = ()
        if answer is None:
            form["view"] = render.stop_view(self._to.asker.id, self._locale)
        else:
            sheets = (await self._renderer.rendering(answer)).sheets

        async def edit(files: list[discord.File], notes: Sequence[str]) -> discord.Message:
            said = form | {"content": append_notes(form["content"], notes)}
            return await original.edit(**said, attachments=files)

        message = await send_with_sheets(edit, sheets, self._locale)
        post = f"{self._to.address.thread or self._to.address.channel}:{message.id}"
        if answer is not None:
            self._last = (post, part, answer)
        return post

    async def _instead(self, key: str, part: AnswerPart) -> str:
        """In the channel, where others may read it: never for what was private."""
        if self._token.private and self._to.address.shared:
            raise Undeliverable(reason="the command's token is over")
        if standing := await self._standing():
            await self._channel.edit(standing, part)
            return standing
        return await self._channel.post(key, part)

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
    interval = EDIT_INTERVAL_SECONDS

    def __init__(self, to: ReplyTo, token: Token, deps: SurfaceParts, locale: str) -> None:
        self._to = to
        self._deps = deps
        self._token = token
        self._locale = locale
        self._channel = ChannelSurface(to, deps, None, locale)
        self._aloud = False

    def split(self, text: str) -> tuple[str, ...]:
        return self._channel.split(text)

    async def seconds_until_growth(self) -> float:
        return 0.0

    async def show_activity(self, doing: str) -> None:
        """Once it is acked, the client shows nothing of a click."""
        await self._channel.show_activity(doing)

    async def end_activity(self) -> None:
        await self._channel.end_activity()

    async def post(self, key: str, part: AnswerPart) -> str:
        if part.answer is not None and not part.answer.aloud:
            await self._take(part.text, part.answer)
            return self._card
        self._aloud = True
        try:
            return await self._channel.post(key, part)
        except Undeliverable:
            await self._whisper(part.text)  # the bot is no member there; the token still answers
            return self._card

    async def _take(self, part: str, answer: Answer) -> None:
        await self._deps.acks.wait_for(self._to.turn)
        for card in answer.cards:
            await self._redraw(card)
        if part and (answer.private or answer.status == "failed" or not answer.cards):
            await self._whisper(part)

    async def edit(self, post: str, part: AnswerPart) -> None:
        if post != self._card:
            await self._channel.edit(post, part)
        elif part.answer is not None and not part.answer.aloud:
            await self._take(part.text, part.answer)

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
        await attempt(
            lambda: message.edit(embeds=embeds, view=view, allowed_mentions=MENTION_NOBODY)
        )

    async def _whisper(self, part: str) -> None:
        original = await self._original()
        try:
            await attempt(lambda: original.whisper(part), repeat=False)
        except TokenOver:
            raise Undeliverable(reason="the click's token is over") from None

    async def _original(self) -> OriginalResponse:
        return OriginalResponse(await self._deps.client(), self._token, self._to.token_expires)
