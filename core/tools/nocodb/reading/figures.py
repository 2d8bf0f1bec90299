"""Figures over cells, worked out here: in decimal arithmetic, never in floats."""

from __future__ import annotations

import decimal
import statistics
from collections.abc import Sequence
from datetime import tzinfo
from decimal import Decimal
from typing import Literal

from core.errors import ToolError
from core.tools.nocodb import cells
from core.tools.nocodb.schema import Field
from core.tools.nocodb.values import told

Fn = Literal["count", "filled", "empty", "unique", "sum", "avg", "min", "max", "median"]
Figure = Decimal | str | None
"""A number, a date in words, or nothing where no cell is filled."""

_ANY: tuple[Fn, ...] = ("count", "filled", "empty", "unique")
_DATES: tuple[Fn, ...] = (*_ANY, "min", "max")
_NUMBERS: tuple[Fn, ...] = (*_DATES, "sum", "avg", "median")
_DIGITS = 50
_PLACES = 2
"""Decimal places that an average has beyond those of its numbers."""


def checked(field: Field, fn: Fn) -> Fn:
    """Raises ToolError where the field has no such figure."""
    known = _ANY
    if field.type in cells.NUMBERS or field.type == "Formula":
        known = _NUMBERS
    elif field.type == "Date" or field.type in cells.TIMES:
        known = _DATES
    if fn in known:
        return fn
    raise ToolError(
        "There is no {fn} of the field {field} ({type}).",
        code="bad_aggregate", hint=f"use one of {', '.join(known)}",
        fn=fn, field=field.title, type=field.type,
    )  # fmt: skip


def figure(field: Field, fn: Fn, column: Sequence[object], zone: tzinfo | None) -> Figure:
    """`column` holds the field's cell of every row."""
    filled = [cell for cell in column if not cells.is_blank(field, cell)]
    match fn:
        case "count":
            return Decimal(len(column))
        case "filled":
            return Decimal(len(filled))
        case "empty":
            return Decimal(len(column) - len(filled))
        case "unique":
            return Decimal(len({cells.texts_of(cell) for cell in filled}))
    if field.type == "Date" or field.type in cells.TIMES:
        return _of_times(field, fn, filled, zone)
    return of_numbers(fn, [n for n in map(cells.number_of, column) if n is not None])


def of_numbers(fn: Fn, numbers: Sequence[Decimal]) -> Decimal | None:
    """0 for the sum of none, None for all else."""
    with decimal.localcontext(prec=_DIGITS):
        if fn == "sum":
            return sum(numbers, Decimal())
        if not numbers:
            return None
        match fn:
            case "min":
                return min(numbers)
            case "max":
                return max(numbers)
            case "median":
                return statistics.median(numbers)
        return average(sum(numbers, Decimal()), len(numbers), _places(numbers))


def average(total: Decimal, count: int, places: int) -> Decimal:
    with decimal.localcontext(prec=_DIGITS):
        return (total / count).quantize(Decimal(1).scaleb(-places - _PLACES))


def _places(numbers: Sequence[Decimal]) -> int:
    exponents = [number.as_tuple().exponent for number in numbers]
    return max((-each for each in exponents if isinstance(each, int) and each < 0), default=0)


def _of_times(field: Field, fn: Fn, filled: Sequence[object], zone: tzinfo | None) -> str | None:
    pick = min if fn == "min" else max
    if field.type == "Date":
        days = [day for day in map(cells.day_of, filled) if day]
        return pick(days).isoformat() if days else None
    moments = [moment for cell in filled if (moment := cells.moment_of(cell, zone))]
    return told(pick(moments)) if moments else None
