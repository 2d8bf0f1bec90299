"""Markdown from untrusted sources: its limits, and how it is escaped or becomes plain text."""

from __future__ import annotations

import json
import posixpath
import re
from typing import TYPE_CHECKING

from core.base import commonmark
from core.base.text import to_one_line

if TYPE_CHECKING:
    from markdown_it.token import Token

MAX_MARKDOWN_CHARACTERS, MAX_BRACKETS, MAX_LINES = 30_000, 2_000, 3_000
"""Maximum characters, brackets and lines of a text that is parsed as Markdown.

Parsers search for a link from each bracket, and for the end of emphasis from each star.
"""
_ADDRESS = re.compile(
    r"((?:(?<![a-z0-9+.-])[0-9+.-]*[a-z][a-z0-9+.-]*://|\b(?:mailto:|www\.))[^\s<>()\[\]`\"']+)",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"([\\`*_\]<>|~#]|&(?=[#\w]{1,32};)|\$(?=[^$]{0,2000}\$))")
BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
"""The line break that a model writes into a cell of a table, as GitHub shows it."""
HAIR_SPACE = "\u200a"
_IDEOGRAPH = "[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
_STRESS = re.compile(
    rf"((?<={_IDEOGRAPH}))?"
    r"(?:(?P<mark>\*{1,3}|~~|__)(?=\S)(?:[^\w\s*~][^*~_\n]{0,1000}?(?<=\S)"
    r"|[^*~_\n]{1,1000}?[^\w\s*~])(?P=mark)|\*\*(?=\S)[^*\n]{1,1000}?(?<=\S)\*\*)"
    rf"((?={_IDEOGRAPH}))?"
)
_NUMBERED_ITEM = re.compile(
    r"^[ \t]*(?P<mark>`{3,}|~{3,})(?:.|\n)*?(?:^[ \t]*(?P=mark)|\Z)"
    r"|^(?P<item>(?P<indent>(?:> ?)* *)(?P<number>\d{1,9}[.)] ).*)"
    r"(?P<below>(?:\n+(?P=indent) +\S.*)+)",
    re.MULTILINE,
)
_FORMULA = re.compile(
    r"(?ms)\\\(.{1,2000}?\\\)|^ {0,3}\\\[|\$\$|\$(?![\s$])[^$\n]{1,1000}?(?<![\s\\])\$(?!\w)"
)


def is_too_complex(text: str) -> bool:
    """Parsing a text beyond these limits would take too long; it is shown unformatted."""
    return (
        len(text) > MAX_MARKDOWN_CHARACTERS
        or text.count("[") + text.count("]") > MAX_BRACKETS
        or text.count("\n") >= MAX_LINES
    )


def escape_markdown(text: str) -> str:
    """Return untrusted text on one line, with addresses as code. Entities, which are shown as other
    characters, are escaped too, and dollars that could begin a formula. An opening bracket is not,
    because `\\[` begins a formula on the page."""
    # `_ADDRESS` has one group, so that every second piece of the split is an address.
    return "".join(
        f"`{piece}`" if number % 2 else _MARKUP.sub(r"\\\1", piece)
        for number, piece in enumerate(_ADDRESS.split(to_one_line(text)))
    )


def escape_cell(text: str) -> str:
    """Escape as `escape_markdown` does. A pipe is escaped in addresses, too: it would end the cell,
    even inside code."""
    return "".join(
        "`{}`".format(piece.replace("|", r"\|")) if number % 2 else _MARKUP.sub(r"\\\1", piece)
        for number, piece in enumerate(_ADDRESS.split(to_one_line(text)))
    )


