"""The sample base where a table, a field or its file is not as it should be."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from core.base.errors import WriteUnsure
from core.base.http import HttpClient
from core.tools.nocodb.api import TableId
from core.tools.nocodb.api_errors import NocoError
from core.tools.sample.base import SampleApi
from tests.nocodb.places import refusal
from tests.nocodb.sample import make_sample_base
from tests.nocodb.write_tools import WriteTools


@pytest.fixture
def sample(tmp_path: Path) -> SampleApi:
    return make_sample_base(tmp_path)


async def place_of(sample: SampleApi, table: str) -> TableId:
    (base,) = await sample.list_bases()
    return TableId(base.id, table)


async def test_unknown_tables_and_links_are_refused(sample: SampleApi) -> None:
    at = await place_of(sample, "mcustomers")
    error = await refusal(sample.describe_table(TableId(at.base, "mgone")))
    assert (error.code, str(error)) == ("unknown_table", "Table `mgone` not found.")
    for field in ("Name", "Gone"):
        error = await refusal(sample.fetch_linked_rows(at, field, "1"))
        assert (error.code, str(error)) == (
            "unknown_field",
            f"Field `{field}` not found in the table Customers.",
        )


async def test_a_link_is_read_from_both_ends(sample: SampleApi) -> None:
    orders, customers = await place_of(sample, "morders"), await place_of(sample, "mcustomers")
    for at, field, row, link in (
        (customers, "Orders", "1", ["1", "2"]),
        (orders, "Customers", "1", ["1"]),
        (orders, "Customers", "3", []),
    ):
        linked_rows = await sample.fetch_linked_rows(at, field, row)
        assert [one.id for one in linked_rows] == link, (field, row)


async def test_a_row_that_could_not_be_read_does_not_count_as_deleted(
    sample: SampleApi, http: HttpClient
) -> None:
    write_tools = WriteTools("", "", "", http, sample=sample)
    draft = await write_tools.draft("nocodb_delete", table="Customers", ids=[1])
    batch = write_tools.rows.open(draft)
    assert [one.state for one in await batch.check(draft.rows)] == ["before"]
    sample.path.write_bytes(b"not a database" * 1000)
    assert (await refusal(batch.check(draft.rows))).code == "sample_failed"


async def test_a_commit_that_fails_is_unsure(sample: SampleApi) -> None:
    at = await place_of(sample, "mcustomers")
    busy = SampleApi(sample.path, "CRM", [], dict, lock_timeout=0)
    busy._english_tables = sample._english_tables
    with closing(sqlite3.connect(sample.path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with pytest.raises(WriteUnsure, match="locked"):
            await busy.create_rows(at, [{"Name": "New"}])
    assert await sample.count_rows(at) == 30


async def test_a_base_that_cannot_be_restored_says_why(tmp_path: Path) -> None:
    sample = make_sample_base(tmp_path)
    sample.path.mkdir()
    with pytest.raises(NocoError, match="unable to open"):
        sample.reset()


async def test_a_reset_removes_no_file_that_another_process_writes(sample: SampleApi) -> None:
    await place_of(sample, "mcustomers")
    busy = SampleApi(sample.path, "CRM", [], dict, lock_timeout=0)
    with closing(sqlite3.connect(sample.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE base SET id = 'written'")
        with pytest.raises(NocoError, match="locked"):
            busy.reset()
        writer.execute("COMMIT")
    assert (await place_of(sample, "mcustomers")).base == "written"


@pytest.mark.parametrize(
    ("at", "damage"),
    [
        (b"Name", b"\xff"),
        (18, b"\x09"),
        (44, b"\0\0\0\x09"),
        (60, b"\xff"),
    ],
    ids=["invalid UTF-8", "write format", "schema format", "negative language"],
)
async def test_a_reset_replaces_a_damaged_file(
    sample: SampleApi, at: int | bytes, damage: bytes
) -> None:
    await place_of(sample, "mcustomers")
    content = bytearray(sample.path.read_bytes())
    start = at if isinstance(at, int) else content.index(at)
    content[start : start + len(damage)] = damage
    sample.path.write_bytes(content)
    sample.reset()
    assert await sample.count_rows(await place_of(sample, "mcustomers")) == 30


async def test_a_reset_removes_no_file_on_a_full_disk(
    sample: SampleApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place_of(sample, "mcustomers")
    content = sample.path.read_bytes()

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 1")
        connection.execute("CREATE TABLE big AS SELECT zeroblob(1000000)")

    monkeypatch.setattr(sample, "_fill", fill)
    with pytest.raises(NocoError, match="full"):
        sample.reset()
    assert sample.path.read_bytes() == content
