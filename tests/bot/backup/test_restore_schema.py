"""`ponte restore` takes a database only with the schema that Ponte itself made for that version."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bot.features.backup.backup import ArchiveMember, Manifest
from bot.stores import SCHEMA
from core.store import schema as snapshot
from tests.bot.backup.test_backup import names, rewritten
from tests.bot.conftest import Shell

FOREIGN = {
    "trigger": (
        "CREATE TRIGGER evil AFTER INSERT ON inbox BEGIN"
        " UPDATE people SET token = 'mine'; END"
    ),
    "view": "CREATE VIEW evil AS SELECT * FROM people",
    "table": "CREATE TABLE evil (what TEXT)",
    "virtual table": "CREATE VIRTUAL TABLE evil USING rtree(id, low, high)",
    "index": "CREATE INDEX evil ON people (token)",
    "index over an expression": "CREATE INDEX evil ON people (lower(token))",
    "column": "ALTER TABLE people ADD COLUMN evil TEXT NOT NULL DEFAULT ''",
    "generated column": "ALTER TABLE people ADD COLUMN evil TEXT AS (lower(token))",
    "table that is missing": "DROP TABLE audit_keys",
    "index that is missing": "DROP INDEX inbox_person",
    "view of another text": (
        "DROP VIEW inbox_finished;"
        " CREATE VIEW inbox_finished AS SELECT seq, updated FROM inbox WHERE updated > 0"
    ),
    "view in the place of a table": (
        "ALTER TABLE files RENAME TO held; CREATE VIEW files AS SELECT * FROM held"
    ),
    "index of another text": (
        "DROP INDEX inbox_person; CREATE INDEX inbox_person ON inbox (seq)"
    ),
    "statistics for the planner": "ANALYZE",
}  # fmt: skip


def change_database(file: Path, folder: Path, script: str) -> None:
    """Run `script` on the archive's database; sizes, checksums and counts agree with it."""
    database = folder / "changed.db"

    def change(manifest: Manifest, entries: list[tuple[Any, bytes]]) -> Manifest:
        (at,) = [n for n, (entry, _) in enumerate(entries) if entry.name == "ponte.db"]
        database.write_bytes(entries[at][1])
        with closing(sqlite3.connect(database)) as connection:
            connection.executescript(script)
        data = database.read_bytes()
        entries[at][0].size = len(data)
        entries[at] = (entries[at][0], data)
        member = ArchiveMember(len(data), hashlib.sha256(data).hexdigest())
        return replace(
            manifest,
            rows=snapshot.count_rows(database),
            members={**manifest.members, "ponte.db": member},
        )

    rewritten(file, change)


def test_a_database_with_another_schema_is_refused(
    ponte: Shell, archive: Path, tmp_path: Path
) -> None:
    whole = archive.read_bytes()
    for name, script in FOREIGN.items():
        archive.write_bytes(whole)
        change_database(archive, tmp_path, script)
        assert ponte("restore", str(archive)).code == 1, name
        assert ponte.err.startswith(f"{archive} is damaged or isn't a Ponte backup: "), name
        assert names(ponte.home) == {"ponte.lock"}, name


def test_a_table_with_other_constraints_is_refused(
    ponte: Shell, archive: Path, tmp_path: Path
) -> None:
    whole, token = archive.read_bytes(), "token TEXT NOT NULL"
    for before, after in (
        ("seq INTEGER PRIMARY KEY AUTOINCREMENT", "seq INTEGER PRIMARY KEY CHECK (seq < 9e9)"),
        (token, f"{token} DEFAULT ''mine''"),
        (token, f"{token} COLLATE NOCASE"),
        (token, f"{token} UNIQUE ON CONFLICT REPLACE"),
        (token, f"{token} REFERENCES inbox ON DELETE CASCADE"),
    ):
        archive.write_bytes(whole)
        change_database(
            archive,
            tmp_path,
            "PRAGMA writable_schema=ON;"
            f"UPDATE sqlite_master SET sql = replace(sql, '{before}', '{after}')"
            " WHERE name IN ('inbox', 'people') AND type = 'table'",
        )
        assert ponte("restore", str(archive)).code == 1, after
        assert "its database has a different schema" in ponte.err, after
        assert names(ponte.home) == {"ponte.lock"}, after


def test_a_view_that_never_ends_is_not_read(ponte: Shell, archive: Path, tmp_path: Path) -> None:
    """The schema is compared before anything is asked of the tables."""
    change_database(archive, tmp_path, "ALTER TABLE files RENAME TO held")
    endless = (
        "CREATE VIEW files AS WITH RECURSIVE more(id) AS"
        " (SELECT 'a' UNION ALL SELECT id FROM more) SELECT id FROM more"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "count_rows", lambda database: {})  # it would not end here either
        change_database(archive, tmp_path, endless)
    assert ponte("restore", str(archive)).code == 1
    assert "its database has a different schema" in ponte.err


def test_a_database_that_differs_from_its_manifest_is_refused(
    ponte: Shell, archive: Path, tmp_path: Path
) -> None:
    """In its version, or with a file whose id is a path."""
    whole = archive.read_bytes()
    records = (("version", 0), ("version", SCHEMA.version + 1), ("fingerprint", "other"))
    for script in (f"UPDATE database_schema SET {name} = '{value}'" for name, value in records):
        archive.write_bytes(whole)
        change_database(archive, tmp_path, script)
        assert ponte("restore", str(archive)).code == 1, script
        assert "its parts come from different backups" in ponte.err, script
    for id in ("../../web-token", "/etc/passwd", "aa/../../web-token", ""):
        archive.write_bytes(whole)
        change_database(
            archive,
            tmp_path,
            "INSERT INTO files"
            " (id, event_key, sha256, name, type, size, person, conversation, created_at)"
            f" VALUES ('{id}', 'e', 's', 'n', 't', 1, 'p', 'c', 0)",
        )
        rewritten(archive, partial(lose_file, id))
        assert ponte("restore", str(archive)).code == 1, id
        assert "its parts come from different backups" in ponte.err, id


def lose_file(id: str, manifest: Manifest, _: object) -> Manifest:
    return replace(manifest, lost_files=(id,))


def test_a_backup_of_another_version_is_refused(ponte: Shell, archive: Path) -> None:
    rewritten(archive, lambda manifest, _: replace(manifest, fingerprint="other", version="0.0.9"))
    assert ponte("restore", str(archive)).code == 1
    assert ponte.err == (
        f"{archive} was made by another version of Ponte (0.0.9), and this version can't use it. "
        "Nothing was changed. Install that version, then restore the backup with it.\n"
    )
    assert names(ponte.home) == {"ponte.lock"}


def test_every_kind_of_entry_is_tried() -> None:
    """The schema has tables, indexes and views, so that each kind is refused above."""
    values = set(re.findall(r"CREATE (?:UNIQUE )?(\w+)", SCHEMA.script))
    assert values == {"TABLE", "INDEX", "VIEW"}


def test_a_backup_that_could_not_be_restored_is_not_written(
    ponte: Shell, archive: Path, tmp_path: Path
) -> None:
    assert ponte("restore", str(archive)).code == 0, ponte.err
    with closing(sqlite3.connect(ponte.home / "ponte.db")) as connection:
        connection.executescript(FOREIGN["trigger"])
    file = tmp_path / "new.tar.gz"
    assert ponte("backup", str(file)).code == 1
    assert ponte.err.startswith(
        f"The schema of {ponte.home / 'ponte.db'} differs from the one Ponte created: evil."
    )
    assert not file.exists()
