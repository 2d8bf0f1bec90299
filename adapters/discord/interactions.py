"""Slash commands, clicks and forms: how they are registered, and what is done with each.

The SDK parses a command's options and calls its handler. `DiscordInteraction` is one interaction as
`core.chat.incoming` handles it. `DiscordHandlers` turns each command, button and form into the text
that a person could have typed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Literal

import discord
import structlog
from discord import app_commands

from adapters.discord import card_embeds, events, forms, render
from adapters.discord.client import (
    ALREADY_ACKNOWLEDGED,
    IN_DOUBT,
    PLATFORM,
    UNKNOWN_INTERACTION,
    Interaction,
    attempt,
    own_id,
)
from adapters.discord.events import Locations, ReferencedNames, files_of, given_file, person_of
from adapters.discord.people import Roles
from adapters.discord.posts import MAX_FILES_IN_POST, attachments
from adapters.discord.state import TOKEN_SECONDS, Acks, DiscordState, Token
from core.base.errors import PonteError
from core.base.i18n import LOCALES, say, use_locale
from core.base.tasks import BackgroundTasks
from core.base.text import clean_text, fold_to_letters
from core.chat.buttons import find_button
from core.chat.file_downloads import FileDownloads
from core.chat.incoming import EVENT_FAILED
from core.chat.interactions import (
    FORM_UNREADABLE,
    NO_DIRECT_MESSAGE,
    REST_OF_CODE,
    InteractionLimits,
    InteractionRequest,
    Interactions,
)
from core.commands import grammar
from core.commands.grammar import TypedCommand
from core.domain.buttons import ButtonForm, ButtonPress, PressResult
from core.domain.changes import ChangeForm
from core.domain.messages import (
    PERSON,
    Address,
    AskedIn,
    Attachment,
    Message,
    Person,
    Quote,
    ReplyTo,
    turn_id,
)
from core.domain.ports import StatusBoard
from core.domain.records import Receipt
from core.saved.questions import MAX_SAVED_NAME

log = structlog.get_logger("discord")

DISCORD_RIGHTS_SECONDS, DISCORD_STORE_SECONDS = 0.5, 1.8
"""How long the check of rights may take, and when an interaction must be stored. Discord wants the
acknowledgement within 3 seconds (receiving-and-responding.mdx#responding-to-an-interaction). More
than one of them is left for the network."""
NAME_LOOKUP_SECONDS = 0.5
"""How long the look-up of names may delay the storing of a prompt."""
MAX_NAMES_LOOKED_UP = 10
"""How many people's names are looked up for one prompt."""
QUICK_COMMAND_LOOKUP_SECONDS = 0.5
"""How long the look-up of a quick command may delay the form for its inputs."""
DIRECT_MESSAGE_SECONDS = 0.8
"""How long Discord may take to tell the direct message of a private question."""
CHANGE_FORM_SECONDS = 0.8
"""How long the look-up of a proposal may delay the form that changes it, and the storing of what
was filled in."""
_CHOOSE_FIELDS = "Choose up to {count} fields to change."
PRIVATE_WORDS = frozenset({"new", "status", "stop", "usage"})
"""The answers of these commands are for the person alone."""


@dataclass(slots=True)
class DiscordInteraction:
    """The port `ChatInteraction` for one command, click or form of Discord.

    `asker` is the id of the person whose conversation a click is about, 0 for the one who clicked.
    `chosen` are the positions of the fields that a form shall have. `direct`: the direct message
    with the person, 0 unless it is about a private question. `conversation`: that of the answer
    whose button was pressed, if it is not the place's own.
    """

    locations: Locations
    roles: Roles
    acks: Acks
    downloads: FileDownloads
    tasks: BackgroundTasks
    interaction: Interaction
    asker: int = 0
    chosen: Sequence[str] = ()
    direct: int = 0
    conversation: Address | None = None
    _message: Message | None = field(default=None, init=False)

    @property
    def _is_click(self) -> bool:
        # A form that a click has opened carries the click's message, too.
        return self.interaction.message is not None

    @property
    def limits(self) -> InteractionLimits:
        """The time limits for the check of rights and for storing the message."""
        return InteractionLimits(
            DISCORD_RIGHTS_SECONDS,
            DISCORD_STORE_SECONDS,
            form_seconds=CHANGE_FORM_SECONDS,
            work_seconds=DISCORD_STORE_SECONDS,
        )

    @property
    def person(self) -> Person:
        return person_of(self.interaction.user)

    @property
    def address(self) -> Address:
        """A private question has the rights of a direct message, where its answer goes if its
        response cannot show it. For each channel, it is a conversation of its own."""
        if self.conversation:
            return self.conversation
        if self.direct:
            channel = str(self.interaction.channel_id)
            return Address(PLATFORM, str(self.direct), person=channel)
        location = self.locations.of_interaction(self.interaction)
        # `asker`: the person whose conversation the click is about, 0 if that is the one who
        # clicked.
        return self.locations.conversation_address(location, self.asker or self.interaction.user.id)

    @property
    def locale(self) -> str:
        """The language of the person's client, or the nearest one that we have."""
        return str(self.interaction.locale)

    async def learn_about_person(self) -> None:
        """Discord need not be asked for the roles that the interaction carries."""
        await self.roles.note_roles(self.interaction.user)

    async def make_message(self, request: InteractionRequest) -> Message:
        """Return the message that the interaction becomes. Its answer waits for the acknowledgement
        (`acks.expect`)."""
        interaction, locations = self.interaction, self.locations
        kind: Literal["click", "command"] = "click" if self._is_click else "command"
        token = Token.of(interaction, kind, request.is_private or bool(self.direct))
        # A click's source is the message with the card.
        post = interaction.message if self._is_click else None
        source = str(post.id if post else interaction.id)
        key = request.event_key or f"discord:interaction:{interaction.id}"
        author, address = self.person, self.address
        expires_at = time.time() + TOKEN_SECONDS
        reply_to = ReplyTo(address, author, source, turn_id(key))
        if request.origin == PERSON:
            reply_to = replace(reply_to, token=token.text(), token_expires_at=expires_at)
        self._message = Message(
            event_key=key,
            text=clean_text(request.text),
            author=author,
            address=address,
            reply_to=reply_to,
            attachments=request.files,
            context=request.context,
            mentions=request.mentions,
            locale=str(interaction.locale),
            sent_at=interaction.created_at.timestamp(),
            is_click=self._is_click and request.origin == PERSON,
            asked_in=request.asked_in,
            origin=request.origin,
        )
        # Only interactions tell the language, for the person's later messages.
        locations.state.note_language(interaction.user.id, str(interaction.locale))
        self.acks.expect(self._message.turn)
        return self._message

    async def acknowledge(self, receipt: Receipt, request: InteractionRequest) -> bool:
        """Acknowledge the interaction by a deferred response, and return whether Discord accepted
        it. False for a second delivery. If it was too late, the answer goes to the channel. An
        unknown outcome counts as accepted."""
        if not receipt.is_new:
            return False
        is_acknowledged = True
        try:
            # Discord shows "thinking…" until the answer of a command comes. The answer of a click
            # changes the message with the card.
            await self.interaction.response.defer(
                thinking=not self._is_click, ephemeral=request.is_private
            )
        except discord.HTTPException as refused:
            # The SDK repeats a call after an error inside Discord. The first one may have counted.
            is_acknowledged = refused.code == ALREADY_ACKNOWLEDGED
            # UNKNOWN_INTERACTION means only that it was too late.
            if refused.code != UNKNOWN_INTERACTION:
                log.warning(
                    "Discord rejected an acknowledgement", error=f"{refused.status}/{refused.code}"
                )
        except IN_DOUBT as error:
            # The first edit of the answer shows whether Discord accepted it.
            log.info("outcome of an acknowledgement unknown", error=type(error).__name__)
        self.acks.settle(receipt.turn, is_acknowledged)
        # The files of the message that the interaction became. Downloaded at once: the addresses
        # expire, and Discord has no message to ask for new ones.
        if self._message is not None and self._message.attachments:
            self.tasks.start(self.downloads.fetch_all(self._message))
        return is_acknowledged

    async def notify(self, words: str, files: Sequence[discord.File] = ()) -> None:
        """Respond, in place of the acknowledgement, with what only the person sees. A failure is
        only logged."""
        # The message may still be stored after a timeout. With False, its answer goes to the
        # channel and does not wait for an acknowledgement.
        if self._message is not None:
            self.acks.settle(self._message.turn, False)
        try:
            sent_files = files or discord.utils.MISSING
            await self.interaction.response.send_message(words, files=sent_files, ephemeral=True)
        except (discord.DiscordException, *IN_DOUBT) as error:
            log.info("could not respond to an interaction", error=type(error).__name__)

    async def show(self, result: PressResult) -> None:
        """Show what a press results in, to the person alone."""
        codes = [clean_text(data.decode()) for _, data in result.code]
        if not codes:
            await self.notify(result.words)
        elif words := render.format_code(codes):
            await self.notify(words)
        else:  # too long for a message, or with marks that would end a code block
            shown = result.code[:MAX_FILES_IN_POST]
            words = say(REST_OF_CODE, self.locale) if len(shown) < len(codes) else ""
            sheets = [render.Sheet(file.name, data) for file, data in shown]
            await self.notify(words, attachments(sheets))

    async def open_form(self, press: ButtonPress, form: ButtonForm | ChangeForm) -> str:
        """Open the form of a button, or first menus of its fields if there are too many for one
        form. It must be the first response. Return a sentence if no field can be shown, or Discord
        does not take the form."""
        try:
            response = self.interaction.response
            if isinstance(form, ButtonForm):
                id = card_embeds.name_press(press)
                await response.send_modal(forms.build_form(id, form.title, form.fields))
                return ""
            positions, left_out = forms.split_fields(form)
            if self.chosen:
                chosen = [at for at in positions if str(at) in self.chosen]
                positions = chosen[: forms.MAX_FORM_FIELDS]
            with use_locale(self.locale):
                note = forms.describe_left_out(form, left_out)
                # No field fits, or none of the chosen ones is there any more.
                if not positions:
                    return note or say(FORM_UNREADABLE)
                # A form has no place for the note. So with it, or with too many fields, the message
                # with the menus comes first.
                if len(positions) <= forms.MAX_FORM_FIELDS and (self.chosen or not note):
                    await response.send_modal(forms.change_form(form, positions))
                    return ""
                words = say(_CHOOSE_FIELDS, count=forms.MAX_FORM_FIELDS)
                view = forms.build_field_menus(form, positions)
                await response.send_message(f"{words}\n{note}".strip(), view=view, ephemeral=True)
                return ""
        except (discord.HTTPException, *IN_DOUBT) as error:
            log.warning("could not open a form", error=type(error).__name__)
            return say(press.button.without_form, self.locale)


@dataclass(slots=True)
class DiscordHandlers:
    """Turns each command, click and filled-in form into the text that a person could have typed,
    and submits that as a message."""

    interactions: Interactions
    board: StatusBoard
    locations: Locations
    roles: Roles
    acks: Acks
    downloads: FileDownloads
    tasks: BackgroundTasks

    async def handle(self, interaction: Interaction) -> None:
        """Handle a click or a submitted form of ours. Those with other ids are ignored. The SDK's
        command tree handles commands.

        The id of a button or form says what it does and to what, so that it works after a restart.
        Most presses become the text that a person could have typed; the others open a form.
        """
        data: Mapping[str, Any] = interaction.data or {}
        id, options = str(data.get("custom_id", "")), data.get("values") or [""]
        if interaction.type is discord.InteractionType.modal_submit:
            values = forms.read_form_values(interaction)
            name, subject = card_embeds.read_press(id)
            ask, quick = self._submit_ask_form, self._submit_quick_form
            if submit := {"ask": ask, "about": ask, "quick": quick}.get(name):
                await submit(interaction, subject, values)
            else:
                await self._press(interaction, id, values)
        elif interaction.type is discord.InteractionType.component and interaction.message:
            if match := forms.FIELD_MENU_ID.fullmatch(id):  # the fields of a long form were chosen
                await self._press(interaction, f"ponte:change:{match['press']}", chosen=options)
            else:
                await self._press(interaction, options[0] if id == card_embeds.MENU_ID else id)

    async def _press(
        self,
        interaction: Interaction,
        id: str,
        values: Mapping[str, str] | None = None,
        chosen: Sequence[str] = (),
    ) -> None:
        """Do what a button is for, or the form that it opened (`values`). `chosen` are the fields
        that its form shall have."""
        name, subject = card_embeds.read_press(id)
        if (button := find_button(name, subject)) is None:  # of another version of Ponte
            await self._make_interaction(interaction).notify(
                say(EVENT_FAILED, str(interaction.locale))
            )
            return
        # "stop" acts on the asker's conversation, whoever presses it.
        asker = int(subject) if button.place == "growing" and subject != "stop" else 0
        asking = replace(self._make_interaction(interaction, asker), chosen=chosen)
        message = interaction.message
        # Of a private answer. The menus of a form's fields are such a message, too.
        is_private = message and message.flags.ephemeral and not button.place.startswith("card")
        if is_private and not await self._move_to_direct(asking):
            return
        if message and message.guild is None and not is_private:
            asking.conversation = await self._find_conversation(asking, subject)
        channel = asking.direct or (message and message.channel.id)
        press = ButtonPress(
            button,
            subject,
            interaction.created_at.timestamp(),
            f"{channel}:{message.id}" if message else "-",
            values,
        )
        if not await self.interactions.press(asking, press) or message is None:
            return
        with suppress(discord.HTTPException, *IN_DOUBT):
            if button.is_quiet:
                # If the post grows no more, no later edit removes the button.
                view = card_embeds.without_button(message, id)
                await interaction.edit_original_response(view=view)
            # The menus of a form's fields are an ephemeral message, the card is none.
            elif values is not None and message.flags.ephemeral and not asking.direct:
                await interaction.delete_original_response()

    async def _find_conversation(self, asking: DiscordInteraction, subject: str) -> Address | None:
        """Return the conversation of an answer to a private question that stands in the direct
        message; None for other buttons."""
        with suppress(PonteError):
            journal = self.interactions.conversations.journal
            message = (await journal.history_entry(subject.rpartition(":")[2])).message
            is_here = message.address.channel_key == asking.address.channel_key
            if is_here and message.author.key == asking.person.key:
                return message.address
        return None

    async def _submit_ask_form(
        self, interaction: Interaction, message: str, values: Mapping[str, str]
    ) -> None:
        """Submit the question of `/ask`, or of *Ask Ponte* on a message. `message` is that one's id
        if it has files."""
        is_private, message = message == forms.PRIVATE, message.removeprefix(forms.PRIVATE)
        files = self.locations.state.form_files.get(message) if message else []
        # By it, files that are no longer remembered can be fetched when the turn starts.
        reference = f"{interaction.channel_id}/{message}" if files is None else ""
        no_text = "[no words, but files]" if reference else ""
        quoted = values.get(forms.QUOTE_FIELD, "") or no_text
        quote = Quote("the message asked about", quoted, reference=reference)
        attachments = tuple(Attachment(**file) for file in files or ())
        context = (quote,) if quoted else ()
        prompt = values.get(forms.PROMPT_FIELD, "")
        request = InteractionRequest(
            prompt, is_private=is_private, context=context, files=attachments
        )
        await self._submit_prompt(interaction, request)

    async def _submit_quick_form(
        self, interaction: Interaction, subject: str, values: Mapping[str, str]
    ) -> None:
        slug, _, is_named = subject.partition(":")
        names = await self._find_names(interaction, " ".join(values.values()))
        values = {name: names.write(value) for name, value in values.items()}
        text = _quick_command_text(slug, values.get(forms.INPUT_FIELD, ""))
        # The form had a field for each input, with its name as id.
        if is_named:
            inputs = {name: value for name, value in values.items() if value}
            text = grammar.render_command(TypedCommand("quick-command", slug=slug, input=inputs))
        await self._submit(interaction, InteractionRequest(text, "spend"))

    async def ask(
        self,
        interaction: Interaction,
        prompt: str,
        file: discord.Attachment | None,
        is_private: bool,
    ) -> None:
        """Without a prompt and a file, show a form with room for several lines."""
        if not prompt and file is None:
            await self._show_form(interaction, partial(forms.ask_form, is_private=is_private))
        else:
            request = InteractionRequest(prompt, is_private=is_private, files=_as_files(file))
            await self._submit_prompt(interaction, request)

    async def ask_about(self, interaction: Interaction, message: discord.Message) -> None:
        """Handle *Apps → Ask Ponte* in the menu of a message.

        Discord sends the message's files with this interaction only. A form field has no room for
        them, so they are remembered until the form comes back.
        """
        me = interaction.client.user.id if interaction.client.user else 0
        files = files_of(message)
        if files:
            self.locations.state.form_files[str(message.id)] = [asdict(file) for file in files]
            await self.locations.state.flush()  # so that a crash does not lose them
        text = events.quote_of(message, me).text
        names = [file.name for file in files]
        id = message.id if files else 0
        await self._show_form(interaction, lambda: forms.about_form(text, id, names))

    async def run_quick_command(
        self, interaction: Interaction, slug: str, input: str, file: discord.Attachment | None
    ) -> None:
        """Handle `/quick-command`. Without input, a form asks for the command's inputs."""
        # A command that is not known in time gets a form, too. One without inputs runs at once, and
        # so does one whose slug does not fit into a form's id.
        if not input and file is None and forms.QUICK_ID.fullmatch(f"ponte:quick:{slug}"):
            commands = await self.interactions.find_quick_commands(
                self._make_interaction(interaction), QUICK_COMMAND_LOOKUP_SECONDS
            )
            command = next((command for command in commands if command.slug == slug), None)
            if command is None or command.inputs:
                await self._show_form(interaction, lambda: forms.quick_form(slug, command))
                return
        # Discord's text has ids in place of names.
        names = await self._find_names(interaction, input)
        text = _quick_command_text(slug, names.write(input))
        # "spend": the right that the person needs at least.
        await self._submit(interaction, InteractionRequest(text, "spend", files=_as_files(file)))

    async def run_word(self, interaction: Interaction, word: str) -> None:
        await self._submit(interaction, InteractionRequest(word, is_private=word in PRIVATE_WORDS))

    async def show(self, interaction: Interaction, name: str) -> None:
        await self._submit_prompt(interaction, InteractionRequest(f"show {name}"))

    async def undo(self, interaction: Interaction, change: str) -> None:
        await self._submit(interaction, InteractionRequest(f"undo {change.lower()}"))

    async def find_slugs(self, interaction: Interaction, typed: str) -> Sequence[tuple[str, str]]:
        """Return the quick commands with `typed` in slug or title, as (text, slug), for Discord's
        autocomplete."""
        typed = typed.lower()
        user = self._make_interaction(interaction)
        commands = await self.board.commands(user.person, user.address)
        with use_locale(str(interaction.locale)):
            titles = [(command.slug, command.title_and_description()[0]) for command in commands]
        return [
            (f"{slug} – {title}" if title else slug, slug)
            for slug, title in titles
            if typed in slug or typed in title.lower()
        ]

    async def find_saved_names(
        self, interaction: Interaction, typed: str
    ) -> Sequence[tuple[str, str]]:
        """Return the saved questions whose name contains `typed`, for Discord's autocomplete."""
        user, part = self._make_interaction(interaction), fold_to_letters(typed)
        names = await self.board.saved_names(user.person, user.address)
        return [(name, name) for name in names if part in fold_to_letters(name)]

    async def find_undoable(
        self, interaction: Interaction, typed: str
    ) -> Sequence[tuple[str, str]]:
        """Return the conversation's undoable changes with `typed` in id or title, as (text, id),
        for Discord's autocomplete."""
        typed = typed.lower()
        conversation = self._make_interaction(interaction).address.conversation
        return [
            (f"{card.id} – {card.title}", card.id)
            for card in await self.board.changes(conversation)
            if "undo" in card.actions and (typed in card.id or typed in card.title.lower())
        ]

    def _make_interaction(self, interaction: Interaction, asker: int = 0) -> DiscordInteraction:
        return DiscordInteraction(
            self.locations, self.roles, self.acks, self.downloads, self.tasks, interaction, asker
        )

    async def _submit_prompt(self, interaction: Interaction, request: InteractionRequest) -> None:
        names = await self._find_names(interaction, request.text)
        mentions = names.list_mentions(request.text)
        request = replace(request, text=names.write(request.text), mentions=mentions)
        asking = self._make_interaction(interaction)
        # In a direct message with Ponte, nobody else reads the conversation.
        if request.is_private and asking.address.is_shared:
            place = replace(asking.address, thread="", person="")
            if not await self._move_to_direct(asking):
                return
            channel = getattr(interaction.channel, "parent", None) or interaction.channel
            asked_in = AskedIn(place, f"#{getattr(channel, 'name', '')}".rstrip("#"))
            request = replace(request, asked_in=asked_in if place.workspace else None)
        await self.interactions.submit(asking, request)

    async def _move_to_direct(self, asking: DiscordInteraction) -> bool:
        """Return False, after a notice, if Discord does not tell the person's direct message."""
        client, user = asking.interaction.client, asking.interaction.user.id
        try:
            async with asyncio.timeout(DIRECT_MESSAGE_SECONDS):
                asking.direct = await self.locations.find_direct(client, user)
        except (PonteError, TimeoutError, *IN_DOUBT):
            await asking.notify(say(NO_DIRECT_MESSAGE, asking.locale))
        return bool(asking.direct)

    async def _find_names(self, interaction: Interaction, text: str) -> ReferencedNames:
        """Return the names of what a text from a form mentions, without the bot itself. Discord
        sends no names with a form, so it is asked for those of people, for a short time."""
        client, me = interaction.client, own_id(interaction.client)
        names = {f"@{me}": ""}
        ids = sorted({int(id) for id in events.USER.findall(text)} - {me})[:MAX_NAMES_LOOKED_UP]
        # Names that are not there in time stay ids.
        with suppress(TimeoutError):
            async with asyncio.timeout(NAME_LOOKUP_SECONDS):
                calls = (attempt(partial(client.fetch_user, id), repeat=False) for id in ids)
                for user in await asyncio.gather(*calls, return_exceptions=True):
                    if isinstance(user, discord.User):
                        names[f"@{user.id}"] = f"@{user.display_name}"
        return ReferencedNames(interaction.guild, names)

    async def _submit(self, interaction: Interaction, request: InteractionRequest) -> None:
        await self.interactions.submit(self._make_interaction(interaction), request)

    async def _show_form(
        self, interaction: Interaction, build: Callable[[], discord.ui.Modal]
    ) -> None:
        """Show the form in the person's language, if they may chat. Nothing is sent before it,
        because a form must be the first response to an interaction."""

        async def show() -> str:
            """Return "": no sentence replaces the form. An exception reaches the adapter, which
            tells the person."""
            with use_locale(str(interaction.locale)):
                form = build()
            await interaction.response.send_modal(form)
            return ""

        await self.interactions.show_form(self._make_interaction(interaction), show)


def _as_files(file: discord.Attachment | None) -> tuple[Attachment, ...]:
    return () if file is None else (given_file(file),)


def _quick_command_text(slug: str, input: str) -> str:
    return f"quick-command {slug} {input}".strip()


MAX_CHOICES, MAX_CHOICE_CHARACTERS = 25, 100
"""Choices of an autocomplete (interactions/application-commands.mdx#autocomplete), and characters
in the name or value of one
(#application-command-object-application-command-option-choice-structure)."""
AUTOCOMPLETE_SECONDS = 2.0
"""Every interaction has 3 seconds
(interactions/receiving-and-responding.mdx#responding-to-an-interaction)."""

ASK_DESCRIPTION = "Ask Ponte something"
ASK_MENU = "Ask Ponte"
PROMPT_DESCRIPTION = "Your question. Leave it empty to write several lines."
FILE_DESCRIPTION = "A file to attach"
PRIVATE_DESCRIPTION = "Only you see the answer"
QUICK_DESCRIPTION = "Run a quick command"
SLUG_DESCRIPTION = "The quick command to run"
INPUT_DESCRIPTION = "Input: text or key=value. Leave it empty to write several lines."
SHOW_DESCRIPTION = "Show a saved question, as its tables are now"
NAME_DESCRIPTION = "The name of the saved question"
UNDO_DESCRIPTION = "Undo a change"
CHANGE_DESCRIPTION = "The change to undo"
WORD_DESCRIPTIONS = {
    "new": "Start a new conversation",
    "status": "Show what is connected and whether it works",
    "stop": "Stop what Ponte is doing in this conversation",
    "usage": "Show today's usage",
}
"""The commands without options."""

FindChoices = Callable[[Interaction, str], Awaitable[Sequence[tuple[str, str]]]]
"""Returns, for the text typed so far, choices as (shown name, value)."""


class Translations(app_commands.Translator):
    """Translates the descriptions of commands with our catalogues."""

    async def translate(
        self,
        string: app_commands.locale_str,
        locale: discord.Locale,
        context: app_commands.TranslationContextTypes,
    ) -> str | None:
        """Return a description in the language of a Discord client; None if it stays English. The
        SDK calls this for each text of a command."""
        # A text in lower case is the name of a command or option. Names stay English, because
        # people tell each other what to type. Discord and LOCALES name pt-BR and fr alike.
        if locale.value not in LOCALES or string.message.islower():
            return None
        translated = say(string.message, locale.value)
        return translated if translated != string.message else None


def make_tree(
    client: discord.Client,
    handlers: DiscordHandlers,
    on_error: Callable[[Interaction, Exception], Coroutine[Any, Any, None]],
) -> app_commands.CommandTree[Any]:
    """Return a tree of all commands. They work in servers and for people who installed the app for
    themselves."""
    tree: app_commands.CommandTree[Any] = app_commands.CommandTree(
        client,
        allowed_contexts=app_commands.AppCommandContext(
            guild=True, dm_channel=True, private_channel=True
        ),
        allowed_installs=app_commands.AppInstallationType(guild=True, user=True),
    )
    tree.error(on_error)

    @tree.command(name="ask", description=ASK_DESCRIPTION)
    @app_commands.describe(
        prompt=PROMPT_DESCRIPTION, file=FILE_DESCRIPTION, private=PRIVATE_DESCRIPTION
    )
    async def ask(
        interaction: Interaction,
        prompt: str = "",
        file: discord.Attachment | None = None,
        private: bool = False,
    ) -> None:
        await handlers.ask(interaction, prompt, file, private)

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

    @tree.command(name="show", description=SHOW_DESCRIPTION)
    @app_commands.describe(question=NAME_DESCRIPTION)
    async def show(
        interaction: Interaction, question: app_commands.Range[str, 1, MAX_SAVED_NAME]
    ) -> None:
        await handlers.show(interaction, question)

    @tree.command(name="undo", description=UNDO_DESCRIPTION)
    @app_commands.describe(change=CHANGE_DESCRIPTION)
    async def undo(interaction: Interaction, change: app_commands.Range[str, 6, 6]) -> None:
        await handlers.undo(interaction, change)

    quick.autocomplete("slug")(_make_autocomplete(handlers.find_slugs))
    show.autocomplete("question")(_make_autocomplete(handlers.find_saved_names))
    undo.autocomplete("change")(_make_autocomplete(handlers.find_undoable))
    for word, description in WORD_DESCRIPTIONS.items():
        tree.command(name=word, description=description)(_make_callback(handlers, word))
    return tree


def _make_callback(
    handlers: DiscordHandlers, word: str
) -> Callable[[Interaction], Coroutine[Any, Any, None]]:
    """The SDK reads the options from the function's parameters, so the word cannot be one."""

    async def run_word(interaction: Interaction) -> None:
        await handlers.run_word(interaction, word)

    return run_word


async def register(
    tree: app_commands.CommandTree[Any], application: int, state: DiscordState
) -> bool:
    """Register all commands with one PUT if they have changed. Return True if Discord accepted
    them.

    A failure is logged. The next attempt is made at the next start, because an app may create 200
    commands a day (interactions/application-commands.mdx#registering).
    """
    # In a fixed order, so that their hash changes only if one of them has changed. The id of the
    # application is part of it, because another app has none of them.
    commands = tree.get_commands()
    payloads = [await command.get_translated_payload(tree, Translations()) for command in commands]
    body = json.dumps(payloads, sort_keys=True)
    digest = hashlib.sha256(f"{application}\n{body}".encode()).hexdigest()
    if digest == state.commands:  # Discord has them already
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


def _make_autocomplete(
    find_choices: FindChoices,
) -> Callable[[Interaction, str], Coroutine[Any, Any, list[app_commands.Choice[str]]]]:
    """Return the SDK's callback for an option: at most MAX_CHOICES choices, and none after
    AUTOCOMPLETE_SECONDS or an error."""

    async def complete(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        try:
            async with asyncio.timeout(AUTOCOMPLETE_SECONDS):
                choices = await find_choices(interaction, typed)
        except Exception as error:
            # A late or invalid list looks like a failure of the app, an empty one does not.
            log.warning("could not list choices for autocomplete", error=type(error).__name__)
            return []
        # A name may be cut. A value is what the command gets, so a too long one is left out.
        return [
            app_commands.Choice(name=name[:MAX_CHOICE_CHARACTERS] or value, value=value)
            for name, value in choices[:MAX_CHOICES]
            if value and len(value) <= MAX_CHOICE_CHARACTERS
        ]

    return complete
