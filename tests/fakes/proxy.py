"""A real forward proxy on loopback: CONNECT tunnels, and requests in absolute form (RFC 9112)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from urllib.parse import urlsplit

_END = b"\r\n\r\n"


class ForwardProxy:
    """`async with ForwardProxy() as proxy:` listens at `proxy.url`.

    `asked` lists the request lines. With `user` and `password`, it refuses other credentials.
    """

    def __init__(self, user: str = "", password: str = "") -> None:
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._wanted = f"basic {pair}" if user else ""
        self._credentials = f"{user}:{password}@" if user else ""
        self._tasks: set[asyncio.Task[None]] = set()
        self.asked: list[str] = []
        self.url = ""

    async def __aenter__(self) -> ForwardProxy:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://{self._credentials}127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, which serves one request or one tunnel."""
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            await _close(writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(_END)).decode("latin-1")
        line, _, fields = head.removesuffix("\r\n\r\n").partition("\r\n")
        self.asked.append(line)
        if self._wanted not in fields.replace("Basic", "basic"):
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        else:
            await self._forward(line, fields, reader, writer)

    async def _forward(
        self, line: str, fields: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        method, target, version = line.split(" ")
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        there, onward = await asyncio.open_connection(parts.hostname, parts.port or 80)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            query = f"?{parts.query}" if parts.query else ""
            onward.write(_head(f"{method} {parts.path or '/'}{query} {version}", fields))
        copies = [asyncio.create_task(_copy(*ends)) for ends in ((reader, onward), (there, writer))]
        try:
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            onward.close()
            for copy in copies:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)


def _head(line: str, fields: str) -> bytes:
    """Without what is the proxy's own; the connection ends with its one answer."""
    records = [
        field
        for field in fields.split("\r\n")
        if not field.lower().startswith(("proxy-", "connection:"))
    ]
    return "\r\n".join([line, *records, "Connection: close"]).encode("latin-1") + _END


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
