"""The schema of the database and its migrations, and full copies of a SQLite database.

A new database is created from the declarations of all tables (`bot/stores.py`), with the functions
and triggers that only Postgres has. It is version 1, and each migration adds one. A fingerprint of
the schema is stored in the database. Ponte refuses a database with another fingerprint.

To change the schema after a release, change the declarations and append a `Migration` to
`MIGRATIONS` there. Migrations run forward only, and a released migration is never edited.
tests/contract/test_migrations.py proves the mechanism on both engines.

A copy is made in one read transaction (https://sqlite.org/backup.html). So it shows one moment, and
writers do not wait for it. A copy made before a migration is called a snapshot.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import structlog

from core.base.errors import NotStored, PonteError
from core.base.i18n import format_size, say
from core.store.tables import TableDeclaration, create_statements

VERSION_TABLE = "CREATE TABLE database_schema (version INTEGER NOT NULL, fingerprint TEXT NOT NULL)"
"""The table with one row: the version and the fingerprint of the database's schema."""
LOCK_KEY = 7_063_184
"""The number is arbitrary; it must not be used by other programs."""
_TABLE = re.compile(r"(CREATE TABLE [^(]*)\((.*)\)([^)]*)")
_TOP_LEVEL_COMMA = re.compile(r",(?![^(]*\))")


class DifferentSchema(PonteError):
    """Raised when the schema of a database is not the one that this version of Ponte uses."""

    code = "different_schema"
    sentence = (
        "{path} was written by another version of Ponte, and this version can't use it. Nothing "
        "was changed. Start the version that wrote it, or set PONTE_HOME to a new folder."
    )


class DifferentSharedSchema(DifferentSchema):
    """Raised when another version of Ponte wrote the database of DATABASE_URL."""

    sentence = (
        "The database that DATABASE_URL points to was written by another version of Ponte, and "
        "this version can't use it. Nothing was changed. Start the version that wrote it, or "
        "set DATABASE_URL to an empty database."
    )


@dataclass(frozen=True, slots=True)
class Migration:
    """A change from one version of the schema to the next.

    - `fingerprint` is that of the schema which the migration changes.
    - `script` runs on SQLite and Postgres.
    - `shared` runs only on Postgres, after `script`.
    """

    fingerprint: str
    script: str
    shared: str = ""


