"""Somebody's words in Markdown of ours."""

from __future__ import annotations

import re

from core.text import one_line

LONGEST, MOST_BRACKETS, MOST_LINES = 30_000, 2_000, 3_000
"""Characters, brackets and lines of a text that is read as Markdown: parsers look for a link from
each bracket, and for the end of emphasis from each star."""
_ADDRESS = re.compile(
    r"((?:(?<![a-z0-9+.-])[0-9+.-]*[a-z][a-z0-9+.-]*://|\b(?:mailto:|www\.))[^\s<>()\[\]`\"']+)",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"([\\`*_\[\]<>|~#])")


def is_plain(text: str) -> bool:
    """Whether a text is too long, or too full of brackets or lines, to be read as Markdown: it is
    shown as it is written."""
    return (
        len(text) > LONGEST
        or text.count("[") + text.count("]") > MOST_BRACKETS
        or text.count("\n") >= MOST_LINES
    )


def markless(text: str) -> str:
    """Names and values on one line, as nothing but text: addresses stand as code."""
    pieces = _ADDRESS.split(one_line(text))
    return "".join(
        f"`{piece}`" if number % 2 else _MARKUP.sub(r"\\\1", piece)
        for number, piece in enumerate(pieces)
    )
