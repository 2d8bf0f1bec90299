"""The fake NocoDB's handlers for rows and links. Each raises NocoDBErrorResponse."""

from __future__ import annotations

import re
import secrets
from typing import Any

from tests.fakes.nocodb.answers import NocoDBErrorResponse, unprocessable
from tests.fakes.nocodb.call import Call, Rows
from tests.fakes.nocodb.values import sign

BATCH = 10
MAX_FILE_BYTES = 20 << 20


def page(call: Call) -> object:
    ids, more = call.page(call.sort_ids(call.matching_ids()))
    return {"records": [call.table.row_json(id, call.only) for id in ids], **_next(more)}


def create(call: Call) -> object:
    table, rows = call.table, call.rows(most=BATCH)
    for row in rows:
        if set(row) - {"fields"}:
            words = f"Properties '{', '.join(row)}' on index 0 is not allowed"
            raise NocoDBErrorResponse(400, "ERR_INVALID_REQUEST_BODY", words)
        _refuse_files(call, row)
    return {"records": [table.row_json(table.create(row.get("fields", {}))) for row in rows]}


def update(call: Call) -> object:
    """One id that is not there refuses all of them."""
    table, rows = call.table, call.rows(most=BATCH)
    ids = _ids(call, rows)
    if twice := next((id for id in ids if ids.count(id) > 1), None):
        raise NocoDBErrorResponse(422, "", f"Duplicate record with id {twice}", key="msg")
    for id, row in zip(ids, rows, strict=True):
        _refuse_files(call, row)
        table.update(id, row.get("fields", {}))
    return {"records": [table.row_json(id) for id in ids]}


def attach(call: Call) -> object:
    """v2, which alone takes files that NocoDB has: a flat row with its id by the key's title."""
    table = call.table_alone
    for row in call.rows():
        table.update(table.row(row["Id"]), {k: v for k, v in row.items() if k != "Id"})
    return [{"Id": row["Id"]} for row in call.rows()]


def upload(call: Call) -> object:
    """v2: whoever may write in a base can upload files, of any field of the form. No row has them
    yet. A file's path differs from its title, which stays as it was sent."""
    if not any(role != "viewer" for role in call.user.roles.values()):
        raise NocoDBErrorResponse(400, "", "Upload not allowed", key="msg")
    if not call.files:
        raise NocoDBErrorResponse(400, "", "No attachment provided!", key="msg")
    records = []
    for name, type, data in call.files:
        if len(data) > MAX_FILE_BYTES:
            raise NocoDBErrorResponse(413, "Payload Too Large", "File too large")
        title = re.split(r"[/\\]", name)[-1]
        stem, dot, extension = re.sub(r"[#?&]", "_", title).rpartition(".")
        unique = f"{stem}_{secrets.token_hex(3)}{dot}{extension}"
        file: dict[str, Any] = {"path": f"download/2026/11/27/67e13928/{unique}", "title": title}
        file |= {"mimetype": type or "text/plain", "size": len(data)}
        if type.startswith("image/"):
            file |= {"width": 1, "height": 1}
        call.world.files[file["path"]] = data
        records.append({**file, "signedPath": sign(file)["signedPath"]})
    return records


def delete(call: Call) -> object:
    rows = call.rows(most=BATCH)
    for id in _ids(call, rows):
        call.table.delete(id)
    return {"records": [{"id": row["id"], "deleted": True} for row in rows]}


def links(call: Call) -> object:
    column = call.column
    rows = call.table.linked_rows(column, call.row)
    if (column.options or {}).get("relation_type") == "bt":
        return {"record": rows[0] if rows else None, "next": None}
    view, more = call.page(rows)
    return {"records": view, **_next(more)}


def link(call: Call) -> object:
    return _each_link(call, call.table.link)


def unlink(call: Call) -> object:
    return _each_link(call, call.table.unlink)


def _each_link(call: Call, do: Any) -> object:
    """One row that is not there refuses all of them."""
    column, id = call.column, call.row
    for each in call.rows():
        call.table.relations[column.id].other(call.table).row(each["id"])
    for each in call.rows():
        do(column, id, each["id"])
    return {"success": True}


def _ids(call: Call, rows: Rows) -> list[int]:
    if any("id" not in row for row in rows):
        words = "Property 'id' is required on index 0"
        raise NocoDBErrorResponse(400, "ERR_INVALID_REQUEST_BODY", words)
    return [call.table.row(row["id"]) for row in rows]


def _refuse_files(call: Call, row: dict[str, Any]) -> None:
    for name, value in row.get("fields", {}).items():
        column = call.table.find(name)
        if column and column.type == "Attachment" and value:
            words = (
                f"Invalid value for type 'Attachment' on column '{name}', reason: not on old data"
            )
            raise unprocessable("ERR_INVALID_VALUE_FOR_FIELD", words)


def _next(more: bool) -> dict[str, str | None]:
    return {"next": "http://localhost/next" if more else None}
