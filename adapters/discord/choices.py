"""What autocomplete offers: the registry's quick commands, and changes that can be undone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from adapters.discord.door import Door, Interaction, locale
from adapters.discord.places import person
from core.ports import StatusBoard
from core.records import QuickCommand

PATIENCE = 0.5
"""Seconds to look a command up before the modal that asks for its inputs."""


class Choices:
    def __init__(self, board: StatusBoard, door: Door) -> None:
        self._board = board
        self._door = door

    async def slugs(self, interaction: Interaction, typed: str) -> Sequence[tuple[str, str]]:
        """(shown, value) of each that holds what was typed."""
        typed = typed.lower()
        known = [
            (one.slug, one.told(locale(interaction))[0]) for one in await self._known(interaction)
        ]
        return [
            (f"{slug} – {title}" if title else slug, slug)
            for slug, title in known
            if typed in slug or typed in title.lower()
        ]

    async def undoable(self, interaction: Interaction, typed: str) -> Sequence[tuple[str, str]]:
        typed = typed.lower()
        conversation = self._door.address(interaction).conversation
        return [
            (f"{card.id} – {card.title}", card.id)
            for card in await self._board.changes(conversation)
            if "undo" in card.actions and (typed in card.id or typed in card.title.lower())
        ]

    async def command(self, interaction: Interaction, slug: str) -> QuickCommand | None:
        """The one of that name; None too where the registry does not answer in time."""
        try:
            async with asyncio.timeout(PATIENCE):
                known = await self._known(interaction)
        except TimeoutError:
            return None
        return next((command for command in known if command.slug == slug), None)

    async def _known(self, interaction: Interaction) -> Sequence[QuickCommand]:
        who, where = person(interaction.user), self._door.address(interaction)
        return await self._board.commands(who, where)
