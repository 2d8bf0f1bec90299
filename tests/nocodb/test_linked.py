"""Figures, groups and filters over fields of linked rows: nothing invented, nothing counted twice
without a word, and nothing of a table that the asker may not read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from core.base.errors import ToolError
from core.changes.approval import TableRule, TableRules
from core.domain.rights import Viewer
from core.tools.nocodb.api import NocoApi, NocoRecord, TableApi
from core.tools.nocodb.cells import format_display_row
from core.tools.nocodb.fieldtypes import Field
from core.tools.nocodb.schema import Schemas
from tests.fakes.config import FixedConfig
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.nocodb.tables import FakeBase, FakeField, add_links, fresh
from tests.nocodb.places import Place, catch_error, only_fake, without_nocodb
from tests.nocodb.reader import Reader
from tests.real.nocodb.seed import call as call_nocodb
from tests.real.nocodb.seed import customer, order

AMOUNTS = {number: Decimal(str(order(number)["Amount"])) for number in range(1, 61)}


@pytest.fixture
def reader(table_place: Place) -> Reader:
    return Reader(table_place.tables, table_place.schemas())


@pytest.fixture
async def shop(own_table_place: Place) -> Reader:
    """Customers 2 (Lost) and 3 (Lead) have Orders 3 to 42 and 43 to 45, the first 1 and 2."""
    api, schemas = own_table_place.tables, own_table_place.schemas()
    await link(api, schemas, "Customers", "Orders", 2, range(3, 43))
    await link(api, schemas, "Customers", "Orders", 3, range(43, 46))
    return Reader(api, schemas)


async def link(
    api: TableApi, schemas: Schemas, table: str, field: str, id: int, ids: range
) -> None:
    description = await schemas.describe_table(Viewer(), table)
    link = description.field(field)
    await api.write_links(description.at, link.id, str(id), [str(n) for n in ids], remove=False)


@pytest.fixture
def read_fake(api: NocoApi) -> Callable[..., Reader]:
    def make(rules: TableRules | None = None, most: int = 5_000) -> Reader:
        config = FixedConfig(rules) if rules else FixedConfig()
        return Reader(api, Schemas(api, filled.CRM, config=config), most=most)

    return make


def total(*numbers: int) -> int | str:
    whole = sum((AMOUNTS[number] for number in numbers), Decimal())
    return int(whole) if whole == int(whole) else str(whole)


def by(told: dict[str, Any], group: str, *names: str) -> dict[str, Any]:
    return {row[group]: tuple(row[name] for name in names) for row in told["rows"]}


async def test_orders_by_a_field_of_their_customer(shop: Reader) -> None:
    """Those without a customer are a group of their own."""
    summary = await shop.summary("Orders", ("Amount", "sum"), group_by="Customers.Status")
    assert by(summary, "Customers.Status", "rows", "sum of Amount") == {
        "Lost": (40, total(*range(3, 43))),
        "(empty)": (15, total(*range(46, 61))),
        "Lead": (3, total(43, 44, 45)),
        "Active": (2, total(1, 2)),
    }
    assert (summary["total"], summary["all"]) == (60, {"sum of Amount": total(*range(1, 61))})
    assert "Orders with Customers (" in shop.last.sources[0]
    assert " rows): 60 of 60 rows" in shop.last.sources[0]


@without_nocodb
async def test_the_sum_of_linked_rows_by_a_field_of_ones_own(shop: Reader) -> None:
    """NocoDB lists 25 linked rows in a cell, and customer 2 has 40."""
    summary = await shop.summary(
        "Customers",
        ("Orders.Amount", "sum"),
        ("Orders.Due", "max"),
        ("Orders", "count"),
        group_by="Status",
    )
    names = "rows", "sum of Orders.Amount", "count of Orders", "max of Orders.Due"
    assert by(summary, "Status", *names) == {
        "Active": (10, total(1, 2), 2, "2026-03-15"),
        "Lead": (10, total(43, 44, 45), 3, "2026-10-15"),
        "Lost": (10, total(*range(3, 43)), 40, "2026-12-15"),
    }
    assert summary["all"]["count of Orders"] == 45
    assert "overlap" not in summary


async def test_customers_without_an_order_this_year_and_with_one(shop: Reader) -> None:
    year = "2026"
    result = await shop.query("Customers", ("Orders.Due", "neq", year), fields=["Name"])
    assert (result["total"], result["returned"]) == (27, 20)
    words = "Customers with Orders (60 of 60 rows), no Orders: Due is 2026: 20 of 27 rows"
    assert words in shop.last.sources[0]
    result = await shop.query("Customers", ("Orders.Due", "eq", "2026-10"), fields=["Name"])
    assert [row["id"] for row in result["rows"]] == ["2", "3"]
    result = await shop.query("Customers", ("Orders.Due", "eq", "2025"))
    assert result["total"] == 0


@without_nocodb
async def test_one_linked_row_must_fit_all_filters(shop: Reader) -> None:
    """Order 45 is due in October and not paid, 44 is paid and due in September."""
    due, payments = ("Orders.Due", "eq", "2026-09"), ("Orders.Paid", "eq", True)
    assert await shop.ids("Customers", due, payments) == [2, 3]
    unpaid = ("Orders.Paid", "eq", False)
    assert await shop.ids("Customers", due, unpaid) == []
    assert await shop.ids("Customers", ("Orders.Due", "eq", "2026-10"), unpaid) == [2, 3]
    blank = ("Orders", "blank", None)
    assert await shop.ids("Customers", due, payments, blank) == sorted({*range(1, 31)} - {2, 3})
    assert "no Orders: Due is 2026-09 and Paid is checked" in shop.last.sources[0]


@without_nocodb
async def test_filters_choose_the_linked_rows_of_the_figures(shop: Reader) -> None:
    summary = await shop.summary(
        "Customers",
        ("Orders.Amount", "sum"),
        group_by="Name",
        where=(("Orders.Due", "gte", "2026-11"),),
    )
    late = [number for number in range(1, 46) if order(number)["Due"] >= "2026-11"]
    assert by(summary, "Name", "sum of Orders.Amount") == {"Customer 02": (total(*late),)}


@without_nocodb
async def test_filters_on_the_one_row_that_a_link_leads_to(shop: Reader) -> None:
    orders = "Orders", ("Customers.Status", "neq", "Lost")
    assert await shop.ids(*orders) == [1, 2, *range(43, 61)]
    assert await shop.ids(*orders, ("Customers.Name", "notblank", None)) == [1, 2, 43, 44, 45]
    assert await shop.ids("Orders", ("Customers.Value", "between", [30, 40])) == [43, 44, 45]
    assert len(await shop.ids("Orders", ("Customers.Name", "blank", None))) == 15


@without_nocodb
@pytest.mark.parametrize(
    ("filters", "match"),
    [
        ((("Orders.Due", "neq", "2026"), ("Orders.Paid", "eq", True)), "all"),
        ((("Orders.Due", "neq", "2026"), ("Orders.Title", "neq", "x")), "all"),
        ((("Orders.Due", "eq", "2026"), ("Name", "eq", "x")), "any"),
    ],
)
async def test_what_can_be_read_in_two_ways_is_refused(
    reader: Reader, filters: tuple[tuple[str, str, object], ...], match: str
) -> None:
    error = await catch_error(reader.query("Customers", *filters, match=match))
    assert error.code == "bad_filter"


@without_nocodb
async def test_no_figures_of_rows_that_are_filtered_out(reader: Reader) -> None:
    with pytest.raises(ToolError) as error:
        await reader.summary(
            "Customers", ("Orders.Amount", "sum"), where=(("Orders.Due", "neq", "2026"),)
        )
    assert error.value.code == "bad_filter"


async def test_fields_of_linked_rows_are_columns(shop: Reader) -> None:
    """One value where the link holds one row, else all of them."""
    result = await shop.query("Orders", ("id", "lt", "5"), fields=["Amount", "Customers.Status"])
    statuses = {row["id"]: row.get("Customers.Status") for row in result["rows"]}
    assert statuses == {"1": "Active", "2": "Active", "3": "Lost", "4": "Lost"}

    result = await shop.query(
        "Customers", ("id", "in", ["3", "4"]), fields=["Name", "Orders.Amount"]
    )
    amounts = [row.get("Orders.Amount", "") for row in result["rows"]]
    assert {Decimal(each) for each in amounts[0].split(", ")} == {AMOUNTS[n] for n in (43, 44, 45)}
    assert amounts[1] == ""


@without_nocodb
async def test_columns_of_linked_rows_are_in_a_file(shop: Reader) -> None:
    fields = ["id", "Customers.Status", "Customers.Orders.Amount"]
    with pytest.raises(ToolError, match=r"`Orders\.Amount` not found"):
        await shop.query("Orders", fields=fields, export="csv")
    await shop.query("Orders", ("id", "lt", "4"), fields=fields[1:2], export="csv")
    (data,) = shop.files.values()
    rows = [line.split(",") for line in data.decode("utf-8-sig").splitlines()]
    assert [row[-1] for row in rows] == ["Customers.Status", "Active", "Active", "Lost"]


async def test_the_id_of_a_linked_row_is_a_column(shop: Reader) -> None:
    """NocoDB returns it beside the fields. It is not the id of the row itself."""
    result = await shop.query("Orders", ("id", "in", ["3", "44"]), fields=["Customers.Id"])
    assert [(row["id"], row["Customers.Id"]) for row in result["rows"]] == [("3", "2"), ("44", "3")]
    await shop.query("Orders", ("id", "eq", "3"), fields=["Customers.Id"], export="csv")
    assert shop.files["Orders.csv"].decode("utf-8-sig").split() == ["id,Customers.Id", "3,2"]
    result = await shop.query("Customers", ("id", "eq", "3"), fields=["Orders.Id"])
    assert result["rows"] == [{"id": "3", "Orders.Id": "43, 44, 45"}]


async def test_columns_of_all_linked_rows_say_so(
    base: FakeBase, read_fake: Callable[..., Reader]
) -> None:
    """NocoDB cuts a cell at 5 or at 25 rows, and Ponte reads the others. Blank ones are left out,
    and all columns have one order."""
    customers, orders = base.table("Customers"), base.table("Orders")
    down = customers.field("Orders")
    customers.relations[down.id].pairs = [(1, number) for number in (9, 8, 10, 7, 6)]
    orders.fields.append(FakeField(fresh("c"), "Code", "SingleLineText"))
    orders.rows[7]["Code"] = "C7"
    names = ["Orders.Id", "Orders.Code"]
    result = await read_fake().query("Customers", ("id", "eq", "1"), fields=names)
    assert result["rows"] == [{"id": "1", "Orders.Id": "6, 7, 8, 9, 10", "Orders.Code": "C7"}]
    record = NocoRecord("1", {"Orders.Code": ("C7", "C8")})
    field = Field("c", "Orders.Code", "Lookup")
    assert format_display_row(record, [field], None) == ["C7, C8"]


@without_nocodb
async def test_columns_of_linked_rows_go_with_a_filter_on_them(shop: Reader) -> None:
    result = await shop.query(
        "Orders", ("Customers.Status", "eq", "Lead"), fields=["Customers.Status"]
    )
    assert {row["id"]: row["Customers.Status"] for row in result["rows"]} == {
        "43": "Lead",
        "44": "Lead",
        "45": "Lead",
    }


@without_nocodb
async def test_rows_are_not_sorted_by_fields_of_linked_rows(reader: Reader) -> None:
    with pytest.raises(ToolError, match="can't be sorted"):
        await reader.query("Customers", sort=[{"field": "Orders.Amount", "direction": "asc"}])


@without_nocodb
@pytest.mark.parametrize("name", ["Orders.Amont", "Order.Amount", "Orders.", ".Amount", "Name.x"])
async def test_a_name_that_leads_nowhere_is_told(reader: Reader, name: str) -> None:
    assert (await catch_error(reader.summary("Customers", group_by=name))).code == "unknown_field"


async def test_rows_with_one_title_are_two_groups(shop: Reader, own_table_place: Place) -> None:
    """Today NocoDB's links tell them by title alone."""
    api, schemas = own_table_place.tables, own_table_place.schemas()
    table = await schemas.describe_table(Viewer(), "Customers")
    await api.update_rows(table.at, [NocoRecord(id, {"Name": "Ana"}) for id in ("1", "3")])
    summary = await shop.summary("Orders", ("Amount", "sum"), group_by="Customers")
    assert by(summary, "Customers", "rows") == {
        "Customer 02": (40,),
        "(empty)": (15,),
        "Ana (row 3)": (3,),
        "Ana (row 1)": (2,),
    }


