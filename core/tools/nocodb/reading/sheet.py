"""Rows as a CSV file that any spreadsheet opens, and that cannot run anything there."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import tzinfo

from core.text import file_name
from core.tools.nocodb.rest.records import Record
from core.tools.nocodb.schema import Field, Table
from core.tools.nocodb.values import written

TYPE = "text/csv"

# A cell that begins so is a formula to a spreadsheet
# (https://owasp.org/www-community/attacks/CSV_Injection); a number may keep its sign.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def sheet(records: Iterable[Record], fields: Sequence[Field], zone: tzinfo | None) -> bytes:
    """UTF-8 with a byte order mark, without which Excel reads accents as ANSI; RFC 4180 otherwise.

    The rows' ids come first where no field holds them.
    """
    keyed = any(each.type == "ID" for each in fields)
    out = io.StringIO()
    writer = csv.writer(out)
    heads = [each.title for each in fields]
    writer.writerow(inert(each) for each in (heads if keyed else ["id", *heads]))
    for record in records:
        row = written(record, fields, zone)
        writer.writerow(inert(each) for each in (row if keyed else [record.id, *row]))
    return out.getvalue().encode("utf-8-sig")


def sheet_name(table: Table) -> str:
    return file_name(f"{table.title}.csv")


def inert(cell: str) -> str:
    """`cell` after an apostrophe, where a spreadsheet would compute it."""
    starts = cell.lstrip(" \n").startswith(_FORMULA)
    return f"'{cell}" if starts and not _NUMBER.fullmatch(cell) else cell
