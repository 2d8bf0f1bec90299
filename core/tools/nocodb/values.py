"""Cells as a model reads them and as a spreadsheet holds them: no addresses, no secrets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo
from typing import Any

from core.text import clean, cut, one_line
from core.tools.nocodb import cells
from core.tools.nocodb.rest.records import Record
from core.tools.nocodb.schema import Field
from core.withheld import withheld

CELL = 200
"""Characters of one cell that a model reads."""

_AS_IT_IS = {"JSON"}


def shown(
    record: Record, fields: Iterable[Field], zone: tzinfo | None, longest: int = CELL
) -> dict[str, Any]:
    """A row for a model: its id, then each field that is not empty.

    A field that is itself called "id" goes by "id (field)".
    """
    row: dict[str, Any] = {"id": record.id}
    told = withheld(dict(record.fields))
    for field in fields:
        cell = told.get(field.title)
        if field.type != "ID" and not cells.is_blank(field, cell):
            title = line(field.title)
            row["id (field)" if title == "id" else title] = _short(field, cell, zone, longest)
    return row


def written(record: Record, fields: Sequence[Field], zone: tzinfo | None) -> list[str]:
    """A row for a spreadsheet: whole cells, as text."""
    told = withheld(dict(record.fields))
    return [
        record.id if field.type == "ID" else _text(field, told.get(field.title), zone)
        for field in fields
    ]


def line(text: str, longest: int = CELL) -> str:
    """A name or a label."""
    return one_line(text, longest)


def told(moment: datetime) -> str:
    """Without its zone, which stands beside."""
    return moment.isoformat(" ", "seconds")[: len("2026-11-20 09:30:00")]


def _short(field: Field, cell: object, zone: tzinfo | None, longest: int) -> object:
    if isinstance(cell, bool | int | float):
        return cell
    return cut(_text(field, cell, zone), longest)


def _text(field: Field, cell: object, zone: tzinfo | None) -> str:
    """Links, files and people by their titles; moments in the zone of who reads.

    Links end in "…" where NocoDB may have left some out.
    """
    if field.type in cells.TIMES and (moment := cells.moment_of(cell, zone)):
        return told(moment)
    if field.type in _AS_IT_IS and isinstance(cell, str):
        return clean(cell)
    return clean(", ".join(cells.texts_of(cell))) + (" …" if cells.may_lack(field, cell) else "")
