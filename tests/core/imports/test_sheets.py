"""Spreadsheets as people make them, read in a process with limits."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import openpyxl
import pytest

from core.base.errors import ToolError
from core.imports.cells import CellError, ShownNumber
from core.imports.sheets import MAX_IMPORT_ROWS, ImportSheet, read_sheets

pytestmark = pytest.mark.slow
OLD_EXCEL = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 no more of it"


def build_book(*rows: Sequence[Any], merged: Sequence[str] = ()) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    for cells in merged:
        sheet.merge_cells(cells)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


async def read_one(data: bytes) -> ImportSheet:
    (sheet,) = await read_sheets("customers", data)
    return sheet


@pytest.mark.parametrize(
    "data",
    [
        "Nome;Preço\nJoão;1,5\n".encode("cp1252"),
        '\ufeffNome,Preço\r\nJoão,"1,5"\r\n'.encode(),
        "sep=|\nNome|Preço\nJoão|1,5\n".encode("utf-16"),
        "Nome\tPreço\n\nJoão\t1,5\t\n".encode(),
    ],
    ids=["Brazilian Excel", "UTF-8 with a mark", "UTF-16 with a hint", "tabs and an empty line"],
)
async def test_csv(data: bytes) -> None:
    sheet = await read_one(data)
    assert sheet.columns == ("Nome", "Preço")
    assert [row.cells for row in sheet.rows if row.cells[0]] == [("João", "1,5")]


async def test_a_title_and_a_head_of_two_lines() -> None:
    rows: list[list[Any]] = [
        ["Customers 2026"],
        [],
        ["Customer", None, "Address", None],
        ["Name", "Since", "Street", None],
        ["Ana", date(2026, 1, 2), "Rua 1", timedelta(hours=30)],
        ["Bob", date(2026, 2, 3), 12.0, "=B5+1"],
    ]
    sheet = await read_one(build_book(*rows, merged=["A1:D1", "A3:B3", "C3:D3"]))
    assert sheet.columns == ("Customer Name", "Customer Since", "Address Street", "D")
    assert [(row.number, *row.cells) for row in sheet.rows] == [
        (5, "Ana", date(2026, 1, 2), "Rua 1", ShownNumber(108_000, "30:00:00")),
        (6, "Bob", date(2026, 2, 3), 12, CellError("=B5+1")),
    ]


async def test_titles_that_repeat_or_lack() -> None:
    sheet = await read_one(build_book(["Name", "Name", None], ["Ana", "Souza", 3]))
    assert sheet.columns == ("Name", "Name (2)", "C")


async def test_several_sheets_without_the_hidden_one() -> None:
    book = openpyxl.Workbook()
    for title, state in (("2025", "visible"), ("secret", "hidden"), ("2026", "visible")):
        sheet = book.create_sheet(title)
        sheet.append(["Name", "Since"])
        sheet.append(["Ana", 1])
        sheet.sheet_state = state
    out = io.BytesIO()
    book.save(out)
    assert [sheet.title for sheet in await read_sheets("a", out.getvalue())] == ["2025", "2026"]


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04 no archive", OLD_EXCEL, b"Name;Since\n"], ids=repr
)
async def test_no_spreadsheet(data: bytes) -> None:
    with pytest.raises(ToolError, match=r"customers (can't be read|has no rows)"):
        await read_one(data)


async def test_a_small_file_that_asks_for_all_memory_ends_only_its_own_process() -> None:
    """Its two cells are 17 billion cells apart."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet["A1"], sheet["XFD1048576"] = "Name", "far"
    out = io.BytesIO()
    book.save(out)
    with pytest.raises(ToolError, match="more than 10,000 rows or 200 columns"):
        await read_one(out.getvalue())


async def test_cells_that_share_one_long_text_end_only_the_process_that_reads_them() -> None:
    """The file has 0.2 MB, its cells 160 MB."""
    data = build_book(["Name"] * 16, *([["x" * 32_000] * 16] * 320))
    assert len(data) < 300_000
    with pytest.raises(ToolError, match="can't be read"):
        await read_one(data)


async def test_a_number_that_is_not_finite_is_text() -> None:
    plain = build_book(["Name", "Price"], ["Ana", 1234567])
    odd = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(plain)) as parts, zipfile.ZipFile(odd, "w") as changed:
        for name in parts.namelist():
            changed.writestr(name, parts.read(name).replace(b"1234567", b"NaN"))
    (row,) = (await read_one(odd.getvalue())).rows
    assert row.cells == ("Ana", "nan")


async def test_too_many_rows() -> None:
    rows = "\n".join(["Name;Since", *("Ana;1" for _ in range(MAX_IMPORT_ROWS + 1))])
    with pytest.raises(ToolError, match="more than 10,000 rows"):
        await read_one(rows.encode())
