"""The interface through which approved writes reach tables, and the driver for NocoDB's REST API.

A row image maps the titles of fields to values. Links are complete lists of [{"id", "title"}].

In a one-to-many or one-to-one relation, a row has one owner. If it is linked to another row, NocoDB
removes it from its owner without an error. So owners are looked up first, and shown on the card.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import Any, Protocol

from core.base.errors import NotFound, ToolError, WriteUnsure
from core.base.tasks import run_together
from core.domain.changes import Draft, Row
from core.domain.ports import ReadFile, read_no_file
from core.tools.nocodb.api import (
    MAX_LINKS_PER_WRITE,
    MAX_ROWS_PER_WRITE,
    Ids,
    NocoRecord,
    PageQuery,
    SortField,
    TableApi,
    TableId,
)
from core.tools.nocodb.api_errors import NocoError
from core.tools.nocodb.cells import cell_title
from core.tools.nocodb.fieldtypes import (
    LINK_CELL_LIMITS,
    Field,
    counts_rows,
    holds_files,
    in_time_zone,
    is_new_file,
    is_same_entry,
    linked_ids,
    normalise_cell,
    normalise_file,
    without_empty,
)
from core.tools.nocodb.filters import build_clause
from core.tools.nocodb.schema import TableDescription, parse_table

RowImage = dict[str, Any]
MAX_NEWEST_ROWS = 100
EXCLUSIVE_RELATIONS = frozenset({"hm", "om", "oo"})
"""Relations in which a linked row has one owner. Linking it to another row removes it there."""
CHOICE_TYPES = frozenset({"SingleSelect", "MultiSelect", "Checkbox", "Date"})
"""Types of fields that hold no free text, so that the policy may update them without a person."""
CONCEALED_LINK = "a link that is not shown here"


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A table as writes see it. `own` are the fields with values of their own, `links` all links,
    by title; both are empty where the system does not describe them.

    `key` is the field with the id, `name` the field that rows are told by: None where there is none
    that can be written. `target` is stored with a draft (`of`). `card_fields` identify a row on the
    card of its update, beside the name.
    """

    at: TableId
    title: str
    own: Mapping[str, Field] = field(default_factory=dict)
    links: Mapping[str, Field] = field(default_factory=dict)
    key: Field | None = None
    name: Field | None = None
    target: Mapping[str, Any] = field(default_factory=dict)
    card_fields: tuple[Field, ...] = ()

    @classmethod
    def of(cls, table: TableDescription, card_fields: Sequence[Field] = ()) -> TableSchema:
        """Return the schema for writes to a described table.

        `target` is stored with each draft. It tells cards and rules about the table later, when it
        is not described again: titles, formats, fields that NocoDB fills, and the hash of each
        field, by which a change of the table since then is noticed. Its `choice_fields` hold no
        free text, so that the policy may update them without a person. Concealed links are in
        `fields` too, because the undo of a deletion restores whole rows."""
        plain = {
            field.title: field for field in table.fields if not (field.is_computed or field.is_link)
        }
        links = {link.title: link for link in (*table.links, *table.concealed)}
        key = next((field for field in table.fields if field.type == "ID"), None)
        display = table.display_field
        target = {
            "base": table.base,
            "table_id": table.id,
            "key": key.title if key else "id",
            "fields": {title: _fingerprint(field) for title, field in {**plain, **links}.items()},
            "link_fields": sorted(links),
            "hidden_fields": sorted(link.title for link in table.concealed),
            # NocoDB fills these with a new value for each row, such as the time of its creation.
            "system_fields": [f.title for f in table.fields if f.field_type.differs_by_row],
            "display_field": display.title if display else "",
            "formats": {field.title: field.format for field in table.fields},
            "choice_fields": [field.title for field in table.fields if field.type in CHOICE_TYPES],
        }
        if card_fields:
            target["card_fields"] = {
                f.title: [f.related_title, f.related_id] if f.is_link else [] for f in card_fields
            }
        # The image of a row holds no computed field, so such a display field cannot name the row.
        name = display if display and display.title in plain else None
        return cls(
            table.at, table.title, plain, links, key, name, target, card_fields=tuple(card_fields)
        )

    @property
    def fields(self) -> Mapping[str, Field]:
        return {**self.own, **self.links}

    def display_cell(self, snapshot: RowImage) -> RowImage:
        """Return the cell that names the row on a card, as {title: value}. It is part of the
        comparison, so a row that was renamed since counts as another row."""
        title = self.name.title if self.name else ""
        return {title: snapshot[title]} if title in snapshot else {}

    @property
    def identity(self) -> Sequence[Field]:
        return [*([self.name] if self.name else []), *self.card_fields]

    def identify(self, snapshot: RowImage, zone: tzinfo) -> RowImage:
        """Return the cells that name and identify a row on the card of its update. They are part of
        the comparison: if one has changed since, the row counts as another row."""
        return {
            field.title: in_time_zone(field, snapshot[field.title], zone)
            for field in self.identity
            if field.title in snapshot
        }

    def without(self, names: Collection[str]) -> TableSchema:
        plain_fields, links = (
            {title: field for title, field in side.items() if title not in names}
            for side in (self.own, self.links)
        )
        return replace(self, own=plain_fields, links=links)

    def changed_fields(self, target: Mapping[str, Any], names: Iterable[str]) -> frozenset[str]:
        """`target` has the hash that each field had when the draft was made."""
        hashes, fields = target.get("fields", {}), self.fields
        return frozenset(
            name
            for name in names
            if name in hashes and (name not in fields or _fingerprint(fields[name]) != hashes[name])
        )


