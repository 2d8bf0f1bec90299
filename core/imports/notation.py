"""How a column of a file writes its numbers and days: 1.234,50 or 3/4/2026.

It is found from all cells of the column: a cell alone may be read in two ways. What a column does
not show is asked.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from core.base.i18n import LOCALES, say
from core.base.text import fold_to_letters
from core.base.value_formats import parse_named_day, split_moment
from core.imports.cells import SheetCell
from core.tools.nocodb.fieldtypes import Field

DecimalSign = Literal["", ",", "."]
CODE_TYPES = ("SingleLineText", "PhoneNumber")
DateOrder = Literal["", "dmy", "mdy", "ymd"]
_NUMBER_SIGNS = re.compile(
    r"[\s\u00a0\u202f'’]|(?:US|CA|AU|NZ|R|A|C)\$|[$€£¥%]"
    r"|(?<![A-Za-z])"
    r"(?:EUR|USD|BRL|GBP|CAD|AUD|NZD|CHF|JPY|CNY|INR|MXN|ARS|CLP|COP|PEN|AOA|MZN|XOF|XAF|MAD)"
    r"(?![A-Za-z])"
)
_NUMBER_FORM = re.compile(r"(-?)\+?((?:\d+|(?=[.,]\d))(?:[.,]\d+)*)")
_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?:[\s'’]\d{3})+(?!\d)")
_GAP = re.compile(r"\d[^\d.,]+\d")
_MINUSES = str.maketrans("−–", "--")
DAY_FORM = re.compile(r"(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})")
_NAMED_DAY = re.compile(r"(\d{1,2})[-/ .]+([a-z]{3,12})\.?[-/ .]+(\d{2})")
"""A year of two digits, as in 31-Dec-26, which Excel shows."""
_CODE_DAY = re.compile(r"\d{1,2}[-/ ][a-z]{3,5}\.?|[a-z]{3,5}\.?[-/ ]\d{1,2}")
_QUESTION = "{field}: “{cell}” can be read in two ways."


@dataclass(frozen=True, slots=True)
class Notation:
    """ "" where a column does not show it. `is_given`: somebody said so, and no cell knows better.
    `is_decided`: another cell of the column decides how some of its cells are read. `has_codes`:
    most of its cells are texts that are no days."""

    decimal_sign: DecimalSign = ""
    date_order: DateOrder = ""
    is_given: bool = False
    is_decided: bool = False
    has_codes: bool = False


def looks_like_day(cell: SheetCell) -> bool:
    """Return whether Excel may have made a day of a code such as MAR1 or 3-4."""
    if not isinstance(cell, str):
        return isinstance(cell, date)
    if not _CODE_DAY.fullmatch(folded_text := fold_to_letters(cell)):
        return False
    return any(map(_find_month, re.findall("[a-z]+", folded_text)))


def parse_notation(mark: DecimalSign | DateOrder) -> Notation:
    """Return the notation that a model names by its mark, such as "," or "dmy"."""
    match mark:
        case "," | ".":
            return Notation(decimal_sign=mark, is_given=True)
        case "dmy" | "mdy" | "ymd":
            return Notation(date_order=mark, is_given=True)
    return Notation()


def split_number(text: str) -> tuple[str, str] | None:
    """Return the minus and the digits with their marks; None for a text that is no number."""
    grouped = _GROUPS.sub(lambda match: re.sub(r"\D", "", match[0]), text)
    if _GAP.search(grouped):  # 5€50 and 10 20 are not 550 and 1020
        return None
    bare = _NUMBER_SIGNS.sub("", grouped).translate(_MINUSES)
    if bare.startswith("(") and bare.endswith(")"):  # a negative number, as accountants write it
        bare = f"-{bare[1:-1]}"
    elif bare.endswith("-") and bare[:1].isdecimal():  # as SAP writes it
        bare = f"-{bare[:-1]}"
    if bare == "-" and bare != text.strip():  # Excel's accounting formats show zero as "R$ -"
        bare = "0"
    match = _NUMBER_FORM.fullmatch(bare)
    return (match[1], match[2]) if match else None


def find_notations(
    columns: Iterable[tuple[Field, Sequence[SheetCell]]],
    usual: Notation,
    given: Mapping[str, Notation],
) -> tuple[Mapping[str, Notation], list[str]]:
    """Return the notation of each field's column, by the field's title, and a question for each
    that is not clear. `usual` is what the person says of all columns that do not show it, `given`
    what they say of the columns of these fields."""
    notations, questions = dict[str, Notation](), list[str]()
    for field, cells in columns:
        texts = [cell for cell in cells if isinstance(cell, str)]
        if field.title in given:
            notations[field.title] = given[field.title]
        elif field.kind == "number" and texts:
            sign, unclear = _find_sign(texts)
            if unclear and not sign:
                sign = usual.decimal_sign
                questions += [] if sign else [say(_QUESTION, field=field.title, cell=unclear)]
            notations[field.title] = Notation(decimal_sign=sign, is_decided=bool(unclear))
        elif field.is_time and texts:
            order, unclear = _find_order(texts)
            if unclear and not order:
                order = usual.date_order
                questions += [] if order else [say(_QUESTION, field=field.title, cell=unclear)]
            notations[field.title] = Notation(date_order=order, is_decided=bool(unclear))
        elif field.type in CODE_TYPES:
            filled = [cell for cell in cells if cell is not None]
            days = sum(map(looks_like_day, filled))
            notations[field.title] = Notation(has_codes=0 < 2 * days < len(filled))
    return notations, questions


def describe_notations(notations: Mapping[str, Notation]) -> list[str]:
    """Return a sentence for each notation by which cells were read that have two readings."""
    sentences: Mapping[str, str] = {
        ",": "Numbers with a decimal comma: {fields}.",
        ".": "Numbers with a decimal point: {fields}.",
        "dmy": "Days as day/month/year: {fields}.",
        "mdy": "Days as month/day/year: {fields}.",
        "ymd": "Days as year/month/day: {fields}.",
    }
    titles: dict[str, list[str]] = {}
    for title, notation in notations.items():
        mark = notation.decimal_sign or notation.date_order
        if mark and (notation.is_decided or notation.is_given):
            titles.setdefault(mark, []).append(title)
    return [say(sentences[mark], fields=", ".join(titles[mark])) for mark in titles]


def _find_sign(texts: Sequence[str]) -> tuple[DecimalSign, str]:
    """Return the decimal sign that the unclear numbers have, and one of these."""
    signs: dict[DecimalSign | None, str] = {}
    for text in texts:
        signs.setdefault(read_sign(text), text)
    certain = [sign for sign in signs if sign]
    return certain[0] if len(certain) == 1 else "", signs.get("", "")


def read_sign(text: str) -> DecimalSign | None:
    """Return the decimal sign that a number shows, "" if it is unclear; None for one without any
    mark, and for another text."""
    _, digits = split_number(text) or ("", "")
    marks = re.findall(r"[.,]", digits)
    if not marks:
        return None
    whole, _, last = digits.replace(",", ".").rpartition(".")
    if len(marks) > 1 and len(set(marks)) == 1:  # 1.234.567: what separates thousands
        return "," if marks[0] == "." else "."
    if len(marks) == 1 and len(last) == 3 and 0 < len(whole) <= 3 and not whole.startswith("0"):
        return ""
    return "," if marks[-1] == "," else "."


def read_orders(day: str) -> Mapping[DateOrder, tuple[int, int, int]]:
    """Return the year, the month and the day by each order that a day in numbers can have. It is
    empty for one that begins with a year of four digits, and for another text."""
    orders: dict[DateOrder, tuple[int, int, int]] = {}
    if match := DAY_FORM.fullmatch(day):
        first, second, third = int(match[1]), int(match[3]), int(match[4])
        if len(match[1]) > 2:
            return {}
        orders["dmy"] = (third, second, first)
        if match[2] != ".":
            orders["mdy"] = (third, first, second)
        if len(match[1]) == 2 and len(match[4]) <= 2:
            orders["ymd"] = (first, second, third)
    elif (match := _NAMED_DAY.fullmatch(fold_to_letters(day))) and (month := _find_month(match[2])):
        first, third = int(match[1]), int(match[3])
        orders = {"dmy": (third, month, first), "ymd": (first, month, third)}
    return {
        order: (year if year > 99 else year + (2000 if year < 70 else 1900), month, at)
        for order, (year, month, at) in orders.items()
        if 1 <= month <= 12 and 1 <= at <= 31
    }


@functools.lru_cache(100)
def _find_month(word: str) -> int:
    """Return the number of a month by its name in one of the languages; 0 for another word."""
    days = {parse_named_day(f"1 {word} 2000", locale) for locale in LOCALES} - {None}
    return min(day.month for day in days if day) if len(days) == 1 else 0


def _find_order(texts: Sequence[str]) -> tuple[DateOrder, str]:
    """Return the order that the unclear days have, and one of these. Where days come first, they
    differ more than the years that come last; but years of two digits are never taken to come
    first."""
    days = [split_moment(text)[0] for text in texts]
    readings = [(text, orders) for text, day in zip(texts, days, strict=True)
                if (orders := read_orders(day))]  # fmt: skip
    unclear = next((text for text, orders in readings if len(set(orders.values())) > 1), "")
    common = set.intersection(*(set(orders) for _, orders in readings)) if readings else set()
    if "ymd" in common and len(common) > 1:
        firsts, thirds = ({day[:2] for day in days}, {day[-2:] for day in days})
        if len(firsts) > len(thirds):
            common.discard("ymd")
    return next(iter(common)) if len(common) == 1 else "", unclear
