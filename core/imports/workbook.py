"""A plan as an Excel file for the people who decide: a sheet for each kind of row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.base.i18n import say
from core.base.redaction import NO_SECRET, WITHHELD_MARK, is_secret_name
from core.base.spreadsheets import Cell, ExportColumn, encode_workbook
from core.domain.changes import ChangeStep, StepState
from core.imports.plan import Plan
from core.tools.nocodb.fieldtypes import parse_day

NOT_WRITTEN: Mapping[StepState, str] = {
    "changed": "Changed after the request",
    "failed": "Rejected",
    "unknown": "Result unknown",
    "waiting": "Not tried",
}


def encode_plan(plan: Plan, formats: Mapping[str, str], steps: Sequence[ChangeStep]) -> bytes:
    """`formats` are those of the table's fields, `steps` those that ended without a write. It takes
    seconds for a large plan."""
    titles = list(dict.fromkeys(title for row in plan.rows for title in row.after or ()))
    fields = [ExportColumn(title, formats.get(title, "")) for title in titles]
    line, id, reason = (
        ExportColumn(say("Row in the file"), "plain"),
        ExportColumn("ID"),
        ExportColumn(say("Reason")),
    )
    old = [replace(f, title=say("{field} (before)", field=f.title)) for f in fields]
    now = [replace(f, title=say("{field} (after)", field=f.title)) for f in fields]
    rows: dict[str, list[list[Cell]]] = defaultdict(list)
    for row in plan.rows:
        before, after = (
            [_show(field, (side or {}).get(field.title)) for field in fields]
            for side in (row.before, row.after)
        )
        cells: Mapping[str, list[Cell]] = {
            "new": [row.number, *after],
            "changed": [row.number, row.id, *before, *after],
            "unchanged": [row.number, row.id],
            "refused": [*row.cells, row.number, "; ".join(row.reasons)],
        }
        rows[row.kind].append(cells[row.kind])
    left = [
        [
            step.write.id,
            *(_show(f, (step.write.after or {}).get(f.title)) for f in fields),
            say(NOT_WRITTEN[step.state]),
        ]
        for step in steps
    ]
    tables: list[tuple[str, list[ExportColumn], list[list[Cell]]]] = [
        (say("New"), [line, *fields], rows["new"]),
        (say("Changed"), [line, id, *old, *now], rows["changed"]),
        (say("Unchanged"), [line, id], rows["unchanged"]),
        # Mended there, they can be sent again as they are.
        (say("Rejected rows"), [*map(ExportColumn, plan.columns), line, reason], rows["refused"]),
        (say("Not written"), [id, *fields, reason], left),
    ]
    return encode_workbook([table for table in tables if table[2]])[0]


def _show(field: ExportColumn, value: Any) -> Cell:
    if value not in NO_SECRET and is_secret_name(field.title):
        return say(WITHHELD_MARK)
    if isinstance(value, list):
        return ", ".join(str(v.get("title", "") if isinstance(v, Mapping) else v) for v in value)
    is_day = field.format == "date" and isinstance(value, str)
    return parse_day(value) or value if is_day else value
