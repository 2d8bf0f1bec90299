"""Filters in words, for people."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from core.base.i18n import say
from core.base.text import to_one_line
from core.base.time_spans import TimeSpan
from core.tools.nocodb.filters import FilterCondition, Op, RowSelection

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
    """`joined` is the form that joins two of them, with "and" or "or". The asker sees by it what
    was really filtered."""
    sentence = ""
    for condition in conditions:
        field, texts = to_one_line(condition.field.title, MAX_PHRASE_CHARACTERS), list[str]()
        for operand in condition.operands[:_MAX_VALUES_NAMED]:
            if isinstance(operand, Decimal):
                texts.append(format(operand, "f"))
            elif isinstance(operand, TimeSpan):
                texts.append(str(operand))
            else:
                texts.append(f'"{to_one_line(str(operand), MAX_PHRASE_CHARACTERS)}"')
        first = condition.operands[0] if condition.operands else None
        # Conditions on the rows that a link leads to. `blank` means that no linked row fits.
        if condition.linked:
            rest = _describe_conditions(condition.linked, _AND)
            phrase = say(
                _NO_LINK if condition.op == "blank" else _LINK, field=field, conditions=rest
            )
        elif isinstance(first, bool):
            phrase = say(_CHECKED if first else _NOT_CHECKED, field=field)
        else:
            # `between` and `in` read the same for dates and for other values.
            is_date = isinstance(first, TimeSpan) and condition.op in _DATE_SENTENCES
            form = (_DATE_SENTENCES if is_date else _SENTENCES)[condition.op]
            last = texts[-1] if texts else ""
            value = texts[0] if condition.op == "between" else ", ".join(texts)
            suffix = ", …" if len(condition.operands) > _MAX_VALUES_NAMED else ""
            phrase = say(form, field=field, value=value + suffix, last=last)
        sentence = say(joined, one=sentence, other=phrase) if sentence else phrase
    return sentence
