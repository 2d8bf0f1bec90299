"""Cells of files as the fields of a table take them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, datetime, time, tzinfo
from decimal import Decimal
from typing import Any

from core.base.i18n import LOCALES, babel_locale, say
from core.base.redaction import WITHHELD_MARK
from core.base.spreadsheets import MAX_XLSX_CELL_UNITS
from core.base.text import fold_to_letters
from core.base.value_formats import parse_named_day, parse_typed_truth, split_moment
from core.imports.cells import CellError, SheetCell, ShownNumber
from core.imports.notation import (
    DAY_FORM,
    DateOrder,
    DecimalSign,
    Notation,
    looks_like_day,
    read_orders,
    read_sign,
    split_number,
)
from core.tools.nocodb.fieldtypes import Field, parse_value, value_error

_ERRORS = re.compile(
    r"#(N/[AD]|REF!|VALUE!|VALOR!|VALEUR!|DIV/0!|NAME\?|NOME\?|NOM\?|NUM!|N[UÚ]M!|NOMBRE!|NULL!"
    r"|NULO!|NUL!|[¡¿](?:VALOR|REF|NUL|NUM|NÚM|DIV/0|N/A)!|¿NOMBRE\?|NV|BEZUG!|WERT!|ZAHL!"
    r"|SPILL!|DESPEJAR!|PROPAGATION!|EPARS!|CALC!|CALCUL!|FIELD!|CAMPO!|CHAMP!|GETTING_DATA"
    r"|BUSY!|CONNECT!|BLOCKED!|UNKNOWN!|EXTERNAL!|PYTHON!|ERROR!?|ERRO!?|ERREUR!?)|Err:\d{3}",
    re.IGNORECASE,
)
_TOO_NARROW = re.compile(r"#{3,}")
"""What Excel and LibreOffice write for a number that its column is too narrow to show."""
_SHORTENED = re.compile(r"[-+]?\d(?:[.,]\d+)?E\+\d{2,3}")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*")
_DAY_WORDS = frozenset({"de", "of", "the", "le", "st", "nd", "rd", "th", "er", "o"})
_PLAIN_TEXTS = frozenset({"SingleLineText", "LongText", "PhoneNumber"})
MAX_EXCEL_NUMBER = 10**15
"""Excel keeps 15 digits of a number, and writes zeros for the others."""
SPLITS = ("\n", ";", ",")
"""What separates several choices, people or linked rows in a cell."""


def read_value(field: Field, cell: SheetCell, notation: Notation, zone: tzinfo) -> Any:
    """Return the form that drafts store; None for an empty cell. Raise ToolError, whose words say
    what is wrong with the cell."""
    check_cell(field, cell)
    if notation.has_codes and looks_like_day(cell):
        raise value_error(
            field,
            "{field}: Excel made the day {cell} of a code. Format the column as text.",
            cell=str(cell),
        )
    return parse_value(field, _prepare(field, cell, notation, zone), zone)


def check_cell(field: Field, cell: SheetCell) -> None:
    """Raise ToolError for a cell that shows no value: an error, or what is left of one."""
    text = cell.text if isinstance(cell, CellError) else cell if isinstance(cell, str) else ""
    if isinstance(cell, CellError) and text.startswith("="):
        raise value_error(field, "{field}: a formula without a result.")
    if isinstance(cell, CellError) or _ERRORS.fullmatch(text):
        raise value_error(field, "{field}: {cell} is a spreadsheet error.", cell=text)
    if _TOO_NARROW.fullmatch(text):
        raise value_error(field, "{field}: the column was too narrow to show the value.")
    if len(text) >= MAX_XLSX_CELL_UNITS:  # its plan could not show it in full, or Excel cut it
        raise value_error(field, "{field} has more than {most} characters.", most="32,766")
    if "\ufffd" in text:
        raise value_error(field, "{field}: some letters of “{cell}” can't be read.", cell=text[:60])
    if any(say(WITHHELD_MARK, locale) in text for locale in LOCALES):
        raise value_error(field, "{field}: Ponte withheld a part of the value in its file.")
    if field.type in _PLAIN_TEXTS:
        number = cell.value if isinstance(cell, ShownNumber) else cell
        is_long = isinstance(number, int | float) and abs(number) >= MAX_EXCEL_NUMBER
        if is_long or _SHORTENED.fullmatch(text):
            raise value_error(
                field,
                "{field}: Excel shortened the number {cell}. Format the column as text.",
                cell=str(cell),
            )


def _prepare(field: Field, cell: SheetCell, notation: Notation, zone: tzinfo) -> object:
    if isinstance(cell, ShownNumber):
        cell = cell.value if field.kind == "number" else cell.text
    match field.kind, cell:
        case "number", str():
            return _to_number(cell, notation)
        case "number", time():
            return cell.isoformat()
        case (("day" | "moment"), str()):
            return _to_day(field, cell, notation, zone)
        case "day", datetime():
            return cell.date().isoformat()
        case "moment", datetime() | date():
            moment = cell if isinstance(cell, datetime) else datetime.combine(cell, time())
            return moment.isoformat(" ", "seconds")
        case "check", str():
            truth = parse_typed_truth(cell)
            return cell if truth is None else truth
        case "options", str():
            return split_names(cell, lambda text: _find_option(field, text) in field.options, field)
        case "people", str():
            return [piece.strip() for piece in re.split("[,;\n]", cell) if piece.strip()]
        case _, str() if field.options:
            return _find_option(field, cell.strip())
        case _, str() if field.type == "Time":
            day_text, clock = split_moment(f"day {cell}")
            return cell if ":" in day_text else clock or cell  # 9:00 – 10:00 is no time
        case _, datetime() if field.type == "Time":
            return cell.time().isoformat()
        case _, bool():
            return cell if field.kind == "check" else str(cell).lower()
        case _, datetime():
            return (cell.date() if cell.time() == time() else cell).isoformat()
        case _, date() | time():
            return cell.isoformat()
        case (("number" | "check"), _):
            return cell
        case _, int() | float():
            return f"{Decimal(str(cell)):f}"
    return cell


def split_names(
    text: str, is_known: Callable[[str], bool], field: Field | None = None
) -> list[str]:
    """Return the names in a cell. The whole cell may be one that has a comma; then come line
    breaks, semicolons and commas, and a name may again have some of these."""
    whole = text.strip()
    if is_known(whole):
        return [_name_option(field, whole)]
    for separator in SPLITS:
        names, pieces = list[str](), [piece.strip(' "') for piece in whole.split(separator)]
        while pieces:
            # The longest name that is known; else the first piece, which will be refused.
            ends = range(len(pieces), 0, -1)
            joints = (separator, f"{separator} ")
            found = next(
                (
                    (end, name)
                    for end in ends
                    for joint in joints
                    if is_known(name := joint.join(pieces[:end]))
                ),
                None,
            )
            end, name = found or (1, pieces[0])
            names += [name] if name else []
            pieces = pieces[end:]
        if all(map(is_known, names)):
            return [_name_option(field, name) for name in names]
    return [piece.strip(' "') for piece in re.split("[,;\n]", whole) if piece.strip(' "')]


def _name_option(field: Field | None, name: str) -> str:
    return _find_option(field, name) if field else name


def _find_option(field: Field, text: str) -> str:
    """Case and accents do not matter where they leave one option."""
    folded = fold_to_letters(text)
    like = [option for option in field.options if fold_to_letters(option) == folded]
    return like[0] if text not in field.options and len(like) == 1 else text


def _to_number(text: str, notation: Notation) -> str:
    """Return the number as programs write it; a text that is none as it is."""
    if (number := split_number(text)) is None:
        return text
    minus, whole = number
    sign: DecimalSign = notation.decimal_sign
    if not notation.is_given:
        sign = read_sign(whole) or sign
    thousands, places = ("." if sign == "," else ","), ""
    if sign in (",", ".") and sign in whole:
        whole, _, places = whole.rpartition(sign)
        whole = whole or "0"
    if not whole.isdecimal() and not re.fullmatch(rf"\d{{1,3}}(?:[{thousands}]\d{{3}})+", whole):
        return text
    return f"{minus}{whole.replace(thousands, '')}{places and f'.{places}'}"


def _to_day(field: Field, text: str, notation: Notation, zone: tzinfo) -> str:
    """Return a day, or a moment, in ISO 8601; a text that is none as it is."""
    if _ISO.fullmatch(text.strip()) and (iso := _to_iso(field, text.strip(), zone)):
        return iso
    day_text, clock = split_moment(text)
    if (day := _read_day(day_text, notation)) is None:
        return text
    if field.kind == "day" and not re.search(r"Z|[+-]", clock):
        return day
    return _to_iso(field, f"{day} {clock or '00:00'}", zone) or text


def _to_iso(field: Field, text: str, zone: tzinfo) -> str:
    """Return "" for a moment with words beside it, such as AM. A day that a program writes as a
    moment is that of its offset at midnight, else that of the person."""
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(text)
        if field.kind == "moment":
            return moment.isoformat(" ", "seconds")
        if moment.tzinfo and moment.time() != time():
            moment = moment.astimezone(zone)
        return moment.date().isoformat()
    return ""


@functools.cache
def _list_beginnings(locale: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the beginnings of the names of weekdays and of months."""
    from babel.dates import get_day_names, get_month_names

    weekdays, months = (
        frozenset(
            word[:end]
            for name in read("wide", locale=babel_locale(locale)).values()
            for word in re.findall("[a-z]+", fold_to_letters(name))
            for end in range(3, len(word) + 1)
        )
        for read in (get_day_names, get_month_names)
    )
    return weekdays, months


