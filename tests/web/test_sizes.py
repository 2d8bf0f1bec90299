"""How much of a request is taken: values, nesting, fields, and requests that are under way at once.
What is too much is refused before anything is made of it."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any

import pytest
from starlette.requests import Request

from adapters.web import http_io
from adapters.web.api import openai_api
from adapters.web.api import openai_api as openai_requests
from adapters.web.api.openai_api import (
    MAX_MESSAGES,
    MAX_OBJECT_FIELDS,
    CompletionRequest,
    ConcurrencyLimit,
)
from adapters.web.errors import BadRequest, TooManyRequests
from adapters.web.http_io import MAX_JSON_DEPTH, MAX_JSON_VALUES, _parse_json
from adapters.web.server import MOUNTED_BODY_LIMIT_BYTES, serve_mounted
from core.base.json_text import check_json
from core.domain.messages import Answer
from tests.fakes.choices import allow_list
from tests.time_limits import Limits
from tests.web.web_ponte import Client, Turn, WebPonte

HELLO = {"role": "user", "content": "Hello"}
PATH = "/v1/chat/completions"
MiB = 2**20


@pytest.fixture
async def ponte() -> AsyncIterator[WebPonte]:
    ponte = WebPonte()
    ponte.policy = allow_list()
    await ponte.open()
    yield ponte
    await ponte.close()


def asking(**more: object) -> bytes:
    return json.dumps({"messages": [HELLO], **more}).encode()


def request_with_field(pieces: bytes, count: int) -> bytes:
    """A request with an unknown field of so many pieces."""
    return asking(x="HERE").replace(b'"HERE"', b"[" + pieces * count + b"0]")


TOO_MUCH: dict[str, Callable[[], bytes]] = {
    "objects": lambda: request_with_field(b"{},", 500_000),
    "numbers": lambda: request_with_field(b"0,", 800_000),
    "texts": lambda: request_with_field(b'"",', 500_000),
    "fields": lambda: request_with_field(b'{"a":0},', 200_000),
    "messages": lambda: b'{"messages":[' + b"{}," * 500_000 + b"{}]}",
    "nested lists": lambda: b'{"messages":' + b"[" * 1_500_000,
    "nested objects": lambda: b'{"a":' * 300_000,
    "closing": lambda: b"]" * 1_500_000,
    "texts in a row": lambda: b'""' * 800_000,
    "halves of texts": lambda: b'"a\\" ' * 300_000,
}
"""Some 1.5 MB each: a copy of one would be seen beside the limit of 1 MiB."""
FEW_VALUES = 10_000
"""A limit that is reached in a tenth of the time that the real one takes."""


@pytest.mark.parametrize("what", TOO_MUCH)
def test_what_is_too_much_is_refused_and_nothing_is_made_of_it(
    what: str, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    body = bytearray(TOO_MUCH[what]())
    monkeypatch.setattr(http_io, "parse_json", lambda _: pytest.fail("it was read"))
    limits(MAX_JSON_VALUES=FEW_VALUES)
    tracemalloc.start()
    try:
        with pytest.raises(BadRequest, match=r"too many values|nested too deeply"):
            _parse_json(CompletionRequest, body)
        assert tracemalloc.get_traced_memory()[1] < MiB
    finally:
        tracemalloc.stop()


def test_counting_stops_at_the_limit() -> None:
    """However much follows: one byte of each piece is looked at."""

    class Counted(bytearray):
        looked = 0

        def __getitem__(self, place: Any) -> Any:
            self.looked += 1
            return super().__getitem__(place)

    for what, body in TOO_MUCH.items():
        count = Counted(body())
        assert check_json(count, FEW_VALUES, MAX_JSON_DEPTH), what
        assert count.looked <= 4 * FEW_VALUES + 4, what


@pytest.mark.parametrize(
    ("raw", "values", "depth"),
    [
        (b"{}", 1, 1), (b"[]", 1, 1), (b"[1,2,3]", 3, 1), (b'{"a":[1,{"b":2}]}', 4, 3),
        (b'"[[[,,,"', 0, 0), (b'["\\"[,", "]"]', 2, 1), (b'["\\\\",[]]', 3, 2),
        (b'{"a,":"{"}', 1, 1),
    ],
)  # fmt: skip
def test_values_and_nesting_are_counted_outside_of_texts(
    raw: bytes, values: int, depth: int
) -> None:
    assert check_json(raw, values, depth) == ""
    if values:
        assert check_json(raw, values - 1, depth) == "many"
        assert check_json(raw, values, depth - 1) == "deep"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_values_cannot_be_hidden_in_another_encoding(encoding: str) -> None:
    """JSON is UTF-8 (RFC 8259, section 8.1). A byte of a letter may look like a quotation mark in
    other encodings, so values behind it would not be counted."""
    for hiding in "\u0122\u2201\u2222":
        body = bytearray(
            f'{{"messages":["{hiding}",{"{}," * 3 * MAX_JSON_VALUES}0]}}'.encode(encoding)
        )
        with pytest.raises(BadRequest, match=r"too many values|isn't JSON"):
            _parse_json(CompletionRequest, body)
    whole = {"messages": [HELLO]}
    with pytest.raises(BadRequest, match="isn't JSON"):
        _parse_json(CompletionRequest, bytearray(json.dumps(whole).encode(encoding)))
    mark = b"\xef\xbb\xbf" + json.dumps(whole).encode()
    assert _parse_json(CompletionRequest, bytearray(mark)).messages


async def post_and_read_error(ponte: WebPonte, body: bytes) -> tuple[int, str]:
    async with ponte.program() as web:
        got = await web.post(PATH, content=body, headers={"Content-Type": "application/json"})
    return got.status_code, got.json().get("error", {}).get("message", "")


@pytest.mark.parametrize("path", [PATH, "/chat"])
async def test_every_route_refuses_it(ponte: WebPonte, path: str) -> None:
    async with ponte.program() if path == PATH else ponte.client() as web:
        for body, why in (
            (request_with_field(b"{},", MAX_JSON_VALUES), "it contains too many values"),
            (b"[" * 200, "it's nested too deeply"),
            (b"[" * 30 + b"]" * 29, "it isn't JSON"),
        ):
            got = await web.post(path, content=body, headers={"Content-Type": "application/json"})
            assert (got.status_code, why in got.text) == (400, True), got.text
    assert not ponte.rows


async def test_an_object_has_so_many_fields_and_a_list_so_many_entries(ponte: WebPonte) -> None:
    many = {f"x{n}": 0 for n in range(MAX_OBJECT_FIELDS)}
    assert (await post_and_read_error(ponte, asking(**many)))[0] == 400
    line = {**HELLO, **many}
    assert (
        f"more than {MAX_OBJECT_FIELDS} fields"
        in (await post_and_read_error(ponte, asking(messages=[line])))[1]
    )
    text = (await post_and_read_error(ponte, asking(messages=[HELLO] * (MAX_MESSAGES + 1))))[1]
    assert f"a list of more than {MAX_MESSAGES} entries" in text
    parts = [{"type": "text", "text": "a"}] * (MAX_MESSAGES + 1)
    line = {"role": "user", "content": parts}
    assert (await post_and_read_error(ponte, asking(messages=[line])))[0] == 400
    assert not ponte.rows
    fields = {f"x{n}": 0 for n in range(MAX_OBJECT_FIELDS - 1)}
    assert (await post_and_read_error(ponte, asking(**fields)))[0] == 200


async def test_honest_requests_are_as_large_as_before(ponte: WebPonte) -> None:
    """Text with more commas and brackets than there may be values, and a large file."""
    async with ponte.program() as web:
        message = "a,b;[{" * 200_000
        got = await web.post(PATH, json={"messages": [{"role": "user", "content": message}]})
        assert got.status_code == 200
        file = "data:text/plain;base64," + "YWFh" * 4_000_000
        part = {"type": "file", "file": {"file_data": file, "filename": "a.txt"}}
        got = await web.post(PATH, json={"messages": [{"role": "user", "content": [part]}]})
        assert got.status_code == 200
        history = [HELLO, {"role": "assistant", "content": "Hi"}] * 400 + [HELLO]
        got = await web.post(PATH, json={"messages": history})
        assert got.status_code == 200
    (file,) = ponte.database.execute("SELECT size FROM files")
    assert file["size"] == 12_000_000


class Held:
    """Turns that wait until they are let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self._begun: asyncio.Queue[int] = asyncio.Queue()

    async def script(self, turn: Turn) -> Answer:
        await turn.show("So far")
        self._begun.put_nowait(turn.seq)
        await self.go.wait()
        return Answer("So far, so good.")

    async def wait_for_begun(self, count: int) -> None:
        """Until so many more have begun."""
        for _ in range(count):
            await self._begun.get()


