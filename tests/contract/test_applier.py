"""What every applier promises: over the table in memory, and the bridge to NocoDB."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from core.change_ports import Applier
from core.errors import ToolError, WriteUnsure
from core.http import HttpClient
from core.messages import Address
from core.proposal import Change, Draft, Proposal, RowWrite, Step, WriteKind
from core.tools.bridge.source import BridgeSource
from tests.fakes.bridge import FakeBridge
from tests.fakes.bridge_tables import CUSTOMERS
from tests.fakes.choices import ANA
from tests.fakes.memory_table import MemoryTable

Rows = Mapping[str, Mapping[str, Any]]
ADA = {"Name": "Ada", "Status": "Lead", "Value": 1}
BRUNO = {"Name": "Bruno", "Status": "Lost", "Value": 2}
FIELDS = ("Name", "Status", "Value")


@dataclass(frozen=True)
class Case:
    """An applier over a table with two rows, "1" and "2"; what fails it."""

    applier: Applier
    target: Mapping[str, Any]
    rows: Callable[[], Rows]
    change: Callable[[str, dict[str, Any]], None]
    remove: Callable[[str], object]
    refuse: Callable[[], None]
    lose: Callable[[str], None]

    def draft(self, kind: WriteKind, rows: Sequence[RowWrite]) -> Draft:
        return Draft(self.applier.name, kind, self.target, "People", tuple(rows))

    def update(self, **values: Any) -> Draft:
        """Of both rows."""
        rows = [
            RowWrite(id, {name: self.rows()[id][name] for name in values}, values)
            for id in ("1", "2")
        ]
        return self.draft("update", rows)

    def delete(self) -> Draft:
        return self.draft("delete", [RowWrite(id, before=self.rows()[id]) for id in ("1", "2")])

    def create(self, *rows: dict[str, Any]) -> Draft:
        return self.draft("create", [RowWrite(after=row) for row in rows])

    async def standing(self, draft: Draft, rows: Sequence[RowWrite] = ()) -> list[str]:
        return [one.standing for one in await self.applier.verify(draft, rows or draft.rows)]

    async def ready(self, draft: Draft) -> Sequence[RowWrite]:
        """The rows as they are journalled before they are written."""
        seen = await self.applier.verify(draft, draft.rows)
        assert [one.standing for one in seen] == ["before"] * len(seen)
        return [one.write for one in seen]

    async def done(self, draft: Draft) -> Change:
        """All of it, as `core.applying` goes."""
        writes: list[RowWrite] = []
        rows = await self.ready(draft)
        size = self.applier.batch(draft)
        for start in range(0, len(rows), size):
            writes += await self.applier.apply(draft, rows[start : start + size])
        seen = await self.applier.verify(draft, writes)
        assert [one.standing for one in seen] == ["after"] * len(seen)
        steps = tuple(
            Step(number, one.write, "done", one.now) for number, one in enumerate(seen, 1)
        )
        proposal = Proposal(
            "abcde2", draft, ANA, Address("web", "C1"), 1, "c1", "t1", 0, "en", 0.0, 1.0
        )
        return Change(proposal, "done", steps, ANA)


@contextlib.asynccontextmanager
async def a_table_in_memory() -> AsyncIterator[Case]:
    table = MemoryTable({"1": dict(ADA), "2": dict(BRUNO)})

    def refuse() -> None:
        table.faults.refuse = 1

    yield Case(
        table, {}, lambda: {id: dict(row) for id, row in table.rows.items()},
        lambda id, values: table.rows[id].update(values), lambda id: table.rows.pop(id),
        refuse, lambda when: table.faults.lose.append("after" if when == "after" else "before"),
    )  # fmt: skip


@contextlib.asynccontextmanager
async def the_bridge() -> AsyncIterator[Case]:
    async with FakeBridge() as bridge, HttpClient() as http:
        rows = bridge.api.rows[CUSTOMERS] = [
            {"Id": 1, **ADA, "Contract": None}, {"Id": 2, **BRUNO, "Contract": None},
        ]  # fmt: skip
        source = BridgeSource(bridge.url, "", http, pauses=(0, 0))
        await source.tools()

        def one(id: str) -> dict[str, Any]:
            return next(row for row in rows if str(row["Id"]) == id)

        yield Case(
            source.rows, {"table_id": CUSTOMERS, "key": "Id", "computed": ["Id"]},
            lambda: {str(row["Id"]): {n: row[n] for n in FIELDS} for row in rows},
            lambda id, values: one(id).update(values), lambda id: rows.remove(one(id)),
            lambda: bridge.fail(1, 500, "422: 422 Client Error: Unprocessable Entity"),
            lambda when: bridge.drop("after" if when == "after" else "before"),
        )  # fmt: skip


CASES = (a_table_in_memory, the_bridge)


@pytest.fixture(params=CASES, ids=[each.__name__ for each in CASES])
async def case(request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    make: Callable[[], AbstractAsyncContextManager[Case]] = request.param
    async with make() as made:
        yield made


async def test_it_has_a_name_and_a_size(case: Case) -> None:
    assert case.applier.name
    for draft in (case.create(ADA), case.update(Name="X"), case.delete()):
        assert case.applier.batch(draft) >= 1


async def test_a_create(case: Case) -> None:
    change = await case.done(case.create({"Name": "Chloé"}, {"Name": "Davi", "Value": 3}))
    assert [step.write.id for step in change.steps] == ["3", "4"]
    assert case.rows()["4"]["Value"] == 3


async def test_an_update(case: Case) -> None:
    await case.done(case.update(Name="X"))
    assert [row["Name"] for row in case.rows().values()] == ["X", "X"]
    assert case.rows()["1"]["Status"] == "Lead", "and nothing else"


async def test_a_delete(case: Case) -> None:
    await case.done(case.delete())
    assert case.rows() == {}


async def test_a_row_that_is_no_longer_as_it_was(case: Case) -> None:
    update, delete = case.update(Name="X"), case.delete()
    case.change("1", {"Name": "somebody's own"})
    assert await case.standing(update) == ["other", "before"]
    assert await case.standing(delete) == ["other", "before"]


async def test_another_field_is_nobodys_matter(case: Case) -> None:
    update = case.update(Name="X")
    case.change("1", {"Status": "Active"})
    assert await case.standing(update) == ["before", "before"]


async def test_a_row_that_is_gone(case: Case) -> None:
    update, delete = case.update(Name="X"), case.delete()
    case.remove("2")
    assert await case.standing(update) == ["before", "other"]
    assert await case.standing(delete) == ["before", "after"]


async def test_what_was_created_is_taken_back_where_it_is_unchanged(case: Case) -> None:
    change = await case.done(case.create({**ADA, "Name": "C"}, {**ADA, "Name": "D"}))
    draft = case.applier.revert(change)
    case.change("4", {"Name": "somebody's own"})
    assert await case.standing(draft) == ["before", "other"]
    await case.applier.apply(draft, draft.rows[:1])
    assert sorted(case.rows()) == ["1", "2", "4"]


async def test_old_values_are_given_back(case: Case) -> None:
    before = case.rows()
    change = await case.done(case.update(Name="X", Value=7))
    await case.done(case.applier.revert(change))
    assert case.rows() == before


async def test_deleted_rows_come_back_with_new_ids(case: Case) -> None:
    before = case.rows()
    change = await case.done(case.delete())
    undone = await case.done(case.applier.revert(change))
    assert list(case.rows().values()) == list(before.values())
    assert [step.write.id for step in undone.steps] == list(case.rows())


async def test_a_refusal_is_no_doubt(case: Case) -> None:
    for draft in (case.create(ADA), case.update(Name="X"), case.delete()):
        rows = (await case.ready(draft))[: case.applier.batch(draft)]
        case.refuse()
        with pytest.raises(ToolError) as caught:
            await case.applier.apply(draft, rows)
        assert not isinstance(caught.value, WriteUnsure)
        assert await case.standing(draft) == ["before"] * len(draft.rows)


@pytest.mark.parametrize(("when", "standing"), [("before", "before"), ("after", "after")])
async def test_an_answer_that_was_lost(case: Case, when: str, standing: str) -> None:
    """One cannot say; one can look."""
    makes: tuple[Callable[[], Draft], ...] = (
        lambda: case.create(ADA, ADA), lambda: case.update(Name="X"), case.delete,
    )  # fmt: skip
    for make in makes:
        draft = make()
        rows = (await case.ready(draft))[: case.applier.batch(draft)]
        case.lose(when)
        with pytest.raises(WriteUnsure):
            await case.applier.apply(draft, rows)
        assert await case.standing(draft, rows) == [standing] * len(rows)


async def test_a_created_row_is_found_among_its_likes(case: Case) -> None:
    draft = case.create(ADA, ADA)
    rows = await case.ready(draft)
    case.lose("after")
    with pytest.raises(WriteUnsure):
        await case.applier.apply(draft, rows)
    seen = await case.applier.verify(draft, rows)
    assert {one.write.id for one in seen} == {"3", "4"}


async def test_a_field_that_is_ignored_without_a_word(case: Case) -> None:
    draft = case.create({"Name": "C", "Colour": "red"})
    rows = await case.applier.apply(draft, await case.ready(draft))
    (seen,) = await case.applier.verify(draft, rows)
    assert (seen.standing, seen.differs) == ("other", ("Colour",))
    assert seen.now
    draft = case.update(Name="X")
    one = replace(draft.rows[0], after={"Name": "X", "Colour": "red"})
    (written,) = await case.applier.apply(draft, [one])
    (seen,) = await case.applier.verify(draft, [written])
    assert (seen.standing, seen.differs) == ("other", ("Colour",))
