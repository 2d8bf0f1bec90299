"""Workbooks of Excel 97 and before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from core.imports.formats.cells import NotReadable, SheetCells, show_error, show_number


def read_xls(data: bytes, most_rows: int) -> Iterator[SheetCells]:
    """Hidden sheets are left out. Raise NotReadable for a sheet of more than `most_rows` rows."""
    import xlrd

    with open(os.devnull, "w") as nowhere:
        try:
            book = xlrd.open_workbook(
                file_contents=data,
                formatting_info=True,
                on_demand=True,
                logfile=nowhere,
                ignore_workbook_corruption=True,
            )
        except xlrd.XLRDError as error:
            raise NotReadable("protected" if "encrypted" in str(error) else "damaged") from None
        for at in range(book.nsheets):
            source = book.sheet_by_index(at)
            if not source.visibility:
                yield _read_sheet(book, source, most_rows)
            book.unload_sheet(at)


def _read_sheet(book: Any, source: Any, most_rows: int) -> SheetCells:
    sheet = SheetCells(source.name)
    sheet.merged = [
        (top, bottom - 1, left, right - 1) for top, bottom, left, right in source.merged_cells
    ]
    for row in range(source.nrows):
        cells = [_read_cell(book, source, row, at) for at in range(source.row_len(row))]
        if not any(cell is not None for cell in cells):
            continue
        info = source.rowinfo_map.get(row)
        if info is not None and info.hidden:
            sheet.hidden_count += 1
        else:
            sheet.add_row(row + 1, cells, most_rows)
    return sheet


def _read_cell(book: Any, source: Any, row: int, at: int) -> Any:
    import xlrd

    type, value = source.cell_type(row, at), source.cell_value(row, at)
    match type:
        case xlrd.XL_CELL_NUMBER | xlrd.XL_CELL_DATE:
            style = book.xf_list[source.cell_xf_index(row, at)]
            format = book.format_map.get(style.format_key)
            return show_number(value, format.format_str if format else "", bool(book.datemode))
        case xlrd.XL_CELL_TEXT:
            return value or None
        case xlrd.XL_CELL_BOOLEAN:
            return bool(value)
        case xlrd.XL_CELL_ERROR:
            return show_error(xlrd.error_text_from_code.get(value, "#N/A"))
    return None
