"""`nocodb_import`: a spreadsheet into a table, through a dry run and one approval."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from core.base.errors import ToolError
from core.base.spreadsheets import MEDIA_TYPES
from core.base.text import fold_case, to_one_line
from core.domain.changes import FILE_KEY, Draft, RowWrite
from core.domain.ports import Tool
from core.domain.records import Outcome, ToolContext
from core.domain.rights import Viewer
from core.imports.dry_run import DryRun, Existing, Missing, TableRows, check_columns, read_key
from core.imports.notation import DateOrder, DecimalSign, Notation, parse_notation
from core.imports.plan import PLAN_TYPE, Plan, choose_examples, summarize_fields, summarize_rows
from core.imports.runs import IMPORT_APPLIER, IMPORT_KIND
from core.imports.sheets import Corrections, ImportSheet, read_sheets
from core.imports.workbook import encode_plan
from core.tools.nocodb.draft import find_file
from core.tools.nocodb.driver import RowImage, TableSchema
from core.tools.nocodb.fieldtypes import Field, cell_of, normalise_cell
from core.tools.nocodb.filters import RowSelection
from core.tools.nocodb.read import check_filter_field
from core.tools.nocodb.row_reader import ColumnChoice, RowReader
from core.tools.nocodb.schema import TableDescription
from core.tools.nocodb.source import TableSource
from core.tools.tool import FixedToolSource, FunctionTool, compact_json

MAX_TABLE_ROWS = 100_000
_SHOWN_ROWS = 5


class ImportSource(FixedToolSource):
    """Offers the tool over the tables of one source, to those to whom it offers its own."""

    name = "import"

    def __init__(self, tables: TableSource, now: Callable[[], float] = time.time) -> None:
        self._tables, self._now = tables, now
        self._reading = RowReader(tables.api, MAX_TABLE_ROWS)
        self._gate = asyncio.Lock()  # one file at a time, as each may take gigabytes
        self._tools = (
            FunctionTool(
                self.nocodb_import, effect="write", doing="is reading the file…", strict=False
            ),
        )

    async def tools(self, viewer: Viewer) -> Sequence[Tool]:
        names = {tool.spec.name for tool in await self._tables.tools(viewer)}
        return self._tools if "nocodb_create" in names else ()

    async def nocodb_import(
        self,
        ctx: ToolContext,
        file: str,
        table: str = "",
        columns: Mapping[str, str] | None = None,
        key: str = "",
        existing: Existing = "update",
        missing: Missing = "create",
        sheet: str = "",
        decimal_sign: DecimalSign = "",
        date_order: DateOrder = "",
        notations: Mapping[str, DecimalSign | DateOrder] | None = None,
        titles: int | None = None,
        encoding: str = "",
    ) -> Outcome:
        """Propose to add or change up to 10,000 rows from a CSV or Excel file sent here. Without
        `columns`, it returns the sheets and their columns. You never read or type the rows: only
        map the columns, and ask the person if two fit one field.

        Args:
            columns: the file's column for each field to fill
            key: the field that tells which rows exist already; "" adds all as new
            existing: what to do with rows that exist
            missing: what to do with rows that do not exist
            decimal_sign: only if asked for; of all columns that do not show it
            date_order: only if asked for; of all columns that do not show it
            notations: corrects the decimal sign or date order of fields
            titles: corrects which row has the titles; 0 for none, columns are then A, B, …
            encoding: corrects the encoding of a text file, such as "cp850"
        """
        if ctx.files is None:
            raise ToolError("Files can't be stored here.", code="no_files")
        found = await find_file(ctx.files, file)
        async with self._gate:
            data = await ctx.files.read(found)
            sheets = await read_sheets(found.name, data, Corrections(titles, encoding))
        if not columns or not table:
            return Outcome("ok", compact_json({"sheets": [_outline(sheet) for sheet in sheets]}))
        chosen = _choose_sheet(sheets, sheet)
        names = [*columns, *([key] if key else [])]
        layout = await self._tables.writing.find_writable_table(ctx.viewer, table, names)
        by_field = {
            layout.field(name): _find_column(chosen, title) for name, title in columns.items()
        }
        key_field = layout.field(key) if key else None
        if key_field and key_field not in by_field:
            raise ToolError("The key must be one of the columns.", code="bad_arguments")
        check_columns(by_field, key_field)
        # Which rows a key or the name of a linked row finds would reveal a secret.
        for field in filter(None, (key_field, *(field for field in by_field if field.is_link))):
            await check_filter_field(self._tables.schemas, ctx.viewer, field)
        given = {
            layout.field(name).title: parse_notation(mark)
            for name, mark in (notations or {}).items()
        }
        zone = ZoneInfo(ctx.zone)
        run = DryRun(chosen, TableSchema.of(layout), by_field, key_field, existing, missing, zone)
        marks = await asyncio.to_thread(
            run.find_notations, Notation(decimal_sign, date_order), given
        )
        keys = await asyncio.to_thread(run.list_keys, marks)
        rows = await self._read_table(ctx, layout, run, keys)
        plan = await asyncio.to_thread(run.make_plan, marks, rows)
        summary = summarize_rows(plan)
        parts = list(plan.parts())
        if not parts:
            counts = compact_json(summary)
            raise ToolError("No rows would be written: {counts}.", code="no_rows", counts=counts)
        schema, writes = await self._tables.writing.identify_rows(
            ctx.viewer, layout, [row.write for row in plan.written_rows], zone
        )
        if len(parts) == 1:  # few rows of one kind: their card shows all of them
            draft = self._tables.writing.drafts.build_draft(schema, parts[0][0], writes)
            draft = replace(draft, target={**draft.target, FILE_KEY: summary})
            outcome = await ctx.turn.propose(draft)
            return replace(outcome, text=f"{outcome.text} {compact_json(summary)}")
        if schema.card_fields:
            plan, run = plan.with_writes(writes), replace(run, schema=schema)
        stored = await ctx.files.save(f"plan {plan.digest[:12]}", PLAN_TYPE, plan.data)
        draft = self._draft(run, plan, found.name, stored.id)
        outcome = await ctx.turn.propose(draft)
        if ctx.address.is_shared:  # not all who read there may see its rows
            return outcome
        data = await asyncio.to_thread(encode_plan, plan, draft.view.formats, ())
        name = f"{outcome.proposal}.xlsx"
        return replace(outcome, files=(await ctx.files.save(name, MEDIA_TYPES["xlsx"], data),))

    async def _read_table(
        self, ctx: ToolContext, layout: TableDescription, run: DryRun, keys: Collection[str]
    ) -> TableRows:
        now, filters = datetime.fromtimestamp(self._now(), run.zone), self._tables.api.filters_rows

        async def read(table: TableDescription, field: Field) -> Sequence[tuple[str, object]]:
            selection = RowSelection.of(table, (), "all", now, filters)
            rows = await self._reading.fetch_all(selection, ColumnChoice((field,)))
            if not rows.is_complete:
                raise ToolError(
                    "{table} has more than {most} rows, too many to compare.",
                    code="too_large",
                    table=table.title,
                    most=f"{MAX_TABLE_ROWS:,}",
                )
            return [(record.id, cell_of(record, field)) for record in rows.records]

        linked: dict[str, dict[str, Sequence[Mapping[str, str]]]] = {}
        for field in (field for field in run.columns if field.is_link):
            other = await self._tables.schemas.describe_table(ctx.viewer, field.related_id)
            if other.display_field is None:
                raise ToolError("{field} can't be imported.", code="bad_field", field=field.title)
            titles = linked.setdefault(field.title, {})
            for id, cell in await read(other, other.display_field):
                key = read_key(cell)
                titles[key] = [*titles.get(key, ()), {"id": id, "title": str(cell)}]
        people = {
            field.title: list_people(cell for _, cell in await read(layout, field))
            for field in run.columns
            if field.kind == "people"
        }
        by_key: dict[str, list[tuple[str, RowImage]]] = {}
        values: dict[str, object] = {}
        if run.key is not None:
            values = {id: normalise_cell(run.key, cell) for id, cell in await read(layout, run.key)}
            ids = {id: key for id, cell in values.items() if (key := read_key(cell)) in keys}
            names = {field.title for field in run.columns if not field.is_computed}
            names |= {run.schema.name.title} if run.schema.name else set()
            images = await self._tables.rows.driver.rows(run.schema, list(ids), names)
            for id, image in images.items():
                by_key.setdefault(ids[id], []).append((id, image))
        return TableRows(by_key, linked, values, people)

    def _draft(self, run: DryRun, plan: Plan, file: str, stored: str) -> Draft:
        """The draft has the plan's numbers and samples. Its rows are in the file `stored`."""
        summary = {
            **summarize_rows(plan),
            "file": file,
            "fields": [asdict(totals) for totals in summarize_fields(plan)],
            "samples": [(row.id, row.before, row.after) for row in choose_examples(plan)],
        }
        linked = {
            f.related_title: f.related_id for f in run.columns if f.is_link and not f.holds_one
        }
        target: dict[str, Any] = {
            **run.schema.target,
            "plan": stored,
            "sha256": plan.digest,
            "applier": self._tables.rows.name,
            "planned": len(plan.written_rows),
        }
        if linked:
            target["linked_tables"] = [[title, id] for title, id in linked.items()]
        return Draft(
            IMPORT_APPLIER, IMPORT_KIND, target, run.schema.title, (RowWrite(after=summary),)
        )


