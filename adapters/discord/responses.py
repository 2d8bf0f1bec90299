"""The `Surface` implementations for interactions: in a command's response, and for a click."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakValueDictionary

import discord

from adapters.discord import card_embeds
from adapters.discord.client import IN_DOUBT, MENTION_NOBODY, TokenOver, attempt, history
from adapters.discord.render import disable_markup
from adapters.discord.state import TOKEN_SECONDS, Acks, OriginalResponse, Token
from adapters.discord.surface import ChannelSurface, DiscordSurface
from core.base.errors import PonteError, PostRemoved, Undeliverable
from core.base.i18n import say
from core.chat.interactions import ANSWERED_DIRECTLY, NO_DIRECT_MESSAGE
from core.domain.messages import Answer, Card, File, ReplyTo
from core.domain.ports import AnswerPart

ORIGINAL_PARTS = 1
"""The answer to a command has only the original response."""
_redrawing: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
"""Message id → a lock for redraws of its cards. A redraw reads all cards, changes one, and writes
all back; two at once would lose a change."""


def _say_where(post: str) -> str:
    link = f"https://discord.com/channels/@me/{post.replace(':', '/')}"
    return say(ANSWERED_DIRECTLY, url=link)


class TokenSurface(DiscordSurface):
    """The base of the surfaces for an interaction (a command or a click): posts are made through
    its token while that is valid, else as messages of the channel (`_channel`)."""

    def __init__(self, to: ReplyTo, token: Token, acks: Acks, channel: ChannelSurface) -> None:
        super().__init__(to, channel.signs, channel.files)
        self.client = channel.client
        self._token = token
        self._acks = acks
        self._channel = channel

    @property
    def _is_apart(self) -> bool:
        """Only the asker sees the original response, and no channel has it. The channel of the
        address is their direct message."""
        return self._token.is_private and not self._to.address.is_shared

    @property
    def _where(self) -> int:
        return int(self._to.address.thread or self._to.address.channel)

    async def _open_original(self) -> OriginalResponse:
        return OriginalResponse(await self.client(), self._token, self._to.token_expires_at)


class ResponseSurface(TokenSurface):
    """Shows the whole answer to a command in its original response, by edits. Text that does not
    fit is attached as a file. If the token expires before the answer is complete, a post in the
    channel replaces it."""

    max_posts = ORIGINAL_PARTS
    _is_token_lost = False
    """The token is known to be unusable."""

    async def seconds_until_growth(self) -> float:
        """A private answer is posted once: its token may end before the text is complete."""
        return TOKEN_SECONDS if self._is_apart else 0.0

    async def show_activity(self, doing: str) -> None:
        """Write what is being done into the original response, which shows "thinking…" from the
        acknowledgement on. Once the token has expired, a public answer shows the typing indicator
        instead."""
        self.signs.start(self._to.turn, self._type_later)
        if doing and not await self._is_over():
            await self._edit(f"*{discord.utils.escape_markdown(disable_markup(doing))}*", None)

    async def _type_later(self) -> None:
        if not self._token.is_private and await self._is_over():
            await self._channel.type()

    async def post(self, key: str, part: AnswerPart) -> str:
        """Write the part into the original response, or post it in the channel if the token has
        expired. Return the post's id as `channel:message`.

        Raises Undeliverable if the token has expired and others could read a private answer in the
        channel.
        """
        # The cards of a private answer change later than the token lets it be edited.
        is_lasting = self._is_apart and part.answer is not None and bool(part.answer.cards)
        if not is_lasting and (post := await self._write_original(part)):
            return post
        if self._is_apart:
            return await self._post_directly(key, part)
        # Only the token is over: the bot's own right edits the response.
        if original := await self._find_original():
            await self._channel.edit(original, part)
            return original
        return await self._channel.post(key, part)

    async def _post_directly(self, key: str, part: AnswerPart) -> str:
        """Post a private answer in the direct message, once, and say so in the response if the
        token is still valid."""
        await self._channel.find(part.number, key)  # so that `post` looks for an earlier try's
        try:
            post = await self._channel.post(key, part)
        except Undeliverable:
            await self._replace_response(say(NO_DIRECT_MESSAGE))
            raise
        self._last = None
        await self._replace_response(_say_where(post))
        return post

    async def _replace_response(self, words: str) -> None:
        if not await self._is_over():
            with suppress(PonteError, TokenOver, *IN_DOUBT):
                original = await self._open_original()
                await attempt(lambda: original.edit(content=words, view=None, attachments=[]))

    async def edit(self, post: str, part: AnswerPart) -> None:
        """Change the answer, through the token or, once that has expired, as a message of the
        channel. Raises Undeliverable as `post` does."""
        has_cards = part.answer is not None and part.answer.cards
        if (self._is_apart and has_cards) or not await self._write_original(part):
            try:
                await self._channel.edit(post, part)
            except PostRemoved:
                if not self._is_apart:
                    raise
                # The response was the post, and its token is over.
                await self._post_directly(f"{self._to.turn}:{part.number}", part)

    async def delete(self, post: str) -> None:
        """Delete a post, as any message of the channel."""
        await self._channel.delete(post)

    async def find(self, number: int, key: str) -> str | None:
        """Return None while the token is valid, because writing the original response can be
        repeated. Later, look for it in the channel's history; else `post` looks for a post with the
        same text. None for the files: attaching them can be repeated too."""
        if number < 1 or not await self._is_over():
            return None
        return await self._find_original() or await self._channel.find(number, key)

    async def upload(self, key: str, files: Sequence[File]) -> str:
        """Add the files to the original response, or to the post in the channel that replaced it.
        `key` is not used: files are added by an edit, which can be repeated."""
        # `_last`: the post, text and answer that were written into the original response. If
        # `over`, the token to edit it has expired.
        over = await self._is_over()
        if over and self._last is not None:
            # The token expired after the answer was complete. An upload of the channel's surface
            # goes to the post that it edited last, and it does not know this one yet. Without the
            # token, `edit` passes the edit on to that surface, which then knows the post. The part
            # is the last one: a response has only one (ORIGINAL_PARTS).
            post, part, answer = self._last
            await self.edit(post, AnswerPart(ORIGINAL_PARTS, part, answer, is_final=True))
        if over or self._last is None:  # None: the answer was posted in the channel
            return await self._channel.upload(key, files)
        original = await self._open_original()
        return await self._put_files(
            lambda text, attachments: original.edit(content=text, attachments=attachments),
            files,
            self._token.max_file_bytes,
        )

    async def _is_over(self) -> bool:
        """The token cannot be used: it has expired, or Discord refused the acknowledgement. Waits
        for one that is under way."""
        if self._is_token_lost or time.time() > self._to.token_expires_at:
            return True
        # None: of a former process. The first edit shows whether the acknowledgement counted.
        self._is_token_lost = await self._acks.wait_for(self._to.turn) is False
        return self._is_token_lost

    async def _write_original(self, part: AnswerPart) -> str | None:
        """Write the part into the original response and return the post's id, None if the token has
        expired. Raises Undeliverable if it has, and others could read a private answer in the
        channel."""
        if not await self._is_over():
            try:
                return await self._edit(part.text, part.answer, keeps_files=part.is_redrawn)
            except TokenOver:
                self._is_token_lost = True
        # Only the token can make or edit a message that one person alone sees.
        if self._token.is_private and self._to.address.is_shared:
            raise Undeliverable(reason="the command's token is over")
        return None

    async def _edit(self, part: str, answer: Answer | None, *, keeps_files: bool = False) -> str:
        """Write a part into the original response and return its id as `channel:message`. While the
        answer grows (`answer` is None), the response has a stop button. The whole answer has its
        sheets, files with long tables or a long text. Raises TokenOver."""
        original = await self._open_original()
        form = await self._renderer.make_form(part, answer)
        if answer is None:
            form["view"] = card_embeds.build_stop_view(self._to.asker.id)
        message = await self._renderer.send(
            form,
            None if keeps_files else answer,
            lambda form, files: original.edit(
                **form, **({} if keeps_files else {"attachments": files})
            ),
        )
        post = f"{self._where}:{message.id}"
        if answer is not None:
            # `upload` adds files by an edit, which replaces all of it.
            self._last = (post, part, answer)
        return post

    async def _find_original(self) -> str | None:
        """Return the id of the original response: the channel's message that names the interaction.
        None if it is not among the 100 messages after the command, or if history cannot be read."""
        client = await self.client()
        channel = client.get_partial_messageable(self._where)
        # The interaction's id. Ids grow with time, and the response came later.
        after = discord.Object(int(self._to.source))
        try:
            messages = await history(channel, after=after, limit=100, oldest_first=True)
        except Undeliverable:
            return None
        for message in messages:
            made_by = message.interaction_metadata
            if made_by is not None and made_by.id == int(self._to.source):
                return f"{self._where}:{message.id}"
        return None


class ClickSurface(TokenSurface):
    """Shows the outcome of a click: on the card, in an ephemeral message (only the person who
    clicked sees it), or, if the answer is `has_own_post`, in a post for everybody. `to.source` is
    the id of the message that contains the card."""

    _has_own_post = False
    """The outcome has a post of its own."""

    async def show_activity(self, doing: str) -> None:
        """After the acknowledgement of a click the Discord client itself shows no progress."""
        await self._channel.show_activity(doing)

    async def post(self, key: str, part: AnswerPart) -> str:
        """Redraw the card, post an answer in the channel if it has a post of its own or grows, or
        send a part of a private answer as an ephemeral message. Return the id of the card's message
        or of the new post, as `channel:message`."""
        # The redrawn card tells the outcome.
        if part.answer is not None and not part.answer.has_own_post:
            await self._show_outcome(part.text, part.answer)
            return self._card
        # An ephemeral message cannot be found or edited later, so the card's id stands for it.
        if part.is_private:
            await self._whisper(part.text)
            return self._card
        try:
            post = await self._channel.post(key, part)
        except Undeliverable:
            # May not post there, but the token is valid. A card alone has no text.
            await self._whisper(part.text or say(NO_DIRECT_MESSAGE))
            return self._card
        self._has_own_post = True  # so `upload` adds the answer's files there
        if self._is_apart and part.is_final:
            with suppress(PonteError, *IN_DOUBT):
                await self._whisper(_say_where(post))
        return post

    async def _show_outcome(self, part: str, answer: Answer) -> None:
        """Redraw the answer's cards. The text is an ephemeral message if it is private, reports a
        failure, or comes without a card. Otherwise the card says enough."""
        # Before the acknowledgement, there is no original response to edit.
        await self._acks.wait_for(self._to.turn)
        for card in answer.cards:
            await self._redraw(card)
        if part and (answer.is_private or answer.status == "failed" or not answer.cards):
            await self._whisper(part)

    async def edit(self, post: str, part: AnswerPart) -> None:
        """Redraw the card if `post` is its message."""
        if post != self._card:
            await self._channel.edit(post, part)
        elif part.answer is not None and not part.answer.has_own_post:
            await self._show_outcome(part.text, part.answer)

    async def delete(self, post: str) -> None:
        """The message with the card is not deleted."""

    async def find(self, number: int, key: str) -> str | None:
        """Return None: `post` then looks in the channel for a post with the same text."""
        return await self._channel.find(number, key)

    async def upload(self, key: str, files: Sequence[File]) -> str:
        """Only the answer's own post has a place for files."""
        return await self._channel.upload(key, files) if self._has_own_post else self._card

    @property
    def _card(self) -> str:
        return f"{self._where}:{self._to.source}"

    async def _redraw(self, card: Card) -> None:
        """Redraw one card, through the token or, once that has expired, as a message of the
        channel. If somebody deleted the message, nothing is redrawn: the decision is stored."""
        # Two decisions at once would each put back the other's old card. So each message with cards
        # has a lock in `_redrawing`; `source` is the message's id.
        lock = _redrawing.setdefault(int(self._to.source), asyncio.Lock())
        with suppress(PostRemoved):
            async with lock:
                try:
                    original = await self._open_original()
                    message: discord.Message = await attempt(original.read)
                    embeds, view = card_embeds.redraw_card(message, card)
                    await attempt(lambda: original.edit(embeds=embeds, view=view))
                except TokenOver:
                    client = await self.client()
                    channel = client.get_partial_messageable(self._where)
                    message = await attempt(lambda: channel.fetch_message(int(self._to.source)))
                    embeds, view = card_embeds.redraw_card(message, card)
                    form: dict[str, Any] = {"embeds": embeds, "view": view}
                    await attempt(lambda: message.edit(**form, allowed_mentions=MENTION_NOBODY))

    async def _whisper(self, part: str) -> None:
        """Send an ephemeral message. It is not repeated: it has no nonce and could appear twice.
        Only the click's token, which `original` holds, can send it."""
        original = await self._open_original()
        try:
            await attempt(lambda: original.whisper(part), repeat=False)
        except TokenOver:
            raise Undeliverable(reason="the click's token is over") from None
