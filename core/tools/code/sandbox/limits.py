"""Enforces, ten times a second, the limits that the kernel of the machine does not enforce itself.

These are the number of files in a tmpfs, and the space that a program uses on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.base.i18n import say
from core.tools.code.sandbox.process import RunningProgram
from core.tools.code.sandbox.sandbox import MiB, SandboxLimits

TOO_MANY_FILES = "it created more than {count} files"
_BLOCK_BYTES = 512  # bytes; https://man7.org/linux/man-pages/man3/stat.3type.html: st_blocks
TOO_MANY_BYTES = "it wrote more than {size} MB"
MAX_LOOKS, LOOK_PAUSE_SECONDS = 20, 0.005
"""How often it is looked at once it was told to stand still, and the seconds between two looks:
every thread stops when it next leaves the kernel."""
WATCH_PAUSE_SECONDS = 0.1
"""Seconds between two checks: 35 MB at the 350 MB/s of a laptop's disk."""


@dataclass(frozen=True, slots=True)
class EntryMeter:
    """Counts files and folders in the tmpfs of process `pid`, whose size option limits only
    bytes."""

    pid: int
    folders: Sequence[str]
    most: int

    def too_much(self) -> str:
        """Return which limit is exceeded, in English, or "". Blocking. Raise OSError after the
        program's end."""
        count = 0
        for folder in self.folders:
            about = os.statvfs(f"/proc/{self.pid}/root{folder}")
            count += about.f_files - about.f_ffree
        return say(TOO_MANY_FILES, "en", count=self.most) if count > self.most else ""


def running_threads() -> int:
    """Return the number of our user's threads: RLIMIT_NPROC counts all of them. Blocking."""
    count = 0
    for process in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if process.isdigit() and os.stat(f"/proc/{process}").st_uid == os.geteuid():
                count += len(os.listdir(f"/proc/{process}/task"))
    return count


@dataclass(slots=True)
class _DiskUse:
    """The result of one measurement. `moved`: a file disappeared before it was counted."""

    count: int = 0
    size: int = 0
    moved: bool = False


@dataclass(frozen=True, slots=True)
class DiskMeter:
    """Measures what process `pid` stores below `folder`. Blocking.

    `process` is a pidfd. If files move during the measurement, the process is stopped for some
    milliseconds: otherwise code could escape the count by renaming files in time.
    """

    folder: Path
    pid: int
    process: int
    limits: SandboxLimits

    def too_much(self) -> str:
        """Return which limit is exceeded, in English, or ""."""
        use = self._measure()
        if use.moved and not self._find_excess(use):
            self._signal(signal.SIGSTOP)
            try:
                for _ in range(MAX_LOOKS):
                    use = self._measure()
                    if not use.moved:
                        break
                    time.sleep(LOOK_PAUSE_SECONDS)
            finally:
                self._signal(signal.SIGCONT)
        return self._find_excess(use) or self._find_excess(
            _DiskUse(self.limits.entries + use.moved)
        )

    def _find_excess(self, use: _DiskUse) -> str:
        most = self.limits.work + self.limits.temporary
        if use.count > self.limits.entries:
            return say(TOO_MANY_FILES, "en", count=self.limits.entries)
        return say(TOO_MANY_BYTES, "en", size=most // MiB) if use.size > most else ""

    def _measure(self) -> _DiskUse:
        use = _DiskUse()
        folders = [str(self.folder)]
        while folders and use.count <= self.limits.entries:
            try:
                with os.scandir(folders.pop()) as entries:
                    for entry in entries:
                        self._count_entry(entry, use, folders)
            except FileNotFoundError:
                use.moved = True
            except OSError:  # a path of more than 4,096 bytes, or folders that we may not enter
                use.count = self.limits.entries + 1
        # Files without a name: those that are open, and those that are only mapped. How large a
        # mapped one is cannot be asked without rights of root
        # (https://man7.org/linux/man-pages/man5/proc_pid_map_files.5.html), so each counts as the
        # largest that there can be.
        opened = set[int]()
        with contextlib.suppress(OSError):  # it has ended
            for number in os.listdir(f"/proc/{self.pid}/fd"):
                try:
                    about = os.stat(f"/proc/{self.pid}/fd/{number}")
                except FileNotFoundError:
                    use.moved = True
                    continue
                if stat.S_ISREG(about.st_mode) and not about.st_nlink:
                    opened.add(about.st_ino)
                    use.size += about.st_blocks * _BLOCK_BYTES
            use.size += len(set(self._mapped_inodes()) - opened) * self.limits.file
        return use

    def _count_entry(self, entry: os.DirEntry[str], use: _DiskUse, folders: list[str]) -> None:
        try:
            about = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            use.moved = True
            return
        use.count += 1
        use.size += about.st_blocks * _BLOCK_BYTES
        if stat.S_ISDIR(about.st_mode):
            folders.append(entry.path)

    def _mapped_inodes(self) -> Iterator[int]:
        """Yield the inodes of removed files that are mapped (proc_pid_maps(5): " (deleted)")."""
        below = f"{self.folder.resolve()}/"
        with open(f"/proc/{self.pid}/maps", errors="replace") as maps:
            for line in maps:
                fields = line.rstrip("\n").split(maxsplit=5)
                path = fields[5] if len(fields) > 5 else ""
                if path.startswith(below) and path.endswith(" (deleted)"):
                    yield int(fields[4])

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(OSError):  # it has ended
            signal.pidfd_send_signal(self.process, number)


async def watch_limits(running: RunningProgram, meter: EntryMeter | DiskMeter) -> None:
    """End the program when it exceeds a limit."""
    while running.returncode is None:
        try:
            if too_much := await asyncio.to_thread(meter.too_much):
                running.overrun(too_much)
                return
        except OSError:  # it has just ended
            return
        await asyncio.sleep(WATCH_PAUSE_SECONDS)