def _fingerprint(field: Field) -> str:
    # It is short, because each draft stores one for each field.
    relation = field.relation, field.related_id
    text = repr((field.id, field.title, field.type, field.options, *relation))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class LinkableRow:
    """A row to which a link field could lead. `owner` is the row to which it belongs already; None
    for none."""

    row: RowImage
    owner: RowImage | None = None


class TableDriver(Protocol):
    """Reads and writes the rows of one system. Each write is one call, made once.

    Reads raise ToolError. Writes raise ToolError if nothing was written, and WriteUnsure if
    something may have been. `by` names who asked, as "slack:U123".

    `typed`: the system describes the types of its fields. Then a `RowImage` (a row's values by
    field) has all fields of the row, each in the form of `fieldtypes.parse_value`. An untyped
    system (a bridge) has no links and no files to write, so it needs no `attach`, `link` and
    `fetch_linkable_rows`.
    """

    name: str
    typed: bool
    recreated: str
    refilled: str

    def batch(self, draft: Draft) -> int: ...

    async def describe(self, target: Mapping[str, Any]) -> TableSchema:
        """Return the table of a draft as it is now, including links to tables that the asker may
        not see."""

    async def rows(
        self, schema: TableSchema, ids: Ids, names: Collection[str] | None = None
    ) -> Mapping[str, RowImage]:
        """`names` None means all fields. Missing rows are left out."""

    def missing_rows_error(self, schema: TableSchema, ids: Ids) -> ToolError:
        """The error for a proposal that names rows which do not exist."""

    async def fetch_newest(self, schema: TableSchema) -> Mapping[str, RowImage]:
        """Return the newest rows first, to look for a row whose creation got no answer. Links may
        be missing."""

    async def create(self, schema: TableSchema, rows: Sequence[Row], by: str) -> Sequence[str]:
        """Links and files are written afterwards, by `link` and `attach`."""

    async def update(self, schema: TableSchema, rows: Mapping[str, Row], by: str) -> None:
        """Files can only be removed here; `attach` adds them."""

    async def delete(self, schema: TableSchema, ids: Ids, by: str) -> None: ...

    def holds_value(self, expected: Any, actual: Any) -> bool:
        """The system may return the value in another form."""

    def is_unchanged(self, before: Any, now: Any) -> bool: ...

    def restorable_values(self, target: Mapping[str, Any], before: Row | None) -> Row | None:
        """Return the values that can be written again; None if there are none."""

    async def upload(self, row: Row, by: str) -> Row:
        """Raise ToolError; no row is changed by then."""
        return row

    async def attach(self, schema: TableSchema, id: str, files: Row, by: str) -> None:
        raise TypeError("this system has no links and no files to write")

    async def link(
        self, schema: TableSchema, field: Field, id: str, add: Ids, remove: Ids, by: str
    ) -> None:
        raise TypeError("this system has no links and no files to write")

    async def fetch_linkable_rows(
        self, schema: TableSchema, field: Field, ids: Ids
    ) -> Mapping[str, LinkableRow]:
        """Return each row with the one to which it belongs already."""
        raise TypeError("this system has no links and no files to write")


