"""Compare the schema of a SQLite file with the schema that the migrations create.

A file from outside can contain triggers, views or tables that act when Ponte uses the file. This
module only reads the list of schema entries, so nothing in the file runs.
"""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from core.store.schema import Migration

SchemaEntry = tuple[str, str, str]
"""The columns `type`, `name` and `tbl_name` of `sqlite_master`."""
_TABLE = re.compile(r"(CREATE TABLE [^(]*)\((.*)\)([^)]*)")
_TOP_LEVEL_COMMA = re.compile(r",(?![^(]*\))")
_ADDED_COLUMN = re.compile(r"ALTER TABLE (\w+) ADD COLUMN (.*)")
_ADDED_INDEX = re.compile(r"(CREATE INDEX (\w+) .*)")


def find_foreign_entry(path: Path, migrations: Sequence[Migration]) -> str:
    """Return the name of the first entry that differs from the schema of `migrations`, or "".

    An entry differs if the migrations do not create it, create it with other SQL, or create it but
    the file lacks it. Late parts of a migration (`Migration.late`) may be missing, may have the SQL
    with which they were added, and may follow the other columns. Raises sqlite3.Error for a damaged
    file.
    """
    with closing(sqlite3.connect(path)) as connection:
        found = _read_entries(connection)
    with closing(sqlite3.connect(":memory:")) as connection:
        for step in migrations:
            connection.executescript(step.script)
        expected = _read_entries(connection)
    late = _parse_late(migrations)
    for entry in sorted(found.keys() | expected.keys()):
        kind, name, _ = entry
        parts, wanted = found.get(entry), expected.get(entry)
        added = late.get(name, frozenset())
        if parts is None:
            if kind != "index" or not added:
                return name
        elif wanted is None or not parts - wanted <= added:
            return name
        else:
            optional = {part.split()[0] for part in added}
            if any(part.split()[0] not in optional for part in wanted - parts):
                return name
    return ""


def _read_entries(connection: sqlite3.Connection) -> Mapping[SchemaEntry, frozenset[str]]:
    """Return the parts of each schema entry's SQL (see `_parse`)."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
    return {
        (str(kind), str(name), str(table)): _parse(sql or "") for kind, name, table, sql in rows
    }


def _parse(sql: str) -> frozenset[str]:
    """Return the parts of a schema entry's SQL, without regard to their order.

    The parts of a table are its column definitions and constraints, and the text before and after
    them. Any other entry is one part.
    """
    text = " ".join(sql.split())
    table = _TABLE.fullmatch(text)
    if table is None:
        return frozenset({text})
    head, body, tail = (group.strip() for group in table.groups())
    return frozenset({f"{head} (", f") {tail}", *map(str.strip, _TOP_LEVEL_COMMA.split(body))})


def _parse_late(migrations: Sequence[Migration]) -> Mapping[str, frozenset[str]]:
    """Return the late parts of the migrations: column definitions by table, and SQL by index."""
    late = defaultdict[str, set[str]](set)
    scripts = ";".join(script for step in migrations for script in step.late.values())
    for statement in scripts.split(";"):
        text = " ".join(statement.split())
        if column := _ADDED_COLUMN.fullmatch(text):
            late[column[1]].add(column[2])
        elif index := _ADDED_INDEX.fullmatch(text):
            late[index[2]].add(index[1])
    return {name: frozenset(parts) for name, parts in late.items()}
