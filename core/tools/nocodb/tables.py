"""`nocodb_tables`: which tables there are, and their columns when a model asks for them."""

from __future__ import annotations

from collections.abc import Sequence

from core.table_rules import TableRules
from core.tools.nocodb.names import shown
from core.tools.nocodb.outline import LONG, SHORT, outline
from core.tools.nocodb.schema import Table
from core.tools.nocodb.schemas import Schemas
from core.tools.tool import FunctionTool

FEW = 40
"""Tables that are told with their columns unasked, and names that stand in the description."""
ASKED = 10
"""Tables in one call."""

_DESCRIPTION = """\
The tables of the team's NocoDB base {base} with their columns: `Name*:text` stands for the row, \
`select(a|b)` takes one of these, `Orders->Orders` links to rows of that table. Each has Id, and \
mostly CreatedAt and UpdatedAt. Tables: {tables}. Other tools take tables and fields by these \
names, as they are written. {writing}"""
_UNKNOWN = "(ask for them)"


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
