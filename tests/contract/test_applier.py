"""What every applier promises: over a table in memory, the bridge, the sample base, and NocoDB,
fake and real."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest

from core.base.errors import ToolError, WriteUnsure
from core.base.http import HttpClient
from core.domain.changes import Draft, RowWrite
from core.domain.messages import Address
from core.domain.records import Outcome
from core.domain.rights import Viewer
from core.tools.nocodb.bridge import BridgeSource
from tests.contract.applier_case import (
    ADA,
    Case,
    a_real_nocodb,
    a_table_in_memory,
    make_real_base,
    nocodb_in_memory,
    the_bridge,
    the_sample_base,
)
from tests.core.tools.scene import make_tool_context, with_controls
from tests.fakes.bridge import FakeBridge
from tests.fakes.bridge_tables import CUSTOMERS
from tests.fakes.choices import ANA
from tests.fakes.faulty import Trouble
from tests.real.nocodb.seed import ReusedBase, Seeded

CASES = (a_table_in_memory, the_bridge, nocodb_in_memory, the_sample_base)


@pytest.fixture(scope="session")
def base_of_people(real_nocodb: Seeded) -> ReusedBase:
    return ReusedBase(real_nocodb, lambda: make_real_base(real_nocodb))


@pytest.fixture(params=[*(each.__name__ for each in CASES), a_real_nocodb.__name__])
async def case(request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    makes: dict[str, Callable[[], AbstractAsyncContextManager[Case]]]
    makes = {each.__name__: each for each in CASES}
    if make := makes.get(request.param):
        async with make() as new_item:
            yield new_item
        return
    real: Seeded = request.getfixturevalue("real_nocodb")
    people: ReusedBase = request.getfixturevalue("base_of_people")
    async with a_real_nocodb(real, people.take()) as new_item:
        yield new_item


async def test_a_row_that_changed_meanwhile_is_not_overwritten(case: Case) -> None:
    update, delete = case.update(Name="X"), case.delete()
    case.change("1", {"Status": "Active"})
    assert await case.standing(update) == ["before", "before"], "another field does not matter"
    case.change("1", {"Name": "somebody's own", "Status": "Lead"})
    for draft in (update, delete):
        assert await case.standing(draft) == ["other", "before"]
    case.remove("2")
    assert await case.standing(update) == ["other", "other"]
    assert await case.standing(delete) == ["other", "after"]


async def test_a_change_is_applied_and_undone(case: Case) -> None:
    assert case.applier.name
    before = case.rows()
    update = await case.apply_change(case.update(Name="X", Value=7))
    assert [(row["Name"], row["Value"]) for row in case.rows().values()] == [("X", 7)] * 2
    assert case.rows()["1"]["Status"] == "Lead", "and nothing else"
    await case.apply_change(case.applier.revert(update))
    assert case.rows() == before

    create = await case.apply_change(case.create({**ADA, "Name": "C"}, {**ADA, "Name": "D"}))
    assert [step.write.id for step in create.steps] == ["3", "4"]
    assert case.rows()["4"] == {**ADA, "Name": "D"}
    draft = case.applier.revert(create)
    case.change("4", {"Name": "somebody's own"})
    assert await case.standing(draft) == ["before", "other"], "only what is unchanged is taken back"
    await case.applier.open(draft).write(draft.rows[:1])
    assert sorted(case.rows()) == ["1", "2", "4"]
    case.remove("4")

    delete = await case.apply_change(case.delete())
    assert case.rows() == {}
    undone = await case.apply_change(case.applier.revert(delete))
    assert list(case.rows().values()) == list(before.values())
    assert [step.write.id for step in undone.steps] == list(case.rows()), "with new ids"


async def test_a_refused_write_is_not_unsure(case: Case) -> None:
    for draft in (case.create(ADA), case.update(Name="X"), case.delete()):
        rows = (await case.ready(draft))[: case.applier.batch(draft)]
        case.refuse()
        with pytest.raises(ToolError) as error:
            await case.applier.open(draft).write(rows)
        assert not isinstance(error.value, WriteUnsure)
        assert await case.standing(draft) == ["before"] * len(draft.rows)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_answer_that_was_lost(case: Case, when: str) -> None:
    """One cannot say; one can look. Created rows are found among their likes."""
    makes: tuple[Callable[[], Draft], ...] = (
        lambda: case.create(ADA, ADA),
        lambda: case.update(Name="X"),
        case.delete,
    )
    for make in makes:
        draft = make()
        rows = (await case.ready(draft))[: case.applier.batch(draft)]
        case.lose(when)
        with pytest.raises(WriteUnsure):
            await case.applier.open(draft).write(rows)
        findings = await case.applier.open(draft).check(rows)
        assert [one.state for one in findings] == [when] * len(rows)
        if draft.kind == "create" and when == "after":
            assert {one.write.id for one in findings} == {"3", "4"}


async def test_a_bridge_that_does_not_name_the_row_that_it_created() -> None:
    """It is not created again: one looks."""
    async with FakeBridge() as bridge, HttpClient() as http:
        bridge.api.rows[CUSTOMERS] = []
        source = BridgeSource(bridge.url, "", http, pauses=(0, 0))
        await source.tools(Viewer())
        target = {"table_id": CUSTOMERS, "key": "Id", "computed": ["Id"]}
        draft = Draft(source.rows.name, "create", target, "People", (RowWrite(after=ADA),))
        (before,) = await source.rows.open(draft).check(draft.rows)
        bridge.trouble(Trouble("after", 200, {"result": {"Name": "Ada"}}))
        with pytest.raises(WriteUnsure, match="which rows it created"):
            await source.rows.open(draft).write([before.write])
        (after,) = await source.rows.open(draft).check([before.write])
    assert (before.state, after.state, after.write.id) == ("before", "after", "1")


async def test_a_row_whose_empty_cell_was_filled_is_not_deleted_through_the_bridge() -> None:
    drafts: list[Draft] = []

    async def propose(draft: Draft) -> Outcome:
        drafts.append(draft)
        return Outcome("proposed", "")

    async def show(words: str) -> None:
        return None

    async with FakeBridge() as bridge, HttpClient() as http:
        (row,) = bridge.api.rows[CUSTOMERS] = [{"Id": 1, **ADA, "Contract": None}]
        source = BridgeSource(bridge.url, "", http, pauses=(0, 0))
        (tool,) = await source.tools(Viewer())
        scene = make_tool_context(ANA, Address("web", "C1"), show)
        ctx = with_controls(scene, propose=propose)
        request = {"tool": "delete_record", "args": {"table_id": CUSTOMERS, "record_id": "1"}}
        await tool.run(ctx, json.dumps(request))
        (draft,) = drafts
        assert [one.state for one in await source.rows.open(draft).check(draft.rows)] == ["before"]
        row["Contract"] = "signed"
        assert [one.state for one in await source.rows.open(draft).check(draft.rows)] == ["other"]


async def test_a_field_that_is_ignored_without_a_word(case: Case) -> None:
    draft = case.create({"Name": "C", "Colour": "red"})
    rows = await case.applier.open(draft).write(await case.ready(draft))
    (finding,) = await case.applier.open(draft).check(rows)
    assert (finding.state, finding.differing_fields) == ("other", ("Colour",))
    assert finding.current
    draft = case.update(Name="X")
    one = replace(draft.rows[0], after={"Name": "X", "Colour": "red"})
    (row,) = await case.applier.open(draft).write([one])
    (finding,) = await case.applier.open(draft).check([row])
    assert (finding.state, finding.differing_fields) == ("other", ("Colour",))
