"""Cells of a workbook as its program shows them."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

EXCEL_DIGITS = 15
_ROUNDING = Context(prec=400, rounding=ROUND_HALF_UP)
"""Significant digits that Excel shows of a number: 0.30000000000000004 is 0.3."""
MAX_MERGED_CELLS = 1_000_000
_IGNORED = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]')
_TOKENS = re.compile(r'"([^"]*)"|\\(.)|(_.|\*.|\[[^\]]*\])|(.)')
_CONDITION = re.compile(r"\[([<>]=?|=)(-?\d+(?:\.\d+)?)\]")
_CODE = re.compile(r"[0#?]+")
_BUILTIN = {
    9: "0%", 10: "0.00%", 11: "0.00E+00", 49: "@",
    **dict.fromkeys((14, 15, 16, 17, *range(27, 32), 36, *range(50, 59)), "yyyy-mm-dd"),
    **dict.fromkeys((18, 19, 20, 21, 32, 33, 34, 35), "h:mm:ss"),
    22: "yyyy-mm-dd h:mm", 45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0",
}  # fmt: skip
"""Number formats that a file names by their number alone (ECMA-376, 18.8.30)."""


class NotReadable(Exception):
    """Why a file is not read, as a key of `core.imports.sheets.REFUSALS`, and what else its
    sentence names."""

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(code)
        self.code, self.values = code, values


@dataclass
class SheetCells:
    """One table of a file. `rows` has the cells of each row that is not empty, by its number from
    1. `merged` are the ranges of merged cells: the first and the last row, the first and the last
    column, from 0. `is_delimited`: a row that is shorter or longer than others may be torn.
    `ends_open`: the last line has no end, as in a file of which the rest is missing."""

    title: str = ""
    rows: dict[int, list[Any]] = field(default_factory=dict)
    merged: list[tuple[int, int, int, int]] = field(default_factory=list)
    hidden_count: int = 0
    is_delimited: bool = False
    ends_open: bool = False
    surplus_count: int = 0
    is_outline: bool = False

    def add_row(self, number: int, cells: list[Any], most: int) -> None:
        """Rows above `most` are only counted in an outline. Raise NotReadable for others."""
        if len(self.rows) < most:
            self.rows[number] = cells
        elif self.is_outline:
            self.surplus_count += 1
        else:
            raise NotReadable("too_large")

    def fill_merged(self) -> None:
        """A merged cell counts for each of its rows that has something else."""
        numbers, count = sorted(self.rows), 0
        for top, bottom, left, right in self.merged:
            value = next(iter(self.rows.get(top + 1, [])[left : left + 1]), None)
            if top == bottom or value is None:
                continue
            for number in _between(numbers, top + 2, bottom + 1):
                count += 1
                if count > MAX_MERGED_CELLS:
                    raise NotReadable("damaged")
                cells = self.rows[number]
                others = [*cells[:left], *cells[right + 1 :]]
                if any(cell is not None for cell in others):
                    cells += [None] * (left + 1 - len(cells))
                    cells[left] = value


def _between(numbers: Sequence[int], first: int, last: int) -> Iterable[int]:
    import bisect

    return numbers[bisect.bisect_left(numbers, first) : bisect.bisect_right(numbers, last)]


def builtin_format(number: int) -> str:
    return _BUILTIN.get(number, "")


def show_error(text: str) -> Mapping[str, str]:
    return {"error": text}


def show_formula(text: str) -> Mapping[str, str]:
    """A formula whose result the file does not have."""
    return {"error": f"={text}"}


def show_number(value: float, code: str, starts_1904: bool = False) -> Any:
    """`code` is the cell's number format as Excel writes it, "" for none."""
    if not math.isfinite(value):
        return str(value)
    section = _choose_section(value, code)
    if code and not section:  # ;;; shows nothing
        return None
    plain = _IGNORED.sub("", re.sub(r"\[(h+|m+|s+)\]", r"\1", section, flags=re.IGNORECASE))
    letters = set(re.sub(r"general|e[+-]", "", plain.lower()))
    if letters & set("ymdhs") and "0.0" not in plain.replace("s.0", ""):
        return _show_time(value, section.lower(), letters, starts_1904)
    number = _round(value)
    if "%" in plain:
        percent = Decimal(repr(value)) * 100
        places = min(len(re.sub(r"[^0#?]", "", plain.partition(".")[2])), 30)
        rounded = percent.quantize(Decimal(1).scaleb(-places), context=_ROUNDING)
        return _make_shown(f"{rounded:f}%", _round(float(percent)))
    # The format of negative numbers has its own sign.
    has_sign = value < 0 and len(_sections(code)) == 1
    shown = _show_code(number, section, "-" if has_sign else "")
    return number if shown is None else _make_shown(shown, number)


