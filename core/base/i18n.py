"""Translations. Every text that Ponte shows to people goes through `say` or `plural`.

The English text is both the source and the key. Catalogues are gettext `.po` files under
`core/locale`, which are read directly. `make languages` updates them from the code. `LANGUAGE` is
the language of the current task: a turn, a request or an interaction sets it to that of its person.
Text for other people, or text that is rendered later, is made within `use_locale`. Babel formats
numbers, dates and money by CLDR.
"""

from __future__ import annotations

import functools
import gettext
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime
from pathlib import Path
from typing import Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

OWNER_SENTENCES = {
    "The model's server rejected the request ({reason}). Contact the person who runs Ponte.": (
        "The model's server rejected the request ({reason}). Check PONTE_MODEL and "
        "OPENAI_BASE_URL, or run `ponte doctor`."
    ),
    "The bridge can't reach NocoDB. Try again in a minute. If the problem continues, contact the "
    "person who runs Ponte.": (
        "The bridge can't reach NocoDB. Try again in a minute. If the problem continues, check "
        "that NocoDB is running and that the bridge can connect to it."
    ),
    "NocoDB failed (status {status}). Try again in a minute. If the problem continues, contact "
    "the person who runs Ponte.": (
        "NocoDB failed (status {status}). Try again in a minute. If the problem continues, check "
        "NocoDB's log."
    ),
    "OpenAI refused to run the code ({reason}). Contact the person who runs Ponte.": (
        "OpenAI refused to run the code ({reason}). Check PONTE_CODE and PONTE_CODE_MODEL."
    ),
    "Something went wrong. Your message is saved. Try again. If the problem continues, give this "
    "ID to the person who runs Ponte: {turn}.": (
        "Something went wrong. Your message is saved. Try again. If the problem continues, look "
        "for this ID in Ponte's log: {turn}."
    ),
    "I couldn't check in time whether you're a member, so nothing was done. Try again in a "
    "minute. If the problem continues, contact the person who runs Ponte.": (
        "I couldn't check in time whether you're a member, so nothing was done. Try again in a "
        "minute. If the problem continues, run `ponte doctor`."
    ),
    "I couldn't save your message. Send it again in a moment. If the problem continues, contact "
    "the person who runs Ponte.": (
        "I couldn't save your message. Send it again in a moment. If the problem continues, "
        "check the disk and the permissions of the data folder."
    ),
    "I couldn't save this because it contains something that the database rejects. I won't retry "
    "on my own. Ask in a different way, or contact the person who runs Ponte.": (
        "I couldn't save this because it contains something that the database rejects. I won't "
        "retry on my own. Ask in a different way, or look for the cause in Ponte's log."
    ),
    "Quick commands aren't set up. The person who runs Ponte must set STACKSPOT_CLIENT_ID and "
    "STACKSPOT_CLIENT_SECRET.": (
        "Quick commands aren't set up. Set STACKSPOT_CLIENT_ID and STACKSPOT_CLIENT_SECRET, then "
        "restart Ponte."
    ),
    "The model's server won't answer you because of earlier requests under your name. Contact the "
    "person who runs Ponte.": (
        "The model's server won't answer you because of earlier requests under your name. Contact "
        "the provider of the model."
    ),
    "Something went wrong. Try again. If the problem continues, contact the person who runs "
    "Ponte. The details are in the log.": (
        "Something went wrong. Try again. If the problem continues, look for the cause "
        "in Ponte's log."
    ),
    "Something went wrong on the server (HTTP {status}). Try again. If the problem continues, "
    "contact the person who runs Ponte.": (
        "Something went wrong on the server (HTTP {status}). Try again. If the problem "
        "continues, look for the cause in Ponte's log."
    ),
    "The server refused this request (HTTP {status}). If you can't find out why, contact the "
    "person who runs Ponte.": (
        "The server refused this request (HTTP {status}). If you can't find out why, "
        "check Ponte's log."
    ),
    "The limit resets on {when}. The person who runs Ponte can raise it.": (
        "The limit resets on {when}. You can raise it ({where})."
    ),
}
"""Sentence for everyone → the sentence for the owner, with the same placeholders or fewer."""


