"""Posts in a channel, thread or DM: made once by their nonce, found again by what they answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import discord

from adapters.discord import cards, lookup, outgoing
from adapters.discord.acks import Acks
from adapters.discord.calls import (
    IN_DOUBT,
    NO_HISTORY,
    NOBODY,
    FilesTooLarge,
    attempt,
    code_of,
)
from adapters.discord.marks import Marks
from adapters.discord.pages import LIMIT, MOST, pages
from adapters.discord.threads import Threads
from adapters.discord.typing_sign import TypingSign
from core.errors import PlatformBusy, PonteError, Undeliverable
from core.messages import Answer, File, ReplyTo
from core.ports import Files

INTERVAL = 1.3
"""Seconds between two edits. 5 messages and edits in 5 s were let through (#20); what holds now
stands in the headers alone, which the SDK obeys (topics/rate-limits.mdx)."""


@dataclass(frozen=True, slots=True)
class Means:
    """What every surface works with."""

    client: Callable[[], Awaitable[discord.Client]]
    threads: Threads
    sign: TypingSign
    marks: Marks
    acks: Acks
    files: Files


@dataclass(frozen=True, slots=True)
class Look:
    """What a post of ours shows, as far as this process knows."""

    content: str
    stop: bool = False


class ChannelSurface:
    """`source` is the message that is answered; None where a command's own post is lost."""

    limit = LIMIT
    interval = INTERVAL

    def __init__(self, to: ReplyTo, means: Means, source: int | None, locale: str) -> None:
        self._to = to
        self._means = means
        self._source = source
        self._locale = locale
        self._wardrobe = outgoing.Wardrobe(locale, MOST)
        self._parts: tuple[str, ...] = ()
        self._doubted: set[int] = set()
        self._looks: dict[str, Look] = {}
        self._changing = asyncio.Lock()
        self._last: tuple[str, str, Answer] | None = None
        self._uploads = 0
        self._refused: Undeliverable | None = None

    def split(self, text: str) -> tuple[str, ...]:
        self._parts = pages(text, self._locale, MOST).parts
        return self._parts

    async def busy(self, doing: str) -> None:
        self._means.marks.clear(self._to.turn)
        self._means.sign.start(self._to.turn, self.type)

    async def type(self) -> None:
        """In the channel while its thread is still being made."""
        client = await self._means.client()
        await client.get_partial_messageable(self._means.threads.standing(self._to)).typing()

    async def rest(self) -> None:
        await self._means.sign.end(self._to.turn)

    async def post(self, number: int, key: str, part: str, answer: Answer | None) -> str:
        if self._refused is not None:
            # Discord punishes who knocks at a closed door again and again.
            raise self._refused
        self._means.marks.clear(self._to.turn)
        channel = await self._channel()
        if number in self._doubted and (found := await self._by_text(channel, part)):
            await self.edit(found, part, answer)
            return found
        if answer is not None:
            await self.rest()
        form = await self._form(part, answer)
        try:
            message = await self._sent(channel, key, form, answer)
        except (PlatformBusy, *IN_DOUBT):
            await self.busy("")
            raise
        self._means.sign.grew(self._to.turn)
        post = f"{channel.id}:{message.id}"
        self._looks[post] = Look(form["content"])
        if answer is None:
            self._means.sign.later(self._to.turn, INTERVAL, self._offer_stop)
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
            said = form | {"content": outgoing.noted(form["content"], notes)}
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
            await self.rest()
        form = await self._form(part, answer)
        growing = answer is None and bool(self._parts) and part == self._parts[-1]
        async with self._changing:
            await self._change(post, Look(form["content"], growing), form, answer)
        await self._settled(post, part, answer)

    async def _offer_stop(self) -> None:
        """The newest post has grown for a while, and may go on to: it gets the button."""
        async with self._changing:
            for post, look in list(self._looks.items())[-1:]:
                if not look.stop:
                    await self._change(post, Look(look.content, stop=True), {})

    async def _change(
        self, post: str, look: Look, form: dict[str, Any], answer: Answer | None = None
    ) -> None:
        """Nothing is sent where the post shows that already: edits are few (see INTERVAL)."""
        had = self._looks.pop(post, None)
        plain = answer is None or (await self._wardrobe.dress(answer)).plain
        if had != look or not plain:
            message = await self._message(post)
            if look.stop and not (had and had.stop):
                form = form | {"view": cards.stop_view(self._to.asker.id, self._locale)}
            elif had and had.stop and not look.stop:
                form = {"view": None} | form

            async def change(files: list[discord.File], notes: Sequence[str]) -> discord.Message:
                more: dict[str, Any] = {"attachments": files} if answer else {}
                if notes:
                    more["content"] = outgoing.noted(form["content"], notes)
                return await message.edit(**form | more, allowed_mentions=NOBODY)

            await self._with_sheets(change, answer)
            self._means.sign.grew(self._to.turn)
        self._looks[post] = look

    async def delete(self, post: str) -> None:
        message = await self._message(post)
        self._looks.pop(post, None)
        await attempt(message.delete)

    async def find(self, number: int, key: str) -> str | None:
        """By what it answers; a post that answers nothing is found by its text, in `post`."""
        self._doubted.add(number)
        if number < 1 or self._source is None:
            return None
        channel = await self._channel()
        own = await self._own(channel)
        mine = lookup.answering(own, None if channel.id == self._source else self._source)
        return f"{channel.id}:{mine[number - 1].id}" if len(mine) >= number else None

    async def upload(self, key: str, files: Sequence[File]) -> str:
        """Put them under the answer's last post: an edit, so that it can be done again."""
        if self._last is None:
            raise Undeliverable(reason="files before their answer")
        post, part, answer = self._last
        message = await self._message(post)
        self._uploads += 1
        dress = await self._wardrobe.dress(answer)
        upload = outgoing.Upload(self._means.files, await self._largest())
        await upload.put(
            lambda text, attached: message.edit(
                content=text, attachments=attached, allowed_mentions=NOBODY
            ),
            outgoing.content(part, answer, self._locale),
            dress.sheets,
            files,
            self._locale,
            self._uploads,
        )
        return post

    async def _largest(self) -> int:
        """Bytes of one file: by the server's boosts, which the SDK knows once it has the server."""
        client, id = await self._means.client(), int(self._to.address.workspace or 0)
        if not id:
            return outgoing.FILE_LIMIT
        guild = client.get_guild(id)
        with suppress(PonteError, *IN_DOUBT):
            guild = guild or await attempt(lambda: client.fetch_guild(id, with_counts=False))
        return guild.filesize_limit if guild else outgoing.FILE_LIMIT

    async def _form(self, part: str, answer: Answer | None) -> dict[str, Any]:
        form: dict[str, Any] = {"content": outgoing.content(part, answer, self._locale)}
        if answer is not None:
            dress = await self._wardrobe.dress(answer)
            form |= {"embeds": dress.embeds, "view": dress.view}
        return form

    async def _with_sheets(
        self,
        call: Callable[[list[discord.File], Sequence[str]], Awaitable[discord.Message]],
        answer: Answer | None,
    ) -> discord.Message:
        """`call` with the answer's long tables; where Discord refuses them, a line names each."""
        if answer is None:
            return await attempt(lambda: call([], ()))
        dress = await self._wardrobe.dress(answer)
        try:
            return await attempt(lambda: call(dress.attachments(), ()))
        except (FilesTooLarge, Undeliverable) as refused:
            names = [sheet.name for sheet in dress.sheets]
            notes = outgoing.refusals(refused, names, self._locale)
            return await attempt(lambda: call([], notes))

    async def _settled(self, post: str, part: str, answer: Answer | None) -> None:
        """The answer stands: no typing, and no stop button under an earlier part of it."""
        if answer is None:
            return
        self._last = (post, part, answer)
        for other, look in list(self._looks.items()):
            if look.stop:
                await self._change(other, Look(look.content), {})

    async def _channel(self) -> discord.PartialMessageable:
        client = await self._means.client()
        guild = int(self._to.address.workspace or 0) or None
        where = await self._means.threads.where(self._to)
        return client.get_partial_messageable(where, guild_id=guild)

    async def _message(self, post: str) -> discord.PartialMessage:
        client = await self._means.client()
        channel, _, message = post.partition(":")
        return client.get_partial_messageable(int(channel)).get_partial_message(int(message))

    def _answering(self, channel: int) -> dict[str, Any]:
        """What our post refers to; a thread's starter stands in the channel above it."""
        if self._source is None or channel == self._source:
            return {}
        reference = discord.MessageReference(
            message_id=self._source, channel_id=channel, fail_if_not_exists=False
        )
        return {"reference": reference}

    async def _by_text(self, channel: discord.PartialMessageable, part: str) -> str | None:
        found = lookup.saying(await self._own(channel), part, self._source)
        return f"{channel.id}:{found.id}" if found else None

    async def _own(self, channel: discord.PartialMessageable) -> Sequence[discord.Message]:
        since = self._source or int(self._to.source)
        return await lookup.own_since(await self._means.client(), channel, since)