@pytest.fixture
async def labelled_orders(own_place: Place, request: pytest.FixtureRequest) -> Reader:
    """Orders have many Labels (Customers), and the other way round: 1 and 2 share Customer 1, and
    Order 1 has Customers 1 to 40."""
    api, schemas = own_place.api(), own_place.schemas()
    if own_place.token == filled.OWNER:
        server: FakeNocoDB = request.getfixturevalue("fake")
        add_links(server.world.bases[filled.CRM], "Orders", "Labels", "Customers", "mm")
    else:
        tables = {t.title: t.id for t in await api.list_tables(own_place.base)}
        url = f"{own_place.url}/api/v3/meta/bases/{own_place.base}/tables/{tables['Orders']}/fields"
        options = {"relation_type": "mm", "related_table_id": tables["Customers"]}
        field = {"title": "Labels", "type": "Links", "options": options}
        call_nocodb(url, field, xc_token=own_place.token)
    await link(api, schemas, "Orders", "Labels", 1, range(1, 31))
    await link(api, schemas, "Orders", "Labels", 2, range(1, 2))
    return Reader(api, schemas)


async def test_a_row_with_several_links_counts_in_each_group_and_it_says_so(
    labelled_orders: Reader,
) -> None:
    summary = await labelled_orders.summary("Orders", ("Amount", "sum"), group_by="Labels")
    groups = by(summary, "Labels", "rows", "sum of Amount")
    assert len(groups) == 31
    assert groups["Customer 01"] == (2, total(1, 2))
    assert groups["Customer 30"] == (1, total(1))
    assert groups["(empty)"] == (58, total(*range(3, 61)))
    assert summary["all"] == {"sum of Amount": total(*range(1, 61))}
    assert "several groups" in summary["overlap"]
    summary = await labelled_orders.summary("Orders", ("Amount", "sum"), group_by="Labels.Status")
    assert by(summary, "Labels.Status", "rows", "sum of Amount")["Active"] == (2, total(1, 2))


