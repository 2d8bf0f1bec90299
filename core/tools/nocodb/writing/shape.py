"""A table as writes see it: what can be written, by which names, and whether it is still so."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from core.errors import ToolError
from core.tools.nocodb.rest.api import NocoApi
from core.tools.nocodb.rest.records import At
from core.tools.nocodb.schema import Field, Table, table_of

EXCLUSIVE = frozenset({"hm", "om", "oo"})
"""Relations in which a linked row has one owner: to link it to another row takes it away there."""

UNSEEN = "a link that is not shown here"
"""Stands for the name of a link to a hidden table."""

# What the next row gets anew; formulas, lookups and rollups come by themselves.
_OWN_TO_A_ROW = frozenset(
    {"ID", "UUID", "AutoNumber", "CreatedTime", "LastModifiedTime", "CreatedBy", "LastModifiedBy"}
)


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
            anew=tuple(each.title for each in table.fields if each.type in _OWN_TO_A_ROW),
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
