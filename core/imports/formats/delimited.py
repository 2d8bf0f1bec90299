"""Text files with a row on each line: CSV, with whatever separator."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from core.imports.formats.cells import NotReadable, SheetCells

SEPARATORS = ";,\t|"
LOOKED_AT_ROWS = 50
_HINT = re.compile(r"sep=(.)\r?\n")
"""Excel's own mark of the separator, a row of the file."""
_ESCAPED = re.compile(r'\\(["\\])')
_QUOTED_TEXT = re.compile(r'="((?:[^"]|"")*)"')
"""A text as programs write it that Excel shall not take for a number."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[-+]?[\d.,\s]*\d[\d.,\s%]*|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*")


_DECIMALS = re.compile(r"(?<=\d),(?=\d{1,2}\b)")


def read_delimited(
    text: str, most_rows: int, titles: int | None, *, is_outline: bool = False
) -> tuple[SheetCells, str]:
    """Return the rows and the separator ("" for a file of one column). `titles`: the row that is
    known to have the titles. `is_outline`: rows above `most_rows` are only counted. Raise
    NotReadable for others, and where a quotation mark is not closed."""
    csv.field_size_limit(1 << 20)
    # MS-DOS ends a text with Ctrl+Z; files that were joined have marks of their encoding inside.
    text = text.replace("\0", "").replace("\ufeff", "").removesuffix("\x1a")
    hint = _HINT.match(text)
    separator = hint[1] if hint else _find_separator(text, titles)
    form = _Form(separator, most_rows, bool(hint), is_outline)
    try:
        sheet = form.parse(text)
    except NotReadable as error:
        if error.code != "torn" or not _ESCAPED.search(text):
            raise
        # Programs that follow Unix write \" for a quotation mark.
        text = _ESCAPED.sub(_unescape, text)
        sheet = form.parse(text)
    if any(str(cell).startswith(' "') for row in sheet.rows.values() for cell in row):
        with contextlib.suppress(NotReadable):  # quotation marks after spaces
            sheet = form.parse(text, skips_spaces=True)
    sheet.is_delimited, sheet.ends_open = bool(separator), not text.endswith(("\n", "\r"))
    return sheet, separator


def _unescape(match: re.Match[str]) -> str:
    return '""' if match[1] == '"' else "\\"


@dataclass(frozen=True, slots=True)
class _Form:
    """`has_hint`: the first row names the separator."""

    separator: str
    most_rows: int
    has_hint: bool
    is_outline: bool

    def parse(self, text: str, *, skips_spaces: bool = False) -> SheetCells:
        """Raise NotReadable."""
        lines = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=self.separator or "\x1f",
            skipinitialspace=skips_spaces,
            strict=True,
        )
        sheet = SheetCells(is_outline=self.is_outline)
        for number in itertools.count(1):
            line = lines.line_num + 1
            try:
                cells = next(lines, None)
            except csv.Error:
                raise NotReadable("torn", line=line) from None
            if cells is None:
                break
            if any(cell.strip() for cell in cells) and not (self.has_hint and number == 1):
                sheet.add_row(number, list(map(_read_cell, cells)), self.most_rows)
        return sheet


def _read_cell(cell: str) -> str | None:
    """A CSV has no formulas: an apostrophe before what looks like one keeps it from running in a
    spreadsheet, as in Ponte's own files (`core.base.text.escape_formula`)."""
    if cell.startswith("'") and cell[1:].lstrip("' \n").startswith(_FORMULA):
        return cell[1:]
    if match := _QUOTED_TEXT.fullmatch(cell):
        return match[1].replace('""', '"')
    return cell if cell.strip() else None


def _find_separator(text: str, titles: int | None) -> str:
    """Return the separator by which most rows have the same number of columns. One that the titles
    lack is none: it belongs to the cells."""

    commas = len(re.findall(r",", text[:20_000]))
    has_decimals = ";" in text and commas == len(_DECIMALS.findall(text[:20_000]))

    def rate(separator: str) -> tuple[int, int]:
        rows = _sample(text, separator)
        filled = {number: row for number, row in enumerate(rows, 1) if any(map(str.strip, row))}
        if separator == "," and has_decimals:
            return 0, 0
        widths = Counter(len(row) for row in filled.values() if len(row) > 1)
        count, width = max(((n, width) for width, n in widths.items()), default=(0, 0))
        known = filled.get(titles or 0)
        if known is not None:
            return (count, width) if len(known) > 1 else (0, 0)
        first = next(iter(filled.values()), [])
        if len(first) < 2 and not _has_titles_below(list(filled.values()), separator):
            return 0, 0
        return count, width

    best = max(SEPARATORS, key=rate)
    return best if rate(best) != (0, 0) else ""


def _sample(text: str, separator: str) -> Sequence[list[str]]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        return list(itertools.islice(rows, LOOKED_AT_ROWS))
    except csv.Error:  # a field without an end
        return ()


def _has_titles_below(rows: Sequence[list[str]], separator: str) -> bool:
    """Return whether the first row that has the separator looks like titles below a heading: only
    texts, above a column of numbers or days. A comma or semicolon before a space is one of a
    sentence."""
    widths = Counter(len(row) for row in rows if len(row) > 1)
    width = max(((n, width) for width, n in widths.items()), default=(0, 0))[1]
    at = next((at for at, row in enumerate(rows) if len(row) == width), len(rows))
    head, below = rows[at] if at < len(rows) else [], rows[at + 1 :]
    if any(_NUMBER.fullmatch(cell.strip()) for cell in head):
        return False
    if separator in ";\t|" and not any(cell.startswith(" ") for row in below for cell in row[1:]):
        # Choices in one column occur again, and not always as many of them.
        is_even = sum(len(row) == width for row in below) * 2 > len(below)
        return bool(head) and is_even and not any(set(head) & set(row) - {""} for row in below)
    columns = list(itertools.zip_longest(*below, fillvalue=""))[: len(head)]
    return any(
        sum(bool(_NUMBER.fullmatch(cell.strip())) for cell in column) * 2 > len(below)
        for column in columns
    )
