"""Conditions on text, options, titles of links, and people."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from core.folding import folded, plain
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
_FORMS = (str.casefold, folded)
_UNSAID = re.compile(r"[%_\\\"]")
"""Wildcards of `like`, and what no quotes can hold beside another quote."""


def of_words(field: Field, op: Op, given: Sequence[object]) -> Condition:
    values = tuple(_word(field, op, each) for each in given)
    wide = op in ("contains", "not_contains") and field.type != "MultiSelect"
    people = field.type in cells.PEOPLE

    def holds(cell: object) -> bool:
        texts = cells.people_of(cell) if people else cells.texts_of(cell)
        if cells.may_lack(field, cell):
            raise misfit(f"rows link to more than I can look through in {field.title}")
        found = any(_found(text, values, wide) for text in texts)
        return found == (op not in ("neq", "not_contains"))

    where, exact = _words_where(field, op, values, wide)
    return Condition(field, op, values, where, exact, holds)


def _found(text: str, values: Sequence[str], wide: bool) -> bool:
    return any(form(values[0]) in form(text) for form in _FORMS) if wide else text in values


def _words_where(
    field: Field, op: Op, values: Sequence[str], wide: bool
) -> tuple[Where | None, bool]:
    """And whether it is exact."""
    if field.type in cells.PEOPLE:  # NocoDB knows them by ids there, we by name and address
        return None, False
    by = _BY_OPTION if field.type == "MultiSelect" else _BY_WORD
    if sayable(values) and not (wide and any(map(_is_loose, values[0]))):
        return clause(field.id, by[op], *values), True
    # NocoDB puts % around a pattern itself, but not where one stands at either end (0.301.3).
    pattern = "".join("%" if _is_loose(each) else each for each in values[0]).strip("%")
    if field.type == "MultiSelect" or op not in ("eq", "contains") or not pattern:
        return None, False
    return clause(field.id, "like", pattern), False


def _is_loose(letter: str) -> bool:
    """What `like` may take otherwise than we: SQLite knows the case of ASCII's letters alone
    (https://www.sqlite.org/lang_expr.html#like)."""
    cased = not letter.isascii() and letter.lower() != letter.upper()
    return cased or bool(_UNSAID.match(letter))


def _word(field: Field, op: Op, value: object) -> str:
    """The value as text; for a select one of its options, whatever the case it was written in."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if not text and op != "in":
        raise misfit(f"`{op}` of nothing fits everything; `blank` finds empty cells")
    of_options = field.type == "MultiSelect" or op in ("eq", "neq", "in")
    if not field.options or not of_options or text in field.options:
        return text
    for form in (folded, plain):
        alike = [each for each in field.options if form(each) == form(text.strip())]
        if alike:
            break
    return alike[0] if len(alike) == 1 else str(CHECKS["SingleSelect"](field, text))
