"""Slow clients, on purpose or not: each is let go in time, and honest requests go on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import httpx
import pytest

from adapters.web import server
from core.messages import Answer
from tests.web.house import House, Turn, following, until

SOON = 0.3
"""Seconds that a deadline is set to here."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD", "BODY", "IDLE", "READING"):
        monkeypatch.setattr(server, name, SOON)


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def sends(self, text: str | bytes) -> None:
        self.writer.write(text.encode() if isinstance(text, str) else text)
        await self.writer.drain()

    async def drips(self, text: str, every: float = 0.02) -> None:
        """One byte at a time, until it is hung up on."""
        with suppress(ConnectionError):
            for letter in text:
                await self.sends(letter)
                await asyncio.sleep(every)

    async def reads(self) -> str:
        """All until the server hangs up."""
        with suppress(ConnectionError):
            return (await self.reader.read()).decode(errors="replace")
        return ""


@asynccontextmanager
async def connected(house: House) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(house.web.address).port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


def post(house: House, length: int) -> str:
    lines = ["POST /chat HTTP/1.1", "Host: localhost", "Content-Type: application/json",
             f"Authorization: Bearer {house.token}", f"Content-Length: {length}"]  # fmt: skip
    return "\r\n".join([*lines, "", ""])


async def told(house: House, first: str, drops: str) -> str:
    """What who sends `first` at once, and then `drops`, is told in the end. A byte on its way to a
    socket that is closed resets the connection, and may take the answer with it: then once more."""
    for _ in range(5):
        async with connected(house) as client:
            if first:
                await client.sends(first)
            if first.startswith("GET"):
                assert (await client.reader.readuntil(b'"alive"}')).startswith(b"HTTP/1.1 200 ")
            dripping = asyncio.create_task(client.drips(drops))
            said = await client.reads()
            await dripping
        if said:
            return said
    return ""


async def test_a_head_that_does_not_come(house: House) -> None:
    for drops in ("", "GET / HTTP/1.1\r\nX: " + "x" * 10_000):
        said = await told(house, "", drops)
        assert said.startswith("HTTP/1.1 408 ")
        assert '"code":"too_slow"' in said


async def test_a_second_head_that_does_not_come(house: House) -> None:
    first = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    said = await told(house, first, "GET / HTTP/1.1\r\nX: " + "x" * 10_000)
    assert said.startswith("HTTP/1.1 408 ")


async def test_a_connection_that_asks_for_nothing_more(house: House) -> None:
    async with connected(house) as client:
        await client.sends("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        told = await client.reads()
        assert (told.startswith("HTTP/1.1 200 "), "408" in told) == (True, False)


async def test_a_body_that_does_not_come(house: House) -> None:
    for body in ("", '{"message": "' + "x" * 5_000):
        assert (await told(house, post(house, 100_000), body)).startswith("HTTP/1.1 408 ")
    assert not house.rows


async def test_a_body_that_comes_slowly_but_comes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload over a thin line has longer than one deadline."""
    monkeypatch.setattr(server, "RATE", 100)
    body = '{"message": "' + "x" * 200 + '"}'
    async with connected(house) as client:
        await client.sends(post(house, len(body)))
        for start in range(0, len(body), 10):
            await client.sends(body[start : start + 10])
            await asyncio.sleep(3 * SOON / 20)
        assert (await client.reader.readline()).startswith(b"HTTP/1.1 200 ")


async def test_the_rest_of_a_refused_body_is_not_waited_for(house: House) -> None:
    async with connected(house) as client:
        await client.sends("POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n")
        assert (await client.reads()).startswith("HTTP/1.1 401 ")
    async with connected(house) as client:
        await client.sends("POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        await client.reader.readuntil(b"401")
        await client.sends("123456789")
        assert "408" not in await client.reads()


async def test_who_does_not_read_the_answer_is_let_go(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(turn: Turn) -> Answer:
        return Answer("x" * 30_000_000)

    gone = asyncio.Event()
    lost = server.Connection.connection_lost

    def watched(self: server.Connection, exc: Exception | None) -> None:
        lost(self, exc)
        gone.set()

    monkeypatch.setattr(server.Connection, "connection_lost", watched)
    house.script = script
    async with connected(house) as client, asyncio.timeout(20):
        body = '{"message": "x"}'
        await client.sends(post(house, len(body)) + body)
        await gone.wait()


async def test_many_slow_ones_leave_room_for_honest_ones(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest of those that have not shown the token make room; who is signed in stays."""
    monkeypatch.setattr(server, "STRANGERS", 20)
    for name in ("HEAD", "BODY"):
        monkeypatch.setattr(server, name, 60.0)
    async with house.client() as owner, following(owner) as tab, house.stranger() as stranger:
        await until(tab, "ready")
        slow = []
        for number in range(100):
            client = connected(house)
            slow.append(client)
            one = await client.__aenter__()
            with suppress(ConnectionError):
                await one.sends("GET / HT" if number % 2 else "POST /slack/events HTTP/1.1\r\n"
                                "Host: localhost\r\nContent-Length: 99\r\n\r\n12")  # fmt: skip
            if number % 10 == 0:
                assert (await stranger.get("/healthz")).status_code == 200
                said = await owner.post("/chat", json={"message": str(number)})
                assert said.json()["response"] == f"You said: {number}"
        assert len(house.connections) <= 20 + 5
        await until(tab, "done")
        for client in slow:
            await client.__aexit__(None, None, None)
