"""Filters become a `where` of ids and quoted values, or are refused with a hint."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.base.errors import ToolError
from core.base.time_spans import TimeSpan
from core.tools.nocodb.api import NocoRecord
from core.tools.nocodb.filter_words import describe_selection
from core.tools.nocodb.filters import Filter, Op, RowSelection, Value
from tests.fakes.nocodb.tables import FakeField, FakeTable
from tests.fakes.nocodb.where import parse_filter
from tests.nocodb.tables import DEALS, NOW, make_selection, where

AWKWARD = "\"'%_\\,()~`|{}[] \n\tnortdayNULL)~or(cid,gt,0"


@pytest.mark.parametrize(
    ("field", "op", "value", "text"),
    [
        ("Name", "eq", "Ana", '(cname,eq,"Ana")'),
        ("name", "neq", 'the "one"', "(cname,neq,'the \"one\"')"),
        ("cname", "contains", "a,b", '(cname,like,"a,b")'),
        ("Name", "not_contains", ")~or(cid,gt,0", '(cname,nlike,")~or(cid,gt,0")'),
        ("Name", "in", ["Ana", "Zoe (x)"], '(cname,in,"Ana","Zoe (x)")'),
        ("Name", "in", ["Ana", "Zoë"], '(cname,in,"Ana","Zoë","Zoe\u0308")'),
        ("Name", "eq", "Zoe\u0308", '((cname,eq,"Zoë")~or(cname,eq,"Zoe\u0308"))'),
        ("Name", "neq", "Zoë", '((cname,neq,"Zoë")~and(cname,neq,"Zoe\u0308"))'),
        ("Name", "contains", "한", '((cname,like,"한")~or(cname,like,"\u1112\u1161\u11ab"))'),
        ("Name", "blank", None, "(cname,blank)"),
        ("Name", "eq", "", "(cname,blank)"),
        ("Name", "neq", "", "(cname,notblank)"),
        ("Stage", "eq", "lead", '(cstage,eq,"Lead")'),
        ("Stage", "eq", "Lëad", '(cstage,eq,"Lead")'),
        ("Tags", "eq", "vip", '(ctags,anyof,"vip")'),
        ("Tags", "in", ["vip", "late payer"], '(ctags,anyof,"vip","late payer")'),
        ("Tags", "neq", "vip", '(ctags,nanyof,"vip")'),
        ("Tags", "not_contains", "vip", '(ctags,nanyof,"vip")'),
        ("Value", "eq", 5, '(cvalue,eq,"5")'),
        ("Value", "gte", "1234.50", '(cvalue,gte,"1234.50")'),
        ("Value", "lt", 1e3, '(cvalue,lt,"1000.0")'),
        ("Value", "between", [1, 2.5], '((cvalue,gte,"1")~and(cvalue,lte,"2.5"))'),
        ("Paid", "eq", True, "(cpaid,checked)"),
        ("Paid", "neq", "true", "(cpaid,notchecked)"),
        ("Paid", "neq", False, "(cpaid,checked)"),
        ("Paid", "blank", None, "(cpaid,notchecked)"),
        ("Paid", "notblank", None, "(cpaid,checked)"),
        ("Orders", "contains", "07", '(corders,like,"07")'),
        ("Orders", "blank", None, "(corders,blank)"),
        ("Mates", "blank", None, '(cmates,eq,"0")'),
        ("Mates", "notblank", None, '(cmates,gt,"0")'),
        ("Mates", "gt", 2, '(cmates,gt,"2")'),
        ("Files", "notblank", None, "(cfiles,notblank)"),
        ("Id", "in", ["1", "2"], '(cid,in,"1","2")'),
    ],
)
def test_a_filter_is_said_in_ids_and_quotes(field: str, op: Op, value: Value, text: str) -> None:
    selection = make_selection((field, op, value))
    assert selection.where.v3 == text
    assert selection.is_exact


@pytest.mark.parametrize(
    ("op", "value", "days"),
    [
        ("eq", "this_month", ["gte 2026-11-01", "lt 2026-12-01"]),
        ("gt", "this_month", ["gte 2026-12-01"]),
        ("gte", "2026-11-20", ["gte 2026-11-20"]),
        ("lt", "today", ["lt 2026-11-20"]),
        ("lte", "today", ["lt 2026-11-21"]),
        ("lte", "2026-11", ["lt 2026-12-01"]),
        ("between", ["2026-01", "2026-03"], ["gte 2026-01-01", "lt 2026-04-01"]),
    ],
)
def test_a_date_becomes_days(op: Op, value: Value, days: Sequence[str]) -> None:
    messages = [f'(cdue,{op},exactDate,"{day}")' for op, day in (each.split() for each in days)]
    assert where(("Due", op, value)) == (
        f"({'~and'.join(messages)})" if len(messages) > 1 else messages[0]
    )


def test_a_moment_is_asked_for_in_utc() -> None:
    """Paris is an hour ahead of it in November."""
    assert where(("Seen", "eq", "today")) == (
        '((cseen,gte,exactDate,"2026-11-19 23:00:00+00:00")'
        '~and(cseen,lt,exactDate,"2026-11-20 23:00:00+00:00"))'
    )
    assert "2026-10-31 23:00:00+00:00" in where(("CreatedAt", "gte", "this_month"))


def test_any_of_several_is_a_group() -> None:
    filters: list[tuple[str, Op, Value]] = [("Paid", "eq", True), ("Due", "neq", "today")]
    assert where(*filters, match="any") == (
        '((cpaid,checked)~or((cdue,lt,exactDate,"2026-11-20")~or'
        '(cdue,gte,exactDate,"2026-11-21")~or(cdue,blank)))'
    )


@pytest.mark.parametrize(
    ("field", "op", "value", "code", "hint"),
    [
        ("Nome", "eq", "x", "unknown_field", "did you mean 'Name'?"),
        ("Stage", "eq", "Leed", "unknown_option", "did you mean 'Lead'?"),
        ("Stage", "eq", "xyz", "unknown_option", "it has Lead, Won, Lost"),
        ("Value", "gt", "abc", "bad_filter", ""),
        ("Value", "gt", True, "bad_filter", ""),
        ("Value", "gt", "1e99", "bad_filter", ""),
        ("Value", "contains", "1", "bad_filter", "use one of eq"),
        ("Name", "gt", "a", "bad_filter", "use one of eq"),
        ("Files", "eq", "a.pdf", "bad_filter", "use one of blank, notblank"),
        ("Due", "eq", "next thursday", "bad_date", "this_month"),
        ("Due", "between", ["2026"], "bad_filter", ""),
        ("Name", "eq", None, "bad_filter", ""),
        ("Name", "eq", ["a", "b"], "bad_filter", ""),
        ("Name", "in", [], "bad_filter", ""),
        ("Name", "contains", "", "bad_filter", ""),
        ("Name", "eq", "x" * 2001, "bad_filter", ""),
        ("Paid", "eq", "maybe", "bad_filter", ""),
        ("Name", "eq", "\ud800", "bad_filter", ""),
    ],
)
def test_what_cannot_be_asked_is_told(
    field: str, op: Op, value: Value, code: str, hint: str
) -> None:
    with pytest.raises(ToolError) as error:
        make_selection((field, op, value))
    assert error.value.code == code
    assert error.value.hint.startswith(hint) or hint in error.value.hint


def test_too_many_filters_are_refused() -> None:
    with pytest.raises(ToolError, match="maximum is 20"):
        RowSelection.of(DEALS, [Filter("Name", "eq", "x")] * 21, "all", NOW)


@pytest.mark.parametrize(
    ("op", "value", "asked", "fits", "not_fits"),
    [
        ("eq", 'it\'s "it"', '(cname,like,"it\'s %it")', 'it\'s "it"', "it's it"),
        ("contains", "50%", '(cname,like,"50")', "now 50% OFF", "now 50 off"),
        ("contains", "a_b", '(cname,like,"a%b")', "xA_Bx", "axb"),
        ("contains", "são P", '(cname,like,"s%o P")', "em SÃO PAULO", "em sapo P"),
        ("contains", "são", '(cname,like,"s%o")', "Sa\u0303o", "salto"),
        ("contains", "África É", '(cname,like,"frica ")', "áfrica é", "frica"),
        ("contains", "Привет", "", "ПРИВЕТ", "привал"),
        ("not_contains", "É", "", "e", "é"),
        ("contains", "%", "", "50%", "50"),
        ("not_contains", "50%", "", "50", "50%"),
        ("neq", "'\"", "", "x", "'\""),
        ("in", ["'\"", "b"], "", "b", "c"),
        ("eq", "C:\\", '(cname,like,"C:")', "C:\\", "C:"),
        ("contains", "\\", "", "a\\b", "ab"),
    ],
)
def test_what_nocodb_cannot_be_asked_exactly_is_checked_here(
    op: Op, value: Value, asked: str, fits: str, not_fits: str
) -> None:
    selection = make_selection(("Name", op, value))
    assert not selection.is_exact
    assert selection.where.v3 == asked
    assert selection.matches(NocoRecord("1", {"Name": fits}))
    assert not selection.matches(NocoRecord("2", {"Name": not_fits}))


@pytest.mark.parametrize(
    ("op", "value", "text"),
    [
        ("eq", "007", '(cresult,eq,"007")'),
        ("in", ["007", "8"], '(cresult,in,"007","8")'),
        ("contains", "07", '(cresult,like,"07")'),
        ("gt", "07", '(cresult,gt,"7")'),
        ("eq", 7.0, '(cresult,eq,"7.0")'),
    ],
)
def test_a_formula_may_give_text_that_looks_like_a_number(op: Op, value: Value, text: str) -> None:
    assert where(("Result", op, value)) == text


def test_one_of_any_that_cannot_be_asked_asks_for_every_row() -> None:
    selection = make_selection(("Name", "in", ["'\""]), ("Paid", "eq", True), match="any")
    assert selection.where.v3 == ""
    assert [each.title for each in selection.checked_fields] == ["Name", "Paid"]
    assert selection.matches(NocoRecord("1", {"Name": "x", "Paid": True}))
    assert not selection.matches(NocoRecord("1", {"Name": "x", "Paid": False}))


def test_an_address_too_long_for_a_server_asks_for_every_row() -> None:
    selection = make_selection(("Name", "in", ["€" * 100 + str(n) for n in range(10)]))
    assert (selection.where.v3, selection.is_exact) == ("", False)
    assert selection.matches(NocoRecord("1", {"Name": "€" * 100 + "7"}))


def test_people_are_looked_for_by_name_and_address() -> None:
    ana = {"id": "us1", "email": "ana@example.com", "display_name": "Ana"}
    for value in ("Ana", "ana@example.com"):
        selection = make_selection(("Owner", "eq", value))
        assert selection.matches(NocoRecord("1", {"Owner": [ana]}))
        assert not selection.matches(NocoRecord("1", {"Owner": []}))


@pytest.mark.parametrize("count", [5, 25])
def test_a_link_cell_that_may_be_cut_is_not_guessed_from(count: int) -> None:
    rows = [{"id": n, "fields": {"Title": f"Order {n}"}} for n in range(count)]
    with pytest.raises(ToolError, match="more than I can look through"):
        make_selection(("Orders", "contains", "100%")).matches(NocoRecord("1", {"Orders": rows}))


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ([], ""),
        ([("Stage", "eq", "Lead")], "Stage is \"Lead\""),
        ([("Due", "eq", "this_month")], "Due is 2026-11"),
        ([("Due", "between", ["2026-01", "2026-03"])], "Due is between 2026-01 and 2026-03"),
        ([("Value", "gt", "10.50"), ("Paid", "eq", False)],
         "Value is more than 10.50 and Paid isn't checked"),
        ([("Name", "blank", None)], "Name is empty"),
        ([("Name", "contains", "a\n" * 60)], f"Name contains \"{'a ' * 29}a…\""),
        ([("Id", "in", ["1", "2", "3", "4", "5", "6"])], "Id is one of 1, 2, 3, 4, 5, …"),
    ],
)  # fmt: skip
def test_filters_are_described_in_words(filters: list[tuple[str, Op, Value]], told: str) -> None:
    assert describe_selection(make_selection(*filters)) == told


def test_alternatives_are_told_as_such() -> None:
    either = make_selection(("Paid", "eq", True), ("Name", "notblank", None), match="any")
    assert describe_selection(either) == "Paid is checked or Name isn't empty"


@given(
    value=st.text(
        alphabet=st.sampled_from(AWKWARD) | st.characters(codec="utf-8"), min_size=1, max_size=60
    ),
    others=st.lists(st.text(alphabet=AWKWARD, max_size=20), max_size=5),
    op=st.sampled_from(["eq", "neq", "contains", "not_contains", "in"]),
)
def test_no_value_breaks_out_of_its_quotation(value: str, others: list[str], op: Op) -> None:
    """Whatever it holds, the rows that fit are those that the words say."""
    cells = [*others, value, f"x{value}x", value.upper(), None]
    table = FakeTable("m1", "Deals", [FakeField("cname", "Name", "SingleLineText")])
    for id, cell in enumerate(cells):
        table.rows[id] = {"Name": cell}
    selection = make_selection(("Name", op, [value] if op == "in" else value))
    question = parse_filter(selection.where.v3, table) if selection.where.v3 else lambda id: True
    matches = [
        id
        for id in table.rows
        if question(id) and selection.matches(NocoRecord(str(id), table.rows[id]))
    ]
    assert matches == [id for id, cell in enumerate(cells) if _fits(op, cell, value)]


@given(values=st.lists(st.text(alphabet=AWKWARD, min_size=1, max_size=8), min_size=2, max_size=4))
def test_several_values_do_not_break_out_together(values: list[str]) -> None:
    table = FakeTable("m1", "Deals", [FakeField("cname", "Name", "SingleLineText")])
    table.rows = {id: {"Name": cell} for id, cell in enumerate([*values[1:], "another", None])}
    each: list[tuple[str, Op, Value]] = [("Name", "eq", value) for value in values[1:-1]]
    last: tuple[str, Op, Value] = ("Name", "in", [values[0], values[-1]])
    selection = make_selection(*each, last, match="any")
    question = parse_filter(selection.where.v3, table) if selection.where.v3 else lambda id: True
    matches = {
        id
        for id, row in table.rows.items()
        if question(id) and selection.matches(NocoRecord(str(id), row))
    }
    assert matches == {id for id, row in table.rows.items() if row["Name"] in values}


def _fits(op: Op, cell: str | None, value: str) -> bool:
    if op in ("eq", "in"):
        return cell == value
    if op == "neq":
        return cell != value
    within = cell is not None and value.casefold() in cell.casefold()
    return within == (op == "contains")


@given(value=st.text(alphabet=st.sampled_from(AWKWARD) | st.characters(codec="utf-8"), max_size=40))
def test_what_goes_without_quotes_has_nothing_to_quote(value: str) -> None:
    """NocoDB's aggregates read commas, parentheses and some words as their own."""
    value = unicodedata.normalize("NFC", value or "x")
    bare = make_selection(("Name", "neq", value)).where.v2
    if bare and unicodedata.is_normalized("NFD", value):
        inner = bare.removeprefix("(cname,neq,").removesuffix(")")
        assert inner in (value, "x", "(cname,notblank)")
        assert not set(inner) & set("\"',()~%\\\n")
        assert inner.lower() not in ("null", "empty")
        assert inner == inner.strip()


