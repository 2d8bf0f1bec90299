"""Numbers, days and moments as readers of three languages type them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from core.base import value_formats
from core.base.errors import BadInput
from core.base.value_formats import (
    parse_typed_day,
    parse_typed_moment,
    parse_typed_number,
    parse_typed_truth,
)

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=ZoneInfo("America/Sao_Paulo"))
NUMBERS: dict[str, dict[str, object]] = {
    "en": {
        "1,234": 1234, "1.234": "1.234", "1,234.56": "1234.56", "1234": 1234, "1 234": 1234,
        "\u22125": -5, "+7.5": "7.5", "0.125": "0.125", "1,23": None, "1.234,56": None,
        "12,34,567": None, "1,234,567": 1234567, "": None, "abc": None, "1e5": None, "٣": None,
    },
    "pt-BR": {
        "1.234": 1234, "1,234": "1.234", "1.234,56": "1234.56", "-1.234,5": "-1234.5",
        "1234,5": "1234.5", "1234.5": "1234.5", "0.125": "0.125", "1234.567": None,
        "1.23.456": None, "1,234.56": None, "1.234.567": 1234567, "12.5": "12.5",
    },
    "fr": {
        "1\u202f234,56": "1234.56", "1\u00a0234,56": "1234.56", "1 234,56": "1234.56",
        "1.234": None, "1.5": "1.5", "1,234": "1.234", "1.234,56": None, "12 34": None,
        "\u2212\u202f5": -5, "１２": 12,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("locale", "text", "number"),
    [(locale, *pair) for locale, pairs in NUMBERS.items() for pair in pairs.items()],
)
def test_a_number_is_never_a_thousand_times_smaller(locale: str, text: str, number: object) -> None:
    expected = None if number is None else Decimal(str(number))
    assert parse_typed_number(text, "", locale) == expected


@pytest.mark.parametrize(
    ("text", "format", "locale", "number"),
    [
        ("R$ 1.234,56", "currency BRL 2", "pt-BR", "1234.56"),
        ("-R$\u00a01.234,56", "currency BRL 2", "pt-BR", "-1234.56"),
        ("1\u202f234,56\u00a0€", "currency EUR 2", "fr", "1234.56"),
        ("5€", "currency EUR 2", "fr", "5"), ("$5", "currency USD 2", "en", "5"),
        ("R$ 5", "currency USD 2", "pt-BR", None), ("€5", "number 2", "en", None),
        ("12,5 %", "percent 1", "fr", "12.5"), ("12,5%", "percent", "pt-BR", "12.5"),
        ("5%", "number", "en", None),
        ("1:75", "duration h:mm", "en", None),
        ("1.234", "duration h:mm", "pt-BR", "1234"),
    ],
)  # fmt: skip
def test_the_signs_of_the_column_may_be_typed(
    text: str, format: str, locale: str, number: str | None
) -> None:
    assert parse_typed_number(text, format, locale) == (Decimal(number) if number else None)


@pytest.mark.parametrize(
    ("locale", "text", "day"),
    [
        ("pt-BR", "24/12/2026", "2026-12-24"), ("fr", "24.12.2026", "2026-12-24"),
        ("en", "12/24/2026", "2026-12-24"), ("en", "24/12/2026", "2026-12-24"),
        ("en", "04.04.2026", "2026-04-04"), ("en", "31/02/2026", None),
        ("en-US", "03/04/2026", "2026-03-04"), ("en-US", "24/12/2026", None),
        ("en-GB", "03/04/2026", "2026-04-03"), ("en-GB", "03.04.2026", "2026-04-03"),
        ("en-GB", "03-04-2026", "2026-04-03"), ("en-GB", "12/24/2026", None),
        ("de-DE", "3.4.2026", "2026-04-03"), ("fr-CA", "03-04-2026", "2026-04-03"),
        ("pt-PT", "03/04/2026", "2026-04-03"),
        ("pt-BR", "12/24/2026", None), ("pt-BR", "24/12/26", None),
        ("fr", "2026-12-24", "2026-12-24"), ("pt-BR", "31/02/2026", None),
        ("pt-BR", "amanhã", "2026-11-21"), ("pt-BR", "AMANHA", "2026-11-21"),
        ("pt-BR", "tomorrow", None), ("fr", "aujourd'hui", "2026-11-20"),
        ("fr", "hier", "2026-11-19"), ("en", "amanhã", None), ("pt-BR", "quando", None),
        ("pt-BR", "24 de dez. de 2026", "2026-12-24"),
        ("pt-BR", "1 de marc\u0327o de 2026", "2026-03-01"),
        ("fr", "1er mai 2026", "2026-05-01"), ("fr", "3 juil. 2026", "2026-07-03"),
        ("fr", "3 jui 2026", None), ("en", "Dec 24, 2026", "2026-12-24"),
        ("en", "Thursday, December 24th, 2026", "2026-12-24"), ("fr", "le 24/12/2026", None),
        ("pt-BR", "quinta-feira, 24 de dezembro de 2026", "2026-12-24"),
        ("en", "9999-12-32", None), ("en", "24", None), ("en", "December 2026", None),
        ("en-GB", "4 March 26", None), ("fr", "26 mars 04", None), ("en", "March 4, 26", None),
        ("en-us", "03/04/2026", "2026-03-04"), ("en_US.UTF-8", "03.04.2026", "2026-03-04"),
        ("en-Latn-US", "03-04-2026", "2026-03-04"), ("en-gb", "03/04/2026", "2026-04-03"),
    ],
)  # fmt: skip
def test_days(locale: str, text: str, day: str | None) -> None:
    expected = date.fromisoformat(day) if day else None
    assert parse_typed_day(text, NOW.date(), locale) == expected


@pytest.mark.parametrize("locale", ["en", "en-CA", "en-PH", "es"])
@pytest.mark.parametrize("text", ["03/04/2026", "3.4.2026", "03-04-2026", "03/04/2026 14:30"])
def test_a_day_with_two_readings_is_refused_with_both(locale: str, text: str) -> None:
    with pytest.raises(BadInput, match="can mean 2026-03-04 or 2026-04-03"):
        parse_typed_moment(text, NOW, locale)


@pytest.mark.parametrize(
    ("locale", "text", "moment"),
    [
        ("pt-BR", "24/12/2026 14:30", "2026-12-24 14:30:00-03:00"),
        ("pt-BR", "24/12/2026 às 14h30", "2026-12-24 14:30:00-03:00"),
        ("fr", "demain à 9 h", "2026-11-21 09:00:00-03:00"),
        ("fr", "20 nov. 2026, 14:30 UTC+01:00", "2026-11-20 14:30:00+01:00"),
        ("en", "Nov 20, 2026, 2:30\u202fPM UTC", "2026-11-20 14:30:00+00:00"),
        ("en", "tomorrow 9:00am", "2026-11-21 09:00:00-03:00"),
        ("en", "tomorrow at 12:05 a.m.", "2026-11-21 00:05:00-03:00"),
        ("en", "tomorrow 13pm", None), ("en", "tomorrow 9", None), ("en", "tomorrow 25:00", None),
        ("en", "2026-11-20T14:30:05.25Z", "2026-11-20 14:30:05.250000+00:00"),
        ("en", "2026-11-20 14:30:00-03:00", "2026-11-20 14:30:00-03:00"),
        ("fr", "24/12/2026", "2026-12-24 00:00:00-03:00"), ("pt-BR", "quando", None),
    ],
)  # fmt: skip
def test_moments(locale: str, text: str, moment: str | None) -> None:
    typed_moment = parse_typed_moment(text, NOW, locale)
    assert (typed_moment and typed_moment.isoformat(" ")) == moment


@pytest.mark.parametrize(
    "text", ["tomorrow 13:00 PM", "tomorrow 0:30 AM", "tomorrow 24:00", "2026-12-24T24:00"]
)
def test_no_python_reads_an_hour_that_no_clock_shows(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    class NewerDatetime(datetime):
        """From Python 3.14 on, hour 24 is the next midnight."""

        @classmethod
        def fromisoformat(cls, text: str) -> NewerDatetime:
            moment = super().fromisoformat(text.replace("T24", "T00"))
            return moment + timedelta("T24" in text)

    monkeypatch.setattr(value_formats, "datetime", NewerDatetime)
    assert parse_typed_moment("tomorrow 0:30", NOW, "en") == datetime(
        2026, 11, 21, 0, 30, tzinfo=NOW.tzinfo
    )
    assert parse_typed_moment("24 December 2026", NOW, "en") == datetime(
        2026, 12, 24, tzinfo=NOW.tzinfo
    )
    assert parse_typed_moment(text, NOW, "en") is None


@pytest.mark.parametrize("piece", ["9", "9 dec ", "1.", "dec 1 ", "-", "\u0301", "12/", "a"])
def test_any_length_is_read_or_refused(piece: str) -> None:
    text = piece * 200_000
    assert parse_typed_number(text, "number", "pt-BR") is None
    assert parse_typed_day(text, NOW.date(), "en") is None
    assert parse_typed_moment(f"{text} 10:00", NOW, "en") is None
    assert parse_typed_truth(text) is None
    assert parse_typed_day(f"1 dec {'9' * 30}", NOW.date(), "en") is None


@pytest.mark.parametrize(
    ("text", "truth"),
    [("Sim", True), ("NÃO", False), ("nao", False), ("Oui", True), ("non", False), ("yes", True),
     ("true", True), ("0", False), ("perhaps", None), ("", None)],
)  # fmt: skip
def test_truth_values_of_each_language(text: str, truth: bool | None) -> None:
    assert parse_typed_truth(text) is truth
