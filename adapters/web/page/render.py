"""Renders Markdown from the model as HTML that cannot run or load anything, with formulas, task
lists and footnotes.

Raw HTML is off, and links lead only to http, https and mailto. Pictures come only from our own
`/files/`. A picture from another host would tell that host what the conversation contains, so it
becomes a link. nh3, an HTML parser, cleans the result once more.

A formula is `$…$`, `$$…$$`, `\\(…\\)` or `\\[…\\]`. Prices such as `$5 and $10` are none: the
rule for a single dollar is that of Pandoc, and stricter.
"""

from __future__ import annotations

import asyncio
import functools
import html
import re
from collections.abc import Callable, Sequence
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from adapters.web.page.chart import draw_chart
from core.base.growing_markdown import ended_blocks_length
from core.base.markdown import (
    BREAK,
    HAIR_SPACE,
    free_stress,
    is_address,
    is_too_complex,
    nest_items,
)
from core.base.spreadsheets import Cell, ExportColumn
from core.base.trust import split_web_addresses
from core.commands.grammar import is_suggestion
from core.domain.rows import Chart, Placed, RowsResult, split_placed

ExportSource = tuple[list[ExportColumn], list[list[Cell]], str]
MAX_FORMULA_CHARS = 2_000
"""A longer formula stays as it was written."""
MAX_FOOTNOTES = 100
_CLOSERS = {"$$": "$$", r"\[": r"\]", r"\(": r"\)"}
# An opening dollar has no letter or digit before it and no space after it; a closing one no space
# before it and no letter or digit after it.
_DOLLARS = re.compile(r"\$(?![\s$])([^$\n]{1,1000}?)(?<![\s\\])\$(?![\w$])")
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")
_TEX = re.compile(r"[\\^_{}=<>+]")
_FOOTNOTE = re.compile(r"\[\^([^\s\]]{1,40})\]:[ \t]+(\S.*)")
_REFERENCE = re.compile(r"\[\^([^\s\]]{1,40})\]")
_TASK = re.compile(r"\[([ xX])\][ \t]+")


def add_markdown_extensions(markdown: MarkdownIt) -> None:
    """Add rules to a parser of Markdown: formulas, footnotes, task lists, `<br>` and addresses that
    are links without further marks.

    Its renderer then meets the tokens `math_inline`, `math_block` and `footnote_reference`, and
    list items with the attribute `class`.
    """
    # The built-in rules would read `\(` as an escaped bracket, `[^1](…)` as a link, and
    # `[^1]: word` as the definition of one (`reference`).
    markdown.inline.ruler.before("escape", "math_inline", _parse_inline_math)
    markdown.inline.ruler.before("link", "footnote_reference", _parse_footnote_reference)
    markdown.inline.ruler.before("autolink", "line_break", _parse_line_break)
    # "alt": blocks that a formula or a footnote ends without an empty line.
    # `math_block` comes after the rule for indented code, so that formulas in code stay code.
    options: RuleOptionsType = {"alt": ["paragraph", "blockquote", "list"]}
    markdown.block.ruler.before("fence", "math_block", _parse_block_math, options)
    markdown.block.ruler.before("reference", "footnote", _parse_footnote, options)
    # Before blocks are parsed, it corrects what models write differently from the standard, such
    # as lists that are not indented far enough.
    markdown.core.ruler.before("block", "loosened", _loosen)
    markdown.core.ruler.after("block", "footnotes", _append_footnotes)
    markdown.core.ruler.after("inline", "tasks", _mark_tasks)
    markdown.core.ruler.after("inline", "addresses", _link_addresses)


def _loosen(state: StateCore) -> None:
    state.src = free_stress(nest_items(state.src))


