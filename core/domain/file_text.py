"""The text in a file that somebody sent: which files have some, how it is decoded, how much a model
is given."""

from __future__ import annotations

import codecs
from collections.abc import Awaitable, Callable

from core.domain.messages import File

CHARACTERS = 100_000
"""Characters of one file that a model is given."""
_TYPES = ("application/json", "application/xml", "application/x-yaml", "application/yaml",
          "application/toml", "application/javascript", "application/sql",
          "application/csv", "application/x-csv")  # fmt: skip
# A browser on a machine with Excel calls a .csv so
# (https://developer.mozilla.org/en-US/docs/Web/HTTP/Guides/MIME_types/Common_types).
_UNTOLD = ("", "application/octet-stream", "application/vnd.ms-excel")
_SUFFIXES = (".csv", ".tsv", ".md", ".txt", ".json", ".yaml", ".yml", ".log", ".py", ".sql")
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_text(kind: str, name: str) -> bool:
    """`kind` is its MIME type without parameters, in lower case."""
    plain = kind in _UNTOLD and name.lower().endswith(_SUFFIXES)
    return plain or kind.startswith("text/") or kind in _TYPES or kind.endswith(("+json", "+xml"))


async def is_cut(file: File, read: Callable[[File], Awaitable[bytes]]) -> bool:
    """Whether a model is given only its beginning. Raises NotFound."""
    kind = file.type.split(";")[0].strip().lower()
    if not is_text(kind, file.name) or file.size <= CHARACTERS:
        return False
    # No encoding of ours has more than four bytes for a character.
    return file.size > 4 * CHARACTERS or len(decoded(await read(file))) > CHARACTERS


def decoded(data: bytes) -> str:
    """UTF-8 or UTF-16, and else Windows-1252, as spreadsheets in western Europe and Brazil save;
    `data` may end within a character."""
    encoding = "utf-16" if data.startswith(_WIDE) else "utf-8-sig"
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")
