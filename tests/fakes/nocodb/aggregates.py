"""The fake's aggregates, which are of v2, with what is wrong with them there."""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Callable, Sequence
from typing import Any

from tests.fakes.nocodb.answers import NocoDBErrorResponse
from tests.fakes.nocodb.call import Call
from tests.fakes.nocodb.tables import FakeTable
from tests.fakes.nocodb.where import parse_filter

_FUNCTIONS: dict[str, Callable[[Sequence[Any]], Any]] = {
    "sum": lambda values: _shorten(functools.reduce(operator.add, map(float, values), 0.0)),
    "avg": lambda values: sum(values) / len(values) if values else None,
    "min": lambda values: min(values, default=0),
    "max": lambda values: max(values, default=None),
    "earliest_date": lambda values: min(values, default=None),
    "latest_date": lambda values: max(values, default=None),
    "count_unique": lambda values: len(set(values)),
    "count_filled": len,
}


def aggregate(call: Call) -> object:
    """Fields go by id alone; another, or a function that is not known, is left out of the answer.

    A second one of a field is "<id>:1". A filter with quotes, or of a field that is not known,
    chooses every row. Numbers are added as floats, and a rating of 0 is as none.
    """
    table = call.table_alone
    where = call.request.query.get("where", "")
    ids = [id for id in table.rows if _fits(table, where, id)]
    answer: dict[str, Any] = {}
    events: dict[str, int] = {}
    for each in json.loads(call.request.query["aggregation"]):
        field = next((field for field in table.fields if field.id == each["field"]), None)
        if field is None or each["type"] not in _FUNCTIONS:
            continue
        number = events[field.id] = events.get(field.id, -1) + 1
        cells = [cell for id in ids if (cell := table.cell(field, id)) is not None]
        cells = [cell for cell in cells if cell or field.type != "Rating"]
        answer[f"{field.id}:{number}" if number else field.title] = _FUNCTIONS[each["type"]](cells)
    return answer


def _shorten(number: float) -> float:
    return int(number) if number.is_integer() else number


def _fits(table: FakeTable, where: str, id: int) -> bool:
    if not where or '"' in where or "'" in where:
        return True
    try:
        return parse_filter(where, table)(id)
    except NocoDBErrorResponse:
        return True
