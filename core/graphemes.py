"""Where a text may be cut without tearing apart what a reader sees as one character.

A short form of the rules of Unicode Standard Annex 29: enough for marks, emoji, flags, Hangul
jamo and surrogates, without its tables.
"""

from __future__ import annotations

import unicodedata

_JOINER = "\u200d"
_FLAGS = "".join(map(chr, range(0x1F1E6, 0x1F200)))  # regional indicators: two are one flag
_LONGEST = 64  # nothing that people write is longer; a tower of marks beyond it is cut anyway


def whole(text: str, cut: int, start: int = 0) -> int:
    """The nearest place at or before `cut` that lies between two characters as people see them.

    `start` is a place that is known to be one: nothing before it is looked at. The answer is `cut`
    itself when none is found within reach, so that a caller always gets on.
    """
    if cut <= start or cut >= len(text):
        return max(start, min(cut, len(text)))
    for place in range(cut, max(start, cut - _LONGEST), -1):
        if not _joined(text, place, start):
            return place
    return cut


def _joined(text: str, place: int, start: int) -> bool:
    before, after = text[place - 1], text[place]
    if after < "\u0300":
        return before == "\r" and after == "\n"
    if before == _JOINER or after == _JOINER or _extends(after):
        return True
    if "\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff":
        return True
    return after in _FLAGS and _flags_before(text, place, start) % 2 == 1


def _extends(char: str) -> bool:
    """Marks, variation selectors, emoji skin tones and tags, the later jamo of a syllable."""
    return (
        unicodedata.category(char) in ("Mn", "Mc", "Me")
        or "\U0001f3fb" <= char <= "\U0001f3ff"
        or "\U000e0020" <= char <= "\U000e007f"
        or "\u1160" <= char <= "\u11ff"
    )


def _flags_before(text: str, place: int, start: int) -> int:
    before = text[start:place]
    return len(before) - len(before.rstrip(_FLAGS))
