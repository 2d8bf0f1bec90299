"""Renders answers, cards and forms for Discord.

Discord shows no Markdown tables, and an answer must show no images and mention nobody. The text is
cut into parts that fit into one message. Cards become embeds with buttons.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, takewhile
from typing import Any

import discord

from adapters.discord.client import Interaction
from core.base.commonmark import parse_blocks
from core.base.i18n import plural, say
from core.base.markdown import BREAK, is_too_complex
from core.base.splitting import (
    Fence,
    change_outside_code,
    end_code,
    fence_after_line,
    find_code_spans,
    split_text,
)
from core.base.spreadsheets import ExportColumn, encode_table
from core.base.text import is_number, to_one_line, truncate
from core.base.trust import defang_for_discord, encode_everybody_in_addresses
from core.changes.card_rows import INDENT, NO_VALUE, read_rows, tabulate
from core.chat.approval_notices import (
    APPROVE_ALL,
    LABELS,
    REASON_LABEL,
    REASON_TITLE,
    describe_state,
    list_typed,
    marks_values,
    must_fit,
    together_id,
    without_approval,
)
from core.chat.incoming import SHOW_CODE, describe_fields_left_out
from core.domain.changes import MAX_REASON_CHARACTERS, ChangeForm, FormField
from core.domain.messages import SHOWN_RESULT_CHARACTERS, Card, ChangeAction
from core.domain.records import QuickCommand
from core.feedback.votes import (
    FEEDBACK_LABEL,
    FEEDBACK_TITLE,
    MAX_FEEDBACK_CHARACTERS,
    SHARE_HINT,
    SHARE_LABEL,
)

LIMIT = 2000
"""Unicode code points in one message: resources/message.mdx#create-message-jsonform-params, and
#1315 for what counts as a character."""
MAX_CODE_SPAN_CHARACTERS = 1000
"""A longer code span might be cut between two posts, where Discord reads each half as text."""
MAX_POSTS_OF_ANSWER = 4
"""Largest number of posts in a row. A longer answer reads better as a file."""
WHOLE = "answer.md"
"""Name of the file that contains an answer of too many posts."""
_NOTE_ROOM = 120
"""Characters that are reserved for the note that names the file."""

PHONE_LINE_CHARACTERS = 38
"""Characters of a code block's line that a phone shows without wrapping."""
MAX_TEXT_TABLE_COLUMNS = 100
"""Lines with more columns are not read as a table. The limit is needed because each short row is
filled up to the number of columns."""
MAX_CODE_BLOCK_COLUMNS, MAX_CODE_BLOCK_ROWS = 3, 40
"""Largest table that is rendered as a code block."""
MAX_LIST_ROWS, SHOWN_LIST_ROWS, MAX_ITEM_CHARACTERS = 20, 15, 100
"""A table of up to MAX_LIST_ROWS rows whose lines are short is rendered as a list. A longer one
shows SHOWN_LIST_ROWS rows, and a file contains all of it."""
MAX_RECORDS, SHOWN_RECORDS = 12, 3
"""These hold for a table with longer lines, which has a paragraph for each row."""

MAX_CARDS = 5
MAX_ROW_BUTTONS = 5
"""Largest number of cards with buttons under one message, because five rows of buttons fit, and of
buttons in a row (components/reference.mdx#legacy-message-component-behavior)."""
# resources/message.mdx#embed-object-embed-limits: a title of 256 characters, a description of 4096,
# 6000 in all embeds, including their footers; and up to 10 embeds.
MAX_EMBED_TITLE_CHARACTERS, MAX_EMBED_DESCRIPTION_CHARACTERS = 256, 4096
MAX_EMBEDS_CHARACTERS, MAX_EMBEDS = 5500, 10
DISCORD_CARD_ROWS = 10
"""Changed rows that a card shows. The others are counted."""
_AFTER_ROWS = 120
"""Characters of a card kept for the lines after its rows: the rows not shown, and the expiry."""
DISCORD_CELL_CHARACTERS = 200
"""Characters of one cell on a card. A longer value is cut."""

CARD_BUTTON_ID = re.compile(
    rf"ponte:(?P<action>{'|'.join(LABELS)}):(?P<card>[a-z2-7]{{6}})(?P<revision>\.\d{{1,4}})?"
)
APPROVE_ALL_BUTTON_ID = re.compile(r"ponte:together:(?P<ids>[a-z2-7.,0-9]{13,})")
"""The button that approves several cards. Its ids are separated by commas."""
MAX_CUSTOM_ID_CHARACTERS = 100
"""Characters of a button's id (docs.discord.com/developers/components/reference)."""
CODE_BUTTON_ID = re.compile(r"ponte:code:(?P<turn>[a-z2-7]{16})")
VOTE_BUTTON_ID = re.compile(r"ponte:vote:(?P<vote>up|down):(?P<turn>[a-z2-7]{16})")
STOP_BUTTON_ID = re.compile(r"ponte:stop:(?P<asker>\d+)")

