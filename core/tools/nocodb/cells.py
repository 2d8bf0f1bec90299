"""Shows NocoDB's cells: to a model, to a person and in a CSV file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from core.base.i18n import format_size, say
from core.base.redaction import is_secret_name
from core.base.spreadsheets import Cell
from core.base.text import clean_text, compose_letters, to_one_line, truncate
from core.base.value_formats import NUMBER_KINDS, format_kind, format_value
from core.base.value_formats import parse_number as parse_number
from core.tools.nocodb.api import NocoRecord
from core.tools.nocodb.fieldtypes import (
    EMPTY_CELLS,
    MAX_CELL_CHARACTERS,
    Field,
    Zone,
    is_blank,
    may_be_incomplete,
    normalise_cell,
    open_cell,
    parse_day,
    parse_moment,
    stored_time,
)

_PERSON = ("display_name", "email")


def cell_texts(cell: object) -> tuple[str, ...]:
    """Return all texts that represent the cell: its text, or the titles of links, files and people.
    They are in composed letters, because é can be stored as one character or as two, and texts are
    compared."""
    if cell is None:
        return ()
    if isinstance(cell, list | tuple):
        return tuple(text for member in cell for text in cell_texts(member))
    if isinstance(cell, Mapping):
        return (compose_letters(cell_title(cell)),)
    return (str(cell).lower() if isinstance(cell, bool) else compose_letters(str(cell)),)


def cell_title(cell: Mapping[str, object]) -> str:
    """Return the title of a linked row, a file or a person; never the address at which a file can
    be loaded.

    A linked row is {"id", "fields": {display: value}}. One whose display field is secret goes by
    its id.
    """
    fields = cell.get("fields")
    if isinstance(fields, Mapping):
        values = (value for name, value in fields.items() if not is_secret_name(name))
        named = next((text for value in values for text in cell_texts(value)), "")
        return named or str(cell.get("id", ""))
    # A file has a title, a person a display name or only a mail address.
    for key in ("title", "display_name", "email", "name", "Title", "Name"):
        if isinstance(title := cell.get(key), str) and title:
            return title
    return str(cell.get("id", ""))


def people_texts(cell: object) -> tuple[str, ...]:
    people = cell if isinstance(cell, list) else [cell]
    texts = [person.get(key) for person in people if isinstance(person, Mapping) for key in _PERSON]
    return tuple(compose_letters(text) for text in texts if isinstance(text, str) and text)


def format_row(
    record: NocoRecord, fields: Iterable[Field], zone: Zone, limit: int = MAX_CELL_CHARACTERS
) -> dict[str, Any]:
    """`open_cell` removes signed addresses and puts a mark in place of a secret. `limit`: the
    characters of a cell. A field that is itself called "id" gets the key "id (field)"."""
    row: dict[str, Any] = {"id": record.id}
    for field in fields:
        cell = open_cell(record, field)
        if field.type != "ID" and not is_blank(field, cell):
            title = format_label(field.title)
            plain_cell = isinstance(cell, bool | int | float)
            row["id (field)" if title == "id" else title] = (
                cell if plain_cell else truncate(_format_cell(field, cell, zone), limit)
            )
    return row


def format_display_row(
    record: NocoRecord, fields: Sequence[Field], zone: Zone, this_year: int | None = None
) -> list[str]:
    """With `this_year`, a day of that year is written without it. `open_cell` takes out secrets and
    signed addresses."""

    def format(field: Field, cell: object, year: int | None = this_year) -> str:
        """A lookup can hold several values: each is formatted by itself, and dates then keep their
        years, which may differ."""
        if field.type == "Lookup" and isinstance(cell, list | tuple):
            return ", ".join(
                format(field, member, year if len(cell) == 1 else None) for member in cell
            )
        value = export_cell(field, cell, zone)
        # None: the language of the current task. Truth values are words, an empty cell is "".
        return (
            format_value(value, field.format, None, year)
            if not isinstance(value, bool | None)
            else ""
            if value is None
            else say("Yes")
            if value
            else say("No")
        )

    return [
        record.id if field.type == "ID" else format(field, open_cell(record, field))
        for field in fields
    ]


def export_row(record: NocoRecord, fields: Sequence[Field], zone: Zone) -> list[Cell]:
    """Return whole cells with their own types, for a file."""
    return [
        _parse_id(record.id)
        if field.type == "ID"
        else export_cell(field, open_cell(record, field), zone)
        for field in fields
    ]


def export_cell(field: Field, cell: object, zone: Zone) -> Cell:
    """Return a cell as a number, truth value, day, moment (in `zone`) or text; None if it is
    empty. A spreadsheet then gets cells of these types.

    A text becomes a number only in a field of numbers: "007" elsewhere stays text. A lookup that
    shows one value is that value."""
    if field.type == "Lookup" and isinstance(cell, list | tuple) and len(cell) == 1:
        (cell,) = cell
    # Before `EMPTY_CELLS`: in a checkbox, "" is False and not an empty cell.
    if field.kind == "check" and cell is not None:
        return bool(normalise_cell(field, cell))
    if cell in EMPTY_CELLS:
        return None
    # A lookup or formula has no kind of its own, but the format of the field whose values it shows.
    # Days are the kind "day" and the format "date"; moments have one name for both.
    if "moment" in (field.kind, field.format):
        return parse_moment(cell, zone) or _format_cell(field, cell, zone)
    if field.kind == "day" or field.format == "date":
        return parse_day(cell) or _format_cell(field, cell, zone)
    if isinstance(cell, bool | int | float):
        return cell
    number = parse_number(cell) if format_kind(field.format) in NUMBER_KINDS else None
    return number if number is not None else _format_cell(field, cell, zone)


def _parse_id(id: str) -> Cell:
    return int(id) if id.isascii() and id.isdecimal() and str(int(id)) == id else id


def format_label(text: str, max_characters: int = MAX_CELL_CHARACTERS) -> str:
    return to_one_line(text, max_characters)


def format_moment(moment: datetime) -> str:
    """Return the time to the second and without its zone: the zone is named once for all."""
    return moment.isoformat(" ", "seconds")[: len("2026-11-20 09:30:00")]


def describe_file(file: object) -> str:
    name = ", ".join(cell_texts(file))
    size = file.get("size") if isinstance(file, Mapping) else None
    return f"{name} ({format_size(size)})" if isinstance(size, int) else name


def _format_cell(field: Field, cell: object, zone: Zone) -> str:
    """Return a cell as text: links, files and people by title, moments in `zone`, several values
    separated by commas.

    A link ends in "…" if NocoDB may have left rows out. A text that is no moment stays as it is.
    """
    # By `format`: a lookup of moments has them too, in a list.
    if "moment" in (field.kind, field.format):
        members = cell if isinstance(cell, list | tuple) else [cell]
        moments = [(member, parse_moment(member, zone)) for member in members]
        cell = [format_moment(moment) if moment else member for member, moment in moments]
    if field.type == "Time":  # NocoDB puts a day before it
        cell = stored_time(cell)
    if field.field_type.file and isinstance(cell, list):
        cell = [describe_file(file) for file in cell]
    mark = " …" if may_be_incomplete(field, cell) else ""
    return clean_text(", ".join(cell_texts(cell))) + mark
