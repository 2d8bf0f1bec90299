"""Rows of CSV and Excel files as people make them: any encoding and separator, titles above the
head, heads of two lines, empty rows.

A process of its own reads it: a small workbook can ask for more memory than a machine has.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from core.base.errors import ToolError
from core.base.text import to_one_line

MAX_IMPORT_BYTES = 20 << 20
MAX_IMPORT_ROWS = 10_000
MAX_IMPORT_COLUMNS = 200
HEAD_ROWS = 50
"""Rows from the top in which the head is looked for."""
READ_SECONDS = 60
_NOT_READABLE = "{name} can't be read as a spreadsheet. Save it as .xlsx or CSV, and send it again."
_TOO_LARGE = "{name} has more than {rows} rows or {columns} columns. Send it in parts."

SheetCell = str | int | float | bool | date | datetime | time | None


@dataclass(frozen=True, slots=True)
class SheetRow:
    """`number` is that of the row in the file, from 1, as a spreadsheet counts. A text that begins
    with `=` is a formula without a stored result."""

    number: int
    cells: tuple[SheetCell, ...]


@dataclass(frozen=True, slots=True)
class ImportSheet:
    """`columns` are the titles of the head, each once. A CSV file has one sheet, without a
    title."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[SheetRow, ...]


async def read_sheets(name: str, data: bytes) -> Sequence[ImportSheet]:
    """Return the sheets that have rows below a head. Raise ToolError for a file that is no
    spreadsheet, or too large."""
    if len(data) > MAX_IMPORT_BYTES:
        raise ToolError(
            "{name} is larger than {most} MB. Send it in parts.",
            code="too_large",
            name=name,
            most=MAX_IMPORT_BYTES >> 20,
        )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", str(Path(__file__).with_name("reader.py"))),
        *(str(MAX_IMPORT_ROWS + HEAD_ROWS), str(MAX_IMPORT_COLUMNS), str(READ_SECONDS)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
    )
    try:
        # Its own limit is one of processor time, which a process that waits does not use.
        async with asyncio.timeout(READ_SECONDS * 4):
            output, _ = await process.communicate(data)
    except TimeoutError:
        output = b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return await asyncio.to_thread(_build_sheets, name, output if not process.returncode else b"")


def _build_sheets(name: str, output: bytes) -> Sequence[ImportSheet]:
    if not output:
        raise ToolError(_NOT_READABLE, code="not_readable", name=name)
    sheets = [_build_sheet(name, **json.loads(line)) for line in output.splitlines()]
    if not (filled := [sheet for sheet in sheets if sheet.rows]):
        raise ToolError("{name} has no rows below a header row.", code="no_rows", name=name)
    return filled


_TYPES: Mapping[str, Any] = {"date": date, "datetime": datetime, "time": time}


def _read_cell(cell: Any) -> SheetCell:
    """A day or time is {"type": ISO 8601}."""
    if isinstance(cell, Mapping):
        ((type, text),) = cell.items()
        value: SheetCell = _TYPES[type].fromisoformat(text)
        return value
    return (cell.strip() or None) if isinstance(cell, str) else cell


def _build_sheet(
    name: str, title: str, rows: Sequence[Sequence[Any]], merged: Collection[int]
) -> ImportSheet:
    """The head is the first of the top rows that fills nearly as many columns as they usually do;
    what stands above is a title. `merged` are the numbers of rows with cells that are merged to the
    right: over the head, or in it, they are the upper line of a head of two."""
    numbered = [SheetRow(number, tuple(map(_read_cell, row))) for number, row in enumerate(rows, 1)]
    filled = [row for row in numbered if _count(row)]
    usual = statistics.median_high([*map(_count, filled[:HEAD_ROWS])] or [0])
    at = next((at for at, row in enumerate(filled) if _count(row) * 3 >= usual * 2), 0)
    if at and filled[at - 1].number in merged and _count(filled[at - 1]) > 1:
        at -= 1
    head, below = filled[at : at + 1], filled[at + 1 :]
    if head and head[0].number in merged and below:
        head, below = [*head, below[0]], below[1:]
    if len(below) > MAX_IMPORT_ROWS or (rows and len(rows[0]) > MAX_IMPORT_COLUMNS):
        raise ToolError(
            _TOO_LARGE,
            code="too_large",
            name=name,
            rows=f"{MAX_IMPORT_ROWS:,}",
            columns=MAX_IMPORT_COLUMNS,
        )
    return ImportSheet(title, _name_columns([row.cells for row in head]), tuple(below))


def _name_columns(head: Sequence[Sequence[SheetCell]]) -> tuple[str, ...]:
    """A merged title belongs to each column below it. A column without a title gets its letter, and
    a title that occurs again a number."""
    names: list[str] = []
    upper = ""
    for at, cells in enumerate(zip(*head, strict=True)):
        first, *others = (to_one_line(str(cell), 100) if cell is not None else "" for cell in cells)
        upper = first or upper
        # Only the upper line is merged to the right, and only over columns with a title below.
        title = " ".join(filter(None, [upper, *others])) if any(others) else first
        base = name = title or (chr(64 + at // 26) if at >= 26 else "") + chr(65 + at % 26)
        count = 1
        while name in names:
            count += 1
            name = f"{base} ({count})"
        names.append(name)
    return tuple(names)


def _count(row: SheetRow) -> int:
    return sum(cell is not None for cell in row.cells)
