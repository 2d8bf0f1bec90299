"""Slow clients, on purpose or not: each is let go in time, and honest requests go on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import httpx
import pytest

from adapters.web import server
from core.domain.messages import Answer
from tests.fakes.loop_clock import LoopClock, run_ready
from tests.time_limits import Limits
from tests.web.web_ponte import Turn, WebPonte, following, until


@pytest.fixture
async def clock(ponte: WebPonte) -> LoopClock:
    """Time passes where a test says so: the deadlines are those of users."""
    return LoopClock()


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def sends(self, text: str | bytes) -> None:
        self.writer.write(text.encode() if isinstance(text, str) else text)
        await self.writer.drain()

    async def drips(self, text: str, clock: LoopClock, seconds: float) -> str:
        """Send one byte at a time, each `seconds` after the last one, and then nothing. Return all
        that came until the server hung up."""
        reading = asyncio.create_task(self.reads())
        with suppress(ConnectionError):
            for letter in text:
                if reading.done():
                    break
                await self.sends(letter)
                await run_ready(5)  # until the server has it
                clock.skip(seconds)
                await run_ready(5)
        while not reading.done():
            clock.skip(seconds)
            await run_ready(5)
        return await reading

    async def reads(self) -> str:
        """All until the server hangs up."""
        with suppress(ConnectionError):
            return (await self.reader.read()).decode(errors="replace")
        return ""


@asynccontextmanager
async def connect(ponte: WebPonte) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(ponte.web.address).port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


def post(ponte: WebPonte, length: int) -> str:
    lines = [
        "POST /chat HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Authorization: Bearer {ponte.token}",
        f"Content-Length: {length}",
    ]
    return "\r\n".join([*lines, "", ""])


async def final_answer(
    ponte: WebPonte, clock: LoopClock, seconds: float, first: str, drops: str
) -> str:
    """What who sends `first` at once, and then `drops`, is told in the end; a deadline of `seconds`
    passes in 20 steps. A byte on its way to a socket that is closed resets the connection, and may
    take the answer with it: then once more."""
    for _ in range(5):
        async with connect(ponte) as client:
            if first:
                await client.sends(first)
            if first.startswith("GET"):
                assert (await client.reader.readuntil(b'"alive"}')).startswith(b"HTTP/1.1 200 ")
            message = await client.drips(drops, clock, seconds / 20)
        if message:
            return message
    return ""


async def test_a_head_that_does_not_come(ponte: WebPonte, clock: LoopClock) -> None:
    """The first one, and one after a request that was answered."""
    head = "GET / HTTP/1.1\r\nX: " + "x" * 1_000
    text = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for first, drops in (("", ""), ("", head), (text, head)):
        answer = await final_answer(ponte, clock, server.HEAD_TIMEOUT_SECONDS, first, drops)
        assert answer.startswith("HTTP/1.1 408 "), (first, drops)
        assert '"code":"too_slow"' in answer


async def test_a_connection_that_asks_for_nothing_more(ponte: WebPonte, clock: LoopClock) -> None:
    async with connect(ponte) as client:
        await client.sends("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        text = await client.reader.readuntil(b'"alive"}')
        clock.skip(server.IDLE_TIMEOUT_SECONDS)
        assert (text.startswith(b"HTTP/1.1 200 "), await client.reads()) == (True, "")


async def test_a_body_that_does_not_come(ponte: WebPonte, clock: LoopClock) -> None:
    for body in ("", '{"message": "' + "x" * 1_000):
        answer = await final_answer(
            ponte, clock, server.BODY_TIMEOUT_SECONDS, post(ponte, 100_000), body
        )
        assert answer.startswith("HTTP/1.1 408 ")
    assert not ponte.rows


async def test_a_body_that_comes_slowly_but_comes(
    ponte: WebPonte, clock: LoopClock, limits: Limits
) -> None:
    """An upload over a thin line has longer than one deadline."""
    limits(MIN_BODY_BYTES_PER_SECOND=1)
    body = '{"message": "' + "x" * 200 + '"}'
    async with connect(ponte) as client:
        await client.sends(post(ponte, len(body)))
        message = await client.drips(body, clock, 3 * server.BODY_TIMEOUT_SECONDS / len(body))
        assert message.startswith("HTTP/1.1 200 ")


async def test_the_rest_of_a_refused_body_is_not_waited_for(
    ponte: WebPonte, clock: LoopClock
) -> None:
    async with connect(ponte) as client:
        await client.sends("POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n")
        assert (await client.drips("", clock, 1.0)).startswith("HTTP/1.1 401 ")
    async with connect(ponte) as client:
        await client.sends("POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        await client.reader.readuntil(b"401")
        await client.sends("123456789")
        assert "408" not in await client.drips("", clock, 1.0)


async def test_who_does_not_read_the_answer_is_let_go(
    ponte: WebPonte, clock: LoopClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(turn: Turn) -> Answer:
        return Answer("x" * 30_000_000)

    full, event = asyncio.Event(), asyncio.Event()
    pause, lose = server.HttpConnection.pause_writing, server.HttpConnection.connection_lost

    def pause_and_note(self: server.HttpConnection) -> None:
        pause(self)
        full.set()

    def lose_and_note(self: server.HttpConnection, exc: Exception | None) -> None:
        lose(self, exc)
        event.set()

    monkeypatch.setattr(server.HttpConnection, "pause_writing", pause_and_note)
    monkeypatch.setattr(server.HttpConnection, "connection_lost", lose_and_note)
    ponte.script = script
    async with connect(ponte) as client:
        body = '{"message": "x"}'
        await client.sends(post(ponte, len(body)) + body)
        await full.wait()
        assert not event.is_set()
        clock.skip(server.UNREAD_TIMEOUT_SECONDS)
        await event.wait()


async def test_who_reads_a_large_answer_late_is_not_disconnected_afterwards(
    ponte: WebPonte, clock: LoopClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, start_event, free = asyncio.Event(), asyncio.Event(), asyncio.Event()
    pause = server.HttpConnection.pause_writing

    def pause_and_note(self: server.HttpConnection) -> None:
        pause(self)
        full.set()

    async def script(turn: Turn) -> Answer:
        if turn.seq == 1:
            return Answer("x" * 10_000_000)
        start_event.set()
        await free.wait()
        return Answer("Later.")

    monkeypatch.setattr(server.HttpConnection, "pause_writing", pause_and_note)
    ponte.script = script
    async with connect(ponte) as client:
        body = '{"message": "x"}'
        await client.sends(post(ponte, len(body)) + body)
        await full.wait()
        head = (await client.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        await client.reader.readexactly(length)
        await client.sends(post(ponte, len(body)) + body)
        await start_event.wait()
        clock.skip(server.UNREAD_TIMEOUT_SECONDS)
        await run_ready()
        free.set()
        assert (await client.reader.readline()).startswith(b"HTTP/1.1 200 ")


async def test_many_slow_ones_leave_room_for_honest_ones(
    ponte: WebPonte, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    """The oldest of those that have not shown the token make room; who is signed in stays."""
    limits(MAX_UNAUTHENTICATED_CONNECTIONS=20)
    for name in ("HEAD_TIMEOUT_SECONDS", "BODY_TIMEOUT_SECONDS"):
        monkeypatch.setattr(server, name, 60.0)
    async with ponte.client() as owner, following(owner) as tab, ponte.stranger() as stranger:
        await until(tab, "ready")
        slow = []
        for number in range(100):
            client = connect(ponte)
            slow.append(client)
            one = await client.__aenter__()
            with suppress(ConnectionError):
                await one.sends(
                    "GET / HT"
                    if number % 2
                    else "POST /slack/events HTTP/1.1\r\n"
                    "Host: localhost\r\nContent-Length: 99\r\n\r\n12"
                )
            if number % 10 == 0:
                assert (await stranger.get("/healthz")).status_code == 200
                response = await owner.post("/chat", json={"message": str(number)})
                assert response.json()["response"] == f"You said: {number}"
        assert len(ponte.connections) <= 20 + 5
        await until(tab, "done")
        for client in slow:
            await client.__aexit__(None, None, None)
