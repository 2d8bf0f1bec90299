"""Tables as files: CSV as the reader's spreadsheet expects it, XLSX read back, JSON."""

from __future__ import annotations

import csv
import io
import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import openpyxl
import pytest
from openpyxl.utils.escape import unescape

from core.base.i18n import use_locale
from core.base.spreadsheets import (
    MAX_XLSX_CELL_UNITS,
    Cell,
    ExportColumn,
    ExportFormat,
    encode_table,
)

COLUMNS = [
    ExportColumn("Name"),
    ExportColumn("Amount", "currency BRL 2"),
    ExportColumn("Due", "date"),
    ExportColumn("Rate", "percent 1"),
    ExportColumn("Length", "duration h:mm"),
]
ROW: list[Cell] = ["Zoé; José", -1234.5, date(2026, 11, 20), 12.5, 5400]
ODD = ["", "😀" * 3, "שלום", "a\r\nb", "<b>x</b>", "a|b", 'q"q', "00123", "_x0041_", "\ud83d"]


def sheet_of(data: bytes) -> Any:
    return openpyxl.load_workbook(io.BytesIO(data)).active


def texts_of(data: bytes, separator: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig")), delimiter=separator))


@pytest.mark.parametrize(
    ("locale", "separator", "amount"),
    [("en", ",", "-1234.5"), ("pt-BR", ";", "-1234,5"), ("fr", ";", "-1234,5")],
)
def test_csv_opens_in_columns_in_the_language(locale: str, separator: str, amount: str) -> None:
    with use_locale(locale):
        data = encode_table(COLUMNS, [ROW], "csv").data
    assert data.startswith(b"\xef\xbb\xbf")
    assert data.endswith(b"\r\n")
    row = texts_of(data, separator)[1]
    assert row[:3] == ["Zoé; José", amount, "2026-11-20"]


@pytest.mark.parametrize("form", ["csv", "xlsx"])
@pytest.mark.parametrize("cell", ["=1+1", "+cmd|'x'", "-2+3", "@SUM(1)", "\t=1", "\r=1", "＝1"])
def test_no_cell_is_a_formula(cell: str, form: ExportFormat) -> None:
    data = encode_table([ExportColumn(cell)], [[cell]], form).data
    if form == "csv":
        assert all(row[0].startswith("'") for row in texts_of(data, ","))
    else:
        match = sheet_of(data)["A2"]
        assert match.data_type == "s"
        assert match.value == cell.replace("\r", "\n")


@pytest.mark.parametrize(
    ("cell", "format", "text"),
    [
        ("1234567890123456", "", "1234567890123456\t"),
        (1234567890123456, "number", "1234567890123456\t"),
        (Decimal("-0.1234567890123456"), "number", "-0,1234567890123456\t"),
        ("123456789012345", "", "123456789012345"), (123456789012345, "number", "123456789012345"),
        ("007", "", "007"), ("0.5", "", "0.5"), (0.1 + 0.2, "", "0,30000000000000004"),
    ],
)  # fmt: skip
def test_excel_keeps_ids_of_a_csv_file_and_other_programs_read_them(
    cell: Cell, format: str, text: str
) -> None:
    with use_locale("pt-BR"):
        data = encode_table([ExportColumn("Id", format)], [[cell]], "csv").data
    (match,) = texts_of(data, ";")[1]
    assert match == text
    number = match.replace(",", ".")
    if isinstance(cell, int):
        assert int(number) == cell, "white space after a number is skipped"


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("12", 12),
        ("12.50", 12.5),
        ("9007199254740991", 9007199254740991),
        ("1e300", 1e300),
        ("12345678901234567890", "12345678901234567890"),
        ("0.1234567890123456789", "0.1234567890123456789"),
    ],
)
def test_a_number_of_json_loses_no_digit_in_programs_that_read_floats(
    cell: str, value: object
) -> None:
    data = encode_table([ExportColumn("Id", "number")], [[cell]], "json").data
    assert json.loads(data, parse_int=float) == [{"Id": value}]
    assert len(data) < 50


