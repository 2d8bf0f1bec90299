"""The one reading of a file with tables: what it is, its text, its titles and its rows, and what
was decided about them that could be otherwise.

A process of its own reads the bytes: a small workbook can ask for more memory than a machine has.
"""

from __future__ import annotations

import asyncio
import json
import re
import string
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from core.base.errors import ToolError
from core.base.file_text import UNSURE_ENCODING, is_text_encoding
from core.base.i18n import plural, say
from core.base.text import to_one_line
from core.imports.cells import CellError, SheetCell, ShownNumber
from core.imports.head import (
    HEAD_ROWS,
    Head,
    SheetRow,
    find_faults,
    find_head,
    find_totals,
)

MAX_IMPORT_BYTES = 20 << 20
MAX_IMPORT_ROWS = 10_000
MAX_IMPORT_COLUMNS = 200
READ_SECONDS = 60
_TOO_LARGE = "{name} has more than {rows} rows or {columns} columns. Send it in parts."
_NOT_READABLE = "{name} can't be read as a spreadsheet. Save it as .xlsx or CSV, and send it again."
_REFUSALS = {
    "damaged": _NOT_READABLE,
    "too_large": _TOO_LARGE,
    "other": "{name} isn't a spreadsheet: it's a file of type {kind}. Send the table as .xlsx or "
    "CSV.",
    "binary": "{name} isn't a spreadsheet, and no text. Send the table as .xlsx or CSV.",
    "protected": "{name} is protected with a password. Save it without one, and send it again.",
    "xlsb": "{name} is a binary workbook (.xlsb). Save it as .xlsx, and send it again.",
    "torn": "{name}, line {line}: a quotation mark isn't closed. Correct it, and send the file "
    "again.",
}
_GARBLED = re.compile("\ufffd|[A-Za-z](?:[\u20ac‚ƒ„†‡ˆ‰‹˜™›•Æ][a-z]|[‚ƒ„†‡ˆ](?:\\W|$))")
"""Letters with accents in the encodings of DOS and of the Mac, read as Windows-1252."""
_UNCLEAR_ENCODING = "In “{text}”, letters are wrong: the file is in another encoding."
_UNCLEAR_TITLES = "Row {row} ({cells}) may hold titles, or values."
_UNSEEN = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad" + string.whitespace + "\u00a0\u202f"
_LIMITS: dict[str, Any] = {"rows": f"{MAX_IMPORT_ROWS:,}", "columns": MAX_IMPORT_COLUMNS}
_UNICODE = ("utf-8", "utf-16", "utf-32")


@dataclass(frozen=True, slots=True)
class Corrections:
    """Facts that the model knows better than the reading. `titles`: the row of the titles, 0 for
    none; None if it is not said. `encoding` "": that which the file shows."""

    titles: int | None = None
    encoding: str = ""


