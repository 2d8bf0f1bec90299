"""What people write on Discord as the core's Message."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import discord

from adapters.discord.places import Place, Places, person
from core import text
from core.messages import Attachment, Message, Quote, ReplyTo, turn_id

LONGEST_QUOTE = 4000
_COMMAND = re.compile(r"[/!]?quick-command\s", re.IGNORECASE)
_USER = re.compile(r"<@!?(\d+)>")
_ROLE = re.compile(r"<@&(\d+)>")
_CHANNEL = re.compile(r"<#(\d+)>")
_EMOJI = re.compile(r"<a?(:\w+:)\d+>")


def event_key(channel: int, message: int) -> str:
    return f"discord:{channel}:{message}"


def is_speech(message: discord.Message) -> bool:
    """A person wrote it: no bot, webhook, or system message such as a pin or a new thread."""
    return (
        not message.author.bot
        and message.webhook_id is None
        and message.type in (discord.MessageType.default, discord.MessageType.reply)
    )


def names(message: discord.Message, me: int) -> bool:
    """Whether it mentions us by id, or answers us with the mention on; roles do not count."""
    return any(user.id == me for user in message.mentions)


def answers(message: discord.Message, me: int) -> bool:
    """Whether it is a reply to a message of ours, mention or not."""
    replied = message.reference.resolved if message.reference else None
    return isinstance(replied, discord.Message) and replied.author.id == me


def to_message(
    message: discord.Message, place: Place, places: Places, me: int, thread: int = 0
) -> Message:
    """`thread` is the id of a thread that will be made from this message."""
    key = event_key(message.channel.id, message.id)
    address = place.address("", thread) if thread else places.aliased(place, message.author.id)
    author = person(message.author)
    at = message.edited_at or message.created_at
    return Message(
        event_key=key,
        text=said(message, me),
        author=author,
        address=address,
        reply_to=ReplyTo(address, author, str(message.id), turn_id(key)),
        attachments=tuple(attachment(message, file) for file in message.attachments),
        context=quotes(message, me),
        sent_at=at.timestamp(),
    )


def said(message: discord.Message, me: int) -> str:
    """The text as a person reads it: without our mention, other mentions as names."""
    people = {user.id: user.display_name for user in message.mentions}
    roles = {role.id: role.name for role in message.role_mentions}
    channels = {channel.id: channel.name for channel in message.channel_mentions}

    def user(found: re.Match[str]) -> str:
        id = int(found[1])
        return "" if id == me else f"@{people[id]}" if id in people else found[0]

    content = _USER.sub(user, message.content)
    content = _ROLE.sub(lambda m: f"@{roles.get(int(m[1]), m[1])}", content)
    content = _CHANNEL.sub(lambda m: f"#{channels.get(int(m[1]), m[1])}", content)
    content = _EMOJI.sub(r"\1", content)
    stickers = [f"[{sticker.name}]" for sticker in message.stickers]
    return text.clean("\n".join([content.strip(), *stickers]).strip())


def quotes(message: discord.Message, me: int) -> tuple[Quote, ...]:
    """What the message answers or forwards; our own words the transcript has already.

    A quick command may be run on our words too.
    """
    found: list[Quote] = []
    replied = message.reference.resolved if message.reference else None
    if isinstance(replied, discord.Message) and replied.content:
        ours = replied.author.id == me
        if not ours or _COMMAND.match(said(message, me)):
            found.append(replace(quote(replied, me), replied=True))
    found.extend(
        Quote("a forwarded message", text.clean(snapshot.content)[:LONGEST_QUOTE])
        for snapshot in message.message_snapshots
        if snapshot.content
    )
    return tuple(found)


def quote(message: discord.Message, me: int) -> Quote:
    return Quote(text.clean(message.author.display_name), said(message, me)[:LONGEST_QUOTE])


def attachment(message: discord.Message, file: discord.Attachment) -> Attachment:
    """By reference to the message: a URL is signed, ends within a day, and is kept nowhere."""
    return Attachment(
        name=file_name(file),
        type=(file.content_type or "application/octet-stream").split(";")[0],
        size=file.size,
        reference=f"{message.channel.id}/{message.id}/{file.id}",
    )


def file_name(file: discord.Attachment) -> str:
    """Discord turns `filename` into ASCII; `title` is what the person called it."""
    if not file.title:
        return text.file_name(file.filename)
    _, dot, extension = file.filename.rpartition(".")
    return text.file_name(file.title + dot + extension)


def from_interaction(
    interaction: discord.Interaction[Any],
    place: Place,
    places: Places,
    said: str,
    token: str,
    expires: float,
    *,
    source: str = "",
    asker: int = 0,
    clicked: bool = False,
    context: tuple[Quote, ...] = (),
    files: tuple[discord.Attachment, ...] = (),
) -> Message:
    """The command or click as a Message; `asker` owns the conversation that a click is about."""
    key = f"discord:interaction:{interaction.id}"
    author = person(interaction.user)
    address = places.aliased(place, asker or interaction.user.id)
    return Message(
        event_key=key,
        text=text.clean(said),
        author=author,
        address=address,
        reply_to=ReplyTo(
            address, author, source or str(interaction.id), turn_id(key), token, expires
        ),
        attachments=tuple(
            Attachment(file_name(f), f.content_type or "", f.size, reference=f.url) for f in files
        ),
        context=context,
        locale=str(interaction.locale),
        sent_at=interaction.created_at.timestamp(),
        clicked=clicked,
    )
