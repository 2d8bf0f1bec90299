"""The other end of a link: what its rows are called, and which row owns them already.

In a relation of one to many (and of one to one) a row has one owner. NocoDB takes it from there
without a word when it is linked to another row, so this is looked up first, and told.

The draft that takes a change back: cell by cell, so that others' later work is left alone.

Does what was approved: writes rows and links of NocoDB, once, and reads them again.

NocoDB answers 200 where it has ignored a field, so every field is read back. Rows go in batches of
ten; where files or links are written, one call does one thing, so that each is known by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from core.changes.model import Change, Draft, Row, RowWrite, Seen, Step
from core.errors import ToolError
from core.tools.nocodb import rows as standing
from core.tools.nocodb.api import BATCH, LINKS, At, NocoApi, NocoError, Record
from core.tools.nocodb.fieldtypes import Field, alike, linked_ids, sent
from core.tools.nocodb.rows import (
    EXCLUSIVE,
    Image,
    Images,
    Shape,
    looked_for,
    place,
)


@dataclass(frozen=True, slots=True)
class Owned:
    """A row at the other end; `owner` is the row that has it, None where none does."""

    row: Image
    owner: Image | None = None


class Owners:
    """Everything raises NocoError."""

    def __init__(self, api: NocoApi, images: Images) -> None:
        self._api = api
        self._images = images

    async def of(self, shape: Shape, field: Field, ids: Sequence[str]) -> Mapping[str, Owned]:
        """The rows of these ids that `field` may lead to, by id; those that are not there lack."""
        other = await Shape.now(self._api, At(shape.at.base, field.related))
        backs = self._backs(shape, field, other)
        names = [*([other.name.title] if other.name else []), *(back.title for back in backs)]
        found = await self._images.rows(other, ids, names)
        owned: dict[str, Owned] = {}
        for id, image in found.items():
            title = str(image.get(other.name.title) or id) if other.name else id
            owner = await self._owner(shape, field, id, backs, image)
            owned[id] = Owned({"id": id, "title": title}, owner)
        return owned

    async def all_of(self, shape: Shape, field: Field, ids: Sequence[str]) -> Mapping[str, Owned]:
        """The same; raises NocoError `not_found` where one is not there."""
        found = await self.of(shape, field, ids)
        if missing := [id for id in ids if id not in found]:
            raise NocoError(
                "There is no row {ids} in {table}.",
                code="not_found", hint="find ids with nocodb_query",
                ids=", ".join(missing[:5]), table=field.related_title or field.title,
            )  # fmt: skip
        return found

    async def free(self, shape: Shape, field: Field, ids: Sequence[str], row: str) -> list[str]:
        """Those that are there, and that no other row than `row` owns."""
        found = await self.of(shape, field, ids)
        return [id for id in ids if id in found and (found[id].owner or {"id": row})["id"] == row]

    def _backs(self, shape: Shape, field: Field, other: Shape) -> Sequence[Field]:
        """The links of the other table that may be the other end of `field`."""
        if field.relation not in EXCLUSIVE:
            return ()
        return [
            each for each in other.links.values() if each.related == shape.at.table and each.one
        ]

    async def _owner(
        self, shape: Shape, field: Field, id: str, backs: Sequence[Field], image: Image
    ) -> Image | None:
        """NocoDB does not tell which link is the other end of which: the row that is found must
        lead back."""
        for back in backs:
            for candidate in image.get(back.title) or ():
                owner = str(candidate["id"])
                images = await self._images.rows(shape, [owner], [field.title])
                if id in linked_ids(images.get(owner, {}).get(field.title)):
                    return dict(candidate)
        return None


RECREATED = (
    "When this is undone, the rows come back with new ids, with their links and files; "
    "NocoDB then fills these in anew: {names}."
)
REFILLED = (
    "NocoDB filled these in anew: {names}. Comments on the old rows and their history "
    "did not come back."
)
APART = "apart"
"""In a draft's target: each field is for itself, and those that are no longer so are left."""
_NOTHING = "What was in those rows is not known, so they cannot be brought back."
_OTHERWISE = "Nothing of what was written there can be taken back."