@dataclass(frozen=True)
class Schema:
    """The newest schema, and the migrations that lead to it from version 1.

    `tables` creates the tables of a new database. `shared` runs after it, only on Postgres.
    """

    tables: str
    shared: str = ""
    migrations: Sequence[Migration] = ()
    declarations: Sequence[TableDeclaration] = ()

    @classmethod
    def of(
        cls,
        tables: Sequence[TableDeclaration],
        views: Sequence[str],
        functions: Sequence[str],
        migrations: Sequence[Migration] = (),
    ) -> Schema:
        """`functions` is SQL of functions and triggers that only Postgres has."""
        # What both databases have; then the tables, columns and indexes that only Postgres has.
        both = (*create_statements(tables, shared=False), *views)
        shared = ";\n".join(create_statements(tables, shared=True))
        return cls(";\n".join(both), ";".join((shared, *functions)), migrations, tables)

    @property
    def export_tables(self) -> Sequence[TableDeclaration]:
        return [table for table in self.declarations if table.section]

    @property
    def copy_tables(self) -> Sequence[TableDeclaration]:
        """`ponte migrate` copies all that both databases have, except those that are filled again
        by themselves, such as the lists of a platform's people."""
        return [table for table in self.declarations if table.copied and not table.shared]

    @property
    def personal_tables(self) -> Sequence[TableDeclaration]:
        """Postgres vacuums them after an erasure."""
        return [table for table in self.declarations if table.whose != "nobody"]

    def purged_with(self, name: Literal["inbox", "changes"]) -> Sequence[str]:
        return [table.name for table in self.declarations if table.purged_with == name]

    @property
    def script(self) -> str:
        return f"{VERSION_TABLE};{self.tables}"

    @property
    def store_version_script(self) -> str:
        values = f"{self.version}, '{self.fingerprint}'"
        return f"DELETE FROM database_schema; INSERT INTO database_schema VALUES ({values})"  # noqa: S608

    @property
    def version(self) -> int:
        return len(self.migrations) + 1

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the tables, a dot, and a hash of what only Postgres has."""
        return f"{hash_statements(self.script.split(';'))}.{_hash(' '.join(self.shared.split()))}"

    @property
    def fingerprints(self) -> Sequence[str]:
        return (*(step.fingerprint for step in self.migrations), self.fingerprint)

    def find_pending(self, version: int, fingerprint: str) -> Sequence[Migration] | None:
        """None if the database is not one of Ponte's: its fingerprint is not that of this
        version."""
        if self.fingerprints[version - 1 : version] != (fingerprint,):
            return None
        return self.migrations[version - 1 :]


def parse_statement(sql: str) -> frozenset[str]:
    """The parts of a table are its column definitions and constraints, and the text before and
    after them, without regard to their order. So a column that a migration added equals one that
    the table was created with. Any other statement is one part, and an empty one none. Two
    statements are compared by these parts."""
    text = " ".join(sql.split())
    table = _TABLE.fullmatch(text)
    if table is None:
        return frozenset({text} - {""})
    head, body, tail = (group.strip() for group in table.groups())
    return frozenset({f"{head} (", f") {tail}", *map(str.strip, _TOP_LEVEL_COMMA.split(body))})


def hash_statements(statements: Iterable[str]) -> str:
    """The order of the statements does not matter."""
    parts = sorted(sorted(parts) for sql in statements if (parts := parse_statement(sql)))
    return _hash(repr(parts))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_NAME = re.compile(r"CREATE (TABLE|INDEX|VIEW) (\w+)")


def find_foreign_entry(path: Path, schema: Schema) -> str:
    """Return the name of the first table, index or view of a SQLite file that Ponte did not create
    or that is missing, "" if there is none. A file that somebody hands over as a backup could
    contain triggers or views of their own.

    The file may have the schema of any version from 1 to that of `schema`. Raise sqlite3.Error for
    a damaged file.
    """
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT lower(type), name, sql FROM sqlite_master"
            " WHERE sql IS NOT NULL AND name <> 'sqlite_sequence'"  # SQLite's own table
        ).fetchall()
    for kind, name, sql in rows:
        match = _NAME.match(sql)
        # A trigger, or an entry whose statement was changed to another name.
        if match is None or (match[1].lower(), match[2]) != (kind, name):
            return str(name)
    # The part of a fingerprint after the dot is that of Postgres.
    known_names = {fingerprint.partition(".")[0] for fingerprint in schema.fingerprints}
    # The usual case: the file has exactly the statements of a known version.
    if hash_statements(sql for _, _, sql in rows) in known_names:
        return ""
    # An upgraded file has its columns in another order: compare the parts of each statement.
    entries = {(name, parse_statement(sql)) for _, name, sql in rows}
    expected = {
        (match[2], parse_statement(sql))
        for sql in schema.script.split(";")
        if (match := _NAME.match(sql.strip()))
    }
    return min((name for name, _ in entries ^ expected), default="")


log = structlog.get_logger("store")
SNAPSHOT_FOLDER = "snapshots"
MAX_SNAPSHOTS = 2
SNAPSHOT_LIFETIME_SECONDS = 14 * 86_400.0
"""Until then it still contains data that was forgotten after it was made."""
SNAPSHOT_REMAINS = (
    "The copy made before the last upgrade may still contain the deleted data. Ponte removes "
    "that copy within 14 days of the upgrade."
)
SPARE_DISK_BYTES = 16 << 20


class NoRoom(PonteError):
    """The disk has too little free space for a copy: a backup, a restored data folder, or the copy
    of the database before an upgrade. It is raised before anything is written."""

    code = "no_room"
    sentence = (
        "Not enough disk space for {what} in {path}: {needed} needed, {free} free. Nothing "
        "was changed. Free some space and try again."
    )


def check_room(folder: Path, needed: int, what: str) -> None:
    """`what` names the copy in the error's message."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_DISK_BYTES:
        raise NoRoom(what=what, path=folder, needed=format_size(needed), free=format_size(free))


