"""Figures over tables: exact, with their total, over the fake, a real NocoDB and the sample
base alike."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from core.base.http import HttpClient
from core.tools.nocodb.api import NocoApi
from core.tools.nocodb.schema import Schemas
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.nocodb.places import Place, catch_error, without_nocodb
from tests.nocodb.reader import Reader
from tests.nocodb.tables import NOW
from tests.real.nocodb.seed import customer, order

CUSTOMERS = [customer(number) for number in range(1, 31)]
ORDERS = [order(number) for number in range(1, 61)]


@pytest.fixture
def reader(table_place: Place) -> Reader:
    return Reader(table_place.tables, table_place.schemas())


async def test_rows_are_counted_by_a_filter(reader: Reader) -> None:
    summary = await reader.summary("Customers", where=(("Status", "eq", "Lead"),))
    assert summary["total"] == 10
    assert 'Customers, Status is "Lead": 10 of 10 rows' in reader.last.sources[0]


async def test_sums_of_money_are_exact(reader: Reader) -> None:
    summary = await reader.summary(
        "Orders",
        ("Amount", "sum"),
        ("Amount", "avg"),
        ("Amount", "median"),
        ("Due", "min"),
        ("Due", "max"),
        where=(("Paid", "eq", True),),
    )
    payments = [Decimal(str(row["Amount"])) for row in ORDERS if row["Paid"]]
    assert summary["total"] == len(payments)
    assert summary["all"] == {
        "sum of Amount": int(sum(payments)),
        "avg of Amount": "46.50",
        "median of Amount": "46.5",
        "min of Due": "2026-01-15",
        "max of Due": "2026-11-15",
    }


async def test_figures_that_nocodb_works_out_itself(reader: Reader) -> None:
    summary = await reader.summary(
        "Readings",
        ("Value", "sum"),
        ("Value", "avg"),
        ("Value", "min"),
        ("Value", "max"),
        ("Value", "filled"),
        where=(("Value", "gt", 200),),
    )
    values = range(201, 1_201)
    assert (summary["total"], summary["all"]) == (
        1_000,
        {
            "sum of Value": sum(values),
            "avg of Value": "700.50",
            "min of Value": 201,
            "max of Value": 1_200,
            "filled of Value": 1_000,
        },
    )


async def test_the_minimum_of_no_rows_is_empty(reader: Reader) -> None:
    """NocoDB says that the least of no numbers is 0."""
    summary = await reader.summary(
        "Readings", ("Value", "min"), ("Value", "sum"), where=(("Label", "eq", "none"),)
    )
    assert (summary["total"], summary["all"]) == (0, {"min of Value": None, "sum of Value": 0})


async def test_sales_by_status(reader: Reader) -> None:
    summary = await reader.summary("Customers", ("Value", "sum"), group_by="Status")
    sums = {
        status: sum(Decimal(str(row["Value"])) for row in CUSTOMERS if row["Status"] == status)
        for status in ("Lead", "Active", "Lost")
    }
    assert summary["all"] == {"sum of Value": _display_total(sum(sums.values()))}
    assert {row["Status"]: (row["rows"], row["sum of Value"]) for row in summary["rows"]} == {
        status: (10, _display_total(total)) for status, total in sums.items()
    }


async def test_by_month_in_the_order_of_time(reader: Reader) -> None:
    summary = await reader.summary("Orders", group_by="Due", bucket="month")
    counts = Counter(row["Due"][:7] for row in ORDERS)
    assert [(row["Due"], row["rows"]) for row in summary["rows"]] == sorted(counts.items())


async def test_days_are_those_of_the_asker(table_place: Place) -> None:
    """12:30 in London is half past ten in the evening in Sydney, and the next day on the line."""
    far = Reader(
        table_place.tables, table_place.schemas(), NOW.astimezone(ZoneInfo("Pacific/Kiritimati"))
    )
    summary = await far.summary("Customers", group_by="Seen", where=(("Seen", "lt", "2026-11-03"),))
    assert [(row["Seen"], row["rows"]) for row in summary["rows"]] == [("2026-11-02", 1)]
    assert summary["zone"] == "Pacific/Kiritimati"


async def test_a_row_with_two_tags_counts_in_both(reader: Reader) -> None:
    summary = await reader.summary("Customers", group_by="Tags")
    assert {row["Tags"]: row["rows"] for row in summary["rows"]} == {
        "(empty)": 24,
        "vip": 6,
        "new": 6,
    }
    assert summary["total"] == 30


async def test_a_filter_that_must_be_quoted_is_added_up_here(reader: Reader) -> None:
    """NocoDB's aggregates would read a comma as their own."""
    summary = await reader.summary(
        "Readings", ("Value", "sum"), where=(("Label", "in", ["r0001", "r0002", "a,b(c)"]),)
    )
    assert (summary["total"], summary["all"]) == (2, {"sum of Value": 3})


