"""The owner's name as they wrote it on the page: one row of the table `remembered`."""

from __future__ import annotations

import json

from core.people.rules import OWNER_ID
from core.store.database import SqlConnection, SqlStore, query, transaction
from core.store.remembered import read_text, write_text

_ROW_NAME = "owner"
_KEY = f"web:{OWNER_ID}"
"""The entry of the row. Exports and deletions find personal data by such a key."""


class SqlOwnerName(SqlStore):
    """The stored name of the owner. Both methods raise NotStored."""

    @query
    def read(self, connection: SqlConnection) -> str:
        """Return the stored name, "" if there is none."""
        return str(json.loads(read_text(connection, _ROW_NAME) or "{}").get(_KEY, ""))

    @transaction
    def write(self, connection: SqlConnection, name: str) -> None:
        """Store the name; "" removes it."""
        write_text(connection, _ROW_NAME, json.dumps({_KEY: name} if name else {}))
