"""The program that reads a file with tables from its input, and writes a line of JSON for the file,
then one for each sheet: `reader.py ROWS COLUMNS SECONDS ENCODING TITLES OUTLINE`. It has no
environment.

Its exit code is not 0 where the file takes too much memory or time.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import resource
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from core.base.file_text import decode_text, find_encoding
from core.imports.formats.cells import NotReadable, SheetCells
from core.imports.formats.delimited import read_delimited
from core.imports.formats.markup import read_html, read_spreadsheet_xml
from core.imports.formats.ods import read_ods
from core.imports.formats.xls import read_xls
from core.imports.formats.xlsx import read_xlsx

MAX_MEMORY_BYTES = 2 << 30
MAX_SHEETS_BYTES = 128 << 20
"""A small workbook can have gigabytes of text, as cells can share one."""
OLE_START = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OTHER_FILES = {
    b"%PDF": "PDF", b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"{\\rtf": "RTF",
    b"PAR1": "Parquet", b"SQLite format 3": "SQLite", b"\x1f\x8b": "GZIP", b"7z\xbc\xaf": "7-Zip",
    b"Rar!": "RAR", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"BM": "BMP", b"ID3": "MP3",
    b"OggS": "Ogg", b"MIME-Version": "MHTML", b"BEGIN:VCARD": "vCard",
    b"BEGIN:VCALENDAR": "iCalendar", b"From: <Saved by": "MHTML", b"OFXHEADER:": "OFX",
    b"!Type:": "QIF", b"ID;PWXL": "SYLK", b"\x7fELF": "ELF",
}  # fmt: skip
"""How files begin that hold no tables."""
_TEXT_FILES = ("PDF", "RTF", "MHTML", "vCard", "iCalendar", "OFX", "QIF", "SYLK")
_ZIPPED_FILES = {"word/": "Word", "ppt/": "PowerPoint", "Index/": "Numbers", "META-INF/": "ZIP"}
_OLE_FILES = {"WordDocument": "Word", "PowerPoint Document": "PowerPoint",
              "__substg1.0_": "Outlook"}  # fmt: skip
Table = tuple[dict[str, Any], Iterator[SheetCells]]


def main() -> None:
    """The limits hold for this process alone."""
    rows, columns, seconds = map(int, sys.argv[1:4])
    encoding, titles = sys.argv[4], int(sys.argv[5]) if sys.argv[5] else None
    # macOS refuses it (https://github.com/python/cpython/issues/84698).
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    data = sys.stdin.buffer.read()
    try:
        about, sheets = read_file(data, rows, encoding, titles, is_outline=bool(sys.argv[6]))
        lines = [json.dumps(about)]
        for sheet in sheets:
            if any(cell is not None for cells in sheet.rows.values() for cell in cells[columns:]):
                raise NotReadable("too_large")
            sheet.fill_merged()
            sheet.rows = {number: cells[:columns] for number, cells in sheet.rows.items()}
            lines.append(json.dumps(vars(sheet)))
            if sum(map(len, lines)) > MAX_SHEETS_BYTES:
                sys.exit("too much text")
    except NotReadable as error:
        lines = [json.dumps({"refused": error.code, "values": error.values})]
    except MemoryError:
        sys.exit("too much memory")
    except Exception:  # a damaged file may raise anything
        lines = ['{"refused": "damaged"}']
    sys.stdout.write("\n".join(lines))


def read_file(
    data: bytes, most_rows: int, encoding: str, titles: int | None, *, is_outline: bool = False
) -> Table:
    """Return what kind of file this is, by its first bytes, and its sheets. Raise NotReadable, and
    what the readers of its kind raise."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    if data.startswith(b"PK\x03\x04"):
        return _read_zip(data, most_rows)
    if data.startswith(OLE_START) or data[:2] in (b"\x09\x08", b"\x09\x04", b"\x09\x02"):
        return {"kind": "xls"}, _read_ole(data, most_rows)
    for start, name in _OTHER_FILES.items():
        # A CSV may begin with letters such as BM or ID3, and has no zero bytes.
        if (data.startswith(start) or (name in _TEXT_FILES and head.startswith(start))) and (
            name in _TEXT_FILES or not start.isalnum() or b"\0" in data
        ):
            raise NotReadable("other", kind=name)
    if data[4:8] == b"ftyp" or (data.startswith(b"RIFF") and data[8:12] in (b"WEBP", b"WAVE")):
        raise NotReadable("other", kind="HEIC" if b"hei" in data[8:12] else "media")
    if not encoding and not find_encoding(data) and not _has_few_zeros(data):
        raise NotReadable("binary")
    lowered = head.lower()
    if lowered.startswith((b"<?xml", b"<workbook")):
        if b"urn:schemas-microsoft-com:office:spreadsheet" in data[:4096]:
            return {"kind": "xml"}, read_spreadsheet_xml(data)
        if b"<html" not in data[:4096].lower():
            raise NotReadable("other", kind="XML")
    if _has_few_zeros(data):
        data = data.replace(b"\0", b"")
    decoded = decode_text(data, encoding)
    about = {
        "kind": "text",
        "encoding": decoded.encoding,
        "strays": decoded.stray_count,
        "stray_lines": decoded.stray_lines,
    }
    beginning = decoded.text[:2000].lstrip().lower()
    is_closed = re.match(r"<[a-z!?]", beginning) and decoded.text.rstrip().endswith(">")
    starts = ("<!doctype html", "<html", "<table", "<meta", "<head", "<?xml", "<style")
    if is_closed or beginning.startswith(starts):
        tables = list(read_html(decoded.text, most_rows))
        if tables:
            return {**about, "kind": "html"}, iter(tables)
        # A CSV may have cells such as <b>Name</b>.
        if beginning.startswith(starts) or not re.search("[;,\t|]", beginning.partition("\n")[0]):
            raise NotReadable("other", kind="HTML")
    if beginning.startswith(("{", "[")) and _is_json(decoded.text):
        raise NotReadable("other", kind="JSON")
    sheet, separator = read_delimited(decoded.text, most_rows, titles, is_outline=is_outline)
    return {**about, "separator": separator}, iter([sheet])


