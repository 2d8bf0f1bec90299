"""Shows pictures in terminals that can: by kitty's protocol, by iTerm2's images, or as sixels.

The terminal is asked once, before the first picture, and must say which of them it knows. Keys that
are typed meanwhile are kept for the next prompt.

- kitty: https://sw.kovidgoyal.net/kitty/graphics-protocol/
- iTerm2: https://iterm2.com/documentation-images.html
- DA1 and XTVERSION: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html
"""

from __future__ import annotations

import base64
import math
import os
import re
import select
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TextIO

PictureProtocol = Literal["kitty", "iterm2", "sixel", ""]
QUERY_TIMEOUT_SECONDS = 2.0
"""How long a terminal may take to answer. Nearly all answer DA1, which ends the wait earlier. A
later answer would stand in the prompt."""
MAX_PICTURE_BYTES = 5_000_000
"""Size limit of a picture that is drawn. Larger ones are only saved."""
MAX_PICTURE_PIXELS = 20_000_000
"""Limit of width times height, because the terminal has to unpack the picture."""
DEFAULT_CELL_PIXELS = 8
"""Width of a character in a terminal that does not tell its size in pixels."""
ITERM2_IMAGE_TERMINALS = ("iTerm2", "WezTerm", "mintty")
"""Terminals that show iTerm2's images, by the beginning of their answer to XTVERSION."""
_ASK_NAME, _ASK_ATTRIBUTES = b"\x1b[>q", b"\x1b[c"
_ASK_KITTY = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
"""Asks whether a picture of one pixel could be shown, without showing it."""
_ATTRIBUTES = re.compile(rb"\x1b\[\?[0-9]*([0-9;]*)c")
"""The answer to DA1: the terminal's class, then its features by number."""
SIXEL_FEATURE = b"4"
_NAME = re.compile(rb"\x1bP>\|([^\x1b]*)\x1b\\")
_KITTY_OK = re.compile(rb"\x1b_Gi=31;OK\x1b\\")
_KITTY_REPLY = re.compile(rb"\x1b_G[^\x1b]*\x1b\\")
_PNG = re.compile(rb"\x89PNG\r\n\x1a\n....IHDR(.{8})", re.DOTALL)
_CHUNK_CHARACTERS = 4096
"""Largest piece of a picture in kitty's protocol."""


class PictureTerminal:
    """Draws pictures on the terminal of `stdin` and `stdout`, if that is able to."""

    def __init__(self, stdin: TextIO, stdout: TextIO) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._protocol: PictureProtocol | None = None

    def encode(self, picture: bytes) -> str:
        """Return what draws a PNG picture on this terminal; "" if it cannot be drawn.

        The first call may wait for the terminal. Call it in a thread, while nothing else reads
        from the terminal.
        """
        width = png_width(picture)
        if not width:
            return ""
        if self._protocol is None:
            self._protocol, typed = query_protocol(self._stdin.fileno(), self._stdout.fileno())
            if typed:
                _keep_keys(typed)
        if not self._protocol:
            return ""
        columns, cell = self._read_size()
        if self._protocol == "sixel":
            from adapters.terminal.sixel import encode_sixel

            return encode_sixel(picture, max(1, int((columns - 1) * cell)))
        # As many columns as the picture is wide, and at most all.
        wanted = max(1, min(columns - 1, math.ceil(width / cell)))
        return encode_picture(picture, self._protocol, wanted)

    def _read_size(self) -> tuple[int, float]:
        """Return the terminal's columns, and the width of one in pixels."""
        import fcntl

        size = fcntl.ioctl(self._stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
        _, columns, pixels, _ = struct.unpack("HHHH", size)
        columns = columns or 80
        return columns, pixels / columns if pixels else DEFAULT_CELL_PIXELS


def png_width(picture: bytes) -> int:
    """Return the width of a PNG picture in pixels; 0 if it is another file or too large to draw."""
    header = _PNG.match(picture)
    if header is None or len(picture) > MAX_PICTURE_BYTES:
        return 0
    width, height = struct.unpack(">II", header[1])
    return width if width * height <= MAX_PICTURE_PIXELS else 0


def encode_picture(picture: bytes, protocol: PictureProtocol, columns: int) -> str:
    """Return the escape sequences of kitty or iTerm2 that draw a PNG picture, `columns` wide."""
    data = base64.b64encode(picture).decode()
    if protocol == "iterm2":
        options = f"inline=1;size={len(picture)};width={columns};preserveAspectRatio=1"
        return f"\x1b]1337;File={options}:{data}\x07\n"
    out = []
    for start in range(0, len(data), _CHUNK_CHARACTERS):
        more = int(start + _CHUNK_CHARACTERS < len(data))
        options = f"m={more}" if start else f"a=T,f=100,q=2,c={columns},m={more}"
        out.append(f"\x1b_G{options};{data[start : start + _CHUNK_CHARACTERS]}\x1b\\")
    return "".join(out) + "\n"


def query_protocol(stdin: int, stdout: int) -> tuple[PictureProtocol, bytes]:
    """Ask the terminal how it shows pictures. Return its answer, and the keys typed meanwhile.

    kitty's question is only put to a terminal that has told its name, because others print it or
    take it for a title.
    """
    with _read_each_key(stdin):
        read = _ask(stdin, stdout, _ASK_NAME + _ASK_ATTRIBUTES)
        found = _NAME.search(read)
        name = found[1].decode(errors="replace") if found else ""
        rest = _ATTRIBUTES.sub(b"", _NAME.sub(b"", read))
        if name.startswith(ITERM2_IMAGE_TERMINALS):
            return "iterm2", rest
        features = _ATTRIBUTES.search(read)
        has_sixel = features is not None and SIXEL_FEATURE in features[1].split(b";")
        if name and not name.startswith("tmux"):  # tmux takes it for the title of the pane
            read = _ask(stdin, stdout, _ASK_KITTY + _ASK_ATTRIBUTES)
            rest += _ATTRIBUTES.sub(b"", _KITTY_REPLY.sub(b"", read))
            if _KITTY_OK.search(read):
                return "kitty", rest
        return ("sixel" if has_sixel else ""), rest


def _ask(stdin: int, stdout: int, question: bytes) -> bytes:
    """Write a question that ends with DA1. Return all that is read up to the answer to DA1."""
    os.write(stdout, question)
    read, end = b"", time.monotonic() + QUERY_TIMEOUT_SECONDS
    while not _ATTRIBUTES.search(read) and (left := end - time.monotonic()) > 0:
        if select.select([stdin], [], [], left)[0]:
            data = os.read(stdin, 4096)
            if not data:
                break
            read += data
    return read


@contextmanager
def _read_each_key(stdin: int) -> Iterator[None]:
    """Read each key as it comes while the block runs, and do not show it. Typed keys are kept:
    TCSANOW discards nothing."""
    before = termios.tcgetattr(stdin)
    changed = [*before]
    changed[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(stdin, termios.TCSANOW, changed)
    try:
        yield
    finally:
        termios.tcsetattr(stdin, termios.TCSANOW, before)


def _keep_keys(typed: bytes) -> None:
    """Give the next prompt the keys that were read here."""
    from prompt_toolkit.input import create_input
    from prompt_toolkit.input.typeahead import store_typeahead
    from prompt_toolkit.input.vt100_parser import Vt100Parser
    from prompt_toolkit.key_binding.key_processor import KeyPress

    keys: list[KeyPress] = []
    parser = Vt100Parser(keys.append)
    parser.feed_and_flush(typed.decode(errors="replace"))
    store_typeahead(create_input(), keys)
