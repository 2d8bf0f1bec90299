"""Workbooks of Excel since 2007 (ECMA-376), also as other programs write them: with or without
prefixes, references of cells, styles or shared texts.

The process that reads them has limits of memory and time for what hostile XML can cost.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

from core.imports.formats.cells import (
    NotReadable,
    SheetCells,
    builtin_format,
    show_error,
    show_formula,
    show_number,
)

_REFERENCE = re.compile(r"\$?([A-Za-z]{1,3})\$?(\d{1,7})")
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")


def read_xlsx(data: bytes, most_rows: int) -> Iterator[SheetCells]:
    """Hidden sheets are left out. Raise NotReadable for a sheet of more than `most_rows` rows."""
    parts = _Parts(zipfile.ZipFile(io.BytesIO(data)))
    main = parts.find_main()
    book = parts.parse(main)
    links = parts.read_links(main)
    uses_1904 = any(
        element.get("date1904", "") in ("1", "true") for element in _each(book, "workbookPr")
    )
    texts = list(parts.read_texts(main, links))
    formats = parts.read_formats(main, links)
    for sheet in _each(book, "sheet"):
        path = links.get(_attribute(sheet, "id"), ("", ""))[1]
        if sheet.get("state", "visible") == "visible" and path and "chartsheet" not in path:
            reader = _SheetReader(sheet.get("name", ""), texts, formats, uses_1904, most_rows)
            with parts.open(path) as stream:
                yield reader.read(stream)


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _each(root: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    return (element for element in root.iter() if _name(element) == name)


def _attribute(element: ElementTree.Element, name: str) -> str:
    """Return an attribute that has a namespace, whichever it is."""
    return next((v for key, v in element.items() if key.endswith(f"}}{name}")), "")


class _Parts:
    """The files in the archive. Some programs write their names in other letters, or with `\\`."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names = {self._fold(name): name for name in archive.namelist()}

    def _fold(self, name: str) -> str:
        return posixpath.normpath(name.replace("\\", "/").lstrip("/")).casefold()

    def open(self, name: str) -> Any:
        if self._fold(name) not in self._names:
            raise NotReadable("damaged")
        return self._archive.open(self._names[self._fold(name)])

    def parse(self, name: str) -> ElementTree.Element:
        with self.open(name) as stream:
            return ElementTree.parse(stream).getroot()  # noqa: S314

    def find_main(self) -> str:
        """Return the name of the part that lists the sheets."""
        for type, path in self.read_links("").values():
            if type == "officeDocument":
                return path
        return "xl/workbook.xml"

    def read_links(self, part: str) -> Mapping[str, tuple[str, str]]:
        """Return the type and the path of each part that this one names, by its id there."""
        folder, name = posixpath.split(part)
        links = posixpath.join(folder, "_rels", f"{name}.rels")
        if self._fold(links) not in self._names:
            return {}
        return {
            link.get("Id", ""): (
                link.get("Type", "").rpartition("/")[2],
                posixpath.join(folder, link.get("Target", "")).lstrip("/")
                if not link.get("Target", "").startswith("/")
                else link.get("Target", "").lstrip("/"),
            )
            for link in _each(self.parse(links), "Relationship")
        }

    def read_texts(self, main: str, links: Mapping[str, tuple[str, str]]) -> Iterator[str]:
        """Yield the texts that cells share."""
        path = self._find(main, links, "sharedStrings")
        if not path:
            return
        with self.open(path) as stream:
            for _, element in ElementTree.iterparse(stream):  # noqa: S314
                if _name(element) == "si":
                    yield _read_text(element)
                    element.clear()

    def _find(self, main: str, links: Mapping[str, tuple[str, str]], type: str) -> str:
        named = next((path for kind, path in links.values() if kind == type), "")
        usual = posixpath.join(posixpath.dirname(main), f"{type}.xml")
        return next((p for p in (named, usual) if p and self._fold(p) in self._names), "")

    def read_formats(self, main: str, links: Mapping[str, tuple[str, str]]) -> Sequence[str]:
        """Return the number format of each style, in the order of the styles."""
        if not (path := self._find(main, links, "styles")):
            return ()
        styles = self.parse(path)
        codes = {
            element.get("numFmtId"): element.get("formatCode", "")
            for element in _each(styles, "numFmt")
        }
        uses = next(_each(styles, "cellXfs"), None)
        numbers = [use.get("numFmtId", "0") for use in uses] if uses is not None else ()
        return [
            codes.get(number) or builtin_format(int(number) if number.isdecimal() else 0)
            for number in numbers
        ]


