"""Text that may be stored, shown, logged and cut: what people, models, tools and files hand us.

Text from outside can hide things from a reader: terminal escapes, characters that turn the
direction of what follows ("Trojan Source", CVE-2021-42574), letters without a width that spell
orders for a model. `clean` takes those out and leaves what people need to write their language.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import TypeVar

from core.graphemes import whole
from core.splitting import split
from core.words import say

__all__ = ["CUT_HERE", "aside", "clean", "clip", "cut", "file_name", "one_line", "split"]

LONG = 20_000
"""Characters from which work on a text leaves the event loop: 2 MB take up to a second."""
T = TypeVar("T")

CUT_HERE = "[Cut here: {shown} of {total} characters are shown.]"

LONGEST_NAME = 100
_NAME_BYTES = 200  # a file system takes 255 bytes (NAME_MAX); the rest is for what we put before

_PLAIN = re.compile(r"[\n\t -~]*")
_NEWLINE = re.compile(r"\r\n|[\r\v\f\x85\u2028\u2029]")
# ECMA-48: CSI sequences, strings (OSC, DCS, SOS, PM, APC) up to their end, two-character escapes.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c|(?=\n)|$)"
    r"|\x1b[ -/]*[0-~]"
)
# C0 and C1 controls but tab and newline; bidi embeddings, overrides and isolates; soft hyphen,
# zero-width space, word joiner, invisible operators, byte order mark, annotation marks, fillers
# that look like nothing, noncharacters.
_HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"
    r"\u202a-\u202e\u2066-\u2069"
    r"\u00ad\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\u3164\uffa0"
    r"\ufdd0-\ufdef\ufffe\uffff]"
)
# Tags spell the flags of England, Scotland and Wales after a black flag, and secrets elsewhere.
_TAGS = re.compile(r"(\U0001f3f4[\U000e0020-\U000e007e]{1,8}\U000e007f)|[\U000e0000-\U000e007f]")
# One variation selector belongs to a character; a row of them hides bytes. The supplement ones
# (U+E0100..) vary ideographs and nothing else.
_SELECTORS = re.compile(
    r"((?<=[^\s\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef])[\ufe00-\ufe0f]"
    r"|(?<=[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\U000e0100-\U000e01ef])"
    r"|[\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
# The joiners shape Arabic and Indic letters and tie emoji together; after Latin they only hide.
_JOINERS = re.compile(
    r"((?<=[\u0590-\u1fff\u203c-\U0003ffff])[\u200c\u200d])[\u200c\u200d]*|[\u200c\u200d]+"
)
_UNSAFE_IN_NAMES = re.compile(r"[\n\t\"<>:|?*]")


async def aside(work: Callable[[str], T], text: str) -> T:
    """`work(text)`, in a thread where the text is long."""
    return await asyncio.to_thread(work, text) if len(text) > LONG else work(text)


def in_whole_characters(text: str) -> str:
    """Half of a surrogate pair, which JSON can escape (RFC 8259, section 8.2) and UTF-8 cannot
    hold, becomes U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def clean(text: str) -> str:
    """`text` without what a reader cannot see and a machine would obey; newlines as \\n.

    Joiners in emoji, marks of right-to-left text and the letters of every language stay. Cleaning
    twice changes nothing more. A half of a surrogate pair becomes U+FFFD.
    """
    if _PLAIN.fullmatch(text):
        return text
    text = _ESCAPE.sub("", _NEWLINE.sub("\n", in_whole_characters(text)))
    text = _TAGS.sub(r"\1", _HIDDEN.sub("", text))
    return _JOINERS.sub(r"\1", _SELECTORS.sub(r"\1", text))


def clip(text: str, limit: int, note: str = CUT_HERE, locale: str = "en") -> str:
    """`text`, or its beginning and a line that says what was cut, in `limit` characters at most.

    `note` is an English source sentence; it may use {shown} and {total}, in characters.
    """
    total = len(text)
    if total <= limit:
        return text
    longest = len(say(note, locale, shown=total, total=total)) + 1
    shown = whole(text, max(0, limit - longest))
    line = say(note, locale, shown=shown, total=total)
    return f"{text[:shown]}\n{line}" if shown else line[:limit]


def cut(text: str, longest: int) -> str:
    """`text`, or its beginning and "…", in `longest` characters at most; no character is torn."""
    return text if len(text) <= longest else text[: whole(text, longest - 1)] + "…"


def one_line(text: str, longest: int | None = None) -> str:
    """Somebody's words on one line, clean, and `cut` where there is a `longest`."""
    line = " ".join(clean(text).split())
    return line if longest is None else cut(line, longest)


def file_name(name: str) -> str:
    """`name` as a base name that is safe on any disk, in a header and in a chat; never empty.

    No separators, controls or leading dots; at most 100 characters, the extension kept.
    """
    base = re.split(r"[/\\]", clean(name).rstrip("/\\ \n\t"))[-1]
    base = _UNSAFE_IN_NAMES.sub("_", base).strip(". ").lstrip(".- ")
    stem, dot, extension = base.rpartition(".")
    if not stem or len(extension) > 16:
        stem, dot, extension = base, "", ""
    room = LONGEST_NAME - len(dot + extension)
    stem = stem[: whole(stem, room)]
    while len(f"{stem}{dot}{extension}".encode()) > _NAME_BYTES:
        stem = stem[: whole(stem, len(stem) - 1)]
    return f"{stem.rstrip()}{dot}{extension}" or "file"
