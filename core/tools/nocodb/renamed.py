"""Fields that were renamed since their table was described.

They are asked for by id, which stays; NocoDB answers by title, and says nothing of the change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core.tools.nocodb.rest.api import NocoApi
from core.tools.nocodb.rest.error import NocoError
from core.tools.nocodb.rest.records import Record
from core.tools.nocodb.schema import Field, Table


def check_titles(
    api: NocoApi, table: Table, asked: Iterable[Field], told: Sequence[Record]
) -> None:
    """Raises NocoError `renamed`, and has all descriptions asked anew, where a title that was asked
    for is missing and one has come that the table did not have."""
    titles = told[0].fields.keys() if told else set()
    known = {each.title for each in (*table.fields, *table.concealed)}
    if titles - known and any(each.title not in titles for each in asked if each.type != "ID"):
        api.drifted()
        raise NocoError(
            "Fields of the table {table} were renamed a moment ago.",
            code="renamed", hint="look at nocodb_tables, then call again with the names of now",
            table=table.title,
        )  # fmt: skip
