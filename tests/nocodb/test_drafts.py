"""What a model's call of a writing tool becomes, over the fake and over a real NocoDB alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from core.changes.approval import TableRule, TableRules
from core.domain.changes import Draft, Row
from tests.fakes.nocodb.tables import FakeBase, FakeField
from tests.nocodb.places import Place, only_fake
from tests.nocodb.write_tools import WriteTools


@pytest.fixture
def write_tools(place: Place) -> WriteTools:
    """Nothing is written there."""
    return WriteTools(place.url, place.token, place.base, place.http)


@pytest.fixture
def own_write_tools(own_table_place: Place) -> WriteTools:
    return WriteTools.of(own_table_place)


def sides(draft: Draft) -> list[tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]]:
    """The ids of the rows with their values before and after, without those that only identify
    them."""
    return [(row.id, without_card_fields(draft, row.before), row.after) for row in draft.rows]


def without_card_fields(draft: Draft, row: Row | None) -> Row | None:
    return row and {n: value for n, value in row.items() if n not in draft.view.card_fields}


def link_labels(linked: Any) -> list[str]:
    return [f"{one['id']} {one['title']}" for one in linked]


async def test_new_values_stand_beside_the_old_with_the_rows_name(write_tools: WriteTools) -> None:
    draft = await write_tools.draft(
        "nocodb_update",
        table="customers",
        changes=[{"id": 4, "fields": {"status": "Lead", "Value": "12.5"}}],
    )
    assert (draft.applier, draft.kind, draft.title) == ("nocodb", "update", "Customers")
    before = {"Name": "Customer 04", "Status": "Active", "Value": 42}
    assert sides(draft) == [("4", before, {"Status": "Lead", "Value": 12.5})]
    assert draft.target["key"] == "Id"


async def test_moments_are_the_askers(write_tools: WriteTools) -> None:
    draft = await write_tools.draft(
        "nocodb_update", changes=[{"id": 1, "fields": {"Seen": "2026-11-20 14:30"}}]
    )
    ((_, before, after),) = sides(draft)
    assert before == {"Name": "Customer 01", "Seen": "2026-11-02 09:30:00-03:00"}
    assert after == {"Seen": "2026-11-20 14:30:00-03:00"}


async def test_rows_that_hold_it_already_are_left_out(write_tools: WriteTools) -> None:
    changes = [{"id": n, "fields": {"Status": "Active"}} for n in (1, 2, 3, 4)]
    tool = await write_tools.call_tool("nocodb_update", changes=changes)
    assert tool == "Proposed. 2 more rows hold these values already and are left out."
    assert [row.id for row in write_tools.drafts[-1].rows] == ["2", "3"]
    error = await write_tools.error_of_call("nocodb_update", changes=changes[:1])
    assert error.code == "no_change"


async def test_filters_become_ids_now(write_tools: WriteTools) -> None:
    lead = [{"field": "Status", "op": "eq", "value": "Lead"}]
    draft = await write_tools.draft("nocodb_update", filters=lead, set={"Value": 0})
    assert [row.id for row in draft.rows] == [str(n) for n in range(3, 31, 3)]
    draft = await write_tools.draft("nocodb_delete", filters=lead)
    assert len(draft.rows) == 10
    none = [{"field": "Name", "op": "eq", "value": "nobody"}]
    error = await write_tools.error_of_call("nocodb_delete", filters=none)
    assert error.code == "no_rows"


async def test_any_quote_names_one_row(own_write_tools: WriteTools) -> None:
    names = ["it's", 'say "x"', "both \" and '", "a, b) ~or (c", "100%", "null"]
    rows = [{"Name": name} for name in names]
    steps = (await own_write_tools.write("nocodb_create", rows=rows)).steps
    for name, step in zip(names, steps, strict=True):
        mine = [{"field": "Name", "op": "eq", "value": name}]
        draft = await own_write_tools.draft("nocodb_delete", filters=mine)
        assert sides(draft)[0][0] == step.write.id
        assert [(row.before or {})["Name"] for row in draft.rows] == [name]


VAGUE_WRITES: list[tuple[str, dict[str, Any]]] = [
    ("nocodb_update", {"filters": [], "set": {"Value": 1}}),
    ("nocodb_update", {"set": {"Value": 1}}),
    ("nocodb_update", {"filters": [{"field": "Name", "op": "notblank", "value": None}]}),
    ("nocodb_update", {}),
    ("nocodb_update", {"changes": [{"id": 1, "fields": {}}]}),
    ("nocodb_delete", {}),
    ("nocodb_delete", {"ids": [], "filters": []}),
    ("nocodb_delete", {"ids": ["../1"]}),
    ("nocodb_create", {"rows": []}),
    ("nocodb_create", {"rows": [{}]}),
    ("nocodb_create", {"rows": [{"Name": None}]}),
    ("nocodb_link", {"id": 1, "link_field": "Orders"}),
    ("nocodb_link", {"id": 1, "link_field": "Orders", "add": [3], "remove": [3]}),
]


async def test_a_write_without_filters_or_ids_is_refused(write_tools: WriteTools) -> None:
    for tool, arguments in VAGUE_WRITES:
        error = await write_tools.error_of_call(tool, **arguments)
        assert error.code == "bad_arguments", (tool, arguments)


BAD_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({"Statu": "Lead"}, "unknown_field", "did you mean 'Status'?"),
    ({"Colour": "red"}, "unknown_field", "Name"),
    ({"Status": "lead"}, "unknown_option", "did you mean 'Lead'?"),
    ({"Tags": ["vip", "NEW"]}, "unknown_option", "did you mean 'new'?"),
    ({"Total": 3}, "computed_field", "leave them out"),
    ({"Id": 3}, "computed_field", "leave them out"),
    ({"CreatedAt": "2026-11-20"}, "computed_field", "leave them out"),
    ({"Since": "20/11/2026"}, "bad_value", ""),
    ({"Since": "2026-02-30"}, "bad_value", ""),
    ({"Seen": "tomorrow"}, "bad_value", ""),
    ({"Value": "1,5"}, "bad_value", ""),
    ({"Value": True}, "bad_value", ""),
    ({"Active": "maybe"}, "bad_value", ""),
    ({"Email": "ana at example"}, "bad_value", ""),
    ({"Name": {"a": 1}}, "bad_value", ""),
    ({"Contract": [{"path": "/etc/passwd"}]}, "unknown_file", ""),
    ({"Name": "a", "name": "b"}, "bad_arguments", ""),
    ({"Orders": [999]}, "not_found", ""),
    ({"Orders": ["Order 01 "]}, "bad_arguments", ""),
]


async def test_what_nocodb_would_ignore_guess_or_refuse(write_tools: WriteTools) -> None:
    for fields, code, hint in BAD_FIELDS:
        changes = [{"id": 3, "fields": fields}]
        for refusals in (
            await write_tools.error_of_call("nocodb_update", changes=changes),
            await write_tools.error_of_call("nocodb_create", rows=[fields]),
        ):
            assert (refusals.code, hint in refusals.hint) == (code, True), (fields, refusals.hint)


async def test_rows_that_are_not_there_and_rows_that_come_twice(write_tools: WriteTools) -> None:
    error = await write_tools.error_of_call("nocodb_delete", ids=[1, 999, 998])
    assert str(error) == "Rows not found in Customers: 999, 998."
    twice = [{"id": 3, "fields": {"Value": 1}}, {"id": "3", "fields": {"Value": 2}}]
    error = await write_tools.error_of_call("nocodb_update", changes=twice)
    assert str(error) == "These rows appear twice: 3."


async def test_a_hundred_rows_at_most(write_tools: WriteTools) -> None:
    rows = [{"Name": f"n{n}"} for n in range(101)]
    error = await write_tools.error_of_call("nocodb_create", rows=rows)
    assert (error.code, error.values["count"]) == ("too_many_rows", 101)
    assert len((await write_tools.draft("nocodb_create", rows=rows[1:])).rows) == 100


async def test_links_come_and_go_by_writes_of_their_own(write_tools: WriteTools) -> None:
    draft = await write_tools.draft(
        "nocodb_link", id=1, link_field="orders", add=[7], remove=[2, 40]
    )
    (_, old, going), (_, none, coming) = sides(draft)
    assert old == {"Name": "Customer 01", "Orders": [{"id": "2", "title": "Order 02"}]}
    assert going == {"Orders": []}
    assert none == {"Name": "Customer 01", "Orders": []}
    assert link_labels((coming or {})["Orders"]) == ["7 Order 07"]
    assert draft.row_count == 1
    error = await write_tools.error_of_call("nocodb_link", id=1, link_field="Orders", add=[1, 2])
    assert error.code == "no_change"
    assert (
        await write_tools.error_of_call("nocodb_link", id=1, link_field="Name", add=[1])
    ).code == "bad_field"


async def test_a_row_that_changes_its_owner_is_shown_with_both(write_tools: WriteTools) -> None:
    draft = await write_tools.draft("nocodb_link", id=2, link_field="Orders", add=[1, 9])
    added_row, removed_row = draft.rows
    assert (added_row.id, added_row.after) == ("1", {"Orders": []})
    assert link_labels((added_row.before or {})["Orders"]) == ["1 Order 01"]
    assert link_labels((removed_row.after or {})["Orders"]) == ["1 Order 01", "9 Order 09"]
    error = await write_tools.error_of_call("nocodb_create", rows=[{"Name": "C", "Orders": [1]}])
    assert str(error) == "Order 01 already belongs to Customer 01 (row 1)."


async def test_a_link_among_the_fields_is_set_whole(write_tools: WriteTools) -> None:
    draft = await write_tools.draft(
        "nocodb_update", changes=[{"id": 1, "fields": {"Value": 1, "Orders": [2, 3]}}]
    )
    assert [dict(row.after or {}) for row in draft.rows] == [
        {"Orders": []},
        {"Orders": [{"id": "3", "title": "Order 03"}]},
        {"Value": 1},
    ]
    draft = await write_tools.draft(
        "nocodb_update", table="Orders", changes=[{"id": 1, "fields": {"Customers": 2}}]
    )
    ((_, before, after),) = sides(draft)
    assert link_labels((before or {})["Customers"]) == ["1 Customer 01"]
    assert link_labels((after or {})["Customers"]) == ["2 Customer 02"]
    two = {"Customers": [2, 3]}
    for tool, arguments in (
        ("nocodb_update", {"changes": [{"id": 1, "fields": two}]}),
        ("nocodb_create", {"rows": [two]}),
    ):
        error = await write_tools.error_of_call(tool, table="Orders", **arguments)
        assert str(error) == "Customers can link to only one row.", tool


async def test_a_row_to_be_deleted_is_kept_whole(own_write_tools: WriteTools) -> None:
    orders = list(range(3, 43))
    await own_write_tools.write("nocodb_link", id=1, link_field="Orders", add=orders)
    draft = await own_write_tools.draft("nocodb_delete", ids=[1])
    (row,) = draft.rows
    assert row.before
    assert len(row.before["Orders"]) == 42, "NocoDB's own cell is cut at 25"
    assert row.before["Contract"][0]["title"].startswith("contract")
    assert "signedPath" not in row.before["Contract"][0]
    assert not {"Id", "Total", "CreatedAt"} & row.before.keys()
    assert draft.note == own_write_tools.rows.driver.recreated
    assert {"Id", "CreatedAt", "UpdatedAt"} <= set(draft.target["system_fields"])


async def test_a_table_that_may_only_be_read(place: Place) -> None:
    write_tools = WriteTools(
        place.url,
        place.token,
        place.base,
        place.http,
        rules=TableRules({"Orders": TableRule("read")}),
    )
    error = await write_tools.error_of_call("nocodb_delete", table="Orders", ids=[1])
    assert str(error) == "The table Orders is read-only here. This is set in ponte.toml."
    await write_tools.draft("nocodb_delete", ids=[2])
    error = await write_tools.error_of_call("nocodb_link", id=2, link_field="Orders", add=[9])
    assert error.code == "read_only", "a link is written there too"
    linked = [{"field": "Orders", "op": "notblank", "value": None}]
    draft = await write_tools.draft("nocodb_update", filters=linked, set={"Value": 7})
    assert draft.rows, "a filter only reads there"
    await write_tools.draft("nocodb_delete", filters=linked)
    error = await write_tools.error_of_call("nocodb_update", filters=linked, set={"Orders": [9]})
    assert error.code == "read_only"


@only_fake
@pytest.mark.parametrize("tool", ["nocodb_update", "nocodb_delete"])
async def test_a_withheld_column_cannot_be_guessed_at_by_proposing(
    write_tools: WriteTools, base: FakeBase, tool: str
) -> None:
    """Whether a row fits would tell what it holds."""
    orders = base.table("Orders")
    orders.fields.append(FakeField("csecret", "Senha", "SingleLineText"))
    orders.rows[1]["Senha"] = "abc123"
    change = {"set": {"Title": "x"}} if tool == "nocodb_update" else {}
    for guess in ("abc", "abd"):
        secret = {"field": "senha", "op": "contains", "value": guess}
        error = await write_tools.error_of_call(tool, table="Orders", filters=[secret], **change)
        assert error.code == "withheld"
