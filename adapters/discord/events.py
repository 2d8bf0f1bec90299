"""Converts Discord's messages into the core's messages, and says where something was written.

These functions read only what an event contains. `Locations.of_message` alone calls Discord, for a
thread that the SDK's cache lacks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import discord
from discord import MessageType

from adapters.discord.client import PLATFORM, Interaction, attempt, snowflake
from adapters.discord.state import DiscordState
from core.base import text
from core.base.i18n import TIME_ZONE, find_zone, nearest_locale
from core.chat.incoming import Addressing, AddressingSettings, ConfiguredPlaces
from core.domain.messages import (
    Address,
    Attachment,
    Message,
    Person,
    Quote,
    ReplyTo,
    mark_recording,
    turn_id,
)

DISCORD_QUOTE_CHARACTERS = 4000
"""The limit of a quoted or forwarded message."""
SPEECH = (MessageType.default, MessageType.reply)
SPEECH_AND_APP_ANSWERS = (*SPEECH, MessageType.chat_input_command, MessageType.context_menu_command)
"""Messages with readable text: of people, and the answers of apps to slash commands and menus
(resources/message.mdx#message-object-message-types)."""
_COMMAND = re.compile(r"[/!]?quick-command\s", re.IGNORECASE)
USER = re.compile(r"<@!?(\d+)>")
_REFERENCE = re.compile(r"<(@&|@|#)!?(\d+)>")
_EMOJI = re.compile(r"<a?(:\w+:)\d+>")
_COMMAND_LINK = re.compile(r"<(/[^<>:]+):\d+>")
_TIMESTAMP = re.compile(r"<t:(-?\d{1,12})(?::(\w))?>", re.ASCII)


@dataclass(frozen=True, slots=True)
class Location:
    """The place where a message was written, by Discord's ids.

    `channel` is the parent channel if `thread` is set; 0 is no thread. `guild` is the server, 0 in
    a direct message or a group DM. `is_shared`: several people can read there.
    """

    channel: int
    guild: int = 0
    thread: int = 0
    is_shared: bool = False

    def address(self, person: int | str = "", thread: int = 0) -> Address:
        """Return the Address of the conversation here.

        In a shared channel without a thread each `person` has their own; "" is one for all.
        `thread` is used if the location has none, as for a message that begins one.
        """
        thread = self.thread or thread
        return Address(
            platform=PLATFORM,
            channel=str(self.channel),
            workspace=str(self.guild or ""),
            thread=str(thread or ""),
            person="" if thread or not self.is_shared else str(person),
            is_shared=self.is_shared,
        )


@dataclass(frozen=True, slots=True)
class Locations:
    """Finds the `Location` and the language of a message or interaction. `locale` is the default
    language."""

    state: DiscordState
    locale: str
    places: ConfiguredPlaces

    def language_of(self, message: discord.Message) -> str:
        """Return the language of the author, of a community server, or the default. Only
        interactions tell a person's."""
        if language := self.state.languages.get(str(message.author.id)):
            return language
        guild = message.guild
        # Other servers choose no language, and Discord reports en-US for them.
        if guild is None or "COMMUNITY" not in guild.features:
            return self.locale
        # The country of a server is not that of its people.
        return nearest_locale(str(guild.preferred_locale))

    async def of_message(self, client: discord.Client, message: discord.Message) -> Location:
        """Return where a message was written. Raises as `attempt` does if the channel must be
        fetched, to find out whether it is a thread and of which channel."""
        channel = message.channel
        # The SDK sets `message.guild` only for a server in its cache. A channel that is not there
        # either (PartialMessageable) has the server's id, a direct message none.
        guild = message.guild.id if message.guild else getattr(channel, "guild_id", None) or 0
        if not guild:
            return Location(channel.id)
        # `parents` has the id of a thread's channel; 0 for a channel that is no thread.
        # `note_change` has it stored. The cache lacks some, such as a thread that was archived when
        # Ponte started.
        parents = self.state.parents
        if isinstance(channel, discord.PartialMessageable) and channel.id not in parents:
            fetched = await attempt(lambda: client.fetch_channel(channel.id))
            if isinstance(fetched, discord.Thread):
                parents[channel.id] = fetched.parent_id
                self.state.note_change()
            else:
                parents[channel.id] = 0  # it is not fetched again
        return self._of_guild_channel(channel, guild)

    def of_interaction(self, interaction: Interaction) -> Location:
        """Return where a command or button was used."""
        channel = interaction.channel
        id = interaction.channel_id or 0
        if interaction.guild_id:
            return self._of_guild_channel(channel, interaction.guild_id, id)
        # If only its user installed the app, a DM may be between two other people.
        alone = bool(interaction.context.dm_channel)
        return Location(id, is_shared=not alone and not isinstance(channel, discord.DMChannel))

    async def find_direct(self, client: discord.Client, person: int) -> int:
        """Return the id of the direct message with a person. Raises as `attempt` does."""
        channel = await attempt(lambda: client.create_dm(discord.Object(person)))
        # A bot cannot list its direct messages. Unknown ones are not read back after an outage.
        await self.state.note_channel(channel.id, snowflake(), 0)
        return channel.id

    def find_addressing(self, message: discord.Message, location: Location, me: int) -> Addressing:
        """Return the facts that tell whether a message is for Ponte. `me` is our user id. A thread
        is ours if we created it, or have been mentioned there, which `state` remembers."""
        thread, channel = self.state.threads.get(location.thread), message.channel
        is_made_by_us = isinstance(channel, discord.Thread) and channel.owner_id == me
        # With this message, the author may join as the second person.
        people = {str(message.author.id), *(thread.people if thread else ())}
        return Addressing(
            is_direct=not location.guild,
            is_withheld=is_withheld(message),
            mentions_us=mentions_us(message, me),
            names_others=names_others(message, me),
            answers_us=answers_us(message, me),
            is_our_thread=is_made_by_us or thread is not None,
            has_several_people=len(people) > 1,
        )

    def settings_of(self, location: Location) -> AddressingSettings:
        """A thread has the settings of its parent channel."""
        return self.places.channel(location.address())

    def conversation_address(self, location: Location, person: int) -> Address:
        """Return the Address of the conversation that `person` has at a location.

        If a thread could not be created there, its id still names the conversation for a day. If
        the channel is set to have no threads, all people in it share one conversation.
        """
        is_one = location.guild and not location.thread
        if not location.is_shared or (is_one and self.settings_of(location).threads is False):
            return location.address()
        # The id of the thread that could not be created, 0 without one.
        alias = 0 if location.thread else self.state.find_alias(location.channel, str(person)) or 0
        return location.address(person, alias)

    def _of_guild_channel(self, channel: object, guild: int, id: int = 0) -> Location:
        if isinstance(channel, discord.Thread):
            self.state.parents[channel.id] = channel.parent_id
            return Location(channel.parent_id, guild, channel.id, is_shared=True)
        channel_id = getattr(channel, "id", id)
        if parent := self.state.parents.get(channel_id):
            return Location(parent, guild, channel_id, is_shared=True)
        return Location(channel_id, guild, is_shared=True)


def person_of(user: discord.abc.User) -> Person:
    """Accounts belong to no server, so the key is equal everywhere."""
    return Person(platform=PLATFORM, id=str(user.id), name=user.display_name)


MESSAGE_KEY = re.compile(r"discord:(\d+):(\d+)")
"""What `event_key` returns."""


def event_key(channel: int, message: int) -> str:
    return f"discord:{channel}:{message}"


def is_speech(message: discord.Message) -> bool:
    """A person wrote it. Bots, webhooks and system messages (a pin, a new thread) do not count."""
    return not message.author.bot and message.webhook_id is None and message.type in SPEECH


def has_readable_content(message: discord.Message) -> bool:
    """Discord shows us the content. Bots, and webhooks with their alerts, count too."""
    return message.type in SPEECH_AND_APP_ANSWERS and not is_withheld(message)


def mentions_us(message: discord.Message, me: int) -> bool:
    """Mentions are by our id, by the role that only we have, or a reply to us with the mention
    on."""
    return any(user.id == me for user in message.mentions) or bool(own_roles(message, me))


def names_others(message: discord.Message, me: int) -> bool:
    """The message mentions other people or roles, or replies to a person with the mention on. A
    reply to another app is a mention of it too, but may still be meant for Ponte, so it does not
    count."""
    mentioned_ids = {int(id) for id in USER.findall(message.content)} - {me}
    people = any(user.id != me and not user.bot for user in message.mentions)
    roles = {role.id for role in message.role_mentions} - own_roles(message, me)
    return bool(mentioned_ids or people or roles)


def own_roles(message: discord.Message, me: int) -> set[int]:
    """Return our bot's managed role, if the message mentions it. The mention picker shows it beside
    the bot, under the same name (topics/permissions.mdx#role-object-role-tags-structure)."""
    tagged = ((role.id, role.tags) for role in message.role_mentions)
    return {id for id, tags in tagged if tags is not None and tags.bot_id == me}


def is_withheld(message: discord.Message) -> bool:
    """Discord withholds the content without the Message Content intent
    (events/gateway.mdx#message-content-intent)."""
    # It then arrives empty.
    return not (
        message.content
        or message.attachments
        or message.stickers
        or message.embeds
        or message.message_snapshots
        or message.components
        or message.poll
    )


def answers_us(message: discord.Message, me: int) -> bool:
    """The message replies to one of ours, with or without the mention."""
    replied = _replied_message(message)
    return replied is not None and replied.author.id == me


def to_message(
    message: discord.Message, location: Location, locations: Locations, me: int, thread: int = 0
) -> Message:
    """Convert a message into the core's. `me` is our user id; `thread` is the id of a thread that
    will be created from it, or 0."""
    key = event_key(message.channel.id, message.id)
    address = locations.conversation_address(location, message.author.id)
    # The answer comes in that thread, so the message belongs to its conversation, which all people
    # there share ("").
    if thread:
        address = location.address("", thread)
    author = person_of(message.author)
    files = own_files_of(message)
    # A quick command takes the text of the message that it replies to, or else its files.
    replied = _replied_message(message)
    if replied is not None and not (_is_command(message, me) and quote_of(replied, me).text):
        # Of our own posts only pictures count: a text that we attached is an answer, which the
        # transcript has.
        ours = replied.author.id == me
        files += tuple(f for f in files_of(replied) if not ours or f.type.startswith("image/"))
    return Message(
        event_key=key,
        text=text_of(message, me),
        author=author,
        address=address,
        reply_to=ReplyTo(address, author, str(message.id), turn_id(key)),
        attachments=files,
        context=quotes_of(message, me),
        locale=locations.language_of(message),
        # By it the inbox tells which version of an edited message is newer.
        sent_at=(message.edited_at or message.created_at).timestamp(),
        mentions=names_of(message, me).list_mentions(message.content),
    )


def files_of(message: discord.Message) -> tuple[Attachment, ...]:
    """Return the files of a message, and of messages that it forwards.

    Each reference has the message and the file's id, and the file's address, which expires within a
    day but is needed: a quoted message may be readable only once.
    """
    where = f"{message.channel.id}/{message.id}"
    return tuple(_file(file, f"{where}/{file.id} {file.url}") for file in all_attachments(message))


def own_files_of(message: discord.Message) -> tuple[Attachment, ...]:
    """Return files as `files_of` does, with voice messages marked as the author's recordings.
    Forwarded files, which come last, are of somebody else."""
    files = files_of(message)
    pairs = zip(files, message.attachments, strict=False)
    recordings = [mark_recording(file, pair.duration) for file, pair in pairs]
    return (*recordings, *files[len(recordings) :])


def given_file(file: discord.Attachment) -> Attachment:
    """Discord sends an interaction's file only there, so its reference is the address alone."""
    return _file(file, file.url)


def file_name(file: discord.Attachment) -> str:
    """Return the name as the person wrote it. Discord converts `filename` to ASCII and puts the
    original in `title`."""
    if not file.title:
        return text.safe_file_name(file.filename)
    _, dot, extension = file.filename.rpartition(".")
    return text.safe_file_name(file.title + dot + extension)


def all_attachments(message: discord.Message) -> list[discord.Attachment]:
    forwarded = [file for snapshot in message.message_snapshots for file in snapshot.attachments]
    return [*message.attachments, *forwarded]


def _file(file: discord.Attachment, reference: str) -> Attachment:
    kind = (file.content_type or "application/octet-stream").split(";")[0]
    return Attachment(file_name(file), kind, file.size, reference=reference)


def text_of(message: discord.Message, me: int) -> str:
    """Return the text as people read it: without our own mention, with its poll, the names of
    stickers, and names in place of ids (`ReferencedNames.write`)."""
    lines = [names_of(message, me).write(message.content).strip()]
    poll = ""
    if message.poll is not None:
        options = [
            f"{answer.emoji.name if answer.emoji else ''} {answer.text or ''}".strip()
            for answer in message.poll.answers
        ]
        poll = f"[Poll] {message.poll.question}: {' / '.join(options)}"
    lines += [poll, *(f"[{sticker.name}]" for sticker in message.stickers)]
    return text.clean_text("\n".join(lines).strip())


@dataclass(frozen=True, slots=True)
class ReferencedNames:
    """The names of the people, roles and channels that a text refers to by id.

    `names` came with the text, by their codes (`@1`, `@&2`, `#3`); "" leaves a reference out. The
    others are looked up in the cache of `guild`.
    """

    guild: discord.Guild | None
    names: Mapping[str, str]

    def write(self, text: str) -> str:
        """Return the text as Discord shows it (reference.mdx#message-formatting): with names in
        place of ids, emoji codes and commands, and with dates in place of timestamps."""
        text = _EMOJI.sub(r"\1", _REFERENCE.sub(self._find_name, text))
        return _TIMESTAMP.sub(_write_moment, _COMMAND_LINK.sub(r"\1", text))

    def list_mentions(self, content: str) -> tuple[tuple[str, str], ...]:
        """Return the people and channels that the text refers to, as (name, id), without those
        whose name is unknown or left out."""
        return tuple(
            (text.clean_text(name), found[2])
            for found in _REFERENCE.finditer(content)
            if found[1] != "@&" and (name := self._find_name(found)) not in ("", found[0])
        )

    def _find_name(self, found: re.Match[str]) -> str:
        """Return the name behind markup such as `<@123>`; "" for our own mention, which is left
        out."""
        kind, id = found.groups()
        if (name := self.names.get(kind + id)) is not None:
            return name
        if guild := self.guild:
            find = {"@": guild.get_member, "@&": guild.get_role, "#": guild.get_channel_or_thread}
            if one := find[kind](int(id)):
                # A role is shown with one "@", as a person is.
                return f"{kind[0]}{getattr(one, 'display_name', one.name)}"
        # An unknown role or channel becomes "@" or "#" and its id. The markup of an unknown person
        # stays: `list_mentions` recognizes it and leaves it out.
        return found[0] if kind == "@" else f"{kind[0]}{id}"


def _write_moment(found: re.Match[str]) -> str:
    try:
        moment = datetime.fromtimestamp(int(found[1]), find_zone(TIME_ZONE.get()))
    except (ValueError, OverflowError):
        return found[0]
    return f"{moment:%Y-%m-%d}" if found[2] in ("d", "D") else f"{moment:%Y-%m-%d %H:%M}"


def names_of(message: discord.Message, me: int) -> ReferencedNames:
    """Return the names for a message's text: of the people that it mentions, and "" for us and our
    role, so that our own mention is left out."""
    names = {f"@{user.id}": f"@{user.display_name}" for user in message.mentions}
    ours = [f"@{me}", *(f"@&{role}" for role in own_roles(message, me))]
    return ReferencedNames(message.guild, names | dict.fromkeys(ours, ""))


def quotes_of(message: discord.Message, me: int) -> tuple[Quote, ...]:
    """Return the messages that a message replies to and forwards.

    Our own posts are left out, because the transcript has them, except for a quick command, which
    may take one as its input. If the event does not contain the quoted message, the quote has a
    `reference` by which the turn fetches it.
    """
    quotes: list[Quote] = []
    replied = _replied_message(message)
    # The event lacks the message that it replies to. A deleted one cannot be fetched.
    if replied is None and message.type is MessageType.reply and message.reference:
        # "The backend did not attempt to fetch the message": resources/message.mdx#message-object.
        target = message.reference
        if not isinstance(target.resolved, discord.DeletedReferencedMessage):
            where = f"{target.channel_id}/{target.message_id}"
            quotes.append(Quote("somebody", "", is_replied_to=True, reference=where))
    elif replied is not None and (replied.author.id != me or _is_command(message, me)):
        quoted = replace(quote_of(replied, me), is_replied_to=True)
        # Without the Message Content intent, messages from a server that do not mention us arrive
        # empty. In direct messages nothing is withheld, and Discord's own messages have no text.
        is_readable = quoted.text or not replied.guild or replied.type not in SPEECH_AND_APP_ANSWERS
        # The turn tries to fetch it. Our own posts always have their content.
        if not is_readable and replied.author.id != me:
            quoted = replace(quoted, reference=f"{replied.channel.id}/{replied.id}")
        quotes += [quoted] if quoted.text or quoted.reference else []
    if message.message_snapshots:
        words = names_of(message, me).write(_forwarded_text(message))[:DISCORD_QUOTE_CHARACTERS]
        quotes.append(Quote("a forwarded message", words))
    return tuple(quote for quote in quotes if quote.text or quote.reference)


def quote_of(
    message: discord.Message,
    me: int,
    most: int = DISCORD_QUOTE_CHARACTERS,
    *,
    are_files_apart: bool = False,
) -> Quote:
    """Return a message as a quote: its text, what it forwards, embeds, components, poll, and the
    names of its files. The text has at most `most` characters. A message of files alone is an empty
    quote, because its files are attached, unless `are_files_apart`."""
    shown = [_forwarded_text(message), *map(_embed_text, message.embeds)]
    # The other texts are clean.
    shown += map(text.clean_text, _component_texts(message.components))
    texts = [text_of(message, me), *map(names_of(message, me).write, shown)]
    words = "\n".join(filter(None, texts))
    names = ", ".join(file_name(file) for file in all_attachments(message))
    files = f"[with the files {names}]" if names and (words or are_files_apart) else ""
    return Quote(
        text.clean_text(message.author.display_name),
        "\n".join(filter(None, [text.truncate_with_note(words, most), files])),
    )


def _forwarded_text(message: discord.Message) -> str:
    snapshots = message.message_snapshots
    texts = [snapshot.content for snapshot in snapshots]
    texts += [_embed_text(embed) for snapshot in snapshots for embed in snapshot.embeds]
    texts += [f"[{sticker.name}]" for snapshot in snapshots for sticker in snapshot.stickers]
    texts += [words for snapshot in snapshots for words in _component_texts(snapshot.components)]
    return text.clean_text("\n".join(filter(None, texts)))


def _embed_text(embed: discord.Embed) -> str:
    if embed.type != "rich":  # such as the preview of a link
        return ""
    fields = [f"{field.name}: {field.value}" for field in embed.fields]
    lines = [embed.author.name, embed.title, embed.description, *fields, embed.footer.text]
    return text.clean_text("\n".join(filter(None, lines)))


def _component_texts(components: Iterable[Any]) -> Iterator[str]:
    """Components can replace content and embeds (components/reference.mdx#text-display)."""
    for component in components:
        if isinstance(component, discord.TextDisplay):
            yield component.content
        yield from _component_texts(getattr(component, "children", ()))


def _replied_message(message: discord.Message) -> discord.Message | None:
    resolved = message.reference.resolved if message.reference else None
    return resolved if isinstance(resolved, discord.Message) else None


def _is_command(message: discord.Message, me: int) -> bool:
    return bool(_COMMAND.match(text_of(message, me)))