@only_fake
async def test_a_linked_row_is_summed_once(labelled_orders: Reader) -> None:
    """Customer 1 has two of the orders."""
    summary = await labelled_orders.summary(
        "Orders", ("Labels.Value", "sum"), ("Labels", "count"), group_by="Labels.Status"
    )
    values = [Decimal(str(customer(number)["Value"])) for number in range(1, 31)]
    assert summary["all"] == {"sum of Labels.Value": str(sum(values)), "count of Labels": 30}


async def test_links_of_very_many_rows_are_not_read_one_by_one(
    fake: FakeNocoDB, base: FakeBase, read_fake: Callable[..., Reader]
) -> None:
    relation = add_links(base, "Readings", "Tags", "Customers", "mm")
    relation.pairs = [(number, 1) for number in range(1, 1_001)]
    with pytest.raises(ToolError, match="too many rows link to several in Tags"):
        await read_fake().summary("Readings", group_by="Tags.Name")
    assert [call for call in fake.calls if "/links/" in call.path] == []
    summary = await read_fake().summary(
        "Readings", group_by="Tags.Name", where=(("Value", "lte", 20),)
    )
    assert by(summary, "Tags.Name", "rows") == {"Customer 01": (20,)}


async def test_two_links_between_two_tables_are_not_mixed_up(
    base: FakeBase, read_fake: Callable[..., Reader]
) -> None:
    relation = add_links(base, "Customers", "Referred", "Orders", "hm")
    relation.pairs = [(1, 10), (5, 11), (5, 1)]
    summary = await read_fake().summary("Customers", ("Referred", "sum"), ("Referred", "count"))
    assert summary["all"] == {"sum of Referred": 3, "count of Referred": 3}
    summary = await read_fake().summary(
        "Customers",
        ("Referred.Amount", "sum"),
        ("Orders.Amount", "sum"),
        group_by="Name",
        where=(("Value", "lte", 52.5),),
    )
    assert by(summary, "Name", "sum of Referred.Amount", "sum of Orders.Amount") == {
        "Customer 01": (total(10), total(1, 2)),
        "Customer 02": (0, 0),
        "Customer 03": (0, 0),
        "Customer 04": (0, 0),
        "Customer 05": (total(11, 1), 0),
    }


