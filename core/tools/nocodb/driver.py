"""The interface through which approved writes reach tables: one driver for NocoDB, one for the
bridge.

A row image maps the titles of fields to values. Links are complete lists of [{"id", "title"}].
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from core.base.errors import ToolError
from core.domain.changes import Draft, Row
from core.tools.nocodb.api import TableId
from core.tools.nocodb.fieldtypes import Field
from core.tools.nocodb.schema import TableDescription

RowImage = dict[str, Any]
MAX_NEWEST_ROWS = 100
"""The newest rows, among which a created row is looked for."""
EXCLUSIVE_RELATIONS = frozenset({"hm", "om", "oo"})
"""Relations in which a linked row has one owner. Linking it to another row removes it there."""
CARD_FORMATS = {
    "Number": "number", "Decimal": "number", "Currency": "number", "Percent": "percent",
    "Date": "date", "DateTime": "moment", "CreatedTime": "moment", "LastModifiedTime": "moment",
}  # fmt: skip
"""How a card shows the values of a field by its type; all others as they are."""
CONCEALED_LINK = "a link that is not shown here"
"""Replaces the name of a link to a hidden table."""


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A table as writes see it. `own` are the fields with values of their own, `links` all links,
    by title; both are empty where the system does not describe them.

    `key` is the field with the id, `name` the field that rows are told by: None where there is
    none that can be written. `target` is how a draft keeps it, to find and know it again.
    """

    at: TableId
    title: str
    own: Mapping[str, Field] = field(default_factory=dict)
    links: Mapping[str, Field] = field(default_factory=dict)
    key: Field | None = None
    name: Field | None = None
    target: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, table: TableDescription) -> TableSchema:
        """Return the schema for writes to a described table."""
        own = {
            each.title: each for each in table.fields if not each.is_computed and not each.is_link
        }
        links = {each.title: each for each in (*table.links, *table.concealed)}
        key = next((each for each in table.fields if each.type == "ID"), None)
        shown = table.display_field
        target = {
            "base": table.base,
            "table_id": table.id,
            "key": key.title if key else "id",
            "fields": {title: _fingerprint(each) for title, each in {**own, **links}.items()},
            "link_fields": sorted(links),
            "hidden_fields": sorted(each.title for each in table.concealed),
            "system_fields": [
                each.title for each in table.fields if each.field_type.differs_by_row
            ],
            "display_field": shown.title if shown else "",
            "formats": {each.title: CARD_FORMATS.get(each.type, "") for each in table.fields},
        }
        name = shown if shown and shown.title in own else None
        return cls(table.at, table.title, own, links, key, name, target)

    @property
    def fields(self) -> Mapping[str, Field]:
        """Return all fields by title: the table's own and its links."""
        return {**self.own, **self.links}

    def display_cell(self, snapshot: RowImage) -> RowImage:
        """Return the cell that names the row on a card, as {title: value}.

        It is part of the comparison, so a row that was renamed since counts as another row.
        """
        title = self.name.title if self.name else ""
        return {title: snapshot[title]} if title in snapshot else {}

    def without(self, names: Collection[str]) -> TableSchema:
        """Return the schema without these fields."""
        own, links = (
            {title: each for title, each in side.items() if title not in names}
            for side in (self.own, self.links)
        )
        return replace(self, own=own, links=links)

    def changed_fields(self, target: Mapping[str, Any], names: Iterable[str]) -> frozenset[str]:
        """Return those of these fields that differ from the draft's description."""
        known, fields = target.get("fields", {}), self.fields
        return frozenset(
            name
            for name in names
            if name in known and (name not in fields or _fingerprint(fields[name]) != known[name])
        )

    def check_unchanged(self, target: Mapping[str, Any], names: Iterable[str]) -> None:
        """Raise ToolError `drift` if one of these fields differs from the draft's description."""
        if moved := self.changed_fields(target, names):
            told = {CONCEALED_LINK if name in target["hidden_fields"] else name for name in moved}
            raise ToolError(
                "The table {table} changed after this request ({names}). Ask for it again.",
                code="drift", table=self.title, names=", ".join(sorted(told)[:5]),
            )  # fmt: skip


def _fingerprint(field: Field) -> str:
    """Return a hash that changes when the field is replaced or accepts other values."""
    told = repr(
        (field.id, field.title, field.type, field.options, field.relation, field.related_id)
    )
    return hashlib.sha256(told.encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class LinkableRow:
    """A row at the other end of a link. `owner` is the row that it belongs to, if any."""

    row: RowImage
    owner: RowImage | None = None


class TableDriver(Protocol):
    """Reads and writes the rows of one system. Each write is one call, made once.

    Reads raise ToolError. Writes raise ToolError if nothing was written, and WriteUnsure if
    something may have been. `by` names who asked, as "slack:U123".

    `typed`: fields are described, and images are whole and in the form of `fieldtypes.parse_value`.
    An untyped system has no links and no files to write, so it needs no `attach`, `link` and
    `fetch_linkable_rows`.
    """

    name: str
    """As drafts keep it."""
    typed: bool
    recreated: str
    """What a person should know of rows that would be created again,"""
    refilled: str
    """and of those that were deleted and are."""

    def batch(self, draft: Draft) -> int:
        """Return how many rows one call writes."""

    async def describe(self, target: Mapping[str, Any]) -> TableSchema:
        """Return the table of a draft as it is now, including concealed links."""

    async def rows(
        self, schema: TableSchema, ids: Sequence[str], names: Collection[str] | None = None
    ) -> Mapping[str, RowImage]:
        """Return the existing rows by id, with at least the fields in `names`; None means all
        fields."""

    def missing_rows_error(self, schema: TableSchema, ids: Sequence[str]) -> ToolError:
        """Return the error for a draft that names missing rows."""

    async def fetch_newest(self, schema: TableSchema) -> Mapping[str, RowImage]:
        """Return the newest rows by id, the newest first. Links may be missing."""

    async def create(self, schema: TableSchema, rows: Sequence[Row], by: str) -> Sequence[str]:
        """Create rows and return their ids. Links and files are written afterwards."""

    async def update(self, schema: TableSchema, rows: Mapping[str, Row], by: str) -> None:
        """Write values by field and id. Files can only be removed."""

    async def delete(self, schema: TableSchema, ids: Sequence[str], by: str) -> None:
        """Delete rows."""

    def holds_value(self, wanted: Any, found: Any) -> bool:
        """Return whether a cell holds the value that was to be written."""

    def is_unchanged(self, before: Any, now: Any) -> bool:
        """Return whether a cell still has its old value."""

    def restorable_values(self, target: Mapping[str, Any], before: Row | None) -> Row | None:
        """Return the values of a deleted row that can be written again; None for no values."""

    async def attach(self, schema: TableSchema, id: str, files: Row, by: str) -> None:
        """Set attachment fields to files that the system already stores."""
        raise TypeError("this system has no links and no files to write")

    async def link(
        self,
        schema: TableSchema,
        field: Field,
        id: str,
        add: Sequence[str],
        remove: Sequence[str],
        by: str,
    ) -> None:
        """Add rows to a link field and remove others."""
        raise TypeError("this system has no links and no files to write")

    async def fetch_linkable_rows(
        self, schema: TableSchema, field: Field, ids: Sequence[str]
    ) -> Mapping[str, LinkableRow]:
        """Return the existing rows of these ids that `field` may link to, by id."""
        raise TypeError("this system has no links and no files to write")