def test_an_address_is_no_link() -> None:
    data = encode_table([ExportColumn("Page")], [["https://example.com"]], "xlsx").data
    assert sheet_of(data)["A2"].hyperlink is None


def test_a_sheet_has_types_formats_and_a_frozen_bold_header() -> None:
    with use_locale("pt-BR"):
        rows: list[list[Cell]] = [ROW, [None, None, datetime(2026, 11, 20, 14, 30), None, None]]  # noqa: DTZ001
        sheet = sheet_of(encode_table(COLUMNS, rows, "xlsx", "Faturas/2026").data)
    assert (sheet.title, sheet.freeze_panes, sheet["A1"].font.b) == ("Faturas 2026", "A2", True)
    _, amount, due, rate, length = sheet[2]
    assert (amount.value, amount.number_format) == (-1234.5, '"R$"\u00a0#,##0.00')
    assert (due.value, due.number_format) == (datetime(2026, 11, 20), "dd/mm/yyyy")  # noqa: DTZ001
    assert (rate.value, rate.number_format) == (0.125, "#,##0.0%")
    assert length.number_format == "[h]:mm"
    assert sheet["C3"].value == datetime(2026, 11, 20, 14, 30)  # noqa: DTZ001
    assert sheet.column_dimensions["A"].width > sheet.column_dimensions["E"].width - 9


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (123456789012345, 123456789012345), (1234567890123456, "1234567890123456"),
        (Decimal("0.1234567890123456"), "0.1234567890123456"), (1e300, "1e+300"),
        (0.1 + 0.2, 0.3), ("0012", "0012"), (True, True), (None, None),
        (date(1899, 1, 1), "1899-01-01"), (float("nan"), "nan"),
    ],
)  # fmt: skip
def test_excel_changes_no_value(cell: Cell, value: object) -> None:
    assert sheet_of(encode_table([ExportColumn("x")], [[cell]], "xlsx").data)["A2"].value == value


def test_a_cell_that_excel_cannot_hold_says_that_it_is_cut() -> None:
    export = encode_table([ExportColumn("x")], [["😀" * 500_000], ["y"]], "xlsx")
    cell = sheet_of(export.data)["A2"].value
    assert export.cut_cells == 1
    assert cell.endswith("[truncated: Excel's limit is 32767 characters]")
    assert MAX_XLSX_CELL_UNITS - 2 < len(cell.encode("utf-16-le")) / 2 <= MAX_XLSX_CELL_UNITS
    for form in ("csv", "json"):
        data = encode_table([ExportColumn("x")], [["😀" * 500_000]], form).data
        assert "😀" * 500_000 in data.decode()


@pytest.mark.parametrize("form", ["csv", "xlsx", "json"])
def test_odd_tables_keep_their_cells(form: ExportFormat) -> None:
    for width in (1, 200):
        columns = [ExportColumn(f"c{n}") for n in range(width)]
        rows = [[text] * width for text in ODD]
        data = encode_table(columns, rows, form).data
        expected = [text.encode(errors="replace").decode() for text in ODD]
        if form == "csv":
            matches = [row[-1] if row else "" for row in texts_of(data, ",")[1:]]
        elif form == "json":
            matches = [row[f"c{width - 1}"] for row in json.loads(data)]
        else:
            matches = [unescape(row[-1].value or "") for row in sheet_of(data).iter_rows(min_row=2)]
            expected = [text.replace("\r\n", "\n") for text in expected]
        assert matches[-len(expected) + 1 :] == expected[1:]
        assert encode_table([], [], form).data


def test_json_has_numbers_and_no_title_twice() -> None:
    columns = [ExportColumn("a"), ExportColumn("a", "number"), ExportColumn("b", "number 2")]
    data = encode_table(columns, [["7", Decimal("7.5"), 10**20]], "json").data
    assert json.loads(data) == [{"a": "7", "a (2)": 7.5, "b": 10**20}]


@pytest.mark.parametrize("cell", [float("nan"), float("inf"), float("-inf")])
def test_json_has_only_numbers_that_it_can_write(cell: float) -> None:
    data = encode_table([ExportColumn("a")], [[cell]], "json").data
    assert json.loads(data, parse_constant=pytest.fail) == [{"a": None}]
