"""Rows of a card: names, values in the reader's format, and when they become a table."""

from __future__ import annotations

from typing import Any

import pytest

from core.base.i18n import use_locale
from core.changes.card_rows import CardRow, FieldChange, build_rows, read_rows, tabulate
from core.domain.changes import Change, RowWrite
from tests.core.changes.test_cards import change

TARGET = {
    "display_field": "Number",
    "formats": {"Number": "", "Amount": "number", "Share": "percent", "Paid on": "date",
                "Seen": "moment", "Code": ""},
}  # fmt: skip
BEFORE = {"Number": "2026-0412", "Amount": 1850.75, "Share": 5, "Paid on": None, "Seen": None}
AFTER = {"Number": "2026-0412", "Amount": 2480, "Share": 12.5, "Paid on": "2026-11-18",
         "Seen": "2026-11-20 14:30:00+00:00", "Code": "2026-01-01", "Done": True}  # fmt: skip


def typed_change(kind: Any, *rows: RowWrite) -> Change:
    made = change(kind, *rows)
    draft = made.draft
    from dataclasses import replace

    return replace(made, proposal=replace(made.proposal, draft=replace(draft, target=TARGET)))


@pytest.mark.parametrize(
    ("locale", "told"),
    [
        ("en", "Amount: 1,850.75 → 2,480 · Share: 5% → 12.5% · Paid on: – → Nov 18, 2026 · "
         "Seen: – → Nov 20, 2026, 2:30\u202fPM UTC · Code: – → 2026-01-01 · Done: – → Yes"),
        ("pt-BR", "Amount: 1.850,75 → 2.480 · Share: 5% → 12,5% · Paid on: – → 18 de nov. de 2026"
         " · Seen: – → 20 de nov. de 2026, 14:30 UTC · Code: – → 2026-01-01 · Done: – → Sim"),
        ("fr", "Amount: 1\u202f850,75 → 2\u202f480 · Share: 5\u202f% → 12,5\u202f% · "
         "Paid on: – → 18 nov. 2026 · Seen: – → 20 nov. 2026, 14:30 UTC · "
         "Code: – → 2026-01-01 · Done: – → Oui"),
    ],
)  # fmt: skip
def test_values_are_in_the_format_of_the_reader(locale: str, told: str) -> None:
    with use_locale(locale):
        (row,) = read_rows(build_rows(typed_change("update", RowWrite("1", BEFORE, AFTER))))
    assert (row.name, row.name_field, row.text) == ("2026-0412", "Number", told)


def test_dates_of_unknown_fields_are_recognised_and_numbers_stay() -> None:
    made = change("update", RowWrite("1", {"Year": 2025}, {"Year": 2026, "Due": "2026-11-18"}))
    (row,) = read_rows(build_rows(made))
    assert row.text == "Year: 2025 → 2026 · Due: – → Nov 18, 2026"


def test_a_row_without_a_name_is_named_by_its_id() -> None:
    (row,) = read_rows(build_rows(change("delete", RowWrite("7", before={"Age": 4}))))
    assert (row.name, row.text) == ("7", "Age: 4")


def rows(
    count: int, fields: int = 1, before: str | None = "a", after: str | None = "b"
) -> list[CardRow]:
    changes = tuple(FieldChange(f"F{n}", before, after) for n in range(fields))
    return [CardRow(f"row {n}", "Name", changes) for n in range(count)]


def test_three_rows_become_a_table() -> None:
    assert tabulate(rows(2)) is None
    table = tabulate(rows(3))
    assert table is not None
    assert table.header == ("Name", "F0")
    assert table.rows[2] == ("row 2", (FieldChange("F0", "a", "b"),))


def test_a_table_hides_no_change() -> None:
    assert tabulate(rows(3, fields=5)) is not None
    assert tabulate(rows(3, fields=6)) is None


def test_two_deleted_rows_are_a_table_and_lose_no_field() -> None:
    table = tabulate(rows(2, fields=5, after=None))
    assert table is not None
    assert len(table.header) == 6
    assert tabulate(rows(2, fields=6, after=None)) is None
