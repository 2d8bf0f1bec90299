"""The dry run of an import: each row of a file beside the row of the table that has its key. It
writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, time, tzinfo
from typing import Any, Literal

from core.base.errors import ToolError
from core.base.i18n import say
from core.base.text import compose_letters, fold_case
from core.base.value_formats import parse_number
from core.imports.plan import Plan, PlanRow
from core.imports.cells import SheetCell
from core.imports.head import SheetRow
from core.imports.sheets import ImportSheet
from core.imports.values import Notation, find_notation, read_value
from core.tools.nocodb.driver import EXCLUSIVE_RELATIONS, RowImage, TableSchema
from core.tools.nocodb.fieldtypes import Field, is_same_entry, linked_ids, without_empty

Existing = Literal["update", "skip"]
Missing = Literal["create", "refuse"]
_NO_SUCH_ROW = "{table} has no row called “{title}”."
_SEVERAL_ROWS = "{table} has several rows called “{title}”."
_TWICE = "The key {key} is in rows {rows} of the file."
_TWICE_IN_TABLE = "The table has several rows with the key {key}."
_NO_KEY = "{field}, which identifies the row, is empty."
_NOT_THERE = "The table has no row with the key {key}."
_EMPTY = "The row is empty."


@dataclass(frozen=True, slots=True)
class TableRows:
    """The rows of a table as an import needs them: by the value of the key, and the ids of linked
    rows by their title, for each link."""

    by_key: Mapping[str, Sequence[tuple[str, RowImage]]]
    linked: Mapping[str, Mapping[str, Sequence[Mapping[str, str]]]]


def read_key(value: object) -> str:
    """Return what is equal for the values that name one row: 12 and 12.0, "Ana" and "ana "."""
    if isinstance(value, int | float) and (number := parse_number(value)) is not None:
        return f"{number.normalize():f}"
    return "" if value is None else fold_case(compose_letters(str(value).strip()))


@dataclass(frozen=True, slots=True)
class DryRun:
    """`columns` maps each field to its column of the sheet. `key` names the rows of the table; None
    if all rows are new."""

    sheet: ImportSheet
    schema: TableSchema
    columns: Mapping[Field, int]
    key: Field | None
    existing: Existing
    missing: Missing
    zone: tzinfo

    def find_notation(self, given: Notation) -> Notation:
        """Raise ToolError where the file shows none and it matters."""
        return find_notation(
            (
                (field, [row.cells[at] for row in self.sheet.rows])
                for field, at in self.columns.items()
            ),
            given,
        )

    def list_keys(self, notation: Notation) -> set[str]:
        """Return the keys of the rows that can be read."""
        if self.key is None:
            return set()
        keys, at = set[str](), self.columns[self.key]
        for row in self.sheet.rows:
            with suppress(ToolError):
                keys.add(read_key(read_value(self.key, row.cells[at], notation, self.zone)))
        return keys

    def make_plan(self, notation: Notation, table: TableRows) -> Plan:
        """It takes seconds for a large file."""
        read = [(row, *self._read_row(row, notation, table)) for row in self.sheet.rows]
        keys: dict[str, list[int]] = {}
        for row, values, _ in read:
            if self.key and (key := read_key(values.get(self.key.title))):
                keys.setdefault(key, []).append(row.number)
        rows = []
        for row, values, reasons in read:
            if not any(cell is not None for cell in row.cells):
                continue
            if not reasons and not without_empty(values):
                reasons = [say(_EMPTY)]
            key = read_key(values.get(self.key.title)) if self.key else ""
            if self.key and not reasons:
                shown, found = values.get(self.key.title), table.by_key.get(key, ())
                if not key:
                    reasons = [say(_NO_KEY, field=self.key.title)]
                elif len(keys[key]) > 1:
                    numbers = ", ".join(map(str, keys[key][:5]))
                    reasons = [say(_TWICE, key=shown, rows=numbers)]
                elif len(found) > 1:
                    reasons = [say(_TWICE_IN_TABLE, key=shown)]
                elif found:
                    rows.append(self._compare(row.number, values, *found[0]))
                    continue
                elif self.missing == "refuse":
                    reasons = [say(_NOT_THERE, key=shown)]
            if reasons:
                cells = tuple(_plain(cell) for cell in row.cells)
                rows.append(PlanRow(row.number, "refused", reasons=tuple(reasons), cells=cells))
            else:
                rows.append(PlanRow(row.number, "new", after=without_empty(values)))
        return Plan(self.sheet.columns, tuple(rows))

    def _read_row(
        self, row: SheetRow, notation: Notation, table: TableRows
    ) -> tuple[dict[str, Any], list[str]]:
        values, reasons = dict[str, Any](), list[str]()
        for field, at in self.columns.items():
            try:
                if row.cells[at] is None:
                    values[field.title] = None
                elif field.is_link:
                    values[field.title] = _find_linked(field, row.cells[at], table)
                else:
                    values[field.title] = read_value(field, row.cells[at], notation, self.zone)
            except ToolError as error:
                reasons.append(error.words())
        return values, reasons

    def _compare(
        self, number: int, values: Mapping[str, Any], id: str, stored: RowImage
    ) -> PlanRow:
        """An empty cell of the file changes nothing. Links are added, and none is removed, but
        where the field holds one."""
        changed: dict[str, Any] = {}
        for field in (field for field in self.columns if field != self.key):
            new, old = values[field.title], stored.get(field.title)
            if field.is_link:
                if new and not linked_ids(new) <= linked_ids(old):
                    others = [] if field.holds_one else [*(old or ())]
                    changed[field.title] = [
                        *others,
                        *(r for r in new if r["id"] not in linked_ids(old)),
                    ]
            elif new not in (None, "", []) and not is_same_entry(new, old):
                changed[field.title] = new
        if self.existing == "skip" or not changed:
            return PlanRow(number, "unchanged", id)
        before = {
            **self.schema.display_cell(stored),
            **{name: stored.get(name) for name in changed},
        }
        return PlanRow(number, "changed", id, before, changed)


def _find_linked(field: Field, cell: SheetCell, table: TableRows) -> list[Mapping[str, str]]:
    titles = [] if cell is None else [str(cell)] if field.holds_one else str(cell).split(",")
    found = list[Mapping[str, str]]()
    for title in filter(None, map(str.strip, titles)):
        rows = table.linked[field.title].get(read_key(title), ())
        if len(rows) != 1:
            sentence = _SEVERAL_ROWS if rows else _NO_SUCH_ROW
            raise ToolError(sentence, table=field.related_title or field.title, title=title)
        found += rows
    return found


def _plain(cell: SheetCell) -> Any:
    return cell.isoformat() if isinstance(cell, date | time) else cell


def check_columns(columns: Mapping[Field, int]) -> None:
    """Raise ToolError for fields that a file cannot fill."""
    for field in columns:
        if field.field_type.file or field.relation in EXCLUSIVE_RELATIONS:
            raise ToolError(
                "{field} can't be imported.",
                code="bad_field",
                hint="leave it out, and say so",
                field=field.title,
            )
    twice = [at for at, count in Counter(columns.values()).items() if count > 1]
    if twice:
        raise ToolError("One column can't fill two fields.", code="bad_arguments")
