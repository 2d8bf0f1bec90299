"""The text of attached files: which files contain text, how it is decoded, and how much of it a
model reads."""

from __future__ import annotations

import codecs
from collections.abc import Awaitable, Callable

from core.domain.messages import File

MAX_FILE_TEXT_CHARACTERS = 100_000
"""Characters of one file that a model reads."""
_TEXT_TYPES = ("application/json", "application/xml", "application/x-yaml", "application/yaml",
          "application/toml", "application/javascript", "application/sql",
          "application/csv", "application/x-csv")  # fmt: skip
# Browsers on a machine with Excel report a .csv file as application/vnd.ms-excel
# (https://developer.mozilla.org/en-US/docs/Web/HTTP/Guides/MIME_types/Common_types).
_UNSPECIFIC_TYPES = ("", "application/octet-stream", "application/vnd.ms-excel")
_TEXT_SUFFIXES = (".csv", ".tsv", ".md", ".txt", ".json", ".yaml", ".yml", ".log", ".py", ".sql")
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_text(kind: str, name: str) -> bool:
    """Return whether a file contains text. `kind` is its MIME type in lower case, without
    parameters."""
    plain = kind in _UNSPECIFIC_TYPES and name.lower().endswith(_TEXT_SUFFIXES)
    return (
        plain or kind.startswith("text/") or kind in _TEXT_TYPES or kind.endswith(("+json", "+xml"))
    )


async def exceeds_text_limit(file: File, read: Callable[[File], Awaitable[bytes]]) -> bool:
    """Return whether a model reads only the beginning of this file. Raise NotFound."""
    kind = file.type.split(";")[0].strip().lower()
    if not is_text(kind, file.name) or file.size <= MAX_FILE_TEXT_CHARACTERS:
        return False
    # The supported encodings use at most four bytes for a character.
    return (
        file.size > 4 * MAX_FILE_TEXT_CHARACTERS
        or len(decode_file_text(await read(file))) > MAX_FILE_TEXT_CHARACTERS
    )


def decode_file_text(data: bytes) -> str:
    """Return the text of UTF-8 or UTF-16 data, otherwise of Windows-1252, which spreadsheets in
    western Europe and Brazil use. `data` may end in the middle of a character."""
    encoding = "utf-16" if data.startswith(_UTF16_MARKS) else "utf-8-sig"
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")
