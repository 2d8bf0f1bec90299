"""The fake's bases, with the same tables and rows as `tests.real.nocodb.seed` makes."""

from __future__ import annotations

import functools
import pickle

from tests.fakes.nocodb.call import FakeUser, World
from tests.fakes.nocodb.tables import FakeBase, FakeField, FakeTable, Json, fresh, link_tables
from tests.real.nocodb.seed import FIELDS, READINGS, customer, order, reading

OWNER, EDITOR, VIEWER = "fake-owner-token", "fake-editor-token", "fake-viewer-token"
NOBODY = "fake-of-nobody"
CRM, ARCHIVE = "pcrmfake", "parchivefake"


def make_world() -> World:
    """Return two bases: CRM with Customers, Orders and Readings, and Archive without tables; the
    owner
    sees both, editor and viewer CRM alone."""
    world: World = pickle.loads(_pickled_world())
    return world


@functools.cache
def _pickled_world() -> bytes:
    """Build the world once: building takes 35 ms, unpickling 1 ms."""
    return pickle.dumps(_build_world())


def _build_world() -> World:
    tables = {title: _table(title, fields) for title, fields in FIELDS.items()}
    customers, orders = tables["Customers"], tables["Orders"]
    relation = link_tables(customers, orders)
    amount = orders.find("Amount")
    assert amount is not None
    options = {
        "related_field_id": relation.down.id,
        "related_table_rollup_field_id": amount.id,
        "rollup_function": "sum",
    }
    customers.fields.append(FakeField(fresh("c"), "Total", "Rollup", options))
    for table, rows in (
        (customers, [customer(number) for number in range(1, 31)]),
        (orders, [order(number) for number in range(1, 61)]),
        (tables["Readings"], [reading(number) for number in range(1, READINGS + 1)]),
    ):
        for row in rows:
            table.create(row)
    relation.pairs.extend([(1, 1), (1, 2)])
    customers.update(
        1,
        {
            "Contract": [
                {
                    "title": "contract.txt",
                    "mimetype": "text/plain",
                    "size": 23,
                    "path": "download/contract.txt",
                }
            ]
        },
    )
    bases = [
        FakeBase(CRM, "CRM", {table.id: table for table in tables.values()}),
        FakeBase(ARCHIVE, "Archive"),
    ]
    files = {"download/contract.txt": b"Ten chairs, due in May."}
    return World(
        {base.id: base for base in bases},
        {
            OWNER: FakeUser({CRM: "owner", ARCHIVE: "owner"}),
            EDITOR: FakeUser({CRM: "editor"}),
            VIEWER: FakeUser({CRM: "viewer"}),
            NOBODY: FakeUser(),
        },
        files,
    )


def _table(title: str, fields: list[Json]) -> FakeTable:
    columns = [FakeField(fresh("c"), "Id", "ID")]
    columns += [FakeField(fresh("c"), f["title"], f["type"], f.get("options")) for f in fields]
    return FakeTable(fresh("m"), title, columns)
