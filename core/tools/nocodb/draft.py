"""Write tools of NocoDB: from a model's call to a draft with the rows before and after.

Nothing is written here. Values that NocoDB would ignore, guess or refuse are rejected before a
person is asked. A draft moves no link that its card does not show.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from itertools import zip_longest
from typing import Any
from zoneinfo import ZoneInfo

from core.base.errors import ToolError
from core.base.redaction import NO_SECRET, is_secret_name
from core.base.text import compose_letters, fold_case, to_one_line
from core.changes.kinds import Changer
from core.domain.changes import MAX_IDENTIFYING_FIELDS, MAX_PROPOSAL_ROWS, Change, Draft, RowWrite
from core.domain.messages import File
from core.domain.ports import Tool
from core.domain.records import ContextFiles, Outcome, ToolContext
from core.domain.rights import Viewer
from core.tools.nocodb.api import Ids, TableApi
from core.tools.nocodb.api_errors import NocoError
from core.tools.nocodb.driver import LinkableRow, RestDriver, RowImage, TableDriver, TableSchema
from core.tools.nocodb.fieldtypes import (
    Field,
    in_time_zone,
    linked_ids,
    parse_number,
    parse_value,
    value_error,
    without_empty,
)
from core.tools.nocodb.filters import Filter, LooseFilters, Match, RowSelection
from core.tools.nocodb.read import check_filter_field, check_not_withheld
from core.tools.nocodb.row_reader import ColumnChoice, RowReader
from core.tools.nocodb.schema import Schemas, TableDescription, find_by_name
from core.tools.tool import FunctionTool

_ID = re.compile(r"[^\s\"'/\\?#%(),<>]{1,100}")

_ENTRIES = (
    "Dates as 2026-11-20, moments as 2026-11-20 14:30 in the asker's time zone, numbers as 1234.5, "
    "select options as the table has them, links as lists of ids, files sent here by name (added)."
)
_DOING = "is preparing a change…"
_NO_CHANGE_HINT = "tell the person that nothing has to change"

Cells = Sequence[tuple[Field, Any]]

Id = str | int
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RowChange:
    """The id of a row and the new values of its fields, as the model writes them in a call."""

    id: Id
    fields: Values


class DraftBuilder:
    """Builds drafts of changes to rows, with each row before and after. Raises ToolError. Values
    for an untyped driver (a bridge) are not checked or converted, because nobody knows the types
    of its fields."""

    def __init__(self, driver: TableDriver) -> None:
        self.driver = driver

    async def draft_create(
        self, schema: TableSchema, rows: Sequence[Cells], zone: tzinfo, *, keeps_all: bool = False
    ) -> Draft:
        """With `keeps_all`, the draft also has the fields that are empty: a person is changing a
        proposal, and the form must show these fields again."""
        writes: list[RowWrite] = []
        for row in rows:
            values: RowImage = {}
            for field, value in row:
                if not field.is_link:
                    values[field.title] = self._parse_value(field, value, zone)
                    continue
                ids = parse_row_ids(value)
                if field.holds_one and len(ids) > 1:
                    raise _single_link_error(field)
                owned = await self._fetch_linkable(schema, field, ids)
                # A row that belongs to another row is moved by `draft_link` alone, whose card shows
                # from where it is taken.
                hint = "create the row without it, then move it with nocodb_link"
                _check_unowned(owned.values(), hint)
                values[field.title] = [owned[id].row for id in ids]
            # Over a bridge types are not known (`typed`), and an empty value may differ from a
            # missing one.
            filled = without_empty(values) if self.driver.typed else values
            after = values if keeps_all else filled
            if not filled:
                raise _bad_call("a new row has no values")
            writes.append(RowWrite(after=after))
        return self.build_draft(schema, "create", writes)

    async def draft_update(
        self,
        schema: TableSchema,
        changes: Mapping[str, Cells],
        zone: tzinfo,
        *,
        keeps_all: bool = False,
    ) -> tuple[Draft, int]:
        """Return a draft of the update, and how many rows need no change. With `keeps_all`, the
        draft has the rows and fields that already have their new values, so that a person can
        change them again."""
        titles = {field.title for cells in changes.values() for field, _ in cells}
        snapshots = await self._fetch_existing(schema, list(changes), titles)
        holds_value = self.driver.holds_value
        # Links and files come first: their rows are told by names that the other values may change.
        # Each link and each field of files is a write of its own (`apart`), so that its outcome is
        # known by itself.
        writes, apart_writes = list[RowWrite](), list[RowWrite]()
        unchanged = 0
        for id, cells in changes.items():
            snapshot, apart = snapshots[id], list[RowWrite]()
            after = {f.title: self._parse_value(f, v, zone) for f, v in cells if not f.is_link}
            # A field of files is no part of the plain values (`after`), unless it is cleared.
            for field in (field for field, _ in cells if field.field_type.file):
                if files := after[field.title]:  # they are added to those that the row has
                    old = snapshot.get(field.title)
                    if not isinstance(old, list | None):  # the text of a field that held text
                        raise value_error(
                            field,
                            "Row {id}, {field}: this field doesn't hold files. Name another field.",
                            id=id,
                        )
                    before = {**schema.identify(snapshot, zone), field.title: old}
                    apart.append(RowWrite(id, before, {field.title: [*(old or ()), *files]}))
                    del after[field.title]
            same = {n for n, v in after.items() if holds_value(v, snapshot.get(n))}
            # A secret counts as new: otherwise its value could be guessed.
            secrets = {n for n, v in after.items() if v not in NO_SECRET and is_secret_name(n)}
            new = {n: v for n, v in after.items() if n not in same or n in secrets}
            # Moments before the change are shown in the asker's zone, as those after it.
            if written := after if keeps_all else new:
                before = {
                    f.title: in_time_zone(f, snapshot.get(f.title), zone)
                    for f, _ in cells
                    if f.title in new
                }
                before |= {name: value for name, value in written.items() if name in same}
                writes.append(RowWrite(id, {**schema.identify(snapshot, zone), **before}, written))
            for field, value in cells:
                if field.is_link:  # one that is set as a field is set whole
                    new_ids, stand = parse_row_ids(value), linked_ids(snapshot.get(field.title))
                    remove = sorted(stand - set(new_ids))
                    apart += await self._link_writes(
                        schema, id, field, new_ids, remove, snapshot, zone
                    )
            unchanged += not (new or apart)
            apart_writes += apart
        if unchanged == len(changes):
            raise ToolError(
                "Those rows already have these values.", code="no_change", hint=_NO_CHANGE_HINT
            )
        return self.build_draft(schema, "update", [*apart_writes, *writes]), unchanged

    async def draft_delete(self, schema: TableSchema, ids: Ids) -> Draft:
        """Return a draft that deletes these rows. It has each row with all its fields, so that an
        undo can create it again."""
        snapshots = await self._fetch_existing(schema, ids, None)
        # Of a typed system, all fields are known, so the empty ones need not be stored.
        keep = without_empty if self.driver.typed else dict
        writes = [RowWrite(id, before=keep(snapshots[id])) for id in ids]
        return replace(self.build_draft(schema, "delete", writes), note=self.driver.recreated)

    async def draft_link(
        self, schema: TableSchema, id: str, field: Field, add: Ids, remove: Ids, zone: tzinfo
    ) -> Draft:
        """Raise ToolError if nothing is left to add or to remove."""
        snapshots = await self._fetch_existing(schema, [id], {field.title})
        writes = await self._link_writes(schema, id, field, add, remove, snapshots[id], zone)
        if not writes:
            raise ToolError("Those links already exist.", code="no_change", hint=_NO_CHANGE_HINT)
        return self.build_draft(schema, "update", writes)

    def build_draft(self, schema: TableSchema, kind: str, writes: Sequence[RowWrite]) -> Draft:
        """Return the draft of a change to rows. It stores the types and options of the fields, for
        the form that changes it, and the tables whose rows change with it, because their rules
        count too."""
        names = dict.fromkeys(name for write in writes for name in write.after or ())
        # By name, the kind of input and the options that the form offers. A bridge describes no
        # fields: they then count as fields of unknown type.
        fields = {name: schema.fields.get(name, Field("", name, "")) for name in names}
        inputs = {name: [_input_type(field), field.options] for name, field in fields.items()}
        # A link to many rows is stored in these rows, or in a table between both; one to one ("oo")
        # may be stored in the other row, too.
        linked = {
            f.related_id: f.related_title
            for f in fields.values()
            if f.is_link and (not f.holds_one or f.relation == "oo")
        }
        target = {**schema.target, "inputs": inputs} if inputs else schema.target
        if linked:
            target = {**target, "linked_tables": [[title, id] for id, title in linked.items()]}
        return Draft(self.driver.name, kind, target, schema.title, tuple(writes))

    def _parse_value(self, field: Field, value: object, zone: tzinfo) -> Any:
        return parse_value(field, value, zone) if self.driver.typed else value

    async def _fetch_existing(
        self, schema: TableSchema, ids: Ids, titles: set[str] | None
    ) -> Mapping[str, RowImage]:
        # `titles` None: all fields. Those that identify a row on the card are read, too.
        names = None if titles is None else titles | {field.title for field in schema.identity}
        snapshots = await self.driver.rows(schema, ids, names)
        if missing := [id for id in ids if id not in snapshots]:
            raise self.driver.missing_rows_error(schema, missing)
        return snapshots

    async def _link_writes(
        self,
        schema: TableSchema,
        id: str,
        field: Field,
        add: Ids,
        remove: Ids,
        image: RowImage,
        zone: tzinfo,
    ) -> Sequence[RowWrite]:
        """Existing links are not added again, and missing ones are not removed. A row to be linked
        may belong to another row. NocoDB would move it without a word, so the draft has a write
        that takes it from there: the card shows it, and an undo gives it back."""
        title = field.title
        stand: list[RowImage] = image.get(title) or []  # None: the row has no links
        current_ids = linked_ids(stand)
        add = [row_id for row_id in add if row_id not in current_ids]
        removed = [row for row in stand if row["id"] in remove]
        owned = await self._fetch_linkable(schema, field, add)
        added = [owned[row_id].row for row_id in add]
        named = schema.identify(image, zone)
        if field.holds_one:  # the new one takes the place of the old
            # NocoDB 0.301.3 takes no row out of a relation of one to one, though it says so.
            _check_unowned(owned.values(), "only NocoDB itself can take it from there")
            if len(added) > 1:
                raise _single_link_error(field)
            if not added and not removed:
                return []
            return [RowWrite(id, before={**named, title: stand}, after={title: added})]
        # Rows that belong to other rows, by the id of the row that has to give them up first.
        by_owner: dict[str, list[RowImage]] = {}
        for linkable in owned.values():
            if linkable.owner is not None and linkable.owner["id"] != id:
                by_owner.setdefault(str(linkable.owner["id"]), []).append(linkable.row)
        names = [field.title for field in schema.identity]
        snapshots = await self.driver.rows(schema, list(by_owner), names) if by_owner else {}
        moved = [
            RowWrite(
                owner, {**schema.identify(snapshots.get(owner, {}), zone), title: rows}, {title: []}
            )
            for owner, rows in by_owner.items()
        ]
        # First the removals, then the additions, each a call of its own.
        sides: list[tuple[list[RowImage], list[RowImage]]] = [(removed, []), ([], added)]
        return moved + [
            RowWrite(id, before={**named, title: old}, after={title: new})
            for old, new in sides
            if old or new
        ]

    async def _fetch_linkable(
        self, schema: TableSchema, field: Field, ids: Ids
    ) -> Mapping[str, LinkableRow]:
        # Each row comes with the row to which it belongs.
        rows = await self.driver.fetch_linkable_rows(schema, field, ids) if ids else {}
        if missing := [id for id in ids if id not in rows]:
            raise _missing_rows_error(field, missing)
        return rows


def _input_type(field: Field) -> str:
    if field.is_link or field.type == "Attachment":
        return "" if field.type == "Attachment" else "link"
    by_type = {"LongText": "lines", "SingleSelect": "select"}
    by_kind = {"check": "checkbox", "day": "date", "moment": "moment", "number": "number"}
    return by_type.get(field.type) or by_kind.get(field.kind, "text")


def parse_row_ids(value: object) -> list[str]:
    references = value if isinstance(value, list | tuple) else [value] if value is not None else []
    return list(dict.fromkeys(parse_row_id(reference) for reference in references))


def parse_row_id(value: object) -> str:
    """Raise ToolError for anything but a text, a number, or a row as {"id"} or {"Id"}."""
    id = value.get("id", value.get("Id")) if isinstance(value, Mapping) else value
    text = str(id).strip() if isinstance(id, str | int) and not isinstance(id, bool) else ""
    if not _ID.fullmatch(text):
        raise _bad_call("a row has no valid ID; find IDs with nocodb_query")
    return text


def check_row_count(count: int) -> None:
    if not count:
        raise _bad_call("no row is given")
    check_most_rows(count, hint="propose a part, and say so")


def check_most_rows(count: int, *, hint: str) -> None:
    """`hint` tells the model what to do."""
    if count > MAX_PROPOSAL_ROWS:
        raise ToolError(
            "That's {count} rows. The maximum is {most} per request.",
            code="too_many_rows",
            hint=hint,
            count=count,
            most=MAX_PROPOSAL_ROWS,
        )


def parse_cells(table: TableDescription, values: Mapping[str, Any]) -> Cells:
    """Raise ToolError for an unknown, repeated or computed field, and for a link to rows that a
    secret field names."""
    fields = [(table.field(name), value) for name, value in values.items()]
    if not fields:
        raise _bad_call("a row has no fields")
    for link in (field for field, _ in fields if field.is_link):
        check_not_withheld(link)
    # One field under two names, such as its id and its title.
    if len({field.id for field, _ in fields}) < len(fields):
        raise _bad_call("a field is given twice in a row")
    if computed_titles := [field.title for field, _ in fields if field.is_computed]:
        raise ToolError(
            "These fields are read-only, because they're filled in automatically: {names}.",
            code="computed_field",
            hint="leave them out",
            names=", ".join(computed_titles[:5]),
        )
    return fields


async def find_files(ctx: ToolContext, cells: Cells) -> Cells:
    """A draft holds the id and the digest of a file: exactly these bytes are uploaded. Raise
    ToolError for a file that the asker's conversation does not have."""
    found_cells = list[tuple[Field, Any]]()
    for field, value in cells:
        if field.field_type.file and value:
            names = dict.fromkeys(map(str, value if isinstance(value, list) else [value]))
            files = [await _describe_file(ctx.files, name) for name in names]
            # A file that is named twice, as by its name and by its id, counts once.
            value = list({file["file"]: file for file in files}.values())
        found_cells.append((field, value))
    return found_cells