MAX_IDS_PER_READ = 50
APPLYING_PAUSES_SECONDS = (0.3, 1.2, 3.0, 6.0, 10.0)
"""Pauses between attempts of a read while a change is applied.

They outlast a restart of NocoDB, which takes 3 to 7 s (0.301.3).
"""


class RestDriver(TableDriver):
    """Reaches NocoDB's REST API (the port `TableDriver`)."""

    name = "nocodb"
    typed = True
    recreated = (
        "Undo creates the rows again, with their values, links and files. They get new IDs "
        "and new values for {names}, and lose their comments and history."
    )
    refilled = (
        "NocoDB set new values for {names}. Comments and history of the old rows weren't restored."
    )

    def __init__(self, api: TableApi, read_file: ReadFile = read_no_file) -> None:
        self._api = api
        self._read_file = read_file

    def batch(self, draft: Draft) -> int:
        """Return 10, as many as one call of NocoDB takes, or 1 if a row of the draft has links or
        files, each of which needs a call of its own."""
        # A deletion takes the row's links and files with it.
        if draft.kind == "delete":
            return MAX_ROWS_PER_WRITE
        links = set(draft.target.get("link_fields", ()))
        for row in draft.rows:
            written = row.after or {}  # the other cells of `before` are only compared
            old = {name: value for name, value in (row.before or {}).items() if name in written}
            for name, value in [*old.items(), *written.items()]:
                if name in links or holds_files(value):
                    return 1
        return MAX_ROWS_PER_WRITE

    async def describe(self, target: Mapping[str, Any]) -> TableSchema:
        at = TableId(str(target["base"]), str(target["table_id"]))
        return TableSchema.of(parse_table(at.base, await self._api.describe_table(at), {}))

    async def rows(
        self, schema: TableSchema, ids: Ids, names: Collection[str] | None = None
    ) -> Mapping[str, RowImage]:
        """Return the existing rows by their ids. They are fetched in one filtered request for many,
        or one by one where the table has no field with the id or the server takes no filters.
        `names` None: all fields. A row that does not exist is left out."""
        fields = [f for title, f in schema.fields.items() if names is None or title in names]
        # The key is always among them: asked for no fields, NocoDB would return hidden columns.
        field_ids = [field.id for field in (*fields, *([schema.key] if schema.key else []))]
        unique = list(dict.fromkeys(ids))
        records: list[NocoRecord] = []

        async def find_record(id: str) -> NocoRecord | None:
            try:
                return await self._api.fetch_record(schema.at, id, fields=field_ids)
            except NocoError as error:
                if error.code == "not_found":
                    return None
                raise

        if schema.key is None or not self._api.filters_rows:
            rows = await run_together(*map(find_record, unique))
            records = [record for record in rows if record is not None]
        else:
            for start in range(0, len(unique), MAX_IDS_PER_READ):
                part = unique[start : start + MAX_IDS_PER_READ]
                # `v3`: the filter in the syntax of NocoDB's API v3.
                where = build_clause(schema.key.id, "in", *part).v3
                query = PageQuery(field_ids, where, size=len(part))
                page = await self._api.fetch_page(schema.at, query)
                records += page.records
        images = (self._build_image(schema, record, fields) for record in records)
        snapshots = await run_together(*images)
        return {record.id: snapshot for record, snapshot in zip(records, snapshots, strict=True)}

    def missing_rows_error(self, schema: TableSchema, ids: Ids) -> NocoError:
        return NocoError(
            "Rows not found in {table}: {ids}.",
            code="not_found",
            hint="find ids with nocodb_query; propose it without these",
            ids=", ".join(ids[:10]),
            table=schema.title,
        )

    async def fetch_newest(self, schema: TableSchema) -> Mapping[str, RowImage]:
        sort = [SortField(schema.key.id if schema.key else "CreatedAt", "desc")]
        keys = [schema.key] if schema.key else []
        field_ids = [field.id for field in (*schema.own.values(), *keys)]
        query = PageQuery(field_ids, sort=sort, size=MAX_NEWEST_ROWS)
        page = await self._api.fetch_page(schema.at, query)
        return {record.id: _stored_values(schema.own.values(), record) for record in page.records}

    async def create(self, schema: TableSchema, rows: Sequence[Row], by: str) -> Sequence[str]:
        types = {t: f.field_type for t, f in schema.own.items() if not f.field_type.file}
        bodies = [
            {title: types[title].to_nocodb(value) for title, value in row.items() if title in types}
            for row in rows
        ]
        return [row.id for row in await self._api.create_rows(schema.at, bodies, by=by)]

    async def update(self, schema: TableSchema, rows: Mapping[str, Row], by: str) -> None:
        records = []
        for id, row in rows.items():
            types = {title: schema.own[title].field_type for title in row if title in schema.own}
            cells = {title: type.to_nocodb(row[title]) for title, type in types.items()}
            records.append(NocoRecord(id, cells))
        await self._api.update_rows(schema.at, records, by=by)

    async def delete(self, schema: TableSchema, ids: Ids, by: str) -> None:
        await self._api.delete_rows(schema.at, ids, by=by)

    def holds_value(self, expected: Any, actual: Any) -> bool:
        return is_same_entry(expected, actual)

    def is_unchanged(self, before: Any, now: Any) -> bool:
        return is_same_entry(before, now)

    def restorable_values(self, target: Mapping[str, Any], before: Row | None) -> Row:
        return without_empty(before or {})

    async def upload(self, row: Row, by: str) -> Row:
        """All new files are read from Ponte's store first, so that a file that is gone refuses the
        change before anything is uploaded."""
        lists = {name: value for name, value in row.items() if isinstance(value, list)}
        for file in (member for value in lists.values() for member in value if is_new_file(member)):
            await self._read_approved_file(file)  # all of them, before one is uploaded
        uploaded = {
            name: [await self._upload_file(e, by) if is_new_file(e) else e for e in value]
            for name, value in lists.items()
        }
        return {**row, **uploaded}

    async def _read_approved_file(self, file: Mapping[str, Any]) -> bytes:
        """Raise ToolError if the bytes are not those that the draft names, because a person
        approved these and no others."""
        name = str(file["title"])
        try:
            _, data = await self._read_file(str(file["file"]))
        except NotFound:
            raise ToolError(
                "The file {name} was deleted after this request, so it wasn't attached.",
                code="file_gone",
                name=name,
            ) from None
        if await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest()) != file["sha256"]:
            raise ToolError(
                "The file {name} changed after this request, so it wasn't attached.",
                code="file_changed",
                name=name,
            )
        return data

    async def _upload_file(self, file: Mapping[str, Any], by: str) -> Mapping[str, Any]:
        """Return the file of a draft as NocoDB stores it. `by`: who asked, for NocoDB's audit."""
        name, type = str(file["title"]), str(file["mimetype"])
        data = await self._read_approved_file(file)
        stored = await self._api.upload_file(name, type, data, by=by)
        if stored.get("size") != len(data):
            raise ToolError(
                "NocoDB didn't store all of the file {name}, so it wasn't attached.",
                code="file_changed",
                name=name,
            )
        # The row gets the name and the type that the people who approved it have seen.
        return {**normalise_file(stored), "title": name, "mimetype": type}

    async def attach(self, schema: TableSchema, id: str, files: Row, by: str) -> None:
        key = schema.key.title if schema.key else "Id"
        await self._api.set_attachments(schema.at, id, key, files, by=by)

    async def link(
        self, schema: TableSchema, field: Field, id: str, add: Ids, remove: Ids, by: str
    ) -> None:
        """A refusal after the first request leaves some of them done, which is WriteUnsure."""
        parts = [
            (ids[start : start + MAX_LINKS_PER_WRITE], is_removal)
            for ids, is_removal in ((add, False), (remove, True))
            for start in range(0, len(ids), MAX_LINKS_PER_WRITE)
        ]
        for number, (part, is_removal) in enumerate(parts):
            try:
                await self._api.write_links(schema.at, field.id, id, part, remove=is_removal, by=by)
            except ToolError as error:
                # The first request: nothing was changed.
                if not number:
                    raise
                raise WriteUnsure(str(error), code=error.code) from error

    async def fetch_linkable_rows(
        self, schema: TableSchema, field: Field, ids: Ids
    ) -> Mapping[str, LinkableRow]:
        """Return the rows of the linked table with these ids, each with its title and the row to
        which it belongs. For links where a row can belong to one row only, the table has a link
        back, which names that owner."""
        other = await self.describe({"base": schema.at.base, "table_id": field.related_id})
        # Links of that table that may be the other end of `field`: they lead to the table of
        # `schema`, and hold one row at most, the owner.
        backs = [
            link
            for link in other.links.values()
            if field.relation in EXCLUSIVE_RELATIONS
            and link.related_id == schema.at.table
            and link.holds_one
        ]
        # `other.name` is the field that rows are told by, None if there is none.
        names = [field.title for field in (other.name, *backs) if field]
        owned: dict[str, LinkableRow] = {}
        for id, snapshot in (await self.rows(other, ids, names)).items():
            title = cell_title({"id": id, "fields": other.display_cell(snapshot)})
            owner = await self._find_owner(schema, field, id, backs, snapshot)
            owned[id] = LinkableRow({"id": id, "title": title}, owner)
        return owned

    async def _find_owner(
        self, schema: TableSchema, field: Field, id: str, backs: Sequence[Field], snapshot: RowImage
    ) -> RowImage | None:
        """`backs` are the links of `snapshot` that may be the other end of `field`. NocoDB does not
        say which one is, so the `field` of a candidate must contain the row `id`."""
        for back in backs:
            for candidate in snapshot.get(back.title) or ():  # None: no linked row
                owner = str(candidate["id"])
                snapshots = await self.rows(schema, [owner], [field.title])
                if id in linked_ids(snapshots.get(owner, {}).get(field.title)):
                    return dict(candidate)
        return None

    async def _build_image(
        self, schema: TableSchema, record: NocoRecord, fields: Sequence[Field]
    ) -> RowImage:
        """The linked rows are taken from the row's cell if it surely has all of them, because each
        further request costs time. NocoDB cuts a cell at 5 or 25 rows, by its version
        (LINK_CELL_LIMITS), so only a cell with fewer than 5 is surely whole. In a one-to-one
        relation they must be taken from it: there, NocoDB 0.301.3 lists no rows under the link."""
        snapshot = _stored_values([field for field in fields if not field.is_link], record)
        for column in fields:
            if column.is_link:
                cell = record.fields.get(column.title)
                if column.holds_one and (cell is None or isinstance(cell, Mapping)):
                    linked: Sequence[Any] = [cell] if cell else []
                elif counts_rows(column) and cell in (0, "0"):
                    linked = []
                elif isinstance(cell, list) and len(cell) < min(LINK_CELL_LIMITS):
                    linked = [row for row in cell if isinstance(row, Mapping)]
                else:  # the cell holds only the number of its rows, or may lack some
                    rows = await self._api.fetch_linked_rows(schema.at, column.id, record.id)
                    linked = [{"id": row.id, "fields": row.fields} for row in rows]
                snapshot[column.title] = [
                    {"id": str(row.get("id", "")), "title": cell_title(row)} for row in linked
                ]
        return snapshot


def _stored_values(fields: Collection[Field], record: NocoRecord) -> RowImage:
    return {field.title: normalise_cell(field, record.fields.get(field.title)) for field in fields}
