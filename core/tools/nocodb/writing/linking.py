"""What a change of links writes, and on which rows: nothing moves that no card shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.errors import ToolError
from core.proposal import RowWrite
from core.tools.nocodb.schema import Field
from core.tools.nocodb.writing.entries import linked_ids
from core.tools.nocodb.writing.images import Image, Images
from core.tools.nocodb.writing.owners import Owned, Owners
from core.tools.nocodb.writing.shape import Shape


@dataclass(frozen=True, slots=True)
class Relink:
    """What a link field of a row is to lead to more, and what no longer, by ids."""

    id: str
    field: Field
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class Linking:
    """Raises ToolError, NocoError."""

    def __init__(self, images: Images, owners: Owners) -> None:
        self._images = images
        self._owners = owners

    async def writes(self, shape: Shape, asked: Relink, image: Image) -> Sequence[RowWrite]:
        """Each is one call. Links that stand already, or that are not there, are passed over."""
        title = asked.field.title
        stand: list[Image] = image.get(title) or []
        known = linked_ids(stand)
        add = tuple(id for id in asked.add if id not in known)
        removed = [one for one in stand if one["id"] in asked.remove]
        owned = await self._owners.all_of(shape, asked.field, add) if add else {}
        added = [owned[id].row for id in add]
        named = name_of(shape, image)
        if asked.field.one:
            # NocoDB 0.301.3 takes no row out of a relation of one to one, though it says so.
            _check_free(owned.values(), "only NocoDB itself can take it from there")
            return self._replaced(asked, named, stand, added, removed)
        moved = await self._moved(shape, asked, list(owned.values()))
        sides = [(removed, []), ([], added)]
        return moved + [
            RowWrite(asked.id, before={**named, title: old}, after={title: new})
            for old, new in sides
            if old or new
        ]

    async def entries(self, shape: Shape, field: Field, ids: Sequence[str]) -> list[Image]:
        """The links of a row that is yet to be made; no other row may own what it leads to."""
        if field.one and len(ids) > 1:
            raise _too_many(field)
        owned = await self._owners.all_of(shape, field, ids) if ids else {}
        _check_free(owned.values(), "create the row without it, then move it with nocodb_link")
        return [owned[id].row for id in ids]

    def _replaced(
        self,
        asked: Relink,
        named: Image,
        stand: list[Image],
        added: list[Image],
        removed: list[Image],
    ) -> list[RowWrite]:
        """A link to one row: the new one takes the place of the old."""
        if len(added) > 1:
            raise _too_many(asked.field)
        if not added and not removed:
            return []
        title = asked.field.title
        return [RowWrite(asked.id, before={**named, title: stand}, after={title: added})]

    async def _moved(self, shape: Shape, asked: Relink, owned: Sequence[Owned]) -> list[RowWrite]:
        """What other rows give up, before it is linked here."""
        given: dict[str, list[Image]] = {}
        for one in owned:
            if one.owner is not None and one.owner["id"] != asked.id:
                given.setdefault(str(one.owner["id"]), []).append(one.row)
        names = [shape.name.title] if shape.name else []
        images = await self._images.rows(shape, list(given), names) if given else {}
        title = asked.field.title
        return [
            RowWrite(id, {**name_of(shape, images.get(id, {})), title: rows}, {title: []})
            for id, rows in given.items()
        ]


def name_of(shape: Shape, image: Image) -> Image:
    """The field that a row is told by: a card shows it, and a row renamed since is another one."""
    title = shape.name.title if shape.name else ""
    return {title: image[title]} if title in image else {}


def _check_free(rows: Iterable[Owned], hint: str) -> None:
    for one in rows:
        if one.owner is not None:
            raise ToolError(
                "{row} belongs to {owner} (row {id}) already.",
                code="linked_elsewhere", hint=hint, row=one.row["title"],
                owner=one.owner["title"], id=one.owner["id"],
            )  # fmt: skip


def _too_many(field: Field) -> ToolError:
    return ToolError("The link {field} holds one row at most.", code="bad_value", field=field.title)
