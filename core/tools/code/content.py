"""What kind of file the bytes are, whatever the code calls them."""

from __future__ import annotations

import mimetypes

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"%PDF-": "application/pdf",
}
_PICTURES = frozenset(_MAGIC.values()) - {"application/pdf"}


def type_of(name: str, data: bytes) -> str:
    """A media type. Pictures are known by their first bytes alone: a name proves none."""
    for magic, kind in _MAGIC.items():
        if data.startswith(magic):
            return kind
    guessed = mimetypes.guess_type(name)[0] or ""
    # HTML and SVG can hold script.
    if guessed in ("text/html", "image/svg+xml", "application/xhtml+xml"):
        return "text/plain" if _is_text(data) else "application/octet-stream"
    if guessed and guessed not in _PICTURES:
        return guessed
    return "text/plain" if _is_text(data) else "application/octet-stream"


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in data
