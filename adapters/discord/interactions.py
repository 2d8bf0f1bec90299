"""What each command, click and filled-in modal stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import discord

from adapters.discord import cards, events, modals
from adapters.discord.calls import IN_DOUBT
from adapters.discord.choices import Choices
from adapters.discord.door import Door, Interaction, Said, locale
from adapters.discord.notes import Notes
from core import commands
from core.commands import Command
from core.messages import Attachment, Quote

WHISPERED = frozenset({"new", "status", "stop", "usage"})
"""Words whose answer is for the asker alone."""
File = discord.Attachment | None


class Interactions:
    def __init__(self, door: Door, choices: Choices, notes: Notes) -> None:
        self._door = door
        self._choices = choices
        self._notes = notes

    async def take(self, interaction: Interaction) -> None:
        """Clicks and modals; commands come through the SDK's tree."""
        data: Mapping[str, Any] = interaction.data or {}
        id = str(data.get("custom_id", ""))
        if interaction.type is discord.InteractionType.component:
            await self._clicked(interaction, id)
        elif interaction.type is discord.InteractionType.modal_submit:
            await self._submitted(interaction, id)

    async def ask(self, interaction: Interaction, prompt: str, file: File) -> None:
        if not prompt and file is None:
            await self._door.modal(interaction, modals.ask(locale(interaction)))
        else:
            await self._door.command(interaction, Said(prompt, files=_files(file)))

    async def ask_about(self, interaction: Interaction, message: discord.Message) -> None:
        """This interaction alone tells all of the message, its files too: they are kept until the
        form comes back, and none of it is said to anybody before."""
        me = interaction.client.user.id if interaction.client.user else 0
        files = events.files(message)
        if files:
            self._notes.asked[str(message.id)] = [asdict(file) for file in files]
            await self._notes.flush()
        text = events.quote(message, me).text
        about = message.id if files else 0
        names = [file.name for file in files]
        await self._door.modal(interaction, modals.about(text, about, names, locale(interaction)))

    async def quick(self, interaction: Interaction, slug: str, input: str, file: File) -> None:
        if not input and file is None and modals.QUICK.fullmatch(f"ponte:quick:{slug}"):
            known = await self._choices.command(interaction, slug)
            if known is None or known.inputs:
                modal = modals.quick(slug, known, locale(interaction))
                await self._door.modal(interaction, modal)
                return
        said = Said(_quick(slug, input), "spend", files=_files(file))
        await self._door.command(interaction, said)

    async def word(self, interaction: Interaction, word: str) -> None:
        await self._door.command(interaction, Said(word, private=word in WHISPERED))

    async def undo(self, interaction: Interaction, change: str) -> None:
        await self._door.command(interaction, Said(f"undo {change.lower()}"))

    async def slugs(self, interaction: Interaction, typed: str) -> Sequence[tuple[str, str]]:
        return await self._choices.slugs(interaction, typed)

    async def undoable(self, interaction: Interaction, typed: str) -> Sequence[tuple[str, str]]:
        return await self._choices.undoable(interaction, typed)

    async def _submitted(self, interaction: Interaction, id: str) -> None:
        given = modals.values(interaction)
        prompt = given.get(modals.PROMPT, "")
        if id == modals.ASK:
            await self._door.command(interaction, Said(prompt))
        elif found := modals.ABOUT.fullmatch(id):
            files, lost = self._asked_about(interaction, found["message"])
            quoted = given.get(modals.QUOTE, "") or ("[no words, but files]" if lost else "")
            context = (Quote("the message asked about", quoted, reference=lost),) if quoted else ()
            await self._door.command(interaction, Said(prompt, context=context, files=files))
        elif found := modals.QUICK.fullmatch(id):
            said = _quick(found["slug"], given.get(modals.INPUT, ""))
            if found["named"]:
                filled = {name: value for name, value in given.items() if value}
                said = commands.render(Command("quick-command", slug=found["slug"], input=filled))
            await self._door.command(interaction, Said(said, "spend"))

    def _asked_about(
        self, interaction: Interaction, message: str | None
    ) -> tuple[tuple[Attachment, ...], str]:
        """The files of the message that a form is about, else where they may be found again."""
        if not message:
            return (), ""
        kept = self._notes.asked.get(message)
        if kept is None:
            return (), f"{interaction.channel_id}/{message}"
        return tuple(Attachment(**each) for each in kept), ""

    async def _clicked(self, interaction: Interaction, id: str) -> None:
        if found := cards.ID.fullmatch(id):
            await self._door.click(interaction, Said(f"{found['action']} {found['card']}"))
        elif found := cards.STOP.fullmatch(id):
            await self._stop(interaction, int(found["asker"]))

    async def _stop(self, interaction: Interaction, asker: int) -> None:
        """The button goes with the first click on it: what it stands under may grow no more."""
        taken = await self._door.click(interaction, Said("stop"), asker)
        if taken and interaction.message is not None:
            view = cards.without_stop(interaction.message)
            with suppress(discord.HTTPException, *IN_DOUBT):
                await interaction.edit_original_response(view=view)


def _files(file: File) -> tuple[Attachment, ...]:
    return () if file is None else (events.given(file),)


def _quick(slug: str, input: str) -> str:
    return f"quick-command {slug} {input}".strip()
