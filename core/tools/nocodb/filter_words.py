"""Filters in words, for people."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from core.base.i18n import say
from core.base.text import to_one_line
from core.tools.nocodb.filters import FilterCondition, Op, RowSelection
from core.tools.nocodb.time_spans import TimeSpan

MAX_PHRASE_CHARACTERS = 60
_MAX_VALUES_NAMED = 5

_SENTENCES: dict[Op, str] = {
    "eq": "{field} is {value}",
    "neq": "{field} isn't {value}",
    "gt": "{field} is more than {value}",
    "gte": "{field} is at least {value}",
    "lt": "{field} is less than {value}",
    "lte": "{field} is at most {value}",
    "between": "{field} is between {value} and {last}",
    "contains": "{field} contains {value}",
    "not_contains": "{field} doesn't contain {value}",
    "in": "{field} is one of {value}",
    "blank": "{field} is empty",
    "notblank": "{field} isn't empty",
}
_DATE_SENTENCES: dict[Op, str] = {
    "gt": "{field} is after {value}",
    "gte": "{field} is on or after {value}",
    "lt": "{field} is before {value}",
    "lte": "{field} is on or before {value}",
}
_CHECKED, _NOT_CHECKED = "{field} is checked", "{field} isn't checked"
_AND, _OR = "{one} and {other}", "{one} or {other}"
_LINK, _NO_LINK = "{field}: {conditions}", "no {field}: {conditions}"


def describe_selection(selection: RowSelection) -> str:
    return _describe_conditions(selection.conditions, _AND if selection.match == "all" else _OR)


def _describe_conditions(conditions: Sequence[FilterCondition], joined: str) -> str:
    """`joined` is the form that joins two of them, with "and" or "or"."""
    sentence = ""
    for each in conditions:
        field, texts = to_one_line(each.field.title, MAX_PHRASE_CHARACTERS), list[str]()
        for operand in each.operands[:_MAX_VALUES_NAMED]:
            if isinstance(operand, Decimal):
                texts.append(format(operand, "f"))
            elif isinstance(operand, TimeSpan):
                texts.append(str(operand))
            else:
                texts.append(f'"{to_one_line(str(operand), MAX_PHRASE_CHARACTERS)}"')
        first = each.operands[0] if each.operands else None
        # `blank` means that no linked row fits them.
        if each.linked:
            rest = _describe_conditions(each.linked, _AND)
            one = say(_NO_LINK if each.op == "blank" else _LINK, field=field, conditions=rest)
        elif isinstance(first, bool):
            one = say(_CHECKED if first else _NOT_CHECKED, field=field)
        else:
            is_date = isinstance(first, TimeSpan) and each.op in _DATE_SENTENCES
            form = (_DATE_SENTENCES if is_date else _SENTENCES)[each.op]
            last = texts[-1] if texts else ""
            value = texts[0] if each.op == "between" else ", ".join(texts)
            more = ", …" if len(each.operands) > _MAX_VALUES_NAMED else ""
            one = say(form, field=field, value=value + more, last=last)
        sentence = say(joined, one=sentence, other=one) if sentence else one
    return sentence
