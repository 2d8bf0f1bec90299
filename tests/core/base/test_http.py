"""The HTTP client against real sockets: what it takes, what it refuses, what it never tells."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from core.base.fault_bodies import MAX_PARSED_RETRY_AFTER_SECONDS, parse_retry_after
from core.base.http import (
    HttpAnswer,
    HttpClient,
    HttpDown,
    HttpError,
    HttpTimeout,
    HttpTooLarge,
    HttpUnreadable,
)
from core.base.proxies import Proxies
from tests.fakes.loop_clock import LoopClock

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def server(serve: Serve, socket: str = "") -> AsyncIterator[str]:
    """A server of raw bytes; gives its URL."""

    services: list[asyncio.Task[None]] = []

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            try:
                await serve(reader, writer)
            finally:
                writer.close()
            await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        services.append(asyncio.create_task(one(reader, writer)))

    if socket:
        listening = await asyncio.start_unix_server(begin, socket)
        url = "http://ponte"
    else:
        listening = await asyncio.start_server(begin, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield url
    finally:
        listening.close()
        await asyncio.gather(*services)


def says(status: str, body: bytes, *headers: str) -> tuple[Serve, list[str]]:
    """A server with one answer, and the list of request heads that it gets."""
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        lines = [f"HTTP/1.1 {status}", "Connection: close", *headers, "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return serve, heads


async def test_json_there_and_back_under_our_name() -> None:
    serve, heads = says("200 OK", b'{"list": [1]}')
    async with server(serve) as url, HttpClient() as http:
        assert await http.post_json(f"{url}/execute", {"tool": "x"}) == {"list": [1]}
        json = await http.get_json(url, params={"a": "b c"}, headers={"X-Token": "t"})
        assert json == {"list": [1]}
    assert heads[0].startswith("POST /execute HTTP/1.1\r\n")
    assert "User-Agent: ponte-bot/" in heads[0]
    assert "Content-Type: application/json" in heads[0]
    assert heads[1].startswith("GET /?a=b+c HTTP/1.1\r\n")
    assert "X-Token: t" in heads[1]


@pytest.mark.parametrize("part", ["body", "form", "params"])
async def test_half_an_emoji_is_sent_as_a_whole_character(part: str) -> None:
    serve, heads = says("200 OK", b"{}", "Content-Type: application/json", "Content-Length: 2")
    async with server(serve) as url, HttpClient() as http:
        request: Any = {part: {"name": "no \ud83d"}}
        assert await http.request_json("POST", url, **request) == {}
    assert len(heads) == 1


async def test_a_refusal_is_an_error_with_its_status_and_body() -> None:
    serve, _ = says("404 Not Found", b'{"detail": "no"}', "Retry-After: 3")
    async with server(serve) as url, HttpClient() as http:
        with pytest.raises(HttpAnswer) as error:
            await http.get_json(url)
    assert (error.value.status, error.value.json) == (404, {"detail": "no"})
    assert error.value.headers["retry-after"] == "3"
    assert str(error.value) == "HTTP 404"


TWICE = gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0)
"""A few KB that are compressed twice can become GBs at once."""


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind"),
    [
        ("302 Found", b"", ["Location: http://127.0.0.1:1/"], HttpAnswer),
        ("200 OK", b"<html>", [], HttpUnreadable),
        ("200 OK", b"[" * 100_000, [], HttpUnreadable),
        ("200 OK", b"not gzip", ["Content-Encoding: gzip"], HttpUnreadable),
        ("200 OK", TWICE, ["Content-Encoding: gzip, gzip"], HttpUnreadable),
        ("200 OK", TWICE, ["Content-Encoding: gzip"] * 2, HttpUnreadable),
        ("500 Oops", TWICE, ["Content-Encoding: gzip, gzip"], HttpUnreadable),
        ("200 OK", b"[" + b"1," * 600_000 + b"1]", [], HttpTooLarge),
        ("200 OK", b"[", ["Content-Length: 9"], HttpDown),
        ("nonsense", b"", [], HttpDown),
    ],
)
async def test_what_is_not_a_good_answer(
    status: str, body: bytes, headers: list[str], kind: type[HttpError]
) -> None:
    serve, _ = says(status, body, *headers)
    async with server(serve) as url, HttpClient(cap=1_000_000) as http:
        with pytest.raises(kind) as error:
            await http.get_json(url)
        assert error.value.sent


async def test_a_body_may_be_empty_or_as_long_as_the_limit() -> None:
    serve, _ = says("200 OK", b"")
    async with server(serve) as url, HttpClient() as http:
        assert await http.get_json(url) is None
    serve, _ = says("200 OK", b"[1, 2]")
    async with server(serve) as url:
        async with HttpClient(cap=6) as http:
            assert await http.get_json(url) == [1, 2]
        async with HttpClient(cap=5) as http:
            with pytest.raises(HttpTooLarge):
                await http.get_json(url)


async def test_a_silent_server_and_a_slow_one_are_given_up(tmp_path: Path) -> None:
    """On a Unix socket, where what one side writes is at once there for the other."""
    clock = LoopClock()

    async def read_request(reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(b"{}") if head.startswith(b"POST") else 0)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        while not reader.at_eof():
            clock.skip(0.1)
            await asyncio.sleep(0)

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not reader.at_eof():
            writer.write(b" ")
            await writer.drain()
            clock.skip(0.1)
            await asyncio.sleep(0)

    path = str(tmp_path / "socket")
    for serve, reason in ((silent, "ReadTimeout"), (slow, "deadline")):
        async with server(serve, path) as url, HttpClient(socket=path) as http:
            for call in (http.post_json(url, {}, timeout=100.0), http.get_bytes(url, {})):
                with pytest.raises(HttpTimeout, match=reason) as error:
                    await call
                assert error.value.sent
                assert error.value.__suppress_context__


async def test_no_server_is_told_without_its_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    serve, _ = says("200 OK", b"{}")
    async with server(serve) as url, HttpClient() as http:
        await http.get_json(f"{url}/secret-path")
    for place, reason in (
        ("http://secret-name.invalid/secret-path", "ConnectError"),
        ("ftp://secret-name.invalid/", "UnsupportedProtocol"),
        ("http://secret-name.invalid:port/", "InvalidURL"),
        ("http://[::1", "InvalidURL"),
        ("http://[secret]/", "InvalidURL"),
        ("http://secret\u2100name/", "InvalidURL"),
        ("http://xn--/secret", "IDNAError"),
    ):
        async with HttpClient() as http:
            with pytest.raises(HttpDown, match=reason) as error:
                await http.get_json(place)
        assert not error.value.sent
        assert "secret" not in "".join(traceback.format_exception(error.value))
    async with HttpClient() as http:
        with pytest.raises(HttpDown, match="UnicodeEncodeError"):
            await http.get_json("http://127.0.0.1:9/", headers={"xc-token": "sécret"})
    assert "secret" not in caplog.text


async def test_lines_come_as_they_are_sent() -> None:
    event = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: a\xe2\x80\xa8b\r\n\ndat")
        await event.wait()
        writer.write(b"a: c\nend")

    async with (
        server(serve) as url,
        HttpClient() as http,
        http.stream_lines("POST", url, body={"message": "hi"}) as lines,
    ):
        assert [await anext(lines), await anext(lines)] == ["data: a\u2028b", ""]
        event.set()
        assert [line async for line in lines] == ["data: c", "end"]


async def test_a_broken_stream_and_an_endless_line_are_errors() -> None:
    cut, _ = says("200 OK", b"data: a\n", "Content-Length: 99")
    endless, _ = says("200 OK", b"x" * 2_000)
    refusal, _ = says("503 Busy", b'{"error": {"code": "not_stored"}}')
    for serve, kind in ((cut, HttpDown), (endless, HttpTooLarge), (refusal, HttpAnswer)):
        async with server(serve) as url, HttpClient(cap=1_000) as http:
            with pytest.raises(kind):
                await read(http, url)


async def read(http: HttpClient, url: str) -> list[str]:
    async with http.stream_lines("GET", url) as lines:
        return [line async for line in lines]


async def test_a_unix_socket_serves_whatever_the_host(tmp_path: Path) -> None:
    path = str(tmp_path / "ponte.sock")
    serve, heads = says("200 OK", b"1")
    async with server(serve, path) as url, HttpClient(socket=path) as http:
        assert await http.get_json(f"{url}/readyz") == 1
    assert heads[0].startswith("GET /readyz")
    async with HttpClient(socket=str(tmp_path / "gone.sock")) as http:
        with pytest.raises(HttpDown) as error:
            await http.get_json("http://ponte/readyz")
        assert not error.value.sent


async def test_a_proxy_is_asked_except_for_named_hosts() -> None:
    proxy, question = says("200 OK", b'"by proxy"')
    origin, _ = says("200 OK", b'"direct"')
    async with server(proxy) as by, server(origin) as url:
        async with HttpClient(proxies=Proxies(http=by, no="example.org, 127.0.0.1")) as http:
            assert await http.get_json("http://db.example/execute") == "by proxy"
            assert await http.get_json(url) == "direct"
        async with HttpClient(proxies=Proxies(http=by.removeprefix("http://"))) as http:
            assert await http.get_json(url) == "by proxy"
    assert question[0].startswith("GET http://db.example/execute ")


async def test_an_error_names_the_proxy_that_may_have_caused_it() -> None:
    """Not where the server itself responded, nor where none was used."""
    page, _ = says("503 Service Unavailable", b"<h1>No route</h1>", "Content-Type: text/html")
    answer, _ = says("503 Service Unavailable", b'{"msg": "busy"}')
    async with server(page) as by, server(answer) as also_by:
        dead = "http://user:hunter2@127.0.0.1:9"
        for proxy, reason in (
            (dead, "ConnectError, proxy 127.0.0.1:9"),
            (by, f"HTTP 503, proxy {by.removeprefix('http://')}"),
            (also_by, "HTTP 503"),
        ):
            async with HttpClient(proxies=Proxies(http=proxy)) as http:
                with pytest.raises(HttpError) as error:
                    await http.get_json("http://10.0.0.1/")
            assert (error.value.reason, str(error.value)) == (reason, reason)
        async with HttpClient(proxies=Proxies(http=dead, no="127.0.0.0/8")) as http:
            with pytest.raises(HttpError) as error:
                await http.get_json("http://127.0.0.1:9/")
            assert error.value.reason == "ConnectError"
            with pytest.raises(HttpError) as error:
                async with http.stream_lines("GET", "http://10.0.0.1/"):
                    pass
            assert error.value.proxy == "127.0.0.1:9"


async def test_the_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    serve, _ = says("200 OK", b'"direct"')
    async with server(serve) as url, HttpClient() as http:
        assert await http.get_json(url) == "direct"


async def test_requests_are_logged_by_their_callers_alone(caplog: pytest.LogCaptureFixture) -> None:
    """The library logs whole addresses, which can contain secrets."""
    caplog.set_level(logging.DEBUG)
    for library in ("httpx", "httpcore"):
        caplog.set_level(logging.NOTSET, library)
    serve, _ = says("200 OK", b"{}", "Content-Type: application/json")
    async with server(serve) as url, HttpClient() as http:
        await http.get_json(url, params={"token": "secret"})
    assert "secret" not in caplog.text


def test_a_proxy_is_named_without_its_password() -> None:
    proxies = Proxies("http://u:p@ss/w@p.example:3128/", "p:8080", ".corp")
    assert "p@ss" not in repr(proxies)
    assert proxies.name_for("https://a") == "p.example:3128"
    assert proxies.name_for("http://a") == "p:8080"
    assert proxies.name_for("http://a.corp") == ""
    assert proxies.for_url("http://a") == "http://p:8080"
    assert Proxies("http://p", "http://p", "*").for_url("https://a") is None
    assert Proxies().for_url("https://a") is None


DIRECT = (
    "internal.example, .corp,h:8080, [::1], 10.0.0.0/8, 192.168.1.7/24,fd00::/8,[2001:db8::2]:81"
)
PROXIES = Proxies("http://secure:1", "http://plain:2", f"{DIRECT}, 300.0.0.0/8,,")


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://slack.com/api/", "http://secure:1"),
        ("wss://gateway.discord.gg/", "http://secure:1"),
        ("http://example.org/", "http://plain:2"),
        ("https://internal.example/x", None),
        ("https://a.internal.example/x", None),
        ("https://notinternal.example/x", "http://secure:1"),
        ("https://HOST.CORP/", None),
        ("http://h:8080/", None),
        ("http://h/", "http://plain:2"),
        ("http://[::1]:3000/", None),
        ("http://10.255.0.1:8080/v1", None),
        ("https://10.1.2.3/", None),
        ("http://11.0.0.1/", "http://plain:2"),
        ("http://192.168.1.200/", None),
        ("http://192.168.2.1/", "http://plain:2"),
        ("http://[fd12::1]/", None),
        ("http://[0:0:0:0:0:0:0:1]/", None),
        ("http://[2001:db8::2]:81/", None),
        ("http://[2001:db8::2]/", "http://plain:2"),
        ("http://10.example/", "http://plain:2"),
        ("http://[::1", None),
        ("http://[abc]/", None),
    ],
)
def test_no_proxy_is_kept_to(url: str, proxy: str | None) -> None:
    assert PROXIES.for_url(url) == proxy


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        ("10.0.0.0/8 192.168.1.5", "http://10.1.2.3/"),
        ("10.0.0.0/8;192.168.0.0/16", "http://192.168.1.1/"),
        ("192.168.*", "http://192.168.1.1/"),
        ("[fd00::]/8", "http://[fd00::1]/"),
        ("corp.example.", "http://a.corp.example/"),
        ("corp.example", "http://a.corp.example./"),
        ("http://corp.example/", "http://corp.example/"),
    ],
)
def test_no_proxy_as_people_write_it(entries: str, url: str) -> None:
    proxies = Proxies("http://p:1", "http://p:1", entries)
    assert proxies.for_url(url) is None
    assert proxies.for_url("http://193.168.1.1/") == "http://p:1"


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("30", 30.0), (" 1.5 ", 1.5), ("0", 0.0), ("", None), ("soon", None), ("-5", None),
        ("٣", None), ("1e999", None), ("45s", 45.0), ("45000ms", 45.0), ("1m12.5s", 72.5),
        ("1000000000", 0.0), ("9" * 400, MAX_PARSED_RETRY_AFTER_SECONDS),
    ],
)  # fmt: skip
def test_retry_after_with_a_number_is_seconds(told: str, seconds: float | None) -> None:
    assert parse_retry_after({"retry-after": told}) == seconds


def test_a_date_is_when() -> None:
    now = datetime.now(UTC)
    soon = format_datetime(now + timedelta(seconds=30), usegmt=True)
    past = format_datetime(now - timedelta(days=1), usegmt=True)
    assert 25 < (parse_retry_after({"retry-after": soon}) or 0) <= 30
    assert parse_retry_after({"retry-after": past}) == 0
    assert parse_retry_after({}) is None
