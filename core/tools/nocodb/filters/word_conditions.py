"""Conditions on text, options, titles of links, and people."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from core.tools.nocodb import cells
from core.tools.nocodb.checks import CHECKS
from core.tools.nocodb.filters.condition import Condition, Op, misfit
from core.tools.nocodb.filters.where import Where, clause, sayable
from core.tools.nocodb.schema import Field

_BY_WORD: Mapping[str, str] = {
    "eq": "eq", "neq": "neq", "contains": "like", "not_contains": "nlike", "in": "in",
}  # fmt: skip
_BY_OPTION: Mapping[str, str] = {
    "eq": "anyof", "neq": "nanyof", "contains": "anyof", "not_contains": "nanyof", "in": "anyof",
}  # fmt: skip
_WILD = re.compile(r"[%_]")
_SAFE_PIECE = re.compile(r"[^%_\\\"]+")


def of_words(field: Field, op: Op, given: Sequence[object]) -> Condition:
    values = tuple(_word(field, op, each) for each in given)
    low = tuple(value.casefold() for value in values)
    wide = op in ("contains", "not_contains") and field.type != "MultiSelect"
    people = field.type in cells.PEOPLE

    def holds(cell: object) -> bool:
        texts = cells.people_of(cell) if people else cells.texts_of(cell)
        if field.is_link and len(texts) >= cells.LINKED:
            raise misfit(f"rows link to more than I can look through in {field.title}")
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
        raise misfit(f"`{op}` of nothing fits everything; `blank` finds empty cells")
    of_options = field.type == "MultiSelect" or op in ("eq", "neq", "in")
    if not field.options or not of_options or text in field.options:
        return text
    alike = [each for each in field.options if each.casefold() == text.strip().casefold()]
    return alike[0] if len(alike) == 1 else str(CHECKS["SingleSelect"](field, text))
