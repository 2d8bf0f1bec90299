"""Mounts another adapter's route on our server, without that adapter knowing a web framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Handler = Callable[[Mapping[str, str], bytes], Awaitable[tuple[int, Mapping[str, str], bytes]]]
"""Header names in lower case and the body, to status, headers and body."""
CAP = 1_000_000
"""Bytes of one request; Slack's are some kilobytes."""


class Mounted:
    """An ASGI application for one POST route that checks its callers itself."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["method"] != "POST":
            return await _answer(send, 405, {"allow": "POST"}, b"")
        body = await _body(receive)
        if body is None:
            return await _answer(send, 413, {"connection": "close"}, b"")
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        return await _answer(send, *await self._handler(headers, body))


async def _body(receive: Callable[[], Awaitable[Message]]) -> bytes | None:
    body = bytearray()
    more = True
    while more:
        piece = await receive()
        body += piece.get("body", b"")
        more = piece.get("more_body", False) and piece["type"] == "http.request"
        if len(body) > CAP:
            return None
    return bytes(body)


async def _answer(
    send: Callable[[Message], Awaitable[None]], status: int, headers: Mapping[str, str], body: bytes
) -> None:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    pairs = list(dict(pairs).items())
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
