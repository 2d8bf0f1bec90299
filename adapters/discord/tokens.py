"""Interaction tokens: the answer to a command or click, and whether it was acknowledged in time."""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import discord
from discord.utils import DEFAULT_FILE_SIZE_LIMIT_BYTES

from adapters.discord.client import Interaction, TokenOver
from core.domain.messages import ReplyTo

MAX_REMEMBERED_ACKS = 1000
"""Turns whose acks are remembered."""
TOKEN_SECONDS = 14.5 * 60
"""Seconds; Discord takes a token for 15 minutes
(interactions/receiving-and-responding.mdx#followup-messages)."""


@dataclass(frozen=True, slots=True)
class Token:
    """Answers an interaction while it lives. A secret, erased with the turn's end: whoever has it
    can write in the app's name.

    `kind`: a command's answer is the original response, a click's stands where the card is.
    `private`: the asker alone sees the original response, which the first ack has fixed.
    """

    value: str
    app: int
    kind: Literal["command", "click"]
    locale: str = "en"
    private: bool = False
    largest: int = DEFAULT_FILE_SIZE_LIMIT_BYTES
    """Bytes of one file in the answer: the interaction's `attachment_size_limit`."""

    @classmethod
    def of(
        cls,
        interaction: Interaction,
        kind: Literal["command", "click"],
        private: bool = False,
    ) -> Token:
        locale = str(interaction.locale)
        app, largest = interaction.application_id, interaction.filesize_limit
        return cls(interaction.token, app, kind, locale, private, largest)

    @classmethod
    def read(cls, to: ReplyTo) -> Token | None:
        return cls(**json.loads(to.token)) if to.token else None

    def text(self) -> str:
        return json.dumps(asdict(self))


class Acks:
    """Whether each turn's interaction was acked: the answer waits for that, since there is nothing
    to edit before. None for a turn that this process knows nothing of: a restart came between."""

    def __init__(self) -> None:
        self._acked: OrderedDict[str, asyncio.Future[bool]] = OrderedDict()

    def expect(self, turn: str) -> None:
        if turn in self._acked:
            return
        self._acked[turn] = asyncio.get_running_loop().create_future()
        while len(self._acked) > MAX_REMEMBERED_ACKS:
            self.settle(next(iter(self._acked)), False)
            self._acked.popitem(last=False)

    def settle(self, turn: str, acked: bool) -> None:
        future = self._acked.get(turn)
        if future is not None and not future.done():
            future.set_result(acked)

    async def wait_for(self, turn: str) -> bool | None:
        future = self._acked.get(turn)
        return None if future is None else await asyncio.shield(future)


class OriginalResponse:
    """The original response, through its token. Raises TokenOver once that has ended."""

    def __init__(self, client: discord.Client, token: Token, expires: float) -> None:
        self._expires = expires
        self._hook = discord.Webhook.partial(token.app, token.value, client=client)
        # A partial one passes for an incoming webhook, which may not whisper.
        self._hook.type = discord.WebhookType.application

    async def edit(self, **form: Any) -> discord.WebhookMessage:
        self._check()
        return await self._hook.edit_message(_ORIGINAL, **form)

    async def read(self) -> discord.WebhookMessage:
        self._check()
        return await self._hook.fetch_message(_ORIGINAL)

    async def whisper(self, text: str) -> None:
        """A follow-up that the person alone sees. It has no nonce: repeated, it stands twice."""
        self._check()
        await self._hook.send(text, ephemeral=True, wait=True)

    def _check(self) -> None:
        if time.time() > self._expires:
            raise TokenOver


class _AtOriginal:
    """Where an id stands in the path; the SDK would quote the @ of a text there."""

    def __str__(self) -> str:
        return "@original"


_ORIGINAL = cast(int, _AtOriginal())
