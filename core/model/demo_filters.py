"""`show Orders where Amount > 10 and Paid is true`: the filters that the demo model understands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

Filter = Mapping[str, str | None]
"""As `nocodb_query` takes them: {"field", "op", "value"}."""

_WHERE = re.compile(r"(?P<table>.+?)[\"'`“”]?\s+where\s+(?P<conditions>.+)", re.IGNORECASE)
_EMPTY = re.compile(r"(?P<field>.+?)\s+is\s+(?P<not>not\s+)?empty", re.IGNORECASE)
_COMPARED = re.compile(
    r"(?P<field>.+?)\s*(?P<op>\bis\s+not\b|\bis\b|\bcontains\b|!=|>=|<=|=|>|<"
    r"|\b(?:eq|neq|gt|gte|lt|lte|not_contains)\b)\s*(?P<value>.+)",
    re.IGNORECASE,
)
_OPS = {
    "is": "eq", "=": "eq", "is not": "neq", "!=": "neq",
    ">": "gt", ">=": "gte", "<": "lt", "<=": "lte",
}  # fmt: skip
_QUOTES = " \"'`“”"


@dataclass(frozen=True, slots=True)
class Asked:
    """`filters` is None where the words after "where" are not understood."""

    table: str
    filters: tuple[Filter, ...] | None = ()


def understood(words: str) -> Asked:
    """What stands after "show"."""
    found = _WHERE.fullmatch(words)
    if found is None:
        return Asked(words)
    conditions = re.split(r"\s+and\s+", found["conditions"], flags=re.IGNORECASE)
    filters = [_filter(each) for each in conditions]
    table = found["table"].strip(_QUOTES)
    known = tuple(each for each in filters if each is not None)
    return Asked(table, known if len(known) == len(filters) else None)


def _filter(words: str) -> Filter | None:
    if found := _EMPTY.fullmatch(words):
        op = "notblank" if found["not"] else "blank"
        return {"field": found["field"].strip(_QUOTES), "op": op, "value": None}
    if found := _COMPARED.fullmatch(words):
        op = " ".join(found["op"].lower().split())
        value = found["value"].strip(_QUOTES)
        field = found["field"].strip(_QUOTES)
        return {"field": field, "op": _OPS.get(op, op), "value": value} if field and value else None
    return None
