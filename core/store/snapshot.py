"""Whole copies of a database of SQLite: for a backup, and before a migration changes the only one.

A copy is made in one read transaction (https://sqlite.org/backup.html), so it is of one moment and
whoever writes meanwhile waits for nothing.
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

from core.domain.errors import NotStored, PonteError
from core.text.i18n import format_size, say

log = structlog.get_logger("store")
SNAPSHOT_FOLDER = "snapshots"
"""In the home."""
MAX_SNAPSHOTS = 2
"""Snapshots that are kept."""
SNAPSHOT_LIFETIME_SECONDS = 14 * 86_400.0
"""Seconds that a snapshot is kept: what is forgotten meanwhile still stands in it."""
SNAPSHOT_REMAINS = (
    "The copy that was made before the last upgrade may hold it until it is removed, at most 14 "
    "days after that upgrade."
)
SPARE_DISK_BYTES = 16 << 20
"""Bytes of a disk that are left free for whatever else is written."""


class NoRoom(PonteError):
    code = "no_room"
    sentence = (
        "There is no room for {what} in {path}: it takes {needed}, and {free} are free. Nothing "
        "was changed. Make room, and try again."
    )


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raises NoRoom where `folder`'s disk has no `needed` bytes for `what`."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_DISK_BYTES:
        raise NoRoom(what=what, path=folder, needed=format_size(needed), free=format_size(free))


def database_bytes(path: Path) -> int:
    """Bytes of the database with what is not in its main file yet."""
    both = (path, path.with_name(f"{path.name}-wal"))
    return sum(one.stat().st_size for one in both if one.exists())


def copy_database(source: Path, target: Path) -> None:
    """One file (0600) that needs no other, checked and on the disk. Raises NotStored."""
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as made:
            live.backup(made)
            made.execute("PRAGMA journal_mode=DELETE")
        check_integrity(target)
        with target.open("rb") as file:
            os.fsync(file.fileno())
    except (sqlite3.Error, OSError) as error:
        target.unlink(missing_ok=True)
        raise NotStored("{path} cannot be copied: {why}.", path=source, why=error) from error


def check_integrity(path: Path) -> None:
    """Raises sqlite3.DatabaseError where it is damaged."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(found)


def schema_version(path: Path) -> int:
    """Its number; 0 of a file that nobody has made anything in."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def count_rows(path: Path) -> Mapping[str, int]:
    """The rows of each table."""
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


def snapshot_before_migration(path: Path, newest: int) -> None:
    """Keep a snapshot beside it of what a newer schema is about to change; old ones go.

    Raises NoRoom, NotStored: then the database is as it was.
    """
    folder = path.parent / SNAPSHOT_FOLDER
    try:
        found = schema_version(path) if path.exists() else 0
    except sqlite3.Error:
        return  # whoever opens it says why
    if 0 < found < newest:
        needed = 3 * database_bytes(path)  # the copy, and what a migration may write anew
        check_room(path.parent, needed, say("a copy before the upgrade"))
        folder.mkdir(mode=0o700, exist_ok=True)
        made = folder / f"{path.stem}-{found}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.db"
        made.unlink(missing_ok=True)
        copy_database(path, made)
        log.info(
            "snapshot kept", file=f"{SNAPSHOT_FOLDER}/{made.name}", schema=found, newest=newest
        )
    remove_old_snapshots(path.parent)


def remove_old_snapshots(home: Path) -> None:
    """Snapshots that are old, or more than are kept, go."""
    kept = sorted(list_snapshots(home), key=lambda one: one.stat().st_mtime, reverse=True)
    for number, one in enumerate(kept):
        if number >= MAX_SNAPSHOTS or one.stat().st_mtime < time.time() - SNAPSHOT_LIFETIME_SECONDS:
            one.unlink(missing_ok=True)
            log.info("snapshot removed", file=f"{SNAPSHOT_FOLDER}/{one.name}")


def remove_snapshots(home: Path) -> None:
    """All of them go, as somebody is erased who may stand in them."""
    for one in list_snapshots(home):
        one.unlink(missing_ok=True)


def list_snapshots(home: Path) -> list[Path]:
    return list((home / SNAPSHOT_FOLDER).glob("*.db"))
