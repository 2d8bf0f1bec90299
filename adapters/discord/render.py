"""Renders answers for Discord, which shows no Markdown tables. An answer must show no images and
mention nobody. The text is cut into parts that fit into one message.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

from core.base.commonmark import parse_blocks
from core.base.i18n import plural, say
from core.base.markdown import BREAK, is_too_complex
from core.base.splitting import (
    Fence,
    change_outside_code,
    fence_after_line,
    find_code_spans,
    split_text,
)
from core.base.spreadsheets import ExportColumn, encode_table
from core.base.text import is_number
from core.base.trust import encode_everybody_in_addresses
from core.changes.card_rows import NO_VALUE

LIMIT = 2000
"""Unicode code points in one message: resources/message.mdx#create-message-jsonform-params, and
#1315 for what counts as a character."""
MAX_CODE_SPAN_CHARACTERS = 1000
"""A longer code span might be cut between two posts, where Discord reads each half as text."""
MAX_POSTS_OF_ANSWER = 4
"""A longer answer reads better as a file."""
WHOLE = "answer.md"
"""The file of an answer that needs too many posts."""
_NOTE_ROOM = 120
"""How many characters are kept for the note that names the file."""

PHONE_LINE_CHARACTERS = 38
"""A phone shows this much of a code block's line without wrapping."""
MAX_TEXT_TABLE_COLUMNS = 100
"""Lines with more columns are not read as a table, because each short row is filled up to the
number of columns."""
MAX_CODE_BLOCK_COLUMNS, MAX_CODE_BLOCK_ROWS = 3, 40
"""A larger table is no code block."""
MAX_LIST_ROWS, SHOWN_LIST_ROWS, MAX_ITEM_CHARACTERS = 20, 15, 100
"""A table of up to MAX_LIST_ROWS rows whose lines are short is a list. A longer one shows
SHOWN_LIST_ROWS rows, and a file contains all."""
MAX_RECORDS, SHOWN_RECORDS = 12, 3
"""These are the same limits for a table with longer lines, which has a paragraph for each row."""