async def find_file(store: ContextFiles | None, name: str) -> File:
    """Raise ToolError if no file or several have the name; its hint lists the files, so that the
    model can choose one by its id."""
    files = await store.list_files() if store else ()
    found = [file for file in files if file.id == name or fold_case(file.name) == fold_case(name)]
    if len(found) != 1:
        # The model then names one by its id: of the files with this name, else of all.
        listed = [f"{file.name!r} (id {file.id}, {file.size} bytes)" for file in found or files]
        raise ToolError(
            "This conversation has several files named {name}."
            if found
            else "This conversation has no file named {name}.",
            code="unknown_file",
            name=to_one_line(name, 80),
            hint=f"name one by its id; the newest is last: {', '.join(listed[-10:])}"
            if listed
            else "ask the person to send the file here",
        )
    return found[0]


async def _describe_file(store: ContextFiles | None, name: str) -> Mapping[str, Any]:
    """Return the file with its digest, so that what a person approves is what is uploaded."""
    file = await find_file(store, name)
    data = await store.read(file) if store else b""
    # In a thread, because a large file would hold up the event loop.
    digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
    name_and_type = {"file": file.id, "title": file.name, "mimetype": file.type}
    return {**name_and_type, "size": len(data), "sha256": digest}


_CARD_TYPES = ("Currency", "Decimal", "Number"), ("Date", "DateTime"), ("SingleSelect",)
MAX_IDENTIFIED_ROWS = 10