def _has_few_zeros(data: bytes) -> bool:
    """Some programs leave single zero bytes in a text, and no other control characters."""
    is_text = not re.search(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]", data)
    return not find_encoding(data) and 0 < data.count(b"\0") * 200 < len(data) and is_text


def _is_json(text: str) -> bool:
    """Return whether the text, or its first line, is an object or a list."""
    for part in (text, text.strip().partition("\n")[0].rstrip(",")):
        try:
            return isinstance(json.loads(part), dict | list)
        except (ValueError, RecursionError):
            continue
    return False


def _read_zip(data: bytes, most_rows: int) -> Table:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name.replace("\\", "/").lstrip("/") for name in archive.namelist()]
        kind = archive.read("mimetype") if "mimetype" in names else b""
    lowered = [name.lower() for name in names]
    if kind.startswith(b"application/vnd.oasis.opendocument.spreadsheet"):
        return {"kind": "ods"}, read_ods(data, most_rows)
    if any(name.endswith("workbook.bin") for name in lowered):
        raise NotReadable("xlsb")
    if any(name.startswith("xl/") or name.endswith("workbook.xml") for name in lowered):
        return {"kind": "xlsx"}, read_xlsx(data, most_rows)
    for start, name in _ZIPPED_FILES.items():
        if any(path.startswith(start) for path in names):
            raise NotReadable("other", kind=name)
    raise NotReadable("other", kind="OpenDocument" if kind else "ZIP")


def _read_ole(data: bytes, most_rows: int) -> Iterator[SheetCells]:
    """Excel puts a workbook with a password into the container of Excel 97."""
    if "EncryptedPackage".encode("utf-16-le") in data:
        raise NotReadable("protected")
    for stream, name in _OLE_FILES.items():
        if stream.encode("utf-16-le") in data and "Workbook".encode("utf-16-le") not in data:
            raise NotReadable("other", kind=name)
    yield from read_xls(data, most_rows)


if __name__ == "__main__":
    main()
