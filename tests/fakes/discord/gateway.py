"""The gateway: hello, identify, resume with replay, invalid sessions, heartbeats, closes."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.fakes.discord.world import THREAD, Guild, Payload, User, World

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, INVALID, HELLO, ACK = 0, 1, 2, 6, 7, 9, 10, 11
GUILDS, GUILD_MESSAGES, DM_MESSAGES = 1 << 0, 1 << 9, 1 << 12
PRIVILEGED = 1 << 1 | 1 << 8 | 1 << 15
Body = Callable[[int], Payload]
"""An event's data for an application with these intents (the content may be censored)."""


@dataclass
class Session:
    id: str
    intents: int
    seq: int = 0
    sent: list[tuple[int, str]] = field(default_factory=list)
    socket: web.WebSocketResponse | None = None
    transport: asyncio.BaseTransport | None = None


class Gateway:
    def __init__(self, world: World, token: str) -> None:
        self.world = world
        self.token = token
        self.url = ""
        self.granted = 0
        self.heartbeat = 41_250
        self.muted = False
        self.change: Callable[[str, Any], Any] | None = None
        """What becomes of the data of each event, by its name, before it is sent."""
        self.sessions: list[Session] = []
        """The newest last; each is told everything, so two bots at once would answer twice."""
        self.identified = 0
        self.resumed = 0
        self.beats = 0
        self.presence: Payload = {}

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        await self._frame(socket, HELLO, {"heartbeat_interval": self.heartbeat})
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            frame = json.loads(message.data)
            if not await self._take(socket, request, frame):
                break
        for session in self.sessions:
            if session.socket is socket:
                session.socket = None
        await self.world.notify()
        return socket

    async def _take(
        self, socket: web.WebSocketResponse, request: web.Request, frame: Payload
    ) -> bool:
        if frame["op"] == HEARTBEAT:
            self.beats += 1
            if not self.muted:
                await self._frame(socket, ACK, None)
        elif frame["op"] == IDENTIFY:
            return await self._identify(socket, request, frame["d"])
        elif frame["op"] == RESUME:
            await self._resume(socket, request, frame["d"])
        return True

    async def _identify(
        self, socket: web.WebSocketResponse, request: web.Request, data: Payload
    ) -> bool:
        if data["token"] != self.token:
            await socket.close(code=4004, message=b"Authentication failed")
            return False
        if data["intents"] & PRIVILEGED & ~self.granted:
            await socket.close(code=4014, message=b"Disallowed intent(s)")
            return False
        self.identified += 1
        session = Session(secrets.token_hex(16), data["intents"], socket=socket)
        session.transport = request.transport
        self.sessions.append(session)
        guilds = [g for g in self.world.guilds.values() if g.with_bot]
        ready = {
            "v": 10,
            "user": self.world.me.payload,
            "guilds": [{"id": str(guild.id), "unavailable": True} for guild in guilds],
            "session_id": session.id,
            "resume_gateway_url": self.url,
            "application": {"id": str(self.world.me.id), "flags": 0},
            "private_channels": [],
            "user_settings": {},
        }
        await self._send_event(session, "READY", ready)
        for guild in guilds:
            await self._send_event(session, "GUILD_CREATE", self.guild(guild))
        await self.world.notify()
        return True

    async def _resume(
        self, socket: web.WebSocketResponse, request: web.Request, data: Payload
    ) -> None:
        session = next((one for one in self.sessions if one.id == data["session_id"]), None)
        if session is None:
            await self._frame(socket, INVALID, False)
            return
        session.socket, session.transport = socket, request.transport
        self.resumed += 1
        for seq, text in list(session.sent):
            if seq > (data["seq"] or 0):
                await socket.send_str(text)
        await self._send_event(session, "RESUMED", {})
        await self.world.notify()

    async def _frame(self, socket: web.WebSocketResponse, op: int, data: Any) -> None:
        await socket.send_str(json.dumps({"op": op, "d": data, "s": None, "t": None}))

    async def send(self, name: str, body: Body, intent: int = 0) -> None:
        """Send an event to every session. A session without a connection gets it when it
        resumes."""
        for session in list(self.sessions):
            if not intent or session.intents & intent:
                await self._send_event(session, name, body(session.intents))

    async def _send_event(self, session: Session, name: str, body: Any) -> None:
        if self.change:
            body = self.change(name, body)
        session.seq += 1
        frame = {"op": DISPATCH, "t": name, "s": session.seq, "d": body}
        text = json.dumps(frame)
        session.sent.append((session.seq, text))
        if session.socket is not None and not session.socket.closed and not self.muted:
            try:
                await session.socket.send_str(text)
            except ConnectionError:
                session.socket = None

    @property
    def is_connected(self) -> bool:
        return self.connection_count > 0

    @property
    def connection_count(self) -> int:
        """Sessions with a connection."""
        return sum(session.socket is not None for session in self.sessions)

    def abort(self) -> None:
        """Break every connection, as a lost network does."""
        for session in self.sessions:
            if isinstance(session.transport, asyncio.Transport):
                session.transport.abort()
                session.socket = None

    async def close(self, code: int) -> None:
        for session in self.sessions:
            if session.socket:
                socket, session.socket = session.socket, None
                await socket.close(code=code)

    async def reconnect(self) -> None:
        for session in self.sessions:
            if session.socket:
                await self._frame(session.socket, RECONNECT, None)

    def forget(self) -> None:
        """End every session. Events before the next identify are lost."""
        self.abort()
        self.sessions.clear()

    async def send_guild_create(self, guild: Guild) -> None:
        await self.send("GUILD_CREATE", lambda _: self.guild(guild), GUILDS)

    def guild(self, guild: Guild) -> Payload:
        world = self.world
        channels = [c for c in world.channels.values() if c.guild is guild]
        return {
            "id": str(guild.id),
            "name": guild.name,
            "unavailable": False,
            "member_count": len(guild.members) + 1,
            "roles": roles(guild, world.me.id),
            "channels": [c.payload for c in channels if c.type != THREAD],
            "threads": [c.payload for c in channels if c.type == THREAD],
            "members": [{**member(world.me), "roles": [str(guild.own_role)]}],
            "owner_id": "1",
            "emojis": [],
            "stickers": [],
            "features": [],
            "voice_states": [],
            "presences": [],
            "premium_tier": guild.tier,
            "preferred_locale": "en-US",
        }


def member(user: User) -> Payload:
    return {"user": user.payload, **user.member()}


def roles(guild: Guild, me: int) -> list[Payload]:
    """topics/permissions.mdx#role-object: the bot's own is managed and says whose it is."""
    own = {guild.own_role: "Ponte"} if guild.own_role else {}
    data = {guild.id: "@everyone", **guild.roles, **own}
    return [
        {
            "id": str(id),
            "name": name,
            "permissions": str(guild.permissions if id == guild.id else 0),
            "position": index,
            "color": 0,
            "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
            "hoist": False,
            "managed": id in own,
            "mentionable": False,
            "flags": 0,
            **({"tags": {"bot_id": str(me)}} if id in own else {}),
        }
        for index, (id, name) in enumerate(data.items())
    ]
