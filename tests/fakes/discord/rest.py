"""The REST routes that the adapter uses; every other one answers 404, so that it is seen."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tests.fakes.discord import messages
from tests.fakes.discord.faults import Faults
from tests.fakes.discord.gateway import DM_MESSAGES, GUILD_MESSAGES, GUILDS, Gateway, member
from tests.fakes.discord.messages import Refused
from tests.fakes.discord.world import DM, PUBLIC_THREADS, TEXT, THREAD, Channel, Payload, World

Files = list[tuple[str, bytes]]


def answer(data: Any = None, status: int = 200) -> web.Response:
    # Exactly this content type: with a charset discord.py hands the body on as text.
    if data is None:
        return web.Response(status=204)
    return web.Response(body=json.dumps(data).encode(), status=status, headers=JSON)


JSON = {"Content-Type": "application/json"}


async def body(request: web.Request) -> tuple[Payload, Files]:
    """The JSON payload and the files of a request, plain or multipart."""
    if not request.content_type.startswith("multipart/"):
        text = await request.text()
        return (json.loads(text) if text else {}), []
    payload: Payload = {}
    files: Files = []
    form = await request.post()
    for name, value in form.items():
        if name == "payload_json":
            payload = json.loads(str(value))
        elif isinstance(value, web.FileField):
            files.append((value.filename, value.file.read()))
    return payload, files


def _pings(allowed: Payload | None) -> bool:
    """A reply mentions its author, unless `allowed_mentions` is there and does not say so."""
    return True if allowed is None else bool(allowed.get("replied_user", False))


class Rest:
    def __init__(self, world: World, gateway: Gateway, faults: Faults) -> None:
        self.faults = faults
        self.world = world
        self.gateway = gateway
        self.base = ""
        self.commands: list[Payload] = []
        self.syncs = 0
        self.reactions: list[tuple[str, int, str]] = []

    def routes(self) -> list[web.RouteDef]:
        table: list[tuple[str, str, Callable[[web.Request], Awaitable[web.Response]]]] = [
            ("GET", "/users/@me", self.me),
            ("GET", "/oauth2/applications/@me", self.application),
            ("GET", "/applications/@me", self.application),
            ("POST", "/users/@me/channels", self.open_dm),
            ("GET", "/channels/{channel}", self.channel),
            ("GET", "/channels/{channel}/messages", self.history),
            ("POST", "/channels/{channel}/messages", self.post),
            ("GET", "/channels/{channel}/messages/{message}", self.get),
            ("PATCH", "/channels/{channel}/messages/{message}", self.edit),
            ("DELETE", "/channels/{channel}/messages/{message}", self.delete),
            ("POST", "/channels/{channel}/messages/{message}/threads", self.thread),
            ("POST", "/channels/{channel}/typing", self.typing),
            ("GET", "/guilds/{guild}/members/{user}", self.member),
            ("GET", "/applications/{app}/commands", self.known_commands),
            ("PUT", "/applications/{app}/commands", self.sync),
            ("PUT", "/channels/{channel}/messages/{message}/reactions/{emoji}/@me", self.react),
            ("DELETE", "/channels/{channel}/messages/{message}/reactions/{emoji}/@me", self.react),
        ]
        return [web.route(method, f"/api/v10{path}", handler) for method, path, handler in table]

    async def me(self, request: web.Request) -> web.Response:
        return answer(self.world.me.payload)

    async def application(self, request: web.Request) -> web.Response:
        content = self.gateway.granted & messages.MESSAGE_CONTENT
        return answer(
            {
                "id": str(self.world.me.id),
                "name": "Ponte",
                "icon": None,
                "description": "",
                "bot_public": True,
                "bot_require_code_grant": False,
                "owner": self.world.me.payload,
                "verify_key": "00",
                "summary": "",
                "flags": 1 << 19 if content else 0,
            }
        )

    async def open_dm(self, request: web.Request) -> web.Response:
        payload, _ = await body(request)
        user = self.world.users[int(payload["recipient_id"])]
        channel = self.world.dm(user)
        return answer({**channel.payload, "recipients": [user.payload]})

    def _channel(self, request: web.Request) -> Channel:
        channel = self.world.channels.get(int(request.match_info["channel"]))
        if channel is None:
            raise Refused(404, 10003, "Unknown Channel")
        if channel.guild is not None and not channel.guild.with_bot:
            raise Refused(403, 50001, "Missing Access")
        return channel

    def _message(self, request: web.Request) -> Payload:
        message = self._channel(request).messages.get(int(request.match_info["message"]))
        if message is None:
            raise Refused(404, 10008, "Unknown Message")
        return message

    async def channel(self, request: web.Request) -> web.Response:
        return answer(self._channel(request).payload)

    async def history(self, request: web.Request) -> web.Response:
        channel = self._channel(request)
        query = request.query
        known = sorted(channel.messages)
        limit = int(query.get("limit", 50))
        if "after" in query:
            chosen = [id for id in known if id > int(query["after"])][:limit]
        else:
            chosen = [id for id in known if id < int(query.get("before", 1 << 63))][-limit:]
        # The newest first, and without the nonce that only the answer to the post carries.
        return answer([self._seen(channel.messages[id]) for id in reversed(chosen)])

    def _seen(self, message: Payload) -> Payload:
        session = self.gateway.session
        seen = messages.censored(self.world, message, session.intents if session else 0)
        return {key: value for key, value in seen.items() if key != "nonce"}

    async def get(self, request: web.Request) -> web.Response:
        return answer(self._seen(self._message(request)))

    async def post(self, request: web.Request) -> web.Response:
        payload, files = await body(request)
        channel = self._channel(request)
        if channel.type == DM and self.world.users[channel.recipients[0]].refuses_dms:
            raise Refused(403, 50007, "Cannot send messages to this user")
        nonce = str(payload.get("nonce", ""))
        seen = self.world.nonces.get((channel.id, nonce)) if nonce else None
        if len(nonce) > 25:
            raise Refused(400, 50035, "Invalid Form Body: nonce")
        now = self.world.clock.now()
        if seen and payload.get("enforce_nonce") and now - seen[0] < messages.NONCE_WINDOW:
            return answer(seen[1])
        message = self._make(channel, payload, files)
        if nonce:
            self.world.nonces[channel.id, nonce] = (now, message)
        await self.tell("MESSAGE_CREATE", message)
        return answer(message)

    def _make(self, channel: Channel, payload: Payload, files: Files) -> Payload:
        messages.check(payload, files, self.faults.largest)
        if messages.empty(payload, files):
            raise Refused(400, 50006, "Cannot send an empty message")
        reference = payload.get("message_reference")
        if reference and int(reference["message_id"]) not in channel.messages:
            if reference.get("fail_if_not_exists", True):
                raise Refused(400, 50035, "Invalid Form Body: message_reference: Unknown message")
            reference = None
        return messages.make(
            self.world,
            channel,
            self.world.me,
            payload.get("content") or "",
            attachments=messages.attachments(self.world, channel.id, self.base, files),
            reference=reference,
            ping=_pings(payload.get("allowed_mentions")),
            embeds=payload.get("embeds") or [],
            components=payload.get("components") or [],
            nonce=payload.get("nonce"),
            allowed_mentions=payload.get("allowed_mentions"),
        )

    async def edit(self, request: web.Request) -> web.Response:
        payload, files = await body(request)
        message = self._message(request)
        if message["author"]["id"] != str(self.world.me.id):
            raise Refused(403, 50005, "Cannot edit a message authored by another user")
        await self.change(message, payload, files)
        return answer(message)

    async def change(self, message: Payload, payload: Payload, files: Files) -> None:
        messages.check(payload, files, self.faults.largest)
        for key in ("content", "embeds", "components"):
            if key in payload:
                message[key] = payload[key] or ("" if key == "content" else [])
        if "attachments" in payload or files:
            kept = {str(a["id"]) for a in payload.get("attachments", ())}
            stay = [a for a in message["attachments"] if a["id"] in kept]
            channel = int(message["channel_id"])
            message["attachments"] = stay + messages.attachments(
                self.world, channel, self.base, files
            )
        message["edited_timestamp"] = self.world.clock.timestamp()
        message["edits"] = message.get("edits", 0) + 1
        await self.tell("MESSAGE_UPDATE", message)

    async def delete(self, request: web.Request) -> web.Response:
        message = self._message(request)
        await self.remove(message)
        return answer()

    async def remove(self, message: Payload) -> None:
        channel = self.world.channels[int(message["channel_id"])]
        channel.messages.pop(int(message["id"]), None)
        data: Payload = {"id": message["id"], "channel_id": message["channel_id"]}
        if channel.guild is not None:
            data["guild_id"] = str(channel.guild.id)
        await self.gateway.send("MESSAGE_DELETE", lambda _: data, self._intent(channel))
        await self.world.notify()

    async def tell(self, name: str, message: Payload) -> None:
        """`name` about `message`, to those whose intents cover its channel."""
        channel = self.world.channels[int(message["channel_id"])]
        if channel.guild is None or channel.guild.with_bot:
            await self.gateway.send(
                name,
                lambda intents: messages.event(self.world, message, intents),
                self._intent(channel),
            )
        await self.world.notify()

    def _intent(self, channel: Channel) -> int:
        return DM_MESSAGES if channel.guild is None else GUILD_MESSAGES

    async def thread(self, request: web.Request) -> web.Response:
        payload, _ = await body(request)
        parent, message = self._channel(request), self._message(request)
        id = int(message["id"])
        if parent.guild is None or parent.type != TEXT:
            raise Refused(400, 50024, "Cannot execute action on this channel type")
        if not parent.guild.permissions & PUBLIC_THREADS:
            raise Refused(403, 50013, "Missing Permissions")
        if id in self.world.channels:
            raise Refused(400, 160004, "A thread has already been created for this message")
        if not 1 <= len(payload["name"]) <= 100:
            raise Refused(400, 50035, "Invalid Form Body: name")
        thread = self.world.channel(
            id=id,
            type=THREAD,
            name=payload["name"],
            guild=parent.guild,
            parent=parent.id,
            owner=self.world.me.id,
        )
        await self.gateway.send("THREAD_CREATE", lambda _: thread.payload, GUILDS)
        return answer(thread.payload, 201)

    async def typing(self, request: web.Request) -> web.Response:
        self._channel(request).typing.append(self.world.clock.now())
        await self.world.notify()
        return answer()

    async def member(self, request: web.Request) -> web.Response:
        guild = self.world.guilds.get(int(request.match_info["guild"]))
        user = int(request.match_info["user"])
        if guild is None or user not in guild.members:
            raise Refused(404, 10007, "Unknown Member")
        return answer(member(self.world.users[user]))

    async def known_commands(self, request: web.Request) -> web.Response:
        return answer(self.commands)

    async def sync(self, request: web.Request) -> web.Response:
        self.syncs += 1
        app = request.match_info["app"]
        extra = {"application_id": app, "version": "1"}
        self.commands = [
            {"description": "", **command, "id": str(self.world.clock.snowflake()), **extra}
            for command in await request.json()
        ]
        await self.world.notify()
        return answer(self.commands)

    async def react(self, request: web.Request) -> web.Response:
        message = self._message(request)
        self.reactions.append((request.method, int(message["id"]), request.match_info["emoji"]))
        await self.world.notify()
        return answer()
