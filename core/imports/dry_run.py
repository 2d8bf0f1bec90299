"""The dry run of an import: each row of a file beside the row of the table that has its key. It
writes nothing."""

from __future__ import annotations

import secrets
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, time, tzinfo
from typing import Any, Literal

from core.base.errors import ToolError
from core.base.i18n import say
from core.base.text import clean_text, compose_letters, fold_case
from core.base.value_formats import parse_number
from core.imports.cells import CellError, SheetCell, ShownNumber
from core.imports.head import SheetRow
from core.imports.notation import CODE_TYPES, Notation, describe_notations, find_notations
from core.imports.plan import Plan, PlanRow
from core.imports.sheets import ImportSheet
from core.imports.values import check_cell, read_value, split_names
from core.tools.nocodb.driver import EXCLUSIVE_RELATIONS, RowImage, TableSchema
from core.tools.nocodb.fieldtypes import (
    Field,
    counts_rows,
    in_time_zone,
    is_same_entry,
    linked_ids,
    value_error,
    without_empty,
)

Existing = Literal["update", "skip"]
Missing = Literal["create", "refuse"]
Notations = Mapping[str, Notation]
MAX_NOTED_KEYS = 5
CUT_LIST_MARK = " …"
"""How a list of linked rows ends in Ponte's files that may have more of them."""
_NO_SUCH_ROW = "{table} has no row called “{title}”."
_SEVERAL_ROWS = "{table} has several rows called “{title}”."
_COUNT = "{field}: the file has the number of linked rows, and not their names."
_CUT_LIST = "{field}: the list of linked rows is cut."
_TWICE = "The key {key} is in rows {rows} of the file."
_TWICE_IN_TABLE = "The table has several rows with the key {key}."
_NO_KEY = "{field}, which identifies the row, is empty."
_NOT_THERE = "The table has no row with the key {key}."
_ZEROS = "The key {key} looks like {stored}. Excel leaves out zeros at the beginning."
_SIMILAR = str.maketrans("‐‑‒–—−’‘ʼ`´", "------'''''")
_EMPTY = "The row is empty."
_TAKEN_FOR = "Row {row}: “{key}” is taken for “{stored}”."


@dataclass(frozen=True, slots=True)
class TableRows:
    """The rows of a table as an import needs them: by the value of the key, the value itself by the
    row's id, the ids of linked rows by their title, for each link, and the addresses of people by
    their names, for each field of people."""

    by_key: Mapping[str, Sequence[tuple[str, RowImage]]]
    linked: Mapping[str, Mapping[str, Sequence[Mapping[str, str]]]]
    keys: Mapping[str, object]
    people: Mapping[str, Mapping[str, frozenset[str]]]


def read_key(value: object) -> str:
    """Return what is equal for the values that name one row: 12 and 12.0, "Ana" and "ana ",
    and those that differ in the form of a dash or an apostrophe."""
    return fold_case(show_key(value).translate(_SIMILAR))


def show_key(value: object) -> str:
    """Return a key as people see it: without letters that nobody sees, and with one kind of white
    space."""
    if isinstance(value, int | float) and (number := parse_number(value)) is not None:
        return f"{number.normalize():f}"
    text = compose_letters("" if value is None else str(value))
    if not text.isascii():
        text = "".join(letter for letter in text if not _is_unseen(letter))
    return " ".join(clean_text(text).split())


