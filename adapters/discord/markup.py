"""The model's Markdown as Discord reads it: no tables, no images, no mentions, links in full."""

from __future__ import annotations

import re
from dataclasses import dataclass

from adapters.discord import tables
from core.fences import Fence, after, spans
from core.markdown import is_plain

_LONGEST_MARK = 16
_TARGET = r"\(<?([^()\s<>]*(?:\([^()\s<>]*\)[^()\s<>]*)*)>?(?:\s+\"[^\"]*\")?\)"
_IMAGE = re.compile(rf"!\[([^\[\]]*)\]{_TARGET}")
_LINK = re.compile(rf"(?<!!)\[([^\[\]]+)\]{_TARGET}")
# A preview would fetch the address, and with it whatever a tool's text put there.
_BARE = re.compile(r"(?<![<\w])https?://[^\s<>]*[^\s<>.,;:!?'\"()\[\]*_~|]")
_HEADING = re.compile(r" {0,3}#{4,6}\s+")
_RULE = re.compile(r" {0,3}([-*_])(\s*\1){2,}\s*")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_TASK = re.compile(r"^(\s*[-*+] )\[([ xX])\] ")
# What Discord turns into a mention or a command: reference.mdx#message-formatting.
_MENTION = re.compile(r"@(?=everyone|here)|(?<=<)(?=@[!&]?\d|#\d|/[^:<>\s][^:<>]{0,100}:\d|id:)")


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table that is too long for a chat."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Rendered:
    text: str
    sheets: tuple[Sheet, ...] = ()


def render(markdown: str, locale: str = "en") -> Rendered:
    """`markdown` as Discord shows it; tables that are too long become files. Text that is too
    long to be read as Markdown stays as it is written."""
    if is_plain(markdown):
        return Rendered(_unfurled(markdown))
    lines = markdown.split("\n")
    out: list[str] = []
    sheets: list[Sheet] = []
    fence: Fence | None = None
    at = 0
    while at < len(lines):
        line = lines[at]
        opened = after(line, fence, _LONGEST_MARK)
        if fence is None and opened is None and at + 1 < len(lines):
            end = _table_end(lines, at)
            if end:
                out.append(_table(lines[at:end], sheets, locale))
                at = end
                continue
        out.append(line if fence or opened else _plain_line(line))
        fence = opened
        at += 1
    return Rendered("\n".join(out), tuple(sheets))


def inert(text: str) -> str:
    """Text in which nothing mentions anybody, outside code."""
    return _MENTION.sub(lambda m: m[0] + "\u200b", text)


def _table_end(lines: list[str], start: int) -> int:
    """The line after the table that begins at `start`; 0 where none does."""
    if not tables.begins(lines[start], lines[start + 1]):
        return 0
    end = start + 2
    while end < len(lines) and "|" in lines[end] and lines[end].strip():
        end += 1
    return end


def _table(lines: list[str], sheets: list[Sheet], locale: str) -> str:
    table = tables.read(lines)
    if table is None:
        return "\n".join(_plain_line(line) for line in lines)
    if table.needs_file():
        name = f"table-{len(sheets) + 1}.csv"
        sheets.append(Sheet(name, table.csv()))
        return _unfurled(table.excerpt(name, locale))
    return table.code_block() if table.narrow else _unfurled(table.records())


def _unfurled(text: str) -> str:
    return inert(_BARE.sub(r"<\g<0>>", text))


def _plain_line(line: str) -> str:
    """A line outside code blocks; what stands in inline code stays as it is."""
    if _RULE.fullmatch(line):
        return ""
    if heading := _HEADING.match(line):
        line = f"**{line[heading.end() :].rstrip().rstrip('#').rstrip()}**"
    pieces: list[str] = []
    at = 0
    for start, end in spans(line):
        pieces += [_prose(line[at:start]), line[start:end]]
        at = end
    return "".join([*pieces, _prose(line[at:])])


def _prose(text: str) -> str:
    text = _TASK.sub(lambda m: m[1] + ("☑ " if m[2] in "xX" else "☐ "), text)
    text = _IMAGE.sub(lambda m: _shown(m[1], m[2]), text)
    text = _LINK.sub(lambda m: _shown(m[1], m[2]), text)
    return _unfurled(_BREAK.sub("\n", text))


def _shown(label: str, url: str) -> str:
    """A link says where it leads; in angle brackets Discord fetches no preview of it."""
    return f"<{url}>" if label in ("", url) else f"{label} (<{url}>)"
