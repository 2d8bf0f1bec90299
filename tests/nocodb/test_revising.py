"""A person changes a proposal for NocoDB: what they type becomes a draft as the rows are now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from core.base.errors import ToolError
from core.changes.approval import TableRule, TableRules
from core.changes.kinds import Changer
from core.domain.changes import Change, ChangeStep, Draft, FormField, Proposal
from core.domain.rights import Viewer
from core.tools.nocodb import ROW_KINDS
from tests.fakes.config import FixedConfig
from tests.fakes.nocodb.tables import FakeBase
from tests.nocodb.places import catch_error
from tests.nocodb.write_tools import ANA, HERE, ZONE, WriteTools

CHANGER = Changer(ANA, HERE, Viewer(), ZoneInfo(ZONE))


def proposed_change(draft: Draft) -> Change:
    proposal = Proposal("abcde2", draft, ANA, HERE, 1, "c1", "t1", 0, "en", 0.0, 1.0)
    steps = tuple(ChangeStep(number, row) for number, row in enumerate(draft.rows, 1))
    return Change(proposal, steps=steps)


def form(draft: Draft) -> dict[str, FormField]:
    change = proposed_change(draft)
    return {field.key: field for field in ROW_KINDS[draft.kind].form_fields(change)}


async def revise(tools: WriteTools, draft: Draft, **values: str) -> Draft:
    return await tools.rows.revise(proposed_change(draft), values, CHANGER)


async def update_draft(tools: WriteTools, **fields: Any) -> Draft:
    return await tools.draft("nocodb_update", changes=[{"id": 4, "fields": fields}])


async def test_one_of_three_values(write_tools: WriteTools) -> None:
    draft = await update_draft(write_tools, Status="Lead", Value="12.5", Name="Zoe")
    fields = form(draft)
    assert {key: (one.type, one.value) for key, one in fields.items()} == {
        "Status": ("select", "Lead"),
        "Value": ("number", "12.5"),
        "Name": ("text", "Zoe"),
    }
    assert fields["Status"].options == ("Lead", "Active", "Lost")
    revision = await revise(write_tools, draft, Status="Lost")
    assert revision.rows[0].after == {"Status": "Lost", "Value": 12.5, "Name": "Zoe"}
    assert form(revision)["Status"].value == "Lost", "it can be changed again"
    await write_tools.all_done(revision)
    assert await write_tools.cell("Customers", "4", "Status") == "Lost"


@pytest.mark.parametrize(
    ("field", "proposed_value", "type", "text", "value"),
    [
        ("Active", False, "checkbox", "true", None),
        ("Active", None, "checkbox", "true", None),
        ("Since", "2026-11-20", "date", "2026-12-01", "2026-12-01"),
        ("Seen", "2026-11-20 14:30", "moment", "2026-12-01 08:00", "2026-12-01 08:00:00-03:00"),
        ("Tags", ["vip"], "text", "new, vip", ["new", "vip"]),
        ("Notes", "a\nb", "lines", "c\nd", "c\nd"),
        ("Value", 3, "number", "", None),
    ],
)  # fmt: skip
async def test_each_type_of_value(
    write_tools: WriteTools, field: str, proposed_value: object, type: str, text: str, value: object
) -> None:
    values: Mapping[str, Any] = {"Name": "Zoe", field: proposed_value}
    draft = await update_draft(write_tools, **values)
    assert form(draft)[field].type == type
    revision = await revise(write_tools, draft, **{field: text})
    if value is None and field == "Active":  # row 4 is active already
        assert (revision.rows[0].after or {}).get("Active", True) is True
    else:
        assert (revision.rows[0].after or {})[field] == value


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("Status", "Lead", "Gone"),
        ("Since", "2026-11-20", "soon"),
        ("Value", 3, "much"),
        ("Active", False, "perhaps"),
        ("Tags", ["vip"], "vip, nobody"),
    ],
)
async def test_a_wrong_value_says_what_is_wrong(
    write_tools: WriteTools, field: str, value: object, text: str
) -> None:
    draft = await update_draft(write_tools, **{field: value})
    with pytest.raises(ToolError, match=field):
        await revise(write_tools, draft, **{field: text})


@pytest.mark.parametrize("text", ["8", "Order 07", "Order 09", ""])
async def test_a_link_of_a_new_row_by_id_by_name_and_none(
    write_tools: WriteTools, text: str
) -> None:
    rows = [{"Name": "Zoe", "Orders": [7]}]
    draft = await write_tools.draft("nocodb_create", rows=rows)
    assert (form(draft)["Orders"].type, form(draft)["Orders"].value) == ("text", "Order 07")
    revision = await revise(write_tools, draft, Name="Zoé", Orders=text)
    after = revision.rows[0].after or {}
    assert after["Name"] == "Zoé"
    links = [str(one["id"]) for one in after.get("Orders") or ()]
    assert links == {"8": ["8"], "Order 07": ["7"], "Order 09": ["9"], "": []}[text]
    with pytest.raises(ToolError, match="not found"):
        await revise(write_tools, draft, Orders="Order 999")


async def test_a_link_is_found_by_a_title_in_either_form(
    write_tools: WriteTools, base: FakeBase
) -> None:
    orders = base.table("Orders")
    title = next(name for name, value in orders.rows[9].items() if value == "Order 09")
    orders.rows[9][title], orders.rows[8][title] = "Cafe\u0301, grand", "Café"
    draft = await write_tools.draft("nocodb_create", rows=[{"Name": "Zoe", "Orders": [9]}])
    for text, ids in {
        "Café, grand": ["9"],
        "Cafe\u0301, grand (9), 7": ["9", "7"],
        "Cafe\u0301": ["8"],
    }.items():
        revision = await revise(write_tools, draft, Orders=text)
        assert [each["id"] for each in (revision.rows[0].after or {})["Orders"]] == ids


async def test_a_row_that_moved_is_shown_as_it_is(write_tools: WriteTools, base: FakeBase) -> None:
    draft = await update_draft(write_tools, Status="Lead", Value="12.5")
    customers = base.table("Customers")
    customers.rows[4]["Value"] = 99
    revision = await revise(write_tools, draft)
    assert (revision.rows[0].before or {})["Value"] == 99
    assert revision.rows[0].after == {"Status": "Lead", "Value": 12.5}
    del customers.rows[4]
    assert (await catch_error(revise(write_tools, draft, Value="1"))).code == "not_found"


async def test_several_rows_and_a_closed_table(write_tools: WriteTools) -> None:
    changes = [{"id": n, "fields": {"Status": "Lost"}} for n in (3, 4)]
    draft = await write_tools.draft("nocodb_update", changes=changes)
    assert [(key, one.row) for key, one in form(draft).items()] == [
        ("1.Status", "1. Customer 03"),
        ("2.Status", "2. Customer 04"),
    ]
    revision = await write_tools.rows.revise(proposed_change(draft), {"2.Status": "Lead"}, CHANGER)
    assert [row.after for row in revision.rows] == [{"Status": "Lost"}, {"Status": "Lead"}]
    rules = TableRules({"Customers": TableRule("read")})
    write_tools.schemas.config = FixedConfig(rules)
    assert (await catch_error(revise(write_tools, draft))).code == "read_only"


async def test_a_changer_who_may_not_read_the_table_learns_nothing(
    write_tools: WriteTools,
) -> None:
    draft = await update_draft(write_tools, Status="Lead")
    write_tools.schemas.config = FixedConfig(TableRules({"Customers": TableRule("hidden")}))
    error = await catch_error(write_tools.rows.revise(proposed_change(draft), {}, replace(CHANGER)))
    assert "Lead" not in str(error)


async def test_a_value_that_stands_already_can_be_changed_again(write_tools: WriteTools) -> None:
    """Rows and fields keep their place and their number in later versions."""
    standing = await write_tools.cell("Customers", "3", "Value")
    draft = await write_tools.draft(
        "nocodb_update", changes=[{"id": n, "fields": {"Value": 7}} for n in (3, 4)]
    )
    values = {"1.Value": str(standing)}
    revision = await write_tools.rows.revise(proposed_change(draft), values, CHANGER)
    assert form(revision).keys() == {"1.Value", "2.Value"}
    revision = await write_tools.rows.revise(proposed_change(revision), {"2.Value": "8"}, CHANGER)
    assert [(row.id, row.after) for row in revision.rows] == [
        ("3", {"Value": standing}),
        ("4", {"Value": 8}),
    ]
    assert [row.changes_nothing for row in revision.rows] == [True, False]
    assert await write_tools.standing(revision) == ["after", "before"]


async def test_a_request_with_a_file_is_not_changed(write_tools: WriteTools) -> None:
    write_tools.files.add("note.txt", "text/plain", b"paid")
    assert form(await update_draft(write_tools, Value=7, Contract="note.txt")) == {}


async def test_a_field_of_a_new_row_can_be_emptied_and_filled_again(
    write_tools: WriteTools,
) -> None:
    rows = [{"Name": "Zoe", "Status": "Lead"}]
    draft = await write_tools.draft("nocodb_create", rows=rows)
    revision = await revise(write_tools, draft, Status="")
    assert form(revision)["Status"].value == ""
    await write_tools.all_done(revision)
    revision = await revise(write_tools, revision, Status="Lost")
    assert revision.rows[0].after == {"Name": "Zoe", "Status": "Lost"}
    with pytest.raises(ToolError, match="no values"):
        await revise(write_tools, draft, Name="", Status="")


async def test_a_column_that_was_renamed_or_lost_an_option_is_named(
    write_tools: WriteTools, base: FakeBase
) -> None:
    """The request stays as it is, and takes values that its table has now."""
    draft = await update_draft(write_tools, Status="Lead", Value="12.5")
    customers = base.table("Customers")
    status = customers.field("Status")
    status.options = {"choices": [{"title": "Prospect"}, {"title": "Lost"}]}
    write_tools.schemas.drop()
    with pytest.raises(ToolError, match="Status: `Lead` isn't an option"):
        await revise(write_tools, draft, Value="9")
    revision = await revise(write_tools, draft, Status="Prospect")
    assert revision.rows[0].after == {"Status": "Prospect", "Value": 12.5}
    assert form(revision)["Status"].options == ("Prospect", "Lost")
    status.title = "Stage"
    for row in customers.rows.values():
        row["Stage"] = row.pop("Status", None)
    write_tools.schemas.drop()
    for values in ({"Value": "9"}, {"Status": "Lost"}):
        with pytest.raises(ToolError, match="Field `Status` not found in the table Customers"):
            await revise(write_tools, draft, **values)
    status.title, status.type, status.options = "Status", "Number", None
    for row in customers.rows.values():
        row["Status"] = None
    write_tools.schemas.drop()
    with pytest.raises(ToolError, match="Status: write a number"):
        await revise(write_tools, draft, Value="9")
