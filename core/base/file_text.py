"""The text of files in whatever encoding: one decoding for all who read a file. It imports nothing
of Ponte, because the process that reads spreadsheets loads it, too."""

from __future__ import annotations

import codecs
import contextlib
import re
from dataclasses import dataclass

UNSURE_ENCODING = "cp1252"
MAX_NAMED_LINES = 5
_STRAY = re.compile("[\udc80-\udcff]")
_STRAY_LETTERS = {
    0xDC00 + byte: bytes([byte]).decode(UNSURE_ENCODING, "replace") for byte in range(0x80, 0x100)
}
"""The letters of Windows-1252 for bytes that are no UTF-8, as `surrogateescape` decodes them."""


@dataclass(frozen=True, slots=True)
class DecodedText:
    """`stray_count` characters are no text of the encoding: a program joined two encodings in one
    file. The first of them are in the lines `stray_lines`."""

    text: str
    encoding: str
    stray_count: int = 0
    stray_lines: tuple[int, ...] = ()


def find_encoding(data: bytes) -> str:
    """Return the encoding of text: UTF-8, UTF-16 or UTF-32, otherwise Windows-1252, which
    spreadsheets in western Europe and Brazil use, and from which no other one can be told apart.

    Return "" if the data is not text. `data` may end in the middle of a character.
    """
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    # Japanese mails: all bytes are ASCII, and this escape sequence begins Japanese letters.
    if re.search(rb"\x1b\$[@B]", data):
        return "iso2022_jp"
    # UTF-16 without a mark has a zero byte in each Latin character, as the second byte or the
    # first one. A zero byte anywhere else means that the data is not text.
    if b"\0" in data:
        is_often = data.count(b"\0") * 5 > len(data)
        return {0: "utf-16-be", 1: "utf-16-le"}.get(data.find(b"\0"), "") if is_often else ""
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(data)
    others = len(text) - len(text.encode("ascii", "ignore"))
    # U+FFFD replaces bytes that are no UTF-8. A log can have a few of them. In another encoding,
    # most bytes beyond ASCII are broken: two thirds of Chinese in GBK, and all of most others.
    return "utf-8-sig" if 2 * text.count("\ufffd") <= others else UNSURE_ENCODING


def is_text_encoding(name: str) -> bool:
    """Python has other encodings, such as punycode, that take minutes for a long text."""
    for sample in (b"x-b", "x-b".encode("utf-16"), "x-b".encode("utf-32")):
        with contextlib.suppress(LookupError, UnicodeError, ValueError):
            if sample.decode(name).removeprefix("\ufeff") == "x-b":
                return True
    return False


def decode_text(data: bytes, encoding: str = "", *, is_whole: bool = True) -> DecodedText:
    """`encoding` "": that which the data shows. Stray bytes in UTF-8 are read as Windows-1252. With
    `is_whole` False, `data` may end in the middle of a character, which is left out. Raise
    LookupError for an unknown encoding."""
    name = encoding or find_encoding(data) or UNSURE_ENCODING
    if codecs.lookup(name).name == "utf-8":
        name = "utf-8-sig"
    is_utf8 = name == "utf-8-sig"
    decoder = codecs.getincrementaldecoder(name)("surrogateescape" if is_utf8 else "replace")
    text = decoder.decode(data, is_whole)
    strays = _STRAY if is_utf8 else re.compile("\ufffd")
    found = [match.start() for match in strays.finditer(text)]
    lines = [text.count("\n", 0, at) + 1 for at in found[:MAX_NAMED_LINES]]
    text = text.translate(_STRAY_LETTERS) if found and is_utf8 else text
    return DecodedText(text.removeprefix("\ufeff"), name, len(found), tuple(dict.fromkeys(lines)))
