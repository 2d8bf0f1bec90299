"""Values of spreadsheet cells as the fields of a table take them: 1.234,50 or 3/4/2026.

How numbers and days are written is found from all cells of a file: a cell alone may be read in two
ways.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, tzinfo
from typing import Any, Literal, TypeVar

from core.base.errors import ToolError
from core.base.spreadsheets import MAX_XLSX_CELL_UNITS
from core.base.text import fold_to_letters
from core.imports.cells import SheetCell
from core.tools.nocodb.fieldtypes import Field, parse_value, value_error

DecimalSign = Literal["", ",", "."]
DateOrder = Literal["", "dmy", "mdy"]
Mark = TypeVar("Mark", DecimalSign, DateOrder)
ERRORS = frozenset({"#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!"})
_SIGNS = re.compile(r"[\s\u00a0\u202f'’]|R\$|[$€£¥%]")
_NUMBER = re.compile(r"([-+−]?)(\d+(?:[.,]\d+)*)")
_DAY = re.compile(
    r"(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})(?:(?:[ T]+|, )(\d{1,2}:\d{2}(?::\d{2})?))?"
)
_CHECKS = {
    **dict.fromkeys(
        ("x", "✓", "✔", "yes", "y", "sim", "s", "oui", "o", "vrai", "verdadeiro"), True
    ),
    **dict.fromkeys(("no", "n", "não", "nao", "non", "faux", "falso", "-"), False),
}


@dataclass(frozen=True, slots=True)
class Notation:
    """The way in which a file writes its numbers and days; "" where it does not show."""

    decimal_sign: DecimalSign = ""
    date_order: DateOrder = ""


def find_notation(
    columns: Iterable[tuple[Field, Sequence[SheetCell]]], given: Notation
) -> Notation:
    """Return what the unambiguous cells of number and day fields show, else what is `given`. Raise
    ToolError if ambiguous cells are left, or if the file shows both."""
    signs: dict[DecimalSign | None, tuple[Field, str]] = {}
    orders: dict[DateOrder | None, tuple[Field, str]] = {}
    for field, cells in columns:
        for cell in cells:
            if not isinstance(cell, str):
                continue
            if field.kind == "number":
                signs.setdefault(_read_sign(cell), (field, cell))
            elif field.is_time:
                orders.setdefault(_read_order(cell), (field, cell))
    return Notation(
        _choose(signs, given.decimal_sign, "decimal_sign"),
        _choose(orders, given.date_order, "date_order"),
    )


def _choose(shown: Mapping[Mark | None, tuple[Field, str]], given: Mark, argument: str) -> Mark:
    """`shown` has a cell for each notation, and one under "" that is unclear."""
    certain = [mark for mark in shown if mark]
    if len(certain) == 1:
        return certain[0]
    if given or "" not in shown:
        return given
    field, cell = shown[""]
    raise ToolError(
        "{field}: “{cell}” can be read in two ways.",
        code="ambiguous",
        hint=f"ask the person which is meant, then call again with `{argument}`",
        field=field.title,
        cell=cell,
    )


def _read_sign(text: str) -> DecimalSign | None:
    """Return the decimal sign that a number shows, "" if it is unclear; None for one without any
    mark, and for another text."""
    match = _NUMBER.fullmatch(_SIGNS.sub("", text))
    marks = re.findall(r"[.,]", match[2]) if match else []
    if match is None or not marks:
        return None
    whole, _, last = match[2].replace(",", ".").rpartition(".")
    if len(marks) > 1 and len(set(marks)) == 1:  # 1.234.567: what separates thousands
        return "," if marks[0] == "." else "."
    if len(marks) == 1 and len(last) == 3 and len(whole) <= 3 and whole != "0":
        return ""
    return "," if marks[-1] == "," else "."


def _read_order(text: str) -> DateOrder | None:
    """Return the order of day and month that a date shows, "" if it is unclear; None for another
    text, and for one that begins with the year."""
    match = _DAY.fullmatch(text)
    if match is None or len(match[1]) == 4:
        return None
    first, second = int(match[1]), int(match[3])
    if first > 12 or match[2] == ".":
        return "dmy"
    return "mdy" if second > 12 else "" if first != second else None


def read_value(field: Field, cell: SheetCell, notation: Notation, zone: tzinfo) -> Any:
    """Return the form that drafts store; None for an empty cell. Raise ToolError, whose words say
    what is wrong with the cell."""
    if isinstance(cell, str):
        if cell.startswith("="):
            raise value_error(field, "{field}: a formula without a result.")
        if cell in ERRORS:
            raise value_error(field, "{field}: {cell} is a spreadsheet error.", cell=cell)
        if len(cell) > MAX_XLSX_CELL_UNITS:  # its plan could not show it in full
            raise value_error(field, "{field} has more than {most} characters.", most="32,767")
    return parse_value(field, _prepare(field, cell, notation), zone)


def _prepare(field: Field, cell: SheetCell, notation: Notation) -> object:
    match field.kind, cell:
        case "number", str():
            return _to_number(cell, notation.decimal_sign)
        case (("day" | "moment"), str()):
            return _to_day(field, cell, notation.date_order)
        case "day", datetime():
            return cell.date().isoformat()
        case "moment", datetime() | date():
            moment = cell if isinstance(cell, datetime) else datetime.combine(cell, time())
            return moment.isoformat(" ", "seconds")
        case "check", str():
            return _CHECKS.get(cell.casefold(), cell)
        case _, str() if field.options:
            pieces = cell.split(",") if field.kind == "options" else [cell]
            found = [_find_option(field, piece.strip()) for piece in pieces]
            return found if field.kind == "options" else found[0]
        case _, bool():
            return cell if field.kind == "check" else str(cell).lower()
        case _, date() | time():
            return cell.isoformat()
        case (("number" | "check"), _):
            return cell
        case _, int() | float():
            return str(cell)
    return cell


def _find_option(field: Field, text: str) -> str:
    """Case and accents do not matter where they leave one option."""
    folded = fold_to_letters(text)
    like = [option for option in field.options if fold_to_letters(option) == folded]
    return like[0] if text not in field.options and len(like) == 1 else text


def _to_number(text: str, decimal_sign: DecimalSign) -> str:
    """Return the number as programs write it; a text that is none as it is."""
    bare = _SIGNS.sub("", text)
    if bare.startswith("(") and bare.endswith(")"):  # a negative number, as accountants write it
        bare = f"-{bare[1:-1]}"
    if (match := _NUMBER.fullmatch(bare)) is None:
        return text
    sign = _read_sign(match[2]) or decimal_sign
    thousands, places = ("." if sign == "," else ","), ""
    whole = match[2]
    if sign in (",", ".") and sign in whole:
        whole, _, places = whole.rpartition(sign)
    if not whole.isdecimal() and not re.fullmatch(rf"\d{{1,3}}(?:[{thousands}]\d{{3}})+", whole):
        return text
    minus = "-" if match[1] in ("-", "−") else ""
    return f"{minus}{whole.replace(thousands, '')}{places and f'.{places}'}"


def _to_day(field: Field, text: str, order: DateOrder) -> str:
    """Return a day, or a moment, in ISO 8601; a text that is none as it is."""
    match = _DAY.fullmatch(text)
    if match is None:
        return text
    first, second, third = int(match[1]), int(match[3]), int(match[4])
    if len(match[1]) == 4:
        year, month, day = first, second, third
    else:
        shown = _read_order(text) or order
        day, month = (second, first) if shown == "mdy" else (first, second)
        year = third if third > 99 else third + (2000 if third < 70 else 1900)
    iso = f"{year:04}-{month:02}-{day:02}"
    clock = match[5] or ("00:00" if field.kind == "moment" else "")
    if field.kind == "day":
        return iso
    return f"{iso} {clock.zfill(len(clock) + (clock.index(':') == 1))}"
