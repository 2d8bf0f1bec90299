"""Numbers and dates as a column's settings and the reader's language write them."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from core.base.value_formats import format_value
from core.tools.nocodb.fieldtypes import build_format


@pytest.mark.parametrize(
    ("type", "options", "value", "texts"),
    [
        ("Currency", {"currency_code": "BRL"}, 1234.5,
         ("R$1,234.50", "R$ 1.234,50", "1 234,50 R$")),
        ("Currency", {"code": "EUR"}, "-3.999", ("-€3.999", "-€ 3,999", "-3,999 €")),
        ("Currency", {"currency_code": "JPY"}, 5, ("¥5", "JP¥ 5", "5 JPY")),
        ("Currency", {}, 1234.5, ("1,234.50", "1.234,50", "1 234,50")),
        ("Decimal", {"precision": 3, "locale_string": True}, 1.5, ("1.500", "1,500", "1,500")),
        ("Number", {"locale_string": False}, 2003, ("2003", "2003", "2003")),
        ("Number", {}, 2003, ("2,003", "2.003", "2 003")),
        ("Percent", {"precision": 1}, 12, ("12.0%", "12,0%", "12,0 %")),
        ("Duration", {"duration_format": "h:mm"}, 5400, ("1:30", "1:30", "1:30")),
        ("Duration", {"duration_format": "h:mm"}, 5405.5, ("1:30:05.5",) * 3),
        ("Duration", {"duration_format": "h:mm:ss"}, -60, ("-0:01:00",) * 3),
        ("Date", {"date_format": "DD/MM/YYYY"}, date(2026, 11, 20),
         ("Nov 20, 2026", "20 de nov. de 2026", "20 nov. 2026")),
        ("Formula", {}, 1234.5, ("1234.5", "1234,5", "1234,5")),
        ("Decimal", {"locale_string": False}, "1" * 40 + ".5",
         tuple("1" * 40 + sign + "5" for sign in ".,,")),
        ("Duration", {}, "1" * 40, ("308641975308641975308641975308641975:18:31",) * 3),
        ("Decimal", {}, "1e999999999", ("1e999999999",) * 3),
        ("SingleLineText", {}, "1234.5", ("1234.5",) * 3),
        ("Year", {}, 2026, ("2026",) * 3),
        ("Currency", {"currency_code": "evil", "precision": "9"}, 1, ("1.00", "1,00", "1,00")),
    ],
)  # fmt: skip
def test_a_value_is_written_as_its_column_and_the_language_say(
    type: str, options: dict[str, Any], value: object, texts: tuple[str, ...]
) -> None:
    format = build_format(type, options)
    lines = [format_value(value, format, locale) for locale in ("en", "pt-BR", "fr")]
    assert [" ".join(text.split()) for text in lines] == list(texts)