PARIS = ZoneInfo("Europe/Paris")
FRIDAY = datetime(2026, 11, 20, 14, 5, tzinfo=PARIS)


def days(text: str, now: datetime = FRIDAY) -> tuple[str, str]:
    span = TimeSpan.of(text, now)
    return span.first_day.isoformat(), span.day_after.isoformat()


@pytest.mark.parametrize(
    ("text", "first", "after"),
    [
        ("today", "2026-11-20", "2026-11-21"),
        ("yesterday", "2026-11-19", "2026-11-20"),
        ("tomorrow", "2026-11-21", "2026-11-22"),
        ("this_week", "2026-11-16", "2026-11-23"),
        ("last_week", "2026-11-09", "2026-11-16"),
        ("next_week", "2026-11-23", "2026-11-30"),
        ("this_month", "2026-11-01", "2026-12-01"),
        ("last_month", "2026-10-01", "2026-11-01"),
        ("next_month", "2026-12-01", "2027-01-01"),
        ("this_quarter", "2026-10-01", "2027-01-01"),
        ("last_quarter", "2026-07-01", "2026-10-01"),
        ("next_quarter", "2027-01-01", "2027-04-01"),
        ("this_year", "2026-01-01", "2027-01-01"),
        ("last_year", "2025-01-01", "2026-01-01"),
        ("next_year", "2027-01-01", "2028-01-01"),
        ("last_1_days", "2026-11-20", "2026-11-21"),
        ("last_7_days", "2026-11-14", "2026-11-21"),
        ("next_7_days", "2026-11-20", "2026-11-27"),
        ("last_3660_days", "2016-11-13", "2026-11-21"),
        ("2024", "2024-01-01", "2025-01-01"),
        ("2024-02", "2024-02-01", "2024-03-01"),
        ("2024-02-29", "2024-02-29", "2024-03-01"),
        (" 2026-11-20T09:30 ", "2026-11-20", "2026-11-21"),
    ],
)
def test_a_word_is_a_stretch_of_days(text: str, first: str, after: str) -> None:
    assert days(text) == (first, after)


