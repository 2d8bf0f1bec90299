"""Which threads ever had a state, so that its loss can be told after a restart too."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path


class Marks:
    """An empty file for each thread, by a hash of its id. Blocking, for microseconds.

    A mark that cannot be written is a loss that is not told: never a reason to run nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, thread: str) -> bool:
        """True where it was there already."""
        path = self._path(thread)
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.exists():
                return True
            path.touch(mode=0o600)
        return False

    def remove(self, thread: str) -> None:
        with suppress(OSError):
            self._path(thread).unlink(missing_ok=True)

    def _path(self, thread: str) -> Path:
        return self._folder / hashlib.sha256(thread.encode()).hexdigest()[:32]