def reverted(change: Change) -> Draft:
    """Raises ToolError where nothing can be.

    A table that was changed meanwhile does not keep it from what can still be taken back.
    """
    steps = change.written
    draft = replace(change.draft, target={**change.draft.target, APART: True})
    match draft.kind:
        case "create":
            rows = [RowWrite(step.write.id, before=step.now or step.write.after) for step in steps]
            return replace(draft, kind="delete", rows=tuple(rows), note=RECREATED)
        case "update":
            cells = [cell for step in reversed(steps) for cell in _given_back(step)]
            if not cells:
                raise ToolError(_OTHERWISE, code="not_undone")
            return replace(draft, rows=tuple(cells), note="")
        case "delete":
            rows = [RowWrite(after=_filled(step.write.before)) for step in steps]
            if not any(row.after for row in rows):
                raise ToolError(_NOTHING, code="not_undone")
            return replace(draft, kind="create", rows=tuple(rows), note=REFILLED)
        case "run":
            raise ToolError(_OTHERWISE, code="not_undone")


def _given_back(step: Step) -> Sequence[RowWrite]:
    """The last first: where a linked row changed its owner, it is given up before it is given
    back."""
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


def _filled(row: Row | None) -> Row:
    return {name: value for name, value in (row or {}).items() if value not in (None, [], "")}


def _is_link(value: Any) -> bool:
    each = value if isinstance(value, list) else []
    return any(isinstance(one, dict) and one.keys() == {"id", "title"} for one in each)


PATIENT = (0.3, 1.2, 3.0, 6.0, 10.0)
"""Seconds between tries to read: a change that was begun sees a NocoDB that is restarted through.
It takes 3 to 7 s to start (0.301.3)."""

log = structlog.get_logger("nocodb")


