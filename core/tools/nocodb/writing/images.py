"""Rows as they stand, whole and in one form: what is shown before a change, and compared after it.

A row's image has its values by the titles of their fields, links as [{"id", "title"}], all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from core.together import together
from core.tools.nocodb import cells
from core.tools.nocodb.filters.where import clause
from core.tools.nocodb.rest.api import NocoApi
from core.tools.nocodb.rest.error import NocoError
from core.tools.nocodb.rest.records import Record, Sort
from core.tools.nocodb.schema import Field
from core.tools.nocodb.writing.entries import stored
from core.tools.nocodb.writing.shape import Shape

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
    title = cells.title_of({"id": record.id, "fields": record.fields})
    return {"id": record.id, "title": title}


def _values(own: Mapping[str, Field], record: Record) -> Image:
    return {title: stored(field, record.fields.get(title)) for title, field in own.items()}


def _whole(field: Field, cell: object) -> list[Image] | None:
    """The rows in a link cell, None where there may be more than it tells."""
    if field.one and (cell is None or isinstance(cell, Mapping)):
        return [_told(cell)] if cell else []
    if field.type == "Links" and cell in (0, "0"):
        return []
    if not isinstance(cell, list) or len(cell) >= min(cells.CUTS):
        return None
    return [_told(each) for each in cell if isinstance(each, Mapping)]


def _told(cell: Mapping[str, Any]) -> Image:
    return {"id": str(cell.get("id", "")), "title": cells.title_of(cell)}
