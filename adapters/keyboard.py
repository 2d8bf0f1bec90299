"""Lines from a terminal, a pipe or a file, without blocking the event loop.

A thread in `readline` could not be ended: at Ctrl-C the process would wait for one more line. So a
descriptor that can be polled is read when it has something; a file never makes anybody wait.
"""

from __future__ import annotations

import asyncio
import codecs
import os
from typing import TextIO

_READ = 65_536


class Keyboard:
    def __init__(self, stdin: TextIO) -> None:
        self._stdin = stdin
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._ended = False

    async def line(self) -> str | None:
        """The next line without its end; None when there are no more."""
        while "\n" not in self._text and not self._ended:
            data = await self._read()
            self._ended = not data
            self._text += self._decoder.decode(data, final=not data)
        line, newline, self._text = self._text.partition("\n")
        return line.removesuffix("\r") if line or newline else None

    async def _read(self) -> bytes:
        try:
            descriptor = self._stdin.fileno()
        except (OSError, ValueError):  # in memory
            return (await asyncio.to_thread(self._stdin.readline)).encode()
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        try:
            loop.add_reader(descriptor, ready.set)
        except PermissionError:  # epoll(7): a file is always ready and cannot be polled
            return await asyncio.to_thread(os.read, descriptor, _READ)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(descriptor)
        return os.read(descriptor, _READ)