Locale = Literal["en", "pt-BR", "fr"]
LOCALES: tuple[Locale, ...] = get_args(Locale)
LANGUAGE: ContextVar[str] = ContextVar("language", default="en")
"""The locale of the current task: in a turn as its platform writes it, perhaps with a country that
Ponte has no translation for (`en-GB`). Tasks that it starts inherit it."""
TIME_ZONE: ContextVar[str] = ContextVar("time_zone", default="UTC")
"""PONTE_TIMEZONE of this process, for an operator whose machine has no time zone or UTC."""
READER_IS_OWNER: ContextVar[bool] = ContextVar("reader_is_owner", default=False)
"""Whether the owner of this Ponte reads the text of the current task. `say` then uses
`OWNER_SENTENCES`."""
COUNT_PLACEHOLDERS = frozenset(
    {"before", "columns", "count", "days", "done", "rounds", "rows", "shown", "total"}
)
"""Placeholders for integers that get the thousands separators of the language."""
_FOLDER = Path(__file__).parents[1] / "locale"
_PO_TEXT = re.compile(r'^(msgid|msgid_plural|msgstr)(?:\[\d\])? (".*"(?:\n".*")*)', re.MULTILINE)
"""A keyword of a `.po` file and its text, a quoted string on each line. Babel takes ten times as
long to read such a file, which delays Ponte's start."""
_PO_FUZZY = re.compile(r"^#, fuzzy.*?^$", re.MULTILINE | re.DOTALL)
"""An entry whose English text changed after it was translated."""


@contextmanager
def use_locale(locale: str) -> Iterator[None]:
    """Set `LANGUAGE` within the block to the supported locale nearest to `locale` ("": no change).

    An asynchronous generator must not yield within the block.
    """
    token = LANGUAGE.set(nearest_locale(locale) if locale else LANGUAGE.get())
    try:
        yield
    finally:
        LANGUAGE.reset(token)


def say(text: str, locale: str | None = None, /, **values: object) -> str:
    """`locale` None means `LANGUAGE`."""
    locale = LANGUAGE.get() if locale is None else locale
    text = OWNER_SENTENCES.get(text, text) if READER_IS_OWNER.get() else text
    return _fill(catalogue(nearest_locale(locale)).gettext(text), locale, values)


def plural(
    singular: str, many: str, count: int, locale: str | None = None, /, **values: object
) -> str:
    """`locale` None means `LANGUAGE`. `{count}` becomes the number; `values` fill other
    placeholders. `count` chooses the form by the language's rules."""
    locale = LANGUAGE.get() if locale is None else locale
    text = catalogue(nearest_locale(locale)).ngettext(singular, many, count)
    return _fill(text, locale, {"count": count, **values})


def _fill(text: str, locale: str, values: Mapping[str, object]) -> str:
    """A text without values stays as it is, because it may contain braces."""
    if not values:
        return text
    texts = {
        key: format_number(value) if key in COUNT_PLACEHOLDERS and isinstance(value, int) else value
        for key, value in values.items()
    }
    return text.format(**texts)


def format_number(value: float) -> str:
    if isinstance(value, int) and -1000 < value < 1000:
        return str(value)
    from babel.numbers import format_decimal

    return format_decimal(value, locale=babel_locale(), decimal_quantization=False)


def format_size(count: int) -> str:
    """Return a size such as `20 MiB`. Other systems send any number, so it is limited first."""
    count = max(0, min(int(count), 2**60))
    if count < 100_000:
        return f"{format_number(count)} B"
    mebibytes = round(count / 1024 / 1024, 1)
    return f"{format_number(int(mebibytes) if mebibytes.is_integer() else mebibytes)} MiB"


def format_duration(seconds: float) -> str:
    """The duration is rounded up, so that nobody comes back too early."""
    minutes = math.ceil(seconds / 60)
    if seconds < 60:
        return plural("{count} second", "{count} seconds", math.ceil(seconds))
    if minutes < 90:
        return plural("{count} minute", "{count} minutes", minutes)
    if minutes <= 48 * 60:
        return plural("{count} hour", "{count} hours", math.ceil(minutes / 60))
    return plural("{count} day", "{count} days", math.ceil(minutes / 1440))


def format_money(dollars: float) -> str:
    """Amounts under 10 cents have four decimal places."""
    from babel.numbers import format_currency

    digits = "0.0000" if 0 < dollars < 0.1 else "#,##0.00"
    whole = {"en": f"¤{digits}", "pt_BR": f"¤\u00a0{digits}", "fr": f"{digits}\u00a0¤"}
    cldr = babel_locale()
    return format_currency(dollars, "USD", whole[cldr], locale=cldr, currency_digits=False)


