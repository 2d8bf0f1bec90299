"""Builds the block with a card's rows: a table, or lines of rich text with each row's name.

Slack reads no markup in either block
(docs.slack.dev/reference/block-kit/blocks/rich-text-block and table-block). Addresses and mentions
in values are disabled all the same: the blocks may be quoted where markup is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from core.base.commonmark import parse_blocks
from core.base.markdown import is_too_complex
from core.base.splitting import change_outside_code
from core.base.text import to_one_line
from core.base.trust import defang, encode_everybody_in_addresses
from core.changes.card_rows import INDENT, NO_VALUE, FieldChange, read_rows, tabulate
from core.chat.approval_notices import marks_values
from core.domain.messages import Card

_JOINER = "\u2060"  # word joiner: invisible, allows no line break; it disables control sequences
_CONTROL = re.compile(r"<(?=!(?:channel|here|everyone|group|subteam|date)|@[A-Z]|#[A-Z])", re.I)
_EXACT = re.compile(
    r"<(?=(?:!(?:channel|here|everyone|group|subteam\^|date\^)[^<>\n]*"
    r"|[@#][A-Z][A-Z0-9]{5,}(?:\|[^<>\n]*)?)>)",
    re.I,
)
"""Exactly a control sequence of Slack, and not `List<@NonNull String>`."""
_UNSURE = re.compile(r"\\`|<[^<>\s`]*`")
"""A backtick that may not begin or end code: an escaped one, and one in an address."""
_AT_ALL = re.compile(r"@(?=(?:channel|here|everyone)\b)(?!(?<=\w@)\w+\.[a-z]{2})", re.I)
"""The domain of an e-mail address, such as `ana@here.com`, is no mention of everybody."""


def neutralize(text: str) -> str:
    """Disable Slack's control sequences by an invisible character in them, so that the text
    notifies no person, group or channel."""
    if "@" not in text and "<" not in text:
        return text
    text = encode_everybody_in_addresses(text)  # such an address would not work with it
    return _AT_ALL.sub("@" + _JOINER, _CONTROL.sub("<" + _JOINER, text))


def neutralize_markdown(text: str) -> str:
    """Disable Slack's control sequences in Markdown. People copy code, so nothing invisible is put
    into it: there, a space shows where a control sequence was.

    A text that is too complex for the Markdown parser is treated as if it had no code. In code,
    only exact control sequences (`_EXACT`) are changed, so that `List<@NonNull String>` stays.
    """
    if (safe := neutralize(text)) == text or is_too_complex(text):
        return safe
    blocks = [
        token.map
        for token in parse_blocks(text)
        if token.type in ("fence", "code_block") and token.map
    ]
    code_lines = {at for start, end in blocks for at in range(start, end)}

    def neutralize_code(code: str) -> str:
        # In a table, a "|" ends the cell, and then this is no code for Slack.
        return neutralize(code) if "|" in code else _EXACT.sub("< ", code)

    lines = text.split("\n")
    for at, line in enumerate(lines):
        if at in code_lines:
            lines[at] = _EXACT.sub("< ", line)
        # With an escaped backtick, or one in an address, Slack may read other spans as code, so
        # none counts.
        elif _UNSURE.search(line):
            lines[at] = neutralize(line)
        else:
            lines[at] = change_outside_code(line, neutralize, neutralize_code)
    return "\n".join(lines)


Json = dict[str, Any]

CARD_BLOCK = "ponte_card:"
"""The block ids of a card begin with this."""
MAX_ROW_CELL_CHARACTERS = 80
TABLE_BLOCK = "table"
"""Slack allows one table block in a message, with 100 rows of 20 cells."""
TABLE_ROWS = 100
"""How many rows a table can have, with the row of titles."""
_BOLD, _STRUCK = {"bold": True}, {"strike": True}


def build_rows_block(
    card: Card, count: int, characters: int | None, fields: int | None = None, tables: bool = True
) -> Json:
    """Return the block with the first `count` rows of a card: a table if possible, else lines with
    the name and the changed fields of each row.

    `characters` is the most characters of a value, `fields` the number of changed fields shown of
    each row; None for all. `tables`: the rows may be a table.
    """
    rows, marked = read_rows(card.rows[:count]), marks_values(card)
    # A table has all fields of each row, and one row of titles.
    table = tabulate(rows) if tables and fields is None and count < TABLE_ROWS else None
    if table:
        cells = [[[_text(title, _BOLD, characters)] for title in table.header]]
        for name, changes in table.rows:
            values = [_render_change(change, characters, marked) for change in changes]
            cells.append([[_text(name, {}, characters)], *values])
        block: Json = {
            "type": TABLE_BLOCK,
            "rows": [list(map(_rich_text, row)) for row in cells],
            "column_settings": [{"is_wrapped": True} for _ in table.header],
        }
    else:
        # For each row: its name, its values, and what comes between two values.
        lines: list[tuple[list[Json], list[list[Json]], str]] = []
        for row in rows:
            values = [
                _render_field(change, characters)
                if row.is_new
                else [
                    _raw(f"{_clean(change.field, characters)}: "),
                    *_render_change(change, characters, marked),
                ]
                for change in row.changes[:fields]
            ]
            if hidden := len(row.changes) - len(values):
                values.append([_raw(f"… +{hidden}")])
            heading = [_text(row.name, _BOLD, characters)] if row.name else []
            for detail in row.details if fields is None else ():
                heading += [_raw(" · ")] if heading else []
                heading.append(_text(f"{detail.field}: {detail.value}", {}, characters))
            lines.append((heading, values, "\n" if row.is_new else " · "))
        block = _rich_text(_join_lines(lines))
    return block | {"block_id": f"{CARD_BLOCK}{card.id}:rows"}


def has_table(blocks: Sequence[Json]) -> bool:
    return any(block.get("type") == TABLE_BLOCK for block in blocks)


def _join_lines(rows: Sequence[tuple[list[Json], list[list[Json]], str]]) -> list[Json]:
    """Return the elements of all rows: each row's name on one line, its values below it with its
    separator between them."""
    elements: list[Json] = []
    for name, values, separator in rows:
        elements += [_raw("\n")] if elements else []
        elements += name
        elements += [_raw("\n")] if name and values else []
        for number, value in enumerate(values):
            elements += [_raw(separator), *value] if number else value
    return elements


def _render_field(change: FieldChange, characters: int | None) -> list[Json]:
    """Return a field of a new row with its line breaks. Only labels are bold, so no line of a value
    looks like one."""
    lines = [_clean(line, None) for line in change.list_lines(characters)]
    return [_text(f"{change.field}:", _BOLD, characters), _raw(f" {INDENT.join(lines)}")]


def _render_change(change: FieldChange | None, characters: int | None, marked: bool) -> list[Json]:
    """Return the old value and the new one, or the only one. If `marked`, the new one is bold, and
    the old one is struck where it goes away. None: a row of a table does not change this field."""
    # NO_VALUE (a dash) is also the text of an empty field.
    if change is None:
        return [_raw(NO_VALUE)]
    # A new row has no old value, a deleted one no new value.
    if change.before is None or change.after is None:
        return [_text(change.value or NO_VALUE, {}, characters)]
    styles: Sequence[Mapping[str, bool]] = ({}, {})
    if marked:
        styles = (_STRUCK, {}) if change.after == NO_VALUE else ({}, _BOLD)
    sides = zip((change.before, change.after), styles, strict=True)
    before, after = (_text(side, style, characters) for side, style in sides)
    return [before, _raw(" → "), after]


def _rich_text(elements: list[Json]) -> Json:
    section = {"type": "rich_text_section", "elements": elements or [_raw(NO_VALUE)]}
    return {"type": "rich_text", "elements": [section]}


def _text(value: str, style: Mapping[str, bool], characters: int | None) -> Json:
    text = _raw(_clean(value, characters) or NO_VALUE)
    return text | ({"style": dict(style)} if style else {})


def _raw(text: str) -> Json:
    return {"type": "text", "text": text}


def _clean(value: str, characters: int | None) -> str:
    return neutralize(defang(to_one_line(value, characters)))
