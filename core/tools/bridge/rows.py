"""Writes rows through the bridge, once a person has decided; reads back what then stands there.

The public bridge updates and deletes nothing (its paths are 404 in NocoDB): that is tried, and
told. Unknown fields are ignored by NocoDB without a word, so every field is read back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from core.errors import ToolError, WriteUnsure
from core.proposal import Change, Draft, Row, RowWrite, Seen
from core.tools.bridge.api import BridgeApi
from core.tools.bridge.error import BridgeError
from core.tools.bridge.table import BridgeTables, JsonRow, id_of
from core.tools.same import differing
from core.withheld import unsigned

BATCH = 10
"""Rows in one call, as NocoDB 0.301 takes them in its newest API."""
RECREATED = (
    "When this is undone the rows come back with new ids, and without their links to other rows."
)
_NOTHING = "What was in those rows is not known, so they cannot be brought back."
_NO_IDS = "The bridge did not say which rows it made."
_ROWS_ALONE = "The bridge writes rows; it runs no commands."


class BridgeRows:
    """The `Applier` port. `offered` are the names of the bridge's tools, as far as is known."""

    name = "nocodb-bridge"
    patience = 120.0

    def __init__(
        self, api: BridgeApi, tables: BridgeTables, offered: Callable[[], Collection[str]]
    ) -> None:
        self._api = api
        self._tables = tables
        self._offered = offered

    def batch(self, draft: Draft) -> int:
        bulk = draft.kind == "create" or f"bulk_{draft.kind}_records" in self._offered()
        return BATCH if bulk else 1

    async def verify(self, draft: Draft, rows: Sequence[RowWrite]) -> Sequence[Seen]:
        table = str(draft.target["table_id"])
        if draft.kind == "create" and not all(row.id for row in rows):
            newest = await self._tables.newest(table)
            return _looked_for(newest, rows, str(draft.target.get("key", "Id")))
        now = await self._tables.rows(table, [row.id for row in rows])
        return [_seen(draft, row, one) for row, one in zip(rows, now, strict=True)]

    async def apply(self, draft: Draft, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        tool, args = _call(draft, rows)
        try:
            result = await self._api.once(tool, args)
        except BridgeError as error:
            raise error.of_write() from None
        if draft.kind != "create":
            return rows
        made = result if isinstance(result, list) else [result]
        key = str(draft.target.get("key", "Id"))
        ids = [id_of(one, key) for one in made if isinstance(one, dict)]
        if len(ids) != len(rows) or not all(ids):
            raise WriteUnsure(_NO_IDS)
        return [replace(row, id=id) for row, id in zip(rows, ids, strict=True)]

    def revert(self, change: Change) -> Draft:
        draft = change.draft
        writes = [(step.write, step.now) for step in change.written]
        match draft.kind:
            case "create":
                rows = [RowWrite(write.id, before=now or write.after) for write, now in writes]
                return replace(draft, kind="delete", rows=tuple(rows), note=RECREATED)
            case "update":
                rows = [_given_back(write, now) for write, now in writes]
                return replace(draft, rows=tuple(rows), note="")
            case "delete":
                computed = frozenset(draft.target.get("computed", ()))
                rows = [RowWrite(after=_restorable(write.before, computed)) for write, _ in writes]
                rows = [row for row in rows if row.after]
                if not rows:
                    raise ToolError(_NOTHING)
                return replace(draft, kind="create", rows=tuple(rows), note="")
            case "run":
                raise ToolError(_ROWS_ALONE)


def _call(draft: Draft, rows: Sequence[RowWrite]) -> tuple[str, dict[str, Any]]:
    """The bridge's tool and its arguments for these rows."""
    table = draft.target["table_id"]
    several = len(rows) > 1
    match draft.kind:
        case "create":
            # The public bridge makes several rows of a list here; its bulk path is a 404.
            data = [dict(row.after or {}) for row in rows]
            return "create_record", {"table_id": table, "record_data": data if several else data[0]}
        case "update" if several:
            key = str(draft.target.get("key", "Id"))
            records = [
                {"id": _native(row.id), key: _native(row.id), **(row.after or {})} for row in rows
            ]
            return "bulk_update_records", {"table_id": table, "records": records}
        case "update":
            write = {"record_id": _native(rows[0].id), "record_data": dict(rows[0].after or {})}
            return "update_record", {"table_id": table, **write}
        case "delete" if several:
            ids = [_native(row.id) for row in rows]
            return "bulk_delete_records", {"table_id": table, "record_ids": ids}
        case "delete":
            return "delete_record", {"table_id": table, "record_id": _native(rows[0].id)}
        case "run":
            raise ToolError(_ROWS_ALONE)


def _seen(draft: Draft, write: RowWrite, now: JsonRow | None) -> Seen:
    if now is None:
        return Seen("after" if draft.kind == "delete" else "other", write)
    before, after = dict(write.before or {}), dict(write.after or {})
    drifted = tuple(name for name, value in before.items() if now.get(name) != unsigned(value))
    if draft.kind == "delete":
        return Seen("other" if drifted else "before", write, now, drifted)
    missing = differing(after, now)
    if not missing:
        return Seen("after", write, now)
    if draft.kind == "update" and not drifted:
        return Seen("before", write, now, missing)
    return Seen("other", write, now, missing)


def _looked_for(newest: Sequence[JsonRow], rows: Sequence[RowWrite], key: str) -> Sequence[Seen]:
    """Each row's mark holds the ids of the rows that were like it before it was written; one that
    has come since is it."""
    seen: list[Seen] = []
    taken = {row.id for row in rows if row.id}
    for row in rows:
        alike = [one for one in newest if not differing(dict(row.after or {}), one)]
        if not row.mark:
            ids = json.dumps([id_of(one, key) for one in alike])
            seen.append(Seen("before", replace(row, mark=ids)))
            continue
        known = {*json.loads(row.mark), *taken}
        found = next((one for one in alike if id_of(one, key) not in known), None)
        if found is None:
            seen.append(Seen("before", row))
        else:
            taken.add(id_of(found, key))
            seen.append(Seen("after", replace(row, id=id_of(found, key)), found))
    return seen


def _given_back(write: RowWrite, now: Row | None) -> RowWrite:
    """The old values, where what we wrote still stands."""
    stands = now or write.after or {}
    after = {name: value for name, value in (write.before or {}).items() if name in stands}
    return RowWrite(write.id, before={name: stands[name] for name in after}, after=after)


def _restorable(row: Row | None, computed: frozenset[str]) -> Row:
    """What of a deleted row can be written again: no links, nothing that NocoDB fills in."""
    return {
        name: value
        for name, value in (row or {}).items()
        if name not in computed and value not in (None, [], "") and not _is_link(value)
    }


def _is_link(value: Any) -> bool:
    """An attachment has a path or a url; any other object is a row of another table."""
    each = value if isinstance(value, list) else [value]
    return any(isinstance(one, dict) and not {"path", "url"} & one.keys() for one in each)


def _native(id: str) -> int | str:
    return int(id) if id.isdecimal() and (id == "0" or id[0] != "0") else id
