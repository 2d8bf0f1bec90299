"""Applies approved changes to tables: checks the rows, writes them once, and reads them back.

NocoDB answers 200 also where it ignored a field, so every field is read back. Files and links are
written one by one, so that the outcome of each is known. New files are uploaded before a row is
written. A row gets its whole list of files in one call, so that a second attempt attaches none
twice. With a typed driver, an undo restores cell by cell and leaves later work of other people
alone.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from core.base.errors import ToolError, WriteUnsure
from core.base.redaction import is_secret_name
from core.changes.cards import NOT_CHANGEABLE
from core.changes.kinds import Changer
from core.domain.changes import FILE_KEY, Change, Draft, RowCheck, RowWrite
from core.tools.nocodb.driver import (
    CONCEALED_LINK,
    EXCLUSIVE_RELATIONS,
    RowImage,
    TableDriver,
    TableSchema,
)
from core.tools.nocodb.fieldtypes import (
    Field,
    holds_files,
    is_same_entry,
    linked_ids,
    subtract_files,
)
from core.tools.nocodb.file_rows import keep_file

CELL_BY_CELL = "apart"
"""Key in a draft's target: each field is restored by itself, and changed fields are left alone."""
_ROWS_UNKNOWN = "The earlier values of those rows are unknown, so they can't be restored."
_NOTHING_TO_UNDO = (
    "This can't be undone: the saved values have changed since, or the earlier ones are back."
)

log = structlog.get_logger("nocodb")


class TableWriter:
    """Reaches one system through its driver: NocoDB's REST API, a bridge, or the sample base (the
    port `Applier`)."""

    patience = 120.0

    def __init__(self, driver: TableDriver) -> None:
        self.driver = driver
        self.name = driver.name
        self.revise_draft: Callable[..., Awaitable[Draft]] | None = None

    def batch(self, draft: Draft) -> int:
        return self.driver.batch(draft)

    def open(self, draft: Draft) -> TableBatch:
        """No request is sent yet."""
        return TableBatch(self.driver, draft)

    async def revise(self, change: Change, values: Mapping[str, str], changer: Changer) -> Draft:
        """Raise ToolError, also if the driver describes no fields, so that nothing can be
        checked."""
        if self.revise_draft is None:
            raise ToolError(NOT_CHANGEABLE, id=change.id)
        return keep_file(change.draft, await self.revise_draft(change, values, changer))

    def revert(self, change: Change) -> Draft:
        """Raises ToolError where nothing can be undone.

        Fields that changed in the meantime are left alone; the others can still be restored. A
        typed driver knows which field is a link or holds files, so each field is restored by a
        write of its own (`CELL_BY_CELL`). An untyped one, a bridge, has no links and files to
        write; there one write restores all fields of a row. The values are compared with the table
        when the undo is applied; here only with those that were read back after the write.
        """
        steps, draft = change.written_steps, change.draft
        target = {key: value for key, value in draft.target.items() if key != FILE_KEY}
        draft = replace(draft, target=target | ({CELL_BY_CELL: True} if self.driver.typed else {}))
        match draft.kind:
            case "create":
                rows = [RowWrite(s.write.id, before=s.current or s.write.after) for s in steps]
                return replace(draft, kind="delete", rows=tuple(rows), note=self.driver.recreated)
            case "update":
                # The last step first: a linked row leaves its new owner before the old one gets it
                # back.
                rows = []
                for step in reversed(steps) if self.driver.typed else steps:
                    id, now = step.write.id, step.current or {}
                    before, after = step.write.before or {}, step.write.after or {}
                    names = {draft.view.display_field, *draft.view.card_fields} - after.keys()
                    identity = {name: before[name] for name in before if name in names}
                    if not self.driver.typed:  # one write of the fields that the row still has
                        current = now or after
                        old = {name: value for name, value in before.items() if name in current}
                        rows.append(RowWrite(id, {name: current[name] for name in old}, old))
                        continue
                    for name, new in after.items():
                        # Of a link, only the rows that we added or removed are compared, when
                        # the undo is applied.
                        is_link = _is_link(new) or _is_link(before.get(name))
                        value = new if is_link else now.get(name, new)
                        # The files as the update alone left them, without those of others.
                        if is_files := holds_files(new) or holds_files(before.get(name)):
                            value = _own_files(value, before.get(name), new)
                        # One write for each cell that still holds what we wrote. Links and files
                        # always count as ours: others may have added some to the cell, and the undo
                        # changes only our part of it. A secret is written back even if it is the
                        # same: to leave it out would reveal that.
                        is_ours = is_link or is_files or is_same_entry(value, new)
                        is_undoable = not is_same_entry(value, before.get(name))
                        if is_ours and name in before and (is_undoable or is_secret_name(name)):
                            cells = {**identity, name: value}
                            rows.append(RowWrite(id, cells, {name: before[name]}))
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
        raise ToolError("This can't be undone.", code="not_undone")


