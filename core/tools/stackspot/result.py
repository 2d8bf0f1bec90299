"""What a quick command said, read leniently: a text, often JSON, often in a fence."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from core.text import clean

_FENCE = re.compile(
    r"(?P<mark>`{3,}(?!`)|~{3,}(?!~))[ \t]*(?P<info>[\w.+-]*)(?![\w.+-])[^\n]*\n(?P<body>.*)",
    re.DOTALL,
)
_JSON = ("", "json", "json5", "jsonc", "text", "txt")
_SUFFIXES = {
    "json": "json", "python": "py", "py": "py", "javascript": "js", "js": "js", "typescript": "ts",
    "ts": "ts", "java": "java", "kotlin": "kt", "go": "go", "sql": "sql", "yaml": "yaml",
    "yml": "yaml", "csv": "csv", "xml": "xml", "bash": "sh", "sh": "sh",
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
    def bare(self) -> str:
        """The text without a fence around JSON; code keeps its fence, for it tells the language."""
        block = _only_block(self.text)
        return block[1].strip() if block and self.data is not None else self.text


@dataclass(frozen=True, slots=True)
class Document:
    """A result as a file: `data` in UTF-8."""

    name: str
    type: str
    data: bytes


def json_of(text: str) -> Any:
    """Also where a model put a fence around it, or did not close that."""
    block = _only_block(text)
    if block is not None and block[0].lower() not in _JSON:
        return None
    try:
        return json.loads(block[1] if block else text.strip(), parse_constant=_refused)
    except (ValueError, RecursionError):
        return None


def document_of(text: str, stem: str) -> Document:
    """`text` as a file named for `stem`, of the kind that it is; a fence around it is left out."""
    data = json_of(text)
    if isinstance(data, dict | list):
        laid_out = json.dumps(data, ensure_ascii=False, indent=2)
        return Document(f"{stem}.json", "application/json", _bytes(laid_out))
    block = _only_block(text)
    if block is None:
        return Document(f"{stem}.md", "text/markdown", _bytes(text))
    suffix = _SUFFIXES.get(block[0].lower(), "txt")
    return Document(f"{stem}.{suffix}", "text/plain", _bytes(block[1]))


def _only_block(text: str) -> tuple[str, str] | None:
    """Info and body where the whole text is one fenced block, closed or not."""
    match = _FENCE.fullmatch(text.strip())
    if match is None:
        return None
    *inner, last = match["body"].split("\n")
    mark = match["mark"]
    lines = inner if last.strip().startswith(mark) else [*inner, last]
    if any(line.lstrip().startswith(mark) for line in lines):
        return None  # there is more than one
    return match["info"], "\n".join(lines)


def _bytes(text: str) -> bytes:
    return clean(text).encode()


def _refused(constant: str) -> None:
    """JSON has no NaN (RFC 8259, section 6), but Python reads it."""
    raise ValueError(constant)