@without_nocodb
async def test_more_rows_than_are_read(table_place: Place) -> None:
    reader = Reader(table_place.tables, table_place.schemas(), most=1_000)
    summary = await reader.summary("Readings", ("Value", "median"))
    assert summary["total"] == 1_200
    assert summary["all"] == {"median of Value": "500.5"}
    assert "only the first 1000 rows" in summary["read"]
    assert "1,000 of 1,200 rows" in reader.last.sources[0]


async def test_too_many_to_read_are_added_up_by_nocodb(place: Place) -> None:
    reader = Reader(place.api(), place.schemas(), most=50)
    summary = await reader.summary("Orders", ("Amount", "sum"), ("Amount", "avg"))
    assert (summary["total"], summary["all"]) == (
        60,
        {"sum of Amount": 2745, "avg of Amount": "45.7500"},
    )
    assert "rounded" in summary


@without_nocodb
@pytest.mark.parametrize(
    ("args", "code"),
    [
        ({"aggregates": [{"field": "Title", "fn": "sum"}]}, "bad_aggregate"),
        ({"aggregates": [{"field": "Paid", "fn": "max"}]}, "bad_aggregate"),
        ({"aggregates": [{"field": "Amont", "fn": "sum"}]}, "unknown_field"),
        ({"aggregates": [{"field": "Amount", "fn": "sum"}] * 13}, "bad_aggregate"),
        ({"group_by": "Title", "bucket": "week"}, "bad_group"),
        ({"group_by": "Titel"}, "unknown_field"),
        ({"aggregates": [{"field": "Amount", "fn": "stddev"}]}, "bad_arguments"),
    ],
)
async def test_what_cannot_be_worked_out_is_told(
    reader: Reader, args: dict[str, object], code: str
) -> None:
    assert (await catch_error(reader.call("nocodb_summarize", table="Orders", **args))).code == code


def _display_total(total: Decimal | int) -> int | str:
    return int(total) if total == int(total) else str(total)


async def test_no_row_is_read_where_nocodb_can_tell(fake: FakeNocoDB, http: HttpClient) -> None:
    api = NocoApi(fake.origin, filled.OWNER, http, pauses=())
    reader = Reader(api, Schemas(api, filled.CRM))
    summary = await reader.summary(
        "Orders", ("Due", "min"), ("Due", "max"), ("Due", "filled"), where=(("Paid", "eq", True),)
    )
    due = [row["Due"] for row in ORDERS if row["Paid"] and row["Due"]]
    assert summary["all"] == {
        "min of Due": min(due),
        "max of Due": max(due),
        "filled of Due": len(due),
    }
    await reader.summary("Readings", ("Value", "sum"))
    assert [call.path for call in fake.calls if call.path.endswith("/records")] == []
    assert [call.path for call in fake.calls if call.path.endswith("/aggregate")]


async def test_without_a_route_for_sums_they_are_computed_over_pages(http: HttpClient) -> None:
    async with FakeNocoDB(lacks=("/aggregate",)) as nocodb:
        api = NocoApi(nocodb.origin, filled.OWNER, http, pauses=())
        summary = await Reader(api, Schemas(api, filled.CRM)).summary("Readings", ("Value", "sum"))
    assert (summary["total"], summary["all"]) == (1_200, {"sum of Value": sum(range(1, 1_201))})