async def test_linked_rows_are_read_once_and_only_as_far_as_needed(
    fake: FakeNocoDB, base: FakeBase, read_fake: Callable[..., Reader]
) -> None:
    reader = read_fake()
    await reader.schemas.describe_all(Viewer())
    fake.calls.clear()
    await reader.query("Customers", ("Orders.Due", "eq", "2026-02"), ("Orders.Paid", "eq", False))
    tables = {table.id: table.title for table in base.tables.values()}
    paths = [call.path.split("/") for call in fake.calls]
    assert [(tables[path[5]], path[6]) for path in paths] == [
        ("Orders", "count"),
        ("Orders", "records"),
        ("Customers", "count"),
        ("Customers", "records"),
    ]
    own = base.table("Customers").fields[0].id
    assert f'({own},in,"1")' in fake.calls[-1].query["where"], "NocoDB returns only those it needs"
    fake.calls.clear()
    await reader.summary("Orders", ("Customers.Value", "sum"), where=(("Amount", "lt", 5),))
    assert {call.query.get("where", "")[-8:] for call in fake.calls[2:]} == {',in,"1")'}


async def test_more_linked_rows_than_are_read(
    base: FakeBase, read_fake: Callable[..., Reader]
) -> None:
    """No customer is said to have no order for an order that was not read."""
    reader = read_fake(most=50)
    summary = await reader.summary("Customers", ("Orders.Amount", "sum"), group_by="Status")
    assert summary["linked"] == "only 50 of 60 rows of Orders were read"
    assert "Customers with Orders (50 of 60 rows): 30 of 30 rows" in reader.last.sources[0]
    assert reader.last.data is None or "50 of 60" in reader.last.data.caption  # type: ignore[union-attr]
    with pytest.raises(ToolError, match="more than 50 rows of Orders"):
        await reader.query("Customers", ("Orders.Amount", "lt", 5_000))


