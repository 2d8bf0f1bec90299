"""What a quick command or an agent said, as a person and a model read it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from core.fences import after_all, fenced
from core.text import clean, clip

LONG = 6_000
"""Characters from which a result goes into a file, and its beginning into the text."""
BEGINNING = 4_000
_CUT = "[This is the beginning, {shown} of {total} characters. The whole is in the file.]"
_FENCE = re.compile(r"(?P<mark>`{3,}|~{3,})[ \t]*(?P<info>[\w.+-]*)[^\n]*\n(?P<body>.*)", re.DOTALL)
_SUFFIXES = {
    "json": "json", "python": "py", "py": "py", "javascript": "js", "js": "js", "typescript": "ts",
    "java": "java", "sql": "sql", "yaml": "yaml", "yml": "yaml", "csv": "csv", "xml": "xml",
    "html": "html.txt", "bash": "sh", "sh": "sh", "go": "go", "kotlin": "kt", "text": "txt",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    """`text` is as StackSpot gave it; `execution` and `conversation` are its ids."""

    text: str
    execution: str = ""
    conversation: str = ""

    @property
    def data(self) -> Any:
        """The JSON that the whole text is, bare or in a fence; None where it is none."""
        return json_of(self.text)

    @property
    def markdown(self) -> str:
        """As it is shown: JSON as a fenced block, code as it was fenced, text as text."""
        return markdown_of(self.text)


@dataclass(frozen=True, slots=True)
class Document:
    """A long result as a file: `name` without its folder, `data` in UTF-8."""

    name: str
    type: str
    data: bytes


def json_of(text: str) -> Any:
    """Also where a model put a fence around it, or did not close that."""
    inner = _whole_fence(text)
    if inner is not None and inner[0].lower() not in ("", "json", "text", "txt"):
        return None
    try:
        return json.loads(inner[1] if inner else text.strip(), parse_constant=_none)
    except (ValueError, RecursionError):
        return None


def markdown_of(text: str) -> str:
    """`text` cleaned, with JSON objects and lists laid out and fenced."""
    data = json_of(text)
    if isinstance(data, dict | list):
        return fenced(clean(json.dumps(data, ensure_ascii=False, indent=2)), "json")
    if isinstance(data, str) and _whole_fence(text) is None:
        return _closed(clean(data).strip())
    return _closed(clean(text).strip())


def document_of(text: str, stem: str) -> Document:
    """`text` as a file named for `stem`, without the fence around it."""
    if isinstance(data := json_of(text), dict | list):
        whole = json.dumps(data, ensure_ascii=False, indent=2)
        return Document(f"{stem}.json", "application/json", whole.encode(errors="replace"))
    inner = _whole_fence(text)
    suffix = _SUFFIXES.get(inner[0].lower(), "txt") if inner else "md"
    type = "text/markdown" if suffix == "md" else "text/plain"
    body = inner[1] if inner else text
    return Document(f"{stem}.{suffix}", type, clean(body).encode(errors="replace"))


def beginning_of(markdown: str, locale: str) -> str:
    """The first characters of a long result, with a line that says where the rest is."""
    shown = clip(markdown, BEGINNING, _CUT, locale)
    head, newline, note = shown.rpartition("\n")
    return f"{_closed(head)}{newline}\n{note}" if newline else note


def _whole_fence(text: str) -> tuple[str, str] | None:
    """Info and body where the whole text is one fenced block, closed or not."""
    match = _FENCE.fullmatch(text.strip())
    if match is None:
        return None
    body, mark = match["body"].rstrip(), match["mark"]
    inner = body.removesuffix(mark) if body.endswith(mark) else body
    if re.search(rf"^[ \t]*{re.escape(mark)}", inner, re.MULTILINE):
        return None  # there is more than one
    return match["info"], inner.rstrip("\n")


def _closed(markdown: str) -> str:
    """With the fence closed that a model, or our cut, left open."""
    fence = after_all(markdown, None, len(markdown))
    return f"{markdown}\n{fence.closing}" if fence else markdown


def _none(constant: str) -> None:
    raise ValueError(constant)