_STYLES: Mapping[ChangeAction, discord.ButtonStyle] = {
    "approve": discord.ButtonStyle.success,
    "deny": discord.ButtonStyle.danger,
}
"""The styles of buttons; all others are grey."""
_AMBER, _GREEN, _RED, _GREY = 0xE0A030, 0x3BA55D, 0xDA373C, 0x80848E
_COLOURS = {"open": _AMBER, "done": _GREEN} | dict.fromkeys(("denied", "failed", "partial"), _RED)
"""The colours of cards by state; all others are grey."""

_LONGEST_MARK = 16
"""A longer run of backticks or tildes is text and begins no code block."""
_TARGET = r"\(<?([^()\s<>]*(?:\([^()\s<>]*\)[^()\s<>]*)*)>?(?:\s+\"[^\"]*\")?\)"
_CELL_LINK = re.compile(rf"!?\[([^\[\]]*)\]{_TARGET}")
_IMAGE = re.compile(rf"!\[([^\[\]]*)\]{_TARGET}")
_LINK = re.compile(rf"(?<!!)\[([^\[\]]+)\]{_TARGET}")
# Discord fetches an address to make its preview. A tool's text could leak data in that address.
_URL = re.compile(r"(?<!\\)<https?://[^\s<>]+>|https?://[^\s<>`]*[^\s<>`.,;:!?'\"()\[\]*_~|]")
_MAX_URL_CHARACTERS = 1000
"""A longer address might be cut between two posts, so it is no link."""
_PIPE = re.compile(r"(?<!\\)\|")
"""The end of a cell: a pipe without a backslash before it."""
_DELIMITER = re.compile(r"\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?")
"""The line under the header of a table, such as `|---|:-:|`."""
_BOLD = re.compile(r"(?<!\w)(\*\*|__|~~)(?=\S)(.+?)(?<=\S)\1(?!\w)")
_HEADING = re.compile(r" {0,3}#{4,6}\s+")
"""The marks of a heading of level 4 to 6, which Discord does not know."""
_HEADING_END = re.compile(r"\s+#+\s*$")
"""Number signs that close a heading."""
_INFO = re.compile(r"[\w+.#-]*")
_TICKS = re.compile(r"`(?=``)")
"""A backtick before two more."""
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
# Text that Discord turns into a mention or a command: reference.mdx#message-formatting.
_MENTION = re.compile(
    r"@(?=everyone|here)|(?<=<)(?=@[!&]?\d|#\d|/[^:<>\s][^:<>]{0,100}:\d|id:|t:-?\d|a?:\w+:\d|sound:\d)"
)

# components/reference.mdx: #text-input-text-input-structure, #label-label-structure.
MAX_INPUT_CHARACTERS, MAX_LABEL_CHARACTERS = 4000, 45
MAX_HINT_CHARACTERS, MAX_FIELD_ID_CHARACTERS = 100, 100
# interactions/receiving-and-responding.mdx#interaction-response-object-modal
MAX_FORM_TITLE_CHARACTERS, MAX_FORM_FIELDS = 45, 5

# The id of a form says what it is about, so that it can be handled after a restart.
ASK_ID = "ponte:ask"
ABOUT_ID = re.compile(r"ponte:about(?::(?P<message>\d{1,20}))?")
QUICK_ID = re.compile(r"ponte:quick:(?P<slug>[a-z0-9][a-z0-9_-]{0,79})(?P<named>:named)?")
"""The id of the form for a quick command. A longer slug does not fit into an id, so its command
runs without a form."""
REASON_ID = re.compile(r"ponte:reason:(?P<press>[a-z2-7]{6}(?:\.\d{1,4})?)")
WHY_ID = re.compile(r"ponte:why:(?P<turn>[a-z2-7]{16})")
"""The id of the form that asks why an answer got a thumb down."""
SHARE_FIELD = "share"
PROMPT_FIELD, QUOTE_FIELD, INPUT_FIELD, REASON_FIELD = "prompt", "quote", "input", "reason"
FIELD_MENU_ID = re.compile(r"ponte:fields:(?P<press>[a-z2-7]{6}(?:\.\d{1,4})?):\d")
"""The id of a menu that offers the fields of a form with more than MAX_FORM_FIELDS. The form itself
has the id of its button."""
# components/reference.mdx: #string-select-string-select-structure, #select-option-structure.
MAX_MENU_OPTIONS, MAX_OPTION_CHARACTERS, MAX_MENUS = 25, 100, 5


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
        """Columns of a monospaced font that the table takes, with two between its columns."""
        return sum(self.widths) + 2 * (len(self.header) - 1)

    @property
    def widths(self) -> list[int]:
        """The width of each column in columns of a monospaced font."""
        columns = zip(self.header, *self.rows, strict=True)
        return [max(count_columns(_strip_ticks(cell)) for cell in column) for column in columns]

    @property
    def is_narrow(self) -> bool:
        """Return True if the table fits on a phone as a code block, whose lines do not wrap."""
        return len(self.header) <= MAX_CODE_BLOCK_COLUMNS and self.width <= PHONE_LINE_CHARACTERS

    def code_block(self) -> str:
        """Return the table as a code block with aligned columns."""
        widths, marks = self.widths, self.marks
        lines = [_pad_row(self.header, widths, marks), "  ".join("─" * width for width in widths)]
        lines += [_pad_row(row, widths, marks) for row in self.rows]
        return "\n".join(["```", *lines, "```"])

    @property
    def is_list(self) -> bool:
        """Return True if each row is short enough for one item of a list."""
        return all(len(" · ".join(row)) <= MAX_ITEM_CHARACTERS for row in self.rows)

    @property
    def most(self) -> tuple[int, int]:
        """The largest number of rows that are shown in the post, and how many are shown if there
        are more, because a file then contains all of them."""
        if self.is_narrow:
            return MAX_CODE_BLOCK_ROWS, SHOWN_LIST_ROWS
        return (MAX_LIST_ROWS, SHOWN_LIST_ROWS) if self.is_list else (MAX_RECORDS, SHOWN_RECORDS)

    def records(self, most: int | None = None) -> str:
        """Return the rows, at most `most` (None for all), the first cell of each in bold: a list
        below the names of the columns, or a paragraph for each row with a line for each other cell
        that is not empty."""
        paragraphs = []
        if self.is_list:  # each row is short enough for one item
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
        """Return the first rows and a note that the file `name` contains the others."""
        shown = self.most[1]
        note = plural(
            "…{count} more row is in {name}.",
            "…{count} more rows are in {name}.",
            len(self.rows) - shown,
            name=f"`{name}`",
        )
        return f"{self.records(shown)}\n\n{note}"

    def csv(self) -> bytes:
        """Return the table as the bytes of a CSV file."""
        columns = [ExportColumn(_strip_ticks(title)) for title in self.header]
        rows = (tuple(map(_strip_ticks, row)) for row in self.rows)
        return encode_table(columns, rows, "csv").data


