"""Whether a table holds what was to be written: it may read "79" as 79, or a date as a time.

What stands in a field, in one form: as a model enters it, as NocoDB holds it, as it is sent.

A table as writes see it: what can be written, by which names, and whether it is still so.

Rows as they stand, whole and in one form: what is shown before a change, and compared after it.

A row's image has its values by the titles of their fields, links as [{"id", "title"}], all of them.

How a row stands to the write that is meant for it: as before it, as after it, or otherwise.

Created rows whose answer was lost: found again by what was written, among the newest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.changes.model import Row, RowWrite, Seen
from core.errors import ToolError
from core.tasks import together
from core.tools.nocodb import fieldtypes
from core.tools.nocodb.api import At, NocoApi, NocoError, Record, Sort
from core.tools.nocodb.fieldtypes import Field, alike, linked_ids, same, stored
from core.tools.nocodb.filters import clause
from core.tools.nocodb.schema import Table, table_of


def differing(wanted: dict[str, Any], found: dict[str, Any]) -> tuple[str, ...]:
    """The fields of `wanted` that do not stand in `found`."""
    return tuple(name for name, value in wanted.items() if not same(value, found.get(name)))


EXCLUSIVE = frozenset({"hm", "om", "oo"})
"""Relations in which a linked row has one owner: to link it to another row takes it away there."""

UNSEEN = "a link that is not shown here"
"""Stands for the name of a link to a hidden table."""


@dataclass(frozen=True, slots=True)
class Shape:
    """`own` are the fields with values of their own, `links` all links, by title.

    `key` is the field with the id, `name` the field that rows are told by: None where there is
    none that can be written.
    """

    at: At
    title: str
    own: Mapping[str, Field]
    links: Mapping[str, Field]
    hidden: frozenset[str]
    anew: tuple[str, ...]
    key: Field | None
    name: Field | None

    @classmethod
    def of(cls, table: Table) -> Shape:
        own = {each.title: each for each in table.fields if not each.computed and not each.is_link}
        shown = table.display_field
        return cls(
            at=table.at,
            title=table.title,
            own=own,
            links={each.title: each for each in (*table.links, *table.concealed)},
            hidden=frozenset(each.title for each in table.concealed),
            anew=tuple(each.title for each in table.fields if each.of.anew),
            key=next((each for each in table.fields if each.type == "ID"), None),
            name=shown if shown and shown.title in own else None,
        )

    @classmethod
    async def now(cls, api: NocoApi, at: At) -> Shape:
        """As NocoDB tells it at this moment, hidden links and all. Raises NocoError."""
        return cls.of(table_of(at.base, await api.table(at), {}))

    @property
    def fields(self) -> Mapping[str, Field]:
        return {**self.own, **self.links}

    @property
    def target(self) -> Mapping[str, Any]:
        """As a draft keeps it, to find the table and to know it again."""
        return {
            "base": self.at.base,
            "table_id": self.at.table,
            "key": self.key.title if self.key else "id",
            "fields": {title: _print(field) for title, field in self.fields.items()},
            "links": sorted(self.links),
            "concealed": sorted(self.hidden),
            "anew": list(self.anew),
        }

    def without(self, names: Collection[str]) -> Shape:
        """The same, without these fields."""
        own, links = (
            {title: field for title, field in side.items() if title not in names}
            for side in (self.own, self.links)
        )
        return replace(self, own=own, links=links)

    def moved(self, target: Mapping[str, Any], names: Iterable[str]) -> frozenset[str]:
        """Those of these fields that are no longer as the draft knows them."""
        known, fields = target["fields"], self.fields
        return frozenset(
            name
            for name in names
            if name in known and (name not in fields or _print(fields[name]) != known[name])
        )

    def check(self, target: Mapping[str, Any], names: Iterable[str]) -> None:
        """That these fields are as the draft knows them. Raises ToolError `drift`."""
        if moved := self.moved(target, names):
            told = {UNSEEN if name in target["concealed"] else name for name in moved}
            raise ToolError(
                "The table {table} was changed since this was proposed ({names}). "
                "Please ask for it again.",
                code="drift", table=self.title, names=", ".join(sorted(told)[:5]),
            )  # fmt: skip


def place(target: Mapping[str, Any]) -> At:
    return At(str(target["base"]), str(target["table_id"]))


def _print(field: Field) -> str:
    """Changes when the field becomes another one, or takes other values."""
    told = repr((field.id, field.title, field.type, field.options, field.relation, field.related))
    return hashlib.sha256(told.encode()).hexdigest()[:8]


Image = dict[str, Any]

IDS = 50
"""Rows that are asked for in one call."""
LAST = 100
"""The newest rows, among which a created one is looked for."""


class Images:
    """Everything raises NocoError."""

    def __init__(self, api: NocoApi) -> None:
        self._api = api

    async def rows(
        self, shape: Shape, ids: Sequence[str], names: Collection[str] | None = None
    ) -> Mapping[str, Image]:
        """By id, those that are there; `names` are the fields, None for all that can be written."""
        wanted = [f for title, f in shape.fields.items() if names is None or title in names]
        asked = [each.id for each in (*wanted, *([shape.key] if shape.key else []))]
        unique = list(dict.fromkeys(ids))
        if shape.key is None:
            found = await together(*(self._record(shape, id, asked) for id in unique))
            records = [record for record in found if record is not None]
        else:
            parts = [unique[start : start + IDS] for start in range(0, len(unique), IDS)]
            pages = [await self._page(shape, shape.key, part, asked) for part in parts]
            records = [record for page in pages for record in page]
        images = await together(*(self._image(shape, record, wanted) for record in records))
        return {record.id: image for record, image in zip(records, images, strict=True)}

    async def newest(self, shape: Shape) -> Mapping[str, Image]:
        """The last rows by id, the newest first, without links."""
        sort = [Sort(shape.key.id if shape.key else "CreatedAt", "desc")]
        asked = [each.id for each in (*shape.own.values(), *([shape.key] if shape.key else []))]
        page = await self._api.records(shape.at, fields=asked, sort=sort, size=LAST)
        return {record.id: _values(shape.own, record) for record in page.records}

    async def links(self, shape: Shape, field: Field, id: str) -> list[Image]:
        """All rows that it leads to. Of a relation of one to one NocoDB 0.301.3 tells none here,
        only in the row's cell."""
        return [linked(each) for each in await self._api.links(shape.at, field.id, id)]

    async def _page(
        self, shape: Shape, key: Field, ids: Sequence[str], asked: Sequence[str]
    ) -> Sequence[Record]:
        where = clause(key.id, "in", *ids)
        page = await self._api.records(shape.at, fields=asked, where=where.v3, size=len(ids))
        return page.records

    async def _record(self, shape: Shape, id: str, asked: Sequence[str]) -> Record | None:
        try:
            return await self._api.record(shape.at, id, fields=asked)
        except NocoError as error:
            if error.code == "not_found":
                return None
            raise

    async def _image(self, shape: Shape, record: Record, wanted: Sequence[Field]) -> Image:
        own = {each.title: each for each in wanted if not each.is_link}
        image = _values(own, record)
        for field in wanted:
            if field.is_link:
                rows = _whole(field, record.fields.get(field.title))
                image[field.title] = (
                    await self.links(shape, field, record.id) if rows is None else rows
                )
        return image


