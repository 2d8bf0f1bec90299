"""The fields that identify a row on the card of its update, over the fake, a real NocoDB and the
sample tables."""

from __future__ import annotations

from typing import Any

import pytest

from core.changes.approval import TableRule, TableRules
from core.changes.card_rows import CardRow, build_rows, read_rows
from core.domain.changes import Change, Draft, Proposal
from tests.fakes.config import FixedConfig
from tests.fakes.nocodb.tables import FakeBase, FakeField, add_links
from tests.nocodb.places import Place
from tests.nocodb.write_tools import ANA, HERE, WriteTools


@pytest.fixture
def tools(own_table_place: Place) -> WriteTools:
    return WriteTools.of(own_table_place)


def name_fields(tools: WriteTools, *names: str) -> None:
    tools.schemas.config = FixedConfig(TableRules({"Orders": TableRule(card_fields=names)}))


async def rename(tools: WriteTools, *ids: int) -> Draft:
    changes = [{"id": id, "fields": {"Title": f"New {id}"}} for id in ids]
    return await tools.draft("nocodb_update", table="Orders", changes=changes)


def describe(draft: Draft) -> list[str]:
    """The details of each row of its card, for readers who may see all of them."""
    return [row.details_text for row in draw_rows(draft)]


def draw_rows(draft: Draft) -> list[CardRow]:
    proposal = Proposal("abcde2", draft, ANA, HERE, 1, "c1", "t1", 0, "en", 0.0, 1.0)
    change = Change(proposal, steps=draft.steps)
    return read_rows(build_rows(change, draft.view.card_fields))


async def test_a_card_shows_linked_rows_amounts_dates_and_status(tools: WriteTools) -> None:
    draft = await rename(tools, 1)
    (details,) = describe(draft)
    assert details.startswith("Customers: Customer 01 · Amount: "), details
    (step,) = (await tools.all_done(draft)).steps
    assert step.write.after == {"Title": "New 1"}, "nothing else is written"


async def test_what_identifies_a_row_is_compared_when_the_change_is_applied(
    tools: WriteTools,
) -> None:
    draft = await rename(tools, 1)
    assert await tools.standing(draft) == ["before"]
    await tools.write(
        "nocodb_update", table="Orders", changes=[{"id": 1, "fields": {"Amount": 7777}}]
    )
    assert await tools.standing(draft) == ["other"]
    draft = await rename(tools, 1)
    await tools.write("nocodb_update", changes=[{"id": 1, "fields": {"Name": "Renamed"}}])
    assert await tools.standing(draft) == ["other"], "the name of the linked row, too"


async def test_the_operator_names_the_fields(tools: WriteTools) -> None:
    name_fields(tools, "amount", "No such field", "Paid", "Title", "Amount")
    draft = await rename(tools, 1)
    assert list(draft.view.card_fields) == ["Amount", "Paid"], "and not the one that names it"
    changes = [{"id": 1, "fields": {"Amount": 7}}]
    draft = await tools.draft("nocodb_update", table="Orders", changes=changes)
    assert list(draft.view.card_fields) == ["Paid"], "and not the changed one"


async def test_an_undo_shows_them_and_goes_on_where_they_changed(tools: WriteTools) -> None:
    change = await tools.write(
        "nocodb_update", table="Orders", changes=[{"id": 1, "fields": {"Title": "B", "Amount": 5}}]
    )
    undo = tools.rows.revert(change)
    (row,) = draw_rows(undo)
    assert row.details_text.startswith("Customers: Customer 01"), row.details_text
    assert row.name == "B"
    await tools.write("nocodb_update", changes=[{"id": 1, "fields": {"Name": "Renamed"}}])
    assert await tools.standing(undo) == ["before", "before"]
    await tools.all_done(undo)
    change = await tools.write(
        "nocodb_update", table="Orders", changes=[{"id": 1, "fields": {"Amount": 7}}]
    )
    (row,) = draw_rows(tools.rows.revert(change))
    assert (row.name, row.details_text[:18]) == ("Order 01", "Customers: Renamed")


async def test_more_than_ten_rows_show_none(tools: WriteTools) -> None:
    assert (await rename(tools, *range(1, 11))).view.card_fields
    assert not (await rename(tools, *range(1, 12))).view.card_fields


async def test_a_card_shows_four_at_most(write_tools: WriteTools, base: FakeBase) -> None:
    orders = next(table for table in base.tables.values() if table.title == "Orders")
    orders.fields += [FakeField(f"cn{n}", f"Number {n}", "Number") for n in range(6)]
    draft = await rename(write_tools, 1)
    assert list(draft.view.card_fields) == ["Customers", "Amount", "Due", "Number 0"]


async def test_secrets_and_names_of_secret_rows_never_stand_on_a_card(
    write_tools: WriteTools, base: FakeBase
) -> None:
    orders, customers = (next(t for t in base.tables.values() if t.title == title)
                         for title in ("Orders", "Customers"))  # fmt: skip
    orders.fields.append(FakeField("cpass", "Password", "Number"))
    name: Any = customers.find("Name")
    name.title = "Password"
    for row in customers.rows.values():
        row["Password"] = row.pop("Name")
    for row in orders.rows.values():
        row["Password"] = 5
    name_fields(write_tools, "Password", "Customers", "Amount")
    draft = await write_tools.draft(
        "nocodb_update", table="Orders", changes=[{"id": 2, "fields": {"Title": "B"}}]
    )
    assert list(draft.view.card_fields) == ["Amount"]


async def test_a_row_that_a_third_table_names_does_not_identify_another(
    write_tools: WriteTools, base: FakeBase
) -> None:
    """Who may read both linked tables need not be allowed to read the third one."""
    relation = add_links(base, "Customers", "Readings", "Readings", "hm")
    customers, value = base.table("Customers"), base.table("Readings").field("Value")
    options = {
        "related_field_id": relation.down.id,
        "rollup_function": "sum",
        "related_table_rollup_field_id": value.id,
    }
    for is_named in (False, True):
        if is_named:
            customers.fields.append(FakeField("cread", "Read", "Rollup", options))
            formula = {"formula": "CONCAT({Read})", "formula_raw": "CONCAT({Read})"}
            customers.fields.insert(0, FakeField("cshown", "Shown", "Formula", formula))
            for row in customers.rows.values():
                row["Shown"] = "of Readings"
            write_tools.schemas.drop()
        draft = await rename(write_tools, 1)
        assert ("Customers" in draft.view.card_fields) is not is_named
        assert "Amount" in draft.view.card_fields
