"""Interactions: the 3 seconds to the first answer, tokens of 15 minutes, the original response."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.discord import limits, messages
from tests.fakes.discord.limits import DiscordErrorResponse
from tests.fakes.discord.rest import Rest, answer, body
from tests.fakes.discord.world import DM, GROUP, Channel, Payload, User
from tests.fakes.timeouts import HANG_TIMEOUT_SECONDS

COMMAND, COMPONENT, AUTOCOMPLETE, MODAL_SUBMIT = 2, 3, 4, 5
MESSAGE, DEFER, DEFER_UPDATE, UPDATE, CHOICES, MODAL = 4, 5, 6, 7, 8, 9
EPHEMERAL, LOADING = 1 << 6, 1 << 7
# interactions/receiving-and-responding.mdx#interaction-response-object-interaction-callback-type
FITTING = {
    COMMAND: {MESSAGE, DEFER, MODAL},
    COMPONENT: {MESSAGE, DEFER, DEFER_UPDATE, UPDATE, MODAL},
    AUTOCOMPLETE: {CHOICES},
    MODAL_SUBMIT: {MESSAGE, DEFER},
}
"""A modal that a component opened may also be answered like that component, by its message."""


@dataclass
class Exchange:
    """One interaction as the person sees it: `kind` is the first answer's type, None before it."""

    id: int
    token: str
    type: int
    channel: Channel
    user: User
    at: float
    largest: int
    """Bytes of one file in an answer, as the interaction tells."""
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

    async def wait_until(self, met: Callable[[Exchange], object]) -> Exchange:
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(lambda: met(self)), HANG_TIMEOUT_SECONDS)
        return self

    async def wait_for_ack(self) -> Exchange:
        return await self.wait_until(lambda e: e.kind is not None)

    async def wait_for_text(self, text: str) -> Exchange:
        """Wait until the answer is this text. An answer that still grows may show the start of
        it."""
        return await self.wait_until(lambda e: e.text == text)

    async def wait_for_answer(self) -> Exchange:
        """Wait for an answer other than "thinking…". It may still grow."""
        return await self.wait_until(
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
        self.deadline = 60.0
        """Seconds to the first answer. A busy machine may need more than Discord's three, so only
        tests of a late answer set `limits.ACK_SECONDS` or less."""
        self.largest = 0
        """What the person who uses it may upload, where that is more than the place takes."""

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
        guild = channel.guild
        installation = guild is not None and guild.with_bot
        largest = max(limits.BOOSTED[guild.tier if guild else 0], self.largest)
        exchange = Exchange(id, secrets.token_hex(20), type, channel, user, now, largest)
        exchange.original = more.get("message")
        self.exchanges[exchange.token] = exchange
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
            "attachment_size_limit": largest,
            "authorizing_integration_owners": (
                {"0": str(guild.id)} if guild and installation else {"1": str(user.id)}
            ),
            "context": {DM: 1, GROUP: 2}.get(channel.type, 0),
            **more,
        }
        if guild is None:
            event["user"] = user.payload
        else:
            event["guild_id"] = str(guild.id)
            event["guild"] = {"id": str(guild.id), "locale": "en-US", "features": []}
            permissions = str(guild.permissions)
            event["member"] = {"user": user.payload, "permissions": permissions, **user.member()}
        await self.rest.gateway.send("INTERACTION_CREATE", lambda _: event)
        return exchange

    async def callback(self, request: web.Request) -> web.Response:
        payload, files = await body(request)
        exchange = self.exchanges.get(request.match_info["token"])
        now = self.world.clock.now()
        if exchange is None or (exchange.kind is None and now - exchange.at > self.deadline):
            raise DiscordErrorResponse(10062)
        if exchange.kind is not None:
            raise DiscordErrorResponse(40060)
        data = payload.get("data") or {}
        self._check(exchange, payload["type"], data, files)
        exchange.kind, exchange.data = payload["type"], data
        flags = data.get("flags", 0) & EPHEMERAL
        exchange.ephemeral = bool(flags)
        if payload["type"] in (MESSAGE, DEFER):
            loading = LOADING if payload["type"] == DEFER else 0
            exchange.original = self._respond(exchange, data, files, flags | loading)
        elif payload["type"] == UPDATE and exchange.original is not None:
            await self.rest.change(exchange.original, data, files, messages.USERS)
        await exchange.notify()
        await self.world.notify()
        return answer(self._resource(exchange, payload["type"]))

    def _check(
        self, exchange: Exchange, kind: int, data: Payload, files: list[tuple[str, bytes]]
    ) -> None:
        fitting = FITTING[exchange.type]
        if exchange.type == MODAL_SUBMIT and exchange.original is not None:
            # A component opened it: its message can be updated (the SDK's `defer`, `edit_message`).
            fitting = fitting | {DEFER_UPDATE, UPDATE}
        if kind not in fitting:
            raise DiscordErrorResponse(
                50035, f"type {kind} for an interaction of type {exchange.type}"
            )
        if kind == CHOICES:
            limits.check_choices(data["choices"])
        elif kind == MODAL:
            limits.check_modal(data)
        elif kind in (MESSAGE, UPDATE):
            self._check_message(exchange, data, files)

    def _check_message(
        self, exchange: Exchange, data: Payload, files: list[tuple[str, bytes]]
    ) -> None:
        messages.guard(self.world, data)
        limits.check_message(data, files, min(exchange.largest, self.rest.faults.largest))

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
            allowed=data.get("allowed_mentions") or messages.USERS,
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
            raise DiscordErrorResponse(10015)
        if self.world.clock.now() - exchange.at > limits.TOKEN_SECONDS:
            raise DiscordErrorResponse(50027)
        return exchange

    def _original(self, request: web.Request) -> tuple[Exchange, Payload]:
        exchange = self._live(request)
        if exchange.kind is None:
            raise DiscordErrorResponse(10015)
        is_missing = exchange.original is None or (
            not exchange.original["flags"] & EPHEMERAL
            and exchange.type != COMPONENT
            and int(exchange.original["id"]) not in exchange.channel.messages
        )
        if is_missing or exchange.original is None:
            raise DiscordErrorResponse(10008)
        return exchange, exchange.original

    async def get(self, request: web.Request) -> web.Response:
        return answer(self._original(request)[1])

    async def edit(self, request: web.Request) -> web.Response:
        payload, files = await body(request)
        exchange, message = self._original(request)
        self._check_message(exchange, payload, files)
        await self.rest.change(message, payload, files, messages.USERS)
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
            raise DiscordErrorResponse(10015)
        guild = exchange.channel.guild
        if not (guild and guild.with_bot) and len(exchange.followups) >= limits.FOLLOWUPS:
            raise DiscordErrorResponse(40094)
        self._check_message(exchange, payload, files)
        if limits.is_empty(payload, files):
            raise DiscordErrorResponse(50006)
        flags = payload.get("flags", 0) & EPHEMERAL
        message = self._respond(exchange, payload, files, flags)
        exchange.followups.append(message)
        await exchange.notify()
        return answer(message)
