"""Queries to the CommonMark parser, and the code that every platform recognizes as code.

The parser's library takes a moment to import. The application calls `parser` in a thread at its
start.
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
"""The effect of stray (unpaired) backticks on how Discord reads later text: see `CodeLines`."""
MAX_TARGET_CHARACTERS = 2000
"""Maximum length of a link's target. A longer text is not treated as a target."""

_MAX_ESCAPE_LAYERS = 8
"""Maximum of nested layers of entities and escapes that `unescape` decodes.

After that, `&` and backslashes are replaced, so that nothing remains to decode.
"""

_UNSURE = re.compile(r"\\`|``|<[A-Za-z/!?][^<>\s`]{0,2000}`")
"""What Discord reads differently: an escaped or double backtick, or one in an HTML tag."""
_INFO = re.compile(r"[\w+.#-]{0,40}")
_CLOSING = re.compile(r"[\s>]*```\s*")
_FLAT_BRACKETS = re.compile(r"[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*")


@dataclass(frozen=True, slots=True)
class CodeLines:
    """The numbers of the lines that are code on every platform (`lines`), and of those that are
    code on only some platforms (`disputed`).

    `stray_ticks`: unpaired backticks change what Discord reads as code, also in later paragraphs.

    - 0: there are none.
    - 1: they affect code spans.
    - 2: they affect code blocks too.
    """

    lines: frozenset[int]
    disputed: frozenset[int]
    stray_ticks: StrayTicks


def find_code_lines(text: str, lines: Sequence[str], stray_ticks: StrayTicks = 0) -> CodeLines:
    """Return which lines of `text` are code on every platform, and on which lines platforms
    disagree. `lines` are those of the text. `stray_ticks` is what `CodeLines.stray_ticks` was for
    the text before it: 0 for no stray (unpaired) backticks, 1 if they affect code spans, 2 if they
    affect code blocks too.

    Stray backticks make Discord read later code spans or blocks as text, so code that they may
    affect becomes disputed.
    """
    # Lines of sure blocks with a backtick, which a stray one before could pair with.
    sure, ticked, disputed = set[int](), set[int](), set[int]()
    may = any(mark in text for mark in ("`", "~~~", "    ", "\t"))  # else there is no code
    for token in parse_blocks(text) if may else ():
        if token.type not in ("fence", "code_block") or not token.map:
            continue
        start, end = token.map  # numbers of the first line and of the line after the last one
        closes = end - 1 > start and _CLOSING.fullmatch(lines[end - 1])  # not cut off
        plain = token.markup == "```" and "```" not in token.content
        # Only blocks of this form are code on all platforms; of others they disagree.
        common = plain and closes and _INFO.fullmatch(token.info.strip())
        (sure if common else disputed).update(range(start, end))
        if common and "`" in token.content:
            ticked.update(range(start, end))
    prose = [line for at, line in enumerate(lines) if at not in sure]
    # Three stray backticks can open a block on Discord, and so move the ends of later blocks. One
    # or two only pair with backticks inside blocks. All later text is affected, so the number only
    # grows from one text to the next.
    if stray_ticks or not all(map(_has_only_plain_spans, prose)):
        stray_ticks = 2 if stray_ticks == 2 or any("```" in line for line in prose) else 1
        disputed |= sure if stray_ticks == 2 else ticked
    return CodeLines(frozenset(sure - disputed), frozenset(disputed), stray_ticks)


def parse_blocks(text: str) -> list[Token]:
    """Only blocks (paragraphs, lists, code) are parsed. What is inside a line, such as links, is
    not, which saves time."""
    tokens: list[Token] = []
    markdown = parser()
    markdown.block.parse(text.replace("\x00", "\ufffd"), markdown, {}, tokens)
    return tokens


def find_targets(text: str) -> Iterator[str]:
    """Yield targets of links and sources of images, as they would be written to HTML."""
    return _token_targets(parser().parse(text))


def parse_link_target(text: str, start: int) -> tuple[str, int] | None:
    """Return the target that begins at `start`, with entities and escapes decoded, and the index of
    its end; None if none begins there."""
    destination = parser().helpers.parseLinkDestination(
        text, start, min(len(text), start + MAX_TARGET_CHARACTERS)
    )
    return (destination.str, destination.pos) if destination.ok and destination.str else None


def unescape(text: str) -> str:
    """Nested entities, such as `&amp;amp;`, are decoded too. In a text of more than
    `MAX_TARGET_CHARACTERS`, or with more than `_MAX_ESCAPE_LAYERS` layers, the remaining `&` become
    `+` and backslashes are removed, so that a renderer finds nothing more to decode."""
    for layer in range(len(text)):  # each layer makes the text shorter, so this many suffice
        if "&" not in text and "\\" not in text:
            break
        # Imported at the first use only, because the import takes a moment.
        library = importlib.import_module("markdown_it.common.utils")
        before, text = text, str(library.unescapeAll(text))
        if text == before:
            break
        if len(before) > MAX_TARGET_CHARACTERS or layer == _MAX_ESCAPE_LAYERS:
            return text.replace("&", "+").replace("\\", "")
    return text


@functools.cache
def parser() -> MarkdownIt:
    """The first call imports the library, which takes a moment."""
    library = importlib.import_module("markdown_it")
    markdown: MarkdownIt = library.MarkdownIt("commonmark", {"html": False})
    markdown.enable(["table", "strikethrough"])
    return markdown


def _has_only_plain_spans(line: str) -> bool:
    """Return whether all platforms read every backtick as part of the same code spans. Discord
    reads an escaped backtick, a double one and one inside an HTML tag differently (`_UNSURE`)."""
    if line.count("`") % 2 or _UNSURE.search(line):
        return False
    for span in line.split("`")[1::2]:
        # In a table, a `|` ends the cell even inside a code span.
        if "|" in span or not span.strip():
            return False
        # Discord could read a link that begins before the code span and ends inside it: the span
        # closes a bracket that it did not open. Discord has its own way of reading nested brackets
        # and backslashes, so these count, too.
        if "](" in span and ("\\" in span or not _FLAT_BRACKETS.fullmatch(span)):
            return False
    return True


def _token_targets(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        if token.attrs:
            yield from filter(None, (str(token.attrGet(name) or "") for name in ("href", "src")))
        if token.children:
            yield from _token_targets(token.children)