_LONGEST_MARK = 16
"""A longer run of backticks or tildes begins no code block."""
_TARGET = r"\(<?([^()\s<>]*(?:\([^()\s<>]*\)[^()\s<>]*)*)>?(?:\s+\"[^\"]*\")?\)"
_CELL_LINK = re.compile(rf"!?\[([^\[\]]*)\]{_TARGET}")
_IMAGE = re.compile(rf"!\[([^\[\]]*)\]{_TARGET}")
_LINK = re.compile(rf"(?<!!)\[([^\[\]]+)\]{_TARGET}")
# Discord fetches an address for its preview. A tool's text could leak data in it.
_URL = re.compile(r"(?<!\\)<https?://[^\s<>]+>|https?://[^\s<>`]*[^\s<>`.,;:!?'\"()\[\]*_~|]")
_MAX_URL_CHARACTERS = 1000
"""A longer address might be cut between two posts, so it is no link."""
_PIPE = re.compile(r"(?<!\\)\|")
"""A pipe ends a cell, unless a backslash is before it."""
_DELIMITER = re.compile(r"\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?")
"""The line under a table's header, such as `|---|:-:|`."""
_BOLD = re.compile(r"(?<!\w)(\*\*|__|~~)(?=\S)(.+?)(?<=\S)\1(?!\w)")
_HEADING = re.compile(r" {0,3}#{4,6}\s+")
"""A heading of level 4 to 6, which Discord does not know."""
_HEADING_END = re.compile(r"\s+#+\s*$")
_INFO = re.compile(r"[\w+.#-]*")
_TICKS = re.compile(r"`(?=``)")
# What only Discord reads as markup: spoilers, small text at the beginning of a line, and a quote of
# all lines that follow. An address in angle brackets holds none.
_OWN_MARKUP = re.compile(
    r"(\\.|<https?://[^\s<>]*>)|\|(?=\|)|^-(?=# )|>(?=>> )", re.MULTILINE | re.DOTALL
)
# Discord begins code at any of these, and ends it in another line.
_STRAY_CODE = re.compile(r"(\\.|<https?://[^\s<>]*>)|`|~(?=~~)", re.DOTALL)
_STRONG = re.compile(
    r"(https?://\S*)|(?<![\w\\])__(?=[^\s_])((?:[^_]|_(?!_)){1,500})(?<!\s)__(?!\w)"
)
"""An address, or text that is bold in Markdown and underlined on Discord."""
_QUOTE_IN_ITEM = re.compile(r"( *(?:[-*+]|\d{1,9}[.)])) +(?=>(?!>))")
_LINE_END = re.compile(r"\s*\n[ >]*")
_QUOTE = re.compile(r" {0,3}>(?!>) ?")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_RULE = re.compile(r" {0,3}([-*_])(\s*\1){2,}\s*")
_TASK = re.compile(r"^(\s*(?:[-*+]|\d{1,9}[.)]) )\[([ xX])\] ")
# Discord turns it into a mention or a command: reference.mdx#message-formatting.
_MENTION = re.compile(
    r"@(?=everyone|here)|(?<=<)(?=@[!&]?\d|#\d|/[^:<>\s][^:<>]{0,100}:\d|id:|t:-?\d|a?:\w+:\d|sound:\d)"
)


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table read from Markdown. Each row has as many cells as the header. Discord shows no
    tables, so it becomes a code block, a list, paragraphs, or a file (see `most`)."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marks: tuple[str, ...]
    """The cells of the delimiter row, such as `---:`."""

    @property
    def width(self) -> int:
        """The table's width in columns of a monospaced font, with two between the table's
        columns."""
        return sum(self.widths) + 2 * (len(self.header) - 1)

    @property
    def widths(self) -> list[int]:
        """The width of each column, in columns of a monospaced font."""
        columns = zip(self.header, *self.rows, strict=True)
        return [max(count_columns(_strip_ticks(cell)) for cell in column) for column in columns]

    @property
    def is_narrow(self) -> bool:
        """A phone does not wrap its code block."""
        return len(self.header) <= MAX_CODE_BLOCK_COLUMNS and self.width <= PHONE_LINE_CHARACTERS

    def code_block(self) -> str:
        widths, marks = self.widths, self.marks
        lines = [_pad_row(self.header, widths, marks), "  ".join("─" * width for width in widths)]
        lines += [_pad_row(row, widths, marks) for row in self.rows]
        return "\n".join(["```", *lines, "```"])

    @property
    def is_list(self) -> bool:
        """Each row is short enough for one item of a list."""
        return all(len(" · ".join(row)) <= MAX_ITEM_CHARACTERS for row in self.rows)

    @property
    def most(self) -> tuple[int, int]:
        """The most rows in the post, and how many are shown if there are more: a file then contains
        all of them."""
        if self.is_narrow:
            return MAX_CODE_BLOCK_ROWS, SHOWN_LIST_ROWS
        return (MAX_LIST_ROWS, SHOWN_LIST_ROWS) if self.is_list else (MAX_RECORDS, SHOWN_RECORDS)

    def records(self, most: int | None = None) -> str:
        """Return the rows, at most `most` (None for all), the first cell of each in bold: a list
        below the names of the columns, or a paragraph for each row with a line for each other cell
        that is not empty."""
        paragraphs = []
        if self.is_list:
            for name, *cells in self.rows[:most]:
                words = [f"**{name or NO_VALUE}**", *(cell or NO_VALUE for cell in cells)]
                paragraphs.append(f"- {' · '.join(words)}")
            return "\n".join([" · ".join(self.header), *paragraphs])
        for row in self.rows[:most]:
            lines = [f"**{self.header[0]}: {row[0]}**" if self.header[0] else f"**{row[0]}**"]
            pairs = zip(self.header[1:], row[1:], strict=True)
            lines += [f"{name}: {cell}" for name, cell in pairs if cell]
            paragraphs.append("\n".join(lines))
        return "\n\n".join(paragraphs)

    def excerpt(self, name: str) -> str:
        """The note says that the file `name` contains the other rows."""
        shown = self.most[1]
        note = plural(
            "…{count} more row is in {name}.",
            "…{count} more rows are in {name}.",
            len(self.rows) - shown,
            name=f"`{name}`",
        )
        return f"{self.records(shown)}\n\n{note}"

    def csv(self) -> bytes:
        columns = [ExportColumn(_strip_ticks(title)) for title in self.header]
        rows = (tuple(map(_strip_ticks, row)) for row in self.rows)
        return encode_table(columns, rows, "csv").data


