"""What the fake NocoDB does with rows and links, for one request each. Raises Refused."""

from __future__ import annotations

from typing import Any

from tests.fakes.nocodb.answers import Refused
from tests.fakes.nocodb.call import Call, Rows

BATCH = 10


def page(call: Call) -> object:
    ids, more = call.page(call.sorted(call.found()))
    return {"records": [call.table.shown(id, call.only) for id in ids], **_next(more)}


def create(call: Call) -> object:
    table, rows = call.table, call.rows(most=BATCH)
    for row in rows:
        if set(row) - {"fields"}:
            words = f"Properties '{', '.join(row)}' on index 0 is not allowed"
            raise Refused(400, "ERR_INVALID_REQUEST_BODY", words)
    return {"records": [table.shown(table.create(row.get("fields", {}))) for row in rows]}


def update(call: Call) -> object:
    """One id that is not there refuses all of them."""
    table, rows = call.table, call.rows(most=BATCH)
    ids = _ids(call, rows)
    if twice := next((id for id in ids if ids.count(id) > 1), None):
        raise Refused(422, "", f"Duplicate record with id {twice}", key="msg")
    for id, row in zip(ids, rows, strict=True):
        table.update(id, row.get("fields", {}))
    return {"records": [table.shown(id) for id in ids]}


def delete(call: Call) -> object:
    rows = call.rows(most=BATCH)
    for id in _ids(call, rows):
        call.table.delete(id)
    return {"records": [{"id": row["id"], "deleted": True} for row in rows]}


def links(call: Call) -> object:
    column = call.column
    rows = call.table.linked(column, call.row)
    if (column.options or {}).get("relation_type") == "bt":
        return {"record": rows[0] if rows else None, "next": None}
    shown, more = call.page(rows)
    return {"records": shown, **_next(more)}


def link(call: Call) -> object:
    return _each_link(call, call.table.link)


def unlink(call: Call) -> object:
    return _each_link(call, call.table.unlink)


def _each_link(call: Call, do: Any) -> object:
    column, id = call.column, call.row
    for each in call.rows():
        do(column, id, each["id"])
    return {"success": True}


def _ids(call: Call, rows: Rows) -> list[int]:
    if any("id" not in row for row in rows):
        words = "Property 'id' is required on index 0"
        raise Refused(400, "ERR_INVALID_REQUEST_BODY", words)
    return [call.table.row(row["id"]) for row in rows]


def _next(more: bool) -> dict[str, str | None]:
    return {"next": "http://localhost/next" if more else None}
