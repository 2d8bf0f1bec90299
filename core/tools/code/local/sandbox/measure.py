"""How many files a kernel holds in its memories, and how many threads its user runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from core.words import say

ENTRIES = "it made more than {count} files"


class Meter(Protocol):
    def too_much(self) -> str:
        """Which limit is broken, in English, or ""; blocking. Raises OSError after the end."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Files and folders in memories of the process `pid`, which their size does not limit."""

    pid: int
    folders: Sequence[str]
    most: int

    def too_much(self) -> str:
        count = 0
        for folder in self.folders:
            about = os.statvfs(f"/proc/{self.pid}/root{folder}")
            count += about.f_files - about.f_ffree
        return say(ENTRIES, "en", count=self.most) if count > self.most else ""


def running_threads() -> int:
    """Threads of our user on this machine: RLIMIT_NPROC counts them all. Blocking."""
    count = 0
    for process in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if process.isdigit() and os.stat(f"/proc/{process}").st_uid == os.geteuid():
                count += len(os.listdir(f"/proc/{process}/task"))
    return count
