"""How the values of a column are written for people: currency, decimals, percent, duration, date.

A format is a short text that can be stored: "" for values as they are, else a kind and its
settings, separated by spaces: `number 2` (decimal places), `plain 2` (without thousands
separators), `currency BRL 2`, `percent 1`, `duration h:mm:ss` (of seconds), `date`, `moment`.

The column decides what is shown; the reader's language decides the separators and the order of a
date, so that all dates on one screen have one form. No value is rounded: a value with more decimal
places than its column shows all of them.
"""

from __future__ import annotations

import decimal
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from core.base.i18n import babel_locale, format_date, format_moment

NUMBER_KINDS = frozenset({"number", "plain", "currency", "percent", "duration"})
"""Formats of columns whose values are numbers. They are aligned to the right."""
MAX_DIGITS = 400
"""Digits of a number before or after the decimal sign; more are text. Floats have up to 325."""

MAX_FIXED_PLACES = 6


def format_kind(format: str | None) -> str:
    """Return the first word of a format."""
    return (format or "").partition(" ")[0]


def parse_number(value: object) -> Decimal | None:
    """Return a number, or the text of one, as an exact number, else None, also if it has more than
    `MAX_DIGITS`. A float counts by its shortest form, which tables show."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        text = str(value).strip()
        number = Decimal(text)
    except (InvalidOperation, ValueError):
        return None
    is_short = (
        number.is_finite() and len(text) <= MAX_DIGITS and abs(number.adjusted()) < MAX_DIGITS
    )
    return number if is_short else None


def decimal_places(format: str) -> int:
    """Return how many decimal places a format always shows."""
    last = format.rpartition(" ")[2]
    return int(last) if last.isdecimal() else 0


def fix_places(format: str, values: Iterable[object]) -> str:
    """Return the format of a column without a number of decimal places with as many as its values
    have, but at most `MAX_FIXED_PLACES`: more are an artefact of floats. Other formats are
    unchanged."""
    if format not in ("number", "plain", "percent"):
        return format
    numbers = (parse_number(value) for value in values)
    exponents = (each.normalize().as_tuple().exponent for each in numbers if each is not None)
    places = max((-each for each in exponents if isinstance(each, int)), default=0)
    return f"{format} {min(places, MAX_FIXED_PLACES)}" if places > 0 else format


def format_amount(number: Decimal, format: str, locale: str | None = None) -> str:
    """Return a number in one of the `NUMBER_KINDS`."""
    kind = format_kind(format)
    with decimal.localcontext(prec=2 * MAX_DIGITS):
        if kind == "duration":
            return format_duration(number, format)
        return _format_number(number, kind, format, babel_locale(locale))


def _format_number(number: Decimal, kind: str, format: str, cldr: str) -> str:
    from babel.numbers import format_currency, format_decimal

    exponent = number.normalize().as_tuple().exponent
    places = max(decimal_places(format), -exponent if isinstance(exponent, int) else 0)
    digits = ("0" if kind == "plain" else "#,##0") + ("." + "0" * places if places else "")
    if kind == "currency":
        pattern = {"en": f"¤{digits}", "pt_BR": f"¤\u00a0{digits}", "fr": f"{digits}\u00a0¤"}[cldr]
        code = format.split(" ")[1]
        return format_currency(number, code, pattern, locale=cldr, currency_digits=False)
    text = format_decimal(number, digits, locale=cldr)
    return text + ("\u202f%" if cldr == "fr" else "%") if kind == "percent" else text


def format_value(value: object, format: str, locale: str | None = None) -> str:
    """Return a value as text in the language: a number by its format, a day or a moment as such,
    all else as it is. A number without a format has the decimal sign of the language. A moment has
    no zone."""
    if isinstance(value, datetime):
        return format_moment(value, locale, "medium" if value.second else "short")
    if isinstance(value, date):
        return format_date(value, locale)
    if not isinstance(value, str):
        format = format or "plain"
    number = parse_number(value) if format_kind(format) in NUMBER_KINDS else None
    return str(value) if number is None else format_amount(number, format, locale)


def format_duration(seconds: Decimal, format: str) -> str:
    """Return seconds as in `1:30`, `1:30:05` or `1:30:05.25`, at least as exact as the format."""
    form = format.partition(" ")[2] or "h:mm"
    whole_minutes, rest = divmod(abs(seconds), 60)
    hours, minutes = divmod(int(whole_minutes), 60)
    text = f"{'-' if seconds < 0 else ''}{hours}:{minutes:02}"
    fraction = max(len(form.partition(".")[2]), len(f"{rest.normalize():f}".partition(".")[2]))
    if rest or "ss" in form:
        width = fraction + 3 if fraction else 2
        text += f":{rest:0{width}.{fraction}f}"
    return text


def spreadsheet_format(format: str, locale: str | None = None) -> str:
    """Return the number format of a spreadsheet's cells. The spreadsheet replaces `.` and `,` by
    the separators of its own language."""
    kind, places = format_kind(format), decimal_places(format)
    digits = ("0" if kind == "plain" else "#,##0") + ("." + "0" * places if places else "")
    is_english = babel_locale(locale) == "en"
    day = "yyyy-mm-dd" if is_english else "dd/mm/yyyy"
    match kind:
        case "currency":
            from babel.numbers import get_currency_symbol

            symbol = get_currency_symbol(format.split(" ")[1], babel_locale(locale))
            quoted = '"' + symbol.replace('"', "") + '"'
            space = "" if is_english else "\u00a0"
            before = babel_locale(locale) != "fr"
            return f"{quoted}{space}{digits}" if before else f"{digits}{space}{quoted}"
        case "percent":
            return f"{digits}%"
        case "duration":
            form = format.partition(" ")[2] or "h:mm"
            return "[h]" + form[1:].replace("s.s", "s.0").replace("0s", "00").replace("0s", "00")
        case "date":
            return day
        case "moment":
            return f"{day} hh:mm:ss"
        case "number" | "plain":
            return digits if places else f"{digits}.###############".rstrip(".#")
    return "General"
