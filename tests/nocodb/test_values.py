"""Cells for a model, for a spreadsheet, and the line that says where they come from."""

from __future__ import annotations

import csv
import io
import re
from datetime import date
from decimal import Decimal

import pytest

from core.base.http import HttpClient
from core.base.i18n import use_locale
from core.base.redaction import redact
from core.domain.messages import Person
from core.tools.nocodb.api import NocoApi, NocoRecord
from core.tools.nocodb.cells import export_row, format_display_row, format_row
from core.tools.nocodb.fieldtypes import Field
from core.tools.nocodb.read import TableQuestion, build_table, describe_row_source, export_rows
from core.tools.nocodb.row_reader import SelectedRows
from core.tools.nocodb.schema import TableDescription
from core.tools.nocodb.summarize import Fn, compute_figure, group_records
from tests.nocodb.tables import DEALS, NOW, PARIS, make_selection

ANA = Person("slack", "U1")
ROW = NocoRecord(
    "7",
    {
        "Name": "Ana\u202e\x1b[31m",
        "Stage": "",
        "Tags": ["vip", "late payer"],
        "Value": 10.25,
        "Paid": False,
        "Due": "2026-11-20",
        "Seen": "2026-11-19 23:30:00+00:00",
        "Owner": [{"id": "us1", "email": "ana@example.com", "display_name": None}],
        "Files": [{"title": "a.pdf", "path": "x", "signedPath": "dltemp/secret", "size": 1}],
        "Orders": [{"id": 1, "fields": {"Title": "Order 1"}}, {"id": 2, "fields": {"Title": None}}],
        "Mates": 0,
        "CreatedAt": None,
    },
)


def test_a_model_reads_what_is_filled_in_words() -> None:
    assert format_row(ROW, DEALS.fields, PARIS) == {
        "id": "7",
        "Name": "Ana",
        "Tags": "vip, late payer",
        "Value": 10.25,
        "Paid": False,
        "Due": "2026-11-20",
        "Seen": "2026-11-20 00:30:00",
        "Owner": "ana@example.com",
        "Files": "a.pdf (1 B)",
        "Orders": "Order 1, 2",
    }


def test_long_cells_are_cut_and_say_so() -> None:
    name = format_row(NocoRecord("1", {"Name": "é" * 500}), DEALS.fields, PARIS)["Name"]
    assert (len(name), name[-1]) == (200, "…")


@pytest.mark.parametrize(("count", "cut"), [(4, False), (5, True), (6, False), (25, True)])
def test_links_that_may_lack_some_say_so(count: int, cut: bool) -> None:
    """NocoDB 0.301.3 ends a cell at 25, newer ones at 5."""
    rows = [{"id": n, "fields": {"Title": f"O{n}"}} for n in range(count)]
    text = format_row(NocoRecord("1", {"Orders": rows}), DEALS.fields, PARIS)["Orders"]
    assert text.endswith(f"O{count - 1}" + (" …" if cut else ""))
    table_file = export_rows(
        [NocoRecord("1", {"Orders": rows})], DEALS.fields, PARIS, "csv"
    ).data.decode("utf-8-sig")
    assert ("…" in table_file) == cut
    whole = format_row(NocoRecord("1", {"Orders": tuple(rows)}), DEALS.fields, PARIS)["Orders"]
    assert whole.endswith(f"O{count - 1}")


@pytest.mark.parametrize("name", ["Senha", "mot de passe", "Contraseña", "CLÉ API", "pass-phrase"])
def test_a_secret_is_one_in_other_languages_too(name: str) -> None:
    assert redact({name: "x", "Nome": "Ana"}) == {name: "[withheld]", "Nome": "Ana"}


@pytest.mark.parametrize(("locale", "mark"), [("pt-BR", "[oculto]"), ("fr", "[masqué]")])
def test_a_secret_is_withheld_in_the_language_of_its_reader(locale: str, mark: str) -> None:
    field, record = Field("c1", "Senha", "SingleLineText"), NocoRecord("1", {"Senha": "x"})
    with use_locale(locale):
        assert redact({"senha": "x"}) == {"senha": mark}
        assert format_display_row(record, [field], None) == [mark]
        assert export_row(record, [field], None) == [mark]


