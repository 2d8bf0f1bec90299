"""The program that reads a spreadsheet from its input, and writes a line of JSON for each sheet:
`reader.py ROWS COLUMNS SECONDS`. It imports nothing of Ponte, and has no environment.

Its exit code is not 0 where the file cannot be read.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import itertools
import json
import math
import re
import resource
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, time, timedelta
from typing import Any
from xml.etree import ElementTree

MAX_MEMORY_BYTES = 2 << 30
MAX_SHEETS_BYTES = 128 << 20
"""A small workbook can have gigabytes of text, as cells can share one."""
SEPARATORS = ";,\t|"
LOOKED_AT_ROWS = 50
_FORMULA = re.compile(
    rb'<c r="([A-Z]+)(\d+)"[^>]*><f(?:[^>]*/>|[^>]*>([^<]*)</f>)(?:<v ?/>|<v></v>)?</c>'
)
"""A cell with a formula and no result, as programs other than Excel write it (ECMA-376, 18.3.1.4).
"""
MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
RELATION_ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
Table = tuple[str, Sequence[Sequence[Any]], Sequence[int]]


def main() -> None:
    """The limits hold for this process alone."""
    rows, columns, seconds = map(int, sys.argv[1:])
    # macOS refuses it (https://github.com/python/cpython/issues/84698).
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    data = sys.stdin.buffer.read()
    size = 0
    # A ZIP archive, or the container of Excel 97.
    is_book = data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0"))
    for title, cells, merged in _read_book(data, rows) if is_book else _read_csv(data, rows):
        # One column more than is allowed says that there are more.
        lines = [[*map(_encode, row[: columns + 1])] for row in cells]
        line = json.dumps({"title": title, "rows": _even(lines), "merged": merged})
        if (size := size + len(line)) > MAX_SHEETS_BYTES:
            sys.exit("too much text")
        sys.stdout.write(f"{line}\n")


def _even(rows: Sequence[list[Any]]) -> Sequence[list[Any]]:
    """Return rows of the same width, without empty columns at the right."""
    filled = (
        len(row) - next((n for n, c in enumerate(reversed(row)) if c), len(row)) for row in rows
    )
    width = max(filled, default=0)
    return [(row + [None] * width)[:width] for row in rows]


def _encode(cell: Any) -> Any:
    if isinstance(cell, timedelta):
        return cell.total_seconds()
    if isinstance(cell, date | time):
        return {type(cell).__name__: cell.isoformat()}
    if isinstance(cell, float):
        if not math.isfinite(cell):  # no value of JSON
            return str(cell)
        # Excel stores each number as a float.
        return int(cell) if cell.is_integer() and abs(cell) < 2**53 else cell
    return None if cell == "" else cell


def _read_csv(data: bytes, most: int) -> Iterator[Table]:
    csv.field_size_limit(1 << 20)
    text = _decode(data).replace("\0", "")
    hint = re.match(r"sep=(.)\r?\n", text)  # Excel's own mark of the separator, a row of the file
    separator = hint[1] if hint else _find_separator(text)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows = list(itertools.islice(lines, most + 1))
    yield "", [[], *rows[1:]] if hint else rows, []


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")  # it has a letter for nearly each byte


def _find_separator(text: str) -> str:
    """Return the separator by which most rows have the same number of columns."""

    def count_equal(separator: str) -> tuple[int, int]:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        widths = Counter(len(row) for row in itertools.islice(rows, LOOKED_AT_ROWS) if len(row) > 1)
        return max(((count, width) for width, count in widths.items()), default=(0, 0))

    return max(SEPARATORS, key=count_equal)


def _read_book(data: bytes, most: int) -> Iterator[Table]:
    from python_calamine import CalamineWorkbook, SheetVisibleEnum

    book = CalamineWorkbook.from_filelike(io.BytesIO(data))
    names: Sequence[str] = ()
    if data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(data)) as parts:
            names = parts.namelist()
    for sheet in book.sheets_metadata:
        if sheet.visible != SheetVisibleEnum.Visible:
            continue
        cells = book.get_sheet_by_name(sheet.name)
        rows = cells.to_python(skip_empty_area=False, nrows=most + 1)
        formulas = _find_formulas(data, sheet.name) if "xl/workbook.xml" in names else ()
        for row, column, formula in formulas:
            if row < len(rows) and column < len(rows[row]) and rows[row][column] == "":
                rows[row][column] = f"={formula}"
        merged = {
            top + 1 for (top, left), (_, right) in cells.merged_cell_ranges or () if left != right
        }
        yield sheet.name, rows, sorted(merged)


def _find_formulas(data: bytes, title: str) -> Iterator[tuple[int, int, str]]:
    """Yield row and column, from 0, of each formula of the sheet that has no result."""
    with zipfile.ZipFile(io.BytesIO(data)) as parts:
        # What hostile XML can cost is limited as all here is.
        book, links = (
            ElementTree.fromstring(parts.read(f"xl/{name}"))  # noqa: S314
            for name in ("workbook.xml", "_rels/workbook.xml.rels")
        )
        targets = {link.get("Id"): link.get("Target", "") for link in links}
        for sheet in book.iter(f"{MAIN}sheet"):
            if sheet.get("name") == title:
                target = targets[sheet.get(RELATION_ID)]
                part = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
                for letters, row, formula in _FORMULA.findall(parts.read(part)):
                    yield int(row) - 1, _column(letters), formula.decode(errors="replace")


def _column(letters: bytes) -> int:
    return functools.reduce(lambda number, letter: number * 26 + letter - 64, letters, 0) - 1


if __name__ == "__main__":
    main()
