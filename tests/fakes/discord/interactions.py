"""Interactions: the 3 seconds to the first answer, tokens of 15 minutes, the original response."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.discord import messages
from tests.fakes.discord.messages import FILE_LIMIT, Refused
from tests.fakes.discord.rest import Rest, answer, body
from tests.fakes.discord.world import DM, GROUP, PATIENCE, Channel, Payload, User

COMMAND, COMPONENT, AUTOCOMPLETE, MODAL_SUBMIT = 2, 3, 4, 5
MESSAGE, DEFER, DEFER_UPDATE, UPDATE, CHOICES, MODAL = 4, 5, 6, 7, 8, 9
EPHEMERAL, LOADING = 1 << 6, 1 << 7
TOKEN_LIFE = 900.0  # interactions/receiving-and-responding.mdx#followup-messages


@dataclass
class Exchange:
    """One interaction as the person sees it: `kind` is the first answer's type, None before it."""

    id: int
    token: str
    type: int
    channel: Channel
    user: User
    at: float
    kind: int | None = None
    ephemeral: bool = False
    data: Payload = field(default_factory=dict)
    original: Payload | None = None
    followups: list[Payload] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def loading(self) -> bool:
        return bool(self.original and self.original["flags"] & LOADING)

    @property
    def text(self) -> str:
        return "" if self.original is None else str(self.original["content"])

    @property
    def buttons(self) -> list[Payload]:
        rows = self.original["components"] if self.original else []
        return [button for row in rows for button in row["components"]]

    async def until(self, met: Callable[[Exchange], object]) -> Exchange:
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(lambda: met(self)), PATIENCE)
        return self

    async def acked(self) -> Exchange:
        return await self.until(lambda e: e.kind is not None)

    async def answered(self) -> Exchange:
        """Until the answer stands: not only "thinking…"."""
        return await self.until(
            lambda e: e.kind is not None and (not e.loading or bool(e.followups))
        )

    async def notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()


