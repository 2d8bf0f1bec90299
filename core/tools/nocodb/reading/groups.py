"""Rows that belong together: by what a field holds, or by the day, week … that it falls in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, tzinfo
from typing import Literal

from core.errors import ToolError
from core.tools.nocodb import cells
from core.tools.nocodb.rest.records import Record
from core.tools.nocodb.schema import Field
from core.tools.nocodb.values import line

Bucket = Literal["day", "week", "month", "quarter", "year"]
EMPTY = "(empty)"
LABEL = 80
"""Characters."""

_BUCKETS: Mapping[Bucket, Callable[[date], str]] = {
    "day": date.isoformat,
    "week": lambda day: "{}-W{:02}".format(*day.isocalendar()[:2]),
    "month": lambda day: day.isoformat()[: len("2026-11")],
    "quarter": lambda day: f"{day.year}-Q{(day.month + 2) // 3}",
    "year": lambda day: f"{day.year:04}",
}


def grouped(
    records: Sequence[Record], field: Field, bucket: Bucket | None, zone: tzinfo | None
) -> dict[str, list[Record]]:
    """Rows by label: times in their order, all else by how many rows, the most first.

    A row with several options, links or people stands in each of their groups. Moments fall on the
    day that it was in `zone`. Raises ToolError for a `bucket` of what is no date.
    """
    dated = field.type == "Date" or field.type in cells.TIMES
    if bucket and not dated:
        raise ToolError(
            "{field} holds no dates, so it has no {bucket}.",
            code="bad_group", hint="leave bucket out", field=field.title, bucket=bucket,
        )  # fmt: skip
    groups: dict[str, list[Record]] = {}
    for record in records:
        cell = record.fields.get(field.title)
        labels = [_day(field, cell, bucket or "day", zone)] if dated else _labels(field, cell)
        for label in labels:
            groups.setdefault(label, []).append(record)
    order = sorted(groups, key=lambda label: (0 if dated else -len(groups[label]), label))
    return {label: groups[label] for label in order}


def _day(field: Field, cell: object, bucket: Bucket, zone: tzinfo | None) -> str:
    day = cells.day_of(cell)
    if field.type != "Date":
        moment = cells.moment_of(cell, zone)
        day = moment.date() if moment else None
    return _BUCKETS[bucket](day) if day else EMPTY


def _labels(field: Field, cell: object) -> Sequence[str]:
    if field.type == "Checkbox":
        return ("checked" if cell else "not checked",)
    if field.type in cells.NUMBERS and (number := cells.number_of(cell)) is not None:
        return (format(number, "f"),)
    texts = [line(text, LABEL) for text in cells.texts_of(cell) if text]
    return tuple(dict.fromkeys(texts)) or (EMPTY,)
