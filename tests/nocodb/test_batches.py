"""What a batch asks for, and when a table's description is read anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.changes.model import RowWrite
from core.errors import ToolError, WriteUnsure
from core.http import HttpClient
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.nocodb.desk import Desk


@pytest.fixture
def desk(fake: FakeNocoDB, http: HttpClient) -> Desk:
    return Desk(fake.origin, filled.OWNER, filled.CRM, http)


def described(fake: FakeNocoDB) -> int:
    """Times that a table's description was read."""
    return sum("/meta/" in call.path and "/tables/" in call.path for call in fake.calls)


def changes(*ids: int) -> list[dict[str, Any]]:
    return [{"id": id, "fields": {"Value": 1000 + id}} for id in ids]


async def test_a_batch_reads_the_description_of_its_table_once(
    desk: Desk, fake: FakeNocoDB
) -> None:
    draft = await desk.draft("nocodb_update", table="Customers", changes=changes(*range(1, 31)))
    fake.calls.clear()
    await desk.all_done(draft)
    paths = [(call.method, call.path.rpartition("/")[2]) for call in fake.calls]
    assert described(fake) == 3
    assert [method for method, path in paths if path == "records"] == ["GET", "PATCH", "GET"] * 3
    assert len(fake.calls) == 12


async def test_what_was_not_read_for_this_batch_is_not_stood_on(
    desk: Desk, fake: FakeNocoDB
) -> None:
    draft = await desk.draft("nocodb_update", table="Customers", changes=changes(1, 2))
    gone = [replace(draft.rows[0], id="999")]
    await desk.rows.verify(draft, draft.rows)
    with pytest.raises(ToolError):
        await desk.rows.apply(draft, gone)
    before = described(fake)
    await desk.rows.verify(draft, draft.rows)
    assert described(fake) == before + 1, "after a refusal"
    await desk.rows.apply(draft, draft.rows)
    again = replace(draft)
    await desk.rows.verify(again, again.rows)
    assert described(fake) == before + 2, "another time that the draft is taken up"
    await desk.rows.verify(again, again.rows)
    assert described(fake) == before + 3, "nothing was written since"


async def test_a_table_that_changed_between_two_batches(desk: Desk, fake: FakeNocoDB) -> None:
    draft = await desk.draft("nocodb_update", table="Customers", changes=changes(*range(1, 21)))
    first, second = draft.rows[:10], draft.rows[10:]
    await desk.rows.verify(draft, first)
    await desk.rows.apply(draft, first)
    await desk.rows.verify(draft, first)
    tables = fake.world.bases[filled.CRM].tables.values()
    table = next(each for each in tables if each.title == "Customers")
    value = next(field for field in table.fields if field.title == "Value")
    value.title = "Worth"
    with pytest.raises(ToolError) as caught:
        await desk.rows.verify(draft, second)
    assert caught.value.code == "drift"


async def test_a_lost_answer_is_looked_for_on_the_same_description(
    desk: Desk, fake: FakeNocoDB
) -> None:
    draft = await desk.draft("nocodb_update", table="Customers", changes=changes(1))
    await desk.rows.verify(draft, draft.rows)
    before = described(fake)
    fake.drop("after")
    with pytest.raises(WriteUnsure):
        await desk.rows.apply(draft, draft.rows)
    assert await desk.standing(draft, draft.rows) == ["after"]
    assert described(fake) == before


async def test_an_empty_cell_that_has_been_filled_keeps_its_row(desk: Desk) -> None:
    draft = await desk.draft("nocodb_delete", table="Customers", ids=[1])
    (row,) = draft.rows
    known = {name: value for name, value in (row.before or {}).items() if name != "Value"}
    assert await desk.standing(draft, [RowWrite("1", before=known)]) == ["other"]
    more = {**(row.before or {}), "Gone": "x"}
    assert await desk.standing(draft, [RowWrite("1", before=more)]) == ["other"]