def _is_unseen(letter: str) -> bool:
    """Variation selectors choose the form of an emoji."""
    return unicodedata.category(letter) == "Cf" or letter in "\u034f\u115f\u1160\ufe0e\ufe0f"


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

    def find_notations(self, usual: Notation, given: Notations) -> Notations:
        """Raise ToolError, which asks all at once that the file does not show."""
        columns = [
            (field, [row.cells[at] for row in self.sheet.rows])
            for field, at in self.columns.items()
        ]
        notations, questions = find_notations(columns, usual, given)
        questions += [self.sheet.question] if self.sheet.question else []
        if questions:
            raise ToolError(
                "Some of the file isn't clear. {questions}",
                code="ambiguous",
                hint="ask the person all of it in one question, then call again with `notations` "
                "(or `decimal_sign`, `date_order` for all columns), `titles`, `encoding`",
                questions=" ".join(questions),
            )
        return notations

    def list_keys(self, notations: Notations) -> set[str]:
        """Return the keys of the rows that can be read."""
        if self.key is None:
            return set()
        keys, at = set[str](), self.columns[self.key]
        notation = notations.get(self.key.title, Notation())
        for row in self.sheet.rows:
            with suppress(ToolError):
                keys.add(read_key(self._read_cell(self.key, row.cells[at], notation)))
        return keys

    def _read_cell(self, column: Field, cell: SheetCell, notation: Notation) -> Any:
        if column.type == "ID":
            check_cell(column, cell)
            return cell.value if isinstance(cell, ShownNumber) else cell
        return read_value(column, cell, notation, self.zone)

    def make_plan(self, notations: Notations, table: TableRows) -> Plan:
        """It takes seconds for a large file."""
        read = [(row, *self._read_row(row, notations, table)) for row in self.sheet.rows]
        found = {
            row.number: self._find_rows(values.get(self.key.title), table)
            for row, values, _ in read
            if self.key
        }
        is_code = self.key is not None and self.key.type in CODE_TYPES
        codes = (
            {read_key(code).lstrip("0"): code for code in table.keys.values()} if is_code else {}
        )
        uses: dict[str, list[int]] = {}
        for row, values, _ in read:
            if self.key and (key := read_key(values.get(self.key.title))):
                stored = found[row.number]
                uses.setdefault(_name_use(key, stored), []).append(row.number)
        rows, notes = list[PlanRow](), list[str]()
        for row, values, reasons in read:
            if not reasons and not without_empty(values):
                reasons = [say(_EMPTY)]
            key = read_key(values.get(self.key.title)) if self.key else ""
            if self.key and not reasons:
                shown, stored = values.get(self.key.title), found[row.number]
                numbers = uses.get(_name_use(key, stored), [])
                if not key and not self._makes_ids:
                    reasons = [say(_NO_KEY, field=self.key.title)]
                elif len(numbers) > 1:
                    listed = ", ".join(map(str, numbers[:5]))
                    reasons = [say(_TWICE, key=shown, rows=listed)]
                elif len(stored) > 1:
                    reasons = [say(_TWICE_IN_TABLE, key=shown)]
                elif stored:
                    notes += self._note_key(row, shown, table.keys.get(stored[0][0], shown))
                    rows.append(self._compare(row.number, values, *stored[0]))
                    continue
                elif key.isdecimal() and (code := codes.get(key.lstrip("0"))):
                    reasons = [say(_ZEROS, key=shown, stored=show_key(code))]
                elif self.missing == "refuse" or (key and self.key.type == "ID"):
                    reasons = [say(_NOT_THERE, key=shown)]
            written = self._without_id(values)
            if not reasons:
                reasons = self._refuse_cut_lists(row, written) or (
                    [] if without_empty(written) else [say(_EMPTY)]
                )
            if reasons:
                cells = tuple(_plain(cell) for cell in row.cells)
                rows.append(PlanRow(row.number, "refused", reasons=tuple(reasons), cells=cells))
            else:
                rows.append(PlanRow(row.number, "new", after=without_empty(written)))
        if len(notes) > MAX_NOTED_KEYS:
            more = say("{count} more.", count=len(notes) - MAX_NOTED_KEYS)
            notes = [*notes[:MAX_NOTED_KEYS], more]
        if any(column.kind == "moment" for column in self.columns):
            notes = [say("Times in {zone}.", zone=self.zone), *notes]
        plan_notes = (*self.sheet.notes, *describe_notations(notations), *notes)
        salt = secrets.token_hex(16) if any(field.is_secret for field in self.columns) else ""
        return Plan(self.sheet.columns, tuple(rows), plan_notes, salt)

    @property
    def _makes_ids(self) -> bool:
        """True if rows without a key are new, because the table gives them their ids."""
        return self.key is not None and self.key.type == "ID" and self.missing == "create"

    def _without_id(self, values: dict[str, Any]) -> dict[str, Any]:
        is_id = self.key is not None and self.key.type == "ID"
        title = self.key.title if self.key else ""
        return {n: v for n, v in values.items() if n != title} if is_id else values

    def _find_rows(self, value: object, table: TableRows) -> Sequence[tuple[str, RowImage]]:
        """Case does not matter where only one row is meant then."""
        rows = table.by_key.get(read_key(value), ())
        exact = [row for row in rows if show_key(table.keys.get(row[0], value)) == show_key(value)]
        return exact or rows

    def _note_key(self, row: SheetRow, key: object, stored: object) -> list[str]:
        if show_key(key) == show_key(stored):
            return []
        return [say(_TAKEN_FOR, row=row.number, key=show_key(key), stored=show_key(stored))]

    def _refuse_cut_lists(self, row: SheetRow, values: Mapping[str, Any]) -> list[str]:
        return [
            say(_CUT_LIST, field=link.title)
            for link, at in self.columns.items()
            if link.is_link
            and values.get(link.title)
            and str(row.cells[at]).endswith(CUT_LIST_MARK)
        ]

    def _read_row(
        self, row: SheetRow, notations: Notations, table: TableRows
    ) -> tuple[dict[str, Any], list[str]]:
        values, reasons = dict[str, Any](), [row.fault] if row.fault else list[str]()
        for column, at in self.columns.items():
            cell, notation = row.cells[at], notations.get(column.title, Notation())
            try:
                if cell is None:
                    values[column.title] = None
                elif column.is_link:
                    values[column.title] = _find_linked(column, cell, table)
                elif column.kind == "people" and isinstance(cell, str):
                    names = _find_people(column, cell, table)
                    values[column.title] = read_value(column, names, notation, self.zone)
                else:
                    values[column.title] = self._read_cell(column, cell, notation)
            except ToolError as error:
                if not row.fault:
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
            # A secret counts as changed: otherwise its value could be guessed.
            elif new not in (None, "", []) and (
                field.is_secret or not self._looks_same(field, new, old)
            ):
                changed[field.title] = new
        if self.existing == "skip" or not changed:
            return PlanRow(number, "unchanged", id)
        before = {
            **self.schema.display_cell(stored),
            **{name: stored.get(name) for name in changed},
        }
        return PlanRow(number, "changed", id, before, changed)

    def _looks_same(self, field: Field, new: Any, old: Any) -> bool:
        """Files hold moments to the second and without a zone, numbers of 15 digits, and no white
        space around texts or letters that nobody sees."""
        if is_same_entry(new, old):
            return True
        if isinstance(new, int | float) and isinstance(old, int | float):
            return f"{new:.15g}" == f"{old:.15g}"
        if not isinstance(new, str) or not isinstance(old, str):
            return False
        if field.kind == "moment":
            times = (in_time_zone(field, moment, self.zone)[:19] for moment in (new, old))
            return len(set(times)) == 1
        return _show_text(new) == _show_text(old)


