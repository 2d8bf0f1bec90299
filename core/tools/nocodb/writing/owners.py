"""The other end of a link: what its rows are called, and which row owns them already.

In a relation of one to many (and of one to one) a row has one owner. NocoDB takes it from there
without a word when it is linked to another row, so this is looked up first, and told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.tools.nocodb.rest.api import NocoApi
from core.tools.nocodb.rest.error import NocoError
from core.tools.nocodb.rest.records import At
from core.tools.nocodb.schema import Field
from core.tools.nocodb.writing.entries import linked_ids
from core.tools.nocodb.writing.images import Image, Images
from core.tools.nocodb.writing.shape import EXCLUSIVE, Shape


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