@dataclass(frozen=True, slots=True)
class Sheet:
    """An attached file: a long table as CSV, or the whole text of a long answer."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Rendered:
    """Text in Discord's format, and its too long tables as files."""

    text: str
    sheets: tuple[Sheet, ...] = ()


@dataclass(frozen=True, slots=True)
class DiscordPages:
    """The text of each post of an answer. The files are under the last one."""

    parts: tuple[str, ...]
    sheets: tuple[Sheet, ...] = ()


def to_discord(markdown: str) -> Rendered:
    """Return Markdown in Discord's format. Tables that are too long become files. Text that is too
    complex for the parser keeps its form; only link previews and mentions are prevented."""
    if is_too_complex(markdown):
        return Rendered(_prevent_previews(markdown))
    sheets: list[Sheet] = []
    return Rendered("\n".join(_convert_lines(markdown, sheets)), tuple(sheets))


def _convert_lines(markdown: str, sheets: list[Sheet], in_quote: bool = False) -> list[str]:
    """Return the lines of Markdown in Discord's format, and add the tables that become files to
    `sheets`. `in_quote`: the lines are those of a quote, which contains no other one on Discord.

    First the blocks that Discord does not know get a form that it knows. Then each line is
    converted, or a table or quote that begins there.
    """
    lines = markdown.split("\n")
    # From the last block on, so that the line numbers of the others stay valid.
    for token in reversed(parse_blocks(markdown)):
        start, end = token.map or (0, 0)
        if token.type == "paragraph_open":  # Discord ends a code span at the end of its line
            text = "\n".join(lines[start:end])
            for first, last in reversed([*find_code_spans(text)]):
                text = text[:first] + _LINE_END.sub(" ", text[first:last]) + text[last:]
            lines[start:end] = text.split("\n")
        if token.level or not token.map:  # in a list or a quote
            continue
        # Discord knows neither indented code nor headings with a line under them.
        if token.type == "code_block":
            mark = "`" * _LONGEST_MARK
            lines[start:end] = [mark, *token.content.rstrip("\n").split("\n"), mark]
        elif token.type == "heading_open" and token.markup in ("=", "-") and end == start + 2:
            lines[start:end] = [f"{'#' * int(token.tag[1])} {lines[start].strip()}"]
    out: list[str] = []
    fence: Fence | None = None  # of the code block that is open before the line `at`
    at = code_start = 0  # `code_start`: that block's first line in `out`
    while at < len(lines) or fence is not None:
        # Discord takes code without an end for text.
        line = fence.closing if fence is not None and at == len(lines) else lines[at]
        # A quote within a list item begins at a line of its own.
        if fence is None and (quote := _QUOTE_IN_ITEM.match(line)):
            out.append(quote[1])
            lines[at] = line = line[quote.end() :]
        if fence is None and not in_quote and _QUOTE.match(line):
            quoted = list(takewhile(_QUOTE.match, lines[at:]))
            at += len(quoted)
            inner = "\n".join(_QUOTE.sub("", line, count=1) for line in quoted)
            # Code is shown outside its quote: `split_text` closes it in each post.
            for converted in "\n".join(_convert_lines(inner, sheets, in_quote=True)).split("\n"):
                next_fence = fence_after_line(converted, fence, _LONGEST_MARK)
                out.append(converted if fence or next_fence else f"> {converted}")
                fence = next_fence
            continue
        next_fence = fence_after_line(line, fence, _LONGEST_MARK)
        in_code = fence is not None or next_fence is not None
        table = None if in_code else read_table(lines[at : at + 2])  # its header and delimiter
        if table is None:
            if fence and not next_fence and not "".join(out[code_start:]).strip():
                out.append("\u200b")  # Discord takes the end of an empty block for its content
            out.append(_convert_line(line, fence, next_fence))
            code_start = len(out) if fence is None else code_start
            fence = next_fence
            at += 1
            continue
        # All lines below with a pipe are rows.
        end = at + 2
        while end < len(lines) and "|" in lines[end] and lines[end].strip():
            end += 1
        table = read_table(lines[at:end]) or table
        at = end
        if len(table.rows) > table.most[0]:
            name = f"table-{len(sheets) + 1}.csv"
            sheets.append(Sheet(name, table.csv()))
            text = table.excerpt(name)
        elif table.is_narrow:
            out += table.code_block().split("\n")
            continue
        else:
            text = table.records()
        # Discord would still preview addresses in the converted cells.
        out += [
            change_outside_code(line, _prevent_previews, _convert_long_code)
            for line in text.split("\n")
        ]
    return out


