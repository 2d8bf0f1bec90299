"""Rows of a table as a CSV file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import tzinfo

from core.csv_text import csv_bytes
from core.text import file_name
from core.tools.nocodb.rest.records import Record
from core.tools.nocodb.schema import Field, Table
from core.tools.nocodb.values import written


def sheet(records: Iterable[Record], fields: Sequence[Field], zone: tzinfo | None) -> bytes:
    """The bytes of the file; the rows' ids come first where no field holds them."""
    keyed = any(each.type == "ID" for each in fields)
    heads = [each.title for each in fields]
    rows = [heads if keyed else ["id", *heads]]
    for record in records:
        cells = written(record, fields, zone)
        rows.append([*cells] if keyed else [record.id, *cells])
    return csv_bytes(rows)


def sheet_name(table: Table) -> str:
    return file_name(f"{table.title}.csv")
