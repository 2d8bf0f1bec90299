"""What a card or a form shows of a value can be typed back, in each language and type of column."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.base.errors import BadInput, PonteError
from core.base.i18n import LOCALES, use_locale
from core.changes.card_rows import build_rows
from core.changes.typed_fields import match_values
from core.domain.changes import Change, ChangeStep, Draft, Proposal, RowWrite
from core.tools.nocodb import ROW_KINDS
from core.tools.nocodb.draft import _input_type
from core.tools.nocodb.fieldtypes import Field, build_format, parse_value
from tests.nocodb.write_tools import ANA, HERE

ZONE = ZoneInfo("America/Sao_Paulo")
NOW = datetime(2026, 11, 20, 9, 30, tzinfo=ZONE)
AMOUNTS = st.decimals(-(10**9), 10**9, places=3, allow_nan=False).map(float)
DAYS = st.dates(min_value=date(1000, 1, 1)).map(str)
MOMENTS = st.datetimes(
    datetime(1000, 1, 2),  # noqa: DTZ001
    datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, ZONE]),
).map(lambda moment: moment.replace(microsecond=0).isoformat(" "))
_COLUMNS: Sequence[tuple[str, str, tuple[str, ...], dict[str, Any], st.SearchStrategy[Any]]] = [
    ("Number", "Number", (), {}, st.integers(-(2**53) + 1, 2**53 - 1)),
    ("Plain", "Number", (), {"locale_string": False}, st.integers(-9999999, 9999999)),
    ("Decimal", "Decimal", (), {"precision": 2}, AMOUNTS),
    ("BRL", "Currency", (), {"currency_code": "BRL"}, AMOUNTS),
    ("USD", "Currency", (), {"currency_code": "USD", "precision": 4}, AMOUNTS),
    ("JPY", "Currency", (), {"currency_code": "JPY"}, AMOUNTS),
    ("Percent", "Percent", (), {"precision": 1}, AMOUNTS),
    ("Duration", "Duration", (), {"duration_format": "h:mm"}, AMOUNTS.map(abs)),
    ("Rating", "Rating", (), {}, st.integers(0, 10)),
    ("Year", "Year", (), {}, st.integers(1000, 9999)),
    ("Date", "Date", (), {}, DAYS), ("Moment", "DateTime", (), {}, MOMENTS),
    ("Check", "Checkbox", (), {}, st.booleans()),
    ("Status", "SingleSelect", ("Pago", "Não pago"), {}, st.sampled_from(["Pago"])),
    ("Tags", "MultiSelect", ("Ação", "b"), {}, st.permutations(["Ação", "b"])),
    ("Time", "Time", (), {}, st.times().map(lambda time: time.isoformat("seconds"))),
    ("Mail", "Email", (), {}, st.just("ana@example.com")),
]  # fmt: skip
COLUMNS = {
    name: (Field(name, name, type, options, format=build_format(type, more)), values)
    for name, type, options, more, values in _COLUMNS
}


def make_proposal(field: Field, *values: Any, locale: str = "en", known: bool = True) -> Change:
    inputs = {field.title: [_input_type(field) if known else "text", list(field.options)]}
    target = {"inputs": inputs, "formats": {field.title: field.format} if known else {}}
    rows = tuple(RowWrite(after={"Name": f"Row {n}", field.title: v}) for n, v in enumerate(values))
    inputs["Name"] = ["text", []]
    draft = Draft("nocodb", "create", json.loads(json.dumps(target)), "Orders", rows)
    proposal = Proposal("abcde2", draft, ANA, HERE, 1, "c1", "t1", 0, locale, 0.0, 1.0)
    return Change(proposal, steps=tuple(ChangeStep(n, row) for n, row in enumerate(rows, 1)))


def read(change: Change, values: dict[str, Any], *locales: str) -> dict[str, str]:
    with use_locale(locales[0]):
        fields = ROW_KINDS["create"].form_fields(change)
        return match_values(fields, values, NOW, locales)


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("name", COLUMNS)
@given(data=st.data())
def test_what_is_shown_can_be_typed_back(name: str, locale: str, data: st.DataObject) -> None:
    field, values = COLUMNS[name]
    value = parse_value(field, data.draw(values), ZONE)
    change = make_proposal(field, value)
    with use_locale(locale):
        (row,) = build_rows(change)
        (view,) = [each["after"] for each in row["changes"] if each["field"] == name]
        form = {each.key: each.value for each in ROW_KINDS["create"].form_fields(change)}
    for text in (view, form[name], view.replace("\u202f", " ").replace("\xa0", " ")):
        content = read(change, {name: text}, locale)[name]
        again: Any = content.split(", ") if isinstance(value, list) else content
        assert parse_value(field, again, ZONE) == value, text


@pytest.mark.parametrize(
    ("value", "text", "typed"),
    [(9, "1.234", "1234"), (1.5, "1.234,5", "1234.5"), ("2026-11-20", "24/12/2026", "2026-12-24"),
     (True, "não", "false"),
     ("2026-11-20 10:00:00+00:00", "24/12/2026 9:00", "2026-12-24 09:00:00-03:00"),
     ("x", "24/12/2026", "24/12/2026")],
)  # fmt: skip
def test_a_field_that_a_bridge_does_not_describe_is_read_like_its_value(
    value: object, text: str, typed: str
) -> None:
    change = make_proposal(Field("A", "A", ""), value, known=False)
    assert read(change, {"A": text}, "pt-BR") == {"A": typed}


def test_a_text_that_the_card_and_the_person_read_differently_is_refused() -> None:
    field, _ = COLUMNS["Decimal"]
    change = make_proposal(field, 5)
    for text in ("1.300", "1,300"):
        with pytest.raises(BadInput) as error:
            read(change, {"Decimal": text}, "en", "pt-BR")
        with use_locale("en"):
            assert "write a number such as 1234.00 instead of" in error.value.words()
    assert read(change, {"Decimal": "1.300,5"}, "en", "pt-BR") == {"Decimal": "1300.5"}
    assert read(change, {"Decimal": 1.3}, "pt-BR") == {"Decimal": "1.3"}, "JSON has one form"


WORDS = {
    ("en", "Decimal"): "Row 1, Decimal: write a number such as 1234.00 instead of “abc”.",
    ("en", "Date"): "Row 1, Date: write a date such as Nov 20, 2026 instead of “abc”.",
    ("en", "Check"): "Row 1, Check: write Yes / No instead of “abc”.",
    ("en", "Rating"): "Row 1, Rating: write a number such as 5 instead of “abc”.",
    ("pt-BR", "BRL"): "Linha 1, BRL: escreva um número, por exemplo 1234,00, em vez de “abc”.",
    ("pt-BR", "Date"): (
        "Linha 1, Date: escreva uma data, por exemplo 20 de nov. de 2026, em vez de “abc”."
    ),
    (
        "fr",
        "Duration",
    ): "Ligne 1, Duration : écrivez un nombre, par exemple 1:30, au lieu de « abc ».",
    ("fr", "Moment"): (
        "Ligne 1, Moment : écrivez une date avec une heure, par exemple 20 nov. 2026, 09:30, au "
        "lieu de « abc »."
    ),
}


@pytest.mark.parametrize(("locale", "name"), WORDS)
def test_a_refusal_names_row_field_and_form(locale: str, name: str) -> None:
    field, _ = COLUMNS[name]
    change = make_proposal(field, None, None)
    with pytest.raises(PonteError) as error:
        read(change, {f"1.{name}": "abc"}, locale)
    with use_locale(locale):
        assert " ".join(error.value.words().split()) == " ".join(WORDS[locale, name].split())


def test_a_name_without_a_row_is_the_field_of_all_rows() -> None:
    field = Field("Preço", "Preço", "Decimal", format="number 2")
    change = make_proposal(field, 1, 2, 3)
    for name in ("Preço", "prec\u0327o", "PRECO"):
        assert read(change, {name: "1.234"}, "pt-BR") == dict.fromkeys(
            ["1.Preço", "2.Preço", "3.Preço"], "1234"
        )
    assert read(change, {"2.preco": "5"}, "pt-BR") == {"2.Preço": "5"}
    with pytest.raises(BadInput):
        read(change, {"Preço": "5", "2.Preço": "6"}, "pt-BR")


def test_options_are_found_by_their_letters() -> None:
    field, _ = COLUMNS["Tags"]
    assert read(make_proposal(field, ["b"]), {"tags": "ACAO, b"}, "en") == {"Tags": "Ação, b"}
    field, _ = COLUMNS["Status"]
    assert read(make_proposal(field, "Pago"), {"Status": "na\u0303o PAGO"}, "en") == {
        "Status": "Não pago"
    }
    assert read(make_proposal(field, "Pago"), {"Status": "Novo"}, "en") == {"Status": "Novo"}
