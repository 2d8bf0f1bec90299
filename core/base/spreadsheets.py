"""Tables as files: CSV, XLSX and JSON.

CSV has the separator and the decimal sign that spreadsheets expect in the reader's language: `,`
and `.` in English, `;` and `,` in Portuguese and French. Days and times are ISO 8601, which
spreadsheets of all languages read. XLSX and CSV never contain a formula or a link.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, get_args

from core.base.i18n import babel_locale, say
from core.base.text import escape_formula, find_character_boundary
from core.base.value_formats import NUMBER_KINDS, format_kind, parse_number, spreadsheet_format

ExportFormat = Literal["csv", "xlsx", "json"]
EXPORT_FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
MEDIA_TYPES: dict[ExportFormat, str] = {
    "csv": "text/csv",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "json": "application/json",
}
MAX_XLSX_CELL_UNITS = 32_767
"""UTF-16 units that a cell of Excel holds (https://support.microsoft.com, "Excel specifications and
limits")."""
MAX_XLSX_ROWS, MAX_XLSX_COLUMNS = 1_048_576, 16_384
"""Rows, with the header, and columns that a sheet of Excel holds."""
MAX_XLSX_DIGITS = 15
MIN_XLSX_YEAR = 1900
_MAX_WIDTH = 60
_MEASURED_ROWS = 200
_SHEET_NAME = re.compile(r"[\[\]:*?/\\\x00-\x1f]+")

Cell = str | int | float | bool | date | datetime | Decimal | None


@dataclass(frozen=True, slots=True)
class ExportColumn:
    """`format`: see `core/base/value_formats.py`. Text is a number only in a column of numbers."""

    title: str
    format: str = ""

    @property
    def is_number(self) -> bool:
        return format_kind(self.format) in NUMBER_KINDS


@dataclass(frozen=True, slots=True)
class ExportedTable:
    """A table as a file to download. `cut_cells` counts the cells of which Excel holds only the
    beginning."""

    data: bytes
    type: str
    cut_cells: int = 0


def encode_table(
    columns: Sequence[ExportColumn],
    rows: Iterable[Sequence[Cell]],
    form: ExportFormat,
    title: str = "",
) -> ExportedTable:
    """`title` names the sheet of an XLSX file. Raise ValueError if the table is larger than a sheet
    of Excel can be."""
    if form == "xlsx":
        data, cut_cells = encode_workbook([(title, columns, rows)])
        return ExportedTable(data, MEDIA_TYPES[form], cut_cells)
    encode = _encode_csv if form == "csv" else _encode_json
    return ExportedTable(encode(columns, rows), MEDIA_TYPES[form])


def _number(column: ExportColumn, cell: Cell) -> Decimal | None:
    # In a column of text, a text of digits, such as a telephone number, is no number.
    return None if isinstance(cell, str) and not column.is_number else parse_number(cell)


def _plain_text(cell: Cell) -> str:
    """Return the cell as the text that files have: truth values in lower case, days and times in
    ISO 8601 without a zone. Halves of surrogate pairs, which no file can hold, are replaced."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, datetime):
        return cell.replace(tzinfo=None).isoformat(" ", "seconds")
    text = "" if cell is None else cell.isoformat() if isinstance(cell, date) else str(cell)
    return text.encode(errors="replace").decode()


def _encode_csv(columns: Sequence[ExportColumn], rows: Iterable[Sequence[Cell]]) -> bytes:
    """Return CSV (RFC 4180) in UTF-8, with the separators that spreadsheets expect in the task's
    language. Without the byte order mark, Excel would decode the file by a code page of Windows,
    with wrong accents."""
    is_english = babel_locale() == "en"
    out = io.StringIO()
    writer = csv.writer(out, delimiter="," if is_english else ";")
    writer.writerow([escape_formula(_plain_text(column.title)) for column in columns])

    def encode(column: ExportColumn, cell: Cell) -> str:
        """A spreadsheet would run a text that looks like a formula, so `escape_formula` puts an
        apostrophe before it. Excel reads digits as a number in a column of text, too, so `digits`
        is any cell's number."""
        number = _number(column, cell)
        if number is None:
            text = escape_formula(_plain_text(cell))
        else:
            text = f"{number:f}" if is_english else f"{number:f}".replace(".", ",")
        # Excel rounds longer numbers. A tab after the digits makes them text, which it keeps. Other
        # programs skip white space after a number, but would keep an apostrophe or `="…"`.
        digits = parse_number(cell) if number is None else number
        return text if digits is None or _fits_excel(digits, cell) else f"{text}\t"

    for row in rows:
        writer.writerow(list(map(encode, columns, row)))
    return out.getvalue().encode("utf-8-sig")


def _encode_json(columns: Sequence[ExportColumn], rows: Iterable[Sequence[Cell]]) -> bytes:
    """A title that repeats gets a number, because an object has each name once."""
    names: list[str] = []
    for column in columns:
        name, count = _plain_text(column.title), 2
        while name in names:
            name, count = f"{_plain_text(column.title)} ({count})", count + 1
        names.append(name)

    def encode(column: ExportColumn, cell: Cell) -> Any:
        """A text in a column of numbers becomes a number if a float holds all its digits, because
        most programs read JSON numbers as floats."""
        if cell is None or isinstance(cell, bool | int):
            return cell
        if isinstance(cell, float):
            return cell if math.isfinite(cell) else None  # JSON has no NaN and no infinity
        number = _number(column, cell)
        if number is None:
            return _plain_text(cell)
        value = float(number)
        if Decimal(str(value)) != number:
            return str(number)
        return int(value) if value.is_integer() and abs(value) < 2**53 else value

    lines = [
        json.dumps(dict(zip(names, map(encode, columns, row), strict=True)), ensure_ascii=False)
        for row in rows
    ]
    return ("[" + ",\n".join(lines) + "]\n").encode()


def encode_workbook(
    tables: Sequence[tuple[str, Sequence[ExportColumn], Iterable[Sequence[Cell]]]],
) -> tuple[bytes, int]:
    """Return an Excel workbook with a sheet for each table (its title, columns and rows), and how
    many cells were cut. No text becomes a formula, a link or a number. Raise ValueError if a table
    is larger than a sheet can be."""
    # Loaded for the first workbook, which many processes never make.
    import xlsxwriter

    out = io.BytesIO()
    # Rows are written to a temporary file one by one, so that the memory does not grow with them.
    book = xlsxwriter.Workbook(
        out,
        {
            "constant_memory": True,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        },
    )
    cut_cells = 0
    for title, columns, rows in tables:
        if len(columns) > MAX_XLSX_COLUMNS:
            raise ValueError("too many columns for a sheet")
        # The name of the sheet: Excel takes at most 31 characters, and no apostrophe at either end.
        name = _cut_to_units(_SHEET_NAME.sub(" ", _plain_text(title)), 31).strip("' ")
        # Excel accepts neither an empty name nor this one.
        sheet = book.add_worksheet(name if name and name.casefold() != "history" else "Table")
        cut_cells += _SheetWriter(book, sheet, columns).write_rows(rows)
    book.close()
    return out.getvalue(), cut_cells


class _SheetWriter:
    """Writes one sheet, row by row."""

    def __init__(self, book: Any, sheet: Any, columns: Sequence[ExportColumn]) -> None:
        self._sheet, self._columns = sheet, columns
        self._bold = book.add_format({"bold": True})
        self._text = book.add_format({"num_format": "@"})
        self._day, self._moment, *self._formats = (
            book.add_format({"num_format": spreadsheet_format(format)})
            for format in ("date", "moment", *(column.format for column in columns))
        )
        self._cut_cells = 0

    def write_rows(self, rows: Iterable[Sequence[Cell]]) -> int:
        """Return how many cells were cut. Raise ValueError if there are too many rows."""
        self._sheet.freeze_panes(1, 0)
        # A workbook has the widths of columns before the rows, so some rows are read ahead to
        # measure them.
        iterator = iter(rows)
        head = list(itertools.islice(iterator, _MEASURED_ROWS))
        for at, column in enumerate(self._columns):
            longest = max([len(column.title), *(len(_plain_text(row[at])) for row in head)])
            room = 6 if column.is_number else 2  # separators and signs make numbers longer
            self._sheet.set_column(at, at, min(longest + room, _MAX_WIDTH))
        for at, column in enumerate(self._columns):
            self._write_text(0, at, _plain_text(column.title), self._bold)
        for number, row in enumerate(itertools.chain(head, iterator), 1):
            if number >= MAX_XLSX_ROWS:
                raise ValueError("too many rows for a sheet")
            for at, cell in enumerate(row):
                self._write(number, at, cell)
        return self._cut_cells

    def _write_text(self, row: int, at: int, text: str, style: Any) -> None:
        text = text.replace("\r\n", "\n").replace("\r", "\n")  # Excel's line break in a cell
        if _count_units(text) > MAX_XLSX_CELL_UNITS:
            self._cut_cells += 1
            mark = " " + say("[truncated: Excel's limit is {limit} characters]", limit="32767")
            text = _cut_to_units(text, MAX_XLSX_CELL_UNITS - _count_units(mark)) + mark
        if text:
            self._sheet.write_string(row, at, text, style)

    def _write(self, row: int, at: int, cell: Cell) -> None:
        """Write a cell with its type. What Excel cannot hold exactly (early dates, long numbers) is
        text."""
        # bool before numbers and dates: to Python, True is the number 1.
        column, sheet = self._columns[at], self._sheet
        if isinstance(cell, bool):
            sheet.write_boolean(row, at, cell)
        elif isinstance(cell, date) and cell.year >= MIN_XLSX_YEAR:
            is_moment = isinstance(cell, datetime)
            value = cell.replace(tzinfo=None) if isinstance(cell, datetime) else cell
            sheet.write_datetime(row, at, value, self._moment if is_moment else self._day)
        elif (number := _number(column, cell)) is not None and _fits_excel(number, cell):
            # Excel shows 0.5 as 50 % and counts durations in days; the cells have percents and
            # seconds.
            factor = {"percent": 100, "duration": 86_400}.get(format_kind(column.format), 1)
            sheet.write_number(row, at, float(number / factor), self._formats[at])
        else:
            self._write_text(row, at, _plain_text(cell), self._text)


def _fits_excel(number: Decimal, cell: Cell) -> bool:
    """Return True if Excel keeps the number. It rounds a float to 15 digits, which is as exact as
    the sum that it often is."""
    if isinstance(cell, float):
        return abs(cell) < 1e15
    exponent = number.as_tuple().exponent
    places = -exponent if isinstance(exponent, int) and exponent < 0 else 0
    digits = len(str(abs(int(number)))) + places
    return digits <= MAX_XLSX_DIGITS


def _count_units(text: str) -> int:
    # Excel counts in UTF-16 units, two for an emoji.
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def _cut_to_units(text: str, units: int) -> str:
    head = text.encode("utf-16-le")[: units * 2].decode("utf-16-le", errors="ignore")
    return text[: find_character_boundary(text, len(head))]