async def test_rows_deleted_between_two_pages_are_noticed(
    fake: FakeNocoDB, base: FakeBase, read_fake: Callable[..., Reader]
) -> None:
    """A deleted row of the first page moves one of the second onto the first, which was read."""
    table = base.table("Readings")
    fake.after_pages = [lambda: table.delete(1)]
    summary = await read_fake().summary("Readings", ("Value", "median"))
    assert (summary["total"], summary["all"]) == (1_199, {"median of Value": 601})
    assert "changed" not in summary
    fake.after_pages = [lambda n=n: table.delete(n) for n in (2, 3, 4, 5)]  # type: ignore[misc]
    reader = read_fake()
    summary = await reader.summary("Readings", ("Value", "median"))
    assert "added or deleted while" in summary["changed"]
    assert "of at least" in reader.last.sources[0]
    assert summary["total_at_least"] == 1_196


async def test_rows_added_between_two_pages_are_not_counted_twice(
    fake: FakeNocoDB, base: FakeBase, read_fake: Callable[..., Reader]
) -> None:
    orders = base.table("Readings")

    def add() -> None:  # it comes first, and moves the last row of the first page
        rows = dict(orders.rows)
        orders.rows.clear()
        orders.rows.update({0: dict(rows[1]), **rows})

    fake.after_pages = [add]
    summary = await read_fake().summary("Readings", ("Label", "filled"))
    assert (summary["total"], summary["all"]) == (1_201, {"filled of Label": 1_201})