def test_a_secret_column_is_withheld() -> None:
    fields = [Field("c1", "API key", "SingleLineText"), Field("c2", "id", "SingleLineText")]
    row = NocoRecord("1", {"API key": "sk-123", "id": "own"})
    assert format_row(row, fields, PARIS) == {
        "id": "1",
        "API key": "[withheld]",
        "id (field)": "own",
    }
    assert b"sk-123" not in export_rows([row], fields, PARIS, "csv").data


def test_a_sheet_holds_whole_cells_after_a_byte_order_mark() -> None:
    long = NocoRecord("8", {"Name": "é" * 500, "Value": -5, "Due": None})
    data = export_rows([ROW, long], DEALS.fields[:8], PARIS, "csv").data
    assert data.startswith(b"\xef\xbb\xbf")
    head, first, second = csv.reader(io.StringIO(data.decode("utf-8-sig")))
    assert head == ["Id", "Name", "Stage", "Tags", "Value", "Paid", "Due", "Seen"]
    assert first == [
        "7",
        "Ana",
        "",
        "vip, late payer",
        "10.25",
        "false",
        "2026-11-20",
        "2026-11-20 00:30:00",
    ]
    assert second == ["8", "é" * 500, "", "", "-5", "", "", ""]


def test_a_sheet_without_an_id_field_begins_with_the_ids() -> None:
    data = export_rows([ROW], [Field("c1", "Name", "SingleLineText")], PARIS, "csv").data
    assert data.decode("utf-8-sig").splitlines() == ["id,Name", "7,Ana"]


def test_rows_for_people_have_the_numbers_of_their_texts() -> None:
    fields = (
        Field("", "id", "ID"),
        Field("a", "Phone", "PhoneNumber"),
        Field("b", "Total", "Formula"),
        Field("c", "Sum", "Currency", format="currency BRL 2"),
        Field("d", "Day", "Date", format="date"),
    )
    records = [
        NocoRecord("1", {"Phone": "0012", "Total": 1.5, "Sum": "1234.5", "Day": "2026-11-20"}),
        NocoRecord("2", {"Phone": "7", "Total": None, "Sum": -3, "Day": "soon"}),
    ]
    with use_locale("pt-BR"):
        data = build_table(records, fields, NOW, "Things")
    assert [column.kind for column in data.columns] == [
        "words",
        "words",
        "number",
        "number",
        "words",
    ]
    assert data.values == ((None, None, 1.5, "1234.5", "2026-11-20"), (None, None, None, -3, None))
    assert data.rows == (
        ("1", "0012", "1,5", "R$\u00a01.234,50", "20 nov."),
        ("2", "7", "", "-R$\u00a03,00", "soon"),
    )
    assert data.to_markdown().splitlines()[1] == "| :--- | :--- | ---: | ---: | :--- |"


@pytest.mark.parametrize(
    ("locale", "this_year", "last_year", "moment"),
    [
        ("en", "Nov 1", "Nov 1, 2025", "Nov 1, 9:05\u202fAM"),
        ("pt-BR", "1 nov.", "1 nov. 2025", "1 nov., 09:05"),
        ("fr", "1er nov.", "1er nov. 2025", "1er nov., 09:05"),
    ],
)
def test_days_in_tables_are_short_and_have_the_year_only_of_another_one(
    locale: str, this_year: str, last_year: str, moment: str
) -> None:
    """Several days in one cell keep their year, because files have them as they are shown."""
    fields = [
        Field("a", "Day", "Date", format="date"),
        Field("b", "Seen", "DateTime", format="moment"),
        Field("c", "Text", "SingleLineText"),
        Field("d", "Days", "Lookup", format="date"),
    ]
    days = ["2026-11-01", "2026-11-02"]
    cells = {"Day": "2026-11-01", "Seen": "2026-11-01 08:05:00+00:00", "Text": "2026-11-01"}
    records = [NocoRecord("1", {**cells, "Days": days}), NocoRecord("2", {"Day": "2025-11-01"})]
    with use_locale(locale):
        data = build_table(records, fields, NOW, "Things")
    assert data.rows[0][:3] == (this_year, moment, "2026-11-01")
    assert data.rows[0][3].count("2026") == 2
    assert data.rows[1][0] == last_year
    assert data.to_export()[1][0][0] == date(2026, 11, 1), "files keep the day"


