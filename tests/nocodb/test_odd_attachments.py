"""Attachments where the call, the row or its cell is odd."""

from __future__ import annotations

import pytest

from core.domain.changes import Change
from tests.fakes.nocodb.tables import FakeBase
from tests.nocodb.places import Place, only_fake
from tests.nocodb.test_attachments import Reader, attach, put, titles
from tests.nocodb.write_tools import WriteTools


@pytest.fixture
def tools(own_place: Place) -> WriteTools:
    return WriteTools.of(own_place)


def states(change: Change) -> list[str]:
    return [step.state for step in change.steps]


async def test_a_row_is_renamed_and_gets_a_file_and_a_link(tools: WriteTools) -> None:
    """In one request. Links and files are checked by the name that the row has at that time."""
    tools.files.add("a.txt", "text/plain", b"a")
    before = await tools.image("Customers", "2")
    fields = {"Name": "New name", "Contract": "a.txt", "Value": 7, "Orders": [1]}
    changes = [{"id": 2, "fields": fields}, {"id": 3, "fields": {**fields, "Orders": []}}]
    change = await tools.write("nocodb_update", changes=changes)
    row = await tools.image("Customers", "2")
    assert row
    assert (row["Name"], row["Value"], titles(row["Contract"])) == ("New name", 7, ["a.txt"])
    assert [one["id"] for one in row["Orders"]] == ["1"]
    assert set(states(await tools.undone(change))) == {"done"}
    assert await tools.image("Customers", "2") == before


@only_fake
async def test_a_file_that_is_named_twice_is_attached_once(tools: WriteTools) -> None:
    file = tools.files.add("a.txt", "text/plain", b"a")
    await attach(tools, "a.txt", file.id, "A.TXT")
    assert titles(await tools.cell("Customers", "2", "Contract")) == ["a.txt"]


async def test_the_files_of_others_stay_as_they_are(tools: WriteTools, own_place: Place) -> None:
    upload = await own_place.api().upload_file("x.txt", "text/plain", b"x")
    await put(own_place, [{**upload, "icon": "mdi-file"}])
    tools.files.add("a.txt", "text/plain", b"a")
    await attach(tools, "a.txt")
    first, second = await tools.cell("Customers", "2", "Contract")
    assert (first["icon"], first["path"], second["title"]) == ("mdi-file", upload["path"], "a.txt")


@only_fake
@pytest.mark.parametrize("cell", ["old text", {"path": "download/x", "title": "x"}, 7, True])
async def test_a_cell_that_holds_no_list_is_left_alone(
    tools: WriteTools, base: FakeBase, cell: object
) -> None:
    """NocoDB 0.301.3 returns the text of a text field that was changed to one of files."""
    tools.files.add("a.txt", "text/plain", b"a")
    base.table("Customers").rows[2]["Contract"] = cell
    fields = {"Contract": "a.txt"}
    error = await tools.error_of_call("nocodb_update", changes=[{"id": 2, "fields": fields}])
    assert error.code == "bad_value"
    assert "Row 2, Contract: this field doesn't hold files" in str(error)


@only_fake
@pytest.mark.parametrize(
    ("file", "shown"),
    [({"title": "x", "size": 10**400}, "x (1,099,511,627,776 MiB)"),
     ({"title": "x", "size": -1}, "x (0 B)"), ({"title": "x", "size": True}, "x (1 B)"),
     ({"title": "x", "size": "3"}, "x"), ({"title": None, "size": 3}, " (3 B)"),
     ({"title": "\ud800", "size": 1e30}, "\ufffd"), (None, ""), ("text", "text")],
)  # fmt: skip
async def test_an_odd_entry_is_shown_and_kept(
    tools: WriteTools, place: Place, base: FakeBase, file: object, shown: str
) -> None:
    file = {"path": "download/contract.txt", **file} if isinstance(file, dict) else file
    base.table("Customers").rows[2]["Contract"] = [
        file,
        {"title": "y", "path": "download/contract.txt"},
    ]
    reader = Reader(place)
    assert f'"Contract":"{shown}, y"' in (await reader.read(None)).text
    assert (await reader.read("y")).files[0].size == 23
    tools.files.add("a.txt", "text/plain", b"a")
    change = await attach(tools, "a.txt")
    assert states(change) == ["done"]
    assert titles(base.table("Customers").rows[2]["Contract"])[-2:] == ["y", "a.txt"]
