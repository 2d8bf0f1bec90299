"""From a model's call of a writing tool to a draft: which rows, how they are now, what they become.

Nothing is written here. What NocoDB would ignore, guess or refuse is told before a person is asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Any

from core.errors import ToolError
from core.proposal import MOST_ROWS, Draft, Row, RowWrite, WriteKind
from core.tools.nocodb.rest.api import NocoApi
from core.tools.nocodb.rest.error import NocoError
from core.tools.nocodb.schema import Field, Table
from core.tools.nocodb.writing.entries import alike, entered, here, linked_ids
from core.tools.nocodb.writing.images import Image, Images
from core.tools.nocodb.writing.linking import Linking, Relink, name_of
from core.tools.nocodb.writing.owners import Owners
from core.tools.nocodb.writing.revert import RECREATED
from core.tools.nocodb.writing.rows import NocoRows
from core.tools.nocodb.writing.shape import Shape

_ID = re.compile(r"[^\s\"'/\\?#%(),<>]{1,100}")
Asked = Mapping[str, Mapping[str, Any]]
"""New values by field, by the row's id."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """`unchanged` rows are left out: they hold what is asked for already."""

    draft: Draft
    unchanged: int = 0


class NocoDrafts:
    """Raises ToolError, NocoError."""

    def __init__(self, api: NocoApi) -> None:
        self._images = Images(api)
        self._linking = Linking(self._images, Owners(api, self._images))

    async def create(
        self, table: Table, rows: Sequence[Mapping[str, Any]], zone: tzinfo
    ) -> Prepared:
        check_count(len(rows))
        shape = Shape.of(table)
        writes = [RowWrite(after=await self._new(table, shape, row, zone)) for row in rows]
        return Prepared(_draft(shape, "create", writes))

    async def update(self, table: Table, asked: Asked, zone: tzinfo) -> Prepared:
        check_count(len(asked))
        shape = Shape.of(table)
        known = {id: _fields(table, values) for id, values in asked.items()}
        titles = {field.title for fields in known.values() for field, _ in fields}
        images = await self._existing(shape, list(asked), titles)
        writes: list[RowWrite] = []
        unchanged = 0
        for id, fields in known.items():
            of_row = [*_own(shape, id, images[id], fields, zone)]
            for field, value in fields:
                if field.is_link:
                    of_row += await self._relinked(shape, id, field, value, images[id])
            unchanged += not of_row
            writes += of_row
        if not writes:
            raise ToolError("Those rows hold these values already.", code="no_change")
        return Prepared(_draft(shape, "update", writes), unchanged)

    async def delete(self, table: Table, ids: Sequence[str]) -> Prepared:
        check_count(len(ids))
        shape = Shape.of(table)
        images = await self._existing(shape, ids, None)
        writes = [RowWrite(id, before=_filled(images[id])) for id in ids]
        return Prepared(replace(_draft(shape, "delete", writes), note=RECREATED))

    async def link(
        self, table: Table, id: str, name: str, add: Sequence[str], remove: Sequence[str]
    ) -> Prepared:
        field = table.field(name)
        if not field.is_link:
            raise ToolError(
                "{field} is not a link.", code="bad_field", field=field.title,
                hint=", ".join(each.title for each in table.links) or "this table has none",
            )  # fmt: skip
        check_count(len(add) + len(remove))
        if both := set(add) & set(remove):
            raise _misfit(f"row {min(both)} is both in `add` and in `remove`")
        shape = Shape.of(table)
        images = await self._existing(shape, [id], {field.title})
        asked = Relink(id, field, tuple(add), tuple(remove))
        writes = await self._linking.writes(shape, asked, images[id])
        if not writes:
            raise ToolError("Those links are so already.", code="no_change")
        return Prepared(_draft(shape, "update", writes))

    async def _new(self, table: Table, shape: Shape, row: Mapping[str, Any], zone: tzinfo) -> Row:
        values: Image = {}
        for field, value in _fields(table, row):
            if field.is_link:
                values[field.title] = await self._linking.entries(shape, field, ids_of(value))
            else:
                values[field.title] = entered(field, value, zone)
        if not _filled(values):
            raise _misfit("a new row has no value")
        return _filled(values)

    async def _relinked(
        self, shape: Shape, id: str, field: Field, value: object, image: Image
    ) -> Sequence[RowWrite]:
        """A link that is set as a field is set whole."""
        wanted, stand = ids_of(value), linked_ids(image.get(field.title))
        remove = tuple(sorted(stand - set(wanted)))
        return await self._linking.writes(shape, Relink(id, field, tuple(wanted), remove), image)

    async def _existing(
        self, shape: Shape, ids: Sequence[str], titles: set[str] | None
    ) -> Mapping[str, Image]:
        """Their images. Raises NocoError `not_found` where one is not there."""
        names = None if titles is None else titles | ({shape.name.title} if shape.name else set())
        found = await self._images.rows(shape, ids, names)
        if missing := [id for id in ids if id not in found]:
            raise NocoError(
                "There is no row {ids} in {table}.",
                code="not_found", hint="find ids with nocodb_query; propose it without these",
                ids=", ".join(missing[:10]), table=shape.title,
            )  # fmt: skip
        return found


