"""Tables and their fields, as NocoDB describes them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.tools.nocodb.names import nearest, resolved
from core.tools.nocodb.rest.error import NocoError, unreadable
from core.tools.nocodb.rest.records import At, Named

LINKS = frozenset({"LinkToAnotherRecord", "Links"})
"""A cell of the first holds rows, of the second how many they are; both are read and written by
`NocoApi.links`, `link`, `unlink`."""

# NocoDB fills these itself (https://nocodb.com/docs/product-docs/fields).
_COMPUTED = {
    *("ID", "AutoNumber", "CreatedTime", "LastModifiedTime", "CreatedBy", "LastModifiedBy"),
    *("Formula", "Rollup", "Lookup", "Count", "QrCode", "Barcode", "Button", "Order"),
    *("ForeignKey", "UUID", "Deleted"),
}
_NEVER_SHOWN = {"ForeignKey", "Order", "Deleted"}


@dataclass(frozen=True, slots=True)
class Field:
    """`type` is NocoDB's own word (SingleLineText, Decimal, SingleSelect …).

    `options`: the titles that a select takes (NocoDB compares them with their case). `related`:
    the id of the table that a link leads to, `related_title` its name. `relation` is NocoDB's word
    for it (hm, bt, mm, oo), `one`: the link holds one row at most. `via`: the id of the link that a
    lookup or rollup looks through.
    """

    id: str
    title: str
    type: str
    options: tuple[str, ...] = ()
    related: str = ""
    related_title: str = ""
    one: bool = False
    via: str = ""
    relation: str = ""

    @property
    def is_link(self) -> bool:
        return self.type in LINKS

    @property
    def computed(self) -> bool:
        """NocoDB fills it by itself: it cannot be written. A link is not computed."""
        return self.type in _COMPUTED


@dataclass(frozen=True, slots=True)
class Table:
    """`fields` are what may be seen, in NocoDB's order; `display` is the id of the field that
    stands for a row. `concealed` are links to hidden tables: never shown or asked for by name, but
    part of a row that is given back. NocoDB does not describe CreatedAt and UpdatedAt: they are
    added, with their title as id, to tables that it made.
    """

    id: str
    title: str
    base: str
    fields: tuple[Field, ...]
    display: str = ""
    concealed: tuple[Field, ...] = ()

    @property
    def at(self) -> At:
        return At(self.base, self.id)

    @property
    def hash(self) -> str:
        """Of all that a draft stands on: changes when a field is added, lost, renamed, retyped."""
        told = repr((self.id, self.title, self.fields, self.display, self.concealed))
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    @property
    def display_field(self) -> Field | None:
        return next((each for each in self.fields if each.id == self.display), None)

    @property
    def links(self) -> tuple[Field, ...]:
        """Those that may be seen."""
        return tuple(each for each in self.fields if each.is_link)

    def field(self, name: str) -> Field:
        """By title, id, or a title that reads like it where only one does.

        Raises NocoError `unknown_field`, with the nearest titles as hint.
        """
        found = resolved(name, self.fields)
        if found is None:
            raise NocoError(
                "The table {table} has no field {name!r}.",
                code="unknown_field", hint=nearest(name, self.fields),
                table=self.title, name=name[:64],
            )  # fmt: skip
        return found


def table_of(
    base: str,
    told: Mapping[str, Any],
    seen: Mapping[str, Named],
    foreign: Collection[str] = frozenset(),
) -> Table:
    """From NocoDB's own description; `seen` are the tables that are not hidden, by id, `foreign`
    the databases whose tables others made.

    Links to hidden tables, and lookups through them, are not among its fields. Raises NocoError.
    """
    columns = told.get("fields")
    if not isinstance(columns, list) or not told.get("id"):
        raise unreadable()
    fields = [_field(column, seen) for column in columns if isinstance(column, Mapping)]
    concealed = tuple(f for f in fields if f.is_link and f.related and f.related not in seen)
    closed = {each.id for each in concealed}
    shown = [
        each
        for each in fields
        if each.id not in closed and each.via not in closed and each.type not in _NEVER_SHOWN
    ]
    return Table(
        id=str(told["id"]),
        title=str(told.get("title") or told["id"]),
        base=base,
        fields=(*shown, *(() if told.get("source_id") in foreign else _times(shown))),
        display=str(told.get("display_field_id") or ""),
        concealed=concealed,
    )


def _field(told: Mapping[str, Any], seen: Mapping[str, Named]) -> Field:
    given = told.get("options")
    options = given if isinstance(given, Mapping) else {}
    choices = options.get("choices")
    titles = [c.get("title") for c in choices or () if isinstance(c, Mapping)]
    related = str(options.get("related_table_id") or "")
    return Field(
        id=str(told.get("id") or ""),
        title=str(told.get("title") or ""),
        type=str(told.get("type") or ""),
        options=tuple(title for title in titles if isinstance(title, str)),
        related=related,
        related_title=seen[related].title if related in seen else "",
        one=options.get("relation_type") in ("bt", "oo"),
        via=str(options.get("related_field_id") or ""),
        relation=str(options.get("relation_type") or ""),
    )


def _times(shown: Sequence[Field]) -> Sequence[Field]:
    """Every table that NocoDB made has them, and takes their titles for ids."""
    titles = {each.title for each in shown}
    times = (("CreatedAt", "CreatedTime"), ("UpdatedAt", "LastModifiedTime"))
    return [Field(title, title, type) for title, type in times if title not in titles]
