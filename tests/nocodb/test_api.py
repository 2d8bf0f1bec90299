"""What every call takes and gives, over the fake and over a real NocoDB alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from core.base.http import HttpAnswer
from core.domain.rights import Viewer
from core.tools.nocodb.api import (
    MAX_PAGE_ROWS,
    FieldAggregate,
    NocoApi,
    NocoBase,
    NocoRecord,
    PageQuery,
    SortField,
    TableId,
)
from core.tools.nocodb.schema import TableDescription
from tests.nocodb.places import Place, catch_error, refusal


async def customers(place: Place) -> tuple[NocoApi, TableDescription]:
    return place.api(), await place.schemas().describe_table(Viewer(), "Customers")


async def test_bases_tables_and_the_role_there(place: Place) -> None:
    api = place.api()
    assert {place.base, place.other} <= {base.id for base in await api.list_bases()}
    assert [table.title for table in await api.list_tables(place.base)] == [
        "Customers",
        "Orders",
        "Readings",
    ]
    assert await api.fetch_role(place.base) == "owner"
    assert await place.api(place.viewer).fetch_role(place.base) == "viewer"
    assert await place.api(place.viewer).list_bases() == [NocoBase(place.base, "CRM")]


async def test_rows_come_in_pages_by_field_and_order(place: Place) -> None:
    api, table = await customers(place)
    name, value = table.field("Name").id, table.field("Value").id
    page = await api.fetch_page(
        table.at,
        PageQuery(fields=[name, value], sort=[SortField(value, "desc"), SortField(name)], size=2),
    )
    assert page.has_more
    assert page.records == (
        NocoRecord("30", {"Name": "Customer 30", "Value": 315}),
        NocoRecord("29", {"Name": "Customer 29", "Value": 304.5}),
    )
    last = await api.fetch_page(table.at, PageQuery(page=3, size=10))
    assert ([row.id for row in last.records], last.has_more) == (
        [str(n) for n in range(21, 31)],
        False,
    )
    assert (await refusal(api.fetch_page(table.at, PageQuery(page=4, size=10)))).code == "bad_page"


async def test_a_page_holds_a_thousand_rows_at_most(place: Place) -> None:
    readings = await place.schemas().describe_table(Viewer(), "Readings")
    page = await place.api().fetch_page(readings.at, PageQuery(size=5000))
    assert (len(page.records), page.has_more) == (MAX_PAGE_ROWS, True)
    rest = await place.api().fetch_page(readings.at, PageQuery(size=MAX_PAGE_ROWS, page=2))
    assert (len(rest.records), rest.has_more) == (200, False)
    assert await place.api().count_rows(readings.at) == 1200


FILTERS = {
    '(Name,eq,"Customer 07")': 1,
    '(Name,eq,"customer 07")': 0,
    '(Name,like,"CUSTOMER 0")': 9,
    '(Name,like,"%")': 30,
    '(Value,gte,"304.5")': 2,
    '(Status,anyof,"Lead","Lost")': 20,
    '(Status,in,"Lead","Lost")': 20,
    '(Tags,anyof,"vip")': 6,
    "(Active,checked)": 15,
    "(Notes,blank)": 26,
    '(Notes,like,"TWO")': 4,
    "(Orders,notblank)": 1,
    "(Contract,notblank)": 1,
    '(Since,gte,exactDate,"2026-12-01")': 2,
    '(Name,neq,"Customer 01")': 29,
    '((Name,eq,"Customer 01")~or(Name,eq,\'Customer 02\'))~and(Value,gt,"15")': 1,
}
INVALID_FILTERS = (
    "(Nope,eq,1)",
    "(Name,eq",
    "(Name,zzz,1)",
    "(Value,gt,abc)",
    "(Name,eq,a)(Name,eq,b)",
)


async def test_a_filter_counts_matching_rows_or_is_refused(place: Place) -> None:
    api, table = await customers(place)
    assert {where: await api.count_rows(table.at, where) for where in FILTERS} == FILTERS
    for where in INVALID_FILTERS:
        assert (await refusal(api.count_rows(table.at, where))).code == "bad_filter", where


async def test_a_row_is_read_with_links_and_files(place: Place) -> None:
    api, table = await customers(place)
    row = await api.fetch_record(table.at, "1")
    assert row.fields["Orders"] == [
        {"id": 1, "fields": {"Title": "Order 01"}},
        {"id": 2, "fields": {"Title": "Order 02"}},
    ]
    assert (row.fields["Since"], row.fields["Total"]) == ("2026-02-01", 4.5)
    assert row.fields["Contract"][0]["signedPath"]
    assert set(row.fields) == {f.title for f in table.fields if f.type != "ID"}
    assert (await refusal(api.fetch_record(table.at, "999"))).code == "not_found"
    assert (
        str(await refusal(api.fetch_record(table.at, "999"))) == "Row 999 not found in this table."
    )
    for id in ("abc", "../1", "1/../2", "%2e", ""):
        assert (await refusal(api.fetch_record(table.at, id))).code in (
            "not_found",
            "nocodb_missing",
        )


async def test_aggregates_are_computed_by_field_id(place: Place) -> None:
    api, table = await customers(place)
    value, status = table.field("Value").id, table.field("Status").id
    targets = [
        FieldAggregate(value, "sum"),
        FieldAggregate(value, "avg"),
        FieldAggregate(status, "count_unique"),
    ]
    assert await api.fetch_aggregates(table.at, targets) == {
        "Value": 4882.5,
        f"{value}:1": 162.75,
        "Status": 3,
    }
    some = await api.fetch_aggregates(table.at, targets[:1], f"({status},eq,Lead)")
    assert some == {"Value": sum(number * 10.5 for number in range(3, 31, 3))}
    assert await api.fetch_aggregates(table.at, [FieldAggregate("Value", "sum")]) == {}
    with pytest.raises(ValueError, match="quotes"):
        await api.fetch_aggregates(table.at, targets, f'({status},eq,"Lead")')


async def test_rows_are_made_written_and_deleted(own_place: Place) -> None:
    api, table = await customers(own_place)
    rows = await api.create_rows(
        table.at, [{"Name": f"New {n}", "Value": str(n), "Status": "Lead"} for n in range(10)]
    )
    assert [row.fields["Name"] for row in rows] == [f"New {n}" for n in range(10)]
    assert [row.fields["Value"] for row in rows] == list(range(10))
    output = await api.update_rows(
        table.at, [NocoRecord(rows[3].id, {"Value": None, "Active": True, "Tags": ["vip", "new"]})]
    )
    assert [row.id for row in output] == [rows[3].id]
    assert {n: output[0].fields[n] for n in ("Name", "Value", "Active", "Tags")} == {
        "Name": "New 3",
        "Value": None,
        "Active": True,
        "Tags": ["vip", "new"],
    }
    await api.delete_rows(table.at, [row.id for row in rows])
    assert await api.count_rows(table.at) == 30


async def test_unknown_fields_are_ignored_without_a_word(own_place: Place) -> None:
    api, table = await customers(own_place)
    (row,) = await api.create_rows(table.at, [{"name": "lower case", "Nope": 1}])
    assert row.fields["Name"] is None
    (rows,) = await api.update_rows(table.at, [NocoRecord(row.id, {"value": 78})])
    assert rows.fields["Value"] is None


async def test_values_that_nocodb_refuses(own_place: Place) -> None:
    api, table = await customers(own_place)
    refusals: list[tuple[dict[str, object], str]] = [
        ({"Status": "lead"}, "bad_value"),
        ({"Value": "abc"}, "bad_value"),
        ({"Since": "soon"}, "bad_value"),
        ({"CreatedAt": "2026-01-01"}, "bad_call"),
        ({"Orders": [{"id": 3}]}, "nocodb_failed"),
    ]
    for fields, code in refusals:
        error = await catch_error(api.update_rows(table.at, [NocoRecord("1", fields)]))
        assert error.code == code, fields
    # It reads a day as Americans write it: this is why only ISO days are ever sent.
    (rows,) = await api.update_rows(table.at, [NocoRecord("1", {"Since": "03/04/2026"})])
    assert rows.fields["Since"] == "2026-03-04"


async def test_one_missing_row_refuses_the_whole_batch(own_place: Place) -> None:
    api, table = await customers(own_place)
    writes: list[Callable[[], Awaitable[object]]] = [
        lambda: api.update_rows(
            table.at, [NocoRecord("1", {"Value": 1}), NocoRecord("999", {"Value": 1})]
        ),
        lambda: api.delete_rows(table.at, ["1", "999"]),
    ]
    for write in writes:
        assert str(await refusal(write())) == "Row 999 not found in this table."
    assert (await api.fetch_record(table.at, "1")).fields["Value"] == 10.5
    twice = [NocoRecord("1", {"Value": 1}), NocoRecord("1", {"Value": 2})]
    assert (await refusal(api.update_rows(table.at, twice))).hint == "Duplicate record with id 1"


async def test_ten_rows_are_the_most_in_one_call(own_place: Place) -> None:
    api, table = await customers(own_place)
    with pytest.raises(ValueError, match="11 rows"):
        await api.create_rows(table.at, [{"Name": "x"}] * 11)
    with pytest.raises(ValueError, match="0 rows"):
        await api.delete_rows(table.at, [])
    eleven = [{"fields": {"Name": "x"}}] * 11
    with pytest.raises(HttpAnswer) as error:
        await own_place.http.post_json(
            f"{own_place.url}/api/v3/data/{own_place.base}/{table.id}/records",
            eleven,
            headers={"xc-token": own_place.token},
        )
    assert error.value.json["error"] == "ERR_MAX_PAYLOAD_LIMIT_EXCEEDED"


async def test_links_are_read_to_the_end_added_and_removed(own_place: Place) -> None:
    api, table = await customers(own_place)
    orders = await own_place.schemas().describe_table(Viewer(), "Orders")
    field, back = table.field("Orders").id, orders.field("Customers").id
    forty = [str(number) for number in range(1, 41)]
    await api.write_links(table.at, field, "2", forty, remove=False)
    await api.write_links(table.at, field, "2", ["1"], remove=False)
    linked_rows = await api.fetch_linked_rows(table.at, field, "2")
    assert [row.id for row in linked_rows] == forty
    assert linked_rows[0].fields == {"Title": "Order 01"}
    assert len((await api.fetch_record(table.at, "2")).fields["Orders"]) == 25
    assert await api.fetch_linked_rows(table.at, field, "1") == []
    assert await api.fetch_linked_rows(orders.at, back, "1") == [
        NocoRecord("2", {"Name": "Customer 02"})
    ]
    assert await api.fetch_linked_rows(orders.at, back, "50") == []
    await api.write_links(
        table.at, field, "2", [str(number) for number in range(2, 50)], remove=True
    )
    assert [row.id for row in await api.fetch_linked_rows(table.at, field, "2")] == ["1"]
    assert (await refusal(api.fetch_linked_rows(table.at, field, "999"))).code == "not_found"
    unknown = api.write_links(table.at, field, "2", ["999"], remove=False)
    assert (await refusal(unknown)).code == "not_found"
    (result,) = await api.create_rows(table.at, [{"Name": "Linked", "Orders": [{"id": "7"}]}])
    assert result.fields["Orders"] == [{"id": 7, "fields": {"Title": "Order 07"}}]


async def test_a_viewer_reads_and_writes_nothing(place: Place) -> None:
    api = place.api(place.viewer)
    table = next(each for each in await api.list_tables(place.base) if each.title == "Customers")
    at = TableId(place.base, table.id)
    assert await api.count_rows(at) == 30
    for write in (
        lambda: api.create_rows(at, [{"Name": "x"}]),
        lambda: api.update_rows(at, [NocoRecord("1", {"Name": "x"})]),
        lambda: api.delete_rows(at, ["1"]),
    ):
        error = await refusal(write())
        assert (error.code, str(error)) == (
            "nocodb_forbidden",
            "Ponte's NocoDB user has the Viewer role, which doesn't allow this. Give it the "
            "Editor role in NocoDB.",
        )
    assert await api.count_rows(at) == 30
    other = await refusal(api.list_tables(place.other))
    assert (other.code, "Invite that user" in str(other)) == ("nocodb_forbidden", True)


async def test_unknown_tokens_bases_and_tables_are_reported(place: Place) -> None:
    api, table = await customers(place)
    wrong = await refusal(place.api("nope").list_bases())
    assert (wrong.code, "NOCODB_TOKEN" in str(wrong)) == ("nocodb_token", True)
    base = await refusal(api.list_tables("pnope"))
    assert (base.code, "NOCODB_BASE_ID" in str(base)) == ("wrong_base", True)
    error = await refusal(api.fetch_page(TableId(place.base, "mnope"), PageQuery()))
    assert error.code == "unknown_table"
    error = await refusal(api.fetch_page(TableId(place.other, table.id), PageQuery()))
    assert error.code == "unknown_table"
    error = await refusal(api.fetch_page(table.at, PageQuery(fields=["Nope"])))
    assert error.code == "unknown_field"
    error = await refusal(api.fetch_page(table.at, PageQuery(sort=[SortField("Nope")])))
    assert error.code == "unknown_field"
    assert api.drift_count == 4


async def test_linked_rows_end_where_a_server_ignores_the_page(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, table = await customers(place)
    page = {"records": [{"id": n} for n in range(MAX_PAGE_ROWS)], "next": "more"}

    async def read(path: str, query: object) -> object:
        return page

    monkeypatch.setattr(api, "_read", read)
    assert len(await api.fetch_linked_rows(table.at, "c1", "1")) == MAX_PAGE_ROWS
