"""Compare the schema of a SQLite file with the one that Ponte creates.

A file from outside can contain triggers, views or tables that act when Ponte uses the file. This
module only reads the list of schema entries, so nothing in the file runs.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from core.store.schema import Schema, hash_statements, parse_statement

_NAME = re.compile(r"CREATE (TABLE|INDEX|VIEW) (\w+)")


def find_foreign_entry(path: Path, schema: Schema) -> str:
    """Return the name of the first entry that Ponte did not create or that is missing, "" if there
    is none.

    The file may have the schema of any version from 1 to that of `schema`. Raise sqlite3.Error for
    a damaged file.
    """
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT lower(type), name, sql FROM sqlite_master"
            " WHERE sql IS NOT NULL AND name <> 'sqlite_sequence'"  # SQLite's own table
        ).fetchall()
    for kind, name, sql in rows:
        found = _NAME.match(sql)
        if found is None or (found[1].lower(), found[2]) != (kind, name):
            return str(name)
    known = {fingerprint.partition(".")[0] for fingerprint in schema.fingerprints}
    if hash_statements(sql for _, _, sql in rows) in known:
        return ""
    entries = {(name, parse_statement(sql)) for _, name, sql in rows}
    expected = {
        (found[2], parse_statement(sql))
        for sql in schema.script.split(";")
        if (found := _NAME.match(sql.strip()))
    }
    return min((name for name, _ in entries ^ expected), default="")
