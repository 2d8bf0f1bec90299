"""The driver for NocoDB's REST API.

In a one-to-many or one-to-one relation, a row has one owner. If it is linked to another row, NocoDB
removes it from its owner without an error. So owners are looked up first, and shown on the card.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from core.base.tasks import run_together
from core.domain.changes import Draft, Row
from core.tools.nocodb.api import (
    MAX_LINKS_PER_WRITE,
    MAX_ROWS_PER_WRITE,
    NocoError,
    NocoRecord,
    PageQuery,
    SortField,
    TableApi,
    TableId,
)
from core.tools.nocodb.driver import (
    EXCLUSIVE_RELATIONS,
    MAX_NEWEST_ROWS,
    LinkableRow,
    RowImage,
    TableDriver,
    TableSchema,
)
from core.tools.nocodb.fieldtypes import (
    LINK_CELL_LIMITS,
    Field,
    cell_title,
    counts_rows,
    is_same_entry,
    linked_ids,
    normalise_cell,
    without_empty,
)
from core.tools.nocodb.filters import build_clause
from core.tools.nocodb.schema import parse_table

MAX_IDS_PER_READ = 50
"""Rows that one call asks for by id."""
APPLYING_PAUSES_SECONDS = (0.3, 1.2, 3.0, 6.0, 10.0)
"""Pauses between attempts of a read while a change is applied.

