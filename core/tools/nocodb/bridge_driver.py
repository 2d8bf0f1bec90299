"""Approved writes through a bridge. NocoDB ignores unknown fields without an error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from core.base.errors import ToolError, WriteUnsure
from core.base.redaction import remove_signed_urls
from core.base.tasks import run_together
from core.domain.changes import Draft, Row
from core.tools.nocodb.api import MAX_ROWS_PER_WRITE, TableId
from core.tools.nocodb.bridge_api import BridgeApi, BridgeError
from core.tools.nocodb.driver import MAX_NEWEST_ROWS, RowImage, TableDriver, TableSchema
from core.tools.nocodb.fieldtypes import FIELD_TYPES, Field, is_same_value, without_empty

SAMPLE_ROWS = 25
MAX_PARALLEL_BRIDGE_CALLS = 4

# Those that NocoDB fills itself, and links.
_LINKS = {name for name, type in FIELD_TYPES.items() if type.link}
_COMPUTED = {name for name, type in FIELD_TYPES.items() if type.is_computed} | _LINKS
_SYSTEM = ("CreatedAt", "UpdatedAt", "CreatedBy", "UpdatedBy", "nc_order")
_KEYS = ("Id", "id", "ID")
RECREATED_NOTE = (
    "Undo creates the rows again, with their values. They get new IDs, and lose their links to "
    "other rows, their comments and history."
)


@dataclass(frozen=True, slots=True)
class BridgeTable:
    """`fields` is empty if neither the bridge nor any row names them."""

    id: str
    title: str
    key: str = "Id"
    fields: frozenset[str] = frozenset()
    computed: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()
    samples: Mapping[str, Any] | None = None
    """A value of each field that some row fills; None where the bridge describes the fields."""
    titles: Mapping[str, str] = field(default_factory=dict)
    """A field's id or name in the database → its title, where the bridge describes them."""

    def may_link(self, name: str, value: Any) -> bool:
        """NocoDB would take the rows with these ids from others. Such a field's cells can be
        numbers."""
        is_unknown = self.samples is not None and not isinstance(self.samples.get(name), str)
        return is_unknown and _holds_ids(value)


