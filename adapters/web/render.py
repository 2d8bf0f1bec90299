"""Markdown from the model as HTML that can do nothing but be read.

Raw HTML is off, links leave only to http, https and mailto, and pictures come only from our own
`/files/`: one from elsewhere would tell its host what the conversation says (it becomes a link).
What the renderer gives is cleaned once more by a parser of browsers' kind (nh3).
"""

from __future__ import annotations

import asyncio
import functools
import html
import re
from collections.abc import Sequence
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from core.text.markdown import ended_blocks_length, is_too_complex

QUICK = 1_000
"""Characters that are rendered at once (some 4 ms); more goes to a thread."""

OWN_FILE = re.compile(r"/files/[A-Za-z0-9_-]{1,64}")
_LINK = re.compile(rf"(https?://|mailto:)[^\s]+|{OWN_FILE.pattern}", re.IGNORECASE)
_LANGUAGE = re.compile(r"language-[A-Za-z0-9+#.-]{1,20}")
_TEXT_TAGS = ("p", "li", "blockquote", "td", "th", "h3", "h4", "h5", "h6")
_TAGS = {*_TEXT_TAGS, "a", "br", "code", "del", "div", "em", "hr", "img", "ol", "pre", "s",
         "strong", "table", "tbody", "thead", "tr", "ul"}  # fmt: skip
_ATTRIBUTES = {
    "a": {"href", "title"},
    "img": {"src", "alt"},
    "code": {"class"},
    "div": {"class"},
    "ol": {"start"},
    "td": {"class"},
    "th": {"class"},
}
_FIXED = {
    "a": {"target": "_blank"},
    "img": {"loading": "lazy"},
    "pre": {"tabindex": "0", "dir": "ltr"},
    "div": {"tabindex": "0"},
} | {tag: {"dir": "auto"} for tag in _TEXT_TAGS}


async def render(text: str) -> str:
    """`text` as HTML, in a thread where it is long."""
    if len(text) <= QUICK:
        return to_html(text)
    return await asyncio.to_thread(to_html, text)


class GrowingHtml:
    """A text that grows, as HTML; blocks that have ended are not rendered again."""

    def __init__(self) -> None:
        self._source = self._done = ""

    async def of(self, text: str) -> str:
        """`text` is the whole so far. A definition may give a link to any block, so that text with
        one is rendered anew."""
        if "]:" in text or is_too_complex(text):
            return await render(text)
        if not text.startswith(self._source):
            self._source = self._done = ""
        tail = text[len(self._source) :]
        if end := ended_blocks_length(tail):
            self._done += await render(tail[:end])
            self._source, tail = text[: len(self._source) + end], tail[end:]
        return self._done + await render(tail)


@functools.lru_cache(maxsize=256)
def to_html(text: str) -> str:
    if is_too_complex(text):
        return f'<pre tabindex="0" dir="auto">{html.escape(text)}</pre>'
    return nh3.clean(
        _markdown().render(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=_attribute,
        set_tag_attribute_values=_FIXED,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener nofollow noreferrer",
    )


LONG = 36
"""Characters of a table's cell that is read in several lines; shorter ones stay whole."""


@functools.cache
def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "breaks": True})
    markdown.enable(["table", "strikethrough"])
    rules = {
        "image": _image,
        "link_open": _link_open,
        "table_open": _table_open,
        "table_close": _table_close,
        "th_open": _cell_open,
        "td_open": _cell_open,
        "heading_open": _heading_open,
        "heading_close": _heading_close,
    }
    for name, rule in rules.items():
        markdown.add_render_rule(name, rule)
    return markdown


def _attribute(tag: str, name: str, value: str) -> str | None:
    match tag, name:
        case "a", "href":
            return value if _LINK.fullmatch(value) else None
        case "img", "src":
            return value if OWN_FILE.fullmatch(value) else None
        case "code", "class":
            return value if _LANGUAGE.fullmatch(value) else None
        case "div", "class":
            return value if value == "table" else None
        case (("td" | "th"), "class"):
            return value if {*value.split()} <= {"left", "center", "right", "long"} else None
    return value


def _image(renderer: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    source = str(tokens[at].attrGet("src") or "")
    words = html.escape(tokens[at].content)
    if OWN_FILE.fullmatch(source):
        return f'<img src="{source}" alt="{words}">'
    if not _LINK.fullmatch(source):
        return words
    address = html.escape(source)
    return f'<a href="{address}" title="{address}">{words or address}</a>'


def _link_open(
    renderer: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any
) -> str:
    """The title always says where a link leads, whatever its text pretends."""
    address = html.escape(str(tokens[at].attrGet("href") or ""))
    return f'<a href="{address}" title="{address}">'


def _table_open(
    renderer: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any
) -> str:
    return '<div class="table"><table>'


def _table_close(
    renderer: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any
) -> str:
    return "</table></div>"


def _cell_open(
    renderer: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any
) -> str:
    """A class, where the renderer writes a style: our content security policy allows none."""
    align = str(tokens[at].attrGet("style") or "").removeprefix("text-align:")
    long = "long" if len(tokens[at + 1].content) > LONG else ""
    classes = " ".join(filter(None, (align, long)))
    return f'<{tokens[at].tag} class="{classes}">' if classes else f"<{tokens[at].tag}>"


def _heading_open(
    renderer: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any
) -> str:
    """The page has the first two levels."""
    return f"<h{_level(tokens[at])}>"


def _heading_close(
    renderer: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any
) -> str:
    return f"</h{_level(tokens[at])}>"


def _level(token: Token) -> int:
    return min(int(token.tag[1]) + 2, 6)