def database_bytes(path: Path) -> int:
    both = (path, path.with_name(f"{path.name}-wal"))
    return sum(path.stat().st_size for path in both if path.exists())


def copy_database(source: Path, target: Path) -> None:
    """The database may be in use; the copy is checked, and written to the disk. It has mode 0600
    and needs no write-ahead log beside it. Raise NotStored, also if `target` exists, which is then
    left as it is. An unfinished copy is removed."""
    try:
        # SQLite would create it with the rights of the umask.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise NotStored("Can't copy {path}: {why}.", path=source, why=error) from error
    try:
        with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
            live.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
        check_integrity(target)
        with target.open("rb") as file:
            os.fsync(file.fileno())
    except (sqlite3.Error, OSError) as error:
        target.unlink(missing_ok=True)
        raise NotStored("Can't copy {path}: {why}.", path=source, why=error) from error


def check_integrity(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        result = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if result != "ok":
        raise sqlite3.DatabaseError(result)


def read_schema_version(connection: sqlite3.Connection) -> tuple[int, str]:
    """Return 0 and "" if they are not stored, or are no version."""
    if not connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'database_schema'"
    ).fetchone():
        return 0, ""
    row = connection.execute(
        "SELECT version, fingerprint FROM database_schema WHERE typeof(version) = 'integer'"
    ).fetchone()
    return (row[0], row[1]) if row else (0, "")


def count_rows(path: Path) -> Mapping[str, int]:
    """Return the number of rows by table, without those of SQLite itself."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            " ORDER BY name"
        ).fetchall()
        return {
            name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608
            for (name,) in rows
        }


def snapshot_before_migration(path: Path, schema: Schema) -> None:
    """Copy the database into SNAPSHOT_FOLDER if `schema` has migrations for it, so that an operator
    can return to the earlier version of Ponte.

    Also removes old snapshots. Raises NoRoom, NotStored; the database is unchanged then.
    """
    folder = path.parent / SNAPSHOT_FOLDER
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path)) as connection:
            version, fingerprint = read_schema_version(connection)
    except sqlite3.Error:
        return  # opening the database reports this error
    if schema.find_pending(version, fingerprint):
        # The copy, and the pages that a migration rewrites: once in the write-ahead log, and once
        # more where the database grows.
        needed = 3 * database_bytes(path)
        check_room(path.parent, needed, say("a copy before the upgrade"))
        folder.mkdir(mode=0o700, exist_ok=True)
        copy = folder / f"{path.stem}-{version}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.db"
        copy.unlink(missing_ok=True)  # an attempt in the same second made it
        copy_database(path, copy)
        log.info(
            "saved a database snapshot",
            file=f"{SNAPSHOT_FOLDER}/{copy.name}",
            schema=version,
            newest_schema=schema.version,
        )
    remove_old_snapshots(path.parent)


def remove_old_snapshots(home: Path) -> None:
    snapshots = sorted(list_snapshots(home), key=lambda path: path.stat().st_mtime, reverse=True)
    for rank, path in enumerate(snapshots):
        if rank >= MAX_SNAPSHOTS or path.stat().st_mtime < time.time() - SNAPSHOT_LIFETIME_SECONDS:
            path.unlink(missing_ok=True)
            log.info("deleted an old database snapshot", file=f"{SNAPSHOT_FOLDER}/{path.name}")


def remove_snapshots(home: Path) -> None:
    """Snapshots may contain data of a person who is being erased."""
    for path in list_snapshots(home):
        path.unlink(missing_ok=True)


def list_snapshots(home: Path) -> list[Path]:
    return list((home / SNAPSHOT_FOLDER).glob("*.db"))
