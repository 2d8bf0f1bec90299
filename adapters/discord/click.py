"""The outcome of a click: on the card itself, or said to the one who clicked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from weakref import WeakValueDictionary

from adapters.discord import cards
from adapters.discord.calls import TokenOver, attempt
from adapters.discord.interaction_token import Original, Token
from adapters.discord.markup import render
from adapters.discord.pages import LIMIT
from adapters.discord.surface import INTERVAL, Means
from core.errors import PostRemoved, Undeliverable
from core.messages import Answer, Card, File, ReplyTo
from core.splitting import split

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

    def split(self, text: str) -> tuple[str, ...]:
        return (text,)

    async def busy(self, doing: str) -> None:
        """The client shows that a click is being taken."""

    async def post(self, number: int, key: str, part: str, answer: Answer | None) -> str:
        post = f"{self._where}:{self._to.source}"
        if answer is not None:
            await self._means.acks.of(self._to.turn)
            for card in answer.cards:
                await self._redraw(card)
            if part and (answer.private or answer.status == "failed" or not answer.cards):
                await self._whisper(part)
        return post

    async def edit(self, post: str, part: str, answer: Answer | None) -> None:
        if answer is not None:
            await self.post(1, "", part, answer)

    async def delete(self, post: str) -> None:
        """The card's message stays."""

    async def find(self, number: int, key: str) -> str | None:
        return None

    async def upload(self, key: str, files: Sequence[File]) -> str:
        """A decision makes no files."""
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
        await attempt(lambda: message.edit(embeds=embeds, view=view))

    async def _whisper(self, words: str) -> None:
        original = await self._original()
        text = split(render(words, self._locale).text, LIMIT)[0]
        try:
            await attempt(lambda: original.whisper(text), repeat=False)
        except TokenOver:
            raise Undeliverable(reason="the click's token is over") from None

    async def _original(self) -> Original:
        return Original(await self._means.client(), self._token, self._to.token_expires)