def _read_text(element: ElementTree.Element) -> str:
    """Return a text with all its pieces, but without how it is pronounced."""
    pieces = [
        text.text or ""
        for child in element
        for text in ([child] if _name(child) == "t" else child if _name(child) == "r" else ())
        if _name(text) == "t"
    ]
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), "".join(pieces))


@dataclass
class _SheetReader:
    """Reads one sheet, a row at a time."""

    title: str
    texts: Sequence[str]
    formats: Sequence[str]
    uses_1904: bool
    most_rows: int
    hidden: set[int] = field(default_factory=set)

    def read(self, stream: Any) -> SheetCells:
        sheet, number = SheetCells(self.title), 0
        for event, element in ElementTree.iterparse(stream, ("start", "end")):  # noqa: S314
            name = _name(element)
            if event == "start":
                continue
            if name == "row":
                given = element.get("r", "")
                number = int(given) if given.isdecimal() else number + 1
                cells = self._read_row(element)
                is_hidden = element.get("hidden", "0") in ("1", "true")
                element.clear()
                if any(cell is not None for cell in cells):
                    if is_hidden:
                        sheet.hidden_count += 1
                    else:
                        sheet.add_row(number, cells, self.most_rows)
            elif name == "mergeCell":
                ends = [_REFERENCE.fullmatch(p) for p in element.get("ref", "").split(":")]
                if len(corners := [end for end in ends if end]) == 2:
                    (top, left), (bottom, right) = map(_locate, corners)
                    sheet.merged.append((top, bottom, left, right))
                element.clear()
        return sheet

    def _read_row(self, row: ElementTree.Element) -> list[Any]:
        cells, column = list[Any](), -1
        for element in row:
            if _name(element) != "c":
                continue
            reference = _REFERENCE.fullmatch(element.get("r", ""))
            column = _locate(reference)[1] if reference else column + 1
            if (cell := self._read_cell(element)) is not None:
                cells += [None] * (column + 1 - len(cells))
                cells[column] = cell
        return cells

    def _read_cell(self, element: ElementTree.Element) -> Any:
        children = {_name(child): child for child in element}
        kind, formula = element.get("t", "n"), children.get("f")
        if kind == "inlineStr" or "is" in children:
            return _read_text(children["is"]) if "is" in children else None
        value = children["v"].text or "" if "v" in children else ""
        if value == "":
            return show_formula(formula.text or "") if formula is not None else None
        if kind == "s":
            at = int(value) if value.strip().isdecimal() else -1
            return self.texts[at] or None if 0 <= at < len(self.texts) else show_error("#REF!")
        if kind == "str":
            return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), value)
        if kind == "e":
            return show_error(value)
        if kind == "b":
            return value.strip() in ("1", "true")
        if kind == "d":
            moment = datetime.fromisoformat(value.strip())
            return {"datetime": moment.replace(tzinfo=None).isoformat()}
        style = element.get("s", "")
        at = int(style) if style.isdecimal() else 0
        code = self.formats[at] if at < len(self.formats) else ""
        try:
            return show_number(float(value), code, self.uses_1904)
        except ValueError:
            return value


def _locate(reference: re.Match[str]) -> tuple[int, int]:
    """Return the row and the column, from 0, of a reference such as B3."""
    column = 0
    for letter in reference[1].upper():
        column = column * 26 + ord(letter) - 64
    return int(reference[2]) - 1, column - 1
