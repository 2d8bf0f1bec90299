"""The owner's name as they wrote it on the page: one row of the table `remembered`."""

from __future__ import annotations

import json

from core.rights.rules import OWNER_ID
from core.store.database import SqlConnection, SqlStore, query, transaction

_ROW_NAME = "owner"
_KEY = f"web:{OWNER_ID}"
"""The entry of the row. Exports and deletions find personal data by such a key."""


class SqlOwnerName(SqlStore):
    """The stored name of the owner. Both methods raise NotStored."""

    @query
    def read(self, connection: SqlConnection) -> str:
        """Return the stored name, "" if there is none."""
        statement = "SELECT data FROM remembered WHERE name = ?"
        row = connection.execute(statement, (_ROW_NAME,)).fetchone()
        return str(json.loads(row["data"]).get(_KEY, "")) if row else ""

    @transaction
    def write(self, connection: SqlConnection, name: str) -> None:
        """Store the name; "" removes it."""
        data = json.dumps({_KEY: name} if name else {})
        connection.execute(
            "INSERT INTO remembered (name, data) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET data = excluded.data",
            (_ROW_NAME, data),
        ).close()
