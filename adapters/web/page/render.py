"""Renders Markdown from the model as HTML that cannot run or load anything.

Raw HTML is off, and links lead only to http, https and mailto. Pictures come only from our own
`/files/`. A picture from another host would tell that host what the conversation contains, so it
becomes a link. nh3, an HTML parser, cleans the result once more.
"""

from __future__ import annotations

import asyncio
import functools
import html
import re
from collections.abc import Callable, Sequence

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

from adapters.web.page.markup import enable_markup
from core.base.markdown import ended_blocks_length, is_too_complex

MAX_CHARS_WITHOUT_THREAD = 1_000
"""Longer text is rendered in a thread; this much takes about 4 ms."""

OWN_FILE_PATTERN = re.compile(r"/files/[A-Za-z0-9_-]{1,64}")
_LINK = re.compile(rf"(https?://|mailto:)[^\s]+|{OWN_FILE_PATTERN.pattern}", re.IGNORECASE)
_LANGUAGE = re.compile(r"language-[A-Za-z0-9+#.-]{1,20}")
_TEXT_TAGS = ("p", "li", "blockquote", "td", "th", "h3", "h4", "h5", "h6")
_TAGS = {*_TEXT_TAGS, "a", "br", "code", "del", "div", "em", "hr", "img", "ol", "pre", "s",
         "strong", "span", "sup", "table", "tbody", "thead", "tr", "ul"}  # fmt: skip
_ATTRIBUTES = {
    "a": {"href", "title"},
    "img": {"src", "alt"},
    "code": {"class"},
    "div": {"class"},
    "span": {"class"},
    "li": {"class"},
    "ol": {"start", "class"},
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
    """Return `text` as HTML. Long text is rendered in a thread."""
    if len(text) <= MAX_CHARS_WITHOUT_THREAD:
        return to_html(text)
    return await asyncio.to_thread(to_html, text)


class GrowingHtml:
    """Renders a text that grows. Blocks that have ended are not rendered again."""

    def __init__(self) -> None:
        self._source = self._done = ""

    async def render(self, text: str) -> str:
        """Return the HTML of the whole text so far.

        A link definition may change any block above it, so text with one is rendered from its
        beginning.
        """
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
    """Return `text` as clean HTML."""
    if is_too_complex(text):
        return f'<pre tabindex="0" dir="auto">{html.escape(text)}</pre>'
    return nh3.clean(
        _markdown().render(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=_filter_attribute,
        set_tag_attribute_values=_FIXED,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener nofollow noreferrer",
    )


LONG_CELL_CHARS, LONG_FIRST_CELL_CHARS = 36, 18
"""Longer cells of a table may wrap, those of the first column sooner: it stays in sight beside the
others, also on a phone."""


@functools.cache
def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "breaks": True})
    markdown.enable(["table", "strikethrough"])
    enable_markup(markdown)
    rules: dict[str, Callable[[Sequence[Token], int], str]] = {
        "image": _image,
        "link_open": _link_open,
        "table_open": lambda tokens, at: '<div class="table"><table>',
        "table_close": lambda tokens, at: "</table></div>",
        "th_open": _cell_open,
        "td_open": _cell_open,
        "heading_open": _heading,
        "heading_close": _heading,
        "math_inline": _math,
        "math_block": _math,
        "footnote_reference": lambda tokens, at: f"<sup>{tokens[at].content}</sup>",
    }
    for name, draw in rules.items():
        markdown.add_render_rule(name, lambda _, tokens, at, *__, draw=draw: draw(tokens, at))
    return markdown


def _filter_attribute(tag: str, name: str, value: str) -> str | None:
    match tag, name:
        case "a", "href":
            return value if _LINK.fullmatch(value) else None
        case "img", "src":
            return value if OWN_FILE_PATTERN.fullmatch(value) else None
        case "code", "class":
            return value if _LANGUAGE.fullmatch(value) else None
        case "div", "class":
            return value if value in ("table", "math") else None
        case "span", "class":
            return value if value == "math" else None
        case "li", "class":
            return value if value == "task" else None
        case "ol", "class":
            return value if value == "footnotes" else None
        case (("td" | "th"), "class"):
            return value if {*value.split()} <= {"left", "center", "right", "long"} else None
    return value


def _image(tokens: Sequence[Token], at: int) -> str:
    source = str(tokens[at].attrGet("src") or "")
    words = html.escape(tokens[at].content)
    if OWN_FILE_PATTERN.fullmatch(source):
        return f'<img src="{source}" alt="{words}">'
    if not _LINK.fullmatch(source):
        return words
    address = html.escape(source)
    return f'<a href="{address}" title="{address}">{words or address}</a>'


def _link_open(tokens: Sequence[Token], at: int) -> str:
    """Set the title to the address, so that the reader sees where a link leads whatever its text
    says."""
    address = html.escape(str(tokens[at].attrGet("href") or ""))
    return f'<a href="{address}" title="{address}">'


def _cell_open(tokens: Sequence[Token], at: int) -> str:
    """Set a class instead of the renderer's style attribute, which our content security policy
    forbids."""
    align = str(tokens[at].attrGet("style") or "").removeprefix("text-align:")
    limit = LONG_FIRST_CELL_CHARS if tokens[at - 1].type == "tr_open" else LONG_CELL_CHARS
    long = "long" if len(tokens[at + 1].content) > limit else ""
    classes = " ".join(filter(None, (align, long)))
    return f'<{tokens[at].tag} class="{classes}">' if classes else f"<{tokens[at].tag}>"


def _math(tokens: Sequence[Token], at: int) -> str:
    """Keep the formula as it was written: the page's script shows it, and all else can be read."""
    tag = "span" if tokens[at].type == "math_inline" else "div"
    return f'<{tag} class="math">{html.escape(tokens[at].content)}</{tag}>'


def _heading(tokens: Sequence[Token], at: int) -> str:
    """Begin at level 3, since the page itself uses the first two levels."""
    slash = "/" if tokens[at].nesting < 0 else ""
    return f"<{slash}h{min(int(tokens[at].tag[1]) + 2, 6)}>"
