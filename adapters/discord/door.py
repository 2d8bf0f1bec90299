"""How a command or click is taken in. The order is always: rights, store, ack, and only then work.

Discord waits 3 seconds for the ack. Rights are looked up locally, both have deadlines, and where
storing fails the person is told at once that nothing was taken.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import discord
import structlog

from adapters.discord import events
from adapters.discord.acks import Acks
from adapters.discord.calls import ALREADY_ACKNOWLEDGED, IN_DOUBT, UNKNOWN_INTERACTION
from adapters.discord.fetch import Fetch
from adapters.discord.interaction_token import LIFE, Token
from adapters.discord.lanes import Lanes
from adapters.discord.places import Places, person
from adapters.discord.roles import Roles
from core.errors import NotStored
from core.messages import Address, Attachment, Message, Quote
from core.ports import Inbox, Policy
from core.records import Action
from core.words import nearest, say

log = structlog.get_logger("discord")
RIGHTS, STORED = 0.5, 1.8
"""Seconds from an interaction's coming until its rights are known, and until it is stored. Of the 3
until the ack must be there (receiving-and-responding.mdx#responding-to-an-interaction) more than
one is left for the way."""
RESTARTING = "I am about to restart. Please try again in a minute."
Interaction = discord.Interaction[Any]


@dataclass(frozen=True, slots=True)
class Said:
    """What a command or click stands for; `action` is the right that it needs at least."""

    text: str
    action: Action = "chat"
    private: bool = False
    context: tuple[Quote, ...] = ()
    files: tuple[Attachment, ...] = ()


class Door:
    def __init__(
        self,
        inbox: Inbox,
        policy: Policy,
        places: Places,
        roles: Roles,
        acks: Acks,
        fetch: Fetch,
        lanes: Lanes,
    ) -> None:
        self._inbox = inbox
        self._policy = policy
        self._places = places
        self._roles = roles
        self._acks = acks
        self._fetch = fetch
        self._lanes = lanes
        self.open = True
        """False once intake has stopped."""

    async def command(self, interaction: Interaction, said: Said) -> None:
        """Its whole answer will stand in the original response."""
        came = asyncio.get_running_loop().time()
        if not await self.may(interaction, said.action):
            return
        token = Token.of(interaction, "command", said.private)
        message = self._message(interaction, said, token)
        if not await self._stored(interaction, message, came):
            return
        await self._ack(interaction, message.turn, thinking=True, ephemeral=said.private)
        if message.attachments:
            self._lanes.aside(lambda: self._fetch.all_of(message))

    async def click(self, interaction: Interaction, said: Said, asker: int = 0) -> bool:
        """Whether it was taken and acked. Its outcome will stand where the button is.

        `asker`: whose conversation the click is about, where it is not the clicker's own.
        """
        came = asyncio.get_running_loop().time()
        if interaction.message is None or not await self.may(interaction, said.action):
            return False
        token = Token.of(interaction, "click")
        message = self._message(interaction, said, token, asker)
        if not await self._stored(interaction, message, came):
            return False
        return await self._ack(interaction, message.turn, thinking=False, ephemeral=False)

    async def modal(self, interaction: Interaction, modal: discord.ui.Modal) -> None:
        """Shown at once: a modal can only be the first answer, and nothing was said yet."""
        if await self.may(interaction, "chat"):
            await interaction.response.send_modal(modal)

    async def may(self, interaction: Interaction, action: Action) -> bool:
        """The first right; the turn checks each again. A refusal is the asker's alone to see."""
        if not self.open:
            await self._whisper(interaction, say(RESTARTING, locale(interaction)))
            return False
        self._roles.saw(interaction.user)
        try:
            async with asyncio.timeout(RIGHTS):
                who, where = person(interaction.user), self.address(interaction)
                verdict = await self._policy.may(who, where, action)
        except TimeoutError:
            return True
        if not verdict.allowed:
            await self._whisper(interaction, say(verdict.reason, locale(interaction)))
        return verdict.allowed

    def address(self, interaction: Interaction) -> Address:
        place = self._places.of_interaction(interaction)
        return self._places.aliased(place, interaction.user.id)

    def _message(
        self, interaction: Interaction, said: Said, token: Token, asker: int = 0
    ) -> Message:
        clicked = token.kind == "click" and interaction.message is not None
        return events.from_interaction(
            interaction,
            self._places.of_interaction(interaction),
            self._places,
            said.text,
            token.text(),
            time.time() + LIFE,
            source=str(interaction.message.id) if clicked and interaction.message else "",
            asker=asker,
            clicked=clicked,
            context=said.context,
            files=said.files,
        )

    async def _stored(self, interaction: Interaction, message: Message, came: float) -> bool:
        """Durable; False where that failed, and the person was told, or where it is a repeat."""
        self._acks.expect(message.turn)
        try:
            async with asyncio.timeout_at(came + STORED):
                receipt = await self._inbox.accept(message)
        except (NotStored, TimeoutError) as error:
            self._acks.settle(message.turn, False)
            if isinstance(error, TimeoutError):
                # It may come to be stored yet, and then it must not be answered.
                self._lanes.aside(lambda: self._withdraw(message))
            await self._whisper(interaction, NotStored().words(locale(interaction)))
            return False
        return receipt.fresh

    async def _withdraw(self, message: Message) -> None:
        await self._inbox.amend(message.event_key, None)

    async def _ack(
        self, interaction: Interaction, turn: str, *, thinking: bool, ephemeral: bool
    ) -> bool:
        """Whether Discord took the ack in time; a late one's answer goes to the channel."""
        acked = True
        try:
            await interaction.response.defer(thinking=thinking, ephemeral=ephemeral)
        except discord.HTTPException as refused:
            acked = refused.code == ALREADY_ACKNOWLEDGED
            if refused.code != UNKNOWN_INTERACTION:
                log.warning("not acked", why=f"{refused.status}/{refused.code}")
        except IN_DOUBT as error:
            # It may have come through: the first edit will tell.
            log.info("ack in doubt", why=type(error).__name__)
        self._acks.settle(turn, acked)
        return acked

    async def _whisper(self, interaction: Interaction, words: str) -> None:
        try:
            await interaction.response.send_message(words, ephemeral=True)
        except (discord.DiscordException, *IN_DOUBT) as error:
            log.info("not told", why=type(error).__name__)


def locale(interaction: Interaction) -> str:
    return nearest(str(interaction.locale))