@dataclass(frozen=True, slots=True)
class Sheet:
    """A file that is attached to a post: a long table as CSV, or the whole text of a long
    answer."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Rendered:
    """Text in Discord's format, and the tables that became files, because they are too long."""

    text: str
    sheets: tuple[Sheet, ...] = ()


@dataclass(frozen=True, slots=True)
class DiscordPages:
    """The text of each post of an answer, and the files under the last one."""

    parts: tuple[str, ...]
    sheets: tuple[Sheet, ...] = ()


def to_discord(markdown: str) -> Rendered:
    """Return Markdown in Discord's format. Tables that are too long become files. Text that is too
    complex for the Markdown parser keeps its form; only link previews and mentions are prevented.
    """
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
    # From the last block to the first, so that the line numbers of the others stay valid.
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
    fence: Fence | None = None  # that of the code block which is open before the line `at`
    at = code_start = 0  # `code_start`: where that block's lines begin in `out`
    while at < len(lines) or fence is not None:
        # Discord takes code without an end for text.
        line = fence.closing if fence is not None and at == len(lines) else lines[at]
        # A quote within an item of a list begins at a line of its own.
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
        # All lines below with a pipe are rows of the table.
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
        # The cells are converted already, but Discord would still preview their addresses.
        out += [
            change_outside_code(line, _prevent_previews, _convert_long_code)
            for line in text.split("\n")
        ]
    return out


def disable_markup(text: str) -> str:
    """Return text in which nothing mentions anybody and nothing is hidden. It is meant for text
    outside code."""
    text = _OWN_MARKUP.sub(lambda m: m[1] or f"\\{m[0]}", encode_everybody_in_addresses(text))
    return _MENTION.sub(lambda m: m[0] + "\u200b", text)


def paginate(markdown: str, most: int = MAX_POSTS_OF_ANSWER) -> DiscordPages:
    """Return an answer as at least one and at most `most` parts. If it needs more, the last part
    names the file that contains the whole answer. The only part of an empty text is empty.
    `sheets` are the files under the last part: tables that are too long for a post, as CSV, and the
    answer if it is cut."""
    rendered = to_discord(markdown)
    parts = split_text(rendered.text, LIMIT) or ("",)
    if len(parts) <= most:
        return DiscordPages(parts, rendered.sheets)
    # The last part is cut once more, so that the note fits below it.
    note = say("*The full answer is in {name}.*", name=f"`{WHOLE}`")
    last = split_text(parts[most - 1], LIMIT - _NOTE_ROOM)[0]
    visible_parts = (*parts[: most - 1], f"{last}\n\n{note}")
    return DiscordPages(visible_parts, (*rendered.sheets, Sheet(WHOLE, markdown.encode())))


def read_table(lines: list[str]) -> TextTable | None:
    """Return the table that the lines (header, delimiter, rows) are; None if they are none. Rows
    may have fewer or more cells than the header."""
    if len(lines) < 2 or "|" not in lines[0] or not _DELIMITER.fullmatch(lines[1].strip()):
        return None
    header = _split_cells(lines[0])
    width, marks = len(header), _split_cells(lines[1])
    # `marks` are the cells of the delimiter row, such as `---:`. The width has a limit, because
    # each short row is filled up to it.
    if len(marks) != width or width > MAX_TEXT_TABLE_COLUMNS:
        return None
    rows = []
    for line in lines[2:]:
        cells = _split_cells(line)
        cells += ("",) * (width - len(cells))
        # Cells beyond the last column are added to it, so that none of them is lost.
        rows.append((*cells[: width - 1], " | ".join(cells[width - 1 :])))
    return TextTable(header, tuple(rows), marks)