def list_people(cells: Iterable[object]) -> Mapping[str, frozenset[str]]:
    """Return the addresses of the people in a column by their names."""
    people: dict[str, set[str]] = {}
    for cell in cells:
        for person in cell if isinstance(cell, list) else ():
            if isinstance(person, Mapping) and (mail := str(person.get("email") or "")):
                for name in (mail, str(person.get("display_name") or mail)):
                    people.setdefault(read_key(name), set()).add(mail.lower())
    return {name: frozenset(mails) for name, mails in people.items()}


def _outline(sheet: ImportSheet) -> Mapping[str, Any]:
    """Return what a model needs to map columns: titles, and a few cells of each."""
    shown = [
        ["" if cell is None else str(cell)[:40] for cell in row.cells]
        for row in sheet.rows[:_SHOWN_ROWS]
    ]
    outline = {
        "sheet": sheet.title,
        "columns": sheet.columns,
        "rows": len(sheet.rows),
        "first": shown,
        "notes": sheet.notes,
    }
    return outline | ({"unclear": sheet.question} if sheet.question else {})


def _choose_sheet(sheets: Sequence[ImportSheet], title: str) -> ImportSheet:
    found = [sheet for sheet in sheets if sheet.title == title] if title else list(sheets)
    if len(found) != 1:
        titles = ", ".join(repr(sheet.title) for sheet in sheets)
        raise ToolError("Which sheet?", code="unknown_sheet", hint=f"the file has {titles}")
    return found[0]


def _find_column(sheet: ImportSheet, title: str) -> int:
    """Case does not matter where only one column is meant then."""
    title = to_one_line(title, 100)
    folded = [fold_case(column) for column in sheet.columns]
    if title in sheet.columns:
        return sheet.columns.index(title)
    if folded.count(fold_case(title)) != 1:
        raise ToolError(
            "The file has no column {title}.",
            code="unknown_column",
            title=title[:80],
            hint=f"it has {', '.join(sheet.columns[:40])}",
        )
    return folded.index(fold_case(title))