def linked(record: Record) -> Image:
    """A row at the other end of a link."""
    title = fieldtypes.title_of({"id": record.id, "fields": record.fields})
    return {"id": record.id, "title": title}


def _values(own: Mapping[str, Field], record: Record) -> Image:
    return {title: stored(field, record.fields.get(title)) for title, field in own.items()}


def _whole(field: Field, cell: object) -> list[Image] | None:
    """The rows in a link cell, None where there may be more than it tells."""
    if field.one and (cell is None or isinstance(cell, Mapping)):
        return [_told(cell)] if cell else []
    if fieldtypes.counts_rows(field) and cell in (0, "0"):
        return []
    if not isinstance(cell, list) or len(cell) >= min(fieldtypes.CUTS):
        return None
    return [_told(each) for each in cell if isinstance(each, Mapping)]


def _told(cell: Mapping[str, Any]) -> Image:
    return {"id": str(cell.get("id", "")), "title": fieldtypes.title_of(cell)}


Links = Mapping[str, bool]
"""The links of a table by title; whether one holds one row at most."""


def of_update(write: RowWrite, now: Image | None, links: Links) -> Seen:
    """A field that reads as it will is no hindrance: the write changes nothing of it.

    Of a link to many rows only those count that come or go.
    """
    if now is None:
        return Seen("other", write)
    before, after = dict(write.before or {}), dict(write.after or {})
    stands = {name: _touched(write, name, now.get(name), links) for name in {**before, **after}}
    missing = tuple(name for name, value in after.items() if not alike(value, stands[name]))
    if not missing:
        return Seen("after", write, now)
    known = all(name in before for name in missing)
    drifted = [
        name
        for name, value in before.items()
        if not alike(value, stands[name]) and (name not in after or name in missing)
    ]
    return Seen("before" if known and not drifted else "other", write, now, missing)


