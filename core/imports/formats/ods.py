"""Workbooks of LibreOffice and others in OpenDocument. The file has each cell's text as shown."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any
from xml.etree import ElementTree

from core.imports.formats.cells import NotReadable, SheetCells, show_error

_DURATION = re.compile(r"PT(\d+)H(\d+)M(\d+)(?:[.,](\d+))?S")
_ERROR = re.compile(r"#[A-Z/0!?]+|Err:\d{3}")
_CODE = re.compile(r"0\d+|\D*\d[\d\s().+/-]*\d")
_WHITE_SPACE = re.compile(r"[ \t\r\n]+")
_MAX_COLUMNS = 20_000


def read_ods(data: bytes, most_rows: int) -> Iterator[SheetCells]:
    """Hidden sheets are left out. Raise NotReadable for a sheet of more than `most_rows` rows."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    manifest = "META-INF/manifest.xml"
    if manifest in archive.namelist() and b"encryption-data" in archive.read(manifest):
        raise NotReadable("protected")
    hidden_styles = set[str]()
    with archive.open("content.xml") as stream:
        events = ElementTree.iterparse(stream, ("start", "end"))  # noqa: S314
        sheet, row, is_sheet_hidden = SheetCells(), 0, False
        for event, element in events:
            name = element.tag.rpartition("}")[2]
            if event == "start":
                if name == "table":
                    sheet, row = SheetCells(_get(element, "name")), 0
                    is_sheet_hidden = _get(element, "style-name") in hidden_styles
                continue
            if name == "style":
                if any(_get(child, "display") == "false" for child in element):
                    hidden_styles.add(_get(element, "name"))
            elif name == "table-row":
                _read_row(sheet, element, row, most_rows)
                row += _count(element, "number-rows-repeated")
                element.clear()
            elif name == "table":
                if not is_sheet_hidden:
                    yield sheet
                element.clear()


def _get(element: ElementTree.Element, name: str) -> str:
    return next((v for key, v in element.items() if key.rpartition("}")[2] == name), "")


def _count(element: ElementTree.Element, name: str) -> int:
    text = _get(element, name)
    return int(text) if text.isdecimal() else 1


def _read_row(sheet: SheetCells, element: ElementTree.Element, row: int, most_rows: int) -> None:
    cells, column = list[Any](), 0
    for child in element:
        name = child.tag.rpartition("}")[2]
        if name not in ("table-cell", "covered-table-cell"):
            continue
        repeated = _count(child, "number-columns-repeated")
        value = _read_cell(child) if name == "table-cell" else None
        if value is not None and column < _MAX_COLUMNS:
            cells += [None] * (column - len(cells))
            cells += [value] * min(repeated, _MAX_COLUMNS - column)
        right = _count(child, "number-columns-spanned") - 1
        down = _count(child, "number-rows-spanned") - 1
        if right or down:
            sheet.merged.append((row, row + down, column, column + right))
        column += repeated
    repeated = _count(element, "number-rows-repeated")
    if not any(cell is not None for cell in cells):
        return
    if _get(element, "visibility") in ("collapse", "filter"):
        sheet.hidden_count += repeated
        return
    for number in range(row + 1, row + 1 + repeated):
        sheet.add_row(number, list(cells), most_rows)


def _read_cell(element: ElementTree.Element) -> Any:
    paragraphs = (child for child in element if child.tag.rpartition("}")[2] == "p")
    shown = "\n".join(map(_read_paragraph, paragraphs)).strip()
    type = _get(element, "value-type")
    types = {v for key, v in element.items() if key.rpartition("}")[2] == "value-type"}
    if "error" in types or (_get(element, "formula") and _ERROR.fullmatch(shown)):
        return show_error(shown)
    match type:
        case "float" | "currency" | "percentage":
            try:
                value = float(_get(element, "value"))
                exact = Decimal(_get(element, "value"))
            except (ValueError, InvalidOperation):
                return shown or None
            if type == "percentage" and shown.endswith("%"):
                return {"shown": [shown, float(f"{float(exact * 100):.15g}")]}
            number = float(f"{value:.15g}") if abs(value) < 1e15 else value
            whole = int(number) if number.is_integer() and abs(number) < 2**53 else number
            is_code = type == "float" and isinstance(whole, int) and _is_code(shown, whole)
            return {"shown": [shown, whole]} if is_code else whole
        case "date":
            text = _get(element, "date-value")
            return {"datetime" if "T" in text else "date": text.partition(".")[0]}
        case "time":
            if match := _DURATION.fullmatch(_get(element, "time-value")):
                hours, minutes, seconds = (int(part) for part in match.groups()[:3])
                if hours < 24 and not shown.startswith("-"):
                    return {"time": f"{hours:02}:{minutes:02}:{seconds:02}"}
                return {"shown": [shown, hours * 3600 + minutes * 60 + seconds]}
            return shown or None
        case "boolean":
            return _get(element, "boolean-value") == "true"
    return shown or _get(element, "string-value") or None


def _is_code(shown: str, number: int) -> bool:
    """A postal code or telephone number: its leading zeros or its signs are shown, and no
    thousands."""
    digits = re.sub(r"\D", "", shown)
    has_signs = re.search(r"\d[\s()/-]+\d", shown.replace("\u00a0", "").replace("\u202f", ""))
    has_thousands = re.fullmatch(r"\D*\d{1,3}(\D\d{3})+\D*", shown)
    is_whole = digits.lstrip("0") == str(abs(number)).lstrip("0")
    return is_whole and (
        (shown[:1] == "0" and len(digits) > 1) or bool(has_signs and not has_thousands)
    )


def _read_paragraph(element: ElementTree.Element) -> str:
    """Return its text: `s` are spaces, `tab` and `line-break` what they say, and notes are none."""
    pieces = [_WHITE_SPACE.sub(" ", element.text or "")]
    for child in element:
        name = child.tag.rpartition("}")[2]
        if name == "s":
            pieces.append(" " * min(_count(child, "c"), 1_000))
        elif name in ("tab", "line-break"):
            pieces.append("\t" if name == "tab" else "\n")
        elif name != "annotation":
            pieces.append(_read_paragraph(child))
        pieces.append(_WHITE_SPACE.sub(" ", child.tail or ""))
    return "".join(pieces)
