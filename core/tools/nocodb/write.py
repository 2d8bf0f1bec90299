"""Applies approved changes to tables: checks the rows, writes them once, and reads them back.

NocoDB answers 200 also where it ignored a field, so every field is read back. Files and links are
written one by one, so that the outcome of each is known. With a typed driver, an undo restores cell
by cell and leaves later work of other people alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from core.base.errors import ToolError
from core.domain.changes import Change, ChangeStep, Draft, RowCheck, RowWrite
from core.tools.nocodb.driver import (
    CONCEALED_LINK,
    EXCLUSIVE_RELATIONS,
    RowImage,
    TableDriver,
    TableSchema,
)
from core.tools.nocodb.fieldtypes import Field, is_same_entry, linked_ids

CELL_BY_CELL = "apart"
"""Key in a draft's target: each field is restored by itself, and changed fields are left alone."""
_ROWS_UNKNOWN = "The earlier values of those rows are unknown, so they can't be restored."
_NOTHING_TO_UNDO = "Nothing that was saved there can be undone."

log = structlog.get_logger("nocodb")


class TableWriter:
    """The `Applier` port over the tables of one driver."""

    patience = 120.0

    def __init__(self, driver: TableDriver) -> None:
        self.driver = driver
        self.name = driver.name

    def batch(self, draft: Draft) -> int:
        """Return how many rows one call writes."""
        return self.driver.batch(draft)

    def open(self, draft: Draft) -> TableBatch:
        """Return the batch that applies a draft."""
        return TableBatch(self.driver, draft)

    def revert(self, change: Change) -> Draft:
        """Return the draft that undoes the written rows. Raises ToolError where nothing can be
        undone.

        Fields that changed in the meantime are left alone; the others can still be restored.
        """
        steps, draft = change.written_steps, change.draft
        if self.driver.typed:
            draft = replace(draft, target={**draft.target, CELL_BY_CELL: True})
        match draft.kind:
            case "create":
                rows = [RowWrite(s.write.id, before=s.current or s.write.after) for s in steps]
                return replace(draft, kind="delete", rows=tuple(rows), note=self.driver.recreated)
            case "update":
                if self.driver.typed:
                    # The last step first: a linked row leaves its new owner before the old one
                    # gets it back.
                    rows = [row for step in reversed(steps) for row in _restore_cells(step)]
                else:
                    rows = [_restore_row(step) for step in steps]
                if not rows:
                    raise ToolError(_NOTHING_TO_UNDO, code="not_undone")
                return replace(draft, rows=tuple(rows), note="")
            case "delete":
                restore = partial(self.driver.restorable_values, draft.target)
                images = [restore(step.write.before) for step in steps]
                rows = [RowWrite(after=row) for row in images if row is not None]
                if not any(row.after for row in rows):
                    raise ToolError(_ROWS_UNKNOWN, code="not_undone")
                return replace(draft, kind="create", rows=tuple(rows), note=self.driver.refilled)
        raise ToolError(_NOTHING_TO_UNDO, code="not_undone")


