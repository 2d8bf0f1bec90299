"""Which row of a sheet has the titles, and which of its rows are none of its table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, time
from itertools import groupby, pairwise

from core.base.i18n import say
from core.base.text import fold_to_letters
from core.imports.cells import CellError, SheetCell, ShownNumber

_WIDE = "The row has {count} cells, more than the {width} titles."
_SINGLE = "The row has one cell, and there are {width} titles."
_LINE = "The row is only a line."
_DRAWN = re.compile(r"[-=_:+|* ]*[-=_]{3,}[-=_:+|* ]*")
_CUT = "The file ends within this row."
_TORN = "Rows {rows} look like one row that a line break without quotation marks has torn."
HEAD_ROWS = 50
"""Rows from the top in which the titles are looked for."""
_NUMBER = re.compile(r"\W{0,4}(?:R\$|[A-Z]{3})?\s?\d[\d.,\s’']*\W{0,4}(?:[A-Z]{3})?")
_PHONE = re.compile(r"\+?\(?\d[\d\s()./-]{5,}\d")
_DAY = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}\b.*")
_MAIL = re.compile(r"\S+@\S+\.\S+|https?://\S+")
_TOTALS = re.compile(
    r"(grand |sub[- ]?)?tota(l|ls|is|ux)\b.{0,30}|so(mm|m)[ae]s?|sum|summe|gesamt(betrag)?"
)


@dataclass(frozen=True, slots=True)
class SheetRow:
    """`number` is that of the row in the file, from 1, as a spreadsheet counts. `width`: its cells
    in the file. `fault`: why it cannot be read; "" for a row that can."""

    number: int
    cells: tuple[SheetCell, ...]
    width: int = 0
    fault: str = ""

    @property
    def columns(self) -> frozenset[int]:
        return frozenset(at for at, cell in enumerate(self.cells) if cell is not None)


@dataclass(frozen=True, slots=True)
class Head:
    """The titles of a sheet are in the rows `rows` of those that are not empty, counted from 0.
    `is_unclear`: they may also be a row of the table."""

    rows: range
    is_unclear: bool = False


def find_head(rows: Sequence[SheetRow], merged: Collection[int]) -> Head:
    """The titles are in the first row that fills most of the columns that are used below it, unless
    a wider row of texts comes after it. `merged` are the numbers of rows with cells that are merged
    to the right: over the titles, or among them, they are the upper line of titles in two lines."""
    looked = rows[:HEAD_ROWS]
    if not looked:
        return Head(range(0))
    at = _find_row(looked)
    first = at
    if at and rows[at - 1].number in merged and len(rows[at - 1].columns) > 1:
        first = at - 1
    elif rows[at].number in merged and len(rows) > at + 1:
        at += 1
    head = Head(range(first, at + 1))
    if first < at:
        return head
    return Head(head.rows, _may_be_row(rows[at], looked[at + 1 :]))


def _find_row(rows: Sequence[SheetRow]) -> int:
    def cover(at: int) -> float:
        used = frozenset[int]().union(*(row.columns for row in rows[at:]))
        return len(rows[at].columns) / len(used)

    at = next((at for at in range(len(rows)) if cover(at) * 3 >= 2), 0)
    if (
        at
        and cover(at - 1) * 2 >= 1
        and rows[at - 1].width == rows[at].width
        and _is_text(rows[at - 1])
        and not _is_text(rows[at])
    ):  # titles of which some are empty
        at -= 1
    for later in range(at + 1, min(len(rows), at + 20)):
        is_table = len(rows[later].columns) >= 2 and _is_text(rows[later])
        is_wider = cover(later) > cover(at)
        # A heading of as many cells has a value beside its names.
        is_other = cover(later) == cover(at) and not _is_text(rows[at])
        if (
            is_table
            and (is_wider or is_other)
            and _is_above(rows[at : later + 1], rows[later + 1 :])
        ):
            return later
    return at


def _is_above(rows: Sequence[SheetRow], below: Sequence[SheetRow]) -> bool:
    """Return whether the rows before the last one are no part of its table: they are narrower than
    it and the rows below, name a value (`Account:`), or an empty row is between."""
    *before, last = rows
    if len(below) < len(before):
        return False
    widths = Counter(row.width for row in below)
    if all(widths[row.width] < widths[last.width] for row in before):
        return True
    has_gap = any(below.number > above.number + 1 for above, below in pairwise(rows))
    names_values = all(str(row.cells[min(row.columns)]).rstrip().endswith(":") for row in before)
    return names_values or has_gap


def _is_text(row: SheetRow) -> bool:
    return all(find_form(row.cells[at]) == "text" for at in row.columns)


def find_form(cell: SheetCell) -> str:
    """Return what a cell looks like: "number", "day", "check", "mail", "phone" or "text"; "" for an
    empty one."""
    if cell is None or isinstance(cell, CellError):
        return ""
    if isinstance(cell, bool):
        return "check"
    if isinstance(cell, int | float | ShownNumber):
        return "number"
    if isinstance(cell, date | time):
        return "day"
    text = cell.strip()
    forms = {"day": _DAY, "number": _NUMBER, "mail": _MAIL, "phone": _PHONE}
    return next((name for name, form in forms.items() if form.fullmatch(text)), "text")


def _may_be_row(head: SheetRow, below: Sequence[SheetRow]) -> bool:
    """Titles are texts, above cells of another form. What looks like the cells below it, or occurs
    among them, may be one of them. Years are titles."""
    is_like = is_other = False
    for at in head.columns:
        title, form = head.cells[at], find_form(head.cells[at])
        cells = [row.cells[at] for row in below if row.cells[at] is not None]
        forms = [find_form(cell) for cell in cells]
        common = max(set(forms), key=forms.count, default="")
        if form == "text":
            is_other = is_other or common not in ("", "text")
            is_like = is_like or (bool(cells) and title in cells and common == "text")
        elif not _is_year(title) and (common == form or not cells):
            return True
    return is_like and not is_other


def _is_year(cell: SheetCell) -> bool:
    number = cell.value if isinstance(cell, ShownNumber) else cell
    return str(number).isdecimal() and 1900 <= int(str(number)) <= 2100


def find_totals(rows: Sequence[SheetRow]) -> list[int]:
    """Return the numbers of those of the last rows that look like totals."""
    found = list[int]()
    for row in rows[-5:]:
        texts = [fold_to_letters(c).strip(" :.") for c in row.cells if isinstance(c, str)]
        if texts and _TOTALS.fullmatch(texts[0]):
            found.append(row.number)
    return found


def find_faults(rows: Sequence[SheetRow], width: int, *, ends_open: bool) -> dict[int, str]:
    """Return why rows of a CSV cannot be read, by their numbers. `width` is the number of titles.
    Some programs leave out empty cells at the end, so a row may be shorter; but where the next one
    is just as long as what is missing, a line break without quotation marks has torn it.
    `ends_open`: the last row has no line break."""
    faults = dict[int, str]()
    runs = ((short, len(list(run))) for short, run in groupby(rows, key=lambda row: row.width))
    usual_widths = {short for short, count in runs if count > 2}
    pieces: list[SheetRow] = []
    for row in rows:
        if any(cell is not None for cell in row.cells[width:]):
            faults[row.number] = say(_WIDE, count=row.width, width=width)
        elif all(_DRAWN.fullmatch(str(row.cells[at])) for at in row.columns):
            faults[row.number] = say(_LINE)
        elif row.width == 1 and width > 2:
            faults[row.number] = say(_SINGLE, width=width)
        if row.width >= width:
            pieces = []
            continue
        pieces.append(row)
        while len(pieces) > 1 and _join_widths(pieces) > width:
            pieces = pieces[1:]
        is_usual = row.width in usual_widths and len({piece.width for piece in pieces}) == 1
        if len(pieces) > 1 and _join_widths(pieces) == width and not is_usual:
            numbers = ", ".join(str(piece.number) for piece in pieces)
            faults |= {piece.number: say(_TORN, rows=numbers) for piece in pieces}
            pieces = []
    *others, last = [row.width < width for row in rows] or [False]
    if ends_open and last and others and not any(others):
        faults.setdefault(rows[-1].number, say(_CUT))
    return faults


def _join_widths(pieces: Sequence[SheetRow]) -> int:
    """Return how many cells the pieces have as one row: two of them share the torn cell."""
    return sum(piece.width for piece in pieces) - len(pieces) + 1
