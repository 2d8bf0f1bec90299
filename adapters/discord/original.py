"""A command's whole answer in its original response: by edits, the rest as attached files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import discord

from adapters.discord import cards, outgoing
from adapters.discord.calls import FilesTooLarge, TokenOver, attempt
from adapters.discord.interaction_token import Original, Token
from adapters.discord.markup import Sheet, inert
from adapters.discord.pages import LIMIT, pages
from adapters.discord.surface import INTERVAL, ChannelSurface, Means
from core.errors import Undeliverable
from core.messages import Answer, File, ReplyTo

PARTS = 1


class OriginalSurface:
    """Where the token ended before the answer, a post in the channel takes the answer's place."""

    limit = LIMIT
    interval = INTERVAL

    def __init__(self, to: ReplyTo, token: Token, means: Means, locale: str) -> None:
        self._to = to
        self._token = token
        self._means = means
        self._locale = locale
        self._wardrobe = outgoing.Wardrobe(locale, PARTS)
        self._channel = ChannelSurface(to, means, None, locale)
        self._last: tuple[str, str, Answer] | None = None
        self._uploads = 0
        self._lost = False

    def split(self, text: str) -> tuple[str, ...]:
        return pages(text, self._locale, PARTS).parts

    async def busy(self, doing: str) -> None:
        """ "thinking…" stands there since the ack, as long as the token lives, and then typing;
        what is being done says more."""
        self._means.sign.start(self._to.turn, self._type)
        if doing and not await self._over():
            await self._edit(f"*{discord.utils.escape_markdown(inert(doing))}*", None)

    async def _type(self) -> None:
        if not self._token.private and await self._over():
            await self._channel.type()

    async def rest(self) -> None:
        await self._channel.rest()

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
        dress = await self._wardrobe.dress(answer)
        await outgoing.Upload(self._means.files, self._token.largest).put(
            lambda text, attached: original.edit(content=text, attachments=attached),
            outgoing.content(part, answer, self._locale),
            dress.sheets,
            files,
            self._locale,
            self._uploads,
        )
        return post

    async def _over(self) -> bool:
        """Whether the token answers no more: its time is over, or it was acked too late."""
        if self._lost or time.time() > self._to.token_expires:
            return True
        self._lost = await self._means.acks.of(self._to.turn) is False
        return self._lost

    async def _original(self) -> Original:
        return Original(await self._means.client(), self._token, self._to.token_expires)

    async def _edit(self, part: str, answer: Answer | None) -> str:
        original = await self._original()
        form: dict[str, Any] = {"content": outgoing.content(part, answer, self._locale)}
        sheets: tuple[Sheet, ...] = ()
        if answer is None:
            form["view"] = cards.stop_view(self._to.asker.id, self._locale)
        else:
            dress = await self._wardrobe.dress(answer)
            form |= {"embeds": dress.embeds, "view": dress.view}
            sheets = dress.sheets
        try:
            message = await attempt(
                lambda: original.edit(**form, attachments=outgoing.attachments(sheets))
            )
        except (FilesTooLarge, Undeliverable) as refused:
            names = [sheet.name for sheet in sheets]
            notes = outgoing.refusals(refused, names, self._locale)
            form["content"] = outgoing.noted(form["content"], notes)
            message = await attempt(lambda: original.edit(**form, attachments=[]))
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
        client = await self._means.client()
        where = int(self._to.address.thread or self._to.address.channel)
        channel = client.get_partial_messageable(where)

        async def read() -> list[discord.Message]:
            after = discord.Object(int(self._to.source))
            return [m async for m in channel.history(after=after, limit=100, oldest_first=True)]

        try:
            found = await attempt(read)
        except Undeliverable:
            return None
        for message in found:
            made_by = message.interaction_metadata
            if made_by is not None and made_by.id == int(self._to.source):
                return f"{where}:{message.id}"
        return None
