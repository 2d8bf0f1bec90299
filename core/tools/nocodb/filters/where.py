"""NocoDB's `where`, made of field ids and quoted values: no value can end its own quotation.

Seen on NocoDB 0.301.3: v3 takes a value between " or ', in which the other quote, commas,
parentheses, line breaks and words as null or ~and are plain text. A backslash is as well, unless a
quote follows it and another one comes later: then the value goes on until that one. So no value
with a backslash is sent. v2 (aggregates) knows no quotes, and ignores a field that it does not know
without a word. `~not` before a group is ignored too, so it is not used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

LONGEST = 6_000
"""Characters in an address, percent-encoded: Node takes 16 kB of headers by default
(https://nodejs.org/api/cli.html#--max-http-header-sizesize), proxies 8 kB."""

_QUOTES = "\"'"
_BARE = re.compile(r"(?![ ])[\w .:@+/-]*[\w.]")
_RESERVED = {"null", "empty", "notnull", "notempty", "blank", "notblank", "true", "false"}


@dataclass(frozen=True, slots=True)
class Where:
    """`v2` says the same without quotes; None where that cannot be. Empty: every row."""

    v3: str = ""
    v2: str | None = ""

    @property
    def fits(self) -> bool:
        return len(quote(self.v3)) <= LONGEST


def clause(field: str, op: str, *values: str, word: str = "") -> Where:
    """`field` is an id; `word` stands before the values, as exactDate.

    Raises ValueError for a value that is not `sayable`.
    """
    head = [field, op, *([word] if word else [])]
    bare = f"({','.join([*head, *values])})" if all(map(_is_bare, values)) else None
    return Where(f"({','.join([*head, *map(_quoted, values)])})", bare)


def sayable(values: Sequence[str]) -> bool:
    """Whether each of them lacks one of the two quotes, and backslashes."""
    return all(_mark(value) for value in values)


def every(parts: Sequence[Where]) -> Where:
    return _joined(parts, "~and")


def either(parts: Sequence[Where]) -> Where:
    """Empty when one of them is, which every row fits."""
    return _joined(parts, "~or") if all(part.v3 for part in parts) else Where()


def _joined(parts: Sequence[Where], by: str) -> Where:
    said = [part for part in parts if part.v3]
    if len(said) < 2:
        return said[0] if said else Where()
    bare = [part.v2 for part in said if part.v2 is not None]
    return Where(
        f"({by.join(part.v3 for part in said)})",
        f"({by.join(bare)})" if len(bare) == len(said) else None,
    )


def _quoted(value: str) -> str:
    mark = _mark(value)
    if not mark:
        raise ValueError("a value that no quotes can hold")
    return f"{mark}{value}{mark}"


def _mark(value: str) -> str:
    """The quote that can hold it, "" for none."""
    return next((mark for mark in _QUOTES if mark not in value and "\\" not in value), "")


def _is_bare(value: str) -> bool:
    """Whether it means itself without quotes."""
    return bool(_BARE.fullmatch(value)) and value.lower() not in _RESERVED
