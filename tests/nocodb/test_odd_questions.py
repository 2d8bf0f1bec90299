"""Questions as a careless or hostile model asks them, over cells that are odd: each figure is
right, or it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from core.tools.nocodb.api import NocoApi
from core.tools.nocodb.api_errors import NocoError
from core.tools.nocodb.fieldtypes import Field
from core.tools.nocodb.schema import Schemas
from core.tools.nocodb.summarize import compute_figure
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.tables import FakeBase, FakeField, FakeTable, add_links, fresh
from tests.nocodb.places import Place, catch_error
from tests.nocodb.reader import Reader
from tests.nocodb.tables import PARIS


@pytest.fixture
def reader(api: NocoApi) -> Reader:
    return Reader(api, Schemas(api, filled.CRM))


def rename(table: FakeTable, title: str, new: str) -> FakeField:
    field = table.field(title)
    field.title = new
    for row in table.rows.values():
        row[new] = row.get(title)
    return field


def groups(told: dict[str, Any]) -> dict[str, int]:
    first = next(iter(told["rows"][0]))
    return {row[first]: row["rows"] for row in told["rows"]}


async def test_ids_are_counted_and_are_groups(table_place: Place) -> None:
    """NocoDB returns a row's id beside its fields."""
    reader = Reader(table_place.tables, table_place.schemas())
    summary = await reader.summary("Customers", ("Id", "unique"), ("Id", "filled"), ("Id", "empty"))
    assert summary["all"] == {"unique of Id": 30, "filled of Id": 30, "empty of Id": 0}
    summary = await reader.summary("Orders", ("Customers.Id", "unique"), group_by="Customers.Id")
    assert summary["all"] == {"unique of Customers.Id": 1}
    assert groups(summary) == {"(empty)": 58, "1": 2}


@pytest.mark.parametrize(
    "name", ["Customers . Status", " customers.STATUS ", "Cústomers.Statu…", "{id}.Status"]
)
async def test_linked_fields_are_found_by_the_names_that_own_fields_have(
    base: FakeBase, reader: Reader, name: str
) -> None:
    up = base.table("Orders").field("Customers")
    name = name.format(id=up.id)
    assert groups(await reader.summary("Orders", group_by=name)) == {"(empty)": 58, "Active": 2}
    assert await reader.ids("Orders", (name, "eq", "active")) == [1, 2]


@pytest.mark.parametrize(
    ("link", "title"),
    [
        ("A.b", "c.d"),
        ("Kund:in (alt)", "rows"),
        ('x"y,z', "'q'"),
        ("🙂", "Ünï)çode"),
        ("עברית", "c.d"),
        ("~and", "rows"),
        ("A", "c.d"),
        ("A", "Ünï)çode"),
    ],
)
async def test_names_of_any_characters(
    base: FakeBase, reader: Reader, link: str, title: str
) -> None:
    """The name of one link may begin that of another."""
    orders, customers = base.table("Orders"), base.table("Customers")
    add_links(base, "Orders", "A", "Readings", "mm")
    rename(customers, "Status", title)
    if link != "A":
        rename(orders, "Customers", link)
    else:
        rename(orders, "A", "Other")
        rename(orders, "Customers", link)
    summary = await reader.summary(
        "Orders", (f"{link}.{title}", "unique"), group_by=f"{link}.{title}"
    )
    assert groups(summary) == {"(empty)": 58, "Active": 2}
    assert await reader.ids("Orders", (f"{link}.{title}", "eq", "Active")) == [1, 2]


async def test_a_group_by_a_field_called_rows(base: FakeBase, reader: Reader) -> None:
    rename(base.table("Customers"), "Status", "rows")
    summary = await reader.summary("Customers", group_by="rows")
    assert [(row["rows (field)"], row["rows"]) for row in summary["rows"]] == [
        ("Active", 10),
        ("Lead", 10),
        ("Lost", 10),
    ]
    data = reader.last.data
    assert data is None or len(data.columns) == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["." * 200_000, "x." * 100_000, "Customers" + ".a" * 100_000])
async def test_a_name_of_very_many_dots_is_refused_at_once(reader: Reader, name: str) -> None:
    async with asyncio.timeout(20):  # one that tries each part takes an hour
        with pytest.raises(NocoError) as error:
            await reader.summary("Orders", group_by=name)
    assert error.value.code == "unknown_field"


async def test_long_texts_with_one_beginning_are_groups_of_their_own(
    base: FakeBase, reader: Reader
) -> None:
    rows = base.table("Customers").rows
    for id, name in ((3, "A" * 90), (4, "A" * 90 + "b"), (5, "(empty)"), (6, None), (7, "A" * 90)):
        rows[id]["Name"] = name
    text = groups(await reader.summary("Customers", group_by="Name"))
    label = "A" * 79 + "…"
    assert {name: text[name] for name in text if not name.startswith("Customer")} == {
        label: 2,
        f"{label} (2)": 1,
        "(empty)": 1,
        "(empty) (2)": 1,
    }