They outlast a restart of NocoDB, which takes 3 to 7 s (0.301.3).
"""


class RestDriver(TableDriver):
    """The `TableDriver` of NocoDB."""

    name = "nocodb"
    typed = True
    recreated = (
        "If you undo this, the rows get new IDs and keep their links and files. NocoDB sets "
        "new values for {names}."
    )
    refilled = (
        "NocoDB set new values for {names}. Comments and history of the old rows were not restored."
    )

    def __init__(self, api: TableApi) -> None:
        self._api = api

    def batch(self, draft: Draft) -> int:
        """Return 10, or 1 if a row needs several calls (links, files)."""
        if draft.kind == "delete":
            return MAX_ROWS_PER_WRITE
        links = set(draft.target.get("link_fields", ()))
        alone = any(
            name in links or _holds_files(value)
            for row in draft.rows
            for name, value in (row.after or {}).items()
        )
        return 1 if alone else MAX_ROWS_PER_WRITE

    async def describe(self, target: Mapping[str, Any]) -> TableSchema:
        at = TableId(str(target["base"]), str(target["table_id"]))
        return TableSchema.of(parse_table(at.base, await self._api.describe_table(at), {}))

    async def rows(
        self, schema: TableSchema, ids: Sequence[str], names: Collection[str] | None = None
    ) -> Mapping[str, RowImage]:
        wanted = [f for title, f in schema.fields.items() if names is None or title in names]
        field_ids = [each.id for each in (*wanted, *([schema.key] if schema.key else []))]
        unique = list(dict.fromkeys(ids))
        records: list[NocoRecord] = []
        if schema.key is None or not self._api.filters_rows:
            rows = await run_together(*(self._find_record(schema, id, field_ids) for id in unique))
            records = [record for record in rows if record is not None]
        else:
            for start in range(0, len(unique), MAX_IDS_PER_READ):
                part = unique[start : start + MAX_IDS_PER_READ]
                where = build_clause(schema.key.id, "in", *part).v3
                query = PageQuery(field_ids, where, size=len(part))
                page = await self._api.fetch_page(schema.at, query)
                records += page.records
        snapshots = await run_together(
            *(self._build_image(schema, record, wanted) for record in records)
        )
        return {record.id: snapshot for record, snapshot in zip(records, snapshots, strict=True)}

    def missing_rows_error(self, schema: TableSchema, ids: Sequence[str]) -> NocoError:
        return NocoError(
            "Row {ids} not found in {table}.",
            code="not_found", hint="find ids with nocodb_query; propose it without these",
            ids=", ".join(ids[:10]), table=schema.title,
        )  # fmt: skip

    async def fetch_newest(self, schema: TableSchema) -> Mapping[str, RowImage]:
        sort = [SortField(schema.key.id if schema.key else "CreatedAt", "desc")]
        field_ids = [
            each.id for each in (*schema.own.values(), *([schema.key] if schema.key else []))
        ]
        query = PageQuery(field_ids, sort=sort, size=MAX_NEWEST_ROWS)
        page = await self._api.fetch_page(schema.at, query)
        return {record.id: _stored_values(schema.own.values(), record) for record in page.records}

    async def create(self, schema: TableSchema, rows: Sequence[Row], by: str) -> Sequence[str]:
        types = {t: f.field_type for t, f in schema.own.items() if not f.field_type.file}
        bodies = [
            {title: types[title].to_nocodb(value) for title, value in row.items() if title in types}
            for row in rows
        ]
        return [one.id for one in await self._api.create_rows(schema.at, bodies, by=by)]

    async def update(self, schema: TableSchema, rows: Mapping[str, Row], by: str) -> None:
        records = []
        for id, row in rows.items():
            own = {title: schema.own[title].field_type for title in row if title in schema.own}
            cells = {title: type.to_nocodb(row[title]) for title, type in own.items()}
            records.append(NocoRecord(id, cells))
        await self._api.update_rows(schema.at, records, by=by)

    async def delete(self, schema: TableSchema, ids: Sequence[str], by: str) -> None:
        await self._api.delete_rows(schema.at, ids, by=by)

    def holds_value(self, wanted: Any, found: Any) -> bool:
        return is_same_entry(wanted, found)

    def is_unchanged(self, before: Any, now: Any) -> bool:
        return is_same_entry(before, now)

    def restorable_values(self, target: Mapping[str, Any], before: Row | None) -> Row:
        return without_empty(before or {})

    async def attach(self, schema: TableSchema, id: str, files: Row, by: str) -> None:
        await self._api.set_attachments(
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
            part = add[start : start + MAX_LINKS_PER_WRITE]
            await self._api.write_links(schema.at, field.id, id, part, remove=False, by=by)
        if remove:
            await self._api.write_links(schema.at, field.id, id, remove, remove=True, by=by)

    async def fetch_linkable_rows(
        self, schema: TableSchema, field: Field, ids: Sequence[str]
    ) -> Mapping[str, LinkableRow]:
        other = await self.describe({"base": schema.at.base, "table_id": field.related_id})
        backs = [
            each
            for each in other.links.values()
            if field.relation in EXCLUSIVE_RELATIONS
            and each.related_id == schema.at.table
            and each.holds_one
        ]
        names = [*([other.name.title] if other.name else []), *(back.title for back in backs)]
        owned: dict[str, LinkableRow] = {}
        for id, snapshot in (await self.rows(other, ids, names)).items():
            title = str(snapshot.get(other.name.title) or id) if other.name else id
            owner = await self._find_owner(schema, field, id, backs, snapshot)
            owned[id] = LinkableRow({"id": id, "title": title}, owner)
        return owned

    async def _find_owner(
        self, schema: TableSchema, field: Field, id: str, backs: Sequence[Field], snapshot: RowImage
    ) -> RowImage | None:
        """Return the row that owns the row `id`, or None.

        NocoDB does not say which link is the other end of which, so a candidate must link back.
        """
        for back in backs:
            for candidate in snapshot.get(back.title) or ():
                owner = str(candidate["id"])
                snapshots = await self.rows(schema, [owner], [field.title])
                if id in linked_ids(snapshots.get(owner, {}).get(field.title)):
                    return dict(candidate)
        return None

    async def _find_record(
        self, schema: TableSchema, id: str, asked: Sequence[str]
    ) -> NocoRecord | None:
        try:
            return await self._api.fetch_record(schema.at, id, fields=asked)
        except NocoError as error:
            if error.code == "not_found":
                return None
            raise

    async def _build_image(
        self, schema: TableSchema, record: NocoRecord, wanted: Sequence[Field]
    ) -> RowImage:
        """Return a row's image with all its links.

        In a one-to-one relation, NocoDB 0.301.3 lists no rows under the link; only the row's cell
        has them.
        """
        snapshot = _stored_values([each for each in wanted if not each.is_link], record)
        for field in wanted:
            if field.is_link:
                rows = _complete_links(field, record.fields.get(field.title))
                if rows is None:
                    linked = await self._api.fetch_linked_rows(schema.at, field.id, record.id)
                    rows = [_linked_row({"id": each.id, "fields": each.fields}) for each in linked]
                snapshot[field.title] = rows
        return snapshot


def _stored_values(own: Collection[Field], record: NocoRecord) -> RowImage:
    return {each.title: normalise_cell(each, record.fields.get(each.title)) for each in own}


def _complete_links(field: Field, cell: object) -> list[RowImage] | None:
    """Return the rows in a link cell, or None if the cell may not hold all of them."""
    if field.holds_one and (cell is None or isinstance(cell, Mapping)):
        return [_linked_row(cell)] if cell else []
    if counts_rows(field) and cell in (0, "0"):
        return []
    if not isinstance(cell, list) or len(cell) >= min(LINK_CELL_LIMITS):
        return None
    return [_linked_row(each) for each in cell if isinstance(each, Mapping)]


def _linked_row(cell: Mapping[str, Any]) -> RowImage:
    return {"id": str(cell.get("id", "")), "title": cell_title(cell)}


def _holds_files(value: object) -> bool:
    each = value if isinstance(value, list) else []
    return any(isinstance(one, dict) and {"path", "url"} & one.keys() for one in each)
