"""Compare the schema of a SQLite file with the one that migrations make.

A file from outside can hold triggers, views or tables that act when Ponte opens it. Only the schema
itself is read here, so that nothing of it runs.
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
"""Kind, name and table, as `sqlite_master` has them."""
_TABLE = re.compile(r"(CREATE TABLE [^(]*)\((.*)\)([^)]*)")
_TOP_LEVEL_COMMA = re.compile(r",(?![^(]*\))")
_ADDED_COLUMN = re.compile(r"ALTER TABLE (\w+) ADD COLUMN (.*)")
_ADDED_INDEX = re.compile(r"(CREATE INDEX (\w+) .*)")


def find_foreign_entry(path: Path, migrations: Sequence[Migration]) -> str:
    """Return the name of an entry of the file's schema that `migrations` do not make, make with
    another text, or make and the file lacks; "" where there is none.

    What came late to a migration (`Migration.late`) may be missing, may have the text that it was
    added with, and may stand after the other columns. Raises sqlite3.Error for a damaged file.
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
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
    return {
        (str(kind), str(name), str(table)): _parse(sql or "") for kind, name, table, sql in rows
    }


def _parse(sql: str) -> frozenset[str]:
    """Return a table's definitions and what stands around them; all else in one piece."""
    text = " ".join(sql.split())
    table = _TABLE.fullmatch(text)
    if table is None:
        return frozenset({text})
    head, body, tail = (group.strip() for group in table.groups())
    return frozenset({f"{head} (", f") {tail}", *map(str.strip, _TOP_LEVEL_COMMA.split(body))})


def _parse_late(migrations: Sequence[Migration]) -> Mapping[str, frozenset[str]]:
    """Return by table the columns, and by index the text, that came late."""
    late = defaultdict[str, set[str]](set)
    scripts = ";".join(script for step in migrations for script in step.late.values())
    for statement in scripts.split(";"):
        text = " ".join(statement.split())
        if column := _ADDED_COLUMN.fullmatch(text):
            late[column[1]].add(column[2])
        elif index := _ADDED_INDEX.fullmatch(text):
            late[index[2]].add(index[1])
    return {name: frozenset(parts) for name, parts in late.items()}
