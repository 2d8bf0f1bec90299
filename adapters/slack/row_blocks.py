"""Builds the block with a card's rows: a table, or lines of rich text with each row's name.

The texts of both blocks are shown as they are. They contain no markup, so that a value cannot
mention anybody or become a link (docs.slack.dev/reference/block-kit/blocks/rich-text-block and
table-block).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.changes.card_rows import NO_VALUE, CardRow, CardTable, FieldChange, tabulate
from core.text.markdown import defang
from core.text.text import to_one_line

Json = dict[str, Any]

MAX_ROW_CELL_CHARACTERS = 80
"""The maximum characters of one value in a card."""
TABLE_BLOCK = "table"
"""The type of the table block. Slack allows one in a message, with 100 rows of 20 cells."""
_BOLD, _STRUCK = {"bold": True}, {"strike": True}


def build_rows_block(rows: Sequence[CardRow]) -> Json:
    """Return the block with these rows, without its `block_id`."""
    table = tabulate(rows)
    return _table_block(table) if table else _lines_block(rows)


def has_table(blocks: Sequence[Json]) -> bool:
    """Return whether one of the blocks is a table."""
    return any(block.get("type") == TABLE_BLOCK for block in blocks)


def without_tables(blocks: Sequence[Json]) -> list[Json]:
    """Return the blocks with each table as lines of rich text: the first cell of a row in bold,
    then the others with their headings."""
    return [_table_as_lines(b) if b.get("type") == TABLE_BLOCK else b for b in blocks]


def with_one_table(blocks: Sequence[Json]) -> list[Json]:
    """Return the blocks with only their first table; Slack allows one in a message. Others become
    lines of rich text."""
    first = next((n for n, block in enumerate(blocks) if block.get("type") == TABLE_BLOCK), None)
    if first is None:
        return list(blocks)
    return [*blocks[: first + 1], *without_tables(blocks[first + 1 :])]


def _lines_block(rows: Sequence[CardRow]) -> Json:
    elements: list[Json] = []
    for row in rows:
        if row.name:
            elements += [_text(row.name, _BOLD), _raw("\n")]
        for number, change in enumerate(row.changes):
            elements += [_raw(" · ")] if number else []
            elements += [_raw(f"{_clean(change.field)}: "), *_values(change)]
        elements.append(_raw("\n"))
    return _rich_text(elements[:-1])


def _table_block(table: CardTable) -> Json:
    header = [_rich_text([_text(title, _BOLD)]) for title in table.header]
    rows = [
        [_rich_text([_text(name, {})]), *(_rich_text(_values(cell)) for cell in cells)]
        for name, cells in table.rows
    ]
    return {"type": TABLE_BLOCK, "rows": [header, *rows],
            "column_settings": [{"is_wrapped": True} for _ in table.header]}  # fmt: skip


def _table_as_lines(block: Json) -> Json:
    header, *rows = block["rows"]
    titles = ["".join(each["text"] for each in _elements(cell)) for cell in header]
    elements: list[Json] = []
    for name, *cells in rows:
        elements += [each | {"style": _BOLD} for each in _elements(name)] + [_raw("\n")]
        for number, (title, cell) in enumerate(zip(titles[1:], cells, strict=True)):
            elements += [_raw(" · ")] if number else []
            elements += [_raw(f"{title}: "), *_elements(cell)]
        elements.append(_raw("\n"))
    return _rich_text(elements[:-1]) | {"block_id": block["block_id"]}


def _values(change: FieldChange | None) -> list[Json]:
    """Return the old value crossed out and the new one; only one if the row has only one."""
    if change is None:
        return [_raw(NO_VALUE)]
    if change.before is None or change.after is None:
        return [_text(change.value or NO_VALUE, {})]
    struck = {} if change.before == NO_VALUE else _STRUCK
    return [_text(change.before, struck), _raw(" → "), _text(change.after, {})]


def _elements(cell: Mapping[str, Any]) -> list[Json]:
    return list(cell["elements"][0]["elements"])


def _rich_text(elements: list[Json]) -> Json:
    section = {"type": "rich_text_section", "elements": elements or [_raw(NO_VALUE)]}
    return {"type": "rich_text", "elements": [section]}


def _text(value: str, style: Mapping[str, bool]) -> Json:
    return _raw(_clean(value) or NO_VALUE) | ({"style": dict(style)} if style else {})


def _raw(text: str) -> Json:
    return {"type": "text", "text": text}


def _clean(value: str) -> str:
    return defang(to_one_line(value, MAX_ROW_CELL_CHARACTERS))
