"""Messages as Discord makes, checks and censors them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tests.fakes.discord.world import DM, GROUP, Channel, Payload, User, World

MESSAGE_CONTENT = 1 << 15
# resources/message.mdx: content 2000, files 10 MiB each by default (reference.mdx#uploading-files).
CONTENT_LIMIT = 2000
FILE_LIMIT = 10 * 1024 * 1024
REQUEST_LIMIT = 25 * 1024 * 1024
# How long a nonce is remembered: "the past few minutes", resources/message.mdx#create-message.
NONCE_WINDOW = 180.0
_MENTION = re.compile(r"<@!?(\d+)>")


class Refused(Exception):
    """An error answer: HTTP status, Discord's code, and its words."""

    def __init__(self, status: int, code: int, words: str) -> None:
        super().__init__(words)
        self.status, self.code = status, code


def make(
    world: World,
    channel: Channel,
    author: User,
    content: str,
    *,
    attachments: Sequence[Payload] = (),
    reference: Payload | None = None,
    ping: bool = True,
    id: int | None = None,
    type: int | None = None,
    **more: Any,
) -> Payload:
    """A message in `channel`, kept there; `ping` counts a reply as a mention."""
    id = id or world.clock.snowflake()
    replied = _replied(channel, reference)
    mentioned = [int(user) for user in _MENTION.findall(content)]
    if replied is not None and ping:
        mentioned.append(int(replied["author"]["id"]))
    people = [world.users[user] for user in dict.fromkeys(mentioned) if user in world.users]
    message: Payload = {
        "id": str(id),
        "channel_id": str(channel.id),
        "author": author.payload,
        "content": content,
        "timestamp": world.clock.timestamp(id),
        "edited_timestamp": None,
        "tts": False,
        "mention_everyone": "@everyone" in content,
        "mentions": [user.payload for user in people],
        "mention_roles": [],
        "attachments": list(attachments),
        "embeds": [],
        "components": [],
        "pinned": False,
        "type": (19 if reference else 0) if type is None else type,
        "flags": 0,
        **more,
    }
    if reference is not None:
        message["message_reference"] = {
            key: str(value) if key.endswith("_id") else value for key, value in reference.items()
        }
        message["referenced_message"] = replied
    channel.messages[id] = message
    return message


def _replied(channel: Channel, reference: Payload | None) -> Payload | None:
    return channel.messages.get(int(reference["message_id"])) if reference else None


def event(world: World, message: Payload, intents: int) -> Payload:
    """The message as the gateway sends it to an application with these intents."""
    channel = world.channels[int(message["channel_id"])]
    seen = censored(world, message, intents)
    if channel.guild is not None:
        author = world.users.get(int(message["author"]["id"]))
        seen = {**seen, "guild_id": str(channel.guild.id)}
        if author is not None:
            seen["member"] = author.member()
    return seen


def censored(world: World, message: Payload, intents: int) -> Payload:
    """Without the privileged intent content is empty but for the exceptions that Discord makes.

    events/gateway.mdx#message-content-intent: own messages, DMs, mentions.
    """
    channel = world.channels[int(message["channel_id"])]
    me = str(world.me.id)
    named = any(user["id"] == me for user in message["mentions"])
    if intents & MESSAGE_CONTENT or channel.type in (DM, GROUP) or named:
        return message
    if message["author"]["id"] == me:
        return message
    return {**message, "content": "", "attachments": [], "embeds": [], "components": []}


def check(payload: Payload, files: Sequence[tuple[str, bytes]], largest: int) -> None:
    """What Discord refuses before it makes or changes a message."""
    content = payload.get("content") or ""
    if len(content) > CONTENT_LIMIT:
        raise Refused(400, 50035, "Invalid Form Body: content must be 2000 or fewer in length.")
    sizes = [len(data) for _, data in files]
    if max(sizes, default=0) > largest or sum(sizes) > REQUEST_LIMIT:
        raise Refused(413, 40005, "Request entity too large")
    embeds = payload.get("embeds") or []
    total = sum(len(str(e.get("title", ""))) + len(str(e.get("description", ""))) for e in embeds)
    if len(embeds) > 10 or total > 6000:
        raise Refused(400, 50035, "Invalid Form Body: embeds")
    rows = payload.get("components") or []
    if len(rows) > 5 or any(len(row.get("components", ())) > 5 for row in rows):
        raise Refused(400, 50035, "Invalid Form Body: components")
    for button in (item for row in rows for item in row.get("components", ())):
        if len(button.get("custom_id", "")) > 100 or not 1 <= len(button.get("label") or "-") <= 80:
            raise Refused(400, 50035, "Invalid Form Body: component")


def empty(payload: Payload, files: Sequence[tuple[str, bytes]]) -> bool:
    return not (payload.get("content") or payload.get("embeds") or files)


def attachments(
    world: World, channel: int, base: str, files: Sequence[tuple[str, bytes]]
) -> list[Payload]:
    made: list[Payload] = []
    for name, data in files:
        id = world.clock.snowflake()
        world.files[id] = data
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
        url = f"{base}/cdn/attachments/{channel}/{id}/{safe}?ex=1&is=1&hm=1"
        made.append(
            {"id": str(id), "filename": safe, "size": len(data), "url": url, "proxy_url": url}
        )
        if safe != name:
            made[-1]["title"] = name.rsplit(".", 1)[0]
    return made