def _parse_inline_math(state: StateInline, silent: bool) -> bool:
    """A rule of markdown-it: return whether one begins here, and add its token unless `silent`."""
    source, begin = state.src, state.pos
    opener = source[begin : begin + 2]  # `$$`, `\[` and `\(` have two characters
    if closer := _CLOSERS.get(opener):
        end = source.find(closer, begin + 2, begin + MAX_FORMULA_CHARS)
        if end < 0 or not source[begin + 2 : end].strip():
            return False
        end += 2
    elif source[begin] == "$":
        before = source[begin - 1] if begin else " "
        match = _DOLLARS.match(source, begin)
        # No formula begins after a letter or digit ("US$5" is a price), a dollar or a backslash.
        if match is None or before.isalnum() or before in "$\\":
            return False
        # What begins with a digit is a price, unless it has a sign of TeX, or only letters, digits
        # and dots.
        inner = match[1]
        if inner[0].isdigit() and not _TEX.search(inner) and not inner.replace(".", "").isalnum():
            return False
        end = match.end()
    else:
        return False
    if not silent:
        state.push("math_inline", "", 0).content = source[begin:end]
    state.pos = end
    return True


def _parse_block_math(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A rule of markdown-it: return whether a formula begins at the line `start`, and add its token
    unless `silent`."""
    begin = state.bMarks[start] + state.tShift[start]  # the line's first character after blanks
    closer = _CLOSERS.get(state.src[begin : begin + 2])
    # `\(…\)` is for formulas inside a line.
    if closer is None or closer == r"\)":
        return False
    for line in range(start, end):
        if state.isEmpty(line):
            return False
        text = state.src[begin : state.eMarks[line]]
        if len(text) > MAX_FORMULA_CHARS:
            return False
        at = text.find(closer, 2)
        if at >= 0:
            # Text follows the end in its line, or the formula is empty.
            if text[at + 2 :].strip() or not text[2:at].strip():
                return False
            break
    else:
        return False
    if not silent:
        token = state.push("math_block", "", 0)
        token.content, token.map = text.strip(), [start, line + 1]
        state.line = line + 1
    return True


def _parse_footnote(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Parse the text of a footnote, as in `[^1]: …`, and keep it for the end of the page. A rule of
    markdown-it: return whether the line `start` is one. `silent` only asks for that."""
    begin = state.bMarks[start] + state.tShift[start]  # the first character after blanks
    match = _FOOTNOTE.match(state.src[begin : state.eMarks[start]])
    notes: dict[str, str] = state.env.setdefault("footnotes", {})
    if match is None or match[1] in notes or len(notes) >= MAX_FOOTNOTES:
        return False
    if not silent:
        notes[match[1]] = match[2].strip()
        state.line = start + 1
    return True


def _parse_footnote_reference(state: StateInline, silent: bool) -> bool:
    """Parse the reference to a footnote, as in `[^1]`, if the text has such a footnote. References
    are numbered in the order of the footnotes. A rule of markdown-it: return whether one begins
    here, and add its token unless `silent`."""
    match = _REFERENCE.match(state.src, state.pos)
    labels = list(state.env.get("footnotes", ()))
    if match is None or match[1] not in labels:
        return False
    if not silent:
        token = state.push("footnote_reference", "", 0)
        token.content = str(labels.index(match[1]) + 1)
    state.pos = match.end()
    return True


def _parse_line_break(state: StateInline, silent: bool) -> bool:
    if match := BREAK.match(state.src, state.pos):
        state.pos = match.end()
        if not silent:
            state.push("hardbreak", "br", 0)
    return match is not None


def _append_footnotes(state: StateCore) -> None:
    """A rule of markdown-it: the rules that follow parse the text of the footnotes with the
    rest."""
    notes = state.env.get("footnotes")
    if not notes:
        return
    state.tokens.append(Token("ordered_list_open", "ol", 1, attrs={"class": "footnotes"}))
    for text in notes.values():
        inline = Token("inline", "", 0, content=text, children=[], block=True)
        state.tokens += [
            Token("list_item_open", "li", 1),
            inline,
            Token("list_item_close", "li", -1),
        ]
    state.tokens.append(Token("ordered_list_close", "ol", -1))


def _link_addresses(state: StateCore) -> None:
    """Make links of plain addresses, except in the text of a link. A rule of markdown-it, which has
    divided the text into tokens."""
    for inline in state.tokens:
        depth, children = 0, list[Token]()  # `depth`: above 0 in the text of a link
        for token in inline.children or ():
            depth += token.nesting if token.type.startswith("link_") else 0
            is_plain = token.type == "text" and not depth
            # Every second piece is an address.
            for number, piece in enumerate(split_web_addresses(token.content) if is_plain else ()):
                url = piece if "://" in piece else f"https://{piece}"
                text = Token("text", "", 0, content=piece)
                link = [Token("link_open", "a", 1, attrs={"href": url}), text]
                children += [*link, Token("link_close", "a", -1)] if number % 2 else [text]
            children += [] if is_plain else [token]
        inline.children = inline.children and children


def _mark_tasks(state: StateCore) -> None:
    """Show `[ ]` and `[x]` at the beginning of a list item as boxes. Remove the hair spaces that
    `free_stress` has put around `**…**` beside Chinese, Japanese or Korean letters, so that the
    parser sees where it ends: the parser has read them by now."""
    for token in state.tokens:
        for part in (token, *(token.children or ())):
            part.content = part.content.replace(HAIR_SPACE, "")
    # The text of a list item comes as three tokens in a row: the item, a paragraph, its content.
    for item, paragraph, inline in zip(
        state.tokens, state.tokens[1:], state.tokens[2:], strict=False
    ):
        children: list[Any] = inline.children or []
        if (item.type, paragraph.type, inline.type) != (
            "list_item_open",
            "paragraph_open",
            "inline",
        ) or not children:
            continue
        match = _TASK.match(children[0].content)
        if children[0].type == "text" and match:
            box = "☐" if match[1] == " " else "☑"
            children[0].content = f"{box} {children[0].content[match.end() :]}"
            item.attrSet("class", "task")


MAX_CHARS_WITHOUT_THREAD = 1_000
"""Longer text is rendered in a thread; this much takes about 4 ms."""

OWN_FILE_PATTERN = re.compile(r"/files/[A-Za-z0-9_-]{1,64}")
_LINK = re.compile(rf"(https?://|mailto:)[^\s]+|{OWN_FILE_PATTERN.pattern}", re.IGNORECASE)
_LANGUAGE = re.compile(r"language-[A-Za-z0-9+#.-]{1,20}")
_TEXT_TAGS = ("p", "li", "blockquote", "td", "th", "h3", "h4", "h5", "h6")
_TAGS = {*_TEXT_TAGS, "a", "br", "code", "del", "div", "em", "hr", "img", "ol", "pre", "s",
         "strong", "span", "sup", "table", "tbody", "thead", "tr", "ul"}  # fmt: skip
_CELL_CLASSES = {"left", "center", "right", "long"}
_CLASSES = {
    "div": {"table", "math"}, "span": {"math"}, "li": {"task"}, "ol": {"footnotes"},
    "td": _CELL_CLASSES, "th": _CELL_CLASSES,
}  # fmt: skip
_ATTRIBUTES = {"a": {"href", "title"}, "img": {"src", "alt"}, "code": {"class"}} | {
    tag: {"class", "start"} if tag == "ol" else {"class"} for tag in _CLASSES
}
"""The attributes that elements may have, before `_filter_attribute` looks at their values."""
_FIXED = {
    "a": {"target": "_blank"},
    "img": {"loading": "lazy"},
    "pre": {"tabindex": "0", "dir": "ltr"},
    "div": {"tabindex": "0"},
} | {tag: {"dir": "auto"} for tag in _TEXT_TAGS}


async def render(text: str, placed: tuple[Placed, ...] = ()) -> str:
    if len(text) <= MAX_CHARS_WITHOUT_THREAD:
        return to_html(text, placed)
    return await asyncio.to_thread(to_html, text, placed)


class GrowingHtml:
    """Renders the Markdown of one answer while it grows. Blocks that have ended are not rendered
    again."""

    def __init__(self) -> None:
        self._source = self._html = ""

    async def render(self, text: str, placed: tuple[Placed, ...] = ()) -> str:
        """A link definition may change any block above it, so text with one is rendered from its
        beginning."""
        # Tables and charts split the text, and a text that is too complex is shown unformatted.
        if placed or "]:" in text or is_too_complex(text):
            return await render(text, placed)
        # Lines that belong to a numbered item are indented first, so that it counts as one block.
        text = nest_items(text)
        # `_source` is the text of the blocks that have ended, `_html` what they became. A text that
        # does not continue it is rendered from its beginning.
        if not text.startswith(self._source):
            self._source = self._html = ""
        tail = text[len(self._source) :]
        # Blocks that have ended do not change any more, so they are rendered once.
        if end := ended_blocks_length(tail):
            self._html += await render(tail[:end])
            self._source, tail = text[: len(self._source) + end], tail[end:]
        return self._html + await render(tail)


@functools.lru_cache(maxsize=256)
def to_html(text: str, placed: tuple[Placed, ...] = ()) -> str:
    """`placed` are the tables and charts that Ponte has put into the text, with their values: a
    chart is drawn, and cells of a table carry their numbers, by which the page sorts them."""
    if placed:
        return "".join(_render_data(*piece) for piece in split_placed(text, placed))
    # It would take the parser too long. `tabindex`: the keyboard can scroll it.
    if is_too_complex(text):
        return f'<pre tabindex="0" dir="auto">{html.escape(text)}</pre>'
    return nh3.clean(
        _make_parser().render(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=_filter_attribute,
        set_tag_attribute_values=_FIXED,  # attributes that elements always get
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener nofollow noreferrer",
    )


def document_to_html(text: str) -> str:
    """For Ponte's own documents, with their headings and links."""
    return str(MarkdownIt("commonmark").enable("table").render(text))


def _render_data(text: str, data: RowsResult | Chart | None) -> str:
    """Return the HTML of one piece of an answer: a table of rows that a tool read, a chart with the
    table of its values below, or text (`data` is None). `text` is the Markdown of the piece, which
    a chart does not need."""
    if isinstance(data, Chart):
        rows = data.to_rows()
        return draw_chart(data, _render_data(rows.to_markdown(), rows))
    page = to_html(text)
    if data is None:
        return page
    # By these the page sorts a column; None where a value is no number.
    numbers = (
        column.sort_number(value)
        for row in data.values
        for column, value in zip(data.columns, row, strict=True)
    )

    def add_value(cell: re.Match[str]) -> str:
        number = next(numbers, None)
        return cell[0] if number is None else f'{cell[0]} data-value="{number!r}"'

    # Markup in cells is escaped, so these are the cells of the rows, in their order. Those of a row
    # with totals come last, when `numbers` is empty.
    page = re.sub("<td", add_value, page)
    if isinstance(data, RowsResult) and data.total:  # below the rows, however they are sorted
        above, _, total = page.rpartition("<tr>")
        page = f"{above}</tbody><tfoot><tr>{total.replace('</tbody>', '</tfoot>')}"
    return page


def find_tables(text: str, placed: tuple[Placed, ...] = ()) -> list[ExportSource]:
    """Return the tables of an answer in their order on the page, for a download: the columns, the
    rows and the title of each. The cells of rows that a tool read have types; those of a table in
    Markdown are text, without markup. A chart is a table of its values."""
    tables: list[ExportSource] = []
    for piece, data in split_placed(text, placed):
        if is_too_complex(piece):  # the page shows it unformatted
            continue
        if data:
            rows = data.to_rows() if isinstance(data, Chart) else data
            tables.append((*rows.to_export(), rows.caption))
        else:
            tables += _read_markdown_tables(piece)
    return tables


def _read_markdown_tables(text: str) -> list[ExportSource]:
    """Return the tables of a Markdown text for a download: for each its columns, its rows and no
    caption. The first row of a table holds the titles of its columns."""
    tables = list[list[list[Cell]]]()
    tokens = _make_parser().parse(text)
    for at, token in enumerate(tokens):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline" and tokens[at - 1].type in ("th_open", "td_open"):
            tables[-1][-1].append(
                "".join(
                    "\n" if child.type == "hardbreak" else child.content
                    for child in token.children or ()
                )
            )
    return [([ExportColumn(str(title)) for title in head], rows, "") for head, *rows in tables]


LONG_CELL_CHARS, LONG_FIRST_CELL_CHARS = 36, 18
"""Longer cells of a table may wrap, those of the first column sooner: it stays in sight beside the
others, also on a phone."""


@functools.cache
def _make_parser() -> MarkdownIt:
    """The parser passes no HTML through, and draws the tokens whose HTML is not markdown-it's
    own."""
    # `breaks`: the end of a line in a paragraph is shown as one, and not as a space.
    markdown = MarkdownIt("commonmark", {"html": False, "breaks": True})
    markdown.enable(["table", "strikethrough"])
    add_markdown_extensions(markdown)
    rules: dict[str, Callable[[Sequence[Token], int], str]] = {
        "image": _render_image,
        "link_open": _render_link_open,
        "table_open": lambda tokens, at: '<div class="table"><table>',
        "table_close": lambda tokens, at: "</table></div>",
        "th_open": _render_cell_open,
        "td_open": _render_cell_open,
        "heading_open": _render_heading,
        "code_inline": _render_code,
        "heading_close": _render_heading,
        "math_inline": _render_math,
        "math_block": _render_math,
        "footnote_reference": lambda tokens, at: f"<sup>{tokens[at].content}</sup>",
    }
    for name, draw in rules.items():
        markdown.add_render_rule(name, lambda _, tokens, at, *__, draw=draw: draw(tokens, at))
    return markdown


def _render_code(tokens: Sequence[Token], at: int) -> str:
    # An address in it is plain text: answers write addresses that must not be links as code, which
    # other platforms need and this page does not.
    content = tokens[at].content
    code = html.escape(content)
    if is_address(content) or _MAIL.fullmatch(content):
        return code
    if at and is_suggestion(tokens[0].content, content):
        return f'<code class="suggestion">{code}</code>'
    return f"<code>{code}</code>"


def _filter_attribute(tag: str, name: str, value: str) -> str | None:
    """Return the value of an attribute that may stay in the page's HTML, else None: addresses of
    allowed kinds, and classes that the page's own renderer sets. nh3 calls it for each attribute of
    _ATTRIBUTES; others are gone already."""
    match tag, name:
        case "a", "href":
            return value if _LINK.fullmatch(value) else None
        case "img", "src":
            return value if OWN_FILE_PATTERN.fullmatch(value) else None
        case "code", "class":
            return value if value == "suggestion" or _LANGUAGE.fullmatch(value) else None
        case _, "class":
            return value if {*value.split()} <= _CLASSES[tag] else None
    return value


def _render_image(tokens: Sequence[Token], at: int) -> str:
    """Only Ponte's own files are shown. The browser would load another address at once, which tells
    its server who reads; so that is a link."""
    source = str(tokens[at].attrGet("src") or "")
    alt_text = html.escape(tokens[at].content)
    if OWN_FILE_PATTERN.fullmatch(source):
        return f'<img src="{source}" alt="{alt_text}">'
    if not _LINK.fullmatch(source):
        return alt_text
    address = html.escape(source)
    return f'<a href="{address}" title="{address}">{alt_text or address}</a>'


def _render_link_open(tokens: Sequence[Token], at: int) -> str:
    # The title shows where a link leads whatever its text says.
    address = html.escape(str(tokens[at].attrGet("href") or ""))
    return f'<a href="{address}" title="{address}">'


def _render_cell_open(tokens: Sequence[Token], at: int) -> str:
    # markdown-it sets a style attribute instead, which our content security policy forbids.
    align = str(tokens[at].attrGet("style") or "").removeprefix("text-align:")
    limit = LONG_FIRST_CELL_CHARS if tokens[at - 1].type == "tr_open" else LONG_CELL_CHARS
    long = "long" if len(tokens[at + 1].content) > limit else ""
    classes = " ".join(filter(None, (align, long)))
    return f'<{tokens[at].tag} class="{classes}">' if classes else f"<{tokens[at].tag}>"


def _render_math(tokens: Sequence[Token], at: int) -> str:
    # The page's script draws it; what it cannot draw can still be read.
    tag = "span" if tokens[at].type == "math_inline" else "div"
    return f'<{tag} class="math">{html.escape(tokens[at].content)}</{tag}>'


def _render_heading(tokens: Sequence[Token], at: int) -> str:
    # The page itself uses the first two levels of headings.
    slash = "/" if tokens[at].nesting < 0 else ""
    return f"<{slash}h{min(int(tokens[at].tag[1]) + 2, 6)}>"
