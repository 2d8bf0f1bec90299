"""Messages as Discord creates, changes and censors them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tests.fakes import linkers
from tests.fakes.discord.world import DM, MENTION_EVERYONE, Channel, Payload, User, World

MESSAGE_CONTENT = 1 << 15
# resources/message.mdx#allowed-mentions-object: without the field, all of these in a message, the
# first in what answers an interaction.
EVERYBODY: Payload = {"parse": ["users", "roles", "everyone"], "replied_user": True}
USERS: Payload = {"parse": ["users"]}
_USER = re.compile(r"<@!?(\d+)>")
_ROLE = re.compile(r"<@&(\d+)>")


def make(
    world: World,
    channel: Channel,
    author: User,
    content: str,
    *,
    attachments: Sequence[Payload] = (),
    reference: Payload | None = None,
    allowed: Payload = EVERYBODY,
    id: int | None = None,
    type: int | None = None,
    **more: Any,
) -> Payload:
    """A message in `channel`, kept there. `allowed`: whom it may mention."""
    id = id or world.clock.snowflake()
    message: Payload = {
        "id": str(id),
        "channel_id": str(channel.id),
        "author": author.payload,
        # White space around it goes (github.com/qaisjp/go-discord-irc pull request 137).
        "content": content.strip(),
        "timestamp": world.clock.timestamp(id),
        "edited_timestamp": None,
        "tts": False,
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
        message["referenced_message"] = channel.messages.get(int(reference["message_id"]))
    message |= mentions(world, channel, message, allowed)
    channel.messages[id] = message
    note_links(world, message)
    return message


def note_links(world: World, message: Payload) -> None:
    world.linked.setdefault(message["id"], []).extend(linkers.discord_message(message))


def mentions(world: World, channel: Channel, message: Payload, allowed: Payload) -> Payload:
    """Return whom a message mentions. Each edit of its content computes this again, by what it
    allows
    (resources/message.mdx#edit-message)."""
    content, parse = message["content"], allowed.get("parse", ())
    named = map(str, allowed.get("users", ()))
    people = [int(user) for user in _USER.findall(content) if "users" in parse or user in {*named}]
    replied = message.get("referenced_message")
    if replied is not None and allowed.get("replied_user"):
        people.append(int(replied["author"]["id"]))
    guild = channel.guild
    value = {*guild.roles, guild.own_role} if guild else set[int]()
    roles = [role for role in _ROLE.findall(content) if int(role) in value]
    everyone = guild is None or bool(guild.permissions & MENTION_EVERYONE)
    names = [world.users[user] for user in dict.fromkeys(people) if user in world.users]
    return {
        "mentions": [user.payload for user in names],
        "mention_roles": roles if "roles" in parse else [],
        "mention_everyone": "everyone" in parse and everyone and "@everyone" in content,
    }


def guard(world: World, payload: Payload) -> None:
    """Note a request that leaves it to Discord whom its message mentions."""
    allowed = payload.get("allowed_mentions")
    if allowed is None or allowed.get("parse") or allowed.get("replied_user"):
        world.unguarded.append(payload)


def event(world: World, message: Payload, intents: int) -> Payload:
    """The message as the gateway sends it to an application with these intents."""
    channel = world.channels[int(message["channel_id"])]
    view = withhold_content(world, message, bool(intents & MESSAGE_CONTENT))
    if channel.guild is not None:
        author = world.users.get(int(message["author"]["id"]))
        view = {**view, "guild_id": str(channel.guild.id)}
        if author is not None:
            view["member"] = author.member()
    return view


def withhold_content(
    world: World, message: Payload, granted: bool, *, target: bool = False
) -> Payload:
    """The message as an application may read it; one that it quotes is judged for itself.

    events/gateway.mdx#message-content-intent: without the grant the application's own messages,
    its DMs, what mentions it and the `target` of a message command are told, all else is empty.
    A mention of its role is in another field, `mention_roles`, and opens nothing.
    """
    view = dict(message)
    if value := view.get("referenced_message"):
        view["referenced_message"] = withhold_content(world, value, granted)
    me = str(world.me.id)
    is_any = any(user["id"] == me for user in message["mentions"])
    direct = world.channels[int(message["channel_id"])].type == DM
    if granted or target or is_any or direct or message["author"]["id"] == me:
        return view
    redacted = {"content": "", "embeds": [], "components": []}
    if world.withholds_files:
        redacted["attachments"] = []
    snapshots = view.get("message_snapshots") or ()
    if snapshots:
        view["message_snapshots"] = [{"message": {**s["message"], **redacted}} for s in snapshots]
    return {**view, **redacted}


def attachments(
    world: World, channel: int, base: str, files: Sequence[tuple[str, bytes]]
) -> list[Payload]:
    results: list[Payload] = []
    for name, data in files:
        id = world.clock.snowflake()
        world.files[id] = data
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
        url = f"{base}/cdn/attachments/{channel}/{id}/{safe}?ex=1&is=1&hm=1"
        results.append(
            {"id": str(id), "filename": safe, "size": len(data), "url": url, "proxy_url": url}
        )
        if safe != name:
            results[-1]["title"] = name.rsplit(".", 1)[0]
    return results