def _name_use(key: str, stored: Sequence[tuple[str, RowImage]]) -> str:
    """Return what is equal for the rows of a file that mean one row of the table."""
    return f"id {stored[0][0]}" if len(stored) == 1 else f"key {key}"


def _show_text(text: str) -> str:
    return compose_letters(clean_text(text)).strip()


def _find_linked(field: Field, cell: SheetCell, table: TableRows) -> list[Mapping[str, str]]:
    check_cell(field, cell)
    titles = table.linked[field.title]
    text = _text(cell).removesuffix(CUT_LIST_MARK)
    is_whole = field.holds_one or read_key(text) in titles
    found = list[Mapping[str, str]]()
    for title in [text] if is_whole else split_names(text, lambda name: read_key(name) in titles):
        rows = titles.get(read_key(title), ())
        # Case matters where it tells rows apart.
        exact = [row for row in rows if show_key(row["title"]) == show_key(title)]
        rows = exact if len(exact) == 1 else rows
        if not rows and counts_rows(field) and text.isdecimal():
            raise value_error(field, _COUNT)
        if len(rows) != 1:
            sentence = _SEVERAL_ROWS if rows else _NO_SUCH_ROW
            raise ToolError(sentence, table=field.related_title or field.title, title=title)
        found += rows
    return found


def _find_people(field: Field, cell: str, table: TableRows) -> str:
    """Return the addresses of the people who are named in a cell by their names or addresses."""
    known = table.people.get(field.title, {})
    addresses = list[str]()
    for name in split_names(cell, lambda name: read_key(name) in known):
        found = known.get(read_key(name), frozenset())
        if len(found) > 1:
            raise value_error(field, "{field}: several people are called “{name}”.", name=name)
        addresses += [*found] or [name]
    return ", ".join(addresses)


def _text(cell: SheetCell) -> str:
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return show_key(cell)
    return str(cell)


def _plain(cell: SheetCell) -> Any:
    if isinstance(cell, CellError | ShownNumber):
        return cell.text
    return cell.isoformat() if isinstance(cell, date | time) else cell


def check_columns(columns: Mapping[Field, int], key: Field | None = None) -> None:
    """Raise ToolError for fields that a file cannot fill. An id may be the key."""
    for field in columns:
        if field.is_computed and not (field == key and field.type == "ID"):
            raise ToolError(
                "{field} is filled in automatically, so it can't be imported.",
                code="computed_field",
                hint="leave it out, and say so; an id may be the key",
                field=field.title,
            )
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
