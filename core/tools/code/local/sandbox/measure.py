"""How much of the disk a kernel holds, and how many threads its user runs."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core.tools.code.local.sandbox.sandbox import Limits, MiB
from core.words import say

_BLOCK = 512  # bytes; https://man7.org/linux/man-pages/man3/stat.3type.html: st_blocks
BYTES = "it wrote more than {size} MB"
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


@dataclass(frozen=True, slots=True)
class Disk:
    """What the process `pid` may keep below `folder`. Blocking."""

    folder: Path
    pid: int
    limits: Limits

    def too_much(self) -> str:
        most = self.limits.work + self.limits.temporary
        count, size, waiting = 0, self._removed(), [str(self.folder)]
        while waiting:
            try:
                with os.scandir(waiting.pop()) as entries:
                    for entry in entries:
                        about = entry.stat(follow_symlinks=False)
                        count, size = count + 1, size + about.st_blocks * _BLOCK
                        if count > self.limits.entries:
                            return say(ENTRIES, "en", count=self.limits.entries)
                        if stat.S_ISDIR(about.st_mode):
                            waiting.append(entry.path)
            except FileNotFoundError:
                continue
            except OSError:  # a path of more than 4,096 bytes, or folders that we may not enter
                return say(ENTRIES, "en", count=self.limits.entries)
        return say(BYTES, "en", size=most // MiB) if size > most else ""

    def _removed(self) -> int:
        """Bytes in files that it has open and that have no name any more."""
        size, folder = 0, f"/proc/{self.pid}/fd"
        with contextlib.suppress(OSError):
            for number in os.listdir(folder):
                with contextlib.suppress(OSError):
                    about = os.stat(f"{folder}/{number}")
                    if stat.S_ISREG(about.st_mode) and not about.st_nlink:
                        size += about.st_blocks * _BLOCK
        return size


def running_threads() -> int:
    """Threads of our user on this machine: RLIMIT_NPROC counts them all. Blocking."""
    count = 0
    for process in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if process.isdigit() and os.stat(f"/proc/{process}").st_uid == os.geteuid():
                count += len(os.listdir(f"/proc/{process}/task"))
    return count