def of_delete(write: RowWrite, now: Image | None) -> Seen:
    """What the image does not know must be empty: nothing goes that could not come back."""
    if now is None:
        return Seen("after", write)
    before = dict(write.before or {})
    drifted = tuple(
        name
        for name, value in now.items()
        if (not alike(before[name], value) if name in before else not _standing_is_empty(value))
    )
    gone = tuple(
        name for name, value in before.items() if name not in now and not _standing_is_empty(value)
    )
    drifted += gone
    return Seen("other" if drifted else "before", write, now, drifted)


def of_create(write: RowWrite, now: Image | None, unseen: Collection[str] = ()) -> Seen:
    """Of a row whose id is known; what is missing of its links is named, but of `unseen` ones."""
    if now is None:
        return Seen("other", write)
    after = dict(write.after or {})
    missing = {name: value for name, value in after.items() if not alike(value, now.get(name))}
    differs = tuple(
        UNSEEN if name in unseen else _lacking(name, value, now.get(name))
        for name, value in missing.items()
    )
    return Seen("other" if missing else "after", write, now, differs)


def values_alike(wanted: Row, found: Image, links: Collection[str]) -> bool:
    """Whether a row may be the one that was to be created; links come after the row."""
    return all(alike(value, found.get(name)) for name, value in wanted.items() if name not in links)


def _touched(write: RowWrite, name: str, cell: Any, links: Links) -> Any:
    if links.get(name, True):
        return cell
    sides = (write.before or {}).get(name), (write.after or {}).get(name)
    ids = linked_ids(sides[0]) | linked_ids(sides[1])
    return [one for one in cell or () if one["id"] in ids]


def _standing_is_empty(value: Any) -> bool:
    return value is None or value is False or value in ("", [])


def _lacking(name: str, wanted: Any, found: Any) -> str:
    gone = linked_ids(wanted) - linked_ids(found)
    if not gone:
        return name
    titles = [str(one.get("title") or one["id"]) for one in wanted if one["id"] in gone]
    return f"{name} (without {', '.join(titles[:5])})"


def looked_for(
    newest: Mapping[str, Image], rows: Sequence[RowWrite], links: Collection[str]
) -> Sequence[RowWrite]:
    """Each with its id where it was found. `newest` are rows by id.

    A row's mark holds the ids of the rows that were like it before it was written; one that has
    come since is it. Without a mark it has not been written yet, and is given one.
    """
    taken = {row.id for row in rows if row.id}
    told: list[RowWrite] = []
    for row in rows:
        likes = [id for id, one in newest.items() if values_alike(row.after or {}, one, links)]
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