async def test_linked_rows_that_are_counted_in_several_groups_are_told(reader: Reader) -> None:
    """Customer 1 has a paid order and one that is not."""
    summary = await reader.summary("Orders", ("Customers.Value", "sum"), group_by="Paid")
    assert summary["all"] == {"sum of Customers.Value": "10.5"}
    assert [row["sum of Customers.Value"] for row in summary["rows"]] == ["10.5", "10.5"]
    assert "add up to more than all" in summary["overlap"]


async def test_a_group_of_linked_rows_has_the_figures_of_these_alone(reader: Reader) -> None:
    """Customer 1 has Order 1, of 1.50 and not paid, and Order 2, of 3 and paid."""
    summary = await reader.summary(
        "Customers", ("Orders.Amount", "sum"), ("Orders", "count"), group_by="Orders.Paid"
    )
    assert [list(row.values()) for row in summary["rows"]] == [
        ["(empty)", 29, 0, 0],
        ["checked", 1, 3, 1],
        ["not checked", 1, "1.5", 1],
    ]
    assert summary["all"] == {"sum of Orders.Amount": "4.5", "count of Orders": 2}
    assert "several groups" in summary["overlap"]


async def test_links_of_linked_rows_are_not_counted_as_rows(reader: Reader) -> None:
    error = await catch_error(reader.summary("Orders", ("Customers.Orders", "count")))
    assert (error.code, error.hint) == ("bad_aggregate", "ask the table Customers")


async def test_different_linked_rows_of_one_title_are_different_values(
    base: FakeBase, reader: Reader
) -> None:
    customers = base.table("Customers")
    up = base.table("Orders").field("Customers")
    base.table("Orders").relations[up.id].pairs += [(2, 3), (2, 4), (3, 5)]
    for id in (1, 2):
        customers.rows[id]["Name"] = "Ana"
    summary = await reader.summary("Orders", ("Customers", "unique"))
    assert summary["all"] == {"unique of Customers": 3}


@pytest.mark.parametrize(
    ("type", "cells", "expected"),
    [
        ("Decimal", ["1.50", 1.5, 2], 2),
        ("Currency", [1, 1.0, "1.00"], 1),
        ("MultiSelect", [["a", "b"], ["b", "a"], ["a"]], 2),
        ("User", [[{"id": "u1", "email": "a@x.org", "display_name": "Ana"}],
                  [{"id": "u2", "email": "b@x.org", "display_name": "Ana"}]], 2),
        ("Attachment", [[{"id": "a1", "title": "x.pdf"}], [{"id": "a2", "title": "x.pdf"}]], 1),
    ],
)  # fmt: skip
def test_different_values(type: str, cells: list[object], expected: int) -> None:
    figure = compute_figure(Field("c1", "X", type), "unique", cells, PARIS)
    assert figure == expected


async def test_figures_of_huge_and_tiny_numbers(base: FakeBase, reader: Reader) -> None:
    rows = base.table("Customers").rows
    for row in rows.values():
        row["Value"] = None
    rows[1]["Value"], rows[2]["Value"], rows[3]["Value"] = 1e300, 1e-300, -1e300
    summary = await reader.summary(
        "Customers", ("Value", "sum"), ("Value", "avg"), ("Value", "max"), ("Value", "median")
    )
    assert Decimal(summary["all"]["sum of Value"]) == Decimal("1e-300")
    assert Decimal(summary["all"]["median of Value"]) == Decimal("1e-300")
    assert Decimal(summary["all"]["max of Value"]) == Decimal("1e300")
    assert abs(Decimal(summary["all"]["avg of Value"]) * 3 - Decimal("1e-300")) < Decimal("1e-301")
    summary = await reader.summary("Orders", ("Customers.Value", "avg"))
    assert Decimal(summary["all"]["avg of Customers.Value"]) == Decimal("1e300")


async def test_counts_are_of_all_rows_however_many(api: NocoApi) -> None:
    reader = Reader(api, Schemas(api, filled.CRM), most=50)
    summary = await reader.summary(
        "Orders",
        ("Id", "count"),
        ("Amount", "filled"),
        ("Amount", "empty"),
        ("Due", "max"),
        where=(("Amount", "gt", 3),),
    )
    assert summary["all"] == {
        "count of Id": 58,
        "filled of Amount": 58,
        "empty of Amount": 0,
        "max of Due": "2026-12-15",
    }
    assert "read" not in summary
    assert ": 58 of 58 rows" in reader.last.sources[0]


