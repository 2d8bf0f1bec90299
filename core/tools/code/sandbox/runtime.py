"""What a kernel gets of this machine: the folders to read, a user of its own, a runtime folder.

The runtime folder is made by a bot's process for its sandboxes, and taken away again. It lies in
the machine's folder for temporary files, as a root bot's own folders can be closed to the users
that its kernels run as. It holds a copy of the programs (readable for all) and, under Landlock, a
folder for each kernel (closed to all others). It is locked as long as the process lives, so that
the next start can tell what a killed one left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
import stat
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from core.tools.code.sandbox import inside
from core.tools.code.sandbox.sandbox import SandboxFailed

# Not all of /usr: programs of one's own are often put into /usr/src/app, settings and all.
SYSTEM_FOLDERS = tuple(
    Path("/usr", each)
    for each in (
        *("bin", "lib", "lib32", "lib64", "libx32", "share"),
        *("local/bin", "local/lib", "local/lib64", "local/share"),
    )
)
"""System folders that kernels can read."""
SYSTEM_LINKS = tuple(map(Path, ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")))
LOADER = Path("/etc/ld.so.cache")
"""Where the loader finds libraries outside its standard folders; it contains only names of
libraries."""
# https://systemd.io/UIDS-GIDS/: 60706 to 61183 are unused by systemd and distributions.
FIRST_UID, UID_COUNT = 60800, 128
NO_FREE_UID = "128 Python processes are already running"
RUNTIME_PREFIX = "ponte-code-"
KERNEL_FILE = "kernel.py"


def system_folders() -> tuple[Path, ...]:
    """Return the existing system folders."""
    return tuple(each for each in SYSTEM_FOLDERS if each.is_dir())


def python_folders(python: Path) -> tuple[Path, ...]:
    """Return the folders of a Python environment and its base, if they are not below /usr."""
    environment = python.parent.parent
    base = python.resolve().parent.parent
    folders = dict.fromkeys((environment, environment.resolve(), base))
    return tuple(each for each in folders if not each.is_relative_to("/usr"))


def find_hidden(trees: Iterable[Path]) -> tuple[Path, ...]:
    """Return where Ponte's own modules lie within `trees`. Kernels must not read them."""
    standard = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    packages = {"site-packages", "dist-packages"}
    ours = set[Path]()
    for path in (Path(each) for each in sys.path if os.path.isdir(each or ".")):
        is_standard = any(path.is_relative_to(each) for each in standard)
        if not is_standard or packages & set(path.parts):
            ours.add(path.resolve())
    return tuple(sorted(each for each in ours if any(_is_below(each, tree) for tree in trees)))


