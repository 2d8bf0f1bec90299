"""Every kind of field and of link that a real NocoDB has: written, seen, taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from core.base.http import HttpClient
from core.domain.changes import Change
from tests.nocodb.write_tools import WriteTools
from tests.real.nocodb.seed import Base, ReusedBase, Seeded, call

PLAIN = (
    "SingleLineText",
    "LongText",
    "Email",
    "URL",
    "PhoneNumber",
    "Number",
    "Decimal",
    "Currency",
    "Percent",
    "Duration",
    "Rating",
    "Checkbox",
    "Date",
    "DateTime",
    "Time",
    "Year",
    "JSON",
    "Attachment",
    "User",
    "Geometry",
)
CHOICES = {"choices": [{"title": "A"}, {"title": "B c"}, {"title": 'O\'Neil "x"'}]}
FIRST: dict[str, Any] = {
    "SingleLineText": "079", "LongText": "one\n\"two\" 'three' %", "Email": "ana@example.com",
    "URL": "https://example.com/a?b=c", "PhoneNumber": "+55 11 99999-0000", "Number": "79",
    "Decimal": -1.25, "Currency": "12.345", "Percent": "50%", "Duration": "1:30", "Rating": 3,
    "Checkbox": "true", "Date": "2026-02-28", "DateTime": "2026-11-20 14:30", "Time": "14:30",
    "Year": 2026, "JSON": {"b": [1, None], "a": "ü"}, "User": "Owner@example.com",
    "SingleSelect": 'O\'Neil "x"', "MultiSelect": ["B c", "A"],
}  # fmt: skip
SECOND: dict[str, Any] = {
    "SingleLineText": "79", "LongText": None, "Email": None, "URL": "example.com",
    "PhoneNumber": "911", "Number": 0, "Decimal": 0, "Currency": None, "Percent": 0.5,
    "Duration": 90, "Rating": 0, "Checkbox": False, "Date": None,
    "DateTime": "2026-11-20T14:30:01Z", "Time": "23:59:59", "Year": None, "JSON": '{"a": "ü"}',
    "User": None, "SingleSelect": "A", "MultiSelect": [],
}  # fmt: skip


@pytest.fixture(scope="session")
def base_of_kinds(real_nocodb: Seeded) -> ReusedBase:
    return ReusedBase(real_nocodb, lambda: make_base(real_nocodb))


@pytest.fixture
async def write_tools(real_nocodb: Seeded, base_of_kinds: ReusedBase) -> AsyncIterator[WriteTools]:
    async with HttpClient() as http:
        yield WriteTools(real_nocodb.url, real_nocodb.token, base_of_kinds.take().id, http)


def make_base(real_nocodb: Seeded) -> Base:
    """A table with every kind of field, and two tables with every kind of link between them."""

    def ask(path: str, body: object) -> Any:
        return call(f"{real_nocodb.url}{path}", body, xc_token=real_nocodb.token)

    base = ask("/api/v2/meta/bases", {"title": "Kinds"})["id"]
    tables = f"/api/v3/meta/bases/{base}/tables"
    kinds = ask(tables, {"title": "Kinds", "fields": [{"title": t, "type": t} for t in PLAIN]})
    for type in ("SingleSelect", "MultiSelect"):
        ask(f"{tables}/{kinds['id']}/fields", {"title": type, "type": type, "options": CHOICES})
    name = [{"title": "Name", "type": "SingleLineText"}]
    ids = {title: ask(tables, {"title": title, "fields": name})["id"] for title in ("One", "Two")}
    for title, type, relation in (
        ("Friends", "LinkToAnotherRecord", "mm"),
        ("Counted", "Links", "mm"),
        ("Only", "LinkToAnotherRecord", "oo"),
        ("Owned", "LinkToAnotherRecord", "hm"),
        ("Owned too", "Links", "hm"),
    ):
        options = {"relation_type": relation, "related_table_id": ids["Two"]}
        ask(f"{tables}/{ids['One']}/fields", {"title": title, "type": type, "options": options})
    for id in ids.values():
        rows = [{"fields": {"Name": f"n{number}"}} for number in range(1, 10)]
        ask(f"/api/v3/data/{base}/{id}/records", rows)
    return Base(base, {"Kinds": kinds["id"], **ids})


async def do(write_tools: WriteTools, tool: str, **arguments: Any) -> Change:
    return await write_tools.all_done(await write_tools.draft(tool, **arguments))


async def test_every_kind_of_field(write_tools: WriteTools) -> None:
    result = await do(write_tools, "nocodb_create", table="Kinds", rows=[FIRST])
    before = await write_tools.image("Kinds", "1")
    assert before
    assert (before["Percent"], before["Duration"], before["Time"]) == (50, 5400, "14:30:00")
    assert (before["JSON"], before["User"]) == ('{"a": "ü", "b": [1, null]}', ["owner@example.com"])
    again = [{"id": 1, "fields": FIRST}]
    assert (
        await write_tools.error_of_call("nocodb_update", table="Kinds", changes=again)
    ).code == "no_change"
    changes = [{"id": 1, "fields": SECOND}]
    update = await do(write_tools, "nocodb_update", table="Kinds", changes=changes)
    assert len(update.steps[0].write.after or {}) == len(SECOND)
    undone = await write_tools.undone(update)
    assert {step.state for step in undone.steps} == {"done"}
    assert await write_tools.image("Kinds", "1") == before
    deletion = await do(write_tools, "nocodb_delete", table="Kinds", ids=[1])
    back = await write_tools.undone(deletion)
    assert [step.state for step in back.steps] == ["done"]
    assert result.written_steps


async def test_every_kind_of_link_to_many(write_tools: WriteTools) -> None:
    for row, field in enumerate(("Friends", "Counted", "Owned", "Owned too")):
        await check_link_to_many(write_tools, field, 2 * row + 1, 2 * row + 2)


async def check_link_to_many(write_tools: WriteTools, field: str, row: int, other_row: int) -> None:
    """Both rows are new to `field`."""
    targets = [str(n) for n in range(2, 9)]
    outcome = await do(
        write_tools, "nocodb_link", table="One", id=row, link_field=field, add=targets
    )
    assert await write_tools.links("One", str(row), field) == targets
    is_shared = field in ("Friends", "Counted")
    draft = await write_tools.draft(
        "nocodb_link", table="One", id=other_row, link_field=field, add=[2]
    )
    assert [row.id for row in draft.rows] == (
        [str(other_row)] if is_shared else [str(row), str(other_row)]
    )
    move = await write_tools.all_done(draft)
    assert await write_tools.links("One", str(other_row), field) == ["2"]
    assert ("2" in await write_tools.links("One", str(row), field)) == is_shared
    await write_tools.undone(move)
    assert await write_tools.links("One", str(row), field) == targets
    result = await do(write_tools, "nocodb_delete", table="One", ids=[row])
    (step,) = (await write_tools.undone(result)).steps
    assert (step.state, await write_tools.links("One", step.write.id, field)) == ("done", targets)
    for other in set(outcome.draft.target["link_fields"]) - {field}:
        assert await write_tools.links("One", step.write.id, other) == [], (
            "its neighbours are not meant"
        )


async def test_a_link_of_one_to_one(write_tools: WriteTools) -> None:
    for target in (2, 3):
        outcome = await do(
            write_tools, "nocodb_link", table="One", id=1, link_field="Only", add=[target]
        )
        assert await write_tools.links("One", "1", "Only") == [str(target)]
    await write_tools.undone(outcome)
    assert await write_tools.links("One", "1", "Only") == ["2"]
    error = await write_tools.error_of_call(
        "nocodb_link", table="One", id=3, link_field="Only", add=[2]
    )
    assert str(error) == "n2 already belongs to n1 (row 1)."
    result = await do(write_tools, "nocodb_delete", table="One", ids=[1])
    (step,) = (await write_tools.undone(result)).steps
    assert (step.state, await write_tools.links("One", step.write.id, "Only")) == ("done", ["2"])


async def test_what_nocodb_says_it_did_and_did_not(write_tools: WriteTools) -> None:
    """0.301.3 answers 200 to the end of a link of one to one, and keeps it."""
    await do(write_tools, "nocodb_link", table="One", id=1, link_field="Only", add=[2])
    draft = await write_tools.draft("nocodb_link", table="One", id=1, link_field="Only", remove=[2])
    (step,) = (await write_tools.apply_draft(draft)).steps
    assert (step.state, step.explanation) == ("differs", "Only")
