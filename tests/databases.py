"""Open databases quickly in tests: SQLite does not wait for the disk, and tables are created once.

The first test of a process that makes a `ponte.db` creates all tables. Each later one gets a copy
of that file. A test that passes another schema, or opens a file that is there, is not affected.
Processes that a test starts use the product as it is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bot.stores import SCHEMA
from core.store import database
from core.store.database import SqliteDatabase


@contextmanager
def quick_sqlite() -> Iterator[None]:
    created = b""
    lock = threading.Lock()
    open_and_create = SqliteDatabase._open

    def open_copy(self: SqliteDatabase) -> None:
        nonlocal created
        with lock:
            is_new = self.schema is SCHEMA and not self.path.exists()
            if is_new and created:
                _write_like_sqlite(self.path, created)
        open_and_create(self)
        if is_new and not created:
            # Opening ends with a checkpoint: the file is whole without its write-ahead log.
            created = self.path.read_bytes()

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