class TableBatch:
    """The `Batch` that writes rows of one table. It reads the table's description once, when a call
    first needs it."""

    def __init__(self, driver: TableDriver, draft: Draft) -> None:
        self._driver = driver
        self._draft = draft
        self._schema: TableSchema | None = None
        self._is_written = False

    async def check(self, rows: Sequence[RowWrite]) -> Sequence[RowCheck]:
        """Compare each row with the table as it is now, and return for each one whether it is as
        before the write, as after it, or otherwise. Raise ToolError `drift` if fields of the table
        changed since the draft was made.

        It is called before the write and after it (`_is_written`). First come created rows, then
        deleted ones, then updates. An undo (`CELL_BY_CELL`) goes on although fields changed, and
        leaves those alone; cells that only identify a row may have changed, too."""
        draft, schema = self._draft, await self._read_schema()
        if draft.kind == "update" and draft.target.get(CELL_BY_CELL):
            rows = [_without_identity(row) for row in rows]
        names = dict.fromkeys(name for row in rows for name in _field_names(row))
        changed = schema.changed_fields(draft.target, names)
        if changed and not draft.target.get(CELL_BY_CELL):
            hidden = draft.target["hidden_fields"]
            titles = {CONCEALED_LINK if name in hidden else name for name in changed}
            raise ToolError(
                "The table {table} changed after this request ({names}). Ask for it again.",
                code="drift",
                table=schema.title,
                names=", ".join(sorted(titles)[:5]),
            )
        if draft.kind == "create":
            return await self._check_created(schema, rows)
        field_names = names if draft.kind == "update" else None
        now = await self._driver.rows(schema, [row.id for row in rows], field_names)
        checks: list[RowCheck] = []
        if draft.kind == "delete":
            typed = self._driver.typed
            for row in rows:
                image, image_before = now.get(row.id), row.before or {}
                # The row is gone, which is what the deletion wants.
                if image is None:
                    checks.append(RowCheck("after", row))
                    continue
                differs = []
                for name in dict.fromkeys([*image, *image_before] if typed else image_before):
                    if name in image_before and (name in image or not typed):
                        is_same = self._driver.is_unchanged(image_before[name], image.get(name))
                    else:
                        # Typed images hold no empty fields. One that the draft lacks must still be
                        # empty: otherwise an undo could not restore it.
                        value = image.get(name, image_before.get(name))
                        is_same = value is None or value is False or value in ("", [])
                    if not is_same:
                        differs.append(name)
                checks.append(
                    RowCheck("other" if differs else "before", row, image, tuple(differs))
                )
            return checks
        for row in rows:
            if changed_names := changed & set(_field_names(row)):
                checks.append(RowCheck("other", row, now.get(row.id), tuple(changed_names)))
                continue
            # Before the write, files that others added meanwhile join those to be written.
            if not self._is_written:
                row = self._rebase_files(schema, row, now.get(row.id))
            check = self._compare_update(schema, row, now.get(row.id))
            before, after = row.before or {}, row.after or {}
            secrets = [name for name in after if is_secret_name(name)]
            if secrets and not self._is_written and check.state == "after":
                # A row that has its new values already is not written. One with a secret is:
                # otherwise an unchanged "last modified" would reveal that a guess was right. If
                # somebody has set another secret since, a right guess is as stale as a wrong one.
                stands, current = self._driver.is_unchanged, check.current or {}
                if all(
                    before.get(name) == after[name] or stands(before.get(name), current.get(name))
                    for name in secrets
                ):
                    check = replace(check, state="before")
            for title in (after.keys() & schema.links.keys()) if check.state == "before" else ():
                # A row to be linked may belong to another row by now. NocoDB would take it from
                # there without an error.
                link = schema.links[title]
                ids = sorted(linked_ids(after[title]) - linked_ids(before.get(title)))
                if not ids or link.relation not in EXCLUSIVE_RELATIONS:
                    continue
                if len(await self._find_unowned(schema, link, ids, row.id)) < len(ids):
                    check = replace(check, state="other", differing_fields=(title,))
                    break
            checks.append(check)
        return checks

    async def write(self, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        """Raise ToolError, WriteUnsure.

        A refusal counts as "nothing was written" only if no row has its new values: bridges write
        row by row, and report only the first row that failed. So the rows are read again after it.
        If they cannot be read, the refusal counts. The result has the ids of created rows.
        """
        schema = await self._read_schema()
        # Before any row is written: a file that is gone then refuses all of them.
        rows = [await self._upload_files(schema, row) for row in rows]
        try:
            rows = await self._write_uploaded(schema, rows)
        except WriteUnsure:
            raise
        except ToolError as refusal:
            checks: Sequence[RowCheck] = ()
            with suppress(ToolError):
                checks = await self.check(rows)
            if any(check.state == "after" for check in checks):
                raise WriteUnsure(str(refusal), code=refusal.code) from refusal
            raise
        self._is_written = True  # from now on, `check` reads the result of the write
        return rows

    async def _write_uploaded(
        self, schema: TableSchema, rows: Sequence[RowWrite]
    ) -> Sequence[RowWrite]:
        """Make the calls that write these rows, whose files are uploaded already, and return the
        rows with their ids. Links and files need calls of their own, besides that for the plain
        values. In an update, each link and each field of files is a `RowWrite` of its own (`apart`
        in draft.py)."""
        draft = self._draft
        # Each link is a write of its own, so there is at most one.
        match draft.kind:
            case "create":
                names = {name for row in rows for name in _field_names(row)}
                # Only an undo comes here with changed fields, whose description in NocoDB changed
                # since the draft: it restores the others.
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
                # Several writes of one row are merged, because NocoDB refuses an id that comes
                # twice.
                merged: dict[str, RowImage] = {}
                for row in rows:
                    after = row.after or {}
                    link = next((schema.links[n] for n in after if n in schema.links), None)
                    if link is not None:
                        # A write of a link either adds rows or removes them; where a link holds
                        # one row, adding replaces it.
                        old = linked_ids((row.before or {}).get(link.title))
                        new = linked_ids(after[link.title])
                        add = sorted(new - old)
                        remove = [] if add else sorted(old - new)
                        await self._driver.link(schema, link, row.id, add, remove, draft.asker_key)
                    # Without files the field is emptied, as any other value.
                    elif any(_is_file(schema, name) and value for name, value in after.items()):
                        await self._driver.attach(schema, row.id, after, draft.asker_key)
                    else:
                        merged.setdefault(row.id, {}).update(after)
                if merged:
                    await self._driver.update(schema, merged, draft.asker_key)
            case "delete":
                await self._driver.delete(schema, [row.id for row in rows], draft.asker_key)
        return rows

    async def _read_schema(self) -> TableSchema:
        # A failed read is repeated by the next call.
        if self._schema is None:
            self._schema = await self._driver.describe(self._draft.target)
        return self._schema

    async def _write_files_and_links(self, schema: TableSchema, row: RowWrite, by: str) -> None:
        """Add files and links to a row that was just created. Rows that belong to another row are
        not linked, because NocoDB would take them from there; the check afterwards reports them."""
        after = row.after or {}
        files = {title: value for title, value in after.items() if _is_file(schema, title)}
        if any(files.values()):
            await self._driver.attach(schema, row.id, files, by)
        for title, field in schema.links.items():
            ids = sorted(linked_ids(after.get(title)))
            if free := await self._find_unowned(schema, field, ids, row.id) if ids else []:
                await self._driver.link(schema, field, row.id, free, (), by)

    async def _upload_files(self, schema: TableSchema, row: RowWrite) -> RowWrite:
        """Only fields that hold files are looked at: a text may look like a file."""
        after = row.after or {}
        files = {name: value for name, value in after.items() if _is_file(schema, name)}
        if not files:
            return row
        uploaded = await self._driver.upload(files, self._draft.asker_key)
        return replace(row, after={**after, **uploaded})

    async def _find_unowned(
        self, schema: TableSchema, field: Field, ids: Sequence[str], row: str
    ) -> Sequence[str]:
        rows = await self._driver.fetch_linkable_rows(schema, field, ids)
        return [id for id in ids if id in rows and (rows[id].owner or {"id": row})["id"] == row]

    def _rebase_files(self, schema: TableSchema, row: RowWrite, now: RowImage | None) -> RowWrite:
        """Return the update with the files that others added or removed since it was proposed, so
        that these changes are no conflict and are not overwritten.

        A cell is written as a whole list. `old` are the files when it was proposed, `new` those
        that the update wants, `current` those of now. An update that clears a field means all its
        files, so it is left as it is; then other files are a conflict, except for an undo."""
        before, after = dict(row.before or {}), dict(row.after or {})
        is_undo = self._draft.target.get(CELL_BY_CELL)  # only drafts of undos have this key
        for name in [name for name in after if now is not None and _is_file(schema, name)]:
            # None: no files.
            sides = [cells.get(name) or [] for cells in (before, after, now or {})]
            old, new, current = sides
            if (new or is_undo) and all(isinstance(side, list) for side in sides):
                added = subtract_files(subtract_files(new, old), subtract_files(current, old))
                kept = subtract_files(current, subtract_files(old, new))
                after[name] = [*kept, *added] or None
                if after[name] != (current or None):  # otherwise nothing is left to be written
                    before[name] = current or None
        return replace(row, before=before, after=after)

    def _compare_update(self, schema: TableSchema, row: RowWrite, now: RowImage | None) -> RowCheck:
        """Compare a row with its update, and return "after" if it has all new values, "before" if
        it still has the earlier ones, else "other", which is a conflict.

        A typed field that already has its new value is no conflict, except a secret. Of a link to
        many rows, only the rows that the update adds or removes are compared. Without an earlier
        value of a field (`is_described` False), nobody can say that it is unchanged. A bridge,
        which is not typed, writes all fields at once, so each must be unchanged. A driver is typed
        if the system describes its fields, as NocoDB's own API does.
        """
        # The row was deleted.
        if now is None:
            return RowCheck("other", row)
        # Whether a cell holds a value that was to be written, and whether it still has the earlier
        # one: each system returns values in another form.
        reads, stands = self._driver.holds_value, self._driver.is_unchanged
        before, after = dict(row.before or {}), dict(row.after or {})
        cells = {name: now.get(name) for name in _field_names(row)}
        for name in cells.keys() & schema.links.keys():
            if name not in after:  # it identifies the row: its names are compared, too
                before[name], cells[name] = map(_name_links, (before[name], cells[name]))
            elif not schema.links[name].holds_one:
                ids = linked_ids(before.get(name)) | linked_ids(after.get(name))
                cells[name] = [row for row in cells[name] or () if row["id"] in ids]
        missing = tuple(name for name, value in after.items() if not reads(value, cells[name]))
        # It has all new values: written before, or by somebody else.
        if not missing:
            return RowCheck("after", row, now)
        is_described = all(name in before for name in missing)
        drifted = [
            name
            for name, value in before.items()
            if not stands(value, cells[name])
            # Where the draft has the same value twice, it may be written in another way.
            and (name in missing or name not in after or value != after[name])
            and (
                not self._driver.typed
                or name not in after
                or name in missing
                or (is_secret_name(name) and not self._is_written)
            )
        ]
        return RowCheck("before" if is_described and not drifted else "other", row, now, missing)

    async def _check_created(self, schema: TableSchema, rows: Sequence[RowWrite]) -> list[RowCheck]:
        """After a crash or a lost answer, nobody knows the id of a created row.

        `applier_data` of a row lists the ids of equal rows that existed before the write, as JSON;
        an equal row that is not in it is the created one. A row without this list was not written
        yet, and gets it. `likes` are the equal rows of now, the newest first. The created row is
        looked for among the newest rows, and those found are compared with their values.
        """
        holds_value = self._driver.holds_value
        # A row without an id was not written yet, or its answer was lost.
        if not all(row.id for row in rows):
            newest = await self._driver.fetch_newest(schema)
            claimed_ids = {row.id for row in rows if row.id}
            marked: list[RowWrite] = []
            for row in rows:
                # Links and files are not compared, because they are written after the row.
                later = {n for n in row.after or () if n in schema.links or _is_file(schema, n)}
                plain = {n: v for n, v in (row.after or {}).items() if n not in later}
                likes = [
                    id
                    for id, snapshot in newest.items()
                    if all(holds_value(value, snapshot.get(name)) for name, value in plain.items())
                ]
                # Found by an earlier check, or created with an answer that had the id.
                if row.id:
                    marked.append(row)
                elif not row.applier_data:
                    marked.append(replace(row, applier_data=json.dumps(likes)))
                else:
                    other_ids = {*json.loads(row.applier_data), *claimed_ids}
                    # The oldest of several equal ones: rows are created in the order of the draft.
                    new_id = next((id for id in reversed(likes) if id not in other_ids), "")
                    claimed_ids.add(new_id)
                    marked.append(replace(row, id=new_id))
            rows = marked
        now = await self._driver.rows(schema, [row.id for row in rows if row.id])
        checks = []
        for row in rows:
            image, differs = now.get(row.id), list[str]()
            # Not found: not created yet ("before"), or deleted meanwhile ("other").
            if not row.id or image is None:
                checks.append(RowCheck("other" if row.id else "before", row))
                continue
            for name, value in (row.after or {}).items():
                if holds_value(value, image.get(name)):
                    continue
                if name in self._draft.target.get("hidden_fields", ()):
                    name = CONCEALED_LINK
                # The row was created, but NocoDB did not link all that it should.
                elif ids := linked_ids(value) - linked_ids(image.get(name)):
                    titles = [
                        str(row.get("title") or row["id"]) for row in value if row["id"] in ids
                    ]
                    name = f"{name} (without {', '.join(titles[:5])})"
                differs.append(name)
            checks.append(RowCheck("other" if differs else "after", row, image, tuple(differs)))
        return checks


def _field_names(row: RowWrite) -> Iterable[str]:
    return {**(row.before or {}), **(row.after or {})}


def _without_identity(row: RowWrite) -> RowWrite:
    after = row.after or {}
    return replace(row, before={n: v for n, v in (row.before or {}).items() if n in after})


def _is_link(value: Any) -> bool:
    rows = value if isinstance(value, list) else []
    return any(isinstance(row, dict) and row.keys() == {"id", "title"} for row in rows)


def _name_links(rows: Any) -> list[str]:
    return sorted(f"{row['id']} {row['title']}" for row in rows or ())


def _own_files(current: Any, before: Any, after: Any) -> list[Any] | None:
    # `before` and `after` are the cell's files in the update, `current` those that were read back:
    # new files are taken from there, because NocoDB gave them paths. What others added or removed
    # is left out.
    current, before, after = current or [], before or [], after or []
    added, surplus = subtract_files(after, before), subtract_files(current, before)
    added_files = subtract_files(surplus, subtract_files(surplus, added))
    return [*subtract_files(before, subtract_files(before, after)), *added_files] or None


def _is_file(schema: TableSchema, title: str) -> bool:
    return title in schema.own and schema.own[title].field_type.file