async def test_durations_are_summed_exactly(base: FakeBase, reader: Reader) -> None:
    """NocoDB adds them up as floats: 0.1 + 0.2 are 0.30000000000000004 there."""
    customers = base.table("Customers")
    customers.fields.append(FakeField(fresh("c"), "Time", "Duration"))
    for id, seconds in ((1, 0.1), (2, 0.2)):
        customers.rows[id]["Time"] = seconds
    summary = await reader.summary("Customers", ("Time", "sum"), ("Time", "avg"))
    assert summary["all"] == {"sum of Time": "0.3", "avg of Time": "0.150"}


async def test_a_sum_that_json_would_round_is_computed_here(base: FakeBase, reader: Reader) -> None:
    rows = base.table("Readings").rows
    for id, row in rows.items():
        row["Value"] = 2**53 - 1 if id <= 3 else None
    summary = await reader.summary("Readings", ("Value", "sum"))
    assert summary["all"] == {"sum of Value": str(3 * (2**53 - 1))}


async def test_a_rating_of_no_stars_is_none(base: FakeBase, reader: Reader) -> None:
    """NocoDB's own figures leave 0 out, but a cell that nobody rated is 0, not null."""
    customers = base.table("Customers")
    customers.fields.append(FakeField(fresh("c"), "Stars", "Rating"))
    for id, row in customers.rows.items():
        row["Stars"] = {1: 3, 2: 5}.get(id, 0)
    figures: tuple[tuple[str, str], ...] = (
        ("Stars", "avg"),
        ("Stars", "filled"),
        ("Stars", "min"),
        ("Stars", "empty"),
    )
    expected = {"avg of Stars": 4, "filled of Stars": 2, "min of Stars": 3, "empty of Stars": 28}
    assert (await reader.summary("Customers", *figures))["all"] == expected
    summary = await reader.summary("Customers", *figures, ("Stars", "median"), group_by="Stars")
    assert summary["all"] == {**expected, "median of Stars": 4}
    assert groups(summary) == {"(empty)": 28, "3": 1, "5": 1}
    assert await reader.ids("Customers", ("Stars", "notblank", None)) == [1, 2]
    assert len(await reader.ids("Customers", ("Stars", "blank", None))) == 28
    summary = await reader.summary("Orders", ("Customers.Stars", "avg"))
    assert summary["all"] == {"avg of Customers.Stars": 3}


@pytest.mark.parametrize("form", ["count", "list", "object", "v2", "title", "nothing"])
async def test_links_in_any_form_lead_to_their_rows(
    base: FakeBase, reader: Reader, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """No row is said to have no linked row because its cell has an unknown form."""
    forms: dict[str, Callable[[Any], Any]] = {
        "count": lambda cell: 1 if cell else 0,
        "list": lambda cell: [cell] if cell else [],
        "object": lambda cell: {"id": cell["id"]} if cell else {},
        "v2": lambda cell: {"Id": cell["id"], "Name": "Customer 01"} if cell else None,
        "title": lambda cell: "Customer 01" if cell else "",
        "nothing": lambda cell: cell,
    }
    read_cell = FakeTable.cell

    def odd_cell(table: FakeTable, column: FakeField, id: int) -> Any:
        cell = read_cell(table, column, id)
        return forms[form](cell) if column.title == "Customers" else cell

    monkeypatch.setattr(FakeTable, "cell", odd_cell)
    summary = await reader.summary(
        "Orders", ("Customers.Value", "sum"), group_by="Customers.Status"
    )
    assert groups(summary) == {"(empty)": 58, "Active": 2}
    assert summary["all"] == {"sum of Customers.Value": "10.5"}
    assert await reader.ids("Orders", ("Customers.Status", "eq", "Active")) == [1, 2]
    summary = await reader.query("Orders", ("Customers.Status", "neq", "Active"), limit=1)
    assert summary["total"] == 58
    summary = await reader.query("Customers", ("Orders.Amount", "notblank", None), fields=["Name"])
    assert [row["id"] for row in summary["rows"]] == ["1"]
    summary = await reader.query("Customers", ("Orders.Amount", "blank", None), limit=1)
    assert summary["total"] == 29


async def test_the_source_says_among_how_many_rows_ponte_looked(
    base: FakeBase, api: NocoApi
) -> None:
    reader = Reader(api, Schemas(api, filled.CRM), most=50)
    for id, row in base.table("Orders").rows.items():
        row["Title"] = "100 %" if id % 20 == 0 else "all"
    result = await reader.query("Orders", ("Title", "contains", "%"))
    assert result["total_at_least"] == 2
    assert ": 2 of 2 rows among the first 50, " in reader.last.sources[0]
    result = await reader.summary("Orders", ("Amount", "sum"), where=(("Title", "contains", "%"),))
    assert result["all"] == {"sum of Amount": 90}
    assert ": 2 of 2 rows among the first 50, " in reader.last.sources[0]
    result = await reader.query("Orders", ("Title", "contains", "_"))
    assert ": 0 of 0 rows among the first 50, " in reader.last.sources[0]
