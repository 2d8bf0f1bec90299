"""Tables in HTML and in SpreadsheetML 2003, which reports of Salesforce and others are, named
.xls."""

from __future__ import annotations

import io
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

from core.imports.formats.cells import NotReadable, SheetCells, show_error, show_number

_MAX_SPAN = _MAX_TABLES = 1_000
_LINE_ENDS = frozenset({"br", "p", "div", "li"})


class _TableParser(HTMLParser):
    """A table within a cell is a table of its own, and no text of the cell."""

    def __init__(self, most_rows: int) -> None:
        super().__init__(convert_charrefs=True)
        self._most_rows = most_rows
        self.tables: list[SheetCells] = []
        self._open: list[tuple[SheetCells, list[int], dict[int, int]]] = []
        """Each open table with its last row and the column of its next cell, and the last row to
        which a cell covers a column."""
        self._text: list[str] | None = None
        self._span = (1, 1)
        self._skipped = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("style", "script"):
            self._skipped += 1
        elif tag == "table":
            self._close_cell()
            sheet = SheetCells()
            self.tables.append(sheet)
            if len(self.tables) > _MAX_TABLES:
                raise NotReadable("too_large")
            self._open.append((sheet, [0, 0], {}))
        elif self._open and tag == "tr":
            self._close_cell()
            place = self._open[-1][1]
            place[0], place[1] = place[0] + 1, 0
        elif self._open and tag in ("td", "th"):
            self._close_cell()
            given = dict(attrs)
            self._span = _read_span(given.get("colspan")), _read_span(given.get("rowspan"))
            self._text = []
        elif tag in _LINE_ENDS and self._text:
            self._text.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "script"):
            self._skipped = max(0, self._skipped - 1)
        elif tag in ("td", "th", "tr"):
            self._close_cell()
        elif tag == "table" and self._open:
            self._close_cell()
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._text is not None and not self._skipped:
            # White space of HTML, without no-break spaces.
            self._text.append(" ".join(f"x{data}x".split())[1:-1])

    def _close_cell(self) -> None:
        if self._text is None or not self._open:
            return
        (sheet, place, covered), (right, down) = self._open[-1], self._span
        row = max(place[0], 1)
        cells = sheet.rows.setdefault(row, [])
        while covered.get(place[1], 0) >= row:
            place[1] += 1
        if place[1] >= _MAX_SPAN or len(sheet.rows) > self._most_rows:
            raise NotReadable("too_large")
        cells += [None] * (place[1] + 1 - len(cells))
        cells[place[1]] = "".join(self._text).strip() or None
        if right > 1 or down > 1:
            sheet.merged.append((row - 1, row + down - 2, place[1], place[1] + right - 1))
            covered |= dict.fromkeys(range(place[1], place[1] + right), row + down - 1)
        place[1] += right
        self._text = None


def _read_span(text: str | None) -> int:
    return min(int(text), _MAX_SPAN) if text and text.isdecimal() and int(text) else 1


def read_html(text: str, most_rows: int) -> Iterator[SheetCells]:
    """Yield the tables that have two rows or more. Raise NotReadable for too many."""
    parser = _TableParser(most_rows)
    parser.feed(text)
    parser.close()
    for number, sheet in enumerate(parser.tables, 1):
        sheet.rows = {
            at: cells for at, cells in sheet.rows.items() if any(cell is not None for cell in cells)
        }
        if len(sheet.rows) > 1:
            sheet.title = str(number)
            yield sheet


def read_spreadsheet_xml(data: bytes) -> Iterator[SheetCells]:
    """Yield the sheets of a workbook in SpreadsheetML 2003."""
    sheet, row, column, formats = SheetCells(), 0, 0, dict[str, str]()
    for event, element in ElementTree.iterparse(io.BytesIO(data), ("start", "end")):  # noqa: S314
        name = element.tag.rpartition("}")[2]
        if event == "start":
            if name == "Worksheet":
                sheet, row = SheetCells(_get(element, "Name")), 0
            elif name == "Row":
                row, column = _index(element) or row + 1, 0
            elif name == "Cell":
                column = _index(element) or column + 1
        elif name == "Style":
            found = (_get(c, "Format") for c in element if c.tag.endswith("}NumberFormat"))
            formats[_get(element, "ID")] = next(found, "").replace("Percent", "0.00%")
        elif name == "Cell":
            code = formats.get(_get(element, "StyleID"), "")
            value = next((_read_data(c, code) for c in element if c.tag.endswith("}Data")), None)
            right, down = (_index(element, key) for key in ("MergeAcross", "MergeDown"))
            if value is not None:
                cells = sheet.rows.setdefault(row, [])
                cells += [None] * (min(column, 20_000) - len(cells))
                cells[min(column, 20_000) - 1] = value
            if right or down:
                sheet.merged.append((row - 1, row - 1 + down, column - 1, column - 1 + right))
            column += right
        elif name == "Row":
            if _get(element, "Hidden") == "1" and row in sheet.rows:
                del sheet.rows[row]
                sheet.hidden_count += 1
            element.clear()
        elif name == "Worksheet" and sheet.rows:
            yield sheet


def _get(element: ElementTree.Element, name: str) -> str:
    return next((v for key, v in element.items() if key.rpartition("}")[2] == name), "")


def _index(element: ElementTree.Element, key: str = "Index") -> int:
    text = _get(element, key)
    return int(text) if text.isdecimal() else 0


def _read_data(element: ElementTree.Element, code: str) -> Any:
    text = "".join(element.itertext())
    match _get(element, "Type"):
        case "Number":
            try:
                return show_number(float(text), code if code and code[-1] in "0%" else "")
            except ValueError:
                return text
        case "DateTime":
            return {"datetime": text.partition(".")[0]}
        case "Boolean":
            return text == "1"
        case "Error":
            return show_error(text)
    return text or None
