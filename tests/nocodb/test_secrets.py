"""Nobody learns the value of a secret field from a proposal, its card, its undo, or an error."""

from __future__ import annotations

from typing import Any

import pytest

from core.base.errors import ToolError
from core.base.http import HttpClient
from core.changes import card_rows
from core.domain.changes import Change
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.nocodb.tables import FakeField, FakeTable
from tests.nocodb.places import catch_error
from tests.nocodb.reader import Reader
from tests.nocodb.test_revising import proposed_change, revise
from tests.nocodb.write_tools import WriteTools

SECRET = "hunter2"
GUESSES = (SECRET, "hunter3")


@pytest.fixture
def tables(fake: FakeNocoDB) -> dict[str, FakeTable]:
    return {table.title: table for table in fake.world.bases[filled.CRM].tables.values()}


@pytest.fixture
def write_tools(fake: FakeNocoDB, tables: dict[str, FakeTable], http: HttpClient) -> WriteTools:
    orders = tables["Orders"]
    orders.fields.append(FakeField("csecret", "Senha", "SingleLineText"))
    for row in orders.rows.values():
        row["Senha"] = SECRET
    return WriteTools(fake.origin, filled.OWNER, filled.CRM, http)


def describe_card(change: Change) -> list[tuple[str, str]]:
    rows = card_rows.read_rows(card_rows.build_rows(change))
    return [(row.name, row.text) for row in rows]


def update(guess: str, **fields: Any) -> dict[str, Any]:
    return {"table": "Orders", "changes": [{"id": 1, "fields": {"Senha": guess, **fields}}]}


@pytest.mark.parametrize("fields", [{}, {"Title": "x"}, {"Title": "Order 01"}])
async def test_a_right_guess_is_proposed_written_and_undone_as_a_wrong_one(
    write_tools: WriteTools, tables: dict[str, FakeTable], fields: dict[str, str]
) -> None:
    row = tables["Orders"].rows[1]
    outcomes = []
    for guess in GUESSES:
        row.update(Senha=SECRET, Title="Order 01", UpdatedAt=None)
        text = await write_tools.call_tool("nocodb_update", **update(guess, **fields))
        draft = write_tools.drafts[-1]
        revision = await revise(write_tools, draft, Senha=guess)
        cards = [describe_card(proposed_change(each)) for each in (draft, revision)]
        outcome = await write_tools.all_done(draft)
        has_new_time = row["UpdatedAt"] is not None
        undone = await write_tools.undone(outcome)
        steps = [step.state for step in undone.steps]
        outcomes.append((text, cards, len(draft.rows), has_new_time, describe_card(undone), steps))
        assert row["Senha"] == SECRET
    assert outcomes[0] == outcomes[1]
    assert "Senha: [withheld] → [withheld] (changed)" in outcomes[0][1][0][0][1]


async def test_a_row_that_others_changed_meanwhile_is_written_all_the_same(
    write_tools: WriteTools, tables: dict[str, FakeTable]
) -> None:
    """With the other field as it should be, only the secret would decide whether it is written."""
    row = tables["Orders"].rows[1]
    for guess in GUESSES:
        row.update(Senha=SECRET, Title="Order 01")
        await write_tools.call_tool("nocodb_update", **update(guess, Title="x"))
        row.update(Title="x", UpdatedAt=None)
        await write_tools.all_done(write_tools.drafts[-1])
        assert row["UpdatedAt"] is not None


async def test_rows_that_hold_a_secret_already_are_not_counted(write_tools: WriteTools) -> None:
    filters = [{"field": "Id", "op": "lte", "value": 3}]
    for guess in GUESSES:
        change = {"filters": filters, "set": {"Senha": guess}}
        assert await write_tools.call_tool("nocodb_update", table="Orders", **change) == "Proposed."
        assert len(write_tools.drafts[-1].rows) == 3


async def test_a_secret_link_is_no_oracle(
    write_tools: WriteTools, tables: dict[str, FakeTable]
) -> None:
    """Whether a link is new, or whom a row belongs to, would tell what the field holds."""
    tables["Orders"].field("Customers").title = "Token"
    calls: list[tuple[str, dict[str, Any]]] = [
        ("nocodb_link", {"id": 1, "link_field": "Token", "add": [1]}),
        ("nocodb_link", {"id": 1, "link_field": "Token", "remove": [1]}),
        ("nocodb_update", {"changes": [{"id": 1, "fields": {"Token": [1]}}]}),
        ("nocodb_create", {"rows": [{"Title": "x", "Token": [1]}]}),
    ]
    for tool, arguments in calls:
        error = await write_tools.error_of_call(tool, table="Orders", **arguments)
        assert error.code == "withheld"