async def test_a_linked_row_that_is_deleted_meanwhile_has_no_value(
    fake: FakeNocoDB, base: FakeBase, read_fake: Callable[..., Reader]
) -> None:
    fake.after_pages = [lambda: base.table("Customers").rows.pop(1)]
    summary = await read_fake().summary("Orders", ("Amount", "sum"), group_by="Customers.Status")
    assert by(summary, "Customers.Status", "rows") == {"(empty)": (60,)}


async def expect_errors(code: str, *calls: Awaitable[object]) -> None:
    for call in calls:
        assert (await catch_error(call)).code == code


async def test_hidden_tables_and_fields_are_not_reached_over_links(
    base: FakeBase, read_fake: Callable[..., Reader]
) -> None:
    orders = base.table("Orders")
    orders.fields.append(FakeField(fresh("c"), "Password", "SingleLineText"))
    fake = read_fake(TableRules({"Orders": TableRule("hidden")}))
    for call in (
        fake.summary("Customers", ("Orders.Amount", "sum")),
        fake.summary("Customers", group_by="Orders.Title"),
        fake.query("Customers", ("Orders.Amount", "gt", 5)),
    ):
        error = await catch_error(call)
        assert (error.code, "Amount" in error.hint) == ("unknown_field", False)
    reader = read_fake()
    await expect_errors(
        "withheld",
        reader.summary("Customers", ("Orders.Password", "unique")),
        reader.summary("Customers", group_by="Orders.Password"),
        reader.query("Customers", ("Orders.Password", "contains", "a")),
    )


async def test_rows_that_go_by_a_secret_are_no_groups(
    base: FakeBase, read_fake: Callable[..., Reader]
) -> None:
    """The name of a linked row is its first field, and that may be a secret."""
    base.table("Customers").field("Name").title = "Token"
    await expect_errors(
        "withheld",
        read_fake().summary("Orders", group_by="Customers"),
        read_fake().query("Orders", ("Customers", "contains", "7")),
        read_fake().query("Customers", fields=["Orders.Customers"]),
        read_fake().query("Customers", ("Orders.Customers", "contains", "7")),
        read_fake().summary("Customers", group_by="Orders.Customers"),
    )


async def test_a_row_does_not_show_the_secret_names_of_its_linked_rows(
    base: FakeBase, read_fake: Callable[..., Reader]
) -> None:
    customers, orders = base.table("Customers"), base.table("Orders")
    orders.display.title, down = "Token", customers.field("Orders")
    customers.relations[down.id].pairs = [(1, 3), (1, 4)]
    for number in (3, 4):
        orders.rows[number]["Token"] = f"secret-{number}"
    reader = read_fake()
    await reader.call("nocodb_get", table="Customers", id="1")
    assert "secret-" not in reader.last.text
    assert '"Orders":"3, 4"' in reader.last.text


async def test_a_lookup_of_many_rows_may_lack_some(
    base: FakeBase, read_fake: Callable[..., Reader]
) -> None:
    """NocoDB cuts it at 25, as it cuts links."""
    customers, orders = base.table("Customers"), base.table("Orders")
    down, title = customers.field("Orders"), orders.field("Title")
    customers.relations[down.id].pairs = [(1, number) for number in range(1, 41)]
    options = {"related_field_id": down.id, "related_table_lookup_field_id": title.id}
    customers.fields.append(FakeField(fresh("c"), "Titles", "Lookup", options))
    summary = await read_fake().summary("Customers", group_by="Titles")
    assert "may not tell all" in summary["links"]


async def test_the_source_tells_that_groups_are_cut(read_fake: Callable[..., Reader]) -> None:
    reader = read_fake()
    summary = await reader.summary("Readings", group_by="Label")
    assert summary["cut"].startswith("the first ")
    part = summary["cut"].split()[2]
    assert f"First {part} of 1,200 groups." in reader.last.sources[0]


