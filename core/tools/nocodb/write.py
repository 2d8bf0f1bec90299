"""Does what was approved, once, and reads it again; the same for every driver.

NocoDB answers 200 where it has ignored a field, so every field is read back. Where files or links
are written, one call does one thing, so that each is known by itself. What is taken back is so cell
by cell where the driver is typed, so that others' later work is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from core.domain.changes import Change, Draft, RowWrite, Seen, Step
from core.domain.errors import ToolError
from core.tools.nocodb.driver import EXCLUSIVE, UNSEEN, Snapshot, TableDriver, TableSchema
from core.tools.nocodb.fieldtypes import Field, alike, linked_ids

APART = "apart"
"""In a draft's target: each field is for itself, and those that are no longer so are left."""
_NOTHING = "What was in those rows is not known, so they cannot be brought back."
_OTHERWISE = "Nothing of what was written there can be taken back."

log = structlog.get_logger("nocodb")


class TableBatch:
    """One batch of a table: the table's description is read once, by whatever comes first."""

    def __init__(self, writer: TableWriter, draft: Draft) -> None:
        self._writer = writer
        self._draft = draft
        self._schema: TableSchema | None = None

    async def check(self, rows: Sequence[RowWrite]) -> Sequence[Seen]:
        """Raises ToolError `drift` where the table is no longer as the draft knows it."""
        return await self._writer.check_rows(self._draft, await self._described(), rows)

    async def write(self, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        return await self._writer.write_rows(self._draft, await self._described(), rows)

    async def _described(self) -> TableSchema:
        if self._schema is None:
            self._schema = await self._writer.driver.describe(self._draft.target)
        return self._schema


class TableWriter:
    """The `Applier` port."""

    patience = 120.0

    def __init__(self, driver: TableDriver) -> None:
        self.driver = driver
        self.name = driver.name

    def batch(self, draft: Draft) -> int:
        return self.driver.batch(draft)

    def open(self, draft: Draft) -> TableBatch:
        return TableBatch(self, draft)

    async def check_rows(
        self, draft: Draft, schema: TableSchema, rows: Sequence[RowWrite]
    ) -> Sequence[Seen]:
        """How each row stands. Raises ToolError `drift`."""
        names = dict.fromkeys(name for row in rows for name in _names(row))
        if not draft.target.get(APART):
            schema.check(draft.target, names)
        if draft.kind == "create":
            if not all(row.id for row in rows):
                rows = self._looked_for(await self.driver.newest(schema), rows, schema.links)
            now = await self.driver.rows(schema, [row.id for row in rows if row.id])
            unseen = draft.target.get("concealed", ())
            return [
                self._created(row, now.get(row.id), unseen) if row.id else Seen("before", row)
                for row in rows
            ]
        wanted = names if draft.kind == "update" else None
        now = await self.driver.rows(schema, [row.id for row in rows], wanted)
        if draft.kind == "delete":
            return [self._deleted(row, now.get(row.id)) for row in rows]
        moved = schema.moved(draft.target, names)
        return [
            Seen("other", row, now.get(row.id), tuple(moved & set(_names(row))))
            if moved & set(_names(row))
            else await self._owned(schema, self._updated(schema, row, now.get(row.id)))
            for row in rows
        ]

    async def write_rows(
        self, draft: Draft, schema: TableSchema, rows: Sequence[RowWrite]
    ) -> Sequence[RowWrite]:
        """Write them, once. Raises ToolError, WriteUnsure."""
        match draft.kind:
            case "create":
                names = {name for row in rows for name in _names(row)}
                schema = schema.without(schema.moved(draft.target, names))
                made = await self.driver.create(schema, [row.after or {} for row in rows], draft.by)
                rows = [replace(row, id=id) for row, id in zip(rows, made, strict=True)]
                for row in rows:
                    try:
                        await self._complete(schema, row, draft.by)
                    except ToolError as error:  # the row stands; what it lacks is seen when read
                        log.warning("row not complete", why=str(error))
            case "update":
                await self._update(schema, rows, draft.by)
            case "delete":
                await self.driver.delete(schema, [row.id for row in rows], draft.by)
            case "run":
                raise ToolError(_OTHERWISE)
        return rows

    def revert(self, change: Change) -> Draft:
        """Raises ToolError where nothing can be.

        A table that was changed meanwhile does not keep it from what can still be taken back.
        """
        steps, draft = change.written, change.draft
        if self.driver.typed:
            draft = replace(draft, target={**draft.target, APART: True})
        match draft.kind:
            case "create":
                rows = [RowWrite(one.write.id, before=one.now or one.write.after) for one in steps]
                return replace(draft, kind="delete", rows=tuple(rows), note=self.driver.recreated)
            case "update":
                if self.driver.typed:
                    rows = [row for step in reversed(steps) for row in _cells_back(step)]
                else:
                    rows = [_row_back(step) for step in steps]
                if not rows:
                    raise ToolError(_OTHERWISE, code="not_undone")
                return replace(draft, rows=tuple(rows), note="")
            case "delete":
                found = [self.driver.restorable(draft.target, one.write.before) for one in steps]
                rows = [RowWrite(after=row) for row in found if row is not None]
                if not any(row.after for row in rows):
                    raise ToolError(_NOTHING, code="not_undone")
                return replace(draft, kind="create", rows=tuple(rows), note=self.driver.refilled)
            case "run":
                raise ToolError(_OTHERWISE, code="not_undone")

    async def _complete(self, schema: TableSchema, row: RowWrite, by: str) -> None:
        """Files and links, which come after the row. Links that others own are left out."""
        after = row.after or {}
        files = {title: value for title, value in after.items() if _is_file(schema, title)}
        if any(files.values()):
            await self.driver.attach(schema, row.id, files, by)
        for title, field in schema.links.items():
            ids = sorted(linked_ids(after.get(title)))
            if free := await self._free(schema, field, ids, row.id) if ids else []:
                await self.driver.link(schema, field, row.id, free, (), by)

    async def _update(self, schema: TableSchema, rows: Sequence[RowWrite], by: str) -> None:
        """Fields of one row may come in several writes: NocoDB refuses an id that comes twice.

        A write of a link either adds or takes away; where a link holds one row, the new one takes
        its place.
        """
        together: dict[str, Snapshot] = {}
        for row in rows:
            after = row.after or {}
            link = next((schema.links[title] for title in after if title in schema.links), None)
            if link is not None:
                old, new = (linked_ids((s or {}).get(link.title)) for s in (row.before, row.after))
                add = sorted(new - old)
                remove = [] if add else sorted(old - new)
                await self.driver.link(schema, link, row.id, add, remove, by)
            elif any(_is_file(schema, title) and value for title, value in after.items()):
                await self.driver.attach(schema, row.id, after, by)
            else:
                together.setdefault(row.id, {}).update(after)
        if together:
            await self.driver.update(schema, together, by)

    async def _free(
        self, schema: TableSchema, field: Field, ids: Sequence[str], row: str
    ) -> Sequence[str]:
        """Those that are there, and that no other row than `row` owns."""
        found = await self.driver.owned(schema, field, ids)
        return [id for id in ids if id in found and (found[id].owner or {"id": row})["id"] == row]

    async def _owned(self, schema: TableSchema, seen: Seen) -> Seen:
        """A row that has found another owner meanwhile is not taken from it."""
        after, before = seen.write.after or {}, seen.write.before or {}
        for title in after.keys() & schema.links.keys():
            field = schema.links[title]
            ids = sorted(linked_ids(after[title]) - linked_ids(before.get(title)))
            if seen.standing != "before" or not ids or field.relation not in EXCLUSIVE:
                continue
            if len(await self._free(schema, field, ids, seen.write.id)) < len(ids):
                return replace(seen, standing="other", differs=(title,))
        return seen

    def _updated(self, schema: TableSchema, write: RowWrite, now: Snapshot | None) -> Seen:
        """A typed field that reads as it will is no hindrance: the write changes nothing of it.

        Of a link to many rows only those count that come or go.
        """
        if now is None:
            return Seen("other", write)
        reads, stands = self.driver.reads, self.driver.stands
        before, after = dict(write.before or {}), dict(write.after or {})
        cells = {name: _touched(write, name, now.get(name), schema) for name in {**before, **after}}
        missing = tuple(name for name, value in after.items() if not reads(value, cells[name]))
        if not missing:
            return Seen("after", write, now)
        known = all(name in before for name in missing)
        drifted = [
            name
            for name, value in before.items()
            if not stands(value, cells[name])
            and (not self.driver.typed or name not in after or name in missing)
        ]
        return Seen("before" if known and not drifted else "other", write, now, missing)

    def _deleted(self, write: RowWrite, now: Snapshot | None) -> Seen:
        """What a whole image does not know must be empty: nothing goes that could not come back."""
        if now is None:
            return Seen("after", write)
        before, typed = dict(write.before or {}), self.driver.typed

        def drifted(name: str) -> bool:
            if name in before and (name in now or not typed):
                return not self.driver.stands(before[name], now.get(name))
            held = now.get(name, before.get(name))
            return not (held is None or held is False or held in ("", []))

        names = dict.fromkeys([*now, *before] if typed else before)
        differs = tuple(filter(drifted, names))
        return Seen("other" if differs else "before", write, now, differs)

    def _created(self, write: RowWrite, now: Snapshot | None, unseen: Collection[str]) -> Seen:
        """Of a row whose id is known; what is missing of its links is named, but of `unseen`."""
        if now is None:
            return Seen("other", write)
        after = dict(write.after or {})
        missing = {
            n: value for n, value in after.items() if not self.driver.reads(value, now.get(n))
        }
        differs = tuple(
            UNSEEN if name in unseen else _lacking(name, value, now.get(name))
            for name, value in missing.items()
        )
        return Seen("other" if missing else "after", write, now, differs)

    def _looked_for(
        self, newest: Mapping[str, Snapshot], rows: Sequence[RowWrite], links: Collection[str]
    ) -> Sequence[RowWrite]:
        """Each with its id where it was found among the newest; links come after the row.

        A row's mark holds the ids of the rows that were like it before it was written; one that has
        come since is it. Without a mark it has not been written yet, and is given one.
        """
        taken = {row.id for row in rows if row.id}
        told: list[RowWrite] = []
        for row in rows:
            own = {name: value for name, value in (row.after or {}).items() if name not in links}
            likes = [
                id
                for id, one in newest.items()
                if all(self.driver.reads(value, one.get(name)) for name, value in own.items())
            ]
            if row.id:
                told.append(row)
            elif not row.mark:
                told.append(replace(row, mark=json.dumps(likes)))
            else:
                known = {*json.loads(row.mark), *taken}
                found = next((id for id in reversed(likes) if id not in known), "")
                taken.add(found)
                told.append(replace(row, id=found))
        return told


def _cells_back(step: Step) -> Sequence[RowWrite]:
    """The old values, each by itself, where what we wrote still stands. The last first: where a
    linked row changed its owner, it is given up before it is given back."""
    before, after, now = (dict(side or {}) for side in
                          (step.write.before, step.write.after, step.now))  # fmt: skip
    links = {name for name, value in after.items() if _is_link(value) or _is_link(before.get(name))}
    stands = {name: now.get(name, new) for name, new in after.items() if name not in links}
    ours = {name: value for name, value in stands.items() if alike(value, after[name])}
    ours |= {name: after[name] for name in links}
    return [
        RowWrite(step.write.id, before={name: value}, after={name: before[name]})
        for name, value in ours.items()
        if name in before and not alike(value, before[name])
    ]


def _row_back(step: Step) -> RowWrite:
    """The old values together, where the row still holds what it then did."""
    stands = step.now or step.write.after or {}
    after = {name: value for name, value in (step.write.before or {}).items() if name in stands}
    return RowWrite(step.write.id, before={name: stands[name] for name in after}, after=after)


def _names(row: RowWrite) -> Iterable[str]:
    return {**(row.before or {}), **(row.after or {})}


def _is_link(value: Any) -> bool:
    each = value if isinstance(value, list) else []
    return any(isinstance(one, dict) and one.keys() == {"id", "title"} for one in each)


def _is_file(schema: TableSchema, title: str) -> bool:
    return title in schema.own and schema.own[title].of.file


def _touched(write: RowWrite, name: str, cell: Any, schema: TableSchema) -> Any:
    if name not in schema.links or schema.links[name].one:
        return cell
    sides = (write.before or {}).get(name), (write.after or {}).get(name)
    ids = linked_ids(sides[0]) | linked_ids(sides[1])
    return [one for one in cell or () if one["id"] in ids]


def _lacking(name: str, wanted: Any, found: Any) -> str:
    gone = linked_ids(wanted) - linked_ids(found)
    if not gone:
        return name
    titles = [str(one.get("title") or one["id"]) for one in wanted if one["id"] in gone]
    return f"{name} (without {', '.join(titles[:5])})"
