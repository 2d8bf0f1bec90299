"""Each comparison at its edges: what a cell must hold, and what NocoDB is asked."""

from __future__ import annotations

from decimal import Decimal
from typing import cast

import pytest

from core.base.errors import ToolError
from core.tools.nocodb.api import NocoApi, NocoRecord
from core.tools.nocodb.fieldtypes import Field
from core.tools.nocodb.filters import FilterCondition, Op, Value, build_condition
from core.tools.nocodb.summarize import (
    Fn,
    can_aggregate,
    compute_number,
    divide_exactly,
    fetch_figures,
)
from tests.nocodb.tables import DEALS, NOW, PARIS, make_selection


def make_condition(field: str, op: Op, value: Value) -> FilterCondition:
    return build_condition(DEALS.field(field), op, value, NOW)


@pytest.mark.parametrize(
    ("op", "value", "fits"),
    [
        ("eq", 5, "5"), ("neq", 5, "4 6 None"), ("gt", 5, "6"), ("gte", 5, "5 6"),
        ("lt", 5, "4"), ("lte", 5, "4 5"), ("between", [5, 6], "5 6"), ("between", [4, 5], "4 5"),
        ("in", [4, 6], "4 6"), ("blank", None, "None"), ("notblank", None, "4 5 6"),
    ],
)  # fmt: skip
def test_number_comparisons_at_their_edges(op: Op, value: Value, fits: str) -> None:
    holds = make_condition("Value", op, value).matches
    assert " ".join(str(cell) for cell in (4, 5, 6, None) if holds(cell)) == fits


@pytest.mark.parametrize(
    ("op", "value", "fits"),
    [
        ("eq", "2026-11", "11-01 11-30"), ("neq", "2026-11", "10-31 12-01 None"),
        ("gt", "2026-11", "12-01"), ("gte", "2026-11", "11-01 11-30 12-01"),
        ("lt", "2026-11", "10-31"), ("lte", "2026-11", "10-31 11-01 11-30"),
        ("between", ["2026-10-31", "2026-11-01"], "10-31 11-01"),
        ("blank", None, "None"), ("notblank", None, "10-31 11-01 11-30 12-01"),
    ],
)  # fmt: skip
def test_days_and_moments(op: Op, value: Value, fits: str) -> None:
    days = ("2026-10-31", "2026-11-01", "2026-11-30", "2026-12-01")
    holds = make_condition("Due", op, value).matches
    assert " ".join(str(day)[-5:] for day in (*days, None) if holds(day)) == fits
    holds = make_condition(
        "Seen", op, value
    ).matches  # a minute before midnight in Paris, told in UTC
    moments = {
        f"{day} 22:59:00+00:00" if day > "2026-11" else f"{day} 21:59:00+00:00": day for day in days
    }
    texts = [day[-5:] for moment, day in moments.items() if holds(moment)]
    assert " ".join([*texts, *(["None"] if holds(None) else [])]) == fits


@pytest.mark.parametrize(
    ("field", "op", "value", "cell", "fits"),
    [
        ("Paid", "eq", True, True, True), ("Paid", "eq", True, None, False),
        ("Paid", "neq", True, False, True), ("Paid", "neq", "no", True, True),
        ("Paid", "blank", None, 0, True), ("Paid", "notblank", None, 1, True),
        ("Paid", "notblank", None, False, False),
        ("Tags", "contains", "vip", ["vip", "late payer"], True),
        ("Tags", "contains", "vip", ["late payer"], False),
        ("Tags", "not_contains", "vip", ["late payer"], True),
        ("Tags", "neq", "vip", ["vip"], False),
        ("Stage", "in", ["Lead", "Won"], "Won", True), ("Stage", "in", ["Lead"], "Won", False),
        ("Owner", "contains", "an", [{"email": "ana@example.com"}], True),
        ("Owner", "neq", "Bob", [{"display_name": "Ana"}], True),
        ("Owner", "neq", "Ana", [{"display_name": "Ana"}], False),
        ("Mates", "blank", None, 0, True), ("Mates", "notblank", None, 0, False),
        ("Mates", "notblank", None, 2, True), ("Mates", "gte", 2, 2, True),
        ("Value", "blank", None, 0, False), ("Value", "blank", None, "", True),
        ("Name", "notblank", None, "", False), ("Name", "blank", None, [], True),
        ("Result", "gt", "7", "8", True), ("Result", "eq", "007", "7", False),
        ("Result", "eq", 7, "7.0", True), ("Id", "eq", "7", "7", True),
        ("Id", "gt", 7, "7", False),
        ("Seen", "eq", "2026-11", "2026-10-31 23:00:00+00:00", True),
        ("Seen", "eq", "2026-11", "2026-10-31 22:59:59+00:00", False),
        ("Seen", "lt", "2026-11", "2026-10-31 23:00:00+00:00", False),
        ("Seen", "gt", "2026-10", "2026-10-31 23:00:00+00:00", True),
    ],
)  # fmt: skip
def test_a_cell_is_compared_as_its_type_is(
    field: str, op: Op, value: Value, cell: object, fits: bool
) -> None:
    assert make_condition(field, op, value).matches(cell) == fits