def to_plain_text(text: str) -> str:
    """Return Markdown without its escapes and without the marks of emphasis, code spans and links.

    Lists, tables, code blocks and paragraphs with a formula stay as they are. Struck text keeps its
    marks. An answer in JSON stays complete, because a program may read it.
    """
    # The parser would take too long for a text that is too complex.
    if is_too_complex(text) or _is_json(text):
        return text
    # `words` is built from the parts of a paragraph (a token of the type "inline"), without marks,
    # and replaces its lines.
    lines = text.split("\n")
    for token in commonmark.parser().parse(text):
        # The parser knows no formulas, and would take a `_` or `*` in one for a mark of emphasis.
        if token.type != "inline" or not token.map or _FORMULA.search(token.content):
            continue
        plain, target, label_start = "", "", 0
        for part in token.children or ():
            # A paragraph keeps its number of lines, so an HTML line break (BREAK) becomes a space.
            text_part = BREAK.sub(" ", part.content) if part.type == "text" else part.content
            plain += "\n" if part.type in ("softbreak", "hardbreak") else text_part
            # Struck text keeps its marks, which say that it is not valid.
            if part.type in ("s_open", "s_close"):
                plain += part.markup
            elif part.type == "link_open":
                target, label_start = _describe_target(part), len(plain)
            elif part.type == "image":
                plain += f" ({_describe_target(part)})"
            # An address that is its own label is written once.
            elif part.type == "link_close" and plain[label_start:] != target:
                plain += f" ({target})"
        sources, results = token.content.split("\n"), plain.split("\n")
        # A code span over two lines becomes one line; then the paragraph stays as it is.
        if len(sources) != len(results):
            continue
        for number, (source, result) in enumerate(zip(sources, results, strict=True), token.map[0]):
            # Replaced within the line, which also has what the parser left out, such as the mark of
            # a list, or other cells. The parser removes the backslash before a `|` in a cell.
            in_cell = source.replace("|", r"\|")
            lines[number] = lines[number].replace(source, result).replace(in_cell, result)
    return "\n".join(lines)


def nest_items(text: str) -> str:
    """Lines that a model indents by one or two spaces below a numbered item belong to it.
    CommonMark wants three, and else begins another list (0.31, section 5.2)."""

    def indent(match: re.Match[str]) -> str:
        if not (below := match["below"]):
            return match[0]  # a code block stays as it is
        begin = "\n" + match["indent"]
        # As many spaces as the first line below lacks to stand below the item's text. The group
        # "number" is the mark with its space, such as `12. `. A result below 1 adds no space.
        first = below.lstrip("\n")[len(match["indent"]) :]
        spaces = len(match["number"]) - len(first) + len(first.lstrip(" "))
        return match["item"] + nest_items(below.replace(begin, begin + " " * spaces))

    return _NUMBERED_ITEM.sub(indent, text)


def free_stress(text: str) -> str:
    """Hair spaces enclose stress beside a Chinese, Japanese or Korean letter: CommonMark sees no
    end of it after a punctuation mark (0.31, section 6.2)."""
    return _STRESS.sub(
        lambda match: (
            match[0] if match[1] is match[3] is None else f"{HAIR_SPACE}{match[0]}{HAIR_SPACE}"
        ),
        text,
    )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _describe_target(token: Token) -> str:
    address, title = token.attrs.get("src") or token.attrs["href"], token.attrs.get("title")
    return f'{address} "{title}"' if title else str(address)


def is_address(text: str) -> bool:
    return _ADDRESS.fullmatch(text) is not None


_CONTAINER_LINK = re.compile(
    r"!?\[(?P<label>[^\[\]\n]*)\]\(\s*<?sandbox:[^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)"
)
_BARE_CONTAINER_LINK = re.compile(r"sandbox:(?P<path>/[^\s)\]>\"'`]*)")


def without_container_links(text: str) -> str:
    """Return the text of a model with the words alone in place of links to files of its sandbox,
    such as `[chart](sandbox:/mnt/data/a.png)`, which nobody can open. The files are attached."""
    if "sandbox:" not in text:
        return text
    text = _CONTAINER_LINK.sub(lambda match: match["label"], text)
    return _BARE_CONTAINER_LINK.sub(lambda match: posixpath.basename(match["path"]), text)
