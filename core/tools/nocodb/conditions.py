"""One filter on one field: what NocoDB is asked for it, and how a cell is checked here.

NocoDB cannot be asked for everything exactly: no value may hold both quotes or a backslash, and
`like` takes % and _ for wildcards. Then it is asked for more, and the cells are checked here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

from core.errors import ToolError
from core.tools.nocodb import cells
from core.tools.nocodb.checks import CHECKS
from core.tools.nocodb.schema import Field
from core.tools.nocodb.spans import Span
from core.tools.nocodb.where import Where, clause, either, every, sayable

Op = Literal[
    "eq", "neq", "gt", "gte", "lt", "lte", "between",
    "contains", "not_contains", "in", "blank", "notblank",
]  # fmt: skip
Value = str | int | float | bool | list[str | int | float] | None
Operand = str | bool | Decimal | Span

MOST_VALUES = 100
LONGEST_VALUE = 2_000
"""Characters."""

_BLANKS: tuple[Op, ...] = ("blank", "notblank")
_WORDS: tuple[Op, ...] = ("eq", "neq", "contains", "not_contains", "in", *_BLANKS)
_ORDERED: tuple[Op, ...] = ("eq", "neq", "gt", "gte", "lt", "lte", "between")
_NUMBERS: tuple[Op, ...] = (*_ORDERED, "in", *_BLANKS)
_DATES: tuple[Op, ...] = (*_ORDERED, *_BLANKS)
_CHECKS: tuple[Op, ...] = ("eq", "neq", *_BLANKS)

_BY_WORD: Mapping[str, str] = {
    "eq": "eq", "neq": "neq", "contains": "like", "not_contains": "nlike", "in": "in",
}  # fmt: skip
_BY_OPTION: Mapping[str, str] = {
    "eq": "anyof", "neq": "nanyof", "contains": "anyof", "not_contains": "nanyof", "in": "anyof",
}  # fmt: skip
_ONLY_BLANK = {"Attachment", "Time", "GeoData", "Geometry", "QrCode", "Barcode", "Button"}
_TRUTH = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_WILD = re.compile(r"[%_]")
_SAFE_PIECE = re.compile(r"[^%_\\\"]+")


@dataclass(frozen=True, slots=True)
class Condition:
    """`where` asks for every row that fits, and where it is not `exact` for more; None: for all.

    `holds` says of a cell what NocoDB would.
    """

    field: Field
    op: Op
    operands: tuple[Operand, ...]
    where: Where | None
    exact: bool
    holds: Callable[[object], bool]


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
        return _of_date(field, _fitting(field, op, _DATES), given, now)
    if field.type in cells.NUMBERS or (
        field.type in ("ID", "Formula") and all(_is_number(each) for each in given)
    ):
        return _of_number(field, _fitting(field, op, _NUMBERS), given)
    return _of_words(field, _fitting(field, op, _WORDS), given)


def _given(op: Op, value: Value) -> list[str | int | float | bool]:
    """As many values as the operator takes."""
    given = [] if value is None else [*value] if isinstance(value, list) else [value]
    if op in _BLANKS:
        return []
    if op == "between" and len(given) != 2:
        raise _misfit("`between` takes a list of two values, the first and the last")
    if op not in ("between", "in") and len(given) != 1:
        raise _misfit(f"`{op}` takes one value; `in` takes a list, `blank` none")
    if not 0 < len(given) <= MOST_VALUES:
        raise _misfit(f"`in` takes a list of 1 to {MOST_VALUES} values")
    if any(len(str(each)) > LONGEST_VALUE for each in given):
        raise _misfit(f"a value has more than {LONGEST_VALUE} characters")
    if any(_SURROGATE.search(str(each)) for each in given):
        raise _misfit("a value has half a character in it")
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
            raise _misfit(f"{field.title} is a checkbox: its value is true or false")
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


def _of_date(field: Field, op: Op, given: Sequence[object], now: datetime) -> Condition:
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


def _of_words(field: Field, op: Op, given: Sequence[object]) -> Condition:
    values = tuple(_word(field, op, each) for each in given)
    low = tuple(value.casefold() for value in values)
    wide = op in ("contains", "not_contains") and field.type != "MultiSelect"
    people = field.type in cells.PEOPLE

    def holds(cell: object) -> bool:
        texts = cells.people_of(cell) if people else cells.texts_of(cell)
        if field.is_link and len(texts) >= cells.LINKED:
            raise _misfit(f"rows link to more than I can look through in {field.title}")
        found = any(_found(text, values, low, wide) for text in texts)
        return found == (op not in ("neq", "not_contains"))

    where, exact = _words_where(field, op, values, wide)
    return Condition(field, op, values, where, exact, holds)


def _found(text: str, values: Sequence[str], low: Sequence[str], wide: bool) -> bool:
    return low[0] in text.casefold() if wide else text in values


def _words_where(
    field: Field, op: Op, values: Sequence[str], wide: bool
) -> tuple[Where | None, bool]:
    """And whether it is exact."""
    if field.type in cells.PEOPLE:  # NocoDB knows them by ids there, we by name and address
        return None, False
    by = _BY_OPTION if field.type == "MultiSelect" else _BY_WORD
    if sayable(values) and not (wide and _WILD.search(values[0])):
        return clause(field.id, by[op], *values), True
    pieces = _SAFE_PIECE.findall(values[0])
    if field.type == "MultiSelect" or op not in ("eq", "contains") or not pieces:
        return None, False
    return clause(field.id, "like", max(pieces, key=len)), False


def _word(field: Field, op: Op, value: object) -> str:
    """The value as text; for a select one of its options, whatever the case it was written in."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if not text and op != "in":
        raise _misfit(f"`{op}` of nothing fits everything; `blank` finds empty cells")
    of_options = field.type == "MultiSelect" or op in ("eq", "neq", "in")
    if not field.options or not of_options or text in field.options:
        return text
    alike = [each for each in field.options if each.casefold() == text.strip().casefold()]
    return alike[0] if len(alike) == 1 else str(CHECKS["SingleSelect"](field, text))


def _number(field: Field, value: object) -> Decimal:
    number = cells.number_of(value)
    if number is None or abs(number.adjusted()) > 30:
        raise _misfit(f"{field.title} holds numbers; write one as 1234.5")
    return number


def _is_number(value: object) -> bool:
    return cells.number_of(value) is not None


def _misfit(why: str) -> ToolError:
    return ToolError("That filter does not fit: {why}.", code="bad_filter", why=why)
