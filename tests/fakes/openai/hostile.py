"""Answers of a hostile model server: too large, too slow, endless, or redirected.

Each is a handler that answers any request; `FakeOpenAI.hostile` takes one.
"""

from __future__ import annotations

import asyncio
import functools
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web

Hostile = Callable[[web.Request], Awaitable[web.StreamResponse]]
KB = 1024
_CREATED = {"type": "response.created", "response": {"id": "resp_hostile", "status": "in_progress"}}


def redirect(status: int, to: str) -> Hostile:
    """Redirect callers to another host, which would get the body and the headers."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": to})

    return answer


def error_body(size: int) -> Hostile:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=400, body=b"x" * size, content_type="text/plain")

    return answer


def compressed_stream(size: int) -> Hostile:
    """Answer with a compressed stream that the client did not ask for."""

    async def answer(_: web.Request) -> web.StreamResponse:
        headers = {"Content-Encoding": "gzip", "Content-Type": "text/event-stream"}
        return web.Response(body=_spaces(size), headers=headers)

    return answer


@functools.cache
def _spaces(size: int) -> bytes:
    """An event of so many spaces, compressed; the largest one takes most of a second to make."""
    return gzip.compress(b"data: " + b" " * size + b"\n\n", compresslevel=1)


def headers(size: int) -> Hostile:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(headers={"X-Long": "x" * size})

    return answer


def streams(pieces: Callable[[bool], AsyncIterator[bytes]]) -> Hostile:
    """Event streams of `pieces`, which are told whether the request is a chat completion."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            async for piece in pieces(request.path.endswith("/chat/completions")):
                await response.write(piece)
        except ConnectionError:
            pass  # who asked has had enough
        return response

    return answer


def event(data: Any) -> bytes:
    name = data.get("type", "")
    return (f"event: {name}\n" if name else "").encode() + f"data: {json.dumps(data)}\n\n".encode()


def delta(chat: bool, words: str) -> bytes:
    if chat:
        return event({"id": "c1", "choices": [{"index": 0, "delta": {"content": words}}]})
    return event({"type": "response.output_text.delta", "delta": words})


async def endless_line(chat: bool) -> AsyncIterator[bytes]:
    yield b"data: "
    while True:
        yield b"x" * 64 * KB


async def endless_event(chat: bool) -> AsyncIterator[bytes]:
    while True:
        yield (b"data: " + b"x" * 200 + b"\n") * 256


async def endless_short_lines(chat: bool) -> AsyncIterator[bytes]:
    """An event that takes most memory for its length, and most time."""
    while True:
        yield b"data: x\n" * 4 * KB


async def many_parts(chat: bool) -> AsyncIterator[bytes]:
    yield b'data: {"type": "x", "all": [[]' + b",[]" * KB * KB + b"]}\n\n"


async def deep_event(chat: bool) -> AsyncIterator[bytes]:
    """Nested more deeply than JSON can be read."""
    yield b'data: {"type": "x", "all": ' + b"[" * 40_000 + b"]" * 40_000 + b"}\n\n"


async def long_ids(chat: bool) -> AsyncIterator[bytes]:
    """An answer whose id no index takes."""
    id = "".join(chr(0x4E00 + n * 37 % 20_000) for n in range(10_000))
    if chat:
        yield event({"id": id, "choices": [{"index": 0, "delta": {"content": "Hello."}}]})
        return
    yield event({"type": "response.created", "response": {"id": id, "status": "in_progress"}})


async def endless_words(chat: bool) -> AsyncIterator[bytes]:
    if not chat:
        yield event(_CREATED)
    while True:
        yield delta(chat, "word " * 2 * KB)


async def endless_items(chat: bool) -> AsyncIterator[bytes]:
    """Calls of tools, each of them with much to say."""
    if not chat:
        yield event(_CREATED)
    n = 0
    while True:
        n += 1
        call: Any = {"name": "tables", "arguments": "x" * 2 * KB}
        if chat:
            piece = {"index": n, "id": f"call_{n}", "function": call}
            yield event({"id": "c1", "choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]})
        else:
            item = {"type": "function_call", "id": f"fc_{n}", "call_id": f"call_{n}", **call}
            yield event({"type": "response.output_item.done", "item": item})


async def endless_nothing(chat: bool) -> AsyncIterator[bytes]:
    """Something comes all the time, and nothing is said."""
    while True:
        yield delta(chat, "") if chat else event({**_CREATED, "type": "response.in_progress"})
        await asyncio.sleep(0.01)
