"""What the HTTP API refuses, and how: each code of docs/reference/http.md."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import httpx
import pytest

from adapters.web import http_io
from tests.web.web_ponte import Client, Turn, WebPonte, events


def error_of(response: httpx.Response) -> tuple[int, str]:
    error = response.json()["error"]
    assert error["message"]
    assert response.headers["content-type"] == "application/json"
    return response.status_code, error["code"]


JSON = {"Content-Type": "application/json"}
LATER = {"Prefer": "respond-async"}


BODIES: list[tuple[str | bytes, int, str]] = [
    ("{", 400, "bad_request"), ("[" * 100_000, 400, "bad_request"),
    ('"hello"', 400, "bad_request"), ("{}", 400, "bad_request"),
    ('{"message": 5}', 400, "bad_request"), ('{"message": "x", "admin": true}', 400, "bad_request"),
    ('{"message": "x", "conversation": "../x"}', 400, "bad_request"),
    ('{"message": "x", "conversation": "x\\n"}', 400, "bad_request"),
    ('{"message": "x", "event_key": ""}', 400, "bad_request"),
    (b'{"message": "\xff"}', 400, "bad_request"),
    ('{"message": ""}', 422, "empty"), ('{"message": " \\n\\u200b "}', 422, "empty"),
    (json.dumps({"message": "x" * http_io.MAX_TEXT_BYTES}), 413, "too_large"),
    (json.dumps({"message": "é" * (http_io.MAX_TEXT_BYTES // 2)}), 413, "too_large"),
]  # fmt: skip


async def test_a_body_that_cannot_be_taken(ponte: WebPonte, client: Client) -> None:
    for body, status, code in BODIES:
        response = await client.post("/chat", content=body, headers=JSON)
        assert error_of(response) == (status, code), body[:60]
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        # a form of another site could send these without asking (CORS simple requests)
        response = await client.post(
            "/chat", content='{"message": "x"}', headers={"Content-Type": kind}
        )
        assert error_of(response) == (415, "unsupported_media_type"), kind
    assert not ponte.rows
    english = await client.post("/chat", json={"message": ""})
    message = "Your message is empty. Type a question, or `help`."
    assert english.json()["error"]["message"] == message


async def test_nearly_two_megabytes_are_taken(client: Client) -> None:
    response = await client.post("/chat", json={"message": "x" * (http_io.MAX_TEXT_BYTES - 1)})
    assert response.status_code == 200


async def raw(ponte: WebPonte, *headers: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(ponte.web.address).port)
    bearer = f"Authorization: Bearer {ponte.token}"
    kind = "Content-Type: application/json"
    lines = ["POST /chat HTTP/1.1", "Host: localhost", kind, bearer, *headers]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    return reader, writer


async def test_a_body_is_not_read_beyond_its_limit(ponte: WebPonte) -> None:
    reader, writer = await raw(ponte, f"Content-Length: {http_io.MAX_JSON_BODY_BYTES + 1}")
    assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_a_body_without_a_length_is_cut_off_too(ponte: WebPonte) -> None:
    reader, writer = await raw(ponte, "Transfer-Encoding: chunked")
    request_count, chunk = 0, b"%x\r\n%s\r\n" % (100_000, b" " * 100_000)
    with suppress(ConnectionError):  # it answers and hangs up while we still write
        while request_count < 3 * http_io.MAX_JSON_BODY_BYTES:
            writer.write(chunk)
            await writer.drain()
            request_count += 100_000
        await reader.read()
    assert writer.is_closing() or reader.at_eof()
    writer.close()


async def test_unknown_paths_and_other_methods_are_refused(client: Client) -> None:
    for path in ("/nothing", "/conversations/a%2Fb", "/files/../x", "/chat/", "/page/none.js"):
        assert error_of(await client.get(path)) == (404, "not_found"), path
    response = await client.get("/chat")
    assert error_of(response) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


async def test_a_full_disk_takes_nothing(ponte: WebPonte, client: Client) -> None:
    body = {"message": "x", "event_key": "k"}
    for accept in ("application/json", "text/event-stream"):
        with ponte.full_disk():
            response = await client.post("/chat", json=body, headers={"Accept": accept})
        assert error_of(response) == (503, "not_stored"), accept
        assert response.headers["retry-after"]
    assert (await client.post("/chat", json=body)).json()["response"] == "You said: x"


async def test_a_ponte_that_stops_takes_nothing(ponte: WebPonte, client: Client) -> None:
    await ponte.web.stop_intake()
    response = await client.post("/chat", json={"message": "x"})
    assert error_of(response) == (503, "not_stored")
    assert (await client.get("/readyz")).status_code == 503
    assert not ponte.rows


async def test_a_broken_part_is_an_error_without_details(
    ponte: WebPonte, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def raise_error(turn: str) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(ponte.journal, "history_entry", raise_error)
    response = await client.post("/chat", json={"message": "x", "event_key": "k"})
    assert error_of(response) == (500, "internal")
    assert "secret" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_a_forgotten_turn_is_gone(ponte: WebPonte, client: Client) -> None:
    async def script(turn: Turn) -> Any:
        await ponte.inbox.amend(turn.message.event_key, None)
        await ponte.forget("web:main")

    ponte.script = script
    response = await client.post("/chat", json={"message": "x"}, headers={"Prefer": "wait=1"})
    assert error_of(response) == (410, "forgotten")


async def test_a_withdrawn_turn_is_gone_at_its_address(ponte: WebPonte, client: Client) -> None:
    async def script(turn: Turn) -> Any:
        await asyncio.Event().wait()

    ponte.script = script
    turns = [
        (await client.post("/chat", json={"message": text}, headers=LATER)).json()["turn"]
        for text in ("one", "two")
    ]
    await client.post(f"/turns/{turns[1]}/stop")
    for method, path in (("GET", ""), ("GET", "/usage"), ("POST", "/stop")):
        response = await client.request(method, f"/turns/{turns[1]}{path}")
        assert error_of(response) == (410, "forgotten"), path
    assert (await client.get(f"/turns/{turns[0]}")).json()["state"] == "running"


async def test_a_forgotten_turn_ends_its_stream(ponte: WebPonte, client: Client) -> None:
    async def script(turn: Turn) -> Any:
        await ponte.forget("web:main")

    ponte.script = script
    headers = {"Accept": "text/event-stream"}
    async with client.stream("POST", "/chat", json={"message": "x"}, headers=headers) as stream:
        last = [event async for event in events(stream)][-1]
    assert (last.name, last.data["code"]) == ("error", "forgotten")
