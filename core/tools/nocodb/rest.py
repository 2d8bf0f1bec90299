"""The driver for NocoDB itself.

In a relation of one to many (and of one to one) a row has one owner. NocoDB takes it from there
without a word when it is linked to another row, so owners are looked up first, and told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from core.domain.changes import Draft, Row
from core.runtime.tasks import run_together
from core.tools.nocodb.api import (
    MAX_LINKS_PER_WRITE,
    MAX_ROWS_PER_WRITE,
    At,
    NocoApi,
    NocoError,
    Record,
    Sort,
)
from core.tools.nocodb.driver import EXCLUSIVE, LAST, Owned, Snapshot, TableDriver, TableSchema
from core.tools.nocodb.fieldtypes import (
    CUTS,
    Field,
    alike,
    counts_rows,
    filled,
    linked_ids,
    stored,
    title_of,
)
from core.tools.nocodb.filters import clause
from core.tools.nocodb.schema import table_of

IDS = 50
"""Rows that are asked for in one call."""
PATIENT = (0.3, 1.2, 3.0, 6.0, 10.0)
"""Seconds between tries to read: a change that was begun sees a NocoDB that is restarted through.
It takes 3 to 7 s to start (0.301.3)."""


class RestDriver(TableDriver):
    name = "nocodb"
    typed = True
    recreated = (
        "When this is undone, the rows come back with new ids, with their links and files; "
        "NocoDB then fills these in anew: {names}."
    )
    refilled = (
        "NocoDB filled these in anew: {names}. Comments on the old rows and their history "
        "did not come back."
    )

    def __init__(self, api: NocoApi) -> None:
        self._api = api

    def batch(self, draft: Draft) -> int:
        """Ten, or one where a row takes more than one call, or another one."""
        if draft.kind == "delete":
            return MAX_ROWS_PER_WRITE
        links = set(draft.target.get("links", ()))
        alone = any(
            name in links or _holds_files(value)
            for row in draft.rows
            for name, value in (row.after or {}).items()
        )
        return 1 if alone else MAX_ROWS_PER_WRITE

    async def describe(self, target: Mapping[str, Any]) -> TableSchema:
        at = At(str(target["base"]), str(target["table_id"]))
        return TableSchema.of(table_of(at.base, await self._api.table(at), {}))

    async def rows(
        self, schema: TableSchema, ids: Sequence[str], names: Collection[str] | None = None
    ) -> Mapping[str, Snapshot]:
        wanted = [f for title, f in schema.fields.items() if names is None or title in names]
        asked = [each.id for each in (*wanted, *([schema.key] if schema.key else []))]
        unique = list(dict.fromkeys(ids))
        records: list[Record] = []
        if schema.key is None:
            found = await run_together(*(self._record(schema, id, asked) for id in unique))
            records = [record for record in found if record is not None]
        else:
            for start in range(0, len(unique), IDS):
                part = unique[start : start + IDS]
                where = clause(schema.key.id, "in", *part).v3
                page = await self._api.records(schema.at, fields=asked, where=where, size=len(part))
                records += page.records
        snapshots = await run_together(
            *(self._snapshot(schema, record, wanted) for record in records)
        )
        return {record.id: snapshot for record, snapshot in zip(records, snapshots, strict=True)}

    def lost(self, schema: TableSchema, ids: Sequence[str]) -> NocoError:
        return NocoError(
            "There is no row {ids} in {table}.",
            code="not_found", hint="find ids with nocodb_query; propose it without these",
            ids=", ".join(ids[:10]), table=schema.title,
        )  # fmt: skip

    async def newest(self, schema: TableSchema) -> Mapping[str, Snapshot]:
        sort = [Sort(schema.key.id if schema.key else "CreatedAt", "desc")]
        asked = [each.id for each in (*schema.own.values(), *([schema.key] if schema.key else []))]
        page = await self._api.records(schema.at, fields=asked, sort=sort, size=LAST)
        return {record.id: _values(schema.own.values(), record) for record in page.records}

    async def create(self, schema: TableSchema, rows: Sequence[Row], by: str) -> Sequence[str]:
        bodies = [
            {
                title: schema.own[title].of.sent(value)
                for title, value in row.items()
                if title in schema.own and not schema.own[title].of.file
            }
            for row in rows
        ]
        return [one.id for one in await self._api.create(schema.at, bodies, by=by)]

    async def update(self, schema: TableSchema, rows: Mapping[str, Row], by: str) -> None:
        records = [
            Record(id, {n: schema.own[n].of.sent(v) for n, v in row.items() if n in schema.own})
            for id, row in rows.items()
        ]
        await self._api.update(schema.at, records, by=by)

    async def delete(self, schema: TableSchema, ids: Sequence[str], by: str) -> None:
        await self._api.delete(schema.at, ids, by=by)

    def reads(self, wanted: Any, found: Any) -> bool:
        return alike(wanted, found)

    def stands(self, before: Any, now: Any) -> bool:
        return alike(before, now)

    def restorable(self, target: Mapping[str, Any], before: Row | None) -> Row:
        return filled(before or {})

    async def attach(self, schema: TableSchema, id: str, files: Row, by: str) -> None:
        await self._api.attach(
            schema.at, id, schema.key.title if schema.key else "Id", files, by=by
        )

    async def link(
        self,
        schema: TableSchema,
        field: Field,
        id: str,
        add: Sequence[str],
        remove: Sequence[str],
        by: str,
    ) -> None:
        for start in range(0, len(add), MAX_LINKS_PER_WRITE):
            await self._api.link(
                schema.at, field.id, id, add[start : start + MAX_LINKS_PER_WRITE], by=by
            )
        if remove:
            await self._api.unlink(schema.at, field.id, id, remove, by=by)

    async def owned(
        self, schema: TableSchema, field: Field, ids: Sequence[str]
    ) -> Mapping[str, Owned]:
        other = await self.describe({"base": schema.at.base, "table_id": field.related})
        backs = [
            each
            for each in other.links.values()
            if field.relation in EXCLUSIVE and each.related == schema.at.table and each.one
        ]
        names = [*([other.name.title] if other.name else []), *(back.title for back in backs)]
        owned: dict[str, Owned] = {}
        for id, snapshot in (await self.rows(other, ids, names)).items():
            title = str(snapshot.get(other.name.title) or id) if other.name else id
            owner = await self._owner(schema, field, id, backs, snapshot)
            owned[id] = Owned({"id": id, "title": title}, owner)
        return owned

    async def _owner(
        self, schema: TableSchema, field: Field, id: str, backs: Sequence[Field], snapshot: Snapshot
    ) -> Snapshot | None:
        """NocoDB does not tell which link is the other end of which: the row that is found must
        lead back."""
        for back in backs:
            for candidate in snapshot.get(back.title) or ():
                owner = str(candidate["id"])
                snapshots = await self.rows(schema, [owner], [field.title])
                if id in linked_ids(snapshots.get(owner, {}).get(field.title)):
                    return dict(candidate)
        return None

    async def _record(self, schema: TableSchema, id: str, asked: Sequence[str]) -> Record | None:
        try:
            return await self._api.record(schema.at, id, fields=asked)
        except NocoError as error:
            if error.code == "not_found":
                return None
            raise

    async def _snapshot(
        self, schema: TableSchema, record: Record, wanted: Sequence[Field]
    ) -> Snapshot:
        """Of a relation of one to one NocoDB 0.301.3 tells no rows in its list of links, only in
        the row's cell."""
        snapshot = _values([each for each in wanted if not each.is_link], record)
        for field in wanted:
            if field.is_link:
                rows = _whole(field, record.fields.get(field.title))
                if rows is None:
                    linked = await self._api.links(schema.at, field.id, record.id)
                    rows = [_told({"id": each.id, "fields": each.fields}) for each in linked]
                snapshot[field.title] = rows
        return snapshot


def _values(own: Collection[Field], record: Record) -> Snapshot:
    return {each.title: stored(each, record.fields.get(each.title)) for each in own}


def _whole(field: Field, cell: object) -> list[Snapshot] | None:
    """The rows in a link cell, None where there may be more than it tells."""
    if field.one and (cell is None or isinstance(cell, Mapping)):
        return [_told(cell)] if cell else []
    if counts_rows(field) and cell in (0, "0"):
        return []
    if not isinstance(cell, list) or len(cell) >= min(CUTS):
        return None
    return [_told(each) for each in cell if isinstance(each, Mapping)]


def _told(cell: Mapping[str, Any]) -> Snapshot:
    return {"id": str(cell.get("id", "")), "title": title_of(cell)}


def _holds_files(value: object) -> bool:
    each = value if isinstance(value, list) else []
    return any(isinstance(one, dict) and {"path", "url"} & one.keys() for one in each)
