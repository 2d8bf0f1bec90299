"""What is taken of one hosted run: files and pictures, within the caps, each once."""

from __future__ import annotations

import base64
import binascii
import re

from core.tools.code.content import type_of
from core.tools.code.port import MADE_BYTES, MADE_COUNT, MADE_TOTAL, Made

_PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,([A-Za-z0-9+/=\s]+)")


class Taken:
    """The same picture comes as a file and as an output: the first one stays."""

    def __init__(self) -> None:
        self.made: list[Made] = []
        self.left_out: list[str] = []
        self._total = 0

    def room(self, name: str) -> bool:
        if len(self.made) < MADE_COUNT:
            return True
        self._leave(name, f"one run gives {MADE_COUNT} files at most")
        return False

    def take(self, name: str, data: bytes | None) -> None:
        """None: it is larger than `MADE_BYTES`."""
        if data is None or len(data) > MADE_BYTES:
            self._leave(name, f"a file may have {MADE_BYTES >> 20} MiB")
        elif data in [made.data for made in self.made]:
            return
        elif self._total + len(data) > MADE_TOTAL:
            self._leave(name, f"the files of one run may have {MADE_TOTAL >> 20} MiB")
        else:
            self._total += len(data)
            self.made.append(Made(name, type_of(name, data), data))

    def lost(self, name: str) -> None:
        self._leave(name, "OpenAI did not hand it out")

    def picture(self, number: int, url: str) -> None:
        """Only one that the answer itself holds (pydantic-ai issue 2391): no address is opened."""
        found = _PICTURE.fullmatch(url)
        name = f"figure-{number}.{found[1] if found else 'png'}"
        if found is None:
            if not any(made.type.startswith("image/") for made in self.made):
                self._leave(name, "it is only an address")
        elif self.room(name):
            try:
                self.take(name, base64.b64decode(found[2]))
            except binascii.Error:
                self._leave(name, "it cannot be read")

    def _leave(self, name: str, why: str) -> None:
        self.left_out.append(f"{name[:100]!r} was not taken: {why}")