def _make_shown(text: str, number: float) -> Mapping[str, Any]:
    return {"shown": [text, number]}


def _round(value: float) -> int | float:
    # Excel stores each number as a float.
    rounded = float(f"{value:.{EXCEL_DIGITS}g}") if abs(value) < 10**EXCEL_DIGITS else value
    return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded


@functools.lru_cache(1_000)
def _sections(code: str) -> Sequence[str]:
    """`;` separates the formats of positive and negative numbers, of zero and of text."""
    return re.split(r';(?=(?:[^"]*"[^"]*")*[^"]*$)', code)


def _choose_section(value: float, code: str) -> str:
    sections = _sections(code)[:3]
    for section in sections:
        if match := _CONDITION.search(section):
            sign, limit = match[1], float(match[2])
            fits = {"<": value < limit, "<=": value <= limit, ">": value > limit,
                    ">=": value >= limit, "=": value == limit}  # fmt: skip
            if fits[sign]:
                return section
    if any(_CONDITION.search(section) for section in sections):
        return sections[-1]
    if value < 0 and len(sections) > 1:
        return sections[1]
    return sections[2] if value == 0 and len(sections) > 2 else sections[0]


def _show_time(value: float, section: str, letters: set[str], starts_1904: bool) -> Any:
    """A day, a time, both, or the seconds of a duration."""
    if re.search(r"\[(h+|m+|s+)\]", section):
        seconds = round(Decimal(repr(value)) * 86_400, 3)
        whole = int(seconds) if seconds == int(seconds) else float(seconds)
        minutes, rest = divmod(abs(whole), 60)
        hours, minutes = divmod(int(minutes), 60)
        sign = "-" if value < 0 else ""
        return _make_shown(f"{sign}{hours}:{minutes:02}:{rest:02}", whole)
    if not 0 <= value < 2_958_466:  # December 31, 9999
        return _round(value)
    has_day = bool(letters & set("yd")) or not letters & set("hs")
    if value < 1 and not has_day:
        return {"time": _clock(value).isoformat()}
    # Excel counts a February 29, 1900, which was none.
    first = date(1904, 1, 1) if starts_1904 else date(1899, 12, 31 if value < 60 else 30)
    moment = datetime.combine(first, time()) + timedelta(milliseconds=round(value * 86_400_000))
    moment = (moment + timedelta(microseconds=500_000)).replace(microsecond=0)
    if has_day and not letters & set("hs"):
        return {"date": moment.date().isoformat()}
    return {"datetime": moment.isoformat()}


def _clock(value: float) -> time:
    seconds = min(round(value * 86_400), 86_399)
    return time(seconds // 3600, seconds // 60 % 60, seconds % 60)


def _show_code(number: float, section: str, sign: str) -> str | None:
    """Return a whole number as a format shows it that gives it leading zeros or signs between its
    digits, as those of postal codes and telephone numbers do; None for other formats."""
    if not isinstance(number, int) or abs(number) >= 10**EXCEL_DIGITS:
        return None
    tokens = list[tuple[str, bool]]()  # a piece of the format, and whether it is for digits
    for quoted, escaped, ignored, character in _TOKENS.findall(section):
        if ignored:
            continue
        is_digit = bool(character) and character in "0#?"
        if character and not is_digit and character not in "-+() :":
            return None  # decimal places, thousands, fractions, powers
        tokens.append((quoted or escaped or character, is_digit))
    places = [at for at, (_, is_digit) in enumerate(tokens) if is_digit]
    if not places:  # "Yes";;"No" shows words in place of numbers
        shown = "".join(text for text, _ in tokens).strip()
        return shown or None
    inner = tokens[places[0] : places[-1] + 1]
    zeros = sum(text == "0" for text, is_digit in inner if is_digit)
    before = "".join(text for text, _ in tokens[: places[0]])
    has_signs = any(not is_digit for _, is_digit in inner) or re.search(r"[^\W_]", before)
    if zeros < 2 and not has_signs:
        return None
    digits, pieces = str(abs(number)), list[str]()
    for text, is_digit in reversed(tokens[places[0] :]):
        if not is_digit:
            pieces.append(text)
        elif digits:
            pieces.append(digits[-1])
            digits = digits[:-1]
        elif text == "0":
            pieces.append("0")
    return f"{sign}{before}{digits}{''.join(reversed(pieces))}".strip()
