"""How values are written for people, and read as they type them: currency, decimals, percent,
duration, date.

A format is a short text that can be stored: "" for values as they are, else a kind and its
settings, separated by spaces: `number 2` (decimal places), `plain 2` (without thousands
separators), `currency BRL 2`, `percent 1`, `duration h:mm:ss` (of seconds), `date`, `moment`.

The column decides what is shown; the reader's language decides the separators and the order of a
date, so that all dates on one screen have one form. No value is rounded: a value with more decimal
places than its column shows all of them.

What people type is read in the form of their language, as it is shown, and in ISO 8601. What two
usual forms read differently is not read: `1.234` in French may be 1234. A model writes ISO 8601.
"""

from __future__ import annotations

import decimal
import re
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation

from core.base.errors import BadInput
from core.base.i18n import LANGUAGE, babel_locale, format_date, format_moment, say
from core.base.text import fold_to_letters

NUMBER_KINDS = frozenset({"number", "plain", "currency", "percent", "duration"})
"""Formats of columns whose values are numbers. They are aligned to the right."""
MAX_DIGITS = 400
"""Digits of a number before or after the decimal sign; more are text. Floats have up to 325."""

MAX_FIXED_PLACES = 6
_PLAIN_NUMBER = re.compile(r"[-+]?(\d+\.(\d{1,2}|\d{4,})|0\.\d+)", re.ASCII)
"""Three decimal places may be a thousand in another language."""
_DAY = re.compile(r"\d{1,2}([/.-])\d{1,2}\1\d{4}", re.ASCII)
_COUNTRY = re.compile(r"[-_]([A-Za-z]{2})\b")
"""Also in `en-us`, as some browsers write it, and in `en-Latn-US`."""
_DAY_FIRST, _MONTH_FIRST = [("day", "month", "year")], [("month", "day", "year")]
_BOTH = _DAY_FIRST + _MONTH_FIRST
_ENGLISH_DAYS = {"": _BOTH, "CA": _BOTH, "PH": _BOTH, "US": _MONTH_FIRST}
"""The usual forms of a day in numbers by the country of an English locale; elsewhere the day is
first. In Canada and the Philippines both forms are usual."""
_TWO_READINGS = "“{value}” can mean {first} or {second}. Write one of these."
TRUTH_WORDS: Mapping[str, bool] = {
    **dict.fromkeys(
        ("true", "1", "yes", "y", "on", "checked", "x", "✓", "✔", "☑", "✅", "sim", "s", "marcado",
         "verdadeiro", "oui", "o", "vrai", "coche"), True,
    ),
    **dict.fromkeys(
        ("false", "0", "no", "n", "off", "unchecked", "☐", "✗", "✘", "❌", "nao", "desmarcado",
         "falso", "non", "faux", "decoche", "-"), False,
    ),
}  # fmt: skip
"""What people type into a checkbox, and what spreadsheets and Airtable write for one, without case
and accents."""
_HOUR = re.compile(r"\b(\d{1,2}) ?h ?(\d\d)?\b", re.ASCII)
"""The French `14h30` and `14 h`."""
_MOMENT = re.compile(
    r"(.+?)(?:,| at| as| a)? (\d{1,2})(:\d\d(?::\d\d)?)(?: ?([ap])\.?m\.?)?"
    r"(?: ?(z|utc|gmt)?([+-]\d\d:?\d\d|[+-]\d\d?)?)?",
    re.ASCII,
)


def format_kind(format: str | None) -> str:
    return (format or "").partition(" ")[0]


