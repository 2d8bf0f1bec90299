"""What stands in a cell, as NocoDB's JSON tells it: its number, its moment, its words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal, InvalidOperation

from core.tools.nocodb.schema import Field

CUTS = (5, 25)
"""Rows at which a link cell ends without a sign that there are more: at 25 on NocoDB 0.301.3, at 5
on its versions of 2026 (https://github.com/nocodb/nocodb/issues/13616)."""

NUMBERS = frozenset(
    {*("Number", "Decimal", "Currency", "Percent", "Rating", "Duration", "Year"),
     *("AutoNumber", "Rollup", "Count", "Links")}
)  # fmt: skip
TIMES = frozenset({"DateTime", "CreatedTime", "LastModifiedTime"})
_PERSON = ("display_name", "email")
PEOPLE = frozenset({"User", "CreatedBy", "LastModifiedBy", "Collaborator"})


def is_blank(field: Field, cell: object) -> bool:
    """As NocoDB sees it; a link that only counts its rows is blank at none."""
    return cell is None or cell in ("", [], {}) or (field.type == "Links" and cell == 0)


def may_lack(field: Field, cell: object) -> bool:
    """Whether the row may link to more rows than a link cell of NocoDB's, a list, tells."""
    return field.is_link and isinstance(cell, list) and len(cell) in CUTS


def number_of(cell: object) -> Decimal | None:
    """Exactly as it was written: a float's shortest form is what the table shows."""
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return None
    try:
        number = Decimal(str(cell).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def moment_of(cell: object, zone: tzinfo | None) -> datetime | None:
    """A date-time in `zone`; NocoDB tells them in UTC."""
    if not isinstance(cell, str):
        return None
    try:
        told = datetime.fromisoformat(cell)
    except ValueError:
        return None
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).astimezone(zone)


def day_of(cell: object) -> date | None:
    """A plain date, which belongs to no zone."""
    try:
        return date.fromisoformat(cell[:10]) if isinstance(cell, str) else None
    except ValueError:
        return None


def texts_of(cell: object) -> tuple[str, ...]:
    """Every word that stands for the cell: its text, the titles of links, files, people."""
    if cell is None:
        return ()
    if isinstance(cell, list | tuple):
        return tuple(text for each in cell for text in texts_of(each))
    if isinstance(cell, Mapping):
        return (title_of(cell),)
    if isinstance(cell, bool):
        return ("true" if cell else "false",)
    return (str(cell),)


def title_of(cell: Mapping[str, object]) -> str:
    """Of a linked row ({"id", "fields": {display: value}}), a file, a person; never an address."""
    fields = cell.get("fields")
    if isinstance(fields, Mapping):
        named = next((text for value in fields.values() for text in texts_of(value)), "")
        return named or str(cell.get("id", ""))
    for key in ("title", "display_name", "email", "name", "Title", "Name"):
        if isinstance(told := cell.get(key), str) and told:
            return told
    return str(cell.get("id", ""))


def people_of(cell: object) -> tuple[str, ...]:
    """Names and mail addresses: {"id", "email", "display_name"}, or a list of them."""
    each = cell if isinstance(cell, list) else [cell]
    told = [one.get(key) for one in each if isinstance(one, Mapping) for key in _PERSON]
    return tuple(text for text in told if isinstance(text, str) and text)
