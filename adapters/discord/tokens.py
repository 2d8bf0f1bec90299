"""Interaction tokens: they allow the answer to a command or click. Also, whether each interaction
was acknowledged in time."""

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
"""Number of turns whose acknowledgements are remembered."""
TOKEN_SECONDS = 14.5 * 60
"""Seconds that a token is used for. Discord accepts it for 15 minutes
(interactions/receiving-and-responding.mdx#followup-messages)."""


@dataclass(frozen=True, slots=True)
class Token:
    """The token of an interaction, with which Ponte answers it.

    It is a secret, because anybody who has it can write in the app's name. It is erased when the
    turn ends.

    `kind`: a command is answered in its original response, a click on the message with the card.
    `is_private`: only the asker sees the original response; the first acknowledgement has fixed
    that.
    """

    value: str
    app: int
    kind: Literal["command", "click"]
    locale: str = "en"
    is_private: bool = False
    max_file_bytes: int = DEFAULT_FILE_SIZE_LIMIT_BYTES
    """Largest size of one file in the answer, in bytes: the interaction's
    `attachment_size_limit`."""

    @classmethod
    def of(
        cls, interaction: Interaction, kind: Literal["command", "click"], private: bool = False
    ) -> Token:
        """Return the token of an interaction."""
        locale = str(interaction.locale)
        app, largest = interaction.application_id, interaction.filesize_limit
        return cls(interaction.token, app, kind, locale, private, largest)

    @classmethod
    def read(cls, to: ReplyTo) -> Token | None:
        """Return the token that is stored in `to`, or None if it has none."""
        return cls(**json.loads(to.token)) if to.token else None

    def text(self) -> str:
        """Return the token as JSON, to be stored."""
        return json.dumps(asdict(self))


class Acks:
    """A record of whether each turn's interaction was acknowledged.

    The answer waits for the acknowledgement, because before it there is nothing to edit.
    """

    def __init__(self) -> None:
        self._acked: OrderedDict[str, asyncio.Future[bool]] = OrderedDict()

    def expect(self, turn: str) -> None:
        """Note that the interaction of this turn will be acknowledged."""
        if turn in self._acked:
            return
        self._acked[turn] = asyncio.get_running_loop().create_future()
        while len(self._acked) > MAX_REMEMBERED_ACKS:
            self.settle(next(iter(self._acked)), False)
            self._acked.popitem(last=False)

    def settle(self, turn: str, acked: bool) -> None:
        """Set whether the interaction of this turn was acknowledged. Only the first call counts."""
        future = self._acked.get(turn)
        if future is not None and not future.done():
            future.set_result(acked)

    async def wait_for(self, turn: str) -> bool | None:
        """Wait for the acknowledgement and return whether Discord accepted it. Return None for a
        turn that this process does not know, as after a restart."""
        future = self._acked.get(turn)
        return None if future is None else await asyncio.shield(future)


class OriginalResponse:
    """The original response to an interaction, accessed by its token. Each call raises TokenOver
    after the token has expired."""

    def __init__(self, client: discord.Client, token: Token, expires: float) -> None:
        self._expires = expires
        self._hook = discord.Webhook.partial(token.app, token.value, client=client)
        # The SDK takes a partial webhook for an incoming one, and refuses ephemeral messages on it.
        self._hook.type = discord.WebhookType.application

    async def edit(self, **form: Any) -> discord.WebhookMessage:
        """Change the response and return it."""
        self._check()
        return await self._hook.edit_message(_ORIGINAL, **form)

    async def read(self) -> discord.WebhookMessage:
        """Return the response."""
        self._check()
        return await self._hook.fetch_message(_ORIGINAL)

    async def whisper(self, text: str) -> None:
        """Send a follow-up message that only the person sees. It has no nonce, so a repeated call
        makes a second message."""
        self._check()
        await self._hook.send(text, ephemeral=True, wait=True)

    def _check(self) -> None:
        if time.time() > self._expires:
            raise TokenOver


class _AtOriginal:
    """Takes the place of a message id in a URL's path. The SDK would percent-encode the @ of a
    string."""

    def __str__(self) -> str:
        return "@original"


_ORIGINAL = cast(int, _AtOriginal())
