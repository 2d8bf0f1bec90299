"""Open databases quickly in tests: SQLite does not wait for the disk, and nobody migrates twice.

The first test of a process that makes a `ponte.db` runs every migration. Each later one gets a copy
of that file. A test that passes other migrations, or opens a file that is there, is not affected.
Processes that a test starts use the product as it is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from core.store import database
from core.store.database import SqliteDatabase
from core.store.schema import MIGRATIONS


@contextmanager
def quick_sqlite() -> Iterator[None]:
    migrated = b""
    lock = threading.Lock()
    open_and_migrate = SqliteDatabase._open

    def open_copy(self: SqliteDatabase) -> None:
        nonlocal migrated
        with lock:
            is_new = self._migrations is MIGRATIONS and not self.path.exists()
            if is_new and migrated:
                _write_like_sqlite(self.path, migrated)
        open_and_migrate(self)
        if is_new and not migrated:
            # Opening ends with a checkpoint: the file is whole without its write-ahead log.
            migrated = self.path.read_bytes()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteDatabase, "_open", open_copy)
        patch.setattr(database, "SYNCHRONOUS_MODE", "OFF")
        yield


def _write_like_sqlite(path: Path, data: bytes) -> None:
    """Create `path` with the permissions that SQLite gives to a new file."""
    with suppress(OSError):  # SQLite reports a folder that cannot be written
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        with open(file, "wb") as out:
            out.write(data)
