"""Filters become a `where` of ids and quoted values, or are refused with a hint."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.base.errors import ToolError
from core.tools.nocodb.api import NocoRecord
from core.tools.nocodb.filters import Filter, Op, RowSelection, Value, describe_selection
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
        ("Name", "in", ["Ana", "Zoë (x)"], '(cname,in,"Ana","Zoë (x)")'),
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
    said = [f'(cdue,{op},exactDate,"{day}")' for op, day in (each.split() for each in days)]
    assert where(("Due", op, value)) == (f"({'~and'.join(said)})" if len(said) > 1 else said[0])


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
    with pytest.raises(ToolError) as caught:
        make_selection((field, op, value))
    assert caught.value.code == code
    assert caught.value.hint.startswith(hint) or hint in caught.value.hint


def test_too_many_filters_are_refused() -> None:
    with pytest.raises(ToolError, match="at most 20"):
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
    selection = make_selection(("Name", "in", ["€" * 100] * 10))
    assert (selection.where.v3, selection.is_exact) == ("", False)
    assert selection.matches(NocoRecord("1", {"Name": "€" * 100}))


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
        ([("Due", "eq", "this_month")], "Due is in 2026-11"),
        ([("Due", "between", ["2026-01", "2026-03"])], "Due is between 2026-01 and 2026-03"),
        ([("Value", "gt", "10.50"), ("Paid", "eq", False)],
         "Value is more than 10.50 and Paid is not checked"),
        ([("Name", "blank", None)], "Name is empty"),
        ([("Name", "contains", "a\n" * 60)], f"Name contains \"{'a ' * 29}a…\""),
        ([("Id", "in", ["1", "2", "3", "4", "5", "6"])], "Id is one of 1, 2, 3, 4, 5, …"),
    ],
)  # fmt: skip
def test_filters_are_described_in_words(filters: list[tuple[str, Op, Value]], told: str) -> None:
    assert describe_selection(make_selection(*filters)) == told


def test_alternatives_are_told_as_such() -> None:
    either = make_selection(("Paid", "eq", True), ("Name", "notblank", None), match="any")
    assert describe_selection(either) == "Paid is checked or Name is not empty"


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
    asked = parse_filter(selection.where.v3, table) if selection.where.v3 else lambda id: True
    found = [id for id in table.rows
             if asked(id) and selection.matches(NocoRecord(str(id), table.rows[id]))]  # fmt: skip
    assert found == [id for id, cell in enumerate(cells) if _fits(op, cell, value)]


@given(values=st.lists(st.text(alphabet=AWKWARD, min_size=1, max_size=8), min_size=2, max_size=4))
def test_several_values_do_not_break_out_together(values: list[str]) -> None:
    table = FakeTable("m1", "Deals", [FakeField("cname", "Name", "SingleLineText")])
    table.rows = {id: {"Name": cell} for id, cell in enumerate([*values[1:], "another", None])}
    each: list[tuple[str, Op, Value]] = [("Name", "eq", value) for value in values[1:-1]]
    last: tuple[str, Op, Value] = ("Name", "in", [values[0], values[-1]])
    selection = make_selection(*each, last, match="any")
    asked = parse_filter(selection.where.v3, table) if selection.where.v3 else lambda id: True
    found = {id for id, row in table.rows.items()
             if asked(id) and selection.matches(NocoRecord(str(id), row))}  # fmt: skip
    assert found == {id for id, row in table.rows.items() if row["Name"] in values}


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
    bare = make_selection(("Name", "neq", value or "x")).where.v2
    if bare:
        inner = bare.removeprefix("(cname,neq,").removesuffix(")")
        assert inner in (value, "x", "(cname,notblank)")
        assert not set(inner) & set("\"',()~%\\\n")
        assert inner.lower() not in ("null", "empty")
        assert inner == inner.strip()