@dataclass(frozen=True, slots=True)
class ImportSheet:
    """`columns` are the titles, each once, or the letters of the columns. `question`: what is not
    clear about the file; "" if nothing is. `notes`: what was decided, in a sentence each.
    `surplus_count`: rows that an outline only counts. A CSV file has one sheet, without a title."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[SheetRow, ...]
    question: str = ""
    notes: tuple[str, ...] = ()
    surplus_count: int = 0

    @property
    def row_count(self) -> int:
        return len(self.rows) + self.surplus_count


async def read_sheets(
    name: str, data: bytes, corrections: Corrections | None = None, *, outline_rows: int = 0
) -> Sequence[ImportSheet]:
    """Return the sheets that have rows. With `outline_rows`, only so many rows of a CSV are read,
    and the others counted. Raise ToolError for a file that holds no table, and says why."""
    if len(data) > MAX_IMPORT_BYTES:
        raise ToolError(
            "{name} is larger than {most} MB. Send it in parts.",
            code="too_large",
            name=name,
            most=MAX_IMPORT_BYTES >> 20,
        )
    corrections = corrections or Corrections()
    if corrections.encoding and not is_text_encoding(corrections.encoding):
        raise ToolError(
            "I don't know the encoding {encoding}.",
            code="bad_arguments",
            hint="such as cp1252, cp850, mac-roman, utf-16",
            encoding=to_one_line(corrections.encoding, 40),
        )
    titles = "" if corrections.titles is None else str(corrections.titles)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", str(Path(__file__).with_name("reader.py"))),
        str((outline_rows or MAX_IMPORT_ROWS) + HEAD_ROWS),
        *(str(MAX_IMPORT_COLUMNS), str(READ_SECONDS)),
        *(corrections.encoding, titles, "outline" if outline_rows else ""),
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
    output = output if not process.returncode else b""
    return await asyncio.to_thread(_build_sheets, name, output, corrections)


def _build_sheets(name: str, output: bytes, corrections: Corrections) -> Sequence[ImportSheet]:
    about, *tables = map(json.loads, output.splitlines() or [b'{"refused": "damaged"}'])
    if "refused" in about:
        values = {"name": name, **_LIMITS, **about.get("values", {})}
        raise ToolError(_REFUSALS[about["refused"]], code="not_readable", **values)
    sheets = [_build_sheet(name, table, corrections.titles) for table in tables if table["rows"]]
    if not (filled := [sheet for sheet in sheets if sheet.rows]):
        raise ToolError("{name} has no rows below a header row.", code="no_rows", name=name)
    notes = _describe_text(about)
    garbled = "" if corrections.encoding else _find_garbled_word(about, filled)
    doubt = say(_UNCLEAR_ENCODING, text=garbled) if garbled else ""
    return [
        replace(
            sheet,
            notes=(*sheet.notes, *notes),
            question=" ".join(filter(None, [sheet.question, doubt])),
        )
        for sheet in filled
    ]


def _find_garbled_word(about: Mapping[str, Any], sheets: Sequence[ImportSheet]) -> str:
    """Return a text that another encoding than Windows-1252 would read better; "" for none."""
    if about.get("encoding") != UNSURE_ENCODING:
        return ""
    texts = (
        str(cell)
        for sheet in sheets
        for cells in (sheet.columns, *(row.cells for row in sheet.rows))
        for cell in cells
    )
    return next((to_one_line(text, 60) for text in texts if _GARBLED.search(text)), "")


def _describe_text(about: Mapping[str, Any]) -> Sequence[str]:
    notes = []
    if encoding := about.get("encoding", ""):
        if not encoding.startswith(_UNICODE):
            names = {"cp1252": "Windows-1252"}
            notes.append(say("Read as {encoding}.", encoding=names.get(encoding, encoding)))
        if count := about["strays"]:
            lines = ", ".join(map(str, about["stray_lines"]))
            notes.append(
                plural(
                    "{count} character was in another encoding (line {lines}).",
                    "{count} characters were in another encoding (lines {lines}).",
                    count,
                    lines=lines,
                )
            )
    return notes


_TYPES: Mapping[str, Any] = {"date": date, "datetime": datetime, "time": time}


def _read_cell(cell: Any) -> SheetCell:
    """A cell that JSON has no type for is {"type": value}."""
    if isinstance(cell, Mapping):
        ((type, value),) = cell.items()
        if type == "error":
            return CellError(value)
        if type == "shown":
            return ShownNumber(value[1], value[0])
        moment: SheetCell = _TYPES[type].fromisoformat(value)
        return moment
    if isinstance(cell, str) and not cell.strip(_UNSEEN):
        return None
    return cell.strip() if isinstance(cell, str) else cell


def _read_rows(table: Mapping[str, Any]) -> list[SheetRow]:
    """Return rows of the same width, without empty columns at the right."""
    read = {int(number): [*map(_read_cell, row)] for number, row in table["rows"].items()}
    filled = (
        len(row) - next((n for n, cell in enumerate(reversed(row)) if cell is not None), len(row))
        for row in read.values()
    )
    width = max(filled, default=0)
    return [
        SheetRow(number, tuple((row + [None] * width)[:width]), len(row))
        for number, row in sorted(read.items())
        if any(cell is not None for cell in row)
    ]


def _build_sheet(name: str, table: Mapping[str, Any], titles: int | None) -> ImportSheet:
    rows = _read_rows(table)
    if titles is None:
        merged = {top + 1 for top, _, left, right in table["merged"] if left != right}
        head = find_head(rows, merged)
    else:
        at = next((at for at, row in enumerate(rows) if row.number == titles), None)
        if titles and at is None:
            raise ToolError("{name} has no row {row}.", code="bad_arguments", name=name, row=titles)
        head = Head(range(0)) if at is None else Head(range(at, at + 1))
    heading = [rows[at] for at in head.rows]
    below = rows[head.rows.stop :]
    columns = _name_columns([row.cells for row in heading], len(rows[0].cells) if rows else 0)
    notes, question = list[str](), ""
    if heading:
        numbers = "–".join(dict.fromkeys(str(row.number) for row in (heading[0], heading[-1])))
        shown = to_one_line(", ".join(columns), 100)
        if head.is_unclear:
            question = say(_UNCLEAR_TITLES, row=numbers, cells=shown)
        notes.append(say("Titles from row {row}: {titles}.", row=numbers, titles=shown))
        if head.rows.start:
            notes.append(
                plural(
                    "{count} row above the titles left out.",
                    "{count} rows above the titles left out.",
                    head.rows.start,
                )
            )
    else:
        notes.append(say("No row has titles."))
    repeated = [row for row in below if any(row.cells == title.cells for title in heading)]
    below = [row for row in below if row not in repeated] if repeated else below
    if len(below) > MAX_IMPORT_ROWS:
        raise ToolError(_TOO_LARGE, code="too_large", name=name, **_LIMITS)
    if table["is_delimited"] and heading:
        faults = find_faults(below, heading[-1].width, ends_open=table["ends_open"])
        below = [replace(row, fault=faults.get(row.number, "")) for row in below]
    notes += _describe_left_out(rows, below, repeated, table["hidden_count"])
    surplus_count = table["surplus_count"]
    return ImportSheet(table["title"], columns, tuple(below), question, tuple(notes), surplus_count)


def _describe_left_out(
    rows: Sequence[SheetRow], below: Sequence[SheetRow], repeated: Sequence[SheetRow], hidden: int
) -> list[str]:
    notes = []
    if below:
        first, last = below[0].number, below[-1].number
        count = sum(first <= row.number <= last for row in rows)
        if (empty := last - first + 1 - count - hidden) > 0:
            notes.append(
                plural("{count} empty row left out.", "{count} empty rows left out.", empty)
            )
    if hidden:
        notes.append(
            plural("{count} hidden row left out.", "{count} hidden rows left out.", hidden)
        )
    if repeated:
        notes.append(
            plural(
                "{count} row that repeats the titles left out.",
                "{count} rows that repeat the titles left out.",
                len(repeated),
            )
        )
    if totals := find_totals(below):
        numbers = ", ".join(map(str, totals))
        notes.append(
            plural(
                "Row {rows} looks like a total.",
                "Rows {rows} look like totals.",
                len(totals),
                rows=numbers,
            )
        )
    return notes


def _name_columns(head: Sequence[Sequence[SheetCell]], width: int) -> tuple[str, ...]:
    """A merged title belongs to each column below it. A column without a title gets its letter, and
    a title that occurs again a number."""
    names: list[str] = []
    upper = ""
    for at, cells in enumerate(zip(*head, strict=True) if head else [("",)] * width):
        first, *others = (to_one_line(str(cell), 100) if cell is not None else "" for cell in cells)
        upper = first or upper
        # Only the upper line is merged to the right, and only over columns with a title below.
        title = " ".join(dict.fromkeys([upper, *others])) if any(others) else first
        base = name = title.strip() or (chr(64 + at // 26) if at >= 26 else "") + chr(65 + at % 26)
        count = 1
        while name in names:
            count += 1
            name = f"{base} ({count})"
        names.append(name)
    return tuple(names)
