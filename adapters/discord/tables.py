"""Tables for a platform that renders none: a code block, records, or a CSV file."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from core.csv_text import csv_bytes, is_number
from core.words import say

WIDEST = 38
"""Characters of a code block's line on a telephone before it wraps."""
WIDEST_TABLE = 100
"""Columns: each short row is filled up to them."""
MOST_COLUMNS = 3
MOST_ROWS = 40
MOST_RECORDS = 12
SHOWN_RECORDS = 3

_DELIMITER = re.compile(r"\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_MARKS = re.compile(r"(\*\*|__|~~)")
_LINK = re.compile(
    r"!?\[([^\[\]]*)\]\(<?([^()\s<>]*(?:\([^()\s<>]*\)[^()\s<>]*)*)>?(?:\s+\"[^\"]*\")?\)"
)


@dataclass(frozen=True, slots=True)
class Table:
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def width(self) -> int:
        return sum(self.widths) + 2 * (len(self.header) - 1)

    @property
    def widths(self) -> list[int]:
        columns = zip(self.header, *self.rows, strict=True)
        return [max(columns_of(_bare(cell)) for cell in column) for column in columns]

    @property
    def narrow(self) -> bool:
        return len(self.header) <= MOST_COLUMNS and self.width <= WIDEST

    def needs_file(self) -> bool:
        return len(self.rows) > (MOST_ROWS if self.narrow else MOST_RECORDS)

    def code_block(self) -> str:
        widths = self.widths
        lines = [_line(self.header, widths), "  ".join("─" * width for width in widths)]
        lines += [_line(row, widths) for row in self.rows]
        return "\n".join(["```", *lines, "```"])

    def records(self, most: int | None = None) -> str:
        """A paragraph per row: its first cell in bold, then a line per column."""
        paragraphs = []
        for row in self.rows[:most]:
            lines = [f"**{self.header[0]}: {row[0]}**" if self.header[0] else f"**{row[0]}**"]
            pairs = zip(self.header[1:], row[1:], strict=True)
            lines += [f"{name}: {cell}" for name, cell in pairs if cell]
            paragraphs.append("\n".join(lines))
        return "\n\n".join(paragraphs)

    def excerpt(self, name: str, locale: str) -> str:
        note = say(
            "…{more} more rows in {name}.",
            locale,
            more=len(self.rows) - SHOWN_RECORDS,
            name=f"`{name}`",
        )
        return f"{self.records(SHOWN_RECORDS)}\n\n{note}"

    def csv(self) -> bytes:
        return csv_bytes([tuple(map(_bare, row)) for row in (self.header, *self.rows)])


def read(lines: list[str]) -> Table | None:
    """The pipe table that `lines` are (header, delimiter, rows), or None."""
    if len(lines) < 2 or "|" not in lines[0] or not _DELIMITER.fullmatch(lines[1].strip()):
        return None
    header = _cells(lines[0])
    if len(_cells(lines[1])) != len(header) or len(header) > WIDEST_TABLE:
        return None
    rows = tuple(_fitted(_cells(line), len(header)) for line in lines[2:])
    return Table(header, rows)


def begins(line: str, following: str) -> bool:
    return "|" in line and "-" in following and read([line, following]) is not None


def columns_of(text: str) -> int:
    """How many columns of a monospaced font the text takes: East Asian wide ones count twice."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    marks = sum(unicodedata.combining(char) != 0 for char in text)
    return len(text) + wide - marks


def _cells(line: str) -> tuple[str, ...]:
    line = line.strip().removeprefix("|")
    if line.endswith("|") and not line.endswith("\\|"):
        line = line[:-1]
    cells = re.split(r"(?<!\\)\|", line)
    return tuple(_plain(cell.replace("\\|", "|").strip()) for cell in cells)


def _plain(cell: str) -> str:
    cell = _LINK.sub(r"\1 \2", _BREAK.sub(" ", cell))
    return _MARKS.sub("", cell)


def _bare(cell: str) -> str:
    """Without the marks of code, which stay in prose; one of them could close a block."""
    return cell.replace("`", "")


def _fitted(row: tuple[str, ...], width: int) -> tuple[str, ...]:
    return (*row, *[""] * (width - len(row)))[:width]


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    padded = [
        " " * (width - columns_of(cell)) + cell
        if is_number(cell)
        else cell + " " * (width - columns_of(cell))
        for cell, width in zip(map(_bare, cells), widths, strict=True)
    ]
    return "  ".join(padded).rstrip()
