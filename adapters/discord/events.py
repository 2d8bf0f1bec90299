"""Discord's messages and interactions as the core's messages.

These functions read what an event carries. Only `Locations.of_message` asks Discord, for a thread
that the SDK's cache lacks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import discord
from discord import MessageType

from adapters.discord.client import PLATFORM, Interaction, attempt
from adapters.discord.files import all_attachments, file_name, files_of
from adapters.discord.state import DiscordState, Location
from core.chat.participants import AddressingSettings, FindAddressingSettings, find_no_settings
from core.domain.messages import Address, Attachment, Message, Person, Quote, ReplyTo, turn_id
from core.text import text

DISCORD_QUOTE_CHARACTERS = 4000
SPEECH = (MessageType.default, MessageType.reply)
SPEECH_AND_APP_ANSWERS = (*SPEECH, MessageType.chat_input_command, MessageType.context_menu_command)
"""The last two are what apps answer: resources/message.mdx#message-object-message-types."""
_COMMAND = re.compile(r"[/!]?quick-command\s", re.IGNORECASE)
_USER = re.compile(r"<@!?(\d+)>")
_ROLE = re.compile(r"<@&(\d+)>")
_CHANNEL = re.compile(r"<#(\d+)>")
_EMOJI = re.compile(r"<a?(:\w+:)\d+>")


class Locations:
    """Finds a message's or interaction's Place; asks Discord where the cache has no answer."""

    def __init__(
        self,
        state: DiscordState,
        locale: str = "en",
        ways: FindAddressingSettings = find_no_settings,
    ) -> None:
        self._state = state
        self._locale = locale
        self._ways = ways

    def language_of(self, message: discord.Message) -> str:
        return self._state.language_of(str(message.author.id), message.guild, self._locale)

    def learn_language(self, interaction: Interaction) -> str:
        """The language of who used it, also for what they write later."""
        self._state.note_language(interaction.user.id, str(interaction.locale))
        return str(interaction.locale)

    async def of_message(self, client: discord.Client, message: discord.Message) -> Location:
        channel = message.channel
        guild = message.guild.id if message.guild else getattr(channel, "guild_id", None) or 0
        if not guild:
            return Location(channel.id)
        if isinstance(channel, discord.PartialMessageable):
            return await self._of_unknown(client, message, guild)
        return self._of_guild_channel(channel, guild)

    def of_interaction(self, interaction: Interaction) -> Location:
        channel = interaction.channel
        id = interaction.channel_id or 0
        if interaction.guild_id:
            return self._of_guild_channel(channel, interaction.guild_id, id)
        # Where the app is only installed for its user, a DM may be between two other people.
        alone = bool(interaction.context.dm_channel)
        return Location(id, shared=not alone and not isinstance(channel, discord.DMChannel))

    def settings_of(self, location: Location) -> AddressingSettings:
        """Of the channel; a thread has its channel's."""
        return self._ways(location.address())

    def conversation_address(self, location: Location, person: int) -> Address:
        """The Address of `person` there, in the thread that could not be made if there is one.
        Where a channel is to have no threads, it is everybody's."""
        if location.guild and not location.thread and self.settings_of(location).threads is False:
            return location.address()
        alias = (
            self._state.find_alias(location.channel, str(person)) if not location.thread else None
        )
        return location.address(person, alias or 0)

    def _of_guild_channel(self, channel: object, guild: int, id: int = 0) -> Location:
        if isinstance(channel, discord.Thread):
            self._state.parents[channel.id] = channel.parent_id
            return Location(channel.parent_id, guild, channel.id, shared=True)
        known = getattr(channel, "id", id)
        parent = self._state.parents.get(known)
        if parent:
            return Location(parent, guild, known, shared=True)
        return Location(known, guild, shared=True)

    async def _of_unknown(
        self, client: discord.Client, message: discord.Message, guild: int
    ) -> Location:
        """A channel that the cache lacks: a thread that was archived when Ponte started."""
        id = message.channel.id
        if id not in self._state.parents:
            found = await attempt(lambda: client.fetch_channel(id))
            if isinstance(found, discord.Thread):
                self._state.parents[id] = found.parent_id
                self._state.note_change()
            else:
                self._state.parents[id] = 0
        return self._of_guild_channel(message.channel, guild)


def person_of(user: discord.abc.User) -> Person:
    """A Discord account belongs to no server, so its key is the same everywhere."""
    return Person(platform=PLATFORM, id=str(user.id), name=user.display_name)


