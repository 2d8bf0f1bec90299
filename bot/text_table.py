"""Aligned columns of text for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Sequence

COLUMN_GAP = "  "


def format_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()
) -> Iterator[str]:
    """Yield a line with the headings and a line for each row. The columns whose numbers are in
    `right` are aligned to the right."""
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            " " * (width - _width(cell)) + cell
            if n in right
            else cell + " " * (width - _width(cell))
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield COLUMN_GAP.join(cells).rstrip()


def _width(text: str) -> int:
    """Return the number of terminal columns of the text."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)
