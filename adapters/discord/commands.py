"""Discord's slash commands and the message menu: their definitions, registration, autocomplete.

The SDK parses a command's options and calls the handler in `interactions.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import discord
import structlog
from discord import app_commands

from adapters.discord.client import IN_DOUBT, Interaction
from adapters.discord.interactions import DiscordHandlers
from adapters.discord.state import DiscordState
from core.base.i18n import LOCALES, say

log = structlog.get_logger("discord")

MAX_CHOICES, MAX_CHOICE_CHARACTERS = 25, 100
"""Choices that an autocomplete may return (interactions/application-commands.mdx#autocomplete), and
characters in the name or value of a choice
(#application-command-object-application-command-option-choice-structure)."""
AUTOCOMPLETE_SECONDS = 2.0
"""Seconds that an autocomplete may take. Every interaction has 3 seconds
(interactions/receiving-and-responding.mdx#responding-to-an-interaction)."""

ASK_DESCRIPTION = "Ask Ponte something"
ASK_MENU = "Ask Ponte"
PROMPT_DESCRIPTION = "Your question. Leave it empty to write several lines."
FILE_DESCRIPTION = "A file to attach"
QUICK_DESCRIPTION = "Run a quick command"
SLUG_DESCRIPTION = "The quick command to run"
INPUT_DESCRIPTION = "Its input: text or key=value. Leave it empty to write several lines."
UNDO_DESCRIPTION = "Undo a change"
CHANGE_DESCRIPTION = "The change to undo"
WORD_DESCRIPTIONS = {
    "new": "Start a new conversation",
    "status": "Show what is connected and whether it works",
    "stop": "Stop what Ponte is doing in this conversation",
    "usage": "Show today's usage",
}
"""Descriptions of the commands that take no options."""

FindChoices = Callable[[Interaction, str], Awaitable[Sequence[tuple[str, str]]]]
"""Returns the choices for the text typed so far, as (shown name, value)."""


class Translations(app_commands.Translator):
    """Translates the descriptions of commands with our catalogues. The names of commands stay
    English, because people tell each other what to type."""

    async def translate(
        self,
        string: app_commands.locale_str,
        locale: discord.Locale,
        context: app_commands.TranslationContextTypes,
    ) -> str | None:
        """Return the translation of a text, or None if it stays as it is."""
        # A text in lower case is the name of a command or option. Discord's locales pt-BR and fr
        # are ours too; the texts themselves are English.
        if locale.value not in LOCALES or string.message.islower():
            return None
        translated = say(string.message, locale.value)
        return translated if translated != string.message else None


def make_tree(
    client: discord.Client, handlers: DiscordHandlers,
    on_error: Callable[[Interaction, Exception], Coroutine[Any, Any, None]],
) -> app_commands.CommandTree[Any]:  # fmt: skip
    """Return a tree of all commands. They work in servers and for people who installed the app for
    themselves. `on_error` gets the exception of a command."""
    tree: app_commands.CommandTree[Any] = app_commands.CommandTree(
        client,
        allowed_contexts=app_commands.AppCommandContext(
            guild=True, dm_channel=True, private_channel=True
        ),
        allowed_installs=app_commands.AppInstallationType(guild=True, user=True),
    )
    tree.error(on_error)

    @tree.command(name="ask", description=ASK_DESCRIPTION)
    @app_commands.describe(prompt=PROMPT_DESCRIPTION, file=FILE_DESCRIPTION)
    async def ask(
        interaction: Interaction, prompt: str = "", file: discord.Attachment | None = None
    ) -> None:
        await handlers.ask(interaction, prompt, file)

    @tree.context_menu(name=ASK_MENU)
    async def ask_about(interaction: Interaction, message: discord.Message) -> None:
        await handlers.ask_about(interaction, message)

    @tree.command(name="quick-command", description=QUICK_DESCRIPTION)
    @app_commands.describe(slug=SLUG_DESCRIPTION, input=INPUT_DESCRIPTION, file=FILE_DESCRIPTION)
    async def quick(
        interaction: Interaction,
        slug: app_commands.Range[str, 1, 100],
        input: str = "",
        file: discord.Attachment | None = None,
    ) -> None:
        await handlers.run_quick_command(interaction, slug, input, file)

    @tree.command(name="undo", description=UNDO_DESCRIPTION)
    @app_commands.describe(change=CHANGE_DESCRIPTION)
    async def undo(interaction: Interaction, change: app_commands.Range[str, 6, 6]) -> None:
        await handlers.undo(interaction, change)

    quick.autocomplete("slug")(_autocomplete(handlers.find_slugs))
    undo.autocomplete("change")(_autocomplete(handlers.find_undoable))
    for word, description in WORD_DESCRIPTIONS.items():
        tree.command(name=word, description=description)(_make_callback(handlers, word))
    return tree


def _make_callback(
    handlers: DiscordHandlers, word: str
) -> Callable[[Interaction], Coroutine[Any, Any, None]]:
    """Return the function that runs a command without options."""

    async def run_word(interaction: Interaction) -> None:
        await handlers.run_word(interaction, word)

    return run_word


async def report_failure(interaction: Interaction) -> None:
    """Tell a person that their command or click failed, if nothing was sent yet."""
    words = say("Something went wrong. Try again.", str(interaction.locale))
    if not interaction.response.is_done():
        with suppress(discord.DiscordException, *IN_DOUBT):
            await interaction.response.send_message(words, ephemeral=True)


async def register(
    tree: app_commands.CommandTree[Any], application: int, state: DiscordState
) -> bool:
    """Register all commands with one PUT if they have changed. Return whether Discord accepted
    them.

    A refusal is logged. It is tried again only at the next start, because an app may create 200
    commands a day (interactions/application-commands.mdx#registering).
    """
    commands = tree.get_commands()  # in a fixed order, so that a hash of them shows a change
    payloads = [await one.get_translated_payload(tree, Translations()) for one in commands]
    body = json.dumps(payloads, sort_keys=True)
    digest = hashlib.sha256(f"{application}\n{body}".encode()).hexdigest()
    if digest == state.commands:
        return False
    try:
        await tree.sync()
    except (discord.DiscordException, *IN_DOUBT) as error:
        log.warning("could not register slash commands", error=str(error)[:300])
        return False
    state.commands = digest
    await state.flush()
    log.info("slash commands registered", count=len(commands))
    return True


def _autocomplete(
    find_choices: FindChoices,
) -> Callable[[Interaction, str], Coroutine[Any, Any, list[app_commands.Choice[str]]]]:
    """Return the SDK's callback for an option. It returns at most MAX_CHOICES choices, and none
    after AUTOCOMPLETE_SECONDS or an error."""

    async def complete(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        try:
            async with asyncio.timeout(AUTOCOMPLETE_SECONDS):
                choices = await find_choices(interaction, typed)
        except Exception as error:
            # Discord accepts an empty list. A late or invalid one looks like a failure of the app.
            log.warning("could not list choices for autocomplete", error=type(error).__name__)
            return []
        return [
            app_commands.Choice(name=name[:MAX_CHOICE_CHARACTERS] or value, value=value)
            for name, value in choices[:MAX_CHOICES]
            if value and len(value) <= MAX_CHOICE_CHARACTERS
        ]

    return complete