def event_key(channel: int, message: int) -> str:
    return f"discord:{channel}:{message}"


def is_speech(message: discord.Message) -> bool:
    """A person wrote it: no bot, webhook, or system message such as a pin or a new thread."""
    return not message.author.bot and message.webhook_id is None and message.type in SPEECH


def has_readable_content(message: discord.Message) -> bool:
    """Whether somebody, bots and webhooks with their alerts among them, says something here that
    Discord shows us."""
    return message.type in SPEECH_AND_APP_ANSWERS and not is_withheld(message)


def is_in_conversation(message: discord.Message, me: int) -> bool:
    """Whether the conversation has it already: what we said, and what was said to us."""
    return message.author.id == me or mentions_us(message, me)


def mentions_us(message: discord.Message, me: int) -> bool:
    """Whether it mentions us, by our id or by the role that is ours alone, or answers us with the
    mention on."""
    return any(user.id == me for user in message.mentions) or bool(own_roles(message, me))


def names_others(message: discord.Message, me: int) -> bool:
    """Whether it names people or roles, or answers a person with the mention on. An answer to an
    app's message, which is a mention too, need not be meant for that app."""
    written = {int(id) for id in _USER.findall(message.content)} - {me}
    people = any(user.id != me and not user.bot for user in message.mentions)
    return bool(written or people or {r.id for r in message.role_mentions} - own_roles(message, me))


def is_ours(message: discord.Message, me: int, way: AddressingSettings) -> bool:
    """Whether it is for us whoever takes part there."""
    return mentions_us(message, me) or (
        bool(way.answer_everything) and not names_others(message, me)
    )


def own_roles(message: discord.Message, me: int) -> set[int]:
    """The mention picker offers a bot's managed role beside the bot, under the same name
    (topics/permissions.mdx#role-object-role-tags-structure)."""
    tagged = ((role.id, role.tags) for role in message.role_mentions)
    return {id for id, tags in tagged if tags is not None and tags.bot_id == me}


def is_withheld(message: discord.Message) -> bool:
    """Whether Discord tells that it was written, but nothing of it: no message is empty
    (events/gateway.mdx#message-content-intent)."""
    return not (message.content or message.attachments or message.stickers or message.embeds
                or message.message_snapshots or message.components or message.poll)  # fmt: skip


def answers_us(message: discord.Message, me: int) -> bool:
    """Whether it is a reply to a message of ours, mention or not."""
    replied = _replied_message(message)
    return replied is not None and replied.author.id == me


def to_message(
    message: discord.Message, location: Location, locations: Locations, me: int, thread: int = 0
) -> Message:
    """`thread` is the id of a thread that will be made from this message."""
    key = event_key(message.channel.id, message.id)
    address = (
        location.address("", thread)
        if thread
        else locations.conversation_address(location, message.author.id)
    )
    author = person_of(message.author)
    at = message.edited_at or message.created_at
    return Message(
        event_key=key,
        text=text_of(message, me),
        author=author,
        address=address,
        reply_to=ReplyTo(address, author, str(message.id), turn_id(key)),
        attachments=(*files_of(message), *_files_of_replied(message, me)),
        context=quotes_of(message, me),
        locale=locations.language_of(message),
        sent_at=at.timestamp(),
    )


def from_interaction(
    interaction: Interaction,
    location: Location,
    locations: Locations,
    said: str,
    token: str,
    expires: float,
    *,
    source: str = "",
    asker: int = 0,
    clicked: bool = False,
    context: tuple[Quote, ...] = (),
    files: tuple[Attachment, ...] = (),
) -> Message:
    """The command or click as a Message; `asker` owns the conversation that a click is about."""
    key = f"discord:interaction:{interaction.id}"
    author = person_of(interaction.user)
    address = locations.conversation_address(location, asker or interaction.user.id)
    return Message(
        event_key=key,
        text=text.clean_text(said),
        author=author,
        address=address,
        reply_to=ReplyTo(
            address, author, source or str(interaction.id), turn_id(key), token, expires
        ),
        attachments=files,
        context=context,
        locale=locations.learn_language(interaction),
        sent_at=interaction.created_at.timestamp(),
        clicked=clicked,
    )


