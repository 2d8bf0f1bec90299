"""The four pipes between the bot and a sandboxed program.

Our ends are asyncio streams. Those that `asyncio.create_subprocess_exec` makes would have its
`wait` wait for whoever reads them (https://github.com/python/cpython/issues/119710).
"""

from __future__ import annotations

import asyncio
import os
from typing import NamedTuple

from core.tools.code.local.sandbox.sandbox import FRAME

_SMALL = 64 * 1024
LAST = 0.05
"""Seconds for the last words to come out of the pipes; a flood that nobody reads is cut off."""


class Ends(NamedTuple):
    """File descriptors for the program's side, closed here once it has them."""

    stdin: int
    output: int
    frames: int
    life: int


class Pipes:
    def __init__(self) -> None:
        self._transports: list[asyncio.BaseTransport] = []
        self._reading: list[_Reading] = []

    async def open(self) -> Ends:
        """Make all four; ours are `stdin`, `output`, `frames` and `life` from here on."""
        self.stdin, stdin = await self._writer()
        self.output, output = await self._reader(_SMALL)
        self.frames, frames = await self._reader(FRAME)
        self.life, life = await self._reader(_SMALL)
        return Ends(stdin, output, frames, life)

    def close(self) -> None:
        for each in self._transports:
            each.close()

    async def end(self) -> None:
        """Close them after the program's end; what it said last can still be read from ours."""
        ends = [asyncio.ensure_future(each.ended.wait()) for each in self._reading]
        _, late = await asyncio.wait(ends, timeout=LAST)
        for each in late:
            each.cancel()
        self.close()

    async def _writer(self) -> tuple[asyncio.StreamWriter, int]:
        read, write = os.pipe()
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(write, "wb", 0)
        )
        self._transports.append(transport)
        return asyncio.StreamWriter(transport, protocol, None, loop), read

    async def _reader(self, limit: int) -> tuple[asyncio.StreamReader, int]:
        read, write = os.pipe()
        reader = asyncio.StreamReader(limit)
        transport, protocol = await asyncio.get_running_loop().connect_read_pipe(
            lambda: _Reading(reader), os.fdopen(read, "rb", 0)
        )
        self._transports.append(transport)
        self._reading.append(protocol)
        return reader, write


class _Reading(asyncio.StreamReaderProtocol):
    def __init__(self, reader: asyncio.StreamReader) -> None:
        super().__init__(reader)
        self.ended = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.ended.set()