async def test_rows_are_not_found_by_the_secret_names_of_linked_rows(
    write_tools: WriteTools, tables: dict[str, FakeTable]
) -> None:
    tables["Customers"].display.title = "Token"
    for guess in ("Customer 01", "Customer 99"):
        filters = [{"field": "Customers", "op": "eq", "value": guess}]
        error = await write_tools.error_of_call("nocodb_delete", table="Orders", filters=filters)
        assert error.code == "withheld"


async def test_cards_and_errors_do_not_show_the_secret_names_of_linked_rows(
    write_tools: WriteTools, tables: dict[str, FakeTable]
) -> None:
    tables["Orders"].display.title = "Token"
    for number, row in tables["Orders"].rows.items():
        row["Token"] = f"{SECRET}-{number}"
    link = {"id": 2, "link_field": "Orders", "add": [1, 5]}
    for draft in (
        await write_tools.draft("nocodb_link", **link),
        await write_tools.draft("nocodb_create", rows=[{"Name": "x", "Orders": [7]}]),
        await write_tools.draft("nocodb_delete", ids=[1]),
    ):
        assert SECRET not in repr(describe_card(proposed_change(draft)))
        outcome = await write_tools.apply_draft(draft)
        assert SECRET not in repr(describe_card(outcome))
        assert SECRET not in repr([step.explanation for step in outcome.steps])
    error = await write_tools.error_of_call("nocodb_create", rows=[{"Orders": [5]}])
    assert SECRET not in f"{error} {error.hint}"


def add_field(table: FakeTable, title: str, type: str, **options: str) -> FakeField:
    field = FakeField(f"c{title.lower()}", title, type, options)
    table.fields.append(field)
    return field


async def test_fields_that_read_a_secret_are_withheld_too(
    write_tools: WriteTools, tables: dict[str, FakeTable]
) -> None:
    customers, orders = tables["Customers"], tables["Orders"]
    down = customers.field("Orders")
    add_field(orders, "Check", "Formula", formula='CONCAT({Title}, "-", {Senha})')
    add_field(orders, "Code", "QrCode", qrcode_value_field_id="ccheck")
    add_field(orders, "Plain", "Formula", formula="{Title}")
    for row in orders.rows.values():
        row |= {"Check": f"x-{SECRET}", "Code": f"x-{SECRET}", "Plain": "Order"}
    for title, view in (("First", "csecret"), ("Second", "ccheck"), ("Open", "cplain")):
        options = {"related_field_id": down.id, "related_table_lookup_field_id": view}
        add_field(customers, title, "Lookup", **options)
    reader = Reader(write_tools.api, write_tools.schemas)
    for table, secret, open in (
        ("Orders", ("Senha", "Check", "Code"), "Plain"),
        ("Customers", ("First", "Second"), "Open"),
    ):
        for answer in (
            await reader.query(table, export="csv"),
            await reader.call("nocodb_get", table=table, id="1"),
        ):
            row = answer["row"] if "row" in answer else answer["rows"][0]
            assert [row[name] for name in secret] == ["[withheld]"] * len(secret)
            assert row[open].startswith("Order")
            assert SECRET not in repr(reader.last)
        for name in secret:
            for call in (
                reader.query(table, (name, "contains", "h")),
                reader.summary(table, (name, "unique")),
                reader.summary(table, group_by=name),
                reader.query(table, sort=[{"field": name, "direction": "asc"}]),
            ):
                assert (await catch_error(call)).code == "withheld"
    assert SECRET.encode() not in b"".join(reader.files.values())
    with pytest.raises(ToolError, match="hidden here"):
        await reader.query("Customers", fields=["Orders.Check"])


async def test_a_field_called_signed_url_is_a_field_like_any_other(
    write_tools: WriteTools, tables: dict[str, FakeTable]
) -> None:
    add_field(tables["Orders"], "Signed URL", "URL")
    tables["Orders"].rows[1]["Signed URL"] = "https://example.com/contract"
    reader = Reader(write_tools.api, write_tools.schemas)
    answer = await reader.query("Orders", ("Signed URL", "contains", "contract"))
    assert answer["rows"][0]["Signed URL"] == "https://example.com/contract"
