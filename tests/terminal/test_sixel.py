"""A PNG picture as sixels has the same pixels, in the nearest of 216 colours."""

from __future__ import annotations

import random
import re
import struct
import zlib

import pytest

from adapters.terminal.sixel import encode_sixel

Pixel = tuple[int, int, int]
PALETTE = [(0, 0, 0), (255, 0, 51), (51, 102, 153)]


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data), name) + data + bytes(4)


def png(rows: list[list[bytes]], kind: int, depth: int = 8, interlaced: int = 0) -> bytes:
    """Return a PNG picture. Each row has another filter than the one before."""
    size, above, data = len(rows[0][0]), bytes(len(rows[0]) * len(rows[0][0])), b""
    for number, pixels in enumerate(rows):
        line, kept = b"".join(pixels), number % 5
        before = bytes(size) + line
        corner = bytes(size) + above
        guesses = [
            (0, left, up, (left + up) // 2, paeth(left, up, diagonal))[kept]
            for left, up, diagonal in zip(before, above, corner, strict=False)
        ]
        data += bytes([kept])
        data += bytes((value - guess) & 255 for value, guess in zip(line, guesses, strict=True))
        above = line
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), depth, kind, 0, 0, interlaced)
    packed = zlib.compress(data)
    return b"".join([
        b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header),
        chunk(b"PLTE", bytes(value for colour in PALETTE for value in colour)),
        chunk(b"IDAT", packed[:7]), chunk(b"IDAT", packed[7:]), chunk(b"IEND", b""),
    ])  # fmt: skip


def paeth(left: int, up: int, corner: int) -> int:
    near = left + up - corner
    return min((left, up, corner), key=lambda value: abs(near - value))


def read_sixel(text: str) -> list[list[Pixel]]:
    """Return the pixels that a terminal shows, in percent of each colour."""
    found = re.fullmatch(r"\x1bP0;1;0q\"1;1;(\d+);(\d+)(.*)\x1b\\\n", text, re.DOTALL)
    assert found, text[:40]
    width, height = int(found[1]), int(found[2])
    shown: list[list[Pixel]] = [[(-1, -1, -1)] * width for _ in range(height)]
    registers: dict[str, Pixel] = {}
    x = top = 0
    colour = (-1, -1, -1)
    for piece in re.finditer(
        r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)(.)|([$-])|([?-~])", found[3]
    ):
        if piece[1]:
            registers[piece[1]] = (int(piece[2]), int(piece[3]), int(piece[4]))
        elif piece[5]:
            colour = registers[piece[5]]
        elif piece[8]:
            x, top = 0, top + 6 * (piece[8] == "-")
        else:
            end = x + int(piece[6] or 1)
            for bit in range(6):
                if ord(piece[7] or piece[9]) - 63 & 1 << bit:
                    shown[top + bit][x:end] = [colour] * (end - x)
            x = end
    return shown


def percent(*values: int) -> Pixel:
    red, green, blue = (round(value / 51) * 20 for value in values)
    return red, green, blue


@pytest.mark.parametrize("size", [(1, 1), (13, 11)])
def test_each_kind_of_picture_keeps_its_pixels(size: tuple[int, int]) -> None:
    chance = random.Random(7)
    width, height = size
    for kind, length in {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.items():
        most = len(PALETTE) - 1 if kind == 3 else 255
        rows = [
            [bytes(chance.choice((0, most, chance.randint(0, most))) for _ in range(length))
             for _ in range(width)] for _ in range(height)
        ]  # fmt: skip
        expected = []
        for pixel in (pixel for row in rows for pixel in row):
            colour = (
                PALETTE[pixel[0]] if kind == 3 else (pixel[0],) * 3 if kind in (0, 4) else pixel[:3]
            )
            opaque = pixel[-1] if kind in (4, 6) else 255
            expected.append(
                percent(*((value * opaque + 255 * (255 - opaque)) // 255 for value in colour))
            )
        shown = read_sixel(encode_sixel(png(rows, kind), 1000))
        assert [pixel for row in shown for pixel in row] == expected, kind


def test_a_wide_picture_is_made_as_narrow_as_the_window() -> None:
    rows = [[bytes(PALETTE[x // 20])] * 1 for x in range(60)]
    wide = [[pixel for [pixel] in rows] for _ in range(30)]
    shown = read_sixel(encode_sixel(png(wide, 2), 20))
    assert (len(shown), len(shown[0])) == (10, 20)
    assert {row[0] for row in shown} == {percent(*PALETTE[0])}
    assert {row[19] for row in shown} == {percent(*PALETTE[2])}


def test_what_is_no_such_picture_is_not_drawn() -> None:
    rows = [[b"\x10\x20\x30"] * 3] * 3
    whole = png(rows, 2)
    unknown = whole.replace(struct.pack(">IIBB", 3, 3, 8, 2), struct.pack(">IIBB", 3, 3, 8, 5))
    huge = whole.replace(struct.pack(">II", 3, 3), struct.pack(">II", 30_000, 30_000))
    filtered = chunk(b"IDAT", zlib.compress((b"\x05" + bytes(9)) * 3))
    unknown_filter = whole[: whole.index(b"IDAT") - 4] + filtered + chunk(b"IEND", b"")
    for picture in (b"", b"\x89PNG\r\n\x1a\n", whole[:60], png(rows, 2, depth=16),
                    png(rows, 2, interlaced=1), unknown, huge, unknown_filter,
                    png([[b"\x09"] * 3] * 3, 3)):  # fmt: skip
        assert encode_sixel(picture, 100) == "", picture[:40]
