"""Appliers over two rows, each as the contract wants it: what stands there, and what fails it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.base.errors import WriteUnsure
from core.base.http import HttpClient
from core.changes.kinds import Applier
from core.domain.changes import Change, ChangeStep, Draft, Proposal, RowWrite
from core.domain.messages import Address
from core.domain.rights import Viewer
from core.tools.nocodb.api import NocoApi, TableId
from core.tools.nocodb.bridge import BridgeSource
from core.tools.nocodb.driver import RestDriver
from core.tools.nocodb.write import TableWriter
from core.tools.sample.base import NewRow, SampleApi, SampleDriver, SampleTable
from tests.fakes.bridge import FakeBridge
from tests.fakes.bridge_tables import CUSTOMERS
from tests.fakes.choices import ANA
from tests.fakes.faulty import Trouble
from tests.fakes.faulty_proxy import FaultyProxy
from tests.fakes.memory_table import MemoryTable
from tests.fakes.nocodb.call import FakeUser, World
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.nocodb.tables import FakeBase, FakeField, FakeTable
from tests.real.nocodb.seed import Base, Seeded, call

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
    change: Callable[[str, dict[str, Any]], object]
    remove: Callable[[str], object]
    refuse: Callable[[], None]
    lose: Callable[[str], None]

    def draft(self, kind: str, rows: Sequence[RowWrite]) -> Draft:
        return Draft(self.applier.name, kind, self.target, "People", tuple(rows))

    def update(self, **values: Any) -> Draft:
        rows = [
            RowWrite(id, {name: self.rows()[id][name] for name in values}, values)
            for id in ("1", "2")
        ]
        return self.draft("update", rows)

    def delete(self) -> Draft:
        return self.draft("delete", [RowWrite(id, before=self.rows()[id]) for id in ("1", "2")])

    def create(self, *rows: dict[str, Any]) -> Draft:
        return self.draft("create", [RowWrite(after=row) for row in rows])

    async def standing(self, draft: Draft) -> list[str]:
        return [one.state for one in await self.applier.open(draft).check(draft.rows)]

    async def ready(self, draft: Draft) -> Sequence[RowWrite]:
        """The rows as they are journalled before they are written."""
        findings = await self.applier.open(draft).check(draft.rows)
        assert [one.state for one in findings] == ["before"] * len(findings)
        return [one.write for one in findings]

    async def apply_change(self, draft: Draft) -> Change:
        """All of it, as `core.changes.apply` goes."""
        writes: list[RowWrite] = []
        rows = await self.ready(draft)
        size = self.applier.batch(draft)
        for start in range(0, len(rows), size):
            writes += await self.applier.open(draft).write(rows[start : start + size])
        findings = await self.applier.open(draft).check(writes)
        assert [one.state for one in findings] == ["after"] * len(findings)
        steps = tuple(
            ChangeStep(number, one.write, "done", one.current)
            for number, one in enumerate(findings, 1)
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
        table,
        {},
        lambda: {id: dict(row) for id, row in table.rows.items()},
        lambda id, values: table.rows[id].update(values),
        lambda id: table.rows.pop(id),
        refuse,
        lambda when: table.faults.lose.append("after" if when == "after" else "before"),
    )


@contextlib.asynccontextmanager
async def the_bridge() -> AsyncIterator[Case]:
    async with FakeBridge() as bridge, HttpClient() as http:
        rows = bridge.api.rows[CUSTOMERS] = [
            {"Id": 1, **ADA, "Contract": None},
            {"Id": 2, **BRUNO, "Contract": None},
        ]
        source = BridgeSource(bridge.url, "", http, pauses=(0, 0))
        await source.tools(Viewer())

        def one(id: str) -> dict[str, Any]:
            return next(row for row in rows if str(row["Id"]) == id)

        yield Case(
            source.rows,
            {"table_id": CUSTOMERS, "key": "Id", "computed": ["Id"]},
            lambda: {str(row["Id"]): {n: row[n] for n in FIELDS} for row in rows},
            lambda id, values: one(id).update(values),
            lambda id: rows.remove(one(id)),
            lambda: bridge.fail(1, 500, "422: 422 Client Error: Unprocessable Entity"),
            lambda when: bridge.drop("after" if when == "after" else "before"),
        )


PEOPLE = {"Name": "SingleLineText", "Status": "SingleLineText", "Value": "Number"}


@contextlib.asynccontextmanager
async def nocodb_in_memory() -> AsyncIterator[Case]:
    fields = [FakeField("cid", "Id", "ID")]
    fields += [FakeField(f"c{title}", title, type) for title, type in PEOPLE.items()]
    table = FakeTable("mpeople", "People", fields)
    for row in (ADA, BRUNO):
        table.create(row)
    base = FakeBase("pbase", "Base", {table.id: table})
    world = World({base.id: base}, {"token": FakeUser({base.id: "owner"})})
    async with (
        FakeNocoDB(world) as server,
        _nocodb(
            server.origin,
            "token",
            TableId(base.id, table.id),
            lambda: {str(id): {n: row[n] for n in FIELDS} for id, row in table.rows.items()},
            lambda id, values: table.update(int(id), values),
            lambda id: table.delete(int(id)),
        ) as case,
    ):
        yield case


class FailingSampleApi(SampleApi):
    """A sample base that refuses a write, or whose commit fails before or after it was made."""

    refuses = 0
    fails: str = ""

    async def _write(self, at: TableId, work: Any) -> Any:
        if self.refuses:
            self.refuses -= 1
            with contextlib.closing(sqlite3.connect(self.path)) as other:  # the disk is full
                other.execute("BEGIN EXCLUSIVE")
                return await super()._write(at, work)
        return await super()._write(at, work)

    def _commit(self, connection: sqlite3.Connection) -> None:
        fails = self.fails if connection.total_changes else ""
        if fails:
            self.fails = ""
        if fails != "before":
            super()._commit(connection)
        if fails:
            raise WriteUnsure("disk I/O error")


@contextlib.asynccontextmanager
async def the_sample_base() -> AsyncIterator[Case]:
    fields = [{"id": "cid", "title": "Id", "type": "ID"}]
    fields += [{"id": f"c{title}", "title": title, "type": type} for title, type in PEOPLE.items()]
    table = SampleTable("mpeople", "People", tuple(fields))
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.db"
        api = FailingSampleApi(
            path,
            "Sample",
            [table],
            lambda: {table.id: [NewRow(ADA, now), NewRow(BRUNO, now)]},
            lock_timeout=0,
        )
        (base,) = await api.list_bases()
        driver = SampleDriver(api)
        shape = await driver.describe({"base": base.id, "table_id": table.id})

        def execute(sql: str, *values: object) -> list[Any]:
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                return connection.execute(sql, values).fetchall()

        def rows() -> Rows:
            result = execute("SELECT id, cells FROM table_rows ORDER BY id")
            return {
                str(id): {name: json.loads(cells).get(name) for name in FIELDS}
                for id, cells in result
            }

        def change(id: str, values: dict[str, Any]) -> None:
            cells = json.dumps({**rows()[id], **values})
            execute("UPDATE table_rows SET cells = ? WHERE id = ?", cells, id)

        def refuse() -> None:
            api.refuses = 1

        def lose(when: str) -> None:
            api.fails = when

        yield Case(
            TableWriter(driver),
            shape.target,
            rows,
            change,
            lambda id: execute("DELETE FROM table_rows WHERE id = ?", id),
            refuse,
            lose,
        )


def make_real_base(real: Seeded) -> Base:
    def ask(path: str, body: object) -> Any:
        return call(f"{real.url}{path}", body, xc_token=real.token)

    base = ask("/api/v2/meta/bases", {"title": "Contract"})["id"]
    fields = [{"title": title, "type": type} for title, type in PEOPLE.items()]
    path = f"/api/v3/meta/bases/{base}/tables"
    table = ask(path, {"title": "People", "fields": fields})["id"]
    ask(f"/api/v3/data/{base}/{table}/records", [{"fields": row} for row in (ADA, BRUNO)])
    return Base(base, {"People": table})


@contextlib.asynccontextmanager
async def a_real_nocodb(real: Seeded, base: Base) -> AsyncIterator[Case]:
    """`base` is as `make_real_base` made it."""
    table = base.tables["People"]
    records = f"{real.url}/api/v3/data/{base.id}/{table}/records"

    def ask(url: str, body: object = None, method: str = "") -> Any:
        return call(url, body, method=method, xc_token=real.token)

    def rows() -> Rows:
        match = ask(f"{records}?pageSize=100")["records"]
        return {str(row["id"]): {name: row["fields"][name] for name in FIELDS} for row in match}

    async with _nocodb(
        real.url,
        real.token,
        TableId(base.id, table),
        rows,
        lambda id, values: ask(records, {"id": id, "fields": values}, "PATCH"),
        lambda id: ask(records, {"id": id}, "DELETE"),
    ) as case:
        yield case


@contextlib.asynccontextmanager
async def _nocodb(
    url: str,
    token: str,
    at: TableId,
    rows: Callable[[], Rows],
    change: Callable[[str, dict[str, Any]], object],
    remove: Callable[[str], object],
) -> AsyncIterator[Case]:
    """What fails it stands before it."""
    refusal = Trouble("status", 422, {"error": "ERR_INVALID_VALUE_FOR_FIELD", "message": "no"})
    async with FaultyProxy(url) as proxy, HttpClient() as http:
        api = NocoApi(proxy.origin, token, http, pauses=())
        driver = RestDriver(api)
        shape = await driver.describe({"base": at.base, "table_id": at.table})
        yield Case(
            TableWriter(driver),
            shape.target,
            rows,
            change,
            remove,
            lambda: proxy.trouble(refusal),
            lambda when: proxy.drop("after" if when == "after" else "before"),
        )