@pytest.fixture
def held_model(ponte: WebPonte) -> Held:
    content = Held()
    ponte.script = content.script
    return content


@pytest.mark.parametrize("stream", [False, True])
async def test_so_many_requests_of_one_person_are_under_way(
    ponte: WebPonte, held_model: Held, stream: bool
) -> None:
    """Until the last byte of a stream; others are let in."""
    gate, _ = gates_of(ponte)
    set_limits(gate, 2)
    body = {"messages": [HELLO], "stream": stream}
    async with ponte.program() as web, ponte.program("ana") as ana:
        questions = [asyncio.create_task(web.post(PATH, json=body)) for _ in range(2)]
        await held_model.wait_for_begun(2)
        third = await web.post(PATH, json=body)
        assert (third.status_code, third.headers["Retry-After"]) == (429, "1")
        assert third.json()["error"]["type"] == "rate_limit_error"
        hers = asyncio.create_task(ana.post(PATH, json=body))
        await held_model.wait_for_begun(1)
        held_model.go.set()
        assert [each.status_code for each in await asyncio.gather(*questions, hers)] == [200] * 3
        assert counts_of(gate) == {}
        assert (await web.post(PATH, json=body)).status_code == 200


async def test_so_many_bytes_are_read_at_once(
    ponte: WebPonte, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that comes slowly keeps others' large ones out, and nobody's small ones."""
    read_completion_request, (_, gate) = openai_requests.read_completion_request, gates_of(ponte)
    set_limits(gate, 3 * MiB, 4 * MiB)
    start_event, go = asyncio.Event(), asyncio.Event()

    async def reads(request: Request) -> Any:
        start_event.set()
        return await read_completion_request(request)

    monkeypatch.setattr(openai_api, "read_completion_request", reads)
    large = asking(x="x" * 2 * MiB)

    async def slow() -> AsyncIterator[bytes]:
        yield large[:MiB]
        await go.wait()
        yield large[MiB:]

    async def post(web: Client, body: object) -> int:
        kind = {"Content-Type": "application/json", "Content-Length": str(len(large))}
        if isinstance(body, bytes):
            kind["Content-Length"] = str(len(body))
        return (await web.post(PATH, content=body, headers=kind)).status_code  # type: ignore[arg-type]

    async with ponte.program() as web, ponte.program("ana") as ana:
        first = asyncio.create_task(post(web, slow()))
        await start_event.wait()
        assert await post(web, large) == 429
        assert await post(web, asking()) == 200
        assert await post(ana, asking(x="x" * (MiB + MiB // 2))) == 200
        assert await post(ana, large + b" " * MiB) == 429, "more than is left of all"
        go.set()
        assert await first == 200
        assert await post(web, large) == 200
        assert counts_of(gate) == {}


async def test_a_body_whose_length_is_not_declared_counts_as_the_largest(ponte: WebPonte) -> None:
    _, gate = gates_of(ponte)
    set_limits(gate, 3 * MiB)

    async def body() -> AsyncIterator[bytes]:
        yield asking()

    async with ponte.program() as web:
        got = await web.post(PATH, content=body(), headers={"Content-Type": "application/json"})
        assert got.status_code == 429
    assert counts_of(gate) == {}


async def test_nothing_of_a_body_stays_in_memory_while_its_turn_runs(
    ponte: WebPonte, held_model: Held
) -> None:
    async with ponte.program() as web:
        body = asking(x="x" * 16 * MiB)
        tracemalloc.start()
        try:
            task = asyncio.create_task(
                web.post(PATH, content=body, headers={"Content-Type": "application/json"})
            )
            await held_model.wait_for_begun(1)
            assert tracemalloc.get_traced_memory()[1] > 16 * MiB
            while tracemalloc.get_traced_memory()[0] > 4 * MiB:  # noqa: ASYNC110
                await asyncio.sleep(0)  # what handed the message on returns a moment later
        finally:
            tracemalloc.stop()
        held_model.go.set()
        assert (await task).status_code == 200


def test_what_is_in_flight_is_given_back_whatever_happens() -> None:
    gate = ConcurrencyLimit(3, 2)
    with gate.hold("ana"), gate.hold("ana"):
        with pytest.raises(TooManyRequests), gate.hold("ana"):
            raise AssertionError
        with gate.hold("bo"), pytest.raises(TooManyRequests), gate.hold("cy"):
            raise AssertionError
    with pytest.raises(RuntimeError), gate.hold("ana", 2):
        raise RuntimeError
    assert counts_of(gate) == {}


def routes_of(ponte: WebPonte) -> openai_api.OpenAiRoutes:
    """The routes of OpenAI's API that are served."""
    app: Any = ponte.web._server._server.config.app
    while not hasattr(app, "routes"):
        app = app._app
    (route,) = [route for route in app.routes if route.path == PATH]
    match = route.handler.__self__
    assert isinstance(match, openai_api.OpenAiRoutes)
    return match


async def test_another_adapters_route_gets_its_whole_body_and_nothing_too_large() -> None:
    delivery, request = list[bytes](), list[MutableMapping[str, Any]]()
    post = {"type": "http", "method": "POST", "headers": [], "path": "/slack/events"}

    async def handler(headers: object, body: bytes) -> tuple[int, dict[str, str], bytes]:
        delivery.append(body)
        return 200, {}, b""

    async def ask(*pieces: bytes) -> int:
        bodies = iter(pieces)
        left = len(pieces)

        async def receive() -> MutableMapping[str, Any]:
            nonlocal left
            left -= 1
            return {"type": "http.request", "body": next(bodies), "more_body": left > 0}

        async def send(event: MutableMapping[str, Any]) -> None:
            request.append(event)

        request.clear()
        await serve_mounted(handler, post, receive, send)
        return int(request[0]["status"])

    assert await ask(b"one ", b"two ", b"three") == 200
    for path, code in (("/slack/events", "too_large"), ("/mcp/", -32600)):
        post["path"] = path
        assert await ask(b"x", b"x" * MOUNTED_BODY_LIMIT_BYTES, b"x") == 413
        assert json.loads(request[1]["body"])["error"]["code"] == code
    assert delivery == [b"one two three"]

    pieces: list[MutableMapping[str, Any]] = [{"type": "http.disconnect"}]
    pieces.insert(0, {"type": "http.request", "body": b'{"id": 1}', "more_body": True})

    async def hang_up() -> MutableMapping[str, Any]:
        return pieces.pop(0)

    async def note(event: MutableMapping[str, Any]) -> None:
        request.append(event)

    request.clear()
    await serve_mounted(handler, post, hang_up, note)
    assert (delivery, request) == ([b"one two three"], []), "half a body is none"


def gates_of(ponte: WebPonte) -> tuple[Any, Any]:
    """Return what counts the requests of OpenAI's API that are under way, and their bytes."""
    routes = routes_of(ponte)
    return routes._requests, routes._bytes


def set_limits(gate: Any, of_person: int, of_all: int = 0) -> None:
    gate._limit_of_person, gate._limit = of_person, of_all or gate._limit


def counts_of(gate: Any) -> object:
    """Return how much is under way through a gate, by person."""
    return gate._count