def parse_number(value: object) -> Decimal | None:
    """Return the exact number that a value is, or that its text is as programs write it (`12.5`);
    None for any other value, for infinity, and for more digits than `MAX_DIGITS`. A float counts by
    its shortest form, which tables show: 0.1 is exactly 0.1."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        text = str(value).strip()
        number = Decimal(text)
    except (InvalidOperation, ValueError):
        return None
    # `1e999999` is short, and would have a million digits when it is written out.
    is_short = (
        number.is_finite() and len(text) <= MAX_DIGITS and abs(number.adjusted()) < MAX_DIGITS
    )
    return number if is_short else None


def decimal_places(format: str) -> int:
    """Return 0 if the format does not say."""
    last = format.rpartition(" ")[2]
    return int(last) if last.isdecimal() else 0


def fix_places(format: str, values: Iterable[object]) -> str:
    """Return the format of a column with as many decimal places as the longest of its values has,
    so that all its cells show the same number of them. At most `MAX_FIXED_PLACES`: more are an
    artefact of floats. A format that has a number of decimal places already, or needs none, is
    returned as it is."""
    if format not in ("number", "plain", "percent"):
        return format
    numbers = (parse_number(value) for value in values)
    exponents = (number.normalize().as_tuple().exponent for number in numbers if number is not None)
    places = max((-exponent for exponent in exponents if isinstance(exponent, int)), default=0)
    return f"{format} {min(places, MAX_FIXED_PLACES)}" if places > 0 else format


def format_amount(number: Decimal, format: str, locale: str | None = None) -> str:
    """`format` is that of a column of numbers. `locale` None: that of the current task."""
    kind = format_kind(format)
    with decimal.localcontext(prec=2 * MAX_DIGITS):
        if kind == "duration":
            return format_duration(number, format)
        return _format_number(number, kind, format, babel_locale(locale))


def _format_number(number: Decimal, kind: str, format: str, cldr: str) -> str:
    """Return a number as people of a language write it. It shows all its decimal places, at least
    those of its column's format, because a person decides by what they read. `kind` is the first
    word of `format`."""
    # Babel is loaded at the first use, so that a start does not wait for it.
    from babel.numbers import format_currency, format_decimal

    # The exponent of 12.50 is -1: it needs one decimal place. Infinity has a text as its exponent.
    exponent = number.normalize().as_tuple().exponent
    places = max(decimal_places(format), -exponent if isinstance(exponent, int) else 0)
    digits = ("0" if kind == "plain" else "#,##0") + ("." + "0" * places if places else "")
    if kind == "currency":
        pattern = {"en": f"¤{digits}", "pt_BR": f"¤\u00a0{digits}", "fr": f"{digits}\u00a0¤"}[cldr]
        code = format.split(" ")[1]
        # Without `currency_digits=False`, Babel shows as many decimal places as the currency has.
        return format_currency(number, code, pattern, locale=cldr, currency_digits=False)
    text = format_decimal(number, digits, locale=cldr)
    return text + ("\u202f%" if cldr == "fr" else "%") if kind == "percent" else text


def format_value(
    value: object, format: str, locale: str | None = None, this_year: int | None = None
) -> str:
    """Return a value of a table as text in the language `locale` (None: that of the current task):
    a number by its format, a day or a moment in words, all else as it is. A number without a format
    has the decimal sign of the language. A moment is written without its zone. With
    `this_year`, days are short, and have their year only if that is another one."""
    if isinstance(value, datetime):
        return format_moment(value, locale, "medium" if value.second else "short", this_year)
    if isinstance(value, date):
        return format_date(value, locale, this_year=this_year)
    # A text without a format stays as it is, even if it consists of digits.
    if not isinstance(value, str):
        format = format or "plain"
    number = parse_number(value) if format_kind(format) in NUMBER_KINDS else None
    return str(value) if number is None else format_amount(number, format, locale)


def format_duration(seconds: Decimal, format: str) -> str:
    """Return a number of seconds as hours and minutes, as in `1:30`, and seconds if it has any or
    if the format asks for them (`1:30:05`, `1:30:05.25`). `format` has the form, as in
    "duration h:mm:ss"."""
    form = format.partition(" ")[2] or "h:mm"
    whole_minutes, rest = divmod(abs(seconds), 60)
    hours, minutes = divmod(int(whole_minutes), 60)
    text = f"{'-' if seconds < 0 else ''}{hours}:{minutes:02}"
    # Decimal places of the seconds: those of the form, or of the value if it has more.
    fraction = max(len(form.partition(".")[2]), len(f"{rest.normalize():f}".partition(".")[2]))
    if rest or "ss" in form:
        # Two digits, and with a fraction the point and its digits.
        width = fraction + 3 if fraction else 2
        text += f":{rest:0{width}.{fraction}f}"
    return text


def spreadsheet_format(format: str) -> str:
    """Return a column's format as the number format of cells in an Excel file, such as `#,##0.00`.
    The spreadsheet replaces `.` and `,` by the separators of its own language. `format` is a kind
    with its options, as in `currency BRL 2` or `duration h:mm:ss`."""
    kind, places = format_kind(format), decimal_places(format)
    digits = ("0" if kind == "plain" else "#,##0") + ("." + "0" * places if places else "")
    is_english = babel_locale() == "en"
    # English dates are written in two orders, day first and month first, so ISO 8601 is used.
    day = "yyyy-mm-dd" if is_english else "dd/mm/yyyy"
    match kind:
        case "currency":
            from babel.numbers import get_currency_symbol

            symbol = get_currency_symbol(format.split(" ")[1], babel_locale())
            quoted = '"' + symbol.replace('"', "") + '"'
            space = "" if is_english else "\u00a0"
            # English writes "$5", Portuguese "R$ 5", French "5 €".
            before = babel_locale() != "fr"
            return f"{quoted}{space}{digits}" if before else f"{digits}{space}{quoted}"
        case "percent":
            return f"{digits}%"
        case "duration":
            # NocoDB writes its form as "h:mm:ss.s"; a spreadsheet's "[h]" counts beyond 24 hours,
            # and its "0" is a decimal place of the seconds. After the first one, each "0s" becomes
            # "00", twice for up to three places.
            form = format.partition(" ")[2] or "h:mm"
            return "[h]" + form[1:].replace("s.s", "s.0").replace("0s", "00").replace("0s", "00")
        case "date":
            return day
        case "moment":
            return f"{day} hh:mm:ss"
        case "number" | "plain":
            # Without decimal places, the column holds whole numbers only: `fix_places` gave the
            # format as many places as its values need.
            return digits
    return "General"


def parse_typed_number(text: str, format: str = "", locale: str | None = None) -> Decimal | None:
    """Return a number typed like "1.234,50", "R$ 5" or "12 %", with or without the sign of its
    `format`; None for other text. Spaces separate thousands in every language."""
    # `_simplify` unifies the forms of spaces, digits, minus signs and apostrophes.
    text = _simplify(text[: MAX_DIGITS + 1])  # a longer text costs no time
    if len(text) > MAX_DIGITS:
        return None
    # Whatever is beside the digits of a formatted zero is the sign, such as "US$" or "%".
    for sign in re.split(r"[\d.,:]+", _simplify(format_amount(Decimal(0), format, locale))):
        text = text.replace(sign.strip(), "")
    # Spaces that the sign leaves go, as in "- 5 " from "-R$ 5 €".
    text = re.sub(r"^([-+]) | $", r"\1", text.lstrip())
    # The language's separators are read from a formatted number: "1,234.5" or "1.234,5". The one
    # between thousands is at 1, the decimal one at 5.
    sample = _simplify(format_amount(Decimal("1234.5"), "number", locale))
    group, point = sample[1], sample[5]
    # Digits alone, or in groups of three with the same separator between all groups.
    whole = rf"\d+|[1-9]\d{{0,2}}([{group} ])\d{{3}}(\2\d{{3}})*"
    if re.fullmatch(rf"[-+]?({whole})([{point}]\d+)?", text, re.ASCII):
        return Decimal(text.replace(" ", "").replace(group, "").replace(point, "."))
    # People also write numbers as programs do (`12.5`), if that can mean nothing else here.
    return Decimal(text) if _PLAIN_NUMBER.fullmatch(text) else None


def refuse_readings(value: str, readings: Iterable[object]) -> BadInput:
    first, second, *_ = sorted(map(str, readings))
    return BadInput(_TWO_READINGS, value=value, first=first, second=second)


def parse_typed_day(text: str, today: date, locale: str | None = None) -> date | None:
    """Return a day typed like `2026-12-24`, `24/12/2026` (month first in the United States), a date
    with the month's name, or a word such as `tomorrow`; None for other text. `today` is the present
    day in their time zone. Raise BadInput for a day such as `03/04/2026` if the country of an
    English `locale` is not known."""
    folded_text, cldr = fold_to_letters(_simplify(text)), babel_locale(locale)
    near_days = say("yesterday", locale), say("today", locale), say("tomorrow", locale)
    if folded_text in (names := list(map(fold_to_letters, near_days))):
        return today + timedelta(names.index(folded_text) - 1)  # -1, 0 or 1 days
    with suppress(ValueError, OverflowError):
        if _DAY.fullmatch(folded_text):
            numbers = [int(number) for number in re.findall(r"\d+", folded_text)]
            country = _COUNTRY.search(LANGUAGE.get() if locale is None else locale)
            key = country[1].upper() if country else ""
            forms = _ENGLISH_DAYS.get(key, _DAY_FIRST) if cldr == "en" else _DAY_FIRST
            days = set()
            for form in forms:
                with suppress(ValueError):
                    days.add(date(**dict(zip(form, numbers, strict=True))))
            if len(days) > 1:
                raise refuse_readings(folded_text, days)
            return next(iter(days), None)
        return parse_named_day(folded_text, cldr) or date.fromisoformat(folded_text)
    return None


def parse_named_day(text: str, locale: str | None = None) -> date | None:
    """Return a day with the name of its month in a language, as in "Dec 24, 2026"; None for other
    text."""
    # Babel is loaded at the first use, so that a start does not wait for it.
    from babel.dates import get_month_names

    folded_text = fold_to_letters(text)
    # A month may be shortened to three letters or more: `dec` is one of the words in `letters`.
    letters = re.findall(r"[a-z]{3,}", folded_text)
    months = [
        month
        for month, name in get_month_names("wide", locale=babel_locale(locale)).items()
        if any(map(fold_to_letters(name).startswith, letters))
    ]
    with suppress(ValueError, OverflowError):
        numbers = [int(number) for number in re.findall(r"\d+", folded_text)]
        # The smaller number is the day, the larger one the year, which needs its four digits.
        if len(months) == 1 and len(numbers) == 2 and max(numbers) > 999:
            return date(max(numbers), months[0], min(numbers))
    return None


def parse_typed_moment(text: str, now: datetime, locale: str | None = None) -> datetime | None:
    """A day as in `parse_typed_day`, then a time such as `14:30`, `2:30 PM` or `14h30`, perhaps
    with an offset such as `UTC-03:00`; without one, it is in the zone of `now`. A day alone is its
    first moment. None for other text. Raise BadInput as `parse_typed_day` does."""
    iso = _simplify(text)  # read as it is if it has an ISO form such as `2026-12-24T14:30`
    day_text, clock = split_moment(text)
    if day := parse_typed_day(day_text, now.date(), locale):
        iso = f"{day}T{clock}" if clock else f"{day}"
    # From Python 3.14 on, hour 24 would be the next midnight.
    if re.search("[Tt ]24", iso):
        return None
    with suppress(ValueError):
        moment = datetime.fromisoformat(iso)
        return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)
    return None


def split_moment(text: str) -> tuple[str, str]:
    """Return the day of a moment, folded, and its time in ISO 8601, perhaps with an offset: `2:30
    PM UTC` is `14:30Z`. Without a time it is ""; one that no clock shows begins with 24."""
    # The French `14h30` becomes `14:30`.
    folded_text = _HOUR.sub(
        lambda match: f"{match[1]}:{match[2] or '00'}", fold_to_letters(_simplify(text))
    )
    # The groups: day, hour, `:` with the minutes and seconds, `a` or `p` of AM and PM, the word
    # `utc`, `gmt` or `z`, the offset.
    if (match := _MOMENT.fullmatch(folded_text)) is None:
        return folded_text, ""
    hour = int(match[2])
    if match[4]:
        # 12 AM is 0 and 12 PM is 12: no clock shows 13 PM.
        hour = hour % 12 + 12 * (match[4] == "p") if 1 <= hour <= 12 else 24
    offset = match[6] or ("Z" if match[5] else "")
    if re.fullmatch(r"[+-]\d\d?", offset):  # GMT-3, as in the answers of Google's forms
        offset = f"{offset[0]}{offset[1:]:>02}:00"
    return match[1], f"{hour:02}{match[3]}{offset}"


def parse_typed_truth(text: str) -> bool | None:
    """Return the truth value that a person or a program wrote in any of Ponte's languages
    (`TRUTH_WORDS`); None for any other text."""
    return TRUTH_WORDS.get(fold_to_letters(text))


def _simplify(text: str) -> str:
    # Phones and word processors write typographic forms.
    text = unicodedata.normalize("NFKC", text).replace("\N{MINUS SIGN}", "-")
    return " ".join(text.replace("'", "’").split())