class Interactions:
    def __init__(self, rest: Rest) -> None:
        self.rest = rest
        self.world = rest.world
        self.exchanges: dict[str, Exchange] = {}
        self.deadline = 3.0

    def routes(self) -> list[web.RouteDef]:
        hook = "/api/v10/webhooks/{app}/{token}"
        return [
            web.post("/api/v10/interactions/{id}/{token}/callback", self.callback),
            web.post(hook, self.followup),
            web.get(f"{hook}/messages/@original", self.get),
            web.patch(f"{hook}/messages/@original", self.edit),
            web.delete(f"{hook}/messages/@original", self.delete),
        ]

    async def begin(
        self, type: int, user: User, channel: Channel, data: Payload, locale: str, **more: Any
    ) -> Exchange:
        id = self.world.clock.snowflake()
        now = self.world.clock.now()
        exchange = Exchange(id, secrets.token_hex(20), type, channel, user, now)
        self.exchanges[exchange.token] = exchange
        guild = channel.guild
        event: Payload = {
            "id": str(id),
            "application_id": str(self.world.me.id),
            "type": type,
            "data": data,
            "token": exchange.token,
            "version": 1,
            "channel_id": str(channel.id),
            "channel": {**channel.payload, "recipients": [user.payload]},
            "locale": locale,
            "app_permissions": "0",
            "entitlements": [],
            "attachment_size_limit": FILE_LIMIT,
            "authorizing_integration_owners": {"1": str(user.id)},
            "context": {DM: 1, GROUP: 2}.get(channel.type, 0),
            **more,
        }
        if guild is None:
            event["user"] = user.payload
        else:
            event["guild_id"] = str(guild.id)
            event["guild"] = {"id": str(guild.id), "locale": "en-US", "features": []}
            permissions = str(guild.permissions)
            event["member"] = {
                "user": user.payload,
                "permissions": permissions,
                **user.member(),
            }
        await self.rest.gateway.send("INTERACTION_CREATE", lambda _: event)
        return exchange

    async def callback(self, request: web.Request) -> web.Response:
        payload, files = await body(request)
        exchange = self.exchanges.get(request.match_info["token"])
        now = self.world.clock.now()
        if exchange is None or (exchange.kind is None and now - exchange.at > self.deadline):
            raise Refused(404, 10062, "Unknown interaction")
        if exchange.kind is not None:
            raise Refused(400, 40060, "Interaction has already been acknowledged.")
        data = payload.get("data") or {}
        if payload["type"] == CHOICES and len(data["choices"]) > 25:
            raise Refused(400, 50035, "Invalid Form Body: choices")
        exchange.kind, exchange.data = payload["type"], data
        flags = data.get("flags", 0) & EPHEMERAL
        exchange.ephemeral = bool(flags)
        if payload["type"] in (MESSAGE, DEFER):
            loading = LOADING if payload["type"] == DEFER else 0
            exchange.original = self._respond(exchange, data, files, flags | loading)
        elif payload["type"] == UPDATE and exchange.original is not None:
            await self.rest.change(exchange.original, data, files)
        await exchange.notify()
        await self.world.notify()
        return answer(self._resource(exchange, payload["type"]))

    def _resource(self, exchange: Exchange, type: int) -> Payload:
        about: Payload = {"id": str(exchange.id), "type": exchange.type}
        if exchange.original is not None:
            about["response_message_id"] = exchange.original["id"]
            about["response_message_loading"] = exchange.loading
            about["response_message_ephemeral"] = exchange.ephemeral
        return {"interaction": about, "resource": {"type": type}}

    def _respond(
        self, exchange: Exchange, data: Payload, files: list[tuple[str, bytes]], flags: int
    ) -> Payload:
        messages.check(data, files, self.rest.faults.largest)
        channel = exchange.channel
        message = messages.make(
            self.world,
            channel,
            self.world.me,
            data.get("content") or "",
            attachments=messages.attachments(self.world, channel.id, self.rest.base, files),
            type=20,
            embeds=data.get("embeds") or [],
            components=data.get("components") or [],
            allowed_mentions=data.get("allowed_mentions"),
            interaction_metadata={
                "id": str(exchange.id),
                "type": exchange.type,
                "user": exchange.user.payload,
                "authorizing_integration_owners": {},
            },
        )
        message["flags"] = flags
        if flags & EPHEMERAL:
            # Nobody but the asker sees it, and no REST call of the bot finds it.
            del channel.messages[int(message["id"])]
        return message

    def _live(self, request: web.Request) -> Exchange:
        exchange = self.exchanges.get(request.match_info["token"])
        if exchange is None:
            raise Refused(404, 10015, "Unknown Webhook")
        if self.world.clock.now() - exchange.at > TOKEN_LIFE:
            raise Refused(401, 50027, "Invalid Webhook Token")
        return exchange

    def _original(self, request: web.Request) -> tuple[Exchange, Payload]:
        exchange = self._live(request)
        if exchange.kind is None:
            raise Refused(404, 10015, "Unknown Webhook")
        gone = exchange.original is None or (
            not exchange.ephemeral
            and exchange.type != COMPONENT
            and int(exchange.original["id"]) not in exchange.channel.messages
        )
        if gone or exchange.original is None:
            raise Refused(404, 10008, "Unknown Message")
        return exchange, exchange.original

    async def get(self, request: web.Request) -> web.Response:
        return answer(self._original(request)[1])

    async def edit(self, request: web.Request) -> web.Response:
        payload, files = await body(request)
        exchange, message = self._original(request)
        await self.rest.change(message, payload, files)
        message["flags"] &= ~LOADING
        await exchange.notify()
        return answer(message)

    async def delete(self, request: web.Request) -> web.Response:
        exchange, message = self._original(request)
        exchange.original = None
        exchange.channel.messages.pop(int(message["id"]), None)
        await exchange.notify()
        return answer()

    async def followup(self, request: web.Request) -> web.Response:
        payload, files = await body(request)
        exchange = self._live(request)
        if exchange.kind is None:
            raise Refused(404, 10015, "Unknown Webhook")
        flags = payload.get("flags", 0) & EPHEMERAL
        message = self._respond(exchange, payload, files, flags)
        exchange.followups.append(message)
        await exchange.notify()
        return answer(message)