def disable_markup(text: str) -> str:
    """Return text, which is outside code, so that it mentions nobody and hides nothing."""
    text = _OWN_MARKUP.sub(lambda m: m[1] or f"\\{m[0]}", encode_everybody_in_addresses(text))
    return _MENTION.sub(lambda m: m[0] + "\u200b", text)


def paginate(markdown: str, most: int = MAX_POSTS_OF_ANSWER) -> DiscordPages:
    """Return an answer as one to `most` parts. If it needs more, the last part names the file that
    contains the whole answer. The only part of an empty text is empty.

    `sheets` are the files under the last part: tables that are too long for a post, as CSV, and the
    answer if it is cut.
    """
    rendered = to_discord(markdown)
    parts = split_text(rendered.text, LIMIT) or ("",)
    if len(parts) <= most:
        return DiscordPages(parts, rendered.sheets)
    # Cut once more, so that the note fits below.
    note = say("*The full answer is in {name}.*", name=f"`{WHOLE}`")
    last = split_text(parts[most - 1], LIMIT - _NOTE_ROOM)[0]
    visible_parts = (*parts[: most - 1], f"{last}\n\n{note}")
    return DiscordPages(visible_parts, (*rendered.sheets, Sheet(WHOLE, markdown.encode())))


def read_table(lines: list[str]) -> TextTable | None:
    """Return the table of the lines (header, delimiter, rows); None if they are none. Rows may have
    fewer or more cells than the header."""
    if len(lines) < 2 or "|" not in lines[0] or not _DELIMITER.fullmatch(lines[1].strip()):
        return None
    header = _split_cells(lines[0])
    width, marks = len(header), _split_cells(lines[1])
    # The width is limited, because short rows are filled up to it.
    if len(marks) != width or width > MAX_TEXT_TABLE_COLUMNS:
        return None
    rows = []
    for line in lines[2:]:
        cells = _split_cells(line)
        cells += ("",) * (width - len(cells))
        # The last column gets the cells beyond it.
        rows.append((*cells[: width - 1], " | ".join(cells[width - 1 :])))
    return TextTable(header, tuple(rows), marks)


