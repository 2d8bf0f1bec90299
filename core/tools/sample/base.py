"""Tables in one SQLite file, behind the calls of NocoDB's API that the tools and the driver make.

A call reads all rows, which are a few hundred, in one transaction. Filters and sums are Ponte's
own, so no text of a model or a person becomes SQL. The file is created at the first call.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from core.base.errors import WriteUnsure
from core.base.i18n import LOCALES, babel_locale, nearest_locale, say, translate_word, use_locale
from core.base.private_files import create_file
from core.base.value_formats import parse_number
from core.changes.approval import NO_TABLE_RULES, TableRulesConfig
from core.domain.changes import SAMPLE_APPLIER
from core.domain.ports import SAMPLE_TABLES_PHRASE, Tool
from core.domain.records import Health
from core.domain.rights import Viewer
from core.integrations import describe_read_error
from core.tools.nocodb.api import (
    Aggregates,
    Json,
    NamedTable,
    NocoBase,
    NocoRecord,
    PageQuery,
    RecordPage,
    Records,
    TableId,
)
from core.tools.nocodb.api_errors import NocoError
from core.tools.nocodb.driver import RestDriver, TableSchema
from core.tools.nocodb.source import BaseOverview, TableSource
from core.tools.sample import SAMPLE_SENTENCE

LOCK_TIMEOUT_SECONDS = 5.0
_BASE_ID_BYTES = 8
_SCHEMA = (
    "CREATE TABLE base (id TEXT NOT NULL)",
    "CREATE TABLE last_ids (table_id TEXT PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE table_rows (table_id TEXT, id INTEGER, cells TEXT NOT NULL,"
    " created_at TEXT NOT NULL, updated_at TEXT, PRIMARY KEY (table_id, id)) WITHOUT ROWID",
)
_NOT_STORED = ("ID", "Links", "LinkToAnotherRecord", "Lookup", "Rollup")
"""Types of fields whose cells are computed, or written by `write_links`."""
_OUTSIDE_FAULT_CODES = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
)
"""SQLite's primary result codes (https://sqlite.org/rescode.html) for a fault of the disk, a
permission or another process's lock. Any other code is a fault of the file's content, also
SQLITE_READONLY: a damaged header gives it, and a folder that is read-only refuses the deletion."""
_FOREIGN_SCHEMA = "the file was not made by Ponte"

T = TypeVar("T")
Cells = Mapping[str, Any]
"""A link to one row is that row's id."""


@dataclass(frozen=True, slots=True)
class SampleTable:
    """A table of the sample base. `fields` are in NocoDB's form; the first one after the id names a
    row. A link to many rows has the option `inverse_field_id`: the link of the other table to one
    row, which is the one that is stored."""

    id: str
    title: str
    fields: tuple[Json, ...]

    @property
    def display(self) -> Json:
        return next(field for field in self.fields if field["type"] != "ID")

    def field(self, id: str) -> Json:
        return next(field for field in self.fields if field["id"] == id)

    def find_field(self, name: str) -> Json | None:
        return next((field for field in self.fields if name in (field["id"], field["title"])), None)


@dataclass(frozen=True, slots=True)
class NewRow:
    """A row that the sample base has from its beginning, and the moment at which it counts as
    created."""

    cells: Cells
    created_at: datetime


Content = Mapping[str, Sequence[NewRow]]
"""The rows of a new base by the table's id. Their ids count from 1."""
PART_SEPARATOR = " × "


def translate_table(table: SampleTable) -> SampleTable:
    """Return a table with its titles and choices in the language of the task. Its ids stay."""
    fields = []
    for column in table.fields:
        options = dict(column.get("options", {}))
        if "choices" in options:
            options["choices"] = [{"title": translate_word(c["title"])} for c in options["choices"]]
        # The shop of the Portuguese tables is in Brazil.
        if babel_locale() == "pt_BR" and "currency_code" in options:
            options["currency_code"] = "BRL"
        fields.append({**column, "title": translate_word(column["title"]), "options": options})
    return replace(table, title=translate_word(table.title), fields=tuple(fields))


