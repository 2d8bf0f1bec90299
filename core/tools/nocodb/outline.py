"""A table in a line or two for a model: its name, its fields, what they hold and lead to."""

from __future__ import annotations

from collections.abc import Mapping

from core.tools.nocodb.names import LONGEST, shown
from core.tools.nocodb.schema import Field, Table
from core.tools.nocodb.values import line

SHORT = 200
"""Characters of a table among others."""
LONG = 4_000
"""Characters of a table that was asked for by name."""
OPTIONS = 40
"""Characters of the options of a select in a short outline."""
READ_ONLY = " (read only)"

_TYPES: Mapping[str, str] = {
    "SingleLineText": "text", "LongText": "longtext", "PhoneNumber": "phone", "URL": "url",
    "SingleSelect": "select", "MultiSelect": "multiselect", "DateTime": "datetime",
    "CreatedTime": "datetime", "LastModifiedTime": "datetime", "Attachment": "files",
}  # fmt: skip
_EVERYWHERE = {"ID", "CreatedTime", "LastModifiedTime"}


def outline(table: Table, longest: int = SHORT, *, read_only: bool = False) -> str:
    """`Customers [m…]: Name*:text, Status:select(Lead|Active), Value:decimal, Orders->Orders`.

    The field with * stands for a row. `Id`, and when a row was made and changed, are left out.
    `read_only` is told behind the id.
    Cut to whole fields, with a count of those that are missing.
    """
    told = [
        _field(each, table.display, OPTIONS if longest == SHORT else longest)
        for each in table.fields
        if each.type not in _EVERYWHERE
    ]
    head = f"{shown(table.title)} [{table.id}]{READ_ONLY if read_only else ''}: "
    for kept in range(len(told), 0, -1):
        rest = len(told) - kept
        text = head + ", ".join(told[:kept]) + (f", and {rest} more" if rest else "")
        if len(text) <= longest:
            return text
    return f"{head}{len(told)} fields"


def _field(field: Field, display: str, room: int) -> str:
    name = shown(field.title) + ("*" if field.id == display else "")
    if field.is_link:
        return f"{name}->{shown(field.related_title)}"
    kind = _TYPES.get(field.type, field.type.lower())
    return f"{name}:{kind}{_options(field, room)}"


def _options(field: Field, room: int) -> str:
    if not field.options:
        return ""
    told = [line(each, LONGEST) for each in field.options]
    for kept in range(len(told), 0, -1):
        text = "|".join(told[:kept]) + ("|…" if kept < len(told) else "")
        if len(text) <= room:
            return f"({text})"
    return f"({len(told)} options)"
