"""The text in a file that somebody sent: which files have some, how it is decoded, how much a model
is given."""

from __future__ import annotations

import codecs
from collections.abc import Awaitable, Callable

from core.domain.messages import File

MAX_FILE_TEXT_CHARACTERS = 100_000
"""Characters of one file that a model is given."""
_TEXT_TYPES = ("application/json", "application/xml", "application/x-yaml", "application/yaml",
          "application/toml", "application/javascript", "application/sql",
          "application/csv", "application/x-csv")  # fmt: skip
# A browser on a machine with Excel calls a .csv so
# (https://developer.mozilla.org/en-US/docs/Web/HTTP/Guides/MIME_types/Common_types).
_UNSPECIFIC_TYPES = ("", "application/octet-stream", "application/vnd.ms-excel")
_TEXT_SUFFIXES = (".csv", ".tsv", ".md", ".txt", ".json", ".yaml", ".yml", ".log", ".py", ".sql")
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_text(kind: str, name: str) -> bool:
    """`kind` is its MIME type without parameters, in lower case."""
    plain = kind in _UNSPECIFIC_TYPES and name.lower().endswith(_TEXT_SUFFIXES)
    return (
        plain or kind.startswith("text/") or kind in _TEXT_TYPES or kind.endswith(("+json", "+xml"))
    )


async def exceeds_text_limit(file: File, read: Callable[[File], Awaitable[bytes]]) -> bool:
    """Whether a model is given only its beginning. Raises NotFound."""
    kind = file.type.split(";")[0].strip().lower()
    if not is_text(kind, file.name) or file.size <= MAX_FILE_TEXT_CHARACTERS:
        return False
    # No encoding of ours has more than four bytes for a character.
    return (
        file.size > 4 * MAX_FILE_TEXT_CHARACTERS
        or len(decode_file_text(await read(file))) > MAX_FILE_TEXT_CHARACTERS
    )


def decode_file_text(data: bytes) -> str:
    """UTF-8 or UTF-16, and else Windows-1252, as spreadsheets in western Europe and Brazil save;
    `data` may end within a character."""
    encoding = "utf-16" if data.startswith(_UTF16_MARKS) else "utf-8-sig"
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")
