"""Which rows of a table are meant: filters as a model gives them, checked against the schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

import pydantic

from core.errors import ToolError
from core.tools.nocodb.filters.condition import Condition, Op, Value
from core.tools.nocodb.filters.conditions import condition
from core.tools.nocodb.filters.spans import WORDS
from core.tools.nocodb.filters.where import Where, either, every
from core.tools.nocodb.rest.records import Record
from core.tools.nocodb.schema import Field, Table

MOST = 20
"""Filters in one call."""
Match = Literal["all", "any"]

GUIDE = (
    f"On dates a value is a day (2026-11-20), month (2026-11), year, moment (2026-11-20T09:30) or "
    f"one of {WORDS}; eq means within it, between takes [first, last] and includes both; weeks "
    "begin on Monday; all in the asker's time zone. Links compare with titles of linked rows. "
    "contains ignores case; in takes a list; checkboxes take true or false; blank and notblank "
    "take null."
)
"""What a tool's description says of filters."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition on one field."""

    field: Annotated[str, pydantic.Field(description="the field's name")]
    op: Op
    value: Annotated[Value, pydantic.Field(description="null for blank and notblank")]


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows of `table` that fit. NocoDB is asked for `where`; unless `exact`, that is more than
    is meant, and each row must be checked with `holds`."""

    table: Table
    conditions: tuple[Condition, ...] = ()
    match: Match = "all"

    @classmethod
    def of(cls, table: Table, filters: Sequence[Filter], match: Match, now: datetime) -> Selection:
        """`now` is in the zone of who asks. Raises ToolError, NocoError `unknown_field`."""
        if len(filters) > MOST:
            raise ToolError(
                "Those are {count} filters; at most {most} fit in one call.",
                code="bad_filter", count=len(filters), most=MOST,
            )  # fmt: skip
        made = [condition(table.field(each.field), each.op, each.value, now) for each in filters]
        return cls(table, tuple(made), match)

    @property
    def where(self) -> Where:
        """Empty where there is no filter, and where it would be too long to send."""
        whole = self._whole
        return whole if whole.fits else Where()

    @property
    def exact(self) -> bool:
        return all(each.exact for each in self.conditions) and self._whole.fits

    @property
    def checked(self) -> tuple[Field, ...]:
        """The fields that `holds` looks at."""
        fields = [] if self.exact else [each.field for each in self.conditions]
        return tuple(dict.fromkeys(fields))

    def holds(self, row: Record) -> bool:
        """Of a row that has the fields in `checked`. Raises ToolError where it cannot be said."""
        if self.exact:
            return True
        checks = (each.holds(_cell(each.field, row)) for each in self.conditions)
        return all(checks) if self.match == "all" else any(checks)

    @property
    def _whole(self) -> Where:
        parts = [each.where or Where() for each in self.conditions]
        return every(parts) if self.match == "all" else either(parts)


def _cell(field: Field, row: Record) -> object:
    """v3 tells a row's id beside its fields."""
    return row.id if field.type == "ID" else row.fields.get(field.title)
