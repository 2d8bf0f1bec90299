"""Conditions on days and moments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from core.tools.nocodb import cells
from core.tools.nocodb.filters.condition import Condition, Op
from core.tools.nocodb.filters.spans import Span
from core.tools.nocodb.filters.where import clause, either, every
from core.tools.nocodb.schema import Field


def of_dates(field: Field, op: Op, given: Sequence[object], now: datetime) -> Condition:
    """Every date is a stretch of time: `gt` a month is after its end, `eq` is within it."""
    spans = tuple(Span.of(str(each), now) for each in given)
    start, end = _bounds(field, spans[0].to(spans[-1]))
    before, until = (clause(field.id, "lt", at, word="exactDate") for at in (start, end))
    since, after = (clause(field.id, "gte", at, word="exactDate") for at in (start, end))
    inside = every([since, until])
    outside = either([before, after, clause(field.id, "blank")])
    wheres = {
        "eq": inside, "between": inside, "neq": outside,
        "gt": after, "gte": since, "lt": before, "lte": until,
    }  # fmt: skip

    def fits(at: str) -> bool:
        match op:
            case "gt":
                return at >= end
            case "gte":
                return at >= start
            case "lt":
                return at < start
            case "lte":
                return at < end
        return (start <= at < end) == (op != "neq")

    def holds(cell: object) -> bool:
        at = _written(field, cell)
        return op == "neq" if at is None else fits(at)

    return Condition(field, op, spans, wheres[op], True, holds)


def _bounds(field: Field, span: Span) -> tuple[str, str]:
    """As NocoDB compares them: plain days, or moments in UTC, to the second."""
    if field.type == "Date":
        return span.first_day.isoformat(), span.day_after.isoformat()
    return _utc(span.start), _utc(span.end)


def _written(field: Field, cell: object) -> str | None:
    """A cell in the form of `_bounds`, in which texts sort as times do."""
    if field.type == "Date":
        day = cells.day_of(cell)
        return day.isoformat() if day else None
    moment = cells.moment_of(cell, UTC)
    return _utc(moment) if moment else None


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(" ", "seconds")
