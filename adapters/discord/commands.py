"""The slash commands and the message menu; Discord is told of them when they have changed."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Protocol

import discord
import structlog
from discord import app_commands

from adapters.discord.client import IN_DOUBT, Interaction
from adapters.discord.state import Notes
from core.i18n import LOCALES, nearest, say

log = structlog.get_logger("discord")

# interactions/application-commands.mdx: #autocomplete, and of a name or value
# #application-command-object-application-command-option-choice-structure.
MOST_CHOICES, LONGEST_NAME = 25, 100
PATIENCE = 2.0
"""Seconds for an autocomplete's choices, of the 3 that every interaction has
(interactions/receiving-and-responding.mdx#responding-to-an-interaction)."""

ASK = "Ask Ponte something"
ASK_MENU = "Ask Ponte"
PROMPT = "What do you want to know? Leave it out to write several lines."
FILE = "A file to go with it"
QUICK = "Run a quick command"
SLUG = "Which quick command"
INPUT = "Its text, or key=value …; leave it out to write several lines"
UNDO = "Undo a change"
CHANGE = "Which change"
WORDS = {
    "new": "Start a fresh conversation",
    "status": "What is connected, and how it is",
    "stop": "Stop what Ponte is doing here",
    "usage": "What was used today",
}
"""Commands of one word, which take nothing."""

Choices = Callable[[Interaction, str], Awaitable[Sequence[tuple[str, str]]]]
"""(shown, value) for what was typed so far."""


class Taker(Protocol):
    """What the commands do; it acks each interaction."""

    async def ask(self, interaction: Interaction, prompt: str, file: Any) -> None: ...

    async def ask_about(self, interaction: Interaction, message: discord.Message) -> None: ...

    async def quick(self, interaction: Interaction, slug: str, input: str, file: Any) -> None: ...

    async def word(self, interaction: Interaction, word: str) -> None: ...

    async def undo(self, interaction: Interaction, change: str) -> None: ...

    async def slugs(self, interaction: Interaction, typed: str) -> Sequence[tuple[str, str]]: ...

    async def undoable(self, interaction: Interaction, typed: str) -> Sequence[tuple[str, str]]: ...


class Words(app_commands.Translator):
    """Descriptions come from the one catalogue; names stay, since people write about them."""

    async def translate(
        self,
        string: app_commands.locale_str,
        locale: discord.Locale,
        context: app_commands.TranslationContextTypes,
    ) -> str | None:
        # Discord knows pt-BR and fr; en is what the commands say themselves.
        if locale.value not in LOCALES or string.message.islower():
            return None
        translated = say(string.message, nearest(locale.value))
        return translated if translated != string.message else None


def tree(client: discord.Client, taker: Taker) -> app_commands.CommandTree[Any]:
    """All commands, for servers and for people who installed the app for themselves."""
    made: app_commands.CommandTree[Any] = app_commands.CommandTree(
        client,
        allowed_contexts=app_commands.AppCommandContext(
            guild=True, dm_channel=True, private_channel=True
        ),
        allowed_installs=app_commands.AppInstallationType(guild=True, user=True),
    )
    made.error(broke)
    words = (_word(taker, word, description) for word, description in WORDS.items())
    for command in (_ask(taker), _quick(taker), _undo(taker), *words):
        made.add_command(command)
    made.add_command(_menu(taker))
    return made


async def broke(interaction: Interaction, error: Exception) -> None:
    """A command or click that breaks is answered too, so that nobody waits for it."""
    cause = getattr(error, "original", error)
    log.error("command broke", why=type(cause).__name__, exc_info=cause)
    words = say("Something went wrong on my side. Please try again.", str(interaction.locale))
    if not interaction.response.is_done():
        with suppress(discord.DiscordException, *IN_DOUBT):
            await interaction.response.send_message(words, ephemeral=True)


async def payload(tree: app_commands.CommandTree[Any]) -> list[dict[str, Any]]:
    """What would be sent, translations included; the same at every start."""
    translator = tree.translator
    if translator is None:
        return [command.to_dict(tree) for command in tree.get_commands()]
    return [
        await command.get_translated_payload(tree, translator) for command in tree.get_commands()
    ]


async def sync(tree: app_commands.CommandTree[Any], application: int, notes: Notes) -> bool:
    """One PUT for all where something changed. A refusal is logged, and tried at the next start:
    200 new commands a day are allowed (interactions/application-commands.mdx#registering).
    """
    body = json.dumps(await payload(tree), sort_keys=True)
    digest = hashlib.sha256(f"{application}\n{body}".encode()).hexdigest()
    if digest == notes.commands:
        return False
    try:
        await tree.sync()
    except (discord.DiscordException, *IN_DOUBT) as error:
        log.warning("commands not registered", why=str(error)[:300])
        return False
    notes.commands = digest
    await notes.flush()
    log.info("commands registered", count=len(tree.get_commands()))
    return True


def _ask(taker: Taker) -> app_commands.Command[Any, Any, None]:
    async def ask(
        interaction: Interaction, prompt: str = "", file: discord.Attachment | None = None
    ) -> None:
        await taker.ask(interaction, prompt, file)

    app_commands.describe(prompt=PROMPT, file=FILE)(ask)
    return app_commands.Command(name="ask", description=ASK, callback=ask)


def _quick(taker: Taker) -> app_commands.Command[Any, Any, None]:
    async def quick(
        interaction: Interaction,
        slug: app_commands.Range[str, 1, 100],
        input: str = "",
        file: discord.Attachment | None = None,
    ) -> None:
        await taker.quick(interaction, slug, input, file)

    app_commands.describe(slug=SLUG, input=INPUT, file=FILE)(quick)
    command: app_commands.Command[Any, Any, None]
    command = app_commands.Command(name="quick-command", description=QUICK, callback=quick)
    command.autocomplete("slug")(_completion(taker.slugs))
    return command


def _undo(taker: Taker) -> app_commands.Command[Any, Any, None]:
    async def undo(interaction: Interaction, change: app_commands.Range[str, 6, 6]) -> None:
        await taker.undo(interaction, change)

    app_commands.describe(change=CHANGE)(undo)
    command: app_commands.Command[Any, Any, None]
    command = app_commands.Command(name="undo", description=UNDO, callback=undo)
    command.autocomplete("change")(_completion(taker.undoable))
    return command


def _word(taker: Taker, word: str, description: str) -> app_commands.Command[Any, Any, None]:
    async def callback(interaction: Interaction) -> None:
        await taker.word(interaction, word)

    return app_commands.Command(name=word, description=description, callback=callback)


def _menu(taker: Taker) -> app_commands.ContextMenu:
    async def ask_about(interaction: Interaction, message: discord.Message) -> None:
        await taker.ask_about(interaction, message)

    return app_commands.ContextMenu(name=ASK_MENU, callback=ask_about)


def _completion(
    choices: Choices,
) -> Callable[[Interaction, str], Coroutine[Any, Any, list[app_commands.Choice[str]]]]:
    async def complete(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        try:
            async with asyncio.timeout(PATIENCE):
                found = await choices(interaction, typed)
        except Exception as error:
            # An empty list is an answer; a late or broken one shows as a failure of the app.
            log.warning("no choices", why=type(error).__name__)
            return []
        return [
            app_commands.Choice(name=name[:LONGEST_NAME] or value, value=value)
            for name, value in found[:MOST_CHOICES]
            if value and len(value) <= LONGEST_NAME
        ]

    return complete