class BridgeDriver(TableDriver):
    """The `TableDriver` of a bridge.

    The public bridge fails to update and delete (its paths are 404 in NocoDB); the person sees that
    error. `tool_names` returns the names of the bridge's known tools.
    """

    name = "nocodb-bridge"
    typed = False
    recreated = RECREATED_NOTE
    refilled = ""

    def __init__(
        self, api: BridgeApi, base_id: str, tool_names: Callable[[], Collection[str]]
    ) -> None:
        self._api = api
        self._base_id = base_id
        self._tool_names = tool_names
        self._gate = asyncio.Semaphore(MAX_PARALLEL_BRIDGE_CALLS)

    def batch(self, draft: Draft) -> int:
        bulk = draft.kind == "create" or f"bulk_{draft.kind}_records" in self._tool_names()
        return MAX_ROWS_PER_WRITE if bulk else 1

    async def describe(self, target: Mapping[str, Any]) -> TableSchema:
        """Return what the draft stores, because many bridges cannot describe tables."""
        id, key = str(target["table_id"]), str(target.get("key", "Id"))
        return TableSchema(TableId("", id), id, key=Field("", key, "ID"), target=target)

    async def describe_table(self, id: str) -> BridgeTable:
        """Raise BridgeError.

        The public bridge cannot describe tables. Then some rows of the table are read, and their
        fields and values tell what they can: names, links, the key.
        """
        # Any failure counts as "cannot describe"; if the bridge is down, the next call says so.
        try:
            args = {"base_id": self._base_id, "table_id": id}
            description = await self._api.call_with_retries("get_table", args)
        except BridgeError:  # if the bridge is down, the next call says so
            description = None
        columns = description.get("columns") if isinstance(description, dict) else None
        if not isinstance(columns, list) or not columns:
            sample = {"table_id": id, "limit": SAMPLE_ROWS}
            rows = list_rows(await self._api.call_with_retries("list_records", sample))
            names = list(dict.fromkeys(name for row in rows for name in row))
            links = {name for row in rows for name in row if _is_link(row[name])}
            # Fields that NocoDB fills itself, known by their usual names.
            system_names = links.union(name for name in names if name in _SYSTEM or name in _KEYS)
            cells = {name: cell for row in rows for name, cell in without_empty(row).items()}
            return BridgeTable(
                id,
                id,
                _key_name(names),
                frozenset(names),
                frozenset(system_names),
                links=frozenset(links),
                samples=cells,
            )
        # By a field's title: NocoDB's description of it. `pk` marks the id, `uidt` is the type.
        named = {str(c.get("title")): c for c in columns if isinstance(c, dict)}
        key = next((name for name, column in named.items() if column.get("pk")), "")
        computed = {name for name, column in named.items() if column.get("uidt") in _COMPUTED}
        files = {name for name, column in named.items() if column.get("uidt") == "Attachment"}
        links = {name for name, column in named.items() if column.get("uidt") in _LINKS}
        return BridgeTable(
            id=str(description.get("id") or id),
            title=str(description.get("title") or id),
            key=key or _key_name(named),
            fields=frozenset(named),
            computed=frozenset(computed),
            files=frozenset(files),
            links=frozenset(links),
            titles={
                str(column.get(other)): name
                for name, column in named.items()
                for other in ("id", "column_name")
            },
        )

    async def is_link(self, table: BridgeTable, name: str) -> bool:
        """Return whether the field is a link. If the bridge does not describe the table, and no row
        read so far fills the field (`samples`), one row that fills it is read: its value shows the
        type. Raise BridgeError."""
        is_unseen = table.samples is not None and name in table.fields - table.samples.keys()
        if name in table.links or not is_unseen:
            return name in table.links
        args = {"table_id": table.id, "where": f"({name},notblank)", "limit": 1}
        rows = list_rows(await self._api.call_with_retries("list_records", args))
        return any(_is_link(row.get(name)) for row in rows)

    async def rows(
        self, schema: TableSchema, ids: Sequence[str], names: Collection[str] | None = None
    ) -> Mapping[str, RowImage]:
        async def fetch(id: str) -> RowImage | None:
            """Signed addresses of files are removed: they change at each read, so the row would
            look changed."""
            args = {"table_id": schema.at.table, "record_id": id}
            async with self._gate:  # limits the calls under way
                try:
                    row = await self._api.call_with_retries("get_record", args)
                except BridgeError as error:
                    if error.code == "not_found":
                        return None
                    raise
            return remove_signed_urls(row) if isinstance(row, dict) and row else None

        # `names` is not used: the bridge sends all fields.
        records = await run_together(*map(fetch, ids))
        return {id: row for id, row in zip(ids, records, strict=True) if row is not None}

    def missing_rows_error(self, schema: TableSchema, ids: Sequence[str]) -> ToolError:
        some = ", ".join(ids[:5])
        return ToolError("Rows not found in this table: {ids}.", code="not_found", ids=some)

    async def fetch_newest(self, schema: TableSchema) -> Mapping[str, RowImage]:
        """This looks for a row whose creation got no answer. New rows come last in the table's own
        order, so the last page is read. If the bridge does not tell the number of rows, its first
        page is read. A new row that is not on it gets an unknown outcome, and a creation is never
        repeated."""
        table = schema.at.table
        page = await self._api.call_with_retries("list_records", {"table_id": table, "limit": 1})
        info = page.get("pageInfo") if isinstance(page, dict) else None
        total = info.get("totalRows") if isinstance(info, dict) else None
        offset = max(0, total - MAX_NEWEST_ROWS) if isinstance(total, int) else 0
        args = {"table_id": table, "limit": MAX_NEWEST_ROWS, "offset": offset}
        rows = list_rows(await self._api.call_with_retries("list_records", args))
        return {_row_id(row, schema): row for row in reversed(rows)}

    async def create(self, schema: TableSchema, rows: Sequence[Row], by: str) -> Sequence[str]:
        # The public bridge makes several rows of a list here; its bulk path is a 404.
        data: Any = [dict(row) for row in rows] if len(rows) > 1 else dict(rows[0])
        result = await self._write_once("create_record", schema, record_data=data)
        new_rows = result if isinstance(result, list) else [result]
        ids = [_row_id(row, schema) for row in new_rows if isinstance(row, dict)]
        if len(ids) != len(rows) or not all(ids):
            raise WriteUnsure("The bridge didn't report which rows it created.")
        return ids

    async def update(self, schema: TableSchema, rows: Mapping[str, Row], by: str) -> None:
        """Write new values into rows: one call for one row, another tool for several. Bridges
        differ in how they name a row, so each record of several has its id under two names. `by`,
        who asked, is of no use here: the tools of a bridge take no name."""
        # A draft holds each id as text; an id in digits is a number in NocoDB.
        ids = {id: _native_id(id) for id in rows}
        if len(rows) > 1:
            key = schema.key.title if schema.key else "Id"  # NocoDB's usual name of the key
            records = [{"id": ids[id], key: ids[id], **row} for id, row in rows.items()]
            await self._write_once("bulk_update_records", schema, records=records)
            return
        for id, row in rows.items():
            data = {"record_id": ids[id], "record_data": dict(row)}
            await self._write_once("update_record", schema, **data)

    async def delete(self, schema: TableSchema, ids: Sequence[str], by: str) -> None:
        native = [_native_id(id) for id in ids]
        if len(ids) > 1:
            await self._write_once("bulk_delete_records", schema, record_ids=native)
        else:
            await self._write_once("delete_record", schema, record_id=native[0])

    def holds_value(self, expected: Any, actual: Any) -> bool:
        return is_same_value(expected, actual)

    def is_unchanged(self, before: Any, now: Any) -> bool:
        return bool(now == remove_signed_urls(before))

    def restorable_values(self, target: Mapping[str, Any], before: Row | None) -> Row | None:
        """Links are left out, because a bridge cannot write them. None if nothing is left."""
        computed = target.get("computed", ())
        return {
            name: value
            for name, value in without_empty(before or {}).items()
            if name not in computed and not _is_link(value)
        } or None

    async def _write_once(self, tool: str, schema: TableSchema, **args: Any) -> Any:
        try:
            return await self._api.call_once(tool, {"table_id": schema.at.table, **args})
        except BridgeError as error:
            raise error.as_write_error() from None


def _row_id(row: Mapping[str, Any], schema: TableSchema) -> str:
    key = schema.key.title if schema.key else "Id"
    return next((str(row[name]) for name in (key, *_KEYS) if row.get(name) is not None), "")


def _key_name(names: Mapping[str, Any] | Sequence[str]) -> str:
    return next((name for name in _KEYS if name in names), next(iter(names), "Id"))


def list_rows(page: Any) -> Sequence[RowImage]:
    rows = page.get("list") if isinstance(page, dict) else page
    listed = rows if isinstance(rows, list) else []
    return [remove_signed_urls(row) for row in listed if isinstance(row, dict)]


def _is_link(value: Any) -> bool:
    # A file has a path or url; any other object is a linked row, and only a link holds an empty
    # list.
    members = value if isinstance(value, list) else [value]
    return value == [] or any(
        isinstance(member, dict) and not {"path", "url"} & member.keys() for member in members
    )


def _holds_ids(value: Any) -> bool:
    with suppress(ValueError, RecursionError):
        value = json.loads(value) if isinstance(value, str) else value
    return isinstance(value, list | dict)


def _native_id(id: str) -> int | str:
    # "007" is another id than 7.
    return int(id) if id.isdecimal() and (id == "0" or id[0] != "0") else id