def split_around(tree: Path, hidden: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """Yield parts of `tree` without hidden ones. True: the whole part may be read; False: only its
    names."""
    within = [each for each in hidden if _is_below(each, tree)]
    if not within:
        yield tree, True
        return
    yield tree, False
    for child in sorted(tree.iterdir()):
        # What a link leads to is in a tree itself, or is not wanted.
        if child not in within and not child.is_symlink():
            yield from split_around(child, within)


def _is_below(path: Path, tree: Path) -> bool:
    return path != tree and path.is_relative_to(tree)


@dataclass(slots=True)
class Users:
    """User ids that nobody else on this machine uses, one for each kernel.

    `first` depends on the process: limits that count by user (RLIMIT_NPROC) must not be shared with
    the kernels of another Ponte on this machine.
    """

    first: int = field(default_factory=os.getpid)
    _busy_uids: set[int] = field(default_factory=set)

    def take(self) -> int | None:
        """Reserve a user id. None if Ponte is not root; then the kernel is Ponte's own user."""
        if os.geteuid() != 0:
            return None
        for turn in range(UID_COUNT):
            number = FIRST_UID + (self.first + turn) % UID_COUNT
            if number not in self._busy_uids:
                self._busy_uids.add(number)
                return number
        raise SandboxFailed(NO_FREE_UID)

    def give_back(self, number: int | None) -> None:
        """Release a user id."""
        self._busy_uids.discard(number or 0)


USERS = Users()
"""Shared by the whole process, so that kernels of different sandboxes are different users too."""


class RuntimeFolder:
    """The runtime folder of this process. Blocking: call its methods in a thread."""

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._folder: Path | None = None
        self._programs: dict[Path, Path] = {}

    def program(self, kernel: Path) -> Path:
        """Return a folder with the file `kernel.py` and the package `inside`."""
        with self._making:
            runtime = self._make_folder()
            if kernel not in self._programs:
                folder = Path(tempfile.mkdtemp(prefix="program-", dir=runtime))
                (folder / "inside").mkdir()
                shutil.copyfile(kernel, folder / KERNEL_FILE)
                for file in Path(inside.__file__).parent.glob("*.py"):
                    shutil.copyfile(file, folder / "inside" / file.name)
                for each in (folder, *folder.rglob("*")):
                    each.chmod(0o755 if each.is_dir() else 0o644)
                self._programs[kernel] = folder
            return self._programs[kernel]

    def session(self, owner: int | None) -> Path:
        """Return a new folder with `work` and `tmp` in it, owned by `owner` (None: Ponte's
        user)."""
        with self._making:
            runtime = self._make_folder()
        folder = Path(tempfile.mkdtemp(prefix="session-", dir=runtime))
        for each in (folder, folder / "work", folder / "tmp"):
            each.mkdir(mode=0o700, exist_ok=True)
            if owner is not None:
                os.chown(each, owner, owner)
        return folder

    def sessions(self) -> list[str]:
        """Return the names of session folders that are not removed yet."""
        return [each.name for each in self._folder.glob("session-*")] if self._folder else []

    def close(self) -> None:
        """Remove everything."""
        if self._folder is not None:
            remove(self._folder)
            os.close(self._lock)
        self._folder = None
        self._programs.clear()

    def _make_folder(self) -> Path:
        if self._folder is None or not self._folder.is_dir():
            sweep()
            self._programs.clear()
            new = Path(tempfile.mkdtemp(prefix=f".{RUNTIME_PREFIX}"))
            new.chmod(0o711)
            self._lock = _lock_folder(new)
            # Under its name, where others sweep, only once it is locked.
            self._folder = new.rename(new.with_name(new.name[1:]))
        return self._folder


def remove(folder: Path) -> None:
    """Remove a folder, however deep. The content of nested folders is moved to the top first.

    `shutil.rmtree` fails at 1,000 levels before Python 3.13, and a path at 4,096 bytes.
    """
    moved = itertools.count()
    with os.scandir(folder) as top:
        waiting = [_remove_or_move(entry, folder) for entry in top]
    while waiting:
        here = waiting.pop()
        if here is None:
            continue
        with os.scandir(here) as entries:
            waiting += [_remove_or_move(each, folder, f".{next(moved)}.moved") for each in entries]
        here.rmdir()
    folder.rmdir()


def _remove_or_move(entry: os.DirEntry[str], top: Path, name: str = "") -> Path | None:
    """Remove a file and return None, or return where the folder now is."""
    if not entry.is_dir(follow_symlinks=False):
        os.unlink(entry.path)
        return None
    return Path(entry.path).rename(top / name) if name else Path(entry.path)


def sweep() -> None:
    """Remove what killed Ponte processes of this user left."""
    for folder in Path(tempfile.gettempdir()).glob(RUNTIME_PREFIX + "*"):
        with contextlib.suppress(OSError):
            about = folder.lstat()
            if stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid():
                lock = _lock_folder(folder)
                remove(folder)
                os.close(lock)


def _lock_folder(folder: Path) -> int:
    """Lock a folder. Raise BlockingIOError if a living process holds it.

    systemd-tmpfiles does not clean a folder that is locked like this (tmpfiles.d(5)).
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock
