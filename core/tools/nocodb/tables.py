"""`nocodb_tables`: which tables there are, each in a line or two, and their columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core.changes.approval import TableRules
from core.tools.nocodb.api import NocoApi, NocoError, Record
from core.tools.nocodb.fieldtypes import Field, line
from core.tools.nocodb.schema import LONGEST, Schemas, Table, shown
from core.tools.tool import FunctionTool

SHORT = 200
"""Characters of a table among others."""
LONG = 4_000
"""Characters of a table that was asked for by name."""
OPTIONS = 40
"""Characters of the options of a select in a short outline."""
FEW = 40
"""Tables that are told with their columns unasked, and names that stand in the description."""
ASKED = 10
"""Tables in one call."""
READ_ONLY = " (read only)"

_EVERYWHERE = {"ID", "CreatedTime", "LastModifiedTime"}
"""Types of the fields that every table has."""

_DESCRIPTION = """\
The tables of the team's NocoDB base {base} with their columns: `Name*:text` stands for the row, \
`select(a|b)` takes one of these, `Orders->Orders` links to rows of that table. Each has Id, and \
mostly CreatedAt and UpdatedAt. Tables: {tables}. Other tools take tables and fields by these \
names, as they are written. {writing}"""
_UNKNOWN = "(ask for them)"


def outline(table: Table, longest: int = SHORT, *, read_only: bool = False) -> str:
    """`Customers [m…]: Name*:text, Status:select(Lead|Active), Value:decimal, Orders->Orders`.

    The field with * stands for a row. `Id`, and when a row was made and changed, are left out.
    `read_only` is told behind the id. Cut to whole fields, with a count of those that are missing.
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


class Tables:
    """The function that becomes the tool."""

    def __init__(self, schemas: Schemas, rules: TableRules) -> None:
        self._schemas = schemas
        self._rules = rules

    async def nocodb_tables(self, tables: Sequence[str] = ()) -> str:
        """The tables of the team's NocoDB base.

        Args:
            tables: names of tables to see all columns of, at most 10; null for all tables in short
        """
        if tables:
            told = [await self._schemas.table(name) for name in tables[:ASKED]]
            return "\n".join(self._outline(table, LONG) for table in dict.fromkeys(told))
        names = await self._schemas.names()
        if not names:
            return "There are no tables in this base."
        if len(names) <= FEW:
            return "\n".join(self._outline(table) for table in await self._schemas.tables())
        listed = "\n".join(f"{shown(each.title)} [{each.id}]" for each in names)
        return f"{len(names)} tables; ask for columns with `tables`.\n{listed}"

    def _outline(self, table: Table, longest: int = SHORT) -> str:
        read_only = self._rules.read_only(table.title, table.id)
        return outline(table, longest, read_only=read_only)


def tables_tool(
    schemas: Schemas, rules: TableRules, base: str, titles: Sequence[str], writing: str
) -> FunctionTool:
    """As it tells of those tables; the same for the same words, so that prompts can be cached."""
    named = [shown(title) for title in titles[:FEW]]
    if len(titles) > FEW:
        named.append(f"and {len(titles) - FEW} more")
    description = _DESCRIPTION.format(
        base=shown(base), tables=", ".join(named) or _UNKNOWN, writing=writing
    )
    return FunctionTool.of(
        Tables(schemas, rules).nocodb_tables,
        effect="read", doing="is looking at the tables…", description=description.strip(),
    )  # fmt: skip


def check_titles(
    api: NocoApi, table: Table, asked: Iterable[Field], told: Sequence[Record]
) -> None:
    """Raises NocoError `renamed`, and has all descriptions asked anew, where a title that was asked
    for is missing and one has come that the table did not have.

    Fields are asked for by id, which stays; NocoDB answers by title, and tells of no new name.
    """
    titles = told[0].fields.keys() if told else set()
    known = {each.title for each in (*table.fields, *table.concealed)}
    if titles - known and any(each.title not in titles for each in asked if each.type != "ID"):
        api.drifted()
        raise NocoError(
            "Fields of the table {table} were renamed a moment ago.",
            code="renamed", hint="look at nocodb_tables, then call again with the names of now",
            table=table.title,
        )  # fmt: skip


def _field(field: Field, display: str, room: int) -> str:
    name = shown(field.title) + ("*" if field.id == display else "")
    if field.is_link:
        return f"{name}->{shown(field.related_title)}"
    kind = field.of.word or field.type.lower()
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
