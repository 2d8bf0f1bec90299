"""Converts PNG pictures to sixel graphics, for terminals without a newer protocol.

- PNG: https://www.w3.org/TR/png-3/ (8 bits a channel, not interlaced, as plots are)
- Sixel: https://vt100.net/docs/vt3xx-gp/chapter14.html
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence

MAX_SIXEL_PIXELS = 2_000_000
"""Limit of width times height. Python unpacks about a million pixels in some seconds."""
COLOUR_LEVELS = 6
"""Levels of red, green and blue. Six make 216 colours; terminals have 256 registers."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Bytes of a pixel by PNG's colour type: grey, RGB, palette, grey with alpha, RGBA."""
_GREY, _RGB, _PALETTE, _GREY_ALPHA = 0, 2, 3, 4
_REPEATED = re.compile(r"(.)\1{3,}")
_EMPTY = ord("?")
"""The character for six pixels of another colour."""


def encode_sixel(picture: bytes, max_width: int) -> str:
    """Return the escape sequences that draw a PNG picture at most `max_width` pixels wide.

    Return "" if the picture is too large, damaged, interlaced, or has not 8 bits a channel.
    Transparent pixels are drawn over white.
    """
    try:
        width, rows = _read_pixels(picture)
    except (ValueError, LookupError, struct.error, zlib.error):
        return ""
    shown = min(width, max_width)
    height = max(1, len(rows) * shown // width)
    columns = [x * width // shown for x in range(shown)]
    scaled = [
        bytes(row[x] for x in columns) if shown < width else row
        for row in (rows[y * len(rows) // height] for y in range(height))
    ]
    used = sorted(set().union(*scaled))
    registers = "".join(f"#{colour};2;{_percentages(colour)}" for colour in used)
    bands = "".join(_encode_band(scaled[top : top + 6]) for top in range(0, height, 6))
    return f'\x1bP0;1;0q"1;1;{shown};{height}{registers}{bands}\x1b\\\n'


def _percentages(colour: int) -> str:
    """Return red, green and blue of one of the colours, in percent."""
    levels = (colour // COLOUR_LEVELS**2, colour // COLOUR_LEVELS % COLOUR_LEVELS,
              colour % COLOUR_LEVELS)  # fmt: skip
    return ";".join(str(level * 100 // (COLOUR_LEVELS - 1)) for level in levels)


def _encode_band(rows: Sequence[bytes]) -> str:
    """Return six rows of pixels, one line for each colour in them."""
    lines: dict[int, bytearray] = {}
    for bit, row in enumerate(rows):
        for x, colour in enumerate(row):
            if colour not in lines:
                lines[colour] = bytearray([_EMPTY]) * len(row)
            lines[colour][x] += 1 << bit
    drawn = (
        f"#{colour}" + _REPEATED.sub(lambda run: f"!{len(run[0])}{run[1]}", line.decode())
        for colour, line in lines.items()
    )
    return "$".join(drawn) + "-"


def _read_pixels(picture: bytes) -> tuple[int, list[bytes]]:
    """Return the width of a PNG picture and its rows, one byte a pixel: the number of the nearest
    colour. Raise ValueError, LookupError, struct.error or zlib.error."""
    chunks = list(_read_chunks(picture))
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1][:13])
    if depth != 8 or interlaced or not 0 < width * height <= MAX_SIXEL_PIXELS:
        raise ValueError("not a picture that is drawn")
    size = _CHANNELS[kind]
    packed = b"".join(data for name, data in chunks if name == b"IDAT")
    data = zlib.decompressobj().decompress(packed, (width * size + 1) * height)
    if len(data) < (width * size + 1) * height:
        raise ValueError("cut off")
    named = dict(chunks)
    palette, alpha = named.get(b"PLTE", b""), named.get(b"tRNS", b"")
    known: dict[bytes, int] = {}

    def colour(pixel: bytes) -> int:
        if kind == _PALETTE:
            at = pixel[0]
            opaque = alpha[at] if at < len(alpha) else 255
            red, green, blue = palette[3 * at : 3 * at + 3]
        elif kind in (_GREY, _GREY_ALPHA):
            red = green = blue = pixel[0]
            opaque = pixel[1] if kind == _GREY_ALPHA else 255
        else:
            red, green, blue = pixel[:3]
            opaque = 255 if kind == _RGB else pixel[3]
        number = 0
        for value in (red, green, blue):
            over_white = (value * opaque + 255 * (255 - opaque)) // 255
            number = number * COLOUR_LEVELS + (over_white * (COLOUR_LEVELS - 1) + 127) // 255
        return number

    rows = []
    for line in _unfilter(data, width * size, size):
        row = bytearray(width)
        for x in range(width):
            pixel = line[x * size : x * size + size]
            if pixel not in known:
                known[pixel] = colour(pixel)
            row[x] = known[pixel]
        rows.append(bytes(row))
    return width, rows


def _read_chunks(picture: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and data of each chunk after PNG's signature."""
    at = 8
    while at + 8 <= len(picture):
        size, name = struct.unpack(">I4s", picture[at : at + 8])
        yield name, picture[at + 8 : at + 8 + size]
        at += size + 12


def _unfilter(data: bytes, length: int, size: int) -> Iterator[bytes]:
    """Yield the bytes of each row. `length` are a row's bytes, `size` those of a pixel.

    Each row begins with the number of its filter: 0 none, 1 the pixel to the left, 2 the one above,
    3 the mean of both, 4 Paeth. Each byte is stored as the difference to that prediction.
    """
    above = bytes(length)
    for start in range(0, len(data), length + 1):
        kind, line = data[start], bytearray(data[start + 1 : start + 1 + length])
        if kind > 4:
            raise ValueError("unknown filter")
        for x in range(length) if kind else ():
            left = line[x - size] if x >= size else 0
            if kind == 1:
                guess = left
            elif kind == 2:
                guess = above[x]
            elif kind == 3:
                guess = (left + above[x]) // 2
            else:
                corner = above[x - size] if x >= size else 0
                near = left + above[x] - corner
                distances = (abs(near - left), abs(near - above[x]), abs(near - corner))
                guess = (left, above[x], corner)[distances.index(min(distances))]
            line[x] = (line[x] + guess) & 255
        above = bytes(line)
        yield above
