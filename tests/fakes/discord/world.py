"""The state of the fake Discord: people, servers, channels, messages and files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.discord.clock import Clock
from tests.fakes.timeouts import HANG_TIMEOUT_SECONDS

Payload = dict[str, Any]

TEXT, DM, VOICE, GROUP, THREAD, FORUM = 0, 1, 2, 3, 11, 15
# developers/topics/permissions.mdx#permissions-bitwise-permission-flags
ADD_REACTIONS, VIEW, SEND, EMBED, ATTACH = 1 << 6, 1 << 10, 1 << 11, 1 << 14, 1 << 15
READ_HISTORY, MENTION_EVERYONE = 1 << 16, 1 << 17
CONNECT, PUBLIC_THREADS, SEND_IN_THREADS = 1 << 20, 1 << 35, 1 << 38
EVERYTHING = (
    ADD_REACTIONS
    | VIEW
    | SEND
    | EMBED
    | ATTACH
    | READ_HISTORY
    | MENTION_EVERYONE
    | CONNECT
    | PUBLIC_THREADS
    | SEND_IN_THREADS
)


@dataclass
class User:
    id: int
    name: str
    bot: bool = False
    refuses_dms: bool = False
    elsewhere: bool = False
    """They share no server with the bot, and never wrote to it."""
    roles: set[int] = field(default_factory=set)

    @property
    def payload(self) -> Payload:
        return {
            "id": str(self.id),
            "username": self.name.lower(),
            "global_name": self.name,
            "discriminator": "0",
            "avatar": None,
            "bot": self.bot,
        }

    def member(self) -> Payload:
        return {
            "roles": [str(role) for role in sorted(self.roles)],
            "joined_at": "2026-01-01T00:00:00+00:00",
            "deaf": False,
            "mute": False,
            "flags": 0,
        }


@dataclass
class Guild:
    id: int
    name: str
    members: set[int] = field(default_factory=set)
    roles: dict[int, str] = field(default_factory=dict)
    permissions: int = EVERYTHING
    with_bot: bool = True
    tier: int = 0
    """Its level of boosts, 0 to 3."""
    own_role: int = 0
    """The bot's managed role, which came with its invitation."""


@dataclass
class Channel:
    id: int
    type: int
    name: str = ""
    guild: Guild | None = None
    parent: int | None = None
    owner: int | None = None
    recipients: tuple[int, ...] = ()
    archived: bool = False
    locked: bool = False
    denied: dict[int, int] = field(default_factory=dict)
    """Permissions that a person, or everyone (the id of the server), lacks here. Calls of the bot
    do not heed them."""
    messages: dict[int, Payload] = field(default_factory=dict)
    typing: list[float] = field(default_factory=list)

    @property
    def payload(self) -> Payload:
        base: Payload = {"id": str(self.id), "type": self.type, "name": self.name}
        if self.guild is not None:
            base |= {"guild_id": str(self.guild.id), "position": 0}
            base["permission_overwrites"] = [
                {"id": str(id), "type": int(id != self.guild.id), "allow": "0", "deny": str(denied)}
                for id, denied in self.denied.items()
            ]
        if self.type == VOICE:
            base |= {"bitrate": 64000, "user_limit": 0}
        last = max(self.messages, default=None)
        base["last_message_id"] = None if last is None else str(last)
        if self.type == THREAD:
            base |= {"parent_id": str(self.parent), "owner_id": str(self.owner)}
            base |= {"message_count": len(self.messages), "member_count": 2}
            base["thread_metadata"] = {
                "archived": self.archived,
                "auto_archive_duration": 1440,
                "archive_timestamp": "2026-01-01T00:00:00+00:00",
                "locked": self.locked,
            }
        return base


class World:
    """All of it, with one bot in it (`me`); `changed` wakes those who wait for something."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.users: dict[int, User] = {}
        self.guilds: dict[int, Guild] = {}
        self.channels: dict[int, Channel] = {}
        self.files: dict[int, bytes] = {}
        self.nonces: dict[str, tuple[float, Payload]] = {}
        """Of the bot: by author, whatever the channel (resources/message.mdx#create-message)."""
        self.unguarded: list[Payload] = []
        self.linked: dict[str, list[str]] = {}
        """By message id, what Discord would have made a link in any of its versions."""
        """What made or changed a message and did not say that it mentions nobody."""
        self.withholds_files = True
        """Whether files go with a text that is withheld, as the page says that they do."""
        self.denied_permissions = 0
        """Permissions that the bot has on no server."""
        self.changed = asyncio.Condition()
        self.me = self.user("Ponte", bot=True)

    def user(self, name: str, bot: bool = False) -> User:
        user = User(self.clock.snowflake(), name, bot)
        self.users[user.id] = user
        return user

    def forbid_threads(self) -> None:
        """Let the bot create no threads, on the servers there are and on those to come."""
        self.denied_permissions = PUBLIC_THREADS
        for guild in self.guilds.values():
            guild.permissions &= ~PUBLIC_THREADS

    def dm(self, user: User) -> Channel:
        for channel in self.channels.values():
            if channel.type == DM and user.id in channel.recipients:
                return channel
        return self.channel(type=DM, recipients=(user.id,))

    def channel(self, **values: Any) -> Channel:
        channel = Channel(values.pop("id", None) or self.clock.snowflake(), **values)
        self.channels[channel.id] = channel
        return channel

    def messages_by(self, user: int, channel: int | None = None) -> list[Payload]:
        """That user's messages, oldest first, over all channels or in one."""
        places = self.channels.values() if channel is None else [self.channels[channel]]
        matches = [m for c in places for m in c.messages.values() if m["author"]["id"] == str(user)]
        return sorted(matches, key=lambda message: int(message["id"]))

    async def wait_until(
        self, met: Callable[[], object], timeout: float | None = HANG_TIMEOUT_SECONDS
    ) -> None:
        """Wait until `met()` is true."""
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(met), timeout)

    async def notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()
