"""Somebody's words in Markdown of ours."""

from __future__ import annotations

import re

from core.text import one_line

_ADDRESS = re.compile(
    r"(\b(?:[a-z][a-z0-9+.-]*://|mailto:|www\.)[^\s<>()\[\]`\"']+)", re.IGNORECASE
)
_MARKUP = re.compile(r"([\\`*_\[\]<>|~#])")


def markless(text: str) -> str:
    """Names and values on one line, as nothing but text: addresses stand as code."""
    pieces = _ADDRESS.split(one_line(text))
    return "".join(
        f"`{piece}`" if number % 2 else _MARKUP.sub(r"\\\1", piece)
        for number, piece in enumerate(pieces)
    )
