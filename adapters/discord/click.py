"""The outcome of a click: on the card itself, said to the one who clicked, or posted aloud."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from weakref import WeakValueDictionary

from adapters.discord import cards
from adapters.discord.calls import NOBODY, TokenOver, attempt
from adapters.discord.interaction_token import Original, Token
from adapters.discord.pages import LIMIT
from adapters.discord.surface import INTERVAL, ChannelSurface, Means
from core.errors import PostRemoved, Undeliverable
from core.messages import Answer, Card, File, ReplyTo

_redrawing: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
"""One click at a time on each message: its cards are read, changed and written back."""


class ClickSurface:
    """`to.source` is the message that holds the card."""

    limit = LIMIT
    interval = INTERVAL

    def __init__(self, to: ReplyTo, token: Token, means: Means, locale: str) -> None:
        self._to = to
        self._means = means
        self._token = token
        self._locale = locale
        self._channel = ChannelSurface(to, means, None, locale)
        self._aloud = False

    def split(self, text: str) -> tuple[str, ...]:
        return self._channel.split(text)

    async def busy(self, doing: str) -> None:
        """Once it is acked, the client shows nothing of a click."""
        await self._channel.busy(doing)

    async def rest(self) -> None:
        await self._channel.rest()

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
        await self._means.acks.of(self._to.turn)
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
        embeds, view = cards.redrawn(message, card, self._locale)
        await attempt(lambda: original.edit(embeds=embeds, view=view))

    async def _redraw_in_channel(self, card: Card) -> None:
        client = await self._means.client()
        channel = client.get_partial_messageable(self._where)
        message = await attempt(lambda: channel.fetch_message(int(self._to.source)))
        embeds, view = cards.redrawn(message, card, self._locale)
        await attempt(lambda: message.edit(embeds=embeds, view=view, allowed_mentions=NOBODY))

    async def _whisper(self, part: str) -> None:
        original = await self._original()
        try:
            await attempt(lambda: original.whisper(part), repeat=False)
        except TokenOver:
            raise Undeliverable(reason="the click's token is over") from None

    async def _original(self) -> Original:
        return Original(await self._means.client(), self._token, self._to.token_expires)