def test_all_and_any() -> None:
    filters: tuple[tuple[str, Op, Value], ...] = (("Name", "eq", "'\""), ("Value", "gt", 5))
    rows = [
        NocoRecord("1", {"Name": "'\"", "Value": 6}),
        NocoRecord("2", {"Name": "'\"", "Value": 5}),
        NocoRecord("3", {"Name": "x", "Value": 6}),
        NocoRecord("4", {"Name": "x", "Value": 5}),
    ]
    every, either = make_selection(*filters), make_selection(*filters, match="any")
    assert [row.id for row in rows if every.matches(row)] == ["1"]
    assert [row.id for row in rows if either.matches(row)] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("op", "value"),
    [("between", [1]), ("between", [1, 2, 3]), ("in", []), ("in", list(range(101))),
     ("eq", [1, 2]), ("gt", None), ("eq", "x" * 2001)],
)  # fmt: skip
def test_too_few_and_too_many_values(op: Op, value: Value) -> None:
    with pytest.raises(ToolError):
        make_condition("Value", op, value)


def test_values_are_limited_by_length() -> None:
    assert make_condition("Value", "in", list(range(100))).matches(99)
    assert make_condition("Name", "eq", "x" * 2000).matches("x" * 2000)
    assert make_condition("Value", "eq", f"1{'0' * 30}").matches(f"1{'0' * 30}")
    with pytest.raises(ToolError):
        make_condition("Value", "eq", f"1{'0' * 31}")


@pytest.mark.parametrize(
    ("fn", "numbers", "found"),
    [
        ("sum", ["1.5", "-2"], "-0.5"), ("sum", [], "0"), ("min", ["2", "-1"], "-1"),
        ("max", ["2", "-1"], "2"), ("median", ["1", "2", "4", "9"], "3"), ("median", ["5"], "5"),
        ("avg", ["1", "2"], "1.50"), ("avg", ["1.25", "1"], "1.1250"),
        ("avg", ["10", "20"], "15.00"),
        ("avg", ["1E+2", "2E+2"], "150.00"), ("avg", ["-1", "-2"], "-1.50"), ("avg", [], "None"),
        ("min", [], "None"), ("max", [], "None"), ("median", [], "None"),
    ],
)  # fmt: skip
def test_figures_of_numbers(fn: Fn, numbers: list[str], found: str) -> None:
    assert str(compute_number(fn, [Decimal(each) for each in numbers])) == found


def test_an_average_has_two_places_more_than_its_numbers() -> None:
    assert [str(divide_exactly(Decimal(10), 3, places)) for places in (0, 2)] == ["3.33", "3.3333"]


class Telling:
    """A NocoDB whose aggregates tell this."""

    def __init__(self, told: dict[str, object]) -> None:
        self.told = told

    async def fetch_aggregates(self, *asked: object) -> dict[str, object]:
        return self.told


@pytest.mark.parametrize(
    ("type", "fn", "told", "found"),
    [
        ("Number", "sum", [9007199254740991, 2], "9007199254740991"),
        ("Number", "avg", [10, 3], "3.33"),
        ("Number", "sum", [0, 0], "0"),
        ("Number", "min", [0, 0], "None"),
        ("Number", "max", [7, 1], "7"),
        ("Number", "max", ["?", 1], "None"),
        ("Decimal", "sum", [0.30000000000000004, 2], "0.3"),
        ("Decimal", "sum", [0, 2], "0"),
        ("Decimal", "avg", [10.0, 3], "3.3333"),
        ("Date", "min", ["2026-11-01", 2], "2026-11-01"),
        ("Date", "max", [None, 0], "None"),
    ],
)
async def test_figures_that_nocodb_tells(type: str, fn: Fn, told: list[object], found: str) -> None:
    field = Field("cx", "X", type)
    api = cast(NocoApi, Telling({"X": told[0], "cx:1": told[1]}))
    figures = await fetch_figures(api, make_selection(), [(field, fn)], PARIS, 30)
    assert figures is not None
    assert str(figures[0]) == found
    assert (
        await fetch_figures(
            cast(NocoApi, Telling({"X": 1})), make_selection(), [(field, fn)], PARIS, 30
        )
        is None
    )


@pytest.mark.parametrize(
    ("type", "exact", "rounded"),
    [
        ("Number", "filled sum avg min max", "filled sum avg min max"),
        ("Currency", "filled min max", "filled sum avg min max"),
        ("Date", "filled min max", "filled min max"),
        ("SingleLineText", "", ""),
        ("Rollup", "", ""),
    ],
)
def test_what_nocodb_can_tell(type: str, exact: str, rounded: str) -> None:
    fns: tuple[Fn, ...] = ("filled", "sum", "avg", "min", "max", "median", "unique")
    for text, target in ((exact, True), (rounded, False)):
        field = Field("cx", "X", type)
        matches = [fn for fn in fns if can_aggregate(make_selection(), [(field, fn)], exact=target)]
        assert " ".join(matches) == text
    assert not can_aggregate(make_selection(), [(Field("X", "X", "Number"), "sum")], exact=False)
    assert not can_aggregate(make_selection(("Name", "eq", "a,b")), [], exact=False), (
        "v2 knows no quotes"
    )
    assert not can_aggregate(make_selection(("Name", "contains", "%")), [], exact=False), (
        "checked here"
    )