def ids_of(value: object) -> list[str]:
    """Ids as a model gives them: one, a list, or {"id": …}; each once, in their order."""
    each = value if isinstance(value, list | tuple) else [value] if value is not None else []
    return list(dict.fromkeys(id_of(one) for one in each))


def id_of(value: object) -> str:
    told = value.get("id", value.get("Id")) if isinstance(value, Mapping) else value
    text = str(told).strip() if isinstance(told, str | int) and not isinstance(told, bool) else ""
    if not _ID.fullmatch(text):
        raise _misfit("a row's id is missing, or is none; find ids with nocodb_query")
    return text


def check_count(count: int) -> None:
    if not count:
        raise _misfit("it names no row")
    if count > MOST_ROWS:
        raise ToolError(
            "That is {count} rows; at most {most} fit in one proposal.",
            code="too_many_rows", hint="propose a part, and say so", count=count, most=MOST_ROWS,
        )  # fmt: skip


def _fields(table: Table, values: Mapping[str, Any]) -> list[tuple[Field, Any]]:
    """Raises for a field that is unknown, comes twice, or is NocoDB's own."""
    fields = [(table.field(name), value) for name, value in values.items()]
    if not fields:
        raise _misfit("a row has no field")
    if len({field.id for field, _ in fields}) < len(fields):
        raise _misfit("a field comes twice in a row")
    if own := [field.title for field, _ in fields if field.computed]:
        raise ToolError(
            "NocoDB fills these fields itself: {names}.",
            code="computed_field", hint="leave them out", names=", ".join(own[:5]),
        )  # fmt: skip
    return fields


def _own(
    shape: Shape, id: str, image: Image, fields: Sequence[tuple[Field, Any]], zone: tzinfo
) -> Sequence[RowWrite]:
    """The write of the fields that hold values and do not hold these yet."""
    wanted = {field.title: entered(field, value, zone) for field, value in fields
              if not field.is_link}  # fmt: skip
    after = {title: value for title, value in wanted.items() if not alike(value, image.get(title))}
    if not after:
        return ()
    before = {title: here(shape.own[title], image.get(title), zone) for title in after}
    return [RowWrite(id, {**name_of(shape, image), **before}, after)]


def _draft(shape: Shape, kind: WriteKind, writes: Sequence[RowWrite]) -> Draft:
    return Draft(NocoRows.name, kind, shape.target, shape.title, tuple(writes))


def _filled(values: Mapping[str, Any]) -> Row:
    return {name: value for name, value in values.items() if value not in (None, [], "")}


def _misfit(why: str) -> ToolError:
    return ToolError("The call cannot be: {why}.", code="bad_arguments", why=why)