def test_a_source_tells_table_filter_rows_time_and_place() -> None:
    link = NocoApi("https://noco.example.com", "", HttpClient()).format_source_link(DEALS.at)
    question = TableQuestion(make_selection(("Stage", "eq", "Lead")), NOW, link)
    line = question.describe_source(SelectedRows((), 1234), 20)
    assert line == (
        'Source: Deals, Stage is "Lead": 20 of 1,234 rows, '
        "Nov 20, 2026, 2:05\u202fPM (Europe/Paris). [NocoDB](https://noco.example.com/dashboard/#/nc/pcrm/mdeals)"
    )


def test_a_source_cannot_be_forged_from_a_name_or_value() -> None:
    evil = "x](https://evil.example) **bold** <!channel> `code` https://evil.example/?q=1 # h\n- l"
    api = NocoApi("https://n", "", HttpClient())
    link = api.format_source_link(DEALS.at)
    question = TableQuestion(make_selection(("Name", "eq", evil)), NOW, link)
    line = question.describe_source(SelectedRows((), 1), 1)
    assert "\n" not in line
    assert "](https://evil" not in line
    assert "\\*\\*bold" in line
    assert "\\<!channel\\>" in line
    assert "`https://evil.example`" in line
    assert len(re.findall(r"(?<!\\)\]\(", line)) == 1
    table = TableDescription("m/../1", "[a](b)", "p", ())
    line = describe_row_source(api, table, "7)[x](y", NOW)
    assert line.startswith("Source: [a\\](b), row 7)[x\\](y, ")
    assert line.endswith("[NocoDB](https://n/dashboard/#/nc/p/m%2F..%2F1?rowId=7%29%5Bx%5D%28y)")


VALUE, DUE, SEEN = DEALS.field("Value"), DEALS.field("Due"), DEALS.field("Seen")


@pytest.mark.parametrize(
    ("fn", "figures"),
    [("sum", "0.6"), ("avg", "0.200"), ("min", "0.1"), ("max", "0.3"), ("median", "0.2"),
     ("count", "4"), ("filled", "3"), ("empty", "1"), ("unique", "3")],
)  # fmt: skip
def test_figures_are_exact(fn: Fn, figures: str) -> None:
    """In floats, 0.1 + 0.2 + 0.3 is 0.6000000000000001."""
    figure = compute_figure(VALUE, fn, [0.1, 0.2, None, 0.3], PARIS)
    assert str(figure) == figures
    assert compute_figure(DEALS.field("Name"), "unique", ["a", "b", "a", None, ""], PARIS) == 2


def test_a_float_would_lose_a_cent() -> None:
    assert compute_figure(VALUE, "sum", [9007199254740993, 0.01], PARIS) == Decimal(
        "9007199254740993.01"
    )


def test_the_latest_moment_is_told_where_the_asker_is() -> None:
    moments = ["2026-11-19 23:30:00+00:00", "2026-11-19 10:00:00+00:00", None]
    assert compute_figure(SEEN, "max", moments, PARIS) == "2026-11-20 00:30:00"
    assert compute_figure(DUE, "min", ["2026-11-20", "2026-02-01"], PARIS) == "2026-02-01"


def test_groups_of_dates_follow_the_calendar() -> None:
    rows = [
        NocoRecord(str(n), {"Seen": at})
        for n, at in enumerate(
            [
                "2026-12-31 23:30:00+00:00",
                "2026-11-30 10:00:00+00:00",
                None,
                "2026-11-29 10:00:00+00:00",
            ]
        )
    ]
    labels = {
        b: list(group_records(rows, SEEN, b, PARIS)) for b in ("month", "week", "quarter", "year")
    }
    assert labels == {
        "month": ["(empty)", "2026-11", "2027-01"],
        "week": ["(empty)", "2026-W48", "2026-W49", "2026-W53"],
        "quarter": ["(empty)", "2026-Q4", "2027-Q1"],
        "year": ["(empty)", "2026", "2027"],
    }


def test_groups_of_words_begin_with_the_largest() -> None:
    rows = [
        NocoRecord("1", {"Tags": ["vip", "late payer"]}),
        NocoRecord("2", {"Tags": ["vip"]}),
        NocoRecord("3", {"Tags": None}),
    ]
    groups = group_records(rows, DEALS.field("Tags"), None, PARIS)
    assert {label: [row.id for row in rows] for label, rows in groups.items()} == {
        "vip": ["1", "2"],
        "(empty)": ["3"],
        "late payer": ["1"],
    }
    assert list(groups) == ["vip", "(empty)", "late payer"]
