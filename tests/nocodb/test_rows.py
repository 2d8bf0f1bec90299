"""What was approved is done once, seen again, and taken back: over the fake, a real NocoDB and
the sample base."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.base.errors import ToolError
from core.domain.changes import RowWrite
from core.tools.nocodb.api import MAX_ROWS_PER_WRITE
from tests.nocodb.places import Place, without_nocodb
from tests.nocodb.write_tools import WriteTools

WHOLE = {
    "Name": "Chloé",
    "Email": "chloe@example.com",
    "Status": "Lead",
    "Tags": ["vip", "new"],
    "Value": 12.5,
    "Active": True,
    "Since": "2026-11-20",
    "Seen": "2026-11-20T14:30:00-03:00",
    "Notes": "a, \"b\" and 'c'\n%",
}


@pytest.fixture
def write_tools(own_table_place: Place) -> WriteTools:
    return WriteTools.of(own_table_place)


def change(id: int, **fields: Any) -> dict[str, Any]:
    return {"id": id, "fields": fields}


async def test_a_field_of_each_kind_is_written_read_back_and_taken_back(
    write_tools: WriteTools,
) -> None:
    creation = await write_tools.write("nocodb_create", rows=[WHOLE])
    (step,) = creation.steps
    assert (step.write.id, (step.current or {})["Tags"]) == ("31", ["vip", "new"])
    other = {
        "Name": "C",
        "Email": None,
        "Status": "Lost",
        "Tags": ["late payer"],
        "Value": None,
        "Active": False,
        "Since": None,
        "Seen": "2026-11-21 00:00",
        "Notes": None,
    }
    update = await write_tools.write("nocodb_update", changes=[change(31, **other)])
    image = await write_tools.image("Customers", "31")
    assert image
    assert (image["Status"], image["Email"], image["Active"]) == ("Lost", None, False)
    await write_tools.undone(update)
    assert await write_tools.image("Customers", "31") == step.current
    await write_tools.undone(creation)
    assert await write_tools.image("Customers", "31") is None


@without_nocodb
async def test_only_cells_that_still_hold_it_are_given_back(write_tools: WriteTools) -> None:
    changes = [change(1, Name="X", Value=1), change(2, Name="X", Value=2)]
    outcome = await write_tools.write("nocodb_update", changes=changes)
    await write_tools.write("nocodb_update", changes=[change(1, Name="Bob's own")])
    undone = await write_tools.undone(outcome)
    assert sorted(step.state for step in undone.steps) == ["changed", "done", "done", "done"]
    cells = [
        await write_tools.cell("Customers", id, name) for id in "12" for name in ("Name", "Value")
    ]
    assert cells == ["Bob's own", 10.5, "Customer 02", 21]


async def test_rows_that_changed_or_went_meanwhile(write_tools: WriteTools) -> None:
    rows = [change(n, Status="Lost") for n in (1, 3, 4)]
    update = await write_tools.draft("nocodb_update", changes=rows)
    delete = await write_tools.draft("nocodb_delete", ids=[1, 3, 4])
    renamed = [change(3, Name="Another")]
    await write_tools.apply_draft(await write_tools.draft("nocodb_update", changes=renamed))
    await write_tools.apply_draft(await write_tools.draft("nocodb_delete", ids=[4]))
    assert await write_tools.standing(update) == ["before", "other", "other"]
    assert await write_tools.standing(delete) == ["before", "other", "after"]
    link = await write_tools.draft(
        "nocodb_link", table="Orders", id=3, link_field="Customers", add=[1]
    )
    await write_tools.all_done(link)
    assert (await write_tools.standing(delete))[0] == "other", "a link is part of the row"


async def test_what_was_created_is_taken_back_where_nobody_touched_it(
    write_tools: WriteTools,
) -> None:
    rows = [{"Name": "C", "Orders": [8]}, {"Name": "D"}, {"Name": "E"}]
    draft = await write_tools.draft("nocodb_create", rows=rows)
    assert write_tools.rows.batch(draft) == 1, "links are calls of their own"
    creation = await write_tools.all_done(draft)
    assert await write_tools.links("Customers", "31", "Orders") == ["8"]
    await write_tools.apply_draft(
        await write_tools.draft("nocodb_link", id=32, link_field="Orders", add=[9])
    )
    undone = await write_tools.undone(creation)
    assert sorted(step.state for step in undone.steps) == ["changed", "done", "done"]
    assert await write_tools.image("Customers", "32")
    assert await write_tools.image("Customers", "33") is None


async def test_deleted_rows_come_back_with_all_their_links_and_files(
    write_tools: WriteTools,
) -> None:
    more = list(range(3, 43))
    await write_tools.write("nocodb_link", id=1, link_field="Orders", add=more)
    before = await write_tools.image("Customers", "1")
    assert before
    deletion = await write_tools.write("nocodb_delete", ids=[1, 2])
    assert await write_tools.links("Orders", "42", "Customers") == []
    undone = await write_tools.undone(deletion)
    new, _ = undone.steps
    assert (new.state, new.write.id) == ("done", "31")
    assert await write_tools.image("Customers", "31") == before
    assert len(await write_tools.links("Customers", "31", "Orders")) == 42
    assert undone.draft.note == write_tools.rows.driver.refilled


async def test_links_that_cannot_come_back_are_named(write_tools: WriteTools) -> None:
    deletion = await write_tools.write("nocodb_delete", ids=[1])
    await write_tools.apply_draft(await write_tools.draft("nocodb_delete", table="Orders", ids=[1]))
    await write_tools.apply_draft(
        await write_tools.draft("nocodb_link", id=5, link_field="Orders", add=[2])
    )
    (step,) = (await write_tools.undone(deletion)).steps
    assert step.state == "differs"
    assert step.explanation == "Orders (without Order 01, Order 02)"
    assert await write_tools.links("Customers", "5", "Orders") == ["2"], "nobody's link is taken"
    assert await write_tools.links("Customers", step.write.id, "Orders") == []


async def test_links_are_changed_and_given_back(write_tools: WriteTools) -> None:
    draft = await write_tools.draft("nocodb_link", id=2, link_field="Orders", add=[1, 9], remove=[])
    outcome = await write_tools.all_done(draft)
    assert await write_tools.links("Customers", "2", "Orders") == ["1", "9"]
    assert await write_tools.links("Customers", "1", "Orders") == ["2"], "it was the first one's"
    undone = await write_tools.undone(outcome)
    assert [step.state for step in undone.steps] == ["done", "done"]
    assert await write_tools.links("Customers", "2", "Orders") == []
    assert await write_tools.links("Customers", "1", "Orders") == ["1", "2"]


async def test_a_link_to_one_row_is_replaced_and_given_back(write_tools: WriteTools) -> None:
    draft = await write_tools.draft(
        "nocodb_update", table="Orders", changes=[change(1, Customers=[7]), change(3, Customers=5)]
    )
    outcome = await write_tools.all_done(draft)
    assert await write_tools.links("Orders", "1", "Customers") == ["7"]
    await write_tools.undone(outcome)
    assert await write_tools.links("Orders", "1", "Customers") == ["1"]
    assert await write_tools.links("Orders", "3", "Customers") == []


@without_nocodb
async def test_a_row_that_found_another_owner_is_not_taken_from_it(write_tools: WriteTools) -> None:
    draft = await write_tools.draft("nocodb_link", id=2, link_field="Orders", add=[9])
    await write_tools.write("nocodb_link", id=3, link_field="Orders", add=[9])
    assert await write_tools.standing(draft) == ["other"]


async def test_a_file_that_was_removed_is_given_back(write_tools: WriteTools) -> None:
    before = await write_tools.image("Customers", "1")
    cleared = await write_tools.write("nocodb_update", changes=[change(1, Contract=None)])
    assert await write_tools.cell("Customers", "1", "Contract") is None
    undone = await write_tools.undone(cleared)
    assert [step.state for step in undone.steps] == ["done"]
    assert await write_tools.image("Customers", "1") == before


@without_nocodb
async def test_an_undo_can_be_undone(write_tools: WriteTools) -> None:
    deletion = await write_tools.write("nocodb_delete", ids=[1])
    undone = await write_tools.undone(deletion)
    again = await write_tools.undone(undone)
    assert [step.state for step in again.steps] == ["done"]
    assert await write_tools.image("Customers", undone.steps[0].write.id) is None


async def test_a_created_row_whose_answer_was_lost_is_found_among_its_likes(
    write_tools: WriteTools,
) -> None:
    rows = [{"Name": "Same"}, {"Name": "Same"}]
    first = await write_tools.write("nocodb_create", rows=rows)
    draft = await write_tools.draft("nocodb_create", rows=rows)
    ready = [one.write for one in await write_tools.rows.open(draft).check(draft.rows)]
    assert await write_tools.standing(draft, ready) == ["before", "before"], (
        "those were there before"
    )
    await write_tools.rows.open(draft).write(ready)
    findings = await write_tools.rows.open(draft).check(ready)
    assert [one.state for one in findings] == ["after", "after"]
    assert {one.write.id for one in findings} == {"33", "34"}
    assert {step.write.id for step in first.steps} == {"31", "32"}


@without_nocodb
async def test_a_row_that_was_found_stays_found_while_the_others_are_looked_for(
    write_tools: WriteTools,
) -> None:
    draft = await write_tools.draft("nocodb_create", rows=[{"Name": "Same"}, {"Name": "Same"}])
    first, second = [one.write for one in await write_tools.rows.open(draft).check(draft.rows)]
    outcomes = await write_tools.rows.open(draft).write([first])
    findings = await write_tools.rows.open(draft).check([*outcomes, second])
    assert [(one.state, one.write.id) for one in findings] == [("after", "31"), ("before", "")]


@without_nocodb
async def test_there_is_no_undo_where_all_cells_were_changed_since(write_tools: WriteTools) -> None:
    outcome = await write_tools.write("nocodb_update", changes=[change(1, Value=1)])
    await write_tools.write("nocodb_update", changes=[change(1, Value=2)])
    now = await write_tools.image("Customers", "1")
    step = replace(outcome.steps[0], state="differs", current=now)
    with pytest.raises(ToolError, match=r"^This can't be undone: the saved values have changed"):
        write_tools.rows.revert(replace(outcome, steps=(step,)))


@without_nocodb
async def test_ten_rows_in_a_call(write_tools: WriteTools) -> None:
    rows = [change(n, Value=1000 + n) for n in range(1, 31)]
    draft = await write_tools.draft("nocodb_update", changes=rows)
    assert write_tools.rows.batch(draft) == MAX_ROWS_PER_WRITE == 10
    outcome = await write_tools.all_done(draft)
    assert all((step.current or {})["Value"] == 1000 + int(step.write.id) for step in outcome.steps)
    await write_tools.undone(outcome)
    assert await write_tools.cell("Customers", "30", "Value") == 315


async def test_a_row_that_went_in_the_last_moment_refuses_its_batch_whole(
    write_tools: WriteTools,
) -> None:
    rows = [change(n, Value=1) for n in (1, 2)]
    draft = await write_tools.draft("nocodb_update", changes=rows)
    missing_rows = [draft.rows[0], replace(draft.rows[1], id="999")]
    with pytest.raises(ToolError, match=r"^Row 999 not found in this table\.$"):
        await write_tools.rows.open(draft).write(missing_rows)
    assert await write_tools.cell("Customers", "1", "Value") == 10.5


async def test_what_nocodb_ignores_without_a_word_is_seen(write_tools: WriteTools) -> None:
    draft = await write_tools.draft("nocodb_update", changes=[change(1, Value=1)])
    row = RowWrite("1", draft.rows[0].before, {"Value": 1, "value": 2})
    (outcomes,) = await write_tools.rows.open(draft).write([row])
    (finding,) = await write_tools.rows.open(draft).check([outcomes])
    assert (finding.state, finding.differing_fields) == ("other", ("value",))
