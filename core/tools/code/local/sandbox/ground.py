"""The folder that a bot's process makes for its sandboxes, and takes away again.

It lies in the machine's folder for temporary files, as a root bot's own folders can be closed to
the users that its kernels run as. It holds a copy of the programs (readable for all) and, under
Landlock, a folder for each kernel (closed to all others). It is locked as long as the process
lives, so that the next start can tell what a killed one left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
import stat
import tempfile
import threading
from pathlib import Path

from core.tools.code.local.sandbox import inside

PREFIX = "ponte-code-"
KERNEL = "kernel.py"


class Ground:
    """Blocking: its methods belong into a thread, or several."""

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._folder: Path | None = None
        self._programs: dict[Path, Path] = {}

    def program(self, kernel: Path) -> Path:
        """A folder with the file `kernel.py` and the package `inside`."""
        with self._making:
            ground = self._made()
            if kernel not in self._programs:
                self._programs[kernel] = _copied(kernel, ground)
            return self._programs[kernel]

    def session(self, owner: int | None) -> Path:
        """A new folder with `work` and `tmp` in it, for `owner` alone; None: the bot's user."""
        with self._making:
            ground = self._made()
        folder = Path(tempfile.mkdtemp(prefix="session-", dir=ground))
        for each in (folder, folder / "work", folder / "tmp"):
            each.mkdir(mode=0o700, exist_ok=True)
            if owner is not None:
                os.chown(each, owner, owner)
        return folder

    def sessions(self) -> list[str]:
        """The names of those folders that are not removed yet."""
        return (
            [] if self._folder is None else [each.name for each in self._folder.glob("session-*")]
        )

    def close(self) -> None:
        """Take all of it away."""
        if self._folder is not None:
            remove(self._folder)
            os.close(self._lock)
        self._folder = None
        self._programs.clear()

    def _made(self) -> Path:
        if self._folder is None or not self._folder.is_dir():
            sweep()
            self._programs.clear()
            new = Path(tempfile.mkdtemp(prefix=f".{PREFIX}"))
            new.chmod(0o711)
            self._lock = _locked(new)
            # Under its name, where others sweep, only once it is locked.
            self._folder = new.rename(new.with_name(new.name[1:]))
        return self._folder


def remove(folder: Path) -> None:
    """All that is in there, however deep: what lies in a folder's folder is first moved up.

    (`shutil.rmtree` ends at 1,000 levels before Python 3.13, and a path at 4,096 bytes.)
    """
    moved = itertools.count()
    with os.scandir(folder) as top:
        waiting = [_cleared(entry, folder) for entry in top]
    while waiting:
        here = waiting.pop()
        if here is None:
            continue
        with os.scandir(here) as entries:
            waiting += [_cleared(each, folder, f".{next(moved)}.moved") for each in entries]
        here.rmdir()
    folder.rmdir()


def _cleared(entry: os.DirEntry[str], top: Path, name: str = "") -> Path | None:
    """None: it was no folder and is gone; else where the folder now is."""
    if not entry.is_dir(follow_symlinks=False):
        os.unlink(entry.path)
        return None
    return Path(entry.path).rename(top / name) if name else Path(entry.path)


def sweep() -> None:
    """Remove what bots of this user left that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        with contextlib.suppress(OSError):
            about = folder.lstat()
            if stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid():
                lock = _locked(folder)
                remove(folder)
                os.close(lock)


def _locked(folder: Path) -> int:
    """Raises BlockingIOError where a living process holds it.

    systemd-tmpfiles keeps its hands off a folder that is locked like this (tmpfiles.d(5)).
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _copied(kernel: Path, ground: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="program-", dir=ground))
    (folder / "inside").mkdir()
    shutil.copyfile(kernel, folder / KERNEL)
    for file in Path(inside.__file__).parent.glob("*.py"):
        shutil.copyfile(file, folder / "inside" / file.name)
    _open_to_all(folder)
    return folder


def _open_to_all(folder: Path) -> None:
    for each in (folder, *folder.rglob("*")):
        each.chmod(0o755 if each.is_dir() else 0o644)