def count_columns(text: str) -> int:
    """Return how many columns of a monospaced font a text takes. Wide East Asian characters take
    two."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    marks = sum(unicodedata.combining(char) != 0 for char in text)
    return len(text) + wide - marks


def build_embeds(cards: Sequence[Card]) -> list[discord.Embed]:
    """Return an embed for each of the first MAX_CARDS cards. Together they fit into one message."""
    visible_cards = cards[:MAX_CARDS]
    return [build_embed(card, _divide_characters(len(visible_cards))) for card in visible_cards]


def build_embed(card: Card, room: int = MAX_EMBEDS_CHARACTERS) -> discord.Embed:
    """Return a card as an embed of at most `room` characters. The caller divides the limit of a
    message between its cards."""
    # A person may approve only what they see in full, so a card that is cut has no such button.
    card, most = _drop_unfit_approval(card, room), _find_description_limit(room)
    lines = _describe_card(card, most)
    # A card must fit while it has a button to approve: it shows all of its rows.
    if len(card.rows) > DISCORD_CARD_ROWS and not must_fit(card):
        more = len(card.rows) - DISCORD_CARD_ROWS
        lines.append(plural("…and {count} more row.", "…and {count} more rows.", more))
    if card.expires_at and card.state == "open":
        # Discord shows the moment in the reader's own language and time zone.
        lines.append(say("Expires {when}.", when=f"<t:{int(card.expires_at)}:R>"))
    elif card.decided_at:
        lines.append(f"-# <t:{int(card.decided_at)}:f>")  # "-#" begins small text
    card_embed = discord.Embed(
        title=_make_safe(card.title)[:MAX_EMBED_TITLE_CHARACTERS],
        description="\n".join(lines).strip()[:most],
        colour=_COLOURS.get(card.state, _GREY),
    )
    # By the footer, `redraw_card` finds the embed of a card.
    return card_embed.set_author(name=describe_state(card.state)).set_footer(text=card.id)


def _describe_card(card: Card, most: int) -> list[str]:
    """Return the lines with a card's text and rows, those of an open proposal uncut: a narrow
    table, or each row's name and its changes. The values are other people's data, so Markdown in
    them is escaped. `most`: the characters of all lines."""
    if card.result:
        card = replace(card, text=end_code(card.text[:SHOWN_RESULT_CHARACTERS]))
    lines = [_make_safe(text)] if (text := card.text_with_result) else []
    # The longest value; None leaves all uncut, as a card must be that a person may approve.
    longest = None if must_fit(card) else DISCORD_CELL_CHARACTERS
    rows = read_rows(card.rows[:DISCORD_CARD_ROWS] if longest else card.rows)
    row_lines: list[str] = []
    if (table := tabulate(rows)) is not None:
        texts_of_rows = [
            (name, *(cell.value if cell else "" for cell in cells)) for name, cells in table.rows
        ]
        # In a code block Markdown has no effect, but a backtick could end the block.
        header, *cells = (
            tuple(
                defang_for_discord(to_one_line(text, longest)).replace("`", "'") for text in texts
            )
            for texts in (table.header, *texts_of_rows)
        )
        text_table = TextTable(header, tuple(cells), ("-",) * len(header))
        # It must fit whole: a cut code block would show the rest of the card as code.
        free_characters = most - sum(len(line) + 1 for line in lines) - _AFTER_ROWS
        if text_table.is_narrow and len(block := text_table.code_block()) <= free_characters:
            row_lines = [block]
    for row in () if row_lines else rows:  # without a table, line by line
        row_lines += [f"**{_escape_cell(row.name, longest)}**"] if row.name else []
        if row.is_new:
            row_lines += [
                f"**{_escape_cell(change.field, longest)}**: "
                + INDENT.join(_escape_cell(line, None) for line in change.list_lines(longest))
                for change in row.changes
            ]
            continue
        values = []
        for change in row.changes:
            # The old value and the new one; a deleted row has only the old one.
            sides = [_escape_cell(side, longest) for side in (change.before, change.after) if side]
            if change.after == NO_VALUE and marks_values(
                card
            ):  # it is struck only where it goes away
                sides[0] = f"~~{sides[0]}~~"
            values.append(f"{_escape_cell(change.field, longest)}: {' → '.join(sides)}")
        row_lines += [" · ".join(values)] if values else []
    if lines and row_lines:
        return [*lines, "", *row_lines, ""]  # set off by blank lines
    return lines + row_lines


def _divide_characters(cards: int) -> int:
    """Return the characters that each of so many cards of one message may have. Discord limits all
    embeds of a message together."""
    return MAX_EMBEDS_CHARACTERS // max(1, cards)


def _find_description_limit(room: int) -> int:
    """Return the characters of a card's description, beside its title and its footer of at most 40
    characters."""
    return min(MAX_EMBED_DESCRIPTION_CHARACTERS, room - MAX_EMBED_TITLE_CHARACTERS - 40)


def _drop_unfit_approval(card: Card, room: int) -> Card:
    """Return the card; without its button to approve if that button requires that all of the card
    is shown, and not all fits into `room` characters."""
    most = _find_description_limit(room)
    fits = not must_fit(card) or len("\n".join(_describe_card(card, most))) + _AFTER_ROWS <= most
    return card if fits else without_approval(card)


def describe_cards(cards: Sequence[Card]) -> list[str]:
    """Return a line for each card that lists the commands to type. It is for cards that do not fit
    under the message with buttons."""
    cards = [without_approval(card) if must_fit(card) else card for card in cards]
    return [
        f"{_make_safe(card.title)}: "
        + ", ".join(f"`{hint}`" for hint in list_typed(card.id, card.actions))
        for card in cards
    ]


def build_buttons(
    cards: Sequence[Card], code_turn: str = "", rated_turn: str = ""
) -> discord.ui.View:
    """Return the buttons of the first MAX_CARDS cards, in a row for each card; the button that
    shows the code of the turn `code_turn`, and the thumbs for that of `rated_turn`, if set."""
    # The embeds of the cards are cut to this room, too. A cut card that must be shown whole has no
    # button to approve.
    room = _divide_characters(min(len(cards), MAX_CARDS))
    shown = [_drop_unfit_approval(card, room) for card in cards[:MAX_CARDS]]
    # The other buttons get the row below the cards, or share the fifth one, which is the last. All
    # fit: a card has three at most, and an answer with cards has no thumbs (`is_rateable`).
    rows, last_row = enumerate(shown), min(len(shown), MAX_CARDS - 1)
    buttons = [button for row, card in rows for button in _build_card_buttons(card, row)]
    # The ids of open cards that one press approves, "" if not all of them can be. The button needs
    # all cards in this message: nobody may approve what they have not seen.
    if (ids := together_id(shown)) and len(shown) == len(cards):
        label = say(APPROVE_ALL, count=len(ids.split()))
        id = f"ponte:together:{ids.replace(' ', ',')}"
        # Discord refuses the whole message if an id is too long.
        if len(id) <= MAX_CUSTOM_ID_CHARACTERS:
            buttons.append(discord.ui.Button(label=label, custom_id=id, row=last_row))
    if code_turn:
        id = f"ponte:code:{code_turn}"
        buttons.append(discord.ui.Button(label=say(SHOW_CODE), custom_id=id, row=last_row))
    for vote, emoji in (("up", "👍"), ("down", "👎")) if rated_turn else ():
        id = f"ponte:vote:{vote}:{rated_turn}"
        buttons.append(discord.ui.Button(emoji=emoji, custom_id=id, row=last_row))
    return _build_view(buttons)


def format_code(codes: Sequence[str]) -> str:
    """Return the code of runs in blocks of code; "" if a message cannot hold it, or if it contains
    marks that end such a block."""
    content = "\n".join(f"```py\n{code.strip(chr(10))}\n```" for code in codes)
    return content if len(content) <= LIMIT and "```" not in "".join(codes) else ""


def build_stop_view(asker: str) -> discord.ui.View:
    """Return the button that stops the turn of the conversation that the user `asker` (an id) owns
    here."""
    return _build_view([discord.ui.Button(label=say("Stop"), custom_id=f"ponte:stop:{asker}")])


def redraw_card(
    message: discord.Message, card: Card
) -> tuple[list[discord.Embed], discord.ui.View]:
    """Return the embeds and buttons of `message` with `card` in its current state. All other cards
    stay unchanged."""
    # The footer of an embed ends with the id of its card.
    ids = [(old.footer.text or "").split(" ")[-1] for old in message.embeds]
    mine = [at for at, id in enumerate(ids) if id == card.id]
    card_embeds = list(message.embeds)
    # The cards of a message share its characters. One that does not fit whole has no button to
    # approve.
    card = _drop_unfit_approval(card, _divide_characters(len(card_embeds)))
    fresh = build_embed(card, _divide_characters(len(card_embeds)))
    for at in mine:
        card_embeds[at] = fresh
    if not mine:
        # Somebody removed the embed; the decision is shown all the same.
        card_embeds.append(fresh)

    def is_own(button: discord.Button) -> bool:
        press = CARD_BUTTON_ID.fullmatch(button.custom_id or "")
        return press is not None and press["card"] == card.id

    remaining = ([each for each in row if not is_own(each)] for row in _button_rows(message))
    rows = [row for row in remaining if row]
    # A message has at most five rows, as many as cards (MAX_CARDS). The last one is for the buttons
    # of this card, and for those that belong to no card.
    last = min(len(rows), MAX_CARDS - 1)
    own = _build_card_buttons(card, last)
    rows[last:] = [row[: MAX_ROW_BUTTONS - len(own)] for row in rows[last : last + 1]]
    copies = [_copy_button(button, number) for number, row in enumerate(rows) for button in row]
    view = _build_view([*own, *copies])
    return card_embeds[:MAX_EMBEDS], view  # Discord takes no more in a message


def without_stop(message: discord.Message) -> discord.ui.View:
    """Return the buttons of `message` without the stop button, each in its row. An edit replaces
    all buttons, so the others must be sent again."""
    return _build_view(
        _copy_button(button, number)
        for number, row in enumerate(_button_rows(message))
        for button in row
        if button.custom_id and not STOP_BUTTON_ID.fullmatch(button.custom_id)
    )


def ask_form() -> discord.ui.Modal:
    """Return the form of `/ask`: one field for a message of several lines."""
    return _build_modal(
        say("Ask Ponte"), ASK_ID, [_build_text_field(say("Your message"), PROMPT_FIELD)]
    )


def about_form(text: str, message: int, files: Sequence[str]) -> discord.ui.Modal:
    """Return the form that asks about a message.

    The text of that message is in a field of the form, so that it is still known after a restart.
    `message` is the message's id if it has files, else 0. `files` are the names of these files,
    which the form shows.
    """
    question = _build_text_field(say("What do you want to know?"), PROMPT_FIELD)
    quote = text[:MAX_INPUT_CHARACTERS]
    quoted = _build_text_field(say("The message"), QUOTE_FIELD, quote, required=False)
    if files:
        along = say("Files included: {names}", names=", ".join(files))
        quoted.description = along[:MAX_HINT_CHARACTERS]
    id = f"ponte:about:{message or ''}".strip(":")  # without files, it names no message
    return _build_modal(say("Ask about this message"), id, [question, quoted])


def quick_form(slug: str, command: QuickCommand | None) -> discord.ui.Modal:
    """Return the form of a quick command, with a field for each named input.

    It has one field for all inputs if the command is not known, has no named input, or has more
    than MAX_FORM_FIELDS of them. Its id tells whoever handles the submitted form the command, and
    with `:named` that there is a field for each input.
    """
    title = (command.title_and_description()[0] if command else "") or slug
    inputs = dict(command.inputs) if command else {}
    if not inputs or len(inputs) > MAX_FORM_FIELDS:
        field = _build_text_field(say("Input: text or key=value"), INPUT_FIELD, required=False)
        return _build_modal(title, f"ponte:quick:{slug}", [field])
    fields = [
        _build_text_field(name, name, required=bool(about.get("required")))
        for name, about in inputs.items()
    ]
    return _build_modal(title, f"ponte:quick:{slug}:named", fields)


def split_fields(form: ChangeForm) -> tuple[list[int], list[FormField]]:
    """Return the positions of the fields that a form or its menus can offer, and the other
    fields."""
    fitting = [
        at for at, field in enumerate(form.fields) if len(field.value) <= MAX_INPUT_CHARACTERS
    ]
    offered = fitting[: MAX_MENU_OPTIONS * MAX_MENUS]
    return offered, [field for at, field in enumerate(form.fields) if at not in offered]


def change_form(form: ChangeForm, positions: Sequence[int]) -> discord.ui.Modal:
    """Return the form that changes a proposal, with its fields at up to MAX_FORM_FIELDS positions.
    The id of each input is the position of its field, because titles may be too long for an id."""
    labels = []
    for at in positions:
        field = form.fields[at]
        labels.append(
            discord.ui.Label(
                # Discord refuses an empty label.
                text=to_one_line(field.label, MAX_LABEL_CHARACTERS) or "…",
                description=to_one_line(field.row, MAX_HINT_CHARACTERS) or None,
                component=_build_input(field, str(at)),
            )
        )
    title = to_one_line(form.title, MAX_FORM_TITLE_CHARACTERS) or form.id
    # `press_id` is the change's id with the revision that people saw.
    return _build_modal(title, f"ponte:change:{form.press_id}", labels)


def describe_left_out(form: ChangeForm, left_out: Sequence[FormField]) -> str:
    """Return the sentence on the fields that the form cannot hold; "" if there are none."""
    return describe_fields_left_out(form, left_out, lambda name: _escape_cell(name, None))


def build_field_menus(form: ChangeForm, positions: Sequence[int]) -> discord.ui.View:
    """Return menus that offer the fields at these positions, to choose those of the form. A menu
    holds MAX_MENU_OPTIONS fields, so there may be several."""
    menus: list[discord.ui.Select[Any]] = []
    for start in range(0, len(positions), MAX_MENU_OPTIONS):
        options = [
            discord.SelectOption(
                # Discord refuses an empty label.
                label=to_one_line(form.fields[at].label, MAX_OPTION_CHARACTERS) or "…",
                description=to_one_line(form.fields[at].row, MAX_OPTION_CHARACTERS) or None,
                value=str(at),
            )
            for at in positions[start : start + MAX_MENU_OPTIONS]
        ]
        # `press_id`: the change with the revision that people saw. The number tells menus apart.
        id = f"ponte:fields:{form.press_id}:{len(menus)}"
        most = min(MAX_FORM_FIELDS, len(options))
        menus.append(discord.ui.Select(custom_id=id, options=options, max_values=most))
    return _build_view(menus)


def reason_form(press_id: str) -> discord.ui.Modal:
    """Return the form that asks why a change was denied. `press_id` is the id of its card, with its
    revision."""
    most = MAX_REASON_CHARACTERS
    field = _build_text_field(say(REASON_LABEL), REASON_FIELD, max_characters=most)
    return _build_modal(say(REASON_TITLE), f"ponte:reason:{press_id}", [field])


def feedback_form(turn: str, *, can_share: bool) -> discord.ui.Modal:
    """Return the form that asks what was wrong with an answer. With `can_share`, the person can let
    operators read the question and the answer."""
    label, most = say(FEEDBACK_LABEL), MAX_FEEDBACK_CHARACTERS
    fields = [_build_text_field(label, REASON_FIELD, required=False, max_characters=most)]
    if can_share:
        tick: discord.ui.Checkbox[Any] = discord.ui.Checkbox(custom_id=SHARE_FIELD)
        text, hint = say(SHARE_LABEL)[:MAX_LABEL_CHARACTERS], say(SHARE_HINT)[:MAX_HINT_CHARACTERS]
        fields.append(discord.ui.Label(text=text, description=hint, component=tick))
    return _build_modal(say(FEEDBACK_TITLE), f"ponte:why:{turn}", fields)


def read_form_values(interaction: Interaction) -> dict[str, str]:
    """Return the values of a submitted form by the ids of their fields. A checkbox gives "true" or
    "false", a menu its one chosen option or ""."""
    data: Mapping[str, Any] = interaction.data or {}
    values = {}
    for item in _list_components(data.get("components") or []):
        # A text field and a checkbox have `value`, a menu has `values`; other items have neither.
        if "value" in item or "values" in item:
            value = item.get("value", "".join(item.get("values") or ()))
            is_ticked = isinstance(value, bool)
            values[str(item["custom_id"])] = str(value).lower() if is_ticked else str(value)
    return values


def _build_card_buttons(card: Card, row: int) -> list[discord.ui.Button[Any]]:
    """Return the buttons of a card. The id of each says what a click does, and names the card with
    its revision."""
    return [
        discord.ui.Button(
            style=_STYLES.get(action, discord.ButtonStyle.secondary),
            label=say(LABELS[action]),
            custom_id=f"ponte:{action}:{card.press_id}",
            row=row,
        )
        for action in card.actions
    ]


def _split_cells(line: str) -> tuple[str, ...]:
    """Return the cells of a row without their bold marks and links. A pipe inside code, or after a
    backslash, separates none."""
    line = line.strip().removeprefix("|")
    if line.endswith("|") and not line.endswith("\\|"):
        line = line[:-1]
    in_code = {at for start, end in find_code_spans(line) for at in range(start, end)}
    pipes = [pipe.start() for pipe in _PIPE.finditer(line) if pipe.start() not in in_code]
    cells = [line[a + 1 : b] for a, b in pairwise([-1, *pipes, len(line)])]

    def drop_markup(text: str) -> str:
        """Return text outside code without bold marks, with a link as its label and address."""
        # The table is shown as a code block, in which bold and links would be seen as written.
        # A cell has one line.
        return _BOLD.sub(r"\2", _CELL_LINK.sub(r"\1 \2", BREAK.sub(" ", text)))

    texts = (cell.replace("\\|", "|").strip() for cell in cells)
    return tuple(change_outside_code(text, drop_markup) for text in texts)


def _strip_ticks(cell: str) -> str:
    """Return a cell as plain text, without backticks: they could close the code block that contains
    the table."""
    return change_outside_code(cell, lambda text: _ESCAPE.sub(r"\1", text)).replace("`", "")


def _pad_row(cells: tuple[str, ...], widths: list[int], marks: tuple[str, ...]) -> str:
    """Return a line of a code block with the cells of a row, filled up with spaces to `widths`. The
    delimiter row (`marks`) aligns a column with colons; in others, numbers go to the right."""
    padded = []
    for cell, width, mark in zip(map(_strip_ticks, cells), widths, marks, strict=True):
        space = " " * (width - count_columns(cell))
        is_right = mark[0] != ":" == mark[-1] if ":" in mark else is_number(cell)
        padded.append(space + cell if is_right else cell + space)
    return "  ".join(padded).rstrip()


def _convert_line(line: str, before: Fence | None, after: Fence | None) -> str:
    """Return a line in Discord's format. `before` and `after` are the code block that is open
    before the line and after it: the line may be text (None twice), or begin a block, be in one or
    end it. Inline code stays unchanged, except that a long span becomes a block of its own."""
    fence = after if before is None else before
    if fence is None:  # text
        # Discord has no horizontal lines.
        if _RULE.fullmatch(line):
            return ""
        if heading := _HEADING.match(line):  # level 4 to 6, which Discord does not know
            line = f"**{_HEADING_END.sub('', line[heading.end() :]).rstrip()}**"
        return change_outside_code(line, _convert_prose, _convert_long_code)
    # Discord knows no fences but those of three backticks, and no three backticks inside a block.
    if before and after:
        return _TICKS.sub("`\u200b", line)
    # It reads only one word as the language, and shows any other text as a line of code.
    info = "" if before else fence.info.strip()  # a line that ends a block names no language
    code = f"{fence.indent}```{info if _INFO.fullmatch(info) else info.partition(' ')[0]}"
    # A block that begins an item of a list stands in a line of its own, below the item's marker.
    marker = "" if before else line.partition(fence.mark)[0].rstrip()
    return f"{marker}\n{code}" if marker else code


def _convert_long_code(code: str) -> str:
    """Return a code span; a long one as a block, which `split_text` closes in each post."""
    content = _TICKS.sub("`\u200b", code.strip("`"))
    return f"\n```\n{content}\n```\n" if len(code) > MAX_CODE_SPAN_CHARACTERS else code


def _convert_prose(text: str) -> str:
    """Return text outside code in Discord's format: tasks with a box, links and images with their
    full address, bold text that Discord would underline."""
    text = _TASK.sub(lambda m: m[1] + ("☑ " if m[2] in "xX" else "☐ "), text)
    text = _IMAGE.sub(lambda m: _spell_out_link(m[1], m[2]), text)
    text = _LINK.sub(lambda m: _spell_out_link(m[1], m[2]), text)
    text = _STRONG.sub(lambda m: m[1] or f"**{m[2]}**", text)
    return _prevent_previews(BREAK.sub("\n", text))


def _spell_out_link(label: str, url: str) -> str:
    """Return a link as its label and its full address. Discord fetches no preview of an address in
    angle brackets."""
    return f"<{url}>" if label in ("", url) else f"{label} (<{url}>)"


def _prevent_previews(text: str) -> str:
    text = _STRAY_CODE.sub(lambda m: m[1] or f"\\{m[0]}", _URL.sub(_bracket_url, text))
    return disable_markup(text)


def _bracket_url(match: re.Match[str]) -> str:
    url = match[0].strip("<>")
    return f"<{url}>" if len(url) <= _MAX_URL_CHARACTERS else url.replace(":", ":\u200b", 1)


def _build_view(items: Iterable[discord.ui.Item[Any]]) -> discord.ui.View:
    """Return a view that the SDK does not track: clicks are handled by the ids of their buttons and
    menus, so that they work after a restart."""
    view = discord.ui.View(timeout=None)
    for item in items:
        view.add_item(item)
    view.stop()
    return view


def _button_rows(message: discord.Message) -> list[list[discord.Button]]:
    return [
        [item for item in row.children if isinstance(item, discord.Button)]
        for row in message.components
        if isinstance(row, discord.ActionRow)
    ]


def _copy_button(button: discord.Button, row: int) -> discord.ui.Button[Any]:
    return discord.ui.Button(
        style=button.style, label=button.label, custom_id=button.custom_id, row=row
    )


def _make_safe(words: str) -> str:
    return disable_markup(defang_for_discord(words))


def _escape_cell(text: str, longest: int | None) -> str:
    text = truncate(text.replace("\n", " "), longest or len(text))
    return disable_markup(discord.utils.escape_markdown(defang_for_discord(text))) or "∅"


def _build_modal(title: str, id: str, fields: Sequence[discord.ui.Label[Any]]) -> discord.ui.Modal:
    """Return a form that the SDK does not track: submissions are handled by the form's id, so that
    they work after a restart."""
    title = title[:MAX_FORM_TITLE_CHARACTERS]
    modal = discord.ui.Modal(title=title, custom_id=id, timeout=None)
    for field in fields:
        modal.add_item(field)
    modal.stop()
    return modal


def _build_text_field(
    label: str,
    id: str,
    default: str = "",
    required: bool = True,
    max_characters: int = MAX_INPUT_CHARACTERS,
) -> discord.ui.Label[Any]:
    """Return a field of a form for text of several lines. Longer labels and ids are cut, because
    Discord refuses the whole form for them."""
    field: discord.ui.TextInput[Any] = discord.ui.TextInput(
        style=discord.TextStyle.paragraph,
        custom_id=id[:MAX_FIELD_ID_CHARACTERS],
        default=default or None,
        required=required,
        max_length=max_characters,
    )
    return discord.ui.Label(text=label[:MAX_LABEL_CHARACTERS], component=field)


def _build_input(field: FormField, id: str) -> discord.ui.Item[Any]:
    """Return the input for a field: a checkbox, a menu or a text field. It is a text field if no
    other can hold the field's value, such as one that the menu does not offer."""
    options = tuple(dict.fromkeys(field.options))  # without repetitions
    if field.type == "checkbox":
        return discord.ui.Checkbox(custom_id=id, default=field.value == "true")
    if field.type == "select" and field.value in ("", *options):
        # Discord refuses the whole form if one option is empty or too long.
        fits = all(option.strip() and len(option) <= MAX_OPTION_CHARACTERS for option in options)
        if fits and 0 < len(options) <= MAX_MENU_OPTIONS:
            offered = [
                discord.SelectOption(label=option, value=option, default=option == field.value)
                for option in options
            ]
            return discord.ui.Select(custom_id=id, options=offered, min_values=0, required=False)
    # Not required, because an empty input empties the field. Fields with longer values are in no
    # form (`split_fields`).
    is_long = field.type == "lines" or "\n" in field.value
    return discord.ui.TextInput(
        custom_id=id,
        style=discord.TextStyle.paragraph if is_long else discord.TextStyle.short,
        default=field.value or None,
        required=False,
        max_length=MAX_INPUT_CHARACTERS,
    )


def _list_components(components: list[Any]) -> list[Mapping[str, Any]]:
    """Return all components of a form, also those inside others: a row has several in `components`,
    a label has one in `component`."""
    items: list[Mapping[str, Any]] = []
    for item in components:
        items.append(item)
        inner = item.get("components") or ([item["component"]] if "component" in item else [])
        items.extend(_list_components(inner))
    return items
