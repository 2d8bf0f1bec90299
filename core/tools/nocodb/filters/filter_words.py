"""A selection in words for people: "Status is Lead and Since is this month (2026-11-01 to …)"."""

from __future__ import annotations

from decimal import Decimal

from core.text import one_line
from core.tools.nocodb.filters.condition import Condition, Op, Operand
from core.tools.nocodb.filters.filters import Selection
from core.tools.nocodb.filters.spans import Span
from core.words import say

LONGEST = 60
"""Characters of a value."""
_VALUES = 5

_SENTENCES: dict[Op, str] = {
    "eq": "{field} is {value}",
    "neq": "{field} is not {value}",
    "gt": "{field} is more than {value}",
    "gte": "{field} is at least {value}",
    "lt": "{field} is less than {value}",
    "lte": "{field} is at most {value}",
    "between": "{field} is from {value} to {last}",
    "contains": "{field} contains {value}",
    "not_contains": "{field} does not contain {value}",
    "in": "{field} is one of {value}",
    "blank": "{field} is empty",
    "notblank": "{field} is not empty",
}
_DATES: dict[Op, str] = {
    "eq": "{field} is within {value}",
    "neq": "{field} is not within {value}",
    "gt": "{field} is after {value}",
    "gte": "{field} is within or after {value}",
    "lt": "{field} is before {value}",
    "lte": "{field} is within or before {value}",
}
_CHECKED, _NOT_CHECKED = "{field} is checked", "{field} is not checked"
_AND, _OR = "{one} and {other}", "{one} or {other}"


def words(selection: Selection, locale: str) -> str:
    """ "" where every row is meant. Names and values stand in it as they are, on one line."""
    joined = _AND if selection.match == "all" else _OR
    told = ""
    for each in selection.conditions:
        one = _condition(each, locale)
        told = say(joined, locale, one=told, other=one) if told else one
    return told


def _condition(condition: Condition, locale: str) -> str:
    field, operands = one_line(condition.field.title, LONGEST), condition.operands
    if not operands:
        return say(_SENTENCES[condition.op], locale, field=field)
    if isinstance(operands[0], bool):
        return say(_CHECKED if operands[0] else _NOT_CHECKED, locale, field=field)
    dates = isinstance(operands[0], Span) and condition.op in _DATES
    sentence = (_DATES if dates else _SENTENCES)[condition.op]
    if condition.op == "between":
        first, last = _operand(operands[0]), _operand(operands[1])
        return say(sentence, locale, field=field, value=first, last=last)
    shown = [_operand(each) for each in operands[:_VALUES]]
    more = ["…"] if len(operands) > _VALUES else []
    return say(sentence, locale, field=field, value=", ".join([*shown, *more]))


def _operand(operand: Operand) -> str:
    if isinstance(operand, Span):
        return str(operand)
    if isinstance(operand, Decimal):
        return format(operand, "f")
    return f'"{one_line(str(operand), LONGEST)}"'
