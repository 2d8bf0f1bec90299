"""Rows as CSV that any spreadsheet opens, and that cannot run anything there."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

TYPE = "text/csv"

# A cell that begins so is a formula to a spreadsheet
# (https://owasp.org/www-community/attacks/CSV_Injection); a number may keep its sign.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?\d[\d.,\u00a0\u202f ]*(e[+-]?\d+)?%?", re.IGNORECASE)


def csv_bytes(rows: Iterable[Iterable[str]]) -> bytes:
    """UTF-8 with a byte order mark, without which Excel reads accents as ANSI; RFC 4180 otherwise.

    Each cell is `inert`.
    """
    out = io.StringIO()
    csv.writer(out).writerows([inert(cell) for cell in row] for row in rows)
    return out.getvalue().encode("utf-8-sig")


def inert(cell: str) -> str:
    """`cell` after an apostrophe, where a spreadsheet would compute it."""
    starts = cell.lstrip(" \n").startswith(_FORMULA)
    return f"'{cell}" if starts and not is_number(cell) else cell


def is_number(cell: str) -> bool:
    """Digits with a sign, separators, an exponent or a percent sign, as people write them."""
    return _NUMBER.fullmatch(cell) is not None
