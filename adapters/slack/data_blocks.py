"""Builds Slack's sortable tables and charts.

Slack refuses a whole message because of one wrong block, so the limits are checked before
(docs.slack.dev/reference/block-kit/blocks/data-table-block and data-visualization-block).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adapters.slack.row_blocks import neutralize
from core.base.text import to_one_line
from core.base.trust import defang
from core.changes.card_rows import NO_VALUE
from core.domain.rows import Chart, RowColumn, RowsResult

Json = dict[str, Any]

_MAX_ROWS, _MAX_COLUMNS, _MAX_CHARACTERS = 100, 20, 10_000
"""The limits of a table: rows with the header, columns, characters of all cells. Some pages of
Slack allow 201 rows and 20,000 characters."""
_PAGE_ROWS = 20
"""The visible rows of a table."""
_MAX_CAPTION, _MAX_TITLE, _MAX_LABEL = 150, 50, 20
"""Characters of a table's caption (our limit), of a chart's title and of its labels."""
_MAX_SERIES, _MAX_LINES, _MAX_POINTS, _MAX_SEGMENTS = 12, 6, 20, 12
"""The limits of charts: series, series of a line chart, points of a series, segments of a pie."""
MAX_OF_KIND = {"data_table": 1, "data_visualization": 2}
"""How many blocks of a type a message can have."""


def build_data_block(data: RowsResult | Chart | None) -> Json | None:
    """Return None if Slack would refuse the block."""
    if isinstance(data, Chart):
        return _build_chart(data)
    return _build_table(data) if data else None


def has_data(blocks: Sequence[Mapping[str, Any]]) -> bool:
    return any(block["type"] in MAX_OF_KIND for block in blocks)


def _build_table(data: RowsResult) -> Json | None:
    """Return None if the table exceeds a limit of Slack's block. Slack would refuse the whole
    message then, so the table is sent as text instead."""
    rows: list[list[Json]] = [[_build_cell(column.title, None) for column in data.columns]]
    for texts, values in zip(data.rows, data.values, strict=True):
        # A cell with a number is sorted by it.
        numbers = map(RowColumn.sort_number, data.columns, values)
        rows.append([_build_cell(*pair) for pair in zip(texts, numbers, strict=True)])
    rows += [[_build_cell(text, None) for text in data.total]] if data.total else []
    characters = sum(len(cell["text"]) for row in rows for cell in row)
    # `rows` includes the header, which needs at least one row below it.
    if (
        not 1 < len(rows) <= _MAX_ROWS
        or not 0 < len(data.columns) <= _MAX_COLUMNS
        or characters > _MAX_CHARACTERS
    ):
        return None
    page_rows = min(_PAGE_ROWS, len(rows) - 1)
    caption = _clean(data.caption, _MAX_CAPTION)
    return {"type": "data_table", "caption": caption, "page_size": page_rows, "rows": rows}


def _build_cell(text: str, number: float | None) -> Json:
    cell: Json = {"type": "raw_text", "text": _clean(text)}
    return cell if number is None else cell | {"type": "raw_number", "value": number}


def _build_chart(data: Chart) -> Json | None:
    """Return None if Slack would refuse the chart, which is then sent as text: each series needs a
    value for each label, labels and names must differ, a pie has one series of positive numbers,
    and each kind has its maximum of series and points."""
    labels = [_clean(label, _MAX_LABEL) for label in data.labels]
    names = [_clean(each.name, _MAX_LABEL) for each in data.series]
    values = [value for each in data.series for value in each.values if value is not None]
    # Cut to Slack's lengths, two names may be equal.
    is_whole = len(values) == len(labels) * len(names)
    if not is_whole or len({*labels}) < len(labels) or len({*names}) < len(names):
        return None
    title = _clean(data.title, _MAX_TITLE)
    points = [
        [{"label": label, "value": value} for label, value in zip(labels, each.values, strict=True)]
        for each in data.series
    ]
    chart: Json
    if data.kind == "pie":
        if len(points) > 1 or len(labels) > _MAX_SEGMENTS or min(values) <= 0:
            return None
        chart = {"type": "pie", "segments": points[0]}
    else:
        most = _MAX_LINES if data.kind == "line" else _MAX_SERIES
        if len(names) > most or len(labels) > _MAX_POINTS:
            return None
        series = [{"name": name, "data": each} for name, each in zip(names, points, strict=True)]
        chart = {"type": data.kind, "series": series, "axis_config": {"categories": labels}}
    return {"type": "data_visualization", "title": title, "chart": chart}


def _clean(text: str, characters: int | None = None) -> str:
    return neutralize(defang(to_one_line(text, characters)))[:characters] or NO_VALUE
