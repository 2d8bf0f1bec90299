"""How events reach the app: Socket Mode envelopes or signed requests, again until acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlencode

import aiohttp
from aiohttp import web

from .records import SIGNING_SECRET, Json, new_id

Kind = Literal["events_api", "slash_commands", "interactive"]


@dataclass
class Delivery:
    """One event on its way; `attempts` counts sendings, `response` is what the ack carried."""

    kind: Kind
    payload: Json
    attempts: int = 0
    sent_at: float = 0.0
    acked_at: float = 0.0
    response: Json = field(default_factory=dict)
    acked: asyncio.Event = field(default_factory=asyncio.Event)

    def acknowledge(self, response: Json | None = None) -> None:
        if not self.acked.is_set():
            self.acked_at, self.response = time.monotonic(), response or {}
            self.acked.set()


class Deliveries:
    """Sends each event; an unacknowledged one again at once, then after `retry_delays`.

    Only events are repeated; commands and clicks are sent once (docs.slack.dev/apis/events-api).
    `twice` is the share of events that are sent twice although they were acknowledged.
    """

    def __init__(self) -> None:
        self.ack_limit = 60.0
        """Seconds until an event counts as lost. Slack's are 3; a busy machine may need more."""
        self.retry_delays: tuple[float, ...] = (0.0, 1.0, 3.0)
        self.twice = 0.0
        self.lost: list[Delivery] | None = None
        """If a list: events are not sent but kept here, as if the process died at the first
        attempt. `resend_lost` sends them."""
        self.all: list[Delivery] = []
        self.on_ack: Callable[[Delivery], None] = lambda delivery: None
        self.request_url = ""
        self.signing_secret = SIGNING_SECRET
        self.sockets: list[web.WebSocketResponse] = []
        self._transports: dict[web.WebSocketResponse, asyncio.BaseTransport | None] = {}
        self.random = random.Random(7)
        self._waiting: dict[str, Delivery] = {}
        self._connected = asyncio.Event()
        self._dropped = asyncio.Event()
        self._given_up = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    def send(self, kind: Kind, payload: Json) -> Delivery:
        delivery = Delivery(kind, payload)
        self.all.append(delivery)
        if self.lost is not None:
            self.lost.append(delivery)
            return delivery
        self._begin(delivery)
        return delivery

    def resend_lost(self) -> None:
        """Send the lost events."""
        for delivery in self.lost or ():
            self._begin(delivery)
        self.lost = None

    def _begin(self, delivery: Delivery) -> None:
        kind = delivery.kind
        copies = 2 if kind == "events_api" and self.random.random() < self.twice else 1
        for _ in range(copies):
            task = asyncio.create_task(self._drive(delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _drive(self, delivery: Delivery) -> None:
        delays = (0.0, *self.retry_delays) if delivery.kind == "events_api" else (0.0,)
        for attempt, delay in enumerate(delays):
            await asyncio.sleep(delay)
            if attempt and delivery.acked.is_set():
                return
            if await self._attempt(delivery, attempt):
                return

    async def _attempt(self, delivery: Delivery, attempt: int) -> bool:
        delivery.attempts += 1
        delivery.sent_at = delivery.sent_at or time.monotonic()
        if self.request_url:
            return await self._request(delivery, attempt)
        envelope = new_id("envelope-")
        self._waiting[envelope] = delivery
        try:
            return await self._over_socket(delivery, envelope, attempt)
        finally:
            self._waiting.pop(envelope, None)

    async def _over_socket(self, delivery: Delivery, envelope: str, attempt: int) -> bool:
        await self._connected.wait()
        message: Json = {
            "envelope_id": envelope,
            "type": delivery.kind,
            "payload": delivery.payload,
            "accepts_response_payload": delivery.kind != "events_api",
        }
        if delivery.kind == "events_api":
            message |= {"retry_attempt": attempt, "retry_reason": "timeout" if attempt else ""}
        dropped = self._dropped
        with suppress(ConnectionError):
            await self.random.choice(self.sockets).send_json(message)
        waits = {
            asyncio.ensure_future(delivery.acked.wait()),
            asyncio.ensure_future(dropped.wait()),
            asyncio.ensure_future(self._given_up.wait()),
        }
        try:
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait(waits, timeout=self.ack_limit, return_when=first)
        finally:
            for wait in waits:
                wait.cancel()
        return delivery.acked.is_set()

    async def _request(self, delivery: Delivery, attempt: int) -> bool:
        body, content_type = _encode(delivery)
        headers = sign(self.signing_secret, body) | {"Content-Type": content_type}
        if attempt:
            headers |= {"x-slack-retry-num": str(attempt), "x-slack-retry-reason": "http_error"}
        self._session = self._session or aiohttp.ClientSession()
        with suppress(aiohttp.ClientError, asyncio.TimeoutError):
            limit = aiohttp.ClientTimeout(total=self.ack_limit)
            async with self._session.post(
                self.request_url, data=body, headers=headers, timeout=limit
            ) as answer:
                text = await answer.text()
                if answer.status == 200:
                    delivery.acknowledge(_read(text))
                    self.on_ack(delivery)
        return delivery.acked.is_set()

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """One Socket Mode connection, until it ends."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json(
            {
                "type": "hello",
                "num_connections": len(self.sockets) + 1,
                "connection_info": {"app_id": "A0APP"},
            }
        )
        self.sockets.append(socket)
        self._transports[socket] = request.transport
        self._connected.set()
        try:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._handle_ack(json.loads(message.data))
        finally:
            self._remove_socket(socket)
            self._transports.pop(socket, None)
        return socket

    def _handle_ack(self, ack: Json) -> None:
        delivery = self._waiting.get(ack.get("envelope_id", ""))
        if delivery is not None:
            delivery.acknowledge(ack.get("payload"))
            self.on_ack(delivery)

    def _remove_socket(self, socket: web.WebSocketResponse) -> None:
        if socket in self.sockets:
            self.sockets.remove(socket)
        if not self.sockets:
            self._connected.clear()
            self._dropped.set()
            self._dropped = asyncio.Event()

    def drop(self) -> None:
        """Cut every connection without a close frame, as a dead network does."""
        for socket in list(self.sockets):
            self._remove_socket(socket)
            if isinstance(transport := self._transports.get(socket), asyncio.Transport):
                transport.abort()

    def give_up(self) -> None:
        """What was sent over a socket and is not acknowledged yet counts as lost, as after
        `ack_limit` seconds."""
        self._given_up.set()
        self._given_up = asyncio.Event()

    async def refresh(self) -> None:
        """Ask the app to reconnect, then close, as Slack does every few hours."""
        for socket in list(self.sockets):
            await socket.send_json({"type": "disconnect", "reason": "refresh_requested"})
            self._remove_socket(socket)

    async def wait_until_connected(self) -> None:
        await self._connected.wait()

    async def wait_for_deliveries(self) -> None:
        """Wait until every event is acknowledged or given up."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for socket in list(self.sockets):
            await socket.close()
        if self._session is not None:
            await self._session.close()


def sign(secret: str, body: bytes, at: float | None = None) -> dict[str, str]:
    """The headers by which Slack proves a request (docs.slack.dev/authentication/
    verifying-requests-from-slack)."""
    stamp = str(int(time.time() if at is None else at))
    digest = hmac.new(secret.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256)
    return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": "v0=" + digest.hexdigest()}


def _encode(delivery: Delivery) -> tuple[bytes, str]:
    form = "application/x-www-form-urlencoded"
    if delivery.kind == "events_api":
        return json.dumps(delivery.payload).encode(), "application/json"
    if delivery.kind == "interactive":
        return urlencode({"payload": json.dumps(delivery.payload)}).encode(), form
    return urlencode(delivery.payload).encode(), form


def _read(text: str) -> Json:
    """An acknowledgement's body: JSON, or plain words for the person."""
    if text.startswith("{"):
        data: Json = json.loads(text)
        return data
    return {"text": text} if text else {}
