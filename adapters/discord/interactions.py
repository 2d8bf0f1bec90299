"""Commands, clicks and modals. The order of each: rights, store, ack, and only then work.

Discord waits 3 seconds for the ack. Rights are looked up locally, storing has a deadline, and
where it fails the person is told at once that nothing was taken.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import discord
import structlog

from adapters.discord import cards, events, modals
from adapters.discord.acks import Acks
from adapters.discord.calls import ALREADY_ACKNOWLEDGED, IN_DOUBT, UNKNOWN_INTERACTION
from adapters.discord.fetch import Fetch
from adapters.discord.interaction_token import LIFE, Token
from adapters.discord.lanes import Lanes
from adapters.discord.places import Places, person
from adapters.discord.roles import Roles
from core import commands
from core.commands import Command
from core.errors import NotStored
from core.messages import Message, Quote
from core.ports import Inbox, Policy, StatusBoard
from core.records import Action, QuickCommand
from core.words import nearest, say

log = structlog.get_logger("discord")
RIGHTS, STORING = 0.5, 2.0
"""Seconds for each before the ack, of the 3 that Discord gives."""
WHISPERED = frozenset({"new", "status", "stop", "usage"})
"""Words whose answer is for the asker alone."""
RESTARTING = "I am about to restart. Please try again in a minute."
Interaction = discord.Interaction[Any]


@dataclass(frozen=True, slots=True)
class Said:
    """What a command or click stands for."""

    text: str
    action: Action = "chat"
    private: bool = False
    context: tuple[Quote, ...] = ()
    files: tuple[discord.Attachment, ...] = ()


class Interactions:
    def __init__(
        self,
        inbox: Inbox,
        policy: Policy,
        board: StatusBoard,
        places: Places,
        roles: Roles,
        acks: Acks,
        fetch: Fetch,
        lanes: Lanes,
    ) -> None:
        self._inbox = inbox
        self._policy = policy
        self._board = board
        self._places = places
        self._roles = roles
        self._acks = acks
        self._fetch = fetch
        self._lanes = lanes
        self.open = True
        """False once intake has stopped."""

    async def take(self, interaction: Interaction) -> None:
        """Clicks and modals; commands come through the SDK's tree."""
        data: Mapping[str, Any] = interaction.data or {}
        id = str(data.get("custom_id", ""))
        if interaction.type is discord.InteractionType.component:
            await self._click(interaction, id)
        elif interaction.type is discord.InteractionType.modal_submit:
            await self._submitted(interaction, id)

    async def ask(self, interaction: Interaction, prompt: str, file: Any) -> None:
        if not prompt and file is None:
            await self._modal(interaction, modals.ask(_locale(interaction)))
            return
        files = (file,) if file is not None else ()
        await self._command(interaction, Said(prompt, files=files))

    async def ask_about(self, interaction: Interaction, message: discord.Message) -> None:
        me = interaction.client.user.id if interaction.client.user else 0
        text = events.said(message, me)
        if message.message_snapshots and not text:
            text = message.message_snapshots[0].content
        await self._modal(interaction, modals.about(message, text, _locale(interaction)))

    async def quick(self, interaction: Interaction, slug: str, input: str, file: Any) -> None:
        if not input and file is None and modals.QUICK.fullmatch(f"ponte:quick:{slug}"):
            known = await self._known(interaction, slug)
            if known is None or known.inputs:
                await self._modal(interaction, modals.quick(slug, known, _locale(interaction)))
                return
        files = (file,) if file is not None else ()
        await self._command(interaction, Said(_quick(slug, input), "spend", files=files))

    async def word(self, interaction: Interaction, word: str) -> None:
        await self._command(interaction, Said(word, private=word in WHISPERED))

    async def undo(self, interaction: Interaction, change: str) -> None:
        await self._command(interaction, Said(f"undo {change.lower()}"))

    async def slugs(self, interaction: Interaction, typed: str) -> Sequence[tuple[str, str]]:
        typed = typed.lower()
        known = await self._board.commands(person(interaction.user), self._address(interaction))
        return [
            (f"{command.slug} – {command.title}" if command.title else command.slug, command.slug)
            for command in known
            if typed in command.slug.lower() or typed in command.title.lower()
        ]

    async def undoable(self, interaction: Interaction, typed: str) -> Sequence[tuple[str, str]]:
        changes = await self._board.changes(self._address(interaction).conversation)
        return [
            (f"{card.id} – {card.title}", card.id)
            for card in changes
            if "undo" in card.actions and (typed in card.id or typed in card.title.lower())
        ]

    async def _known(self, interaction: Interaction, slug: str) -> QuickCommand | None:
        try:
            async with asyncio.timeout(RIGHTS):
                known = await self._board.commands(
                    person(interaction.user), self._address(interaction)
                )
        except TimeoutError:
            return None
        return next((command for command in known if command.slug == slug), None)

    async def _submitted(self, interaction: Interaction, id: str) -> None:
        given = modals.values(interaction)
        prompt = given.get(modals.PROMPT, "")
        if id == modals.ASK:
            await self._command(interaction, Said(prompt))
        elif id == modals.ABOUT:
            quoted = given.get(modals.QUOTE, "")
            context = (Quote("the message asked about", quoted),) if quoted else ()
            await self._command(interaction, Said(prompt, context=context))
        elif found := modals.QUICK.fullmatch(id):
            slug = found["slug"]
            if found["named"]:
                filled = {name: value for name, value in given.items() if value}
                said = commands.render(Command("quick-command", slug=slug, input=filled))
            else:
                said = _quick(slug, given.get(modals.INPUT, ""))
            await self._command(interaction, Said(said, "spend"))

    async def _click(self, interaction: Interaction, id: str) -> None:
        if found := cards.ID.fullmatch(id):
            await self._decide(interaction, Said(f"{found['action']} {found['card']}"), 0)
        elif found := cards.STOP.fullmatch(id):
            await self._stop(interaction, int(found["asker"]))

    async def _modal(self, interaction: Interaction, modal: discord.ui.Modal) -> None:
        if await self._may(interaction, "chat"):
            await interaction.response.send_modal(modal)

    async def _command(self, interaction: Interaction, said: Said) -> None:
        if not await self._may(interaction, said.action):
            return
        token = Token.of(interaction, "command", said.private)
        message = self._message(interaction, said, token)
        if await self._stored(interaction, message):
            await self._ack(interaction, message.turn, thinking=True, ephemeral=said.private)
            if message.attachments:
                self._lanes.aside(lambda: self._fetch.all_of(message))

    async def _decide(self, interaction: Interaction, said: Said, asker: int) -> bool:
        """`asker`: whose conversation the click is about, where it is not the clicker's own."""
        if interaction.message is None or not await self._may(interaction, "chat"):
            return False
        token = Token.of(interaction, "click")
        source = str(interaction.message.id)
        message = self._message(interaction, said, token, source, asker, clicked=True)
        if not await self._stored(interaction, message):
            return False
        return await self._ack(interaction, message.turn, thinking=False, ephemeral=False)

    def _message(
        self,
        interaction: Interaction,
        said: Said,
        token: Token,
        source: str = "",
        asker: int = 0,
        clicked: bool = False,
    ) -> Message:
        return events.from_interaction(
            interaction,
            self._places.of_interaction(interaction),
            self._places,
            said.text,
            token.text(),
            time.time() + LIFE,
            source=source,
            asker=asker,
            clicked=clicked,
            context=said.context,
            files=said.files,
        )

    async def _may(self, interaction: Interaction, action: Action) -> bool:
        """The first right; the turn checks each again. A refusal is the asker's alone to see."""
        if not self.open:
            await self._whisper(interaction, say(RESTARTING, _locale(interaction)))
            return False
        self._roles.saw(interaction.user)
        who, where = person(interaction.user), self._address(interaction)
        try:
            async with asyncio.timeout(RIGHTS):
                verdict = await self._policy.may(who, where, action)
        except TimeoutError:
            return True
        if not verdict.allowed:
            await self._whisper(interaction, say(verdict.reason, _locale(interaction)))
        return verdict.allowed

    async def _stored(self, interaction: Interaction, message: Message) -> bool:
        """Durable; False where that failed, and the person was told, or where it is a repeat."""
        self._acks.expect(message.turn)
        try:
            async with asyncio.timeout(STORING):
                receipt = await self._inbox.accept(message)
        except (NotStored, TimeoutError):
            self._acks.settle(message.turn, False)
            await self._whisper(interaction, NotStored().words(_locale(interaction)))
            return False
        return receipt.fresh

    async def _ack(
        self, interaction: Interaction, turn: str, *, thinking: bool, ephemeral: bool
    ) -> bool:
        """Whether Discord took the ack in time; a late one's answer goes to the channel."""
        try:
            await interaction.response.defer(thinking=thinking, ephemeral=ephemeral)
        except discord.HTTPException as refused:
            acked = refused.code == ALREADY_ACKNOWLEDGED
            if refused.code != UNKNOWN_INTERACTION:
                log.warning("not acked", why=f"{refused.status}/{refused.code}")
        except IN_DOUBT:
            # The ack may have come through; the first edit will tell.
            acked = True
        else:
            acked = True
        self._acks.settle(turn, acked)
        return acked

    async def _stop(self, interaction: Interaction, asker: int) -> None:
        """The button goes with the first click on it: what it stands under may grow no more."""
        acked = await self._decide(interaction, Said("stop"), asker)
        if acked and interaction.message is not None:
            view = cards.without_stop(interaction.message)
            with suppress(discord.HTTPException, *IN_DOUBT):
                await interaction.edit_original_response(view=view)

    async def _whisper(self, interaction: Interaction, words: str) -> None:
        try:
            await interaction.response.send_message(words, ephemeral=True)
        except (discord.DiscordException, *IN_DOUBT) as error:
            log.info("not told", why=type(error).__name__)

    def _address(self, interaction: Interaction) -> Any:
        place = self._places.of_interaction(interaction)
        return self._places.aliased(place, interaction.user.id)


def _locale(interaction: Interaction) -> str:
    return nearest(str(interaction.locale))


def _quick(slug: str, input: str) -> str:
    return f"quick-command {slug} {input}".strip()