def text_of(message: discord.Message, me: int) -> str:
    """The text as a person reads it: without our mention, other mentions as names."""
    people = {user.id: user.display_name for user in message.mentions}
    roles = {role.id: f"@{role.name}" for role in message.role_mentions}
    roles |= dict.fromkeys(own_roles(message, me), "")
    channels = {channel.id: channel.name for channel in message.channel_mentions}

    def user(found: re.Match[str]) -> str:
        id = int(found[1])
        return "" if id == me else f"@{people[id]}" if id in people else found[0]

    content = _USER.sub(user, message.content)
    content = _ROLE.sub(lambda m: roles.get(int(m[1]), f"@{m[1]}"), content)
    content = _CHANNEL.sub(lambda m: f"#{channels.get(int(m[1]), m[1])}", content)
    content = _EMOJI.sub(r"\1", content)
    stickers = [f"[{sticker.name}]" for sticker in message.stickers]
    return text.clean_text("\n".join([content.strip(), *stickers]).strip())


def quotes_of(message: discord.Message, me: int) -> tuple[Quote, ...]:
    """What the message answers or forwards. Our own words the transcript has already, but a quick
    command may be run on them too. A `reference` is where nothing of it is told."""
    found: list[Quote] = []
    replied = _replied_message(message)
    if replied is None and message.type is MessageType.reply and message.reference:
        # "The backend did not attempt to fetch the message": resources/message.mdx#message-object.
        target = message.reference
        if not isinstance(target.resolved, discord.DeletedReferencedMessage):
            where = f"{target.channel_id}/{target.message_id}"
            found.append(Quote("somebody", "", replied=True, reference=where))
    elif replied is not None and (replied.author.id != me or _is_command(message, me)):
        quoted = replace(quote_of(replied, me), replied=True)
        told = quoted.text or not replied.guild or replied.type not in SPEECH_AND_APP_ANSWERS
        if not told and replied.author.id != me:
            quoted = replace(quoted, reference=f"{replied.channel.id}/{replied.id}")
        found += [quoted] if quoted.text or quoted.reference else []
    if message.message_snapshots:
        found.append(
            Quote("a forwarded message", _forwarded_text(message)[:DISCORD_QUOTE_CHARACTERS])
        )
    return tuple(one for one in found if one.text or one.reference)


def quote_of(message: discord.Message, me: int, most: int = DISCORD_QUOTE_CHARACTERS) -> Quote:
    """What somebody said, forwarded or asked, also in an app's embeds and components."""
    told = [text_of(message, me), _forwarded_text(message), *map(_embed_text, message.embeds)]
    told += [
        text.clean_text(words)
        for words in (*_component_texts(message.components), _poll_text(message))
    ]
    words = "\n".join(filter(None, told))
    names = ", ".join(file_name(file) for file in all_attachments(message))
    files = f"[with the files {names}]" if names and words else ""
    return Quote(
        text.clean_text(message.author.display_name),
        "\n".join(filter(None, [text.truncate_with_note(words, most), files])),
    )


def _forwarded_text(message: discord.Message) -> str:
    told = [s.content for s in message.message_snapshots]
    told += [_embed_text(e) for s in message.message_snapshots for e in s.embeds]
    return text.clean_text("\n".join(filter(None, told)))


def _embed_text(embed: discord.Embed) -> str:
    """What another app says in an embed; a link's preview is none."""
    if embed.type != "rich":
        return ""
    fields = [f"{field.name}: {field.value}" for field in embed.fields]
    return text.clean_text("\n".join(filter(None, [embed.title, embed.description, *fields])))


def _component_texts(components: Iterable[Any]) -> Iterator[str]:
    """The texts of components, which may stand in place of content and embeds
    (components/reference.mdx#text-display)."""
    for component in components:
        if isinstance(component, discord.TextDisplay):
            yield component.content
        yield from _component_texts(getattr(component, "children", ()))


def _poll_text(message: discord.Message) -> str:
    if message.poll is None:
        return ""
    return f"{message.poll.question}: " + " / ".join(a.text for a in message.poll.answers)


def _replied_message(message: discord.Message) -> discord.Message | None:
    """The message that this one replies to, where its event tells it."""
    resolved = message.reference.resolved if message.reference else None
    return resolved if isinstance(resolved, discord.Message) else None


def _is_command(message: discord.Message, me: int) -> bool:
    return bool(_COMMAND.match(text_of(message, me)))


def _files_of_replied(message: discord.Message, me: int) -> tuple[Attachment, ...]:
    """The files of what it replies to: all that others sent; of ours the pictures, since a text
    that we attached is an answer that the transcript has. A quick command takes words first."""
    replied = _replied_message(message)
    if replied is None or (_is_command(message, me) and quote_of(replied, me).text):
        return ()
    ours = replied.author.id == me
    return tuple(f for f in files_of(replied) if not ours or f.type.startswith("image/"))