def list_card_fields(
    table: TableDescription, names: Sequence[str], written: Collection[str]
) -> Sequence[Field]:
    """Return the fields that can identify a row on the card of an update, besides the one that
    names it: those of `names` that have values of their own or link, else links to one row,
    amounts, dates and selects, first one of each."""
    usable = [
        field
        for field in table.fields
        if not (field.is_computed or field.field_type.file or field.title in written)
        and field.id != table.display
    ]
    if names:
        matches = dict.fromkeys(find_by_name(name, usable) for name in names)
        return [field for field in matches if field]
    kinds = [
        [field for field in usable if field.is_link and field.holds_one],
        *([f for type in types for f in usable if f.type == type] for types in _CARD_TYPES),
    ]
    return [field for fields in zip_longest(*kinds) for field in fields if field]


class WriteTools:
    """The methods that become the write tools of NocoDB. They only propose changes. `driver` reads
    the rows of drafts; None: a `RestDriver`. `now` returns seconds since the epoch."""

    def __init__(
        self,
        api: TableApi,
        schemas: Schemas,
        driver: TableDriver | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._schemas = schemas
        # False for the sample tables, whose rows Ponte filters itself.
        self._filters_rows = api.filters_rows
        # Finds the rows that filters select, and those with a title that a person typed.
        self._reading = RowReader(api)
        self.drafts = DraftBuilder(driver or RestDriver(api))
        # For filters such as "today".
        self._now = now

    def tools(self) -> Sequence[Tool]:
        """No tool is strict, because rows are open maps of fields, which a strict schema cannot
        express. People read `_DOING` while a tool runs."""
        functions = (
            (self.nocodb_create, False, f"Propose new rows: values by field.\n\n{_ENTRIES}"),
            (
                self.nocodb_update,
                False,
                "Propose new values: `changes` have a row's id and its fields; or `filters` (as in "
                "nocodb_query) select the rows that get `set`. Values as for new rows; null "
                "clears a field",
            ),
            (
                self.nocodb_delete,
                False,
                "Propose to delete rows: by `ids` (of duplicates: look first, and name the rows), "
                "or by `filters` as in nocodb_query",
            ),
            (
                self.nocodb_link,
                False,
                "Propose to link a row to rows of the other table, or to unlink them, by their ids",
            ),
        )
        return [
            FunctionTool(function, effect="write", doing=_DOING, strict=strict, description=text)
            for function, strict, text in functions
        ]

    async def nocodb_create(self, ctx: ToolContext, table: str, rows: Sequence[Values]) -> Outcome:
        """Return what the model reads about the proposal, which a person must approve."""
        check_row_count(len(rows))
        names = (name for row in rows for name in row)
        layout = await self.find_writable_table(ctx.viewer, table, names)
        new = [await find_files(ctx, parse_cells(layout, row)) for row in rows]
        draft = await self.drafts.draft_create(TableSchema.of(layout), new, _zone(ctx))
        return await ctx.turn.propose(draft)

    async def nocodb_update(
        self,
        ctx: ToolContext,
        table: str,
        changes: Sequence[RowChange] = (),
        filters: LooseFilters = (),
        match: Match = "all",
        set: Values | None = None,
    ) -> Outcome:
        """Return what the model reads about the proposal, and how many rows have these values
        already."""
        # Either rows by id with their values, or a filter and values for all rows that it finds.
        if bool(changes) == bool(filters or set) or bool(filters) != bool(set):
            raise ToolError(
                "Specify either `changes`, or `filters` with `set`. You can't change all rows in "
                "a table at once.",
                code="bad_arguments",
            )
        names = [name for change in changes for name in change.fields]
        names += set or ()
        layout = await self.find_writable_table(ctx.viewer, table, names, filters)
        if set:
            ids = await self._find_row_ids(ctx, layout, filters, match)
            # Each of these rows gets the same values.
            cells = dict.fromkeys(ids, await find_files(ctx, parse_cells(layout, set)))
        else:
            ids = _parse_unique([change.id for change in changes])
            rows = [await find_files(ctx, parse_cells(layout, change.fields)) for change in changes]
            cells = dict(zip(ids, rows, strict=True))
        check_row_count(len(cells))
        written = {field.title for row in cells.values() for field, _ in row}
        schema = await self._describe_update(ctx.viewer, layout, written, len(cells))
        draft, unchanged = await self.drafts.draft_update(schema, cells, _zone(ctx))
        outcome = await ctx.turn.propose(draft)
        if not unchanged:
            return outcome
        note = f" {unchanged} more rows hold these values already and are left out."
        return replace(outcome, text=outcome.text + note)

    async def nocodb_delete(
        self,
        ctx: ToolContext,
        table: str,
        ids: Sequence[Id] = (),
        filters: LooseFilters = (),
        match: Match = "all",
    ) -> Outcome:
        """Propose to delete rows of a table: return what the model reads about the proposal, which
        a person must approve. A filter is evaluated now: the draft names the rows that it finds, so
        that people approve these and no others."""
        # Exactly one of both: without either, it would be all rows.
        if bool(ids) == bool(filters):
            raise ToolError(
                "Specify either `ids` or `filters`. You can't delete all rows in a table at once.",
                code="bad_arguments",
            )
        layout = await self.find_writable_table(ctx.viewer, table, (), filters)
        named = _parse_unique(ids) if ids else await self._find_row_ids(ctx, layout, filters, match)
        check_row_count(len(named))
        draft = await self.drafts.draft_delete(TableSchema.of(layout), named)
        return await ctx.turn.propose(draft)

    async def nocodb_link(
        self,
        ctx: ToolContext,
        table: str,
        id: Id,
        link_field: str,
        add: Sequence[Id] = (),
        remove: Sequence[Id] = (),
    ) -> Outcome:
        """Return what the model reads about the proposal, which a person must approve."""
        layout = await self.find_writable_table(ctx.viewer, table, [link_field])
        row, new, old = parse_row_id(id), parse_row_ids(list(add)), parse_row_ids(list(remove))
        field = layout.field(link_field)
        if not field.is_link:
            raise ToolError(
                "{field} isn't a link.",
                code="bad_field",
                field=field.title,
                hint=", ".join(link.title for link in layout.links) or "this table has none",
            )
        check_not_withheld(field)
        check_row_count(len(new) + len(old))
        if both := {*new} & {*old}:
            raise _bad_call(f"row {min(both)} is both in `add` and in `remove`")
        schema = await self._describe_update(ctx.viewer, layout, {field.title}, 1)
        draft = await self.drafts.draft_link(schema, row, field, new, old, _zone(ctx))
        return await ctx.turn.propose(draft)

    async def revise(self, change: Change, values: Mapping[str, str], changer: Changer) -> Draft:
        """Values come by `FormField.key`, as a person typed them. A key that is missing leaves the
        proposed value.

        The error for a wrong value names its key, so that the form can show it at the field. The
        rows are read again, with the rights of the person who changes them.
        """
        draft = change.draft
        # A form is only made for rows with one step each: not with files or changed links.
        proposed = [steps[0].write for steps in change.rows]
        names = dict.fromkeys(name for write in proposed for name in write.after or ())
        layout = await self.find_writable_table(changer.viewer, draft.view.table_id, names)
        rows: list[tuple[str, dict[str, Any]]] = []
        for number, write in enumerate(proposed, 1):
            cells = dict(write.after or {})
            for name, old in cells.items():
                # The form's key of a field: its name, after the row's number if there are several.
                key = name if len(proposed) == 1 else f"{number}.{name}"
                if (new := values.get(key)) is None:
                    continue
                field, pieces = layout.field(name), [piece.strip() for piece in new.split(",")]
                try:
                    # `inputs` has the type of a field's input in the form, and its options.
                    if draft.target["inputs"][name][0] == "link":
                        cells[name] = await self._find_link_ids(changer, field, new, old)
                    else:
                        # A field of several options or people has a list.
                        cells[name] = list(filter(None, pieces)) if isinstance(old, list) else new
                        # For its error alone: the draft below converts the value again.
                        parse_value(field, cells[name], changer.zone)
                except ToolError as error:
                    error.values["key"] = key
                    raise
            rows.append((write.id, cells))
        written = set() if draft.kind == "create" else set(names)
        schema = await self._describe_update(changer.viewer, layout, written, len(rows))
        # `keeps_all` keeps empty and unchanged fields, so that the form shows them again.
        parsed = [(id, parse_cells(layout, cells)) for id, cells in rows]
        if draft.kind == "create":
            cells_of_rows = [cells for _, cells in parsed]
            return await self.drafts.draft_create(
                schema, cells_of_rows, changer.zone, keeps_all=True
            )
        update = self.drafts.draft_update(schema, dict(parsed), changer.zone, keeps_all=True)
        return (await update)[0]  # without the number of rows that need no change

    async def _describe_update(
        self, viewer: Viewer, table: TableDescription, written: Collection[str], row_count: int
    ) -> TableSchema:
        """Return the schema for an update of the fields `written`, with the fields that identify
        its rows. More than MAX_IDENTIFIED_ROWS rows have none."""
        if not written or row_count > MAX_IDENTIFIED_ROWS:
            return TableSchema.of(table)
        rule = self._schemas.config.table_rules.find_rule(table.id, table.title)
        fields = list[Field]()
        for field in list_card_fields(table, rule.card_fields, written):
            # The name of a linked row can be a formula over a third table, with other readers.
            needs = await self._schemas.find_needs(viewer, table, [field])
            if len([need for need in needs if need[0] == "read"]) > 1 + field.is_link:
                continue
            with suppress(ToolError):  # a secret, or a link to rows that a secret names
                await check_filter_field(self._schemas, viewer, field)
                fields.append(field)
        return TableSchema.of(table, fields[:MAX_IDENTIFYING_FIELDS])

    async def identify_rows(
        self, viewer: Viewer, table: TableDescription, rows: Sequence[RowWrite], zone: tzinfo
    ) -> tuple[TableSchema, Sequence[RowWrite]]:
        """Return the schema for these rows, and the rows with the cells that identify those to be
        updated. Raise ToolError."""
        updates = [row for row in rows if row.before is not None]
        written = {name for row in rows for name in row.after or ()} if updates else set[str]()
        schema = await self._describe_update(viewer, table, written, len(rows))
        if not schema.card_fields:
            return schema, rows
        names = [field.title for field in schema.identity]
        images = await self.drafts.driver.rows(schema, [row.id for row in updates], names)
        return schema, [
            replace(row, before={**schema.identify(images.get(row.id, {}), zone), **row.before})
            if row.before is not None
            else row
            for row in rows
        ]

    async def _find_link_ids(
        self, changer: Changer, field: Field, text: str, proposed: Sequence[RowImage]
    ) -> Sequence[str]:
        """Each piece between commas is a row of the proposal as the form (title) or the card
        ("title (id)") shows it, the title of another row of the linked table, or an id. Raise
        ToolError for a title of no row or of several rows."""
        known: dict[str, list[str]] = {}  # several proposed rows can have one title
        text = compose_letters(text)  # accents may be encoded apart from their letters
        for row in proposed or ():
            title, id = compose_letters(str(row["title"])), str(row["id"])
            known.setdefault(title, []).append(id)
            known[f"{title} ({id})"] = [id]
        # A title can have commas, so the known titles are matched first, the longest before the
        # others; then anything up to a comma. `(?!)` matches nothing.
        titles = "|".join(re.escape(title) for title in sorted(known, key=len, reverse=True))
        pieces = re.findall(rf"\s*({titles or '(?!)'}|[^,]*[^,\s])\s*(?:,|$)", text)
        # Each is used once, so that two rows with one title are both found.
        ids = [known[word].pop(0) if known.get(word) else "" for word in pieces]
        others = [word for word, id in zip(pieces, ids, strict=True) if not id]
        titled = await self._find_titled_rows(changer, field, others)
        if several := [word for word in others if len(titled.get(word, ())) > 1]:
            raise ToolError(
                "Several rows are called {title}: {ids}. Enter the ID instead.",
                code="bad_value",
                title=several[0],
                ids=", ".join(titled[several[0]][:5]),
            )
        # A word that is no row's title may still be an id.
        if missing := [word for word in others if word not in titled and not _ID.fullmatch(word)]:
            raise _missing_rows_error(field, missing)
        return [id or titled.get(word, [word])[0] for word, id in zip(pieces, ids, strict=True)]

    async def _find_titled_rows(
        self, changer: Changer, field: Field, titles: Sequence[str]
    ) -> Mapping[str, Sequence[str]]:
        """Several rows can have one title. A table whose rows are named by a field that cannot be
        searched (such as a date or a file) gives none."""
        table = await self._schemas.describe_table(changer.viewer, field.related_id)
        display = table.display_field
        if display is None or display.kind not in ("words", "mixed", "number"):
            return {}
        check_not_withheld(display)
        if display.kind == "number":
            titles = [title for title in titles if parse_number(title) is not None]
        ids: dict[str, list[str]] = {}
        if titles:
            now = datetime.fromtimestamp(self._now(), changer.zone)
            filters = [Filter(display.id, "in", list(titles))]
            selection = RowSelection.of(table, filters, "all", now, self._filters_rows)
            rows = await self._reading.fetch_all(selection, ColumnChoice((display,)))
            for row in rows.records:
                # `titles` are composed, too, so that both are equal.
                title = compose_letters(str(row.fields.get(display.title)))
                ids.setdefault(title, []).append(row.id)
        return ids

    async def find_writable_table(
        self, viewer: Viewer, name: str, fields: Iterable[str], filters: Sequence[Filter] = ()
    ) -> TableDescription:
        """A draft must not rest on a cached description. Raise NocoError if the table lacks one of
        `fields`, which get new values, or one of a filter. Raise ToolError if the table, or one
        that a field of `fields` links to, may not be changed here; a link changes rows of both
        tables."""
        names = tuple(fields)
        every = (*names, *(criterion.field for criterion in filters))
        layout = await self._schemas.describe_afresh(viewer, name, every)
        named = [layout.field(name) for name in names]
        touched = [(layout.title, layout.id), *((f.related_title, f.related_id) for f in named)]
        # A field that is no link has no related table ("").
        for title, id in touched:
            if id and self._schemas.config.table_rules.is_closed(viewer, title, id):
                raise ToolError(
                    "The table {table} is read-only here. This is set in ponte.toml.",
                    code="read_only",
                    hint="tell the person; do not look for another way",
                    table=title,
                )
        return layout

    async def _find_row_ids(
        self, ctx: ToolContext, table: TableDescription, filters: Sequence[Filter], match: Match
    ) -> list[str]:
        """The draft names these rows and no later ones. Raise ToolError if there are none, or more
        than one proposal may have; also if not all rows could be looked at, because others may
        match, too."""
        # A filter on a secret field is refused: which rows it finds would reveal the values.
        for criterion in filters:
            await check_filter_field(self._schemas, ctx.viewer, table.field(criterion.field))
        now = datetime.fromtimestamp(self._now(), _zone(ctx))
        selection = RowSelection.of(table, filters, match, now, self._filters_rows)
        keys = tuple(field for field in table.fields if field.type == "ID")
        rows = await self._reading.fetch_all(selection, ColumnChoice(keys))
        if not rows.records:
            raise ToolError(
                "No row matches those filters.",
                code="no_rows",
                hint="look with nocodb_query which values there are, or tell the person",
            )
        if not rows.is_complete or rows.total > MAX_PROPOSAL_ROWS:
            # Always raises: with the number of rows, or with one more than is allowed.
            check_row_count(max(rows.total, MAX_PROPOSAL_ROWS + 1))
        return [record.id for record in rows.records]


def _missing_rows_error(field: Field, rows: Sequence[str]) -> NocoError:
    return NocoError(
        "Rows not found in {table}: {ids}.",
        code="not_found",
        hint="find ids with nocodb_query",
        ids=", ".join(rows[:5]),
        table=field.related_title or field.title,
    )


def _check_unowned(rows: Iterable[LinkableRow], hint: str) -> None:
    """NocoDB would take the row away from there without a word."""
    for row in rows:
        if row.owner is not None:
            raise ToolError(
                "{row} already belongs to {owner} (row {id}).",
                code="linked_elsewhere",
                hint=hint,
                row=row.row["title"],
                owner=row.owner["title"],
                id=row.owner["id"],
            )


def _single_link_error(field: Field) -> ToolError:
    return ToolError("{field} can link to only one row.", code="bad_value", field=field.title)


def _bad_call(why: str) -> ToolError:
    return ToolError("Invalid call: {why}.", code="bad_arguments", why=why)


def _parse_unique(ids: Sequence[Id]) -> list[str]:
    """Raise ToolError if one comes twice, because its changes would be ambiguous."""
    row_ids = [parse_row_id(id) for id in ids]
    twice = sorted({id for id in row_ids if row_ids.count(id) > 1})
    if twice:
        raise ToolError(
            "These rows appear twice: {ids}.",
            code="bad_arguments",
            hint="name each row once, with all its fields",
            ids=", ".join(twice[:5]),
        )
    return row_ids


def _zone(ctx: ToolContext) -> ZoneInfo:
    return ZoneInfo(ctx.zone)
