"""What CommonMark's parser finds in a text, and what of it every platform reads alike.

The library takes a moment to import, so that is done in a thread, by whoever starts (`parser`).
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

StrayTicks = Literal[0, 1, 2]
MAX_TARGET_CHARACTERS = 2000
"""Characters of a link's target; a longer one is none."""

_MAX_ESCAPE_LAYERS = 8
"""Entities and escapes that hide others are taken off so often; what then is left is none."""

_UNSURE = re.compile(r"\\`|``|<[A-Za-z/!?][^<>\s`]{0,2000}`")
_INFO = re.compile(r"[\w+.#-]{0,40}")
_CLOSING = re.compile(r"[\s>]*```\s*")
_FLAT_BRACKETS = re.compile(r"[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*")


@dataclass(frozen=True, slots=True)
class CodeLines:
    """The numbers of the lines that are code for all, and of those that are code for some.
    `astray`: backticks without fellows move what Discord takes for code, also in paragraphs that
    follow: 1 spans, 2 blocks too."""

    lines: frozenset[int]
    unsure: frozenset[int]
    astray: StrayTicks


def find_code_lines(text: str, lines: Sequence[str], astray: StrayTicks = 0) -> CodeLines:
    sure, ticked, unsure = set[int](), set[int](), set[int]()
    may = any(mark in text for mark in ("`", "~~~", "    ", "\t"))
    for token in parse_blocks(text) if may else ():
        if token.type not in ("fence", "code_block") or not token.map:
            continue
        start, end = token.map
        closes = end - 1 > start and _CLOSING.fullmatch(lines[end - 1])
        plain = token.markup == "```" and "```" not in token.content
        common = plain and closes and _INFO.fullmatch(token.info.strip())
        (sure if common else unsure).update(range(start, end))
        if common and "`" in token.content:
            ticked.update(range(start, end))
    prose = [line for at, line in enumerate(lines) if at not in sure]
    if astray or not all(map(_has_only_plain_spans, prose)):
        astray = 2 if astray == 2 or any("```" in line for line in prose) else 1
        unsure |= sure if astray == 2 else ticked
    return CodeLines(frozenset(sure - unsure), frozenset(unsure), astray)


def parse_blocks(text: str) -> list[Token]:
    tokens: list[Token] = []
    markdown = parser()
    markdown.block.parse(text.replace("\x00", "\ufffd"), markdown, {}, tokens)
    return tokens


def find_targets(text: str) -> Iterator[str]:
    """Where its links lead and its images are from, as they would stand in HTML."""
    return _token_targets(parser().parse(text))


def parse_link_target(text: str, start: int) -> tuple[str, int] | None:
    """A link's target that begins there, without entities and escapes, and where it ends."""
    found = parser().helpers.parseLinkDestination(
        text, start, min(len(text), start + MAX_TARGET_CHARACTERS)
    )
    return (found.str, found.pos) if found.ok and found.str else None


def unescape(text: str) -> str:
    """Without CommonMark's entities and backslash escapes, also those that hide others."""
    for layer in range(len(text)):
        if "&" not in text and "\\" not in text:
            break
        library = importlib.import_module("markdown_it.common.utils")
        before, text = text, str(library.unescapeAll(text))
        if text == before:
            break
        if len(before) > MAX_TARGET_CHARACTERS or layer == _MAX_ESCAPE_LAYERS:
            return text.replace("&", "+").replace("\\", "")
    return text


def normalize_url(url: str) -> str:
    """An address as the parser writes it into HTML."""
    return parser().normalizeLink(url)


@functools.cache
def parser() -> MarkdownIt:
    library = importlib.import_module("markdown_it")
    markdown: MarkdownIt = library.MarkdownIt("commonmark", {"html": False})
    markdown.enable(["table", "strikethrough"])
    return markdown


def _has_only_plain_spans(line: str) -> bool:
    """Whether every backtick of a line belongs to a code span that all platforms see."""
    if "`" not in line:
        return True
    spans = line.split("`")[1::2]
    return (
        line.count("`") % 2 == 0
        and not _UNSURE.search(line)
        and not any("|" in span or not span.strip() or _leaves_code(span) for span in spans)
    )


def _leaves_code(span: str) -> bool:
    """Whether a link on Discord could begin before a code span and end within it: from a bracket
    that it closes and did not open, also as Discord reads nested brackets and backslashes."""
    if "](" not in span:
        return False
    return "\\" in span or not _FLAT_BRACKETS.fullmatch(span)


def _token_targets(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        yield from filter(None, (str(token.attrGet(name) or "") for name in ("href", "src")))
        yield from _token_targets(token.children or ())
