"""The REST routes that the adapter uses; every other one answers 404."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tests.fakes.discord import limits, messages
from tests.fakes.discord.faults import Faults
from tests.fakes.discord.gateway import DM_MESSAGES, GUILD_MESSAGES, GUILDS, Gateway, member
from tests.fakes.discord.limits import DiscordErrorResponse
from tests.fakes.discord.world import (
    ADD_REACTIONS,
    ATTACH,
    DM,
    EMBED,
    FORUM,
    GROUP,
    PUBLIC_THREADS,
    READ_HISTORY,
    SEND,
    SEND_IN_THREADS,
    TEXT,
    THREAD,
    VIEW,
    Channel,
    Payload,
    World,
)

HAS_THREAD = 1 << 5  # resources/message.mdx#message-object-message-flags
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
            ("GET", "/users/@me/guilds", self.guilds),
            ("POST", "/users/@me/channels", self.open_dm),
            ("GET", "/users/{user}", self.user),
            ("GET", "/channels/{channel}", self.channel),
            ("GET", "/channels/{channel}/messages", self.history),
            ("POST", "/channels/{channel}/messages", self.post),
            ("GET", "/channels/{channel}/messages/{message}", self.get),
            ("PATCH", "/channels/{channel}/messages/{message}", self.edit),
            ("DELETE", "/channels/{channel}/messages/{message}", self.delete),
            ("POST", "/channels/{channel}/messages/{message}/threads", self.thread),
            ("POST", "/channels/{channel}/typing", self.typing),
            ("GET", "/guilds/{guild}", self.guild),
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
        user = self.world.users.get(int(payload["recipient_id"]))
        if user is None:
            raise DiscordErrorResponse(10013)
        if user.bot:
            raise DiscordErrorResponse(50007)
        channel = self.world.dm(user)
        return answer({**channel.payload, "recipients": [user.payload]})

    async def user(self, request: web.Request) -> web.Response:
        user = self.world.users.get(int(request.match_info["user"]))
        if user is None:
            raise DiscordErrorResponse(10013)
        return answer(user.payload)

    def _channel(self, request: web.Request) -> Channel:
        channel = self.world.channels.get(int(request.match_info["channel"]))
        if channel is None:
            raise DiscordErrorResponse(10003)
        guild = channel.guild
        is_member = channel.type != GROUP and (guild is None or guild.with_bot)
        if not is_member or (guild is not None and not guild.permissions & VIEW):
            raise DiscordErrorResponse(50001)
        return channel

    def _need(self, channel: Channel, *permissions: int) -> None:
        """developers/topics/permissions.mdx, and what each route's own page asks for."""
        guild = channel.guild
        if guild is not None and not all(guild.permissions & each for each in permissions):
            raise DiscordErrorResponse(50013)

    def _message(self, request: web.Request) -> Payload:
        message = self._channel(request).messages.get(int(request.match_info["message"]))
        if message is None:
            raise DiscordErrorResponse(10008)
        return message

    async def channel(self, request: web.Request) -> web.Response:
        return answer(self._channel(request).payload)

    async def history(self, request: web.Request) -> web.Response:
        channel = self._channel(request)
        query = request.query
        limit = int(query.get("limit", 50))
        if not 1 <= limit <= limits.HISTORY or len({"before", "after", "around"} & {*query}) > 1:
            raise DiscordErrorResponse(50035, "limit, before, after, around")
        if channel.guild is not None and not channel.guild.permissions & READ_HISTORY:
            return answer([])
        ids = sorted(channel.messages)
        if "around" in query:
            older = sum(id < int(query["around"]) for id in ids)
            first = max(0, older - limit // 2)
            choice = ids[first : first + limit]
        elif "after" in query:
            choice = [id for id in ids if id > int(query["after"])][:limit]
        else:
            choice = [id for id in ids if id < int(query.get("before", 1 << 63))][-limit:]
        # The newest first, and without the nonce that only the answer to the post carries.
        return answer([self._readable_by_bot(channel.messages[id]) for id in reversed(choice)])

    def _readable_by_bot(self, message: Payload) -> Payload:
        # By what the portal grants, whatever a session asks for (github.com/twilight-rs/twilight
        # pull request 1677).
        granted = bool(self.gateway.granted & messages.MESSAGE_CONTENT)
        event = messages.withhold_content(self.world, message, granted)
        return {key: value for key, value in event.items() if key != "nonce"}

    async def get(self, request: web.Request) -> web.Response:
        self._need(self._channel(request), READ_HISTORY)
        return answer(self._readable_by_bot(self._message(request)))

    async def post(self, request: web.Request) -> web.Response:
        payload, files = await body(request)
        channel = self._channel(request)
        if channel.type == DM and self.world.users[channel.recipients[0]].refuses_dms:
            raise DiscordErrorResponse(50007)
        if channel.type == DM and self.world.users[channel.recipients[0]].elsewhere:
            raise DiscordErrorResponse(50278)
        if channel.locked:
            raise DiscordErrorResponse(160005)
        if channel.type == FORUM:
            raise DiscordErrorResponse(50008)
        self._need(channel, SEND_IN_THREADS if channel.type == THREAD else SEND)
        nonce = str(payload.get("nonce") or "")
        event = self.world.nonces.get(nonce) if nonce else None
        now = self.world.clock.now()
        if event and payload.get("enforce_nonce") and now - event[0] < limits.NONCE_SECONDS:
            return answer(event[1])
        message = self._make(channel, payload, files)
        channel.archived = False
        if nonce:
            self.world.nonces[nonce] = (now, message)
        await self.send_event("MESSAGE_CREATE", message)
        return answer(message)

    def _make(self, channel: Channel, payload: Payload, files: Files) -> Payload:
        self._check(channel, payload, files)
        if limits.is_empty(payload, files):
            raise DiscordErrorResponse(50006)
        reference = payload.get("message_reference")
        if reference and channel.guild and not channel.guild.permissions & READ_HISTORY:
            raise DiscordErrorResponse(160002)
        if reference and int(reference["message_id"]) not in channel.messages:
            if reference.get("fail_if_not_exists", True):
                raise DiscordErrorResponse(50035, "message_reference: Unknown message")
            reference = None
        allowed = payload.get("allowed_mentions")
        return messages.make(
            self.world,
            channel,
            self.world.me,
            payload.get("content") or "",
            attachments=messages.attachments(self.world, channel.id, self.base, files),
            reference=reference,
            allowed=messages.EVERYBODY if allowed is None else allowed,
            embeds=payload.get("embeds") or [],
            components=payload.get("components") or [],
            nonce=payload.get("nonce"),
            allowed_mentions=allowed,
        )

    def _check(self, channel: Channel, payload: Payload, files: Files) -> None:
        """What is refused of a message that is made or changed with the bot's own token."""
        messages.guard(self.world, payload)
        boosted = limits.BOOSTED[channel.guild.tier if channel.guild else 0]
        limits.check_message(payload, files, min(boosted, self.faults.largest))
        if files:
            self._need(channel, ATTACH)
        if payload.get("embeds"):
            self._need(channel, EMBED)

    async def edit(self, request: web.Request) -> web.Response:
        payload, files = await body(request)
        message = self._message(request)
        if message["author"]["id"] != str(self.world.me.id):
            raise DiscordErrorResponse(50005)
        channel = self._channel(request)
        if channel.archived:
            raise DiscordErrorResponse(50083)
        self._check(channel, payload, files)
        await self.change(message, payload, files, messages.EVERYBODY)
        return answer(message)

    async def change(
        self, message: Payload, payload: Payload, files: Files, default: Payload
    ) -> None:
        """`default`: whom its content mentions where `payload` does not say."""
        for key in ("content", "embeds", "components"):
            if key in payload:
                message[key] = payload[key] or ("" if key == "content" else [])
        if "attachments" in payload or files:
            attachment_ids = {str(a["id"]) for a in payload.get("attachments", ())}
            stay = [a for a in message["attachments"] if a["id"] in attachment_ids]
            channel = int(message["channel_id"])
            message["attachments"] = stay + messages.attachments(
                self.world, channel, self.base, files
            )
        if "content" in payload:
            message["content"] = message["content"].strip()
            allowed = payload.get("allowed_mentions", default)
            where = self.world.channels[int(message["channel_id"])]
            message |= messages.mentions(self.world, where, message, allowed)
        message["edited_timestamp"] = self.world.clock.timestamp()
        message["edits"] = message.get("edits", 0) + 1
        messages.note_links(self.world, message)
        await self.send_event("MESSAGE_UPDATE", message)

    async def delete(self, request: web.Request) -> web.Response:
        message = self._message(request)
        if message["author"]["id"] != str(self.world.me.id):
            # Without MANAGE_MESSAGES, which Ponte does not ask for; in a DM nobody has it.
            raise DiscordErrorResponse(50003 if self._channel(request).guild is None else 50013)
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

    async def send_event(self, name: str, message: Payload) -> None:
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
            raise DiscordErrorResponse(50024)
        self._need(parent, PUBLIC_THREADS)
        if id in self.world.channels:
            raise DiscordErrorResponse(160004)
        if not 1 <= len(payload["name"].strip()) <= limits.THREAD_NAME:
            raise DiscordErrorResponse(50035, "name")
        thread = self.world.channel(
            id=id,
            type=THREAD,
            name=payload["name"],
            guild=parent.guild,
            parent=parent.id,
            owner=self.world.me.id,
        )
        message["flags"] |= HAS_THREAD
        await self.gateway.send("THREAD_CREATE", lambda _: thread.payload, GUILDS)
        return answer(thread.payload, 201)

    async def typing(self, request: web.Request) -> web.Response:
        channel = self._channel(request)
        self._need(channel, SEND_IN_THREADS if channel.type == THREAD else SEND)
        channel.typing.append(self.world.clock.now())
        await self.world.notify()
        return answer()

    async def guilds(self, request: web.Request) -> web.Response:
        """resources/user.mdx#get-current-user-guilds: those that it is a member of, by id."""
        most = int(request.query.get("limit", 200))
        if not 1 <= most <= 200:
            raise DiscordErrorResponse(50035)
        ids = sorted(g.id for g in self.world.guilds.values() if g.with_bot)
        return answer([{"id": str(id), "name": self.world.guilds[id].name} for id in ids[:most]])

    async def guild(self, request: web.Request) -> web.Response:
        guild = self.world.guilds.get(int(request.match_info["guild"]))
        if guild is None or not guild.with_bot:
            raise DiscordErrorResponse(10004)
        return answer(self.gateway.guild(guild))

    async def member(self, request: web.Request) -> web.Response:
        guild = self.world.guilds.get(int(request.match_info["guild"]))
        user = int(request.match_info["user"])
        if guild is None or user not in guild.members:
            raise DiscordErrorResponse(10007)
        return answer(member(self.world.users[user]))

    async def known_commands(self, request: web.Request) -> web.Response:
        return answer(self.commands)

    async def sync(self, request: web.Request) -> web.Response:
        self.syncs += 1
        limits.check_commands(await request.json())
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
        self._need(self._channel(request), READ_HISTORY, ADD_REACTIONS)
        self.reactions.append((request.method, int(message["id"]), request.match_info["emoji"]))
        await self.world.notify()
        return answer()