def test_last_month_in_january_was_last_year() -> None:
    assert days("last_month", datetime(2026, 1, 31, tzinfo=PARIS)) == ("2025-12-01", "2026-01-01")
    assert days("last_quarter", datetime(2026, 2, 1, tzinfo=PARIS)) == ("2025-10-01", "2026-01-01")


def test_today_is_the_askers() -> None:
    late = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)
    assert days("today", late.astimezone(ZoneInfo("Asia/Tokyo"))) == ("2026-11-21", "2026-11-22")
    assert days("today", late.astimezone(ZoneInfo("America/Bahia"))) == ("2026-11-20", "2026-11-21")


def test_a_day_of_the_clocks_change_has_25_hours() -> None:
    span = TimeSpan.of("2026-10-25", FRIDAY)
    assert (span.end.astimezone(UTC) - span.start.astimezone(UTC)).total_seconds() == 25 * 3600


def test_a_moment_keeps_its_own_offset() -> None:
    span = TimeSpan.of("2026-11-20T09:30:00Z", FRIDAY)
    assert span.start == datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
    assert (span.end - span.start).total_seconds() == 1
    assert str(span) == "2026-11-20 10:30"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("this_month", "2026-11"),
        ("this_year", "2026"),
        ("today", "2026-11-20"),
        ("last_week", "2026-11-09 – 2026-11-15"),
        ("this_quarter", "2026-10-01 – 2026-12-31"),
        ("last_1_days", "2026-11-20"),
        ("2026-11-20T09:30", "2026-11-20 09:30"),
    ],
)
def test_a_span_is_described_by_its_dates(text: str, words: str) -> None:
    assert str(TimeSpan.of(text, FRIDAY)) == words


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "03/04/2026", "2026-13", "2026-02-30", "0000", "9999", "last_0_days"),
        *("last_3661_days", "0001", "2026-11-20T25:00", '2026-11-20" ~or (Id,gt,0', "٢٠٢٦-11-20"),
    ],
)
def test_what_is_no_date_is_told(text: str) -> None:
    with pytest.raises(ToolError) as error:
        TimeSpan.of(text, FRIDAY)
    assert error.value.code == "bad_date"
    assert "this_month" in error.value.hint
