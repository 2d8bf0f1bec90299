"""Full copies of a SQLite database, for a backup and before each migration.

A copy is made in one read transaction (https://sqlite.org/backup.html). So it shows one moment, and
writers do not wait for it. A copy made before a migration is called a snapshot.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import structlog

from core.base.errors import NotStored, PonteError
from core.base.i18n import format_size, say
from core.store.schema import Schema

log = structlog.get_logger("store")
SNAPSHOT_FOLDER = "snapshots"
"""The folder of the snapshots in the home."""
MAX_SNAPSHOTS = 2
"""Maximum number of snapshots; older ones are removed."""
SNAPSHOT_LIFETIME_SECONDS = 14 * 86_400.0
"""Seconds after which a snapshot is removed (14 days). Until then it still contains data that was
forgotten after it was made."""
SNAPSHOT_REMAINS = (
    "The copy made before the last upgrade may contain it. Ponte removes that copy at most "
    "14 days after the upgrade."
)
SPARE_DISK_BYTES = 16 << 20
"""Bytes of a disk that must stay free for other writes."""


class NoRoom(PonteError):
    """The disk has too little free space for a copy."""

    code = "no_room"
    sentence = (
        "Not enough disk space for {what} in {path}: {needed} needed, {free} free. Nothing "
        "was changed. Free some space and try again."
    )


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raise NoRoom unless the disk of `folder` has `needed` free bytes and SPARE_DISK_BYTES more.

    `what` names the copy in the error's message.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_DISK_BYTES:
        raise NoRoom(what=what, path=folder, needed=format_size(needed), free=format_size(free))


def database_bytes(path: Path) -> int:
    """Return the size of a database in bytes, including its write-ahead log."""
    both = (path, path.with_name(f"{path.name}-wal"))
    return sum(one.stat().st_size for one in both if one.exists())


def copy_database(source: Path, target: Path) -> None:
    """Copy a database into the new file `target`, check the copy, and write it to the disk.

    The file has mode 0600 and needs no write-ahead log. Raises NotStored, also if `target` exists,
    which is then left as it is. An unfinished copy is removed.
    """
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise NotStored("Cannot copy {path}: {why}.", path=source, why=error) from error
    try:
        with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
            live.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
        check_integrity(target)
        with target.open("rb") as file:
            os.fsync(file.fileno())
    except (sqlite3.Error, OSError) as error:
        target.unlink(missing_ok=True)
        raise NotStored("Cannot copy {path}: {why}.", path=source, why=error) from error


def check_integrity(path: Path) -> None:
    """Raise sqlite3.DatabaseError if the database is damaged."""
    with closing(sqlite3.connect(path)) as connection:
        result = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if result != "ok":
        raise sqlite3.DatabaseError(result)


def read_schema_version(connection: sqlite3.Connection) -> tuple[int, str]:
    """Return the version and the fingerprint of a database's schema, 0 and "" if they are not
    stored, or are no version."""
    if not connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'database_schema'"
    ).fetchone():
        return 0, ""
    row = connection.execute(
        "SELECT version, fingerprint FROM database_schema WHERE typeof(version) = 'integer'"
    ).fetchone()
    return (row[0], row[1]) if row else (0, "")


def count_rows(path: Path) -> Mapping[str, int]:
    """Return the number of rows of each table."""
    with closing(sqlite3.connect(path)) as connection:
        names = [
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
                " ORDER BY name"
            )
        ]
        return {
            name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608
            for name in names
        }


def snapshot_before_migration(path: Path, schema: Schema) -> None:
    """Copy the database into SNAPSHOT_FOLDER if `schema` has migrations for it.

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
        needed = 3 * database_bytes(path)  # the copy, and the pages that a migration rewrites
        check_room(path.parent, needed, say("a copy before the upgrade"))
        folder.mkdir(mode=0o700, exist_ok=True)
        copy = folder / f"{path.stem}-{version}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.db"
        copy.unlink(missing_ok=True)
        copy_database(path, copy)
        log.info(
            "saved a database snapshot",
            file=f"{SNAPSHOT_FOLDER}/{copy.name}",
            schema=version,
            newest_schema=schema.version,
        )
    remove_old_snapshots(path.parent)


def remove_old_snapshots(home: Path) -> None:
    """Remove all but the newest MAX_SNAPSHOTS, and those older than SNAPSHOT_LIFETIME_SECONDS."""
    snapshots = sorted(list_snapshots(home), key=lambda one: one.stat().st_mtime, reverse=True)
    for number, one in enumerate(snapshots):
        if number >= MAX_SNAPSHOTS or one.stat().st_mtime < time.time() - SNAPSHOT_LIFETIME_SECONDS:
            one.unlink(missing_ok=True)
            log.info("deleted an old database snapshot", file=f"{SNAPSHOT_FOLDER}/{one.name}")


def remove_snapshots(home: Path) -> None:
    """Remove all snapshots, because they may contain data of a person who is being erased."""
    for one in list_snapshots(home):
        one.unlink(missing_ok=True)


def list_snapshots(home: Path) -> list[Path]:
    """Return the snapshots in a home, in no particular order."""
    return list((home / SNAPSHOT_FOLDER).glob("*.db"))
