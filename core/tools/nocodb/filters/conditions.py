"""A filter's field, operator and value become a condition, or are refused in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from core.errors import ToolError
from core.tools.nocodb import cells
from core.tools.nocodb.filters.condition import Condition, Op, Value, misfit
from core.tools.nocodb.filters.date_conditions import of_dates
from core.tools.nocodb.filters.where import clause, every
from core.tools.nocodb.filters.word_conditions import of_words
from core.tools.nocodb.schema import Field

MOST_VALUES = 100
LONGEST_VALUE = 2_000
"""Characters."""

_BLANKS: tuple[Op, ...] = ("blank", "notblank")
_WORDS: tuple[Op, ...] = ("eq", "neq", "contains", "not_contains", "in", *_BLANKS)
_ORDERED: tuple[Op, ...] = ("eq", "neq", "gt", "gte", "lt", "lte", "between")
_NUMBERS: tuple[Op, ...] = (*_ORDERED, "in", *_BLANKS)
_DATES: tuple[Op, ...] = (*_ORDERED, *_BLANKS)
_CHECKS: tuple[Op, ...] = ("eq", "neq", *_BLANKS)

_ONLY_BLANK = {"Attachment", "Time", "GeoData", "Geometry", "QrCode", "Barcode", "Button"}
_TRUTH = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def condition(field: Field, op: Op, value: Value, now: datetime) -> Condition:
    """`now` is in the zone of who asks: days and months begin there.

    Raises ToolError where the field cannot be asked that, or the value does not fit it.
    """
    given = _given(op, value)
    if field.type == "Checkbox":
        return _of_check(field, _fitting(field, op, _CHECKS), given)
    if op in _BLANKS or (given == [""] and op in ("eq", "neq")):
        return _of_blank(field, op in ("blank", "eq"))
    if field.type in _ONLY_BLANK:
        _fitting(field, op, _BLANKS)
    if field.type == "Date" or field.type in cells.TIMES:
        return of_dates(field, _fitting(field, op, _DATES), given, now)
    if field.type in cells.NUMBERS or _as_number(field, op, given):
        return _of_number(field, _fitting(field, op, _NUMBERS), given)
    return of_words(field, _fitting(field, op, _WORDS), given)


def _given(op: Op, value: Value) -> list[str | int | float | bool]:
    """As many values as the operator takes."""
    given = [] if value is None else [*value] if isinstance(value, list) else [value]
    if op in _BLANKS:
        return []
    if op == "between" and len(given) != 2:
        raise misfit("`between` takes a list of two values, the first and the last")
    if op not in ("between", "in") and len(given) != 1:
        raise misfit(f"`{op}` takes one value; `in` takes a list, `blank` none")
    if not 0 < len(given) <= MOST_VALUES:
        raise misfit(f"`in` takes a list of 1 to {MOST_VALUES} values")
    if any(len(str(each)) > LONGEST_VALUE for each in given):
        raise misfit(f"a value has more than {LONGEST_VALUE} characters")
    if any(_SURROGATE.search(str(each)) for each in given):
        raise misfit("a value has half a character in it")
    return given


def _fitting(field: Field, op: Op, ops: Sequence[Op]) -> Op:
    if op in ops:
        return op
    raise ToolError(
        "The field {field} ({type}) cannot be filtered by {op}.",
        code="bad_filter", hint=f"use one of {', '.join(ops)}",
        field=field.title, type=field.type, op=op,
    )  # fmt: skip


def _of_blank(field: Field, blank: bool) -> Condition:
    op: Op = "blank" if blank else "notblank"
    where = clause(field.id, op)
    if field.type == "Links":  # it is a number there, and never blank
        where = clause(field.id, "eq" if blank else "gt", "0")
    return Condition(field, op, (), where, True, lambda cell: cells.is_blank(field, cell) == blank)


def _of_check(field: Field, op: Op, given: Sequence[object]) -> Condition:
    if op in _BLANKS:
        checked = op == "notblank"
    else:
        truth = _TRUTH.get(str(given[0]).strip().lower())
        if truth is None:
            raise misfit(f"{field.title} is a checkbox: its value is true or false")
        checked = truth == (op == "eq")
    where = clause(field.id, "checked" if checked else "notchecked")
    return Condition(field, "eq", (checked,), where, True, lambda cell: bool(cell) == checked)


def _of_number(field: Field, op: Op, given: Sequence[object]) -> Condition:
    numbers = tuple(_number(field, each) for each in given)
    said = [format(each, "f") for each in numbers]
    if op == "between":
        where = every([clause(field.id, "gte", said[0]), clause(field.id, "lte", said[1])])
    else:
        where = clause(field.id, op, *said)

    def holds(cell: object) -> bool:
        number = cells.number_of(cell)
        return op == "neq" if number is None else _compared(op, number, numbers)

    return Condition(field, op, numbers, where, True, holds)


def _compared(op: Op, number: Decimal, numbers: Sequence[Decimal]) -> bool:
    first, last = numbers[0], numbers[-1]
    match op:
        case "gt":
            return number > first
        case "gte":
            return number >= first
        case "lt":
            return number < first
        case "lte":
            return number <= first
        case "between":
            return first <= number <= last
    return (number in numbers) == (op != "neq")


def _number(field: Field, value: object) -> Decimal:
    number = cells.number_of(value)
    if number is None or abs(number.adjusted()) > 30:
        raise misfit(f"{field.title} holds numbers; write one as 1234.5")
    return number


def _as_number(field: Field, op: Op, given: Sequence[object]) -> bool:
    """What NocoDB does not tell of its formulas, whether they give numbers, the filter tells: "007"
    is text unless it is to be compared."""
    if field.type not in ("ID", "Formula") or any(cells.number_of(each) is None for each in given):
        return False
    texts = any(isinstance(each, str) for each in given)
    return field.type == "ID" or op in _ORDERED[2:] or not texts