def count_columns(text: str) -> int:
    """Count columns of a monospaced font. Wide East Asian characters take two."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    marks = sum(unicodedata.combining(char) != 0 for char in text)
    return len(text) + wide - marks


def format_code(codes: Sequence[str]) -> str:
    """Return code in blocks; "" if a message cannot hold it, or if it contains marks that end such
    a block."""
    content = "\n".join(f"```py\n{code.strip(chr(10))}\n```" for code in codes)
    return content if len(content) <= LIMIT and "```" not in "".join(codes) else ""


def _split_cells(line: str) -> tuple[str, ...]:
    """Return a row's cells without bold marks and links. A pipe inside code, or after a backslash,
    separates none."""
    line = line.strip().removeprefix("|")
    if line.endswith("|") and not line.endswith("\\|"):
        line = line[:-1]
    in_code = {at for start, end in find_code_spans(line) for at in range(start, end)}
    pipes = [pipe.start() for pipe in _PIPE.finditer(line) if pipe.start() not in in_code]
    cells = [line[a + 1 : b] for a, b in pairwise([-1, *pipes, len(line)])]

    def drop_markup(text: str) -> str:
        """Return text without bold marks, with a link as its label and address."""
        # Bold and links would be seen as written in a code block. A cell has one line.
        return _BOLD.sub(r"\2", _CELL_LINK.sub(r"\1 \2", BREAK.sub(" ", text)))

    texts = (cell.replace("\\|", "|").strip() for cell in cells)
    return tuple(change_outside_code(text, drop_markup) for text in texts)


def _strip_ticks(cell: str) -> str:
    # Backticks could close the code block that contains the table.
    return change_outside_code(cell, lambda text: _ESCAPE.sub(r"\1", text)).replace("`", "")


def _pad_row(cells: tuple[str, ...], widths: list[int], marks: tuple[str, ...]) -> str:
    """Return a row as a line of a code block, filled up with spaces to `widths`. The delimiter row
    (`marks`) aligns a column with colons; in others, numbers go to the right."""
    padded = []
    for cell, width, mark in zip(map(_strip_ticks, cells), widths, marks, strict=True):
        space = " " * (width - count_columns(cell))
        is_right = mark[0] != ":" == mark[-1] if ":" in mark else is_number(cell)
        padded.append(space + cell if is_right else cell + space)
    return "  ".join(padded).rstrip()


def _convert_line(line: str, before: Fence | None, after: Fence | None) -> str:
    """Return a line in Discord's format. `before` and `after` are the code block that is open
    before the line and after it: the line may be text (None twice), or begin a block, be in one or
    end it. Inline code stays, except that a long span becomes a block of its own."""
    fence = after if before is None else before
    if fence is None:
        # Discord has no horizontal lines.
        if _RULE.fullmatch(line):
            return ""
        # Of level 4 to 6, which Discord does not know.
        if heading := _HEADING.match(line):
            line = f"**{_HEADING_END.sub('', line[heading.end() :]).rstrip()}**"
        return change_outside_code(line, _convert_prose, _convert_long_code)
    # Discord knows no fences but those of three backticks, and no three backticks inside a block.
    if before and after:
        return _TICKS.sub("`\u200b", line)
    # It reads only one word as the language, and shows any other text as a line of code.
    info = "" if before else fence.info.strip()  # a line that ends a block names no language
    code = f"{fence.indent}```{info if _INFO.fullmatch(info) else info.partition(' ')[0]}"
    # A block that begins a list item stands in a line of its own, below the item's marker.
    marker = "" if before else line.partition(fence.mark)[0].rstrip()
    return f"{marker}\n{code}" if marker else code


def _convert_long_code(code: str) -> str:
    content = _TICKS.sub("`\u200b", code.strip("`"))
    return f"\n```\n{content}\n```\n" if len(code) > MAX_CODE_SPAN_CHARACTERS else code


def _convert_prose(text: str) -> str:
    """Convert text outside code: tasks with a box, links and images with their full address, bold
    text that Discord would underline."""
    text = _TASK.sub(lambda m: m[1] + ("☑ " if m[2] in "xX" else "☐ "), text)
    text = _IMAGE.sub(lambda m: _spell_out_link(m[1], m[2]), text)
    text = _LINK.sub(lambda m: _spell_out_link(m[1], m[2]), text)
    text = _STRONG.sub(lambda m: m[1] or f"**{m[2]}**", text)
    return _prevent_previews(BREAK.sub("\n", text))


def _spell_out_link(label: str, url: str) -> str:
    """Return a link as its label and its full address. In angle brackets, Discord previews none."""
    return f"<{url}>" if label in ("", url) else f"{label} (<{url}>)"


def _prevent_previews(text: str) -> str:
    text = _STRAY_CODE.sub(lambda m: m[1] or f"\\{m[0]}", _URL.sub(_bracket_url, text))
    return disable_markup(text)


def _bracket_url(match: re.Match[str]) -> str:
    url = match[0].strip("<>")
    return f"<{url}>" if len(url) <= _MAX_URL_CHARACTERS else url.replace(":", ":\u200b", 1)
