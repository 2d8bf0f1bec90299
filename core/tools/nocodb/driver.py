"""A system that holds tables, as writes see it: one driver each for NocoDB and for the bridge.

A row's image has its values by the titles of their fields, links as [{"id", "title"}], all of them.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core.domain.changes import Draft, Row
from core.domain.errors import ToolError
from core.tools.nocodb.api import TableId
from core.tools.nocodb.fieldtypes import Field
from core.tools.nocodb.schema import TableDescription

RowImage = dict[str, Any]
MAX_NEWEST_ROWS = 100
"""The newest rows, among which a created one is looked for."""
EXCLUSIVE_RELATIONS = frozenset({"hm", "om", "oo"})
"""Relations in which a linked row has one owner: to link it to another row takes it away there."""
CONCEALED_LINK = "a link that is not shown here"
"""Stands for the name of a link to a hidden table."""


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
            "links": sorted(links),
            "concealed": sorted(each.title for each in table.concealed),
            "anew": [each.title for each in table.fields if each.field_type.differs_by_row],
        }
        name = shown if shown and shown.title in own else None
        return cls(table.at, table.title, own, links, key, name, target)

    @property
    def fields(self) -> Mapping[str, Field]:
        return {**self.own, **self.links}

    def display_cell(self, snapshot: RowImage) -> RowImage:
        """The field that a row is told by: a card shows it, and a row renamed since is another."""
        title = self.name.title if self.name else ""
        return {title: snapshot[title]} if title in snapshot else {}

    def without(self, names: Collection[str]) -> TableSchema:
        """The same, without these fields."""
        own, links = (
            {title: each for title, each in side.items() if title not in names}
            for side in (self.own, self.links)
        )
        return replace(self, own=own, links=links)

    def changed_fields(self, target: Mapping[str, Any], names: Iterable[str]) -> frozenset[str]:
        """Those of these fields that are no longer as the draft knows them."""
        known, fields = target.get("fields", {}), self.fields
        return frozenset(
            name
            for name in names
            if name in known and (name not in fields or _fingerprint(fields[name]) != known[name])
        )

    def check_unchanged(self, target: Mapping[str, Any], names: Iterable[str]) -> None:
        """That these fields are as the draft knows them. Raises ToolError `drift`."""
        if moved := self.changed_fields(target, names):
            told = {CONCEALED_LINK if name in target["concealed"] else name for name in moved}
            raise ToolError(
                "The table {table} was changed since this was proposed ({names}). "
                "Please ask for it again.",
                code="drift", table=self.title, names=", ".join(sorted(told)[:5]),
            )  # fmt: skip


def _fingerprint(field: Field) -> str:
    """Changes when the field becomes another one, or takes other values."""
    told = repr(
        (field.id, field.title, field.type, field.options, field.relation, field.related_id)
    )
    return hashlib.sha256(told.encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class LinkableRow:
    """A row at the other end of a link; `owner` is the row that has it, None where none does."""

    row: RowImage
    owner: RowImage | None = None


class TableDriver(ABC):
    """What reads raises ToolError; what writes too, when nothing was written, and WriteUnsure when
    it may have been. Each write is one call, made once. `by` names who asked, as "slack:U123".

    `typed`: fields are described, and images are whole and in the form of `fieldtypes.entered`. A
    system that is not typed has no links and no files to write: `attach`, `link` and `owned` are
    never called of it, and it need not have them.
    """

    name: str
    """As drafts keep it."""
    typed: bool
    recreated: str
    """What a person should know of rows that would be created again,"""
    refilled: str
    """and of those that were deleted and are."""

    @abstractmethod
    def batch(self, draft: Draft) -> int:
        """Rows that one call writes."""

    @abstractmethod
    async def describe(self, target: Mapping[str, Any]) -> TableSchema:
        """The table of a draft as it is at this moment, hidden links and all."""

    @abstractmethod
    async def rows(
        self, schema: TableSchema, ids: Sequence[str], names: Collection[str] | None = None
    ) -> Mapping[str, RowImage]:
        """By id, those that are there, with at least the fields in `names`; None for all."""

    @abstractmethod
    def missing_rows_error(self, schema: TableSchema, ids: Sequence[str]) -> ToolError:
        """What is told where a draft names rows that are not there."""

    @abstractmethod
    async def fetch_newest(self, schema: TableSchema) -> Mapping[str, RowImage]:
        """Some last rows by id, the newest first; links may lack."""

    @abstractmethod
    async def create(self, schema: TableSchema, rows: Sequence[Row], by: str) -> Sequence[str]:
        """The ids of the new rows. Links and files come later."""

    @abstractmethod
    async def update(self, schema: TableSchema, rows: Mapping[str, Row], by: str) -> None:
        """Values by field by id; files can only be removed."""

    @abstractmethod
    async def delete(self, schema: TableSchema, ids: Sequence[str], by: str) -> None: ...

    @abstractmethod
    def holds_value(self, wanted: Any, found: Any) -> bool:
        """Whether a cell holds what was to be written."""

    @abstractmethod
    def is_unchanged(self, before: Any, now: Any) -> bool:
        """Whether a cell is as it was."""

    @abstractmethod
    def restorable_values(self, target: Mapping[str, Any], before: Row | None) -> Row | None:
        """What of a deleted row can be written again; None for nothing, so that it is left."""

    async def attach(self, schema: TableSchema, id: str, files: Row, by: str) -> None:
        """Files that the system has."""
        raise NotImplementedError

    async def link(
        self,
        schema: TableSchema,
        field: Field,
        id: str,
        add: Sequence[str],
        remove: Sequence[str],
        by: str,
    ) -> None:
        """Lead to more rows, or no longer to some."""
        raise NotImplementedError

    async def fetch_linkable_rows(
        self, schema: TableSchema, field: Field, ids: Sequence[str]
    ) -> Mapping[str, LinkableRow]:
        """The rows of these ids that `field` may lead to, by id; those that are not there lack."""
        raise NotImplementedError