def translate_cells(cells: Cells) -> dict[str, Any]:
    """Names and dates stay, because no catalogue has them. A text of several parts ("2 × Desk
    lamp") is translated part by part."""

    def translate(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return PART_SEPARATOR.join(map(translate_word, value.split(PART_SEPARATOR)))

    return {translate_word(title): translate(value) for title, value in cells.items()}


@dataclass(slots=True)
class _StoredRow:
    cells: dict[str, Any]
    created_at: str
    updated_at: str | None = None


@dataclass(slots=True)
class _Snapshot:
    """All rows of the sample base in memory, by the table's id and their own, as one transaction
    reads and writes them."""

    connection: sqlite3.Connection
    tables: Mapping[str, SampleTable]
    base: str
    rows: dict[str, dict[int, _StoredRow]] = field(default_factory=dict)
    _children: dict[str, dict[int, list[int]]] = field(default_factory=dict)
    """For a link to many rows: the ids of the linked rows by the row that they belong to."""

    def check_base(self, base: str) -> None:
        if base != self.base:
            raise NocoError(
                "The sample tables have been reset since you asked for this. Ask again.",
                code="sample_reset",
            )

    def find_table(self, at: TableId) -> SampleTable:
        if at.table not in self.tables:
            raise NocoError("Table `{name}` not found.", code="unknown_table", name=at.table[:64])
        return self.tables[at.table]

    def find_row_id(self, table: str, id: object) -> int:
        """Raise NocoError `not_found`, also for a text that is no id."""
        text = str(id)
        # SQLite's integers have 63 bits, so any number of 18 digits fits.
        number = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else -1
        if number not in self.rows.get(table, {}):
            raise NocoError("Row {id} not found in this table.", code="not_found", id=text[:64])
        return number

    def children(self, link: Json) -> Mapping[int, Sequence[int]]:
        """Return the ids of the rows that a link to many rows leads to, by the id of the row with
        the link. Only the other side is stored, in the linked rows; this one is computed once for a
        snapshot."""
        inverse, title = link["options"]["inverse_field_id"], self.inverse_title(link)
        if inverse not in self._children:
            ids_by_owner: dict[int, list[int]] = {}
            for id, row in self.rows.get(_related_table(link), {}).items():
                if (owner := row.cells.get(title)) is not None:
                    ids_by_owner.setdefault(owner, []).append(id)
            self._children[inverse] = ids_by_owner
        return self._children[inverse]

    def inverse_title(self, link: Json) -> str:
        other = self.tables[_related_table(link)]
        return str(other.field(link["options"]["inverse_field_id"])["title"])

    def find_link(self, at: TableId, field: str) -> tuple[SampleTable, Json]:
        """Raise NocoError if there is none."""
        table = self.find_table(at)
        column = table.find_field(field)
        if column is None or column["type"] not in ("Links", "LinkToAnotherRecord"):
            raise NocoError(
                "Field `{name}` not found in the table {table}.",
                code="unknown_field",
                table=table.title,
                name=field[:64],
            )
        return table, column

    def write_cells(self, table: str, id: int, cells: Cells) -> None:
        row = self.rows[table][id]
        row.cells |= cells
        row.updated_at = _format_utc(datetime.now(UTC))
        _save_row(self.connection, table, id, row)

    def link_children(self, link: Json, ids: Sequence[int], owner: int | None) -> None:
        for id in ids:
            self.write_cells(_related_table(link), id, {self.inverse_title(link): owner})

    def linked_row(self, table: str, id: int) -> Json:
        display = self.tables[table].display["title"]
        return {"id": id, "fields": {display: self.rows[table][id].cells.get(display)}}

    def cell(self, table: SampleTable, column: Json, id: int) -> Any:
        """Return a cell in the form of NocoDB's API. Links to many rows, lookups and rollups are
        computed, as NocoDB does; a link to one row is stored as that row's id. A rollup here is
        always a sum."""
        row, options = self.rows[table.id][id], column.get("options", {})
        # Of a link, the cell is the number of its rows ("Links"), these rows, or one row.
        # The field of the row that the link leads to, which may be a lookup again.
        match column["type"]:
            case "Links":
                return len(self.children(column).get(id, ()))
            case "LinkToAnotherRecord" if _leads_to_many(column):
                linked = self.children(column).get(id, ())
                return [self.linked_row(_related_table(column), child) for child in linked]
            case "LinkToAnotherRecord":
                if (owner := row.cells.get(column["title"])) is None:
                    return None
                return self.linked_row(_related_table(column), owner)
            case "Lookup":
                link = table.field(options["related_field_id"])
                if (owner := row.cells.get(link["title"])) is None:
                    return None
                other = self.tables[_related_table(link)]
                field = other.field(options["related_table_lookup_field_id"])
                return self.cell(other, field, owner)
            case "Rollup":
                link = table.field(options["related_field_id"])
                other = self.tables[_related_table(link)]
                field = other.field(options["related_table_rollup_field_id"])
                cells = (
                    self.cell(other, field, child) for child in self.children(link).get(id, ())
                )
                total = sum((parse_number(cell) or Decimal() for cell in cells), Decimal())
                return _plain_number(float(total))
            case _:
                return row.cells.get(column["title"])

    def record(self, table: SampleTable, id: int, names: Sequence[str] = ()) -> NocoRecord:
        """Return a row in the form of NocoDB's API, with the fields of these ids or titles; without
        names, with all fields."""
        row = self.rows[table.id][id]
        times = {"CreatedAt": row.created_at, "UpdatedAt": row.updated_at}
        # NocoDB takes ids and titles of fields; the times have their titles as ids. The row's own
        # id (type "ID") is no cell: the record has it beside them.
        keys = set(names) or {field["title"] for field in table.fields} | times.keys()
        cells = {
            field["title"]: self.cell(table, field, id)
            for field in table.fields
            if field["type"] != "ID" and keys & {field["id"], field["title"]}
        }
        return NocoRecord(str(id), {**cells, **{n: t for n, t in times.items() if n in keys}})

    def sort_key(self, table: SampleTable, name: str, id: int) -> tuple[bool, float, str]:
        """A link sorts by the display value of its row."""
        column = table.find_field(name)
        if column is None or column["type"] == "ID":
            # CreatedAt and UpdatedAt are no fields of the table.
            cell = id if column else self.record(table, id, [name]).fields.get(name)
        else:
            cell = self.cell(table, column, id)
        if isinstance(cell, Mapping):  # a linked row: its only field is its display value
            cell = next(iter(cell["fields"].values()), None)
        if isinstance(cell, bool | int | float):
            return (True, float(cell), "")
        return (cell is not None, 0.0, str(cell or "").casefold())


class SampleApi:
    """The `TableApi` over the file at `path`.

    Each content has an id of its own, the base's id. A draft names it, so a change that was drafted
    before a reset is refused.

    `tables` and the content are in English. A new base is in `language`, and the file says in which
    one it is (`PRAGMA user_version`: the language's place in `LOCALES`).
    """

    filters_rows = False

    def __init__(
        self,
        path: Path,
        title: str,
        tables: Sequence[SampleTable],
        make_content: Callable[[], Content],
        language: str = "en",
        *,
        lock_timeout: float = LOCK_TIMEOUT_SECONDS,
    ) -> None:
        self.path = path
        self._title = title
        self._english_tables = tables
        self._tables_in: dict[str, Mapping[str, SampleTable]] = {}
        """The tables with their titles in a language, by language."""
        self._make_content = make_content  # of a new or restored base
        self._new_language = language
        self._language = self._find_language()
        self._lock_timeout = lock_timeout  # seconds to wait for another process's write
        self.drift_count = 0
        """How often the base was found to be another one than before. Whoever has descriptions of
        tables cached drops them when this number changes."""
        self._base = ""

    def format_source_link(self, at: TableId, row: str = "") -> str:
        """Sample tables have no page."""
        return say("Sample data.")

    def reset(self, language: str = "") -> None:
        """`language` "" keeps that of the file. Raise NocoError, WriteUnsure. A usable file is
        filled again in one transaction; a damaged one, or one that Ponte did not make, is deleted
        first."""
        self._new_language = language or self._find_language()
        try:
            self._transact(lambda state: self._fill(state.connection))
            return
        except NocoError as error:
            # An error that Python's own module raises, as for invalid UTF-8, has no code.
            code = getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF
            if isinstance(error.__cause__, OSError) or code in _OUTSIDE_FAULT_CODES:
                raise
        try:
            # A journal of the damaged file would be applied to the new one.
            for name in (f"{self.path.name}-journal", self.path.name):
                self.path.with_name(name).unlink(missing_ok=True)
        except OSError as error:
            raise self._failure(error) from None
        self._transact(lambda _: None)  # opening a file that is missing fills it

    async def count_all_rows(self) -> int:
        """Return 0 before the first use, without creating the file. Raise NocoError."""
        if not self.path.exists():
            return 0
        return sum(map(len, (await self._read()).rows.values()))

    async def list_bases(self) -> Sequence[NocoBase]:
        return [NocoBase((await self._read()).base, self._title)]

    async def fetch_role(self, base: str) -> str:
        return ""

    async def list_tables(self, base: str) -> Sequence[NamedTable]:
        return self.name_tables()

    def name_tables(self) -> Sequence[NamedTable]:
        """The file is not created. After a reset in another language, cached descriptions are
        outdated (`drift_count`)."""
        if (language := self._find_language()) != self._language:
            self._language = language
            self.drift_count += 1
        return [NamedTable(table.id, table.title) for table in self._tables(language).values()]

    def _find_language(self) -> str:
        """Return the language of the tables in the file, from the file's header; if there is no
        file, that of a new one."""
        with suppress(OSError), self.path.open("rb") as file:
            # https://www.sqlite.org/fileformat2.html#user_version_number
            header = file.read(64)
            if header.startswith(b"SQLite format 3\0") and len(header) == 64:
                return _language_of(int.from_bytes(header[60:]))
        return self._new_language

    def _tables(self, language: str) -> Mapping[str, SampleTable]:
        if language not in self._tables_in:
            with use_locale(language):
                tables = map(translate_table, self._english_tables)
                self._tables_in[language] = {table.id: table for table in tables}
        return self._tables_in[language]

    async def describe_table(self, at: TableId) -> Json:
        """Return the description in the form of NocoDB's API."""
        table = (await self._read()).find_table(at)
        return {
            "id": table.id,
            "title": table.title,
            "base_id": at.base,
            "display_field_id": table.display["id"],
            "fields": list(table.fields),
        }

    async def check_base(self, base: str) -> None:
        (await self._read()).check_base(base)

    async def fetch_page(self, at: TableId, query: PageQuery) -> RecordPage:
        """Unlike NocoDB, the sample filters nothing: its caller does."""
        _refuse_filter(query.where)
        state = await self._read()
        table = state.find_table(at)
        # Sorted by the last field first: a sort keeps the order of equal rows, so the first field
        # decides in the end, and equal rows stay in the order of their ids.
        ids = sorted(state.rows.get(table.id, {}))
        for sort_field in reversed(query.sort):
            ids.sort(
                key=lambda id: state.sort_key(table, sort_field.field, id),
                reverse=sort_field.direction == "desc",
            )
        start, end = (query.page - 1) * query.size, query.page * query.size
        records = [state.record(table, id, query.fields) for id in ids[start:end]]
        return RecordPage(tuple(records), has_more=end < len(ids))

    async def fetch_record(self, at: TableId, id: str, *, fields: Sequence[str] = ()) -> NocoRecord:
        state = await self._read()
        table = state.find_table(at)
        return state.record(table, state.find_row_id(table.id, id), fields)

    async def count_rows(self, at: TableId, where: str = "") -> int:
        _refuse_filter(where)
        state = await self._read()
        return len(state.rows.get(state.find_table(at).id, {}))

    async def fetch_aggregates(self, at: TableId, figures: Aggregates, where: str = "") -> Json:
        """Ponte itself computes all figures of the sample tables."""
        return {}

    async def fetch_linked_rows(self, at: TableId, field: str, row: str) -> Records:
        """The sample stores a link in the row that belongs to another one; the other direction is
        computed."""
        state = await self._read()
        table, link = state.find_link(at, field)
        id = state.find_row_id(table.id, row)
        if _leads_to_many(link):
            linked = state.children(link).get(id, ())
        else:
            owner = state.rows[table.id][id].cells.get(link["title"])
            linked = () if owner is None else (owner,)
        rows = [state.linked_row(_related_table(link), linked_id) for linked_id in linked]
        return [NocoRecord(str(row["id"]), row["fields"]) for row in rows]

    async def create_rows(self, at: TableId, rows: Sequence[Json], *, by: str = "") -> Records:
        """Ids of deleted rows are never given again, as in NocoDB. `by` is the asker for NocoDB's
        audit, which the sample tables do not have."""

        def write(state: _Snapshot) -> Records:
            """`last_ids` has the last id that each table gave, also to rows that were deleted
            since."""
            table = state.find_table(at)
            query = "SELECT id FROM last_ids WHERE table_id = ?"
            (last,) = state.connection.execute(query, (table.id,)).fetchone()
            ids = range(last + 1, last + 1 + len(rows))
            for id, cells in zip(ids, rows, strict=True):
                # NocoDB stores an unchecked box as false, not as empty.
                boxes = {f["title"]: False for f in table.fields if f["type"] == "Checkbox"}
                moment = _format_utc(datetime.now(UTC))
                row = _StoredRow(boxes | _stored_cells(table, cells), moment)
                state.rows.setdefault(table.id, {})[id] = row
                _save_row(state.connection, table.id, id, row)
            state.connection.execute(
                "UPDATE last_ids SET id = ? WHERE table_id = ?",
                (ids[-1] if rows else last, table.id),
            )
            return [state.record(table, id) for id in ids]

        return await self._write(at, write)

    async def update_rows(self, at: TableId, rows: Records, *, by: str = "") -> Records:
        def write(state: _Snapshot) -> Records:
            table = state.find_table(at)
            ids = [state.find_row_id(table.id, row.id) for row in rows]
            for id, row in zip(ids, rows, strict=True):
                state.write_cells(table.id, id, _stored_cells(table, row.fields))
            return [state.record(table, id) for id in ids]

        return await self._write(at, write)

    async def delete_rows(self, at: TableId, ids: Sequence[str], *, by: str = "") -> None:
        """Delete rows. Rows that belonged to them stay, and belong to none."""

        def write(state: _Snapshot) -> None:
            """All ids are checked first, so that nothing is deleted if one is missing."""
            table = state.find_table(at)
            for id in [state.find_row_id(table.id, row_id) for row_id in ids]:
                # `children`: the ids of the linked rows, by the row that they belong to.
                for link in filter(_leads_to_many, table.fields):
                    state.link_children(link, state.children(link).get(id, ()), None)
                del state.rows[table.id][id]
                state.connection.execute(
                    "DELETE FROM table_rows WHERE table_id = ? AND id = ?", (table.id, id)
                )

        await self._write(at, write)

    async def write_links(
        self, at: TableId, field: str, row: str, ids: Sequence[str], *, remove: bool, by: str = ""
    ) -> None:
        """If a row can belong to one row only, a new link replaces the old one, as in NocoDB."""

        def write(state: _Snapshot) -> None:
            """A link to many rows is stored in those rows; a link to one row holds the last of the
            ids."""
            table, link = state.find_link(at, field)
            id, other = state.find_row_id(table.id, row), _related_table(link)
            # Ids that are not linked are ignored, as NocoDB does.
            if remove and _leads_to_many(link):
                # Of the rows that belong to this one, those of the ids belong to none (None) now.
                linked = [child for child in state.children(link).get(id, ()) if str(child) in ids]
                state.link_children(link, linked, None)
            elif remove:
                if str(state.rows[table.id][id].cells.get(link["title"])) in ids:
                    state.write_cells(table.id, id, {link["title"]: None})
            else:
                linked = [state.find_row_id(other, row_id) for row_id in ids]
                if _leads_to_many(link):
                    state.link_children(link, linked, id)
                elif linked:
                    state.write_cells(table.id, id, {link["title"]: linked[-1]})

        await self._write(at, write)

    async def set_attachments(
        self, at: TableId, row: str, key: str, files: Json, *, by: str = ""
    ) -> None:
        await self.update_rows(at, [NocoRecord(row, files)], by=by)

    async def upload_file(self, name: str, type: str, data: bytes, *, by: str = "") -> Json:
        raise NocoError("The sample tables can't hold files.", code="bad_value")

    async def fetch_file(self, file: Json) -> bytes:
        raise NocoError("The sample tables can't hold files.", code="bad_value")

    async def _read(self) -> _Snapshot:
        return await asyncio.to_thread(self._transact, lambda state: state, writes=False)

    async def _write(self, at: TableId, work: Callable[[_Snapshot], T]) -> T:
        def write(state: _Snapshot) -> T:
            state.check_base(at.base)
            return work(state)

        return await asyncio.to_thread(self._transact, write)

    def _transact(self, work: Callable[[_Snapshot], T], *, writes: bool = True) -> T:
        """Run `work` on all rows, which are in memory (`_Snapshot`) together with the open
        connection, by which it writes. Commit that at the end. The file is created and filled first
        if it does not exist. Without `writes`, no lock is taken, so that others can read at the
        same time.

        Raise NocoError if nothing was written; its cause is the error of SQLite or of the file, if
        there was one. Raise WriteUnsure if the commit failed.
        """
        try:
            with suppress(FileExistsError):
                create_file(self.path).close()
            # SQLite must not create the file itself, because others could read it then.
            address = f"{self.path.resolve().as_uri()}?mode=rw"
            with closing(
                sqlite3.connect(address, uri=True, timeout=self._lock_timeout, isolation_level=None)
            ) as connection:
                # The file may have been made by somebody else; its schema must run no functions
                # (https://www.sqlite.org/pragma.html#pragma_trusted_schema).
                connection.execute("PRAGMA trusted_schema = OFF")
                # Empty for a new file, which is filled below.
                schema = self._schema_of(connection)
                if not schema or writes:
                    connection.execute("BEGIN IMMEDIATE")
                    # Another process may have filled the file before this one got the lock.
                    schema = self._schema_of(connection)
                    if not schema:
                        for statement in _SCHEMA:
                            connection.execute(statement)
                        self._fill(connection)
                else:
                    # One state of the file for all reads; the commit below only ends it.
                    connection.execute("BEGIN")
                if schema not in ((), _SCHEMA):
                    raise self._failure(_FOREIGN_SCHEMA)
                result = work(self._load(connection))
                self._commit(connection)
                return result
        except (sqlite3.Error, OSError, json.JSONDecodeError) as error:
            raise self._failure(error) from error

    def _schema_of(self, connection: sqlite3.Connection) -> tuple[str, ...]:
        rows = connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
        return tuple(str(sql) for (sql,) in rows if sql is not None)

    def _load(self, connection: sqlite3.Connection) -> _Snapshot:
        """Read the whole base into memory; it is small. A base with another id was made anew by
        `ponte sample reset`, so descriptions that callers have cached are outdated: they drop them
        when `drift_count` changes."""
        # "": somebody has emptied the table.
        (base,) = connection.execute("SELECT id FROM base").fetchone() or ("",)
        if self._base and base != self._base:
            self.drift_count += 1
        self._base = base
        # SQLite leaves this number to applications. Here it says in which language the tables and
        # their content were written, as its place in LOCALES.
        (number,) = connection.execute("PRAGMA user_version").fetchone()
        state = _Snapshot(connection, self._tables(_language_of(number)), base)
        query = "SELECT table_id, id, created_at, updated_at, cells FROM table_rows"
        rows = connection.execute(query).fetchall()
        # Parsing all rows at once takes half the time of parsing each.
        parsed = json.loads(f"[{','.join(row[-1] for row in rows)}]")
        for (table, id, created, updated, _), cells in zip(rows, parsed, strict=True):
            state.rows.setdefault(table, {})[id] = _StoredRow(cells, created, updated)
        return state

    def _fill(self, connection: sqlite3.Connection) -> None:
        """Replace everything by the first content, under a new id of the base, by which drafts from
        before are refused. `PRAGMA user_version` stores the language of the content.

        `_make_content` returns English rows by the table's id. `_new_language` is the language for
        a new file, or that of a reset.
        """
        for name in ("base", "last_ids", "table_rows"):
            connection.execute(f"DELETE FROM {name}")  # noqa: S608 - a constant
        connection.execute("INSERT INTO base VALUES (?)", (secrets.token_hex(_BASE_ID_BYTES),))
        language, content = self._new_language, self._make_content()
        connection.execute(f"PRAGMA user_version = {LOCALES.index(nearest_locale(language))}")
        for table in self._tables(language):
            rows = content.get(table, ())
            connection.execute("INSERT INTO last_ids VALUES (?, ?)", (table, len(rows)))
            for id, row in enumerate(rows, 1):
                with use_locale(language):
                    cells = translate_cells(row.cells)
                stored_row = _StoredRow(cells, _format_utc(row.created_at))
                _save_row(connection, table, id, stored_row)

    def _commit(self, connection: sqlite3.Connection) -> None:
        # Raise WriteUnsure if that fails, because the rows may be on the disk by then.
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise WriteUnsure(str(self._failure(error)), code="sample_failed") from None

    def _failure(self, cause: Exception | str) -> NocoError:
        why = describe_read_error(cause) if isinstance(cause, OSError) else str(cause)
        return NocoError(
            "The sample tables in {path} can't be used ({cause}). Check the disk and the "
            "permissions of the data folder, or restore the tables with `ponte sample reset`.",
            code="sample_failed",
            path=self.path,
            cause=why,
        )


def _refuse_filter(where: str) -> None:
    if where:
        raise ValueError("the sample base takes no filters")


def _language_of(number: int) -> str:
    return LOCALES[number] if 0 <= number < len(LOCALES) else "en"


def _leads_to_many(column: Json) -> bool:
    return bool(column.get("options", {}).get("relation_type") == "hm")


def _related_table(link: Json) -> str:
    return str(link["options"]["related_table_id"])


def _save_row(connection: sqlite3.Connection, table: str, id: int, row: _StoredRow) -> None:
    cells = {title: _plain_number(cell) for title, cell in row.cells.items() if cell is not None}
    connection.execute(
        "INSERT OR REPLACE INTO table_rows VALUES (?, ?, ?, ?, ?)",
        (table, id, json.dumps(cells, ensure_ascii=False), row.created_at, row.updated_at),
    )


def _stored_cells(table: SampleTable, cells: Json) -> dict[str, Any]:
    """Return the values of a written row in the form in which the file stores them, by the fields'
    titles. Unknown and computed fields are ignored, as NocoDB does."""
    values = {}
    for name, value in cells.items():
        column = table.find_field(name)
        if column and column["type"] not in _NOT_STORED:
            if column["type"] == "DateTime" and isinstance(value, str):
                value = _format_utc(datetime.fromisoformat(value))
            values[column["title"]] = value
    return values


def _plain_number(cell: Any) -> Any:
    # NocoDB has no 39.0, which would count as one decimal place.
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell


def _format_utc(moment: datetime) -> str:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(" ", "seconds")


class SampleDriver(RestDriver):
    """The `TableDriver` that reads and writes the rows of the sample base. It refuses drafts from
    before a reset."""

    name = SAMPLE_APPLIER
    recreated = (
        "Undo creates the rows again, with their values and links. They get new IDs and new "
        "values for {names}."
    )
    refilled = "The rows have new IDs and new values for {names}."

    def __init__(self, api: SampleApi) -> None:
        super().__init__(api)
        self._sample = api

    async def describe(self, target: Mapping[str, Any]) -> TableSchema:
        """Raise NocoError `sample_reset` if the sample tables were reset since the draft was
        made."""
        await self._sample.check_base(str(target["base"]))
        return await super().describe(target)


class SampleSource(TableSource):
    """The tools over the sample base, for those whom `may_use_sample` admits."""

    name = "sample"
    is_restricted = True
    description = (
        f"The tables of {SAMPLE_TABLES_PHRASE}: invented data of a small shop, for trying Ponte. "
        "Say that figures from it are sample data"
    )

    def __init__(
        self, api: SampleApi, title: str, config: TableRulesConfig = NO_TABLE_RULES
    ) -> None:
        # Does the approved writes, and reads the rows of drafts.
        driver = SampleDriver(api)
        self._sample, self._title = api, title
        super().__init__(api, driver, drafting=driver, config=config)
        # The base class fetches the list of tables after this time, which never comes: here `tools`
        # sets the list at each call.
        self._until = float("inf")

    async def tools(self, viewer: Viewer) -> Sequence[Tool]:
        # The tables are known, so that a turn that uses none of them does not create the file.
        self._overview = BaseOverview(self._title, tuple(self._sample.name_tables()))
        return await super().tools(viewer) if viewer.may("source", self.name) else ()

    async def titles(self, viewer: Viewer, to_change: bool = False) -> Sequence[str]:
        is_open = viewer.may("source", self.name)
        return await super().titles(viewer, to_change) if is_open else ()

    async def health(self) -> Health:
        """The file is not opened."""
        return Health(self.name, "on", say(SAMPLE_SENTENCE))
