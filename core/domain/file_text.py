"""The text of attached files: which files contain text, how it is decoded, and how much of it a
model reads."""

from __future__ import annotations

import codecs

from core.base.errors import TooLarge
from core.base.i18n import format_size
from core.base.text import safe_file_name
from core.domain.messages import Attachment

MAX_ATTACHMENT_BYTES = 20 * 1024 * 1024
"""The largest file that Ponte takes: a request to a model holds no more
(`core.models.model_input`)."""
FILE_TOO_LARGE = "`{name}` ({size}) is too large. I accept files of up to {limit}."
MAX_FILE_TEXT_CHARACTERS = 100_000
"""Characters of one file that a model reads."""
_TEXT_TYPES = ("application/json", "application/xml", "application/x-yaml", "application/yaml",
          "application/toml", "application/javascript", "application/sql",
          "application/csv", "application/x-csv")  # fmt: skip
# Browsers on a machine with Excel report a .csv file as application/vnd.ms-excel
# (https://developer.mozilla.org/en-US/docs/Web/HTTP/Guides/MIME_types/Common_types).
_UNSPECIFIC_TYPES = ("", "application/octet-stream", "application/vnd.ms-excel")
_TEXT_SUFFIXES = (".csv", ".tsv", ".md", ".txt", ".json", ".yaml", ".yml", ".log", ".py", ".sql")
UNSURE_ENCODING = "cp1252"
PICTURE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif")
"""Media types that models accept as `input_image` (developers.openai.com, Images and vision)."""
DOCUMENT_TYPE = "application/pdf"


def too_large(attachment: Attachment) -> TooLarge | None:
    """Return the refusal of a file that is too large, with the limit; None for any other file."""
    if attachment.size <= MAX_ATTACHMENT_BYTES or attachment.file:
        return None
    name, size = safe_file_name(attachment.name), format_size(attachment.size)
    return TooLarge(FILE_TOO_LARGE, name=name, size=size, limit=format_size(MAX_ATTACHMENT_BYTES))


def is_text(kind: str, name: str) -> bool:
    """Return whether a file should contain text. `kind` is its MIME type in lower case, without
    parameters."""
    plain = kind in _UNSPECIFIC_TYPES and name.lower().endswith(_TEXT_SUFFIXES)
    return (
        plain or kind.startswith("text/") or kind in _TEXT_TYPES or kind.endswith(("+json", "+xml"))
    )


def file_kind(type: str, name: str) -> str:
    """Return the kind of a file's content: `text`, `picture`, `pdf`, or "" for any other."""
    kind = type.split(";")[0].strip().lower()
    if kind in PICTURE_TYPES:
        return "picture"
    return "pdf" if kind == DOCUMENT_TYPE else "text" if is_text(kind, name) else ""


def find_encoding(data: bytes) -> str:
    """Return the encoding of text: UTF-8, UTF-16 or UTF-32, otherwise Windows-1252, which
    spreadsheets in western Europe and Brazil use, and from which no other one can be told apart.

    Return "" if the data is not text. `data` may end in the middle of a character.
    """
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in data:  # UTF-16 without a mark has one in each Latin character
        return {0: "utf-16-be", 1: "utf-16-le"}.get(data.find(b"\0"), "")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return UNSURE_ENCODING
    return "utf-8-sig"


def decode_file_text(data: bytes) -> str:
    """Return the text of data whose encoding `find_encoding` knows, and no more of it than a model
    reads and one character. `data` may end in the middle of a character."""
    most = MAX_FILE_TEXT_CHARACTERS + 1
    data = data[: 4 * most]  # the supported encodings use at most four bytes for a character
    decoder = codecs.getincrementaldecoder(find_encoding(data) or UNSURE_ENCODING)("replace")
    return decoder.decode(data)[:most]