def format_moment(
    when: datetime,
    locale: str | None = None,
    length: Literal["short", "medium"] = "short",
    this_year: int | None = None,
) -> str:
    """The time is in the zone of `when`. With the `length` "medium", it has seconds. `this_year`:
    as for `format_date`."""
    # Babel is loaded at the first use, so that a start does not wait for it.
    from babel.dates import format_time

    day = format_date(when, locale, this_year=this_year)
    return f"{day}, {format_time(when, length, locale=babel_locale(locale))}"


def format_date(
    day: date,
    locale: str | None = None,
    length: Literal["medium", "full", "MMMd", "yMMM", "yMMMd"] = "medium",
    this_year: int | None = None,
) -> str:
    """Return a date, as in `Nov 18, 2026`. With the `length` "MMMd", it has no year; with "yMMM",
    it is a month. With `this_year` it is short, and has its year only if that is another one. The
    first day of a month is `1er` in French (`write_first_day`)."""
    # Babel is loaded at the first use, so that a start does not wait for it.
    from babel.dates import format_date as format_by_cldr
    from babel.dates import format_skeleton

    cldr = babel_locale(locale)
    if this_year is not None:
        length = "MMMd" if day.year == this_year else "yMMMd"
    if length in ("MMMd", "yMMM", "yMMMd"):
        # Babel's data (CLDR) has `28 de nov.` in Portuguese. People write short dates as `28 nov.`
        # None: no time zone. True: Babel may take the nearest pattern that the language has.
        text = format_skeleton(length, day, None, True, cldr).replace(" de ", " ")
        return write_first_day(text, locale)
    return write_first_day(format_by_cldr(day, length, cldr), locale)


def write_first_day(text: str, locale: str | None = None) -> str:
    """French has `1er` where Babel has `1`."""
    return re.sub(r"\b1(?= |$)", "1er", text) if babel_locale(locale) == "fr" else text


def nearest_locale(locale: str) -> str:
    """`pt_PT` gives `pt-BR`, `fr-CA` gives `fr`, and a language without translations gives
    English."""
    language = locale.replace("_", "-").split("-")[0].lower()
    return next((ours for ours in LOCALES if ours.split("-")[0] == language), "en")


def find_zone(name: str) -> ZoneInfo | None:
    """Return None if this machine does not know the IANA name. `Europe` is a folder of zones, which
    raises OSError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def babel_locale(locale: str | None = None) -> str:
    """`locale` None means `LANGUAGE`."""
    return nearest_locale(LANGUAGE.get() if locale is None else locale).replace("-", "_")


def translate_word(text: str) -> str:
    """Used for text that an error quotes: it may be one of Ponte's own words, or text from
    outside."""
    # This reads the catalogue without `catalogue`: tests fail for a text that is asked for there
    # and has no translation, and a text from outside has none. The entry of the empty text in a
    # `.po` file is the file's header.
    return _load_catalogue(nearest_locale(LANGUAGE.get())).gettext(text) if text else ""


class _Catalogue(gettext.NullTranslations):
    """The translations of one language, read from a `.po` file, by their English text, or by the
    singular if the text has a plural. A text without a translation stays English. In all of Ponte's
    languages but English, 0 takes the singular."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._texts: dict[str, list[str]] = {}
        # A `msgid` (English text) is followed by one `msgstr` (its translation), or by one for each
        # plural form.
        for keyword, lines in _PO_TEXT.findall(_PO_FUZZY.sub("", path.read_text("utf-8"))):
            text = json.loads(lines.replace('"\n"', ""))
            if keyword == "msgid":
                translations = self._texts[text] = []
            elif keyword == "msgstr":
                translations.append(text)
        self._texts = {text: both for text, both in self._texts.items() if all(both)}

    def gettext(self, message: str) -> str:
        return self._texts.get(message, (message,))[0]

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        translations = self._texts.get(msgid1)
        return translations[n > 1] if translations else super().ngettext(msgid1, msgid2, n)


@functools.cache
def _load_catalogue(locale: str) -> gettext.NullTranslations:
    if locale == "en":
        return gettext.NullTranslations()
    return _Catalogue(_FOLDER / locale.replace("-", "_") / "LC_MESSAGES" / "ponte.po")


def catalogue(locale: str) -> gettext.NullTranslations:
    """Tests replace this function to record sentences."""
    return _load_catalogue(locale)
