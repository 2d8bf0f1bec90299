"""What a model reads of a long table that somebody sent: its titles and first rows. It reads more
with code, so the rows that nobody asked about cost nothing at each later turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.base.errors import ToolError
from core.base.json_text import make_storable
from core.domain.messages import File, file_kind
from core.domain.ports import Files
from core.imports.sheets import ImportSheet, read_sheets

CODE_TOOL_NAME, IMPORT_TOOL_NAME = "run_python", "nocodb_import"
MAX_WHOLE_TABLE_ROWS = 50
_SHOWN_ROWS = 5
_TABLE_SUFFIXES = (".csv", ".tsv")
_TABLE_TYPES = ("text/csv", "text/tab-separated-values", "application/csv", "application/x-csv")


async def outline_tables(files: Sequence[File], store: Files) -> list[File]:
    """Return the files, those with a table of more than `MAX_WHOLE_TABLE_ROWS` rows with its
    outline. A table that cannot be read stays as it is. Raise NotFound."""
    outlined = []
    for file in files:
        is_table = file.type.split(";")[0].strip().lower() in _TABLE_TYPES
        if file_kind(file.type, file.name) == "text" and (
            is_table or file.name.lower().endswith(_TABLE_SUFFIXES)
        ):
            try:
                _, data = await store.get(file.id)
                (sheet,) = await read_sheets(file.name, data, outline_rows=MAX_WHOLE_TABLE_ROWS)
            except (ToolError, ValueError):  # several tables are no CSV
                outlined.append(file)
                continue
            if sheet.row_count > MAX_WHOLE_TABLE_ROWS:
                file = replace(file, outline=_outline(sheet))
        outlined.append(file)
    return outlined


def _outline(sheet: ImportSheet) -> str:
    lines = [
        "\t".join("" if cell is None else " ".join(str(cell).split())[:80] for cell in cells)
        for cells in (sheet.columns, *(row.cells for row in sheet.rows[:_SHOWN_ROWS]))
    ]
    return str(make_storable("\n".join([f"{sheet.row_count} rows", *lines])))
