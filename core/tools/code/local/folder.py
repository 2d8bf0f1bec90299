"""What lies in a kernel's work folder already, so that files go in once and what it made never."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence

from core import text
from core.errors import NotFound
from core.tools.code.local import frame
from core.tools.code.port import Given

LARGEST, LARGEST_TOTAL = 20 << 20, 96 << 20
"""Bytes of one file that goes in, and of all: the work folder takes 128 MiB with what is made."""


class Folder:
    def __init__(self) -> None:
        self._put: set[tuple[str, str]] = set()
        self._contents: set[tuple[str, bytes]] = set()
        self._total = 0

    def holds(self, name: str, data: bytes) -> None:
        """The code made that file itself."""
        self._contents.add((text.file_name(name), hashlib.sha256(data).digest()))

    async def lacking(self, given: Sequence[Given], left_out: list[str]) -> AsyncIterator[bytes]:
        """The requests that put there what is not; `left_out` gets a sentence for each refused."""
        for each in given:
            if (each.id, each.name) in self._put:
                continue
            self._put.add((each.id, each.name))
            if each.size > LARGEST or self._total + each.size > LARGEST_TOTAL:
                left_out.append(f"{each.name!r} is too large to be put into the work folder")
                continue
            try:
                data = await each.read()
            except NotFound:
                left_out.append(f"{each.name!r} is gone and was not put into the work folder")
                continue
            if (each.name, hashlib.sha256(data).digest()) not in self._contents:
                self._total += len(data)
                yield frame.file(each.name, data)
