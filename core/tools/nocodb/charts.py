"""`chart`: a chart of rows that an earlier call of the turn read. It needs no sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Literal

from core.base.errors import ToolError
from core.base.i18n import format_date
from core.base.text import to_one_line
from core.domain.records import Outcome, ToolContext
from core.domain.rows import Chart, RowsResult, Series, Value, to_number
from core.tools.tool import compact_json, tool

MAX_CHART_LABEL_CHARACTERS = 40

MAX_CHART_SERIES = 12
MAX_CHART_DAYS = 100
"""Days between the first and the last one; in a longer time those without rows are left out."""


@tool(effect="read", doing="is drawing a chart…", strict=False)
async def chart(
    ctx: ToolContext,
    result: str,
    kind: Literal["bar", "line", "area", "pie"],
    title: str,
    x: str,
    y: Sequence[str],
    series: str | None = None,
) -> Outcome:
    """A chart of rows read before.

    Args:
        result: such as r1
        x: column of labels
        y: of numbers
        series: column that splits y
    """
    source = ctx.results.get(result)
    if source is None or not isinstance(source.data, RowsResult):
        known = [id for id, outcome in ctx.results.items() if isinstance(outcome.data, RowsResult)]
        raise _refuse(f"`result` is one of {', '.join(known) or 'none: read rows first'}")
    # `source` is the outcome of the earlier call, and `rows` its table: `rows.rows` has the cells
    # as people read them, `rows.values` the same cells as numbers or ISO dates.
    rows = source.data
    # The chart shows these rows, so whoever reads it needs the rights that they needed.
    ctx.viewer.needs.update(source.needs)
    labels = [row[_find_column(rows, x)] for row in rows.rows]
    distinct = list(dict.fromkeys(labels))
    # A time axis has every day from the first to the last, also those without a row.
    if days := _read_days(rows, _find_column(rows, x)):
        labels = [format_date(day, length="MMMd") for day in days]
        length = (days[-1] - days[0]).days + 1
        distinct = [format_date(days[0] + timedelta(n), length="MMMd") for n in range(length)]
    # By the name of a series, then by label: the number and its text.
    groups: dict[str, dict[str, tuple[Value, str]]] = {}
    if series and len(y) != 1:
        raise _refuse("with `series`, give one column `y`")
    for column in y:
        at = _find_column(rows, column)
        if rows.columns[at].kind != "number":
            raise _refuse(f"`{column}` has no numbers")
        # With `series`, the row's cell names its series; else each column `y` is one.
        names = [row[_find_column(rows, series)] for row in rows.rows] if series else []
        for number, label in enumerate(labels):
            group = groups.setdefault(names[number] if series else rows.columns[at].title, {})
            if label in group:
                raise _refuse("rows share a label: sum them up by group first, or give `series`")
            group[label] = rows.values[number][at], rows.rows[number][at]
    # How the numbers of a column are written, such as a currency.
    formats = {column: rows.columns[_find_column(rows, column)].format for column in y}
    data = Chart(
        kind,
        _shorten(title),
        tuple(map(_shorten, distinct)),
        tuple(
            Series(
                _shorten(name),
                tuple(to_number(group.get(label, (None, ""))[0]) for label in distinct),
                tuple(group.get(label, (None, "–"))[1] or "–" for label in distinct),
                formats[y[0] if series else y[number]],
            )
            for number, (name, group) in enumerate(groups.items())
        ),
    )
    values = [
        value for chart_series in data.series for value in chart_series.values if value is not None
    ]
    if not values or len(data.series) > MAX_CHART_SERIES:
        raise _refuse(f"it needs numbers, in at most {MAX_CHART_SERIES} series")
    if kind == "pie" and (len(data.series) > 1 or min(values) < 0):
        raise _refuse("a pie needs one series without negative numbers")
    show = f"[chart: {ctx.result_id}] alone on a line of your answer shows it"
    return Outcome("ok", compact_json({"show": show}), data=data)


def _read_days(rows: RowsResult, at: int) -> list[date]:
    """Return [] for other values than days in their order, or if the first and the last are more
    than `MAX_CHART_DAYS` apart: then the labels are those of the rows alone."""
    try:
        days = [date.fromisoformat(str(values[at])) for values in rows.values]
    except ValueError:
        return []
    is_short = bool(days) and (days[-1] - days[0]).days < MAX_CHART_DAYS
    return days if rows.columns[at].format == "date" and is_short and days == sorted(days) else []


def _find_column(rows: RowsResult, name: str) -> int:
    names = [column.name or column.title for column in rows.columns]
    if name not in names:
        raise _refuse(f"the columns are {', '.join(names)}")
    return names.index(name)


def _shorten(text: str) -> str:
    return to_one_line(text, MAX_CHART_LABEL_CHARACTERS) or "–"


def _refuse(hint: str) -> ToolError:
    return ToolError("The chart can't be drawn.", code="bad_chart", hint=hint)
