"""What a batch asks for, and when a table's description is read anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from bot.integrations import KINDS
from core.base.errors import ToolError, WriteUnsure
from core.changes.apply import ChangeRunner
from core.changes.cards import CardBuilder
from core.changes.ledger import SqlLedger
from core.domain.changes import Change, ChangeStep, Draft, Proposal, RowWrite
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.nocodb.tables import FakeBase, Relation, add_links
from tests.fakes.null_ledger import NullLedger
from tests.nocodb.places import catch_error
from tests.nocodb.write_tools import ANA, HERE, WriteTools


def count_descriptions(fake: FakeNocoDB) -> int:
    return sum("/meta/" in call.path and "/tables/" in call.path for call in fake.calls)


def changes(*ids: int) -> list[dict[str, Any]]:
    return [{"id": id, "fields": {"Value": 1000 + id}} for id in ids]


async def apply_draft(write_tools: WriteTools, draft: Draft) -> Sequence[ChangeStep]:
    """As an approval applies it."""
    proposal = Proposal("abcde2", draft, ANA, HERE, 1, "c1", "t1", 0, "en", 0.0, 1.0)
    steps = tuple(ChangeStep(number, row) for number, row in enumerate(draft.rows, 1))
    change = Change(proposal, "applying", steps, ANA)
    applying = ChangeRunner(
        cast(SqlLedger, NullLedger(change)),
        {write_tools.rows.name: write_tools.rows},
        CardBuilder(KINDS),
    )
    return (await applying.run(change)).steps


@pytest.mark.parametrize(("rows", "batches"), [(1, 1), (10, 1), (30, 3)])
async def test_an_approved_change_reads_the_description_once_for_each_batch(
    write_tools: WriteTools, fake: FakeNocoDB, rows: int, batches: int
) -> None:
    """Four calls: the description, the rows, the write, the rows again. It made six."""
    question = changes(*range(1, rows + 1))
    draft = await write_tools.draft("nocodb_update", changes=question)
    fake.calls.clear()
    steps = await apply_draft(write_tools, draft)
    assert [step.state for step in steps] == ["done"] * rows
    methods = [call.method for call in fake.calls if call.path.endswith("/records")]
    assert methods == ["GET", "PATCH", "GET"] * batches
    assert count_descriptions(fake) == batches
    assert len(fake.calls) == 4 * batches


async def test_a_batch_that_is_opened_again_reads_the_description_again(
    write_tools: WriteTools, fake: FakeNocoDB
) -> None:
    draft = await write_tools.draft("nocodb_update", changes=changes(1, 2))
    before = count_descriptions(fake)
    batch = write_tools.rows.open(draft)
    assert count_descriptions(fake) == before, "nothing is asked before it is needed"
    for _ in range(2):
        await batch.check(draft.rows)
    await batch.write(draft.rows)
    await batch.check(draft.rows)
    assert count_descriptions(fake) == before + 1
    await write_tools.rows.open(draft).check(draft.rows)
    assert count_descriptions(fake) == before + 2


async def test_a_description_that_could_not_be_read_is_asked_for_again(
    write_tools: WriteTools, fake: FakeNocoDB
) -> None:
    draft = await write_tools.draft("nocodb_update", changes=changes(1))
    batch = write_tools.rows.open(draft)
    fake.drop("before")
    with pytest.raises(ToolError):
        await batch.check(draft.rows)
    assert [one.state for one in await batch.check(draft.rows)] == ["before"]


async def test_a_table_that_changed_between_two_batches(
    write_tools: WriteTools, base: FakeBase
) -> None:
    draft = await write_tools.draft("nocodb_update", changes=changes(*range(1, 21)))
    first, second = draft.rows[:10], draft.rows[10:]
    batch = write_tools.rows.open(draft)
    await batch.check(first)
    await batch.write(first)
    await batch.check(first)
    base.table("Customers").field("Value").title = "Worth"
    assert (await catch_error(write_tools.rows.open(draft).check(second))).code == "drift"


async def test_a_lost_answer_is_looked_for_on_the_same_description(
    write_tools: WriteTools, fake: FakeNocoDB
) -> None:
    draft = await write_tools.draft("nocodb_update", changes=changes(1))
    batch = write_tools.rows.open(draft)
    await batch.check(draft.rows)
    before = count_descriptions(fake)
    fake.drop("after")
    with pytest.raises(WriteUnsure):
        await batch.write(draft.rows)
    assert [one.state for one in await batch.check(draft.rows)] == ["after"]
    assert count_descriptions(fake) == before


async def test_an_empty_cell_that_has_been_filled_keeps_its_row(write_tools: WriteTools) -> None:
    draft = await write_tools.draft("nocodb_delete", ids=[1])
    (row,) = draft.rows
    fields = {name: value for name, value in (row.before or {}).items() if name != "Value"}
    assert await write_tools.standing(draft, [RowWrite("1", before=fields)]) == ["other"]
    more = {**(row.before or {}), "Gone": "x"}
    assert await write_tools.standing(draft, [RowWrite("1", before=more)]) == ["other"]


@pytest.fixture
def readings(base: FakeBase) -> Relation:
    """Customer 5 has Readings 1 to 250."""
    relation = add_links(base, "Customers", "Reads", "Readings", "mm")
    relation.pairs = [(5, number) for number in range(1, 251)]
    return relation


async def test_many_links_are_removed_in_several_calls(
    write_tools: WriteTools, readings: Relation
) -> None:
    draft = await write_tools.draft(
        "nocodb_update", changes=[{"id": 5, "fields": {"Reads": [1, 2]}}]
    )
    outcome = await write_tools.all_done(draft)
    assert readings.pairs == [(5, 1), (5, 2)]
    await write_tools.undone(outcome)
    assert len(readings.pairs) == 250


@pytest.mark.parametrize(
    ("refused_call", "state", "count"), [(0, "failed", 250), (1, "unknown", 150)]
)
async def test_links_of_which_some_were_removed_are_not_reported_as_refused(
    write_tools: WriteTools,
    fake: FakeNocoDB,
    readings: Relation,
    refused_call: int,
    state: str,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draft = await write_tools.draft("nocodb_update", changes=[{"id": 5, "fields": {"Reads": []}}])
    api, calls = write_tools.api, list[object]()
    write_links = type(api).write_links

    async def refuse_one(self: Any, *args: Any, **options: Any) -> None:
        calls.append(args)
        if len(calls) > refused_call:
            fake.fail(1, 422, {"error": "ERR_RECORD_NOT_FOUND", "message": "Record not found"})
        await write_links(self, *args, **options)

    monkeypatch.setattr(type(api), "write_links", refuse_one)
    (step,) = await apply_draft(write_tools, draft)
    assert (step.state, len(readings.pairs)) == (state, count)