class NocoRows:
    """The `Applier` port."""

    name = "nocodb"
    patience = 120.0

    def __init__(self, api: NocoApi, pauses: Sequence[float] = PATIENT) -> None:
        self._api = api.patient(pauses)
        self.images = Images(self._api)
        """Rows as they stand."""
        self._owners = Owners(self._api, self.images)

    def batch(self, draft: Draft) -> int:
        """Ten, or one where a row takes more than one call, or another one."""
        if draft.kind == "delete":
            return BATCH
        links = set(draft.target.get("links", ()))
        alone = any(_is_alone(write.after or {}, links) for write in draft.rows)
        return 1 if alone else BATCH

    async def verify(self, draft: Draft, rows: Sequence[RowWrite]) -> Sequence[Seen]:
        """Raises ToolError `drift` where the table is no longer as the draft knows it."""
        shape = await Shape.now(self._api, place(draft.target))
        names = dict.fromkeys(name for row in rows for name in _names(row))
        if not draft.target.get(APART):
            shape.check(draft.target, names)
        if draft.kind == "create":
            return await self._created(shape, rows, draft.target["concealed"])
        wanted = names if draft.kind == "update" else None
        now = await self.images.rows(shape, [row.id for row in rows], wanted)
        if draft.kind == "delete":
            return [standing.of_delete(row, now.get(row.id)) for row in rows]
        moved = shape.moved(draft.target, names)
        return [
            Seen("other", row, now.get(row.id), tuple(moved & set(_names(row))))
            if moved & set(_names(row))
            else await self._updated(shape, row, now.get(row.id))
            for row in rows
        ]

    async def apply(self, draft: Draft, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        shape = await Shape.now(self._api, place(draft.target))
        match draft.kind:
            case "create":
                names = {name for row in rows for name in _names(row)}
                return await self._create(
                    shape.without(shape.moved(draft.target, names)), rows, draft.by
                )
            case "update":
                await self._update(shape, rows, draft.by)
            case "delete":
                await self._api.delete(shape.at, [row.id for row in rows], by=draft.by)
        return rows

    def revert(self, change: Change) -> Draft:
        return reverted(change)

    async def _create(self, shape: Shape, rows: Sequence[RowWrite], by: str) -> Sequence[RowWrite]:
        bodies = [_own(shape, row.after or {}, files=False) for row in rows]
        made = await self._api.create(shape.at, bodies, by=by)
        written = [replace(row, id=one.id) for row, one in zip(rows, made, strict=True)]
        for row in written:
            try:
                await self._complete(shape, row, by)
            except ToolError as error:  # the row stands; what it lacks is seen when it is read
                log.warning("row not complete", why=str(error))
        return written

    async def _complete(self, shape: Shape, row: RowWrite, by: str) -> None:
        """Files and links, which come after the row. Links that others own are left out."""
        after = row.after or {}
        files = {title: value for title, value in after.items() if _is_file(shape, title)}
        if any(files.values()):
            await self._attach(shape, row.id, files, by)
        for title, field in shape.links.items():
            ids = sorted(linked_ids(after.get(title)))
            free = await self._owners.free(shape, field, ids, row.id) if ids else ()
            await self._linked(shape, field, row.id, free, by)

    async def _update(self, shape: Shape, rows: Sequence[RowWrite], by: str) -> None:
        """Fields of one row may come in several writes: NocoDB refuses an id that comes twice."""
        together: dict[str, Image] = {}
        for row in rows:
            after = row.after or {}
            link = next((shape.links[title] for title in after if title in shape.links), None)
            if link is not None:
                await self._relink(shape, link, row, by)
            elif any(_is_file(shape, title) and value for title, value in after.items()):
                await self._attach(shape, row.id, after, by)
            else:
                together.setdefault(row.id, {}).update(_own(shape, after, files=True))
        if together:
            records = [Record(id, fields) for id, fields in together.items()]
            await self._api.update(shape.at, records, by=by)

    async def _relink(self, shape: Shape, field: Field, row: RowWrite, by: str) -> None:
        """Either adds or takes away; where a link holds one row, the new one takes its place."""
        old, new = (linked_ids((side or {}).get(field.title)) for side in (row.before, row.after))
        if new - old:
            await self._linked(shape, field, row.id, sorted(new - old), by)
        elif old - new:
            await self._api.unlink(shape.at, field.id, row.id, sorted(old - new), by=by)

    async def _linked(
        self, shape: Shape, field: Field, row: str, ids: Sequence[str], by: str
    ) -> None:
        for start in range(0, len(ids), LINKS):
            await self._api.link(shape.at, field.id, row, ids[start : start + LINKS], by=by)

    async def _attach(self, shape: Shape, row: str, files: Row, by: str) -> None:
        key = shape.key.title if shape.key else "Id"
        await self._api.attach(shape.at, row, key, files, by=by)

    async def _updated(self, shape: Shape, row: RowWrite, now: Image | None) -> Seen:
        links = {title: field.one for title, field in shape.links.items()}
        return await self._owned(shape, standing.of_update(row, now, links))

    async def _owned(self, shape: Shape, seen: Seen) -> Seen:
        """A row that has found another owner meanwhile is not taken from it."""
        after, before = seen.write.after or {}, seen.write.before or {}
        for title in after.keys() & shape.links.keys():
            field = shape.links[title]
            ids = sorted(linked_ids(after[title]) - linked_ids(before.get(title)))
            if seen.standing != "before" or not ids or field.relation not in EXCLUSIVE:
                continue
            if len(await self._owners.free(shape, field, ids, seen.write.id)) < len(ids):
                return replace(seen, standing="other", differs=(title,))
        return seen

    async def _created(
        self, shape: Shape, rows: Sequence[RowWrite], unseen: Collection[str]
    ) -> Sequence[Seen]:
        """Those whose ids are known are read; others are looked for among the newest."""
        if not all(row.id for row in rows):
            rows = looked_for(await self.images.newest(shape), rows, shape.links)
        now = await self.images.rows(shape, [row.id for row in rows if row.id])
        return [
            standing.of_create(row, now.get(row.id), unseen) if row.id else Seen("before", row)
            for row in rows
        ]


def _names(row: RowWrite) -> Iterable[str]:
    return {**(row.before or {}), **(row.after or {})}


def _own(shape: Shape, after: Row, *, files: bool) -> Image:
    """What goes with the row itself: no links, and files only to be removed."""
    return {
        title: sent(shape.own[title], value)
        for title, value in after.items()
        if title in shape.own and (files or not _is_file(shape, title))
    }


def _is_file(shape: Shape, title: str) -> bool:
    return title in shape.own and shape.own[title].of.file


def _is_alone(after: Row, links: Collection[str]) -> bool:
    return any(name in links or _holds_files(value) for name, value in after.items())


def _holds_files(value: object) -> bool:
    each = value if isinstance(value, list) else []
    return any(isinstance(one, dict) and {"path", "url"} & one.keys() for one in each)
