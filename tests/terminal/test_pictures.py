"""Pictures are drawn by a terminal that says it can, and by no other."""

from __future__ import annotations

import base64
import fcntl
import io
import os
import pty
import re
import struct
import termios
import threading
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from adapters.terminal import pictures
from tests.terminal.test_sixel import png as sixel_png

ATTRIBUTES = b"\x1b[?62;22c"
WITH_SIXEL = b"\x1b[?62;4;22c"
KITTY_OK = b"\x1b_Gi=31;OK\x1b\\"


def png(width: int, height: int, size: int = 100) -> bytes:
    """Return the beginning of a PNG picture, filled up to `size` bytes."""
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height)
    return header + bytes(size - len(header))


@contextmanager
def terminal(
    name: bytes, kitty: bytes = b"", typed: bytes = b"", attributes: bytes = ATTRIBUTES
) -> Iterator[tuple[int, list[bytes]]]:
    """A terminal of that name. Whenever it is asked, somebody has just typed. Yields its
    descriptor, and what it was asked. Without a name it answers nothing."""
    ours, theirs = pty.openpty()
    tty.setcbreak(theirs)
    asked: list[bytes] = []
    replies: Mapping[bytes, bytes] = {
        b"\x1b[>q": b"\x1bP>|" + name + b"\x1b\\" if name else b"",
        pictures._ASK_KITTY: kitty,
        b"\x1b[c": attributes if name else b"",
    }

    def answer() -> None:
        while True:
            try:
                question = os.read(ours, 4096)
            except OSError:
                return
            asked.append(question)
            os.write(ours, typed)
            for part, reply in replies.items():
                if part in question:
                    os.write(ours, reply)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield theirs, asked
    finally:
        os.close(theirs)
        thread.join()
        os.close(ours)


def test_a_terminal_is_believed_by_what_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM_PROGRAM", "iTerm.app")
    for name, kitty, attributes, protocol in [
        (b"kitty(0.39.1)", KITTY_OK, ATTRIBUTES, "kitty"),
        (b"ghostty 1.1.0", KITTY_OK, WITH_SIXEL, "kitty"),
        (b"foot(1.21.0)", b"", WITH_SIXEL, "sixel"),
        (b"VT132", b"", b"\x1b[?4;6c", ""),  # the first number is the terminal's class
        (b"Konsole 22.04", b"\x1b_Gi=31;ENOTSUPPORTED:no\x1b\\", ATTRIBUTES, ""),
        (b"iTerm2 3.5.10", b"", WITH_SIXEL, "iterm2"),
        (b"WezTerm 20240203", KITTY_OK, WITH_SIXEL, "iterm2"),
        (b"tmux 3.5a", KITTY_OK, ATTRIBUTES, ""),
        (b"tmux 3.5a", KITTY_OK, WITH_SIXEL, "sixel"),
    ]:
        with terminal(name, kitty, b"ab", attributes) as (descriptor, asked):
            found, keys = pictures.query_protocol(descriptor, descriptor)
            assert found == protocol, name
            assert keys == b"ab" * len(asked), f"{name!r}: no key is lost"
            if name.startswith(b"tmux"):
                assert pictures._ASK_KITTY not in b"".join(asked), (
                    "it would become the pane's title"
                )


def test_a_picture_is_drawn_with_sixels_no_wider_than_the_terminal() -> None:
    picture = sixel_png([[bytes(3)] * 100] * 2, 2)
    with terminal(b"foot(1.21.0)", attributes=WITH_SIXEL) as (descriptor, _):
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 10, 80, 480))
        with os.fdopen(descriptor, "r+b", buffering=0, closefd=False) as device:
            stream = io.TextIOWrapper(device)
            drawn = pictures.PictureTerminal(stream, stream).encode(picture)
            stream.detach()
    assert drawn.startswith('\x1bP0;1;0q"1;1;72;')


def test_a_silent_terminal_gets_no_further_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "QUERY_TIMEOUT_SECONDS", 0.01)
    with terminal(b"") as (descriptor, asked):
        assert pictures.query_protocol(descriptor, descriptor) == ("", b"")
        assert b"".join(asked) in (b"", b"\x1b[>q\x1b[c")


def test_a_picture_is_sent_whole() -> None:
    picture = png(640, 480, 20_000)
    pieces = re.findall(
        r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", pictures.encode_picture(picture, "kitty", 40)
    )
    assert base64.b64decode("".join(data for _, data in pieces)) == picture
    assert pieces[0][0] == "a=T,f=100,q=2,c=40,m=1"
    assert [options for options, _ in pieces[1:]] == ["m=1"] * (len(pieces) - 2) + ["m=0"]
    assert max(len(data) for _, data in pieces) <= 4096
    drawn = pictures.encode_picture(picture, "iterm2", 40)
    assert drawn.startswith("\x1b]1337;File=inline=1;size=20000;width=40;preserveAspectRatio=1:")
    assert base64.b64decode(drawn.partition(":")[2].removesuffix("\x07\n")) == picture


def test_only_png_pictures_of_a_sane_size_are_drawn() -> None:
    assert pictures.png_width(png(640, 480)) == 640
    for other in (b"", b"\xff\xd8\xff\xe0", b"\x1b]0;title\x07", png(100_000, 100_000),
                  png(1, 1, pictures.MAX_PICTURE_BYTES + 1), png(640, 480)[:20]):  # fmt: skip
        assert pictures.png_width(other) == 0