class TableBatch:
    """The `Batch` that writes rows of one table. It reads the table's description once, when a call
    first needs it."""

    def __init__(self, driver: TableDriver, draft: Draft) -> None:
        self._driver = driver
        self._draft = draft
        self._schema: TableSchema | None = None

    async def check(self, rows: Sequence[RowWrite]) -> Sequence[RowCheck]:
        """Return how each row stands. Raises ToolError `drift` where the table's fields changed
        since the draft was made."""
        draft, schema = self._draft, await self._read_schema()
        names = dict.fromkeys(name for row in rows for name in _field_names(row))
        if not draft.target.get(CELL_BY_CELL):
            schema.check_unchanged(draft.target, names)
        if draft.kind == "create":
            if not all(row.id for row in rows):
                newest = await self._driver.fetch_newest(schema)
                rows = self._find_created(newest, rows, schema.links)
            now = await self._driver.rows(schema, [row.id for row in rows if row.id])
            unseen = draft.target.get("hidden_fields", ())
            return [
                self._compare_create(row, now.get(row.id), unseen)
                if row.id
                else RowCheck("before", row)
                for row in rows
            ]
        field_names = names if draft.kind == "update" else None
        now = await self._driver.rows(schema, [row.id for row in rows], field_names)
        if draft.kind == "delete":
            return [self._compare_delete(row, now.get(row.id)) for row in rows]
        moved = schema.changed_fields(draft.target, names)
        return [
            RowCheck("other", row, now.get(row.id), tuple(moved & set(_field_names(row))))
            if moved & set(_field_names(row))
            else await self._check_owners(
                schema, self._compare_update(schema, row, now.get(row.id))
            )
            for row in rows
        ]

    async def write(self, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        """Write rows and return them, with the ids of created rows. Raise ToolError,
        WriteUnsure."""
        draft, schema = self._draft, await self._read_schema()
        match draft.kind:
            case "create":
                names = {name for row in rows for name in _field_names(row)}
                schema = schema.without(schema.changed_fields(draft.target, names))
                values = [row.after or {} for row in rows]
                new_ids = await self._driver.create(schema, values, draft.asker_key)
                rows = [replace(row, id=id) for row, id in zip(rows, new_ids, strict=True)]
                for row in rows:
                    try:
                        await self._write_files_and_links(schema, row, draft.asker_key)
                    except ToolError as error:  # the row exists; reading it back shows what lacks
                        log.warning("created a row without all its values", error=str(error))
            case "update":
                await self._write_update(schema, rows, draft.asker_key)
            case "delete":
                await self._driver.delete(schema, [row.id for row in rows], draft.asker_key)
        return rows

    async def _read_schema(self) -> TableSchema:
        """Return the table's description; a failed read is repeated by the next call."""
        if self._schema is None:
            self._schema = await self._driver.describe(self._draft.target)
        return self._schema

    async def _write_files_and_links(self, schema: TableSchema, row: RowWrite, by: str) -> None:
        """Add files and links to a row that was just created. Rows that another row owns are not
        linked."""
        after = row.after or {}
        files = {title: value for title, value in after.items() if _is_file(schema, title)}
        if any(files.values()):
            await self._driver.attach(schema, row.id, files, by)
        for title, field in schema.links.items():
            ids = sorted(linked_ids(after.get(title)))
            if free := await self._find_unowned(schema, field, ids, row.id) if ids else []:
                await self._driver.link(schema, field, row.id, free, (), by)

    async def _write_update(self, schema: TableSchema, rows: Sequence[RowWrite], by: str) -> None:
        """Write new values. Several writes of one row are merged into one, because NocoDB refuses
        an id that comes twice.

        A write of a link field either adds rows or removes them; where a link holds one row, adding
        replaces it.
        """
        together: dict[str, RowImage] = {}
        for row in rows:
            after = row.after or {}
            link = next((schema.links[title] for title in after if title in schema.links), None)
            if link is not None:
                old, new = (linked_ids((s or {}).get(link.title)) for s in (row.before, row.after))
                add = sorted(new - old)
                remove = [] if add else sorted(old - new)
                await self._driver.link(schema, link, row.id, add, remove, by)
            elif any(_is_file(schema, title) and value for title, value in after.items()):
                await self._driver.attach(schema, row.id, after, by)
            else:
                together.setdefault(row.id, {}).update(after)
        if together:
            await self._driver.update(schema, together, by)

    async def _find_unowned(
        self, schema: TableSchema, field: Field, ids: Sequence[str], row: str
    ) -> Sequence[str]:
        """Return the ids of existing rows that no other row than `row` owns."""
        rows = await self._driver.fetch_linkable_rows(schema, field, ids)
        return [id for id in ids if id in rows and (rows[id].owner or {"id": row})["id"] == row]

    async def _check_owners(self, schema: TableSchema, check: RowCheck) -> RowCheck:
        """Mark the row as changed where a row to be linked belongs to another row by now."""
        after, before = check.write.after or {}, check.write.before or {}
        for title in after.keys() & schema.links.keys():
            field = schema.links[title]
            ids = sorted(linked_ids(after[title]) - linked_ids(before.get(title)))
            if check.state != "before" or not ids or field.relation not in EXCLUSIVE_RELATIONS:
                continue
            if len(await self._find_unowned(schema, field, ids, check.write.id)) < len(ids):
                return replace(check, state="other", differing_fields=(title,))
        return check

    def _compare_update(
        self, schema: TableSchema, write: RowWrite, now: RowImage | None
    ) -> RowCheck:
        """Compare a row with its update. A typed field that already has its new value is no
        conflict.

        Of a link to many rows, only the rows that the update adds or removes are compared.
        """
        if now is None:
            return RowCheck("other", write)
        reads, stands = self._driver.holds_value, self._driver.is_unchanged
        before, after = dict(write.before or {}), dict(write.after or {})
        cells = {n: _relevant_rows(write, n, now.get(n), schema) for n in {**before, **after}}
        missing = tuple(name for name, value in after.items() if not reads(value, cells[name]))
        if not missing:
            return RowCheck("after", write, now)
        is_described = all(name in before for name in missing)
        drifted = [
            name
            for name, value in before.items()
            if not stands(value, cells[name])
            and (not self._driver.typed or name not in after or name in missing)
        ]
        return RowCheck("before" if is_described and not drifted else "other", write, now, missing)

    def _compare_delete(self, write: RowWrite, now: RowImage | None) -> RowCheck:
        """Compare a row with its image. With a typed driver, fields that the image lacks must be
        empty: otherwise an undo could not restore them."""
        if now is None:
            return RowCheck("after", write)
        before, typed = dict(write.before or {}), self._driver.typed

        def has_changed(name: str) -> bool:
            if name in before and (name in now or not typed):
                return not self._driver.is_unchanged(before[name], now.get(name))
            value = now.get(name, before.get(name))
            return not (value is None or value is False or value in ("", []))

        names = dict.fromkeys([*now, *before] if typed else before)
        differing_fields = tuple(filter(has_changed, names))
        return RowCheck("other" if differing_fields else "before", write, now, differing_fields)

    def _compare_create(
        self, write: RowWrite, now: RowImage | None, unseen: Collection[str]
    ) -> RowCheck:
        """Compare a created row with its values. Missing linked rows are named, except in the
        fields `unseen`, which are hidden."""
        if now is None:
            return RowCheck("other", write)
        after = dict(write.after or {})
        holds_value = self._driver.holds_value
        missing = {n: v for n, v in after.items() if not holds_value(v, now.get(n))}
        differs = tuple(
            CONCEALED_LINK if name in unseen else _describe_missing(name, value, now.get(name))
            for name, value in missing.items()
        )
        return RowCheck("other" if missing else "after", write, now, differs)

    def _find_created(
        self, newest: Mapping[str, RowImage], rows: Sequence[RowWrite], links: Collection[str]
    ) -> Sequence[RowWrite]:
        """Look for rows that may have been created among the `newest`, and add the ids of those
        found. Links are not compared, because they are written after the row.

        A row's mark lists the ids of equal rows that existed before the write; an equal row that is
        not in it is the created one. A row without a mark was not written yet, and gets one.
        """
        claimed_ids = {row.id for row in rows if row.id}
        marked: list[RowWrite] = []
        for row in rows:
            own = {name: value for name, value in (row.after or {}).items() if name not in links}
            likes = [
                id
                for id, one in newest.items()
                if all(self._driver.holds_value(v, one.get(n)) for n, v in own.items())
            ]
            if row.id:
                marked.append(row)
            elif not row.applier_data:
                marked.append(replace(row, applier_data=json.dumps(likes)))
            else:
                other_ids = {*json.loads(row.applier_data), *claimed_ids}
                new_id = next((id for id in reversed(likes) if id not in other_ids), "")
                claimed_ids.add(new_id)
                marked.append(replace(row, id=new_id))
        return marked


def _restore_cells(step: ChangeStep) -> Sequence[RowWrite]:
    """Return one write for each cell that still holds what we wrote, to restore its old value."""
    before, after, now = (dict(side or {}) for side in
                          (step.write.before, step.write.after, step.current))  # fmt: skip
    links = {name for name, value in after.items() if _is_link(value) or _is_link(before.get(name))}
    stands = {name: now.get(name, new) for name, new in after.items() if name not in links}
    ours = {name: value for name, value in stands.items() if is_same_entry(value, after[name])}
    ours |= {name: after[name] for name in links}
    return [
        RowWrite(step.write.id, before={name: value}, after={name: before[name]})
        for name, value in ours.items()
        if name in before and not is_same_entry(value, before[name])
    ]


def _restore_row(step: ChangeStep) -> RowWrite:
    """Return one write that restores the old values of the fields that the row still has."""
    stands = step.current or step.write.after or {}
    after = {name: value for name, value in (step.write.before or {}).items() if name in stands}
    return RowWrite(step.write.id, before={name: stands[name] for name in after}, after=after)


def _field_names(row: RowWrite) -> Iterable[str]:
    return {**(row.before or {}), **(row.after or {})}


def _is_link(value: Any) -> bool:
    each = value if isinstance(value, list) else []
    return any(isinstance(one, dict) and one.keys() == {"id", "title"} for one in each)


def _is_file(schema: TableSchema, title: str) -> bool:
    return title in schema.own and schema.own[title].field_type.file


def _relevant_rows(write: RowWrite, name: str, cell: Any, schema: TableSchema) -> Any:
    """Return the cell; of a link to many rows, only the rows that the write names."""
    if name not in schema.links or schema.links[name].holds_one:
        return cell
    sides = (write.before or {}).get(name), (write.after or {}).get(name)
    ids = linked_ids(sides[0]) | linked_ids(sides[1])
    return [one for one in cell or () if one["id"] in ids]


def _describe_missing(name: str, expected: Any, actual: Any) -> str:
    missing_ids = linked_ids(expected) - linked_ids(actual)
    if not missing_ids:
        return name
    titles = [str(one.get("title") or one["id"]) for one in expected if one["id"] in missing_ids]
    return f"{name} (without {', '.join(titles[:5])})"