def _parse_named_day(text: str, locale: str) -> date | None:
    """A day is never taken out of a sentence, such as "not before 5 March 2026". The French `mar.`
    is a weekday beside another month."""
    weekdays, months = _list_beginnings(locale)
    folded_text = fold_to_letters(text)
    words = set(re.findall("[a-z]+", folded_text))
    if not words <= weekdays | months | _DAY_WORDS:
        return None
    if others := words & months - weekdays or words & months:
        for word in words & weekdays - others:
            folded_text = re.sub(rf"\b{word}\b", " ", folded_text)
    return parse_named_day(folded_text, locale)


def _read_day(text: str, notation: Notation) -> str | None:
    match, readings = DAY_FORM.fullmatch(text), read_orders(text)
    if match is None and not readings:
        days: set[date] = {day for locale in LOCALES if (day := _parse_named_day(text, locale))}
        return days.pop().isoformat() if len(days) == 1 else None
    if match and len(match[1]) == 4:
        return f"{match[1]}-{match[3]:>02}-{match[4]:>02}"
    order = notation.date_order
    if order not in readings:
        # A column may mix orders, where each of its days has one reading.
        if order and (notation.is_given or len(readings) != 1):
            return text
        order = _choose_order(readings)
    if not order:
        return text
    year, month, at = readings[order]
    return f"{year:04}-{month:02}-{at:02}"


def _choose_order(readings: Any) -> DateOrder:
    orders: Sequence[DateOrder] = list(readings)
    return orders[0] if len(set(readings.values())) == 1 else ""