async def test_a_lookup_of_what_is_hidden_behind_another_link_is_hidden(
    base: FakeBase, read_fake: Callable[..., Reader]
) -> None:
    """Orders show a number of their customer, which is summed over Readings: hidden for this
    person. The lookup itself leads to a table that is not."""
    relation = add_links(base, "Customers", "Readings", "Readings", "hm")
    customers, orders = base.table("Customers"), base.table("Orders")
    value, up = base.table("Readings").field("Value"), orders.field("Customers")
    sum_of_value = {
        "related_field_id": relation.down.id,
        "rollup_function": "sum",
        "related_table_rollup_field_id": value.id,
    }
    customers.fields.append(FakeField(fresh("c"), "Read", "Rollup", sum_of_value))
    view = {"related_field_id": up.id, "related_table_lookup_field_id": customers.fields[-1].id}
    orders.fields.append(FakeField(fresh("c"), "Their readings", "Lookup", view))
    result = await read_fake().query("Orders", limit=1)
    assert "Their readings" in result["rows"][0]
    fake = read_fake(TableRules({"Readings": TableRule("hidden")}))
    result = await fake.query("Orders", limit=1)
    assert result["rows"][0].keys().isdisjoint({"Their readings"})
    await expect_errors(
        "unknown_field",
        fake.summary("Orders", group_by="Their readings"),
        fake.summary("Customers", group_by="Read"),
        fake.summary("Orders", group_by="Customers.Read"),
        fake.query("Orders", ("Their readings", "gt", 5)),
    )


@pytest.mark.parametrize(
    "behind", ["formula", "formula_by_id", "code", "barcode", "count", "display"]
)
async def test_no_computed_field_shows_what_is_hidden(
    base: FakeBase, read_fake: Callable[..., Reader], behind: str
) -> None:
    """`Total` sums Orders, which are hidden for this person: formulas and codes of it are, too, at
    any depth, as are counts of such fields and links that name rows by one."""
    customers, readings = base.table("Customers"), base.table("Readings")
    total = customers.field("Total")
    relation = add_links(base, "Readings", "Readers", "Customers", "mm")
    relation.pairs = [(1, 1)]
    computed = {
        "formula": ("Formula", {"formula": 'CONCAT("{x}", {Total})'}),
        "formula_by_id": ("Formula", {"formula": f"{{{total.id}}} + 1"}),
        "code": ("QrCode", {"qrcode_value_field_id": total.id}),
        "barcode": ("Barcode", {"barcode_value_field_id": total.id}),
    }
    type, options = computed.get(behind, computed["formula"])
    customers.fields.append(FakeField(fresh("c"), "Computed", type, options))
    for row in customers.rows.values():
        row["Computed"] = 4.5
    customers.fields.append(
        FakeField(fresh("c"), "Again", "Formula", {"formula": "{Computed} * 2 + {Value}"})
    )
    view = {
        "related_field_id": relation.down.id,
        "rollup_function": "countDistinct",
        "related_table_rollup_field_id": customers.fields[-1].id,
    }
    if behind == "count":
        readings.fields.append(FakeField(fresh("c"), "Counted", "Rollup", view))
    if behind == "display":
        customers.fields.insert(1, customers.fields.pop())
    whole = await read_fake().schemas.describe_table(Viewer(), "Customers")
    assert {"Computed", "Again"} <= {each.title for each in whole.fields}
    fake = read_fake(TableRules({"Orders": TableRule("hidden")}))
    table = await fake.schemas.describe_table(Viewer(), "Customers")
    titles = {each.title for each in table.fields}
    assert titles.isdisjoint({"Computed", "Again"})
    assert {"Name", "Value", "CreatedAt"} <= titles
    table = await fake.schemas.describe_table(Viewer(), "Readings")
    titles = {each.title for each in table.fields}
    assert "Counted" not in titles
    assert ("Readers" in titles) == (behind != "display")
