"""What starts a kernel program where it can harm nobody; bubblewrap and Landlock implement it.

The kernel program is one file. It runs as `__main__` with everything about it already fenced:
namespaces or Landlock, limits and the seccomp filter are in force before its first line, so it
calls nothing of ours. It finds

- `sys.argv[1]`: the number of the file descriptor that it writes its frames to;
- file descriptor 0: what `RunningProgram.stdin` sends; 1 and 2: one pipe, `RunningProgram.output`;
- the working directory: its work folder, empty, also `$HOME`; `$TMPDIR` another empty one. These
  two are all that it can write to (and `/dev/shm` under bubblewrap);
- the environment of `KERNEL_ENVIRONMENT` and nothing else.

What comes out of `frames` and `output` is untrusted: code in there can write to both.

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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from core.base.errors import ToolError
from core.base.i18n import say
from core.tools.code.sandbox import inside

NO_BWRAP = (
    "bubblewrap isn't installed: run `apt install bubblewrap`, or install your system's package"
)
NOT_LINUX = "the sandbox needs Linux; this is {system}"
NO_TABLE = "this processor ({machine}) isn't supported; supported processors: x86_64 and aarch64"
NO_LANDLOCK = (
    "this Linux has no Landlock (5.13 or later, with `landlock` in /sys/kernel/security/lsm)"
)
PROBE_ESCAPED = "a check failed: the test code {what}"
PROBE_SILENT = "the test code ended without a result"

_NAMESPACES = (
    "users can't create namespaces on this machine: run `sysctl -w "
    "kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000` or, in a container, "
    "change the settings of its runtime"
)
_APPARMOR = (
    "AppArmor restricts user namespaces: add a profile with `userns` for /usr/bin/bwrap, or run "
    "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
)
_RECOGNISED = (
    ("No such file or directory: 'bwrap'", NO_BWRAP),
    ("No permissions to create new namespace", _NAMESPACES),
    ("Creating new namespace failed", _NAMESPACES),
    ("setting up uid map", _APPARMOR),
    ("setgroups", _APPARMOR),
    ("Failed to make / slave", _APPARMOR),
    ("loopback: Failed RTM_NEWADDR", _APPARMOR),
    ("Can't mount proc", "this container hides parts of /proc, so a new /proc can't be mounted"),
    ("Unknown option", "bubblewrap is too old; version 0.8 or later is needed"),
    ("Can't find source path", "other users can't read the sandbox's Python: {said}"),
    ("Permission denied: '", "other users can't read the sandbox's Python: {said}"),
    ("ModuleNotFoundError", "the sandbox's Python doesn't work: {said}"),
    # Podman's own filter of system calls, without capabilities: "Can't set hostname to sandbox".
    ("bwrap: Can't", "this system forbids what bubblewrap needs: {said}"),
    (
        "Operation not permitted",
        "Ponte runs as root and isn't allowed to switch to another user: {said}",
    ),
    ("Invalid argument", "Ponte runs as root and can't switch to another user: {said}"),
)


MiB = 1024 * 1024

MAX_FRAME_BYTES = 16 * MiB
"""Bytes that a frame's line can have; `readline` raises ValueError for a longer one."""

NOT_STARTED = "I couldn't start a sandbox, so no code was run. Type `status` for the reason."

KERNEL_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "Agg",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
)
"""What the kernel program finds in its environment, beside HOME and TMPDIR."""


def explain_start_failure(cause: str) -> str:
    """`cause` is the output of a program that failed to start. bubblewrap's messages:
    https://github.com/containers/bubblewrap/blob/main/bubblewrap.c."""
    last_line = cause.strip().splitlines()[-1] if cause.strip() else ""
    for needle, sentence in _RECOGNISED:
        if needle in cause:
            return say(sentence, "en", said=last_line)
    return last_line


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """The limits of one kernel for its whole life. Sizes are in bytes, `cpu` is in seconds.

    `memory` is the total: a kernel cannot start a second process or get memory elsewhere.
    """

    memory: int = 1024 * MiB
    cpu: int = 3600
    file: int = 64 * MiB
    descriptors: int = 256
    threads: int = 128
    work: int = 128 * MiB
    temporary: int = 64 * MiB
    entries: int = 10_000
    """Files and folders; counted from outside, ten times a second."""


class SandboxFailed(ToolError):
    """No kernel could be started, so no code has run. `cause` is the reason for the operator."""

    def __init__(self, cause: str) -> None:
        super().__init__(NOT_STARTED, code="no_safe_sandbox", hint=cause)
        self.cause = cause


# Not all of /usr: programs of one's own are often put into /usr/src/app, settings and all.
SYSTEM_FOLDERS = tuple(
    Path("/usr", name)
    for name in (
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
    return tuple(folder for folder in SYSTEM_FOLDERS if folder.is_dir())


def python_folders(python: Path) -> tuple[Path, ...]:
    """Folders below /usr are left out: a kernel reads them anyway."""
    environment = python.parent.parent
    # The environment's `bin/python` is a link to the base's.
    base = python.resolve().parent.parent
    folders = dict.fromkeys((environment, environment.resolve(), base))
    return tuple(folder for folder in folders if not folder.is_relative_to("/usr"))


def find_hidden(trees: Iterable[Path]) -> tuple[Path, ...]:
    """Return where Ponte's own modules lie within `trees`, which kernels can read otherwise. They
    are in the folders of `sys.path`, except those of the standard library: kernels need these.
    Installed packages below the standard library are Ponte's again."""
    standard = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    packages = {"site-packages", "dist-packages"}
    ours = set[Path]()
    # An empty entry of `sys.path` is the present folder.
    for path in (Path(name) for name in sys.path if os.path.isdir(name or ".")):
        is_standard = any(path.is_relative_to(folder) for folder in standard)
        if not is_standard or packages & set(path.parts):
            ours.add(path.resolve())
    return tuple(
        sorted(folder for folder in ours if any(_is_below(folder, tree) for tree in trees))
    )


def split_around(tree: Path, hidden: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """Yield the parts without the `hidden` ones. True: the whole part may be read; False: only the
    names in it.

    A sandbox can only allow whole folders. So a folder with something hidden below it is split into
    its children.
    """
    within = [path for path in hidden if _is_below(path, tree)]
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
        """Return None if Ponte is not root and so cannot change users; the kernel then runs as
        Ponte's own user. The search begins at `first`, so that two Pontes on one machine seldom use
        the same ids. Raise SandboxFailed if all are taken."""
        if os.geteuid() != 0:
            return None
        for turn in range(UID_COUNT):
            number = FIRST_UID + (self.first + turn) % UID_COUNT
            if number not in self._busy_uids:
                self._busy_uids.add(number)
                return number
        raise SandboxFailed(NO_FREE_UID)

    def give_back(self, number: int | None) -> None:
        self._busy_uids.discard(number or 0)


USERS = Users()
"""Shared by the whole process, so that kernels of different sandboxes are different users too."""


class RuntimeFolder:
    """The folder in /tmp with the files of this process's kernels. Its methods block: call them in
    a thread."""

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._folder: Path | None = None
        self._programs: dict[Path, Path] = {}

    def program(self, kernel: Path) -> Path:
        """Return a folder with copies of the file `kernel.py` and the package `inside`, which run
        inside the sandbox. There they run as another user, who may be unable to read the folder
        where Ponte is installed. Each copy is made once, under a lock, because kernels start in
        several threads. `_make_folder` forgets the copies if a cleaner of /tmp removed them."""
        with self._making:
            runtime = self._make_folder()
            if kernel not in self._programs:
                folder = Path(tempfile.mkdtemp(prefix="program-", dir=runtime))
                (folder / "inside").mkdir()
                shutil.copyfile(kernel, folder / KERNEL_FILE)
                for file in Path(inside.__file__).parent.glob("*.py"):
                    shutil.copyfile(file, folder / "inside" / file.name)
                for path in (folder, *folder.rglob("*")):
                    path.chmod(0o755 if path.is_dir() else 0o644)
                self._programs[kernel] = folder
            return self._programs[kernel]

    def session(self, owner: int | None) -> Path:
        """Return a new folder with `work` and `tmp` in it, owned by the user `owner` (None: Ponte's
        user)."""
        with self._making:
            runtime = self._make_folder()
        folder = Path(tempfile.mkdtemp(prefix="session-", dir=runtime))
        for path in (folder, folder / "work", folder / "tmp"):
            path.mkdir(mode=0o700, exist_ok=True)
            if owner is not None:
                os.chown(path, owner, owner)
        return folder

    def sessions(self) -> list[str]:
        return [path.name for path in self._folder.glob("session-*")] if self._folder else []

    def close(self) -> None:
        if self._folder is not None:
            remove(self._folder)
            os.close(self._lock)
        self._folder = None
        self._programs.clear()

    def _make_folder(self) -> Path:
        """Folders of processes that ended are removed first; a lock marks those in use."""
        # Made at first use, or again if a cleaner of /tmp removed it.
        if self._folder is None or not self._folder.is_dir():
            sweep()
            self._programs.clear()
            new = Path(tempfile.mkdtemp(prefix=f".{RUNTIME_PREFIX}"))
            # Kernels that run as other users may enter it, but not list it.
            new.chmod(0o711)
            self._lock = _lock_folder(new)  # the open descriptor, which holds the lock
            # Other processes sweep folders with such names, so it gets one only once it is locked.
            self._folder = new.rename(new.with_name(new.name[1:]))
        return self._folder


def remove(folder: Path) -> None:
    """The content of nested folders is moved to the top first.

    `shutil.rmtree` fails at 1,000 levels before Python 3.13, and a path at 4,096 bytes.
    """
    # Each folder found deeper gets a new name at the top: ".0.moved", ".1.moved" and so on.
    moved = itertools.count()
    with os.scandir(folder) as top:
        waiting = [_remove_or_move(entry, folder) for entry in top]
    while waiting:
        here = waiting.pop()
        if here is None:  # a file, which is removed already
            continue
        with os.scandir(here) as entries:
            waiting += [
                _remove_or_move(dir_entry, folder, f".{next(moved)}.moved") for dir_entry in entries
            ]
        here.rmdir()
    folder.rmdir()


def _remove_or_move(entry: os.DirEntry[str], top: Path, name: str = "") -> Path | None:
    if not entry.is_dir(follow_symlinks=False):
        os.unlink(entry.path)
        return None
    return Path(entry.path).rename(top / name) if name else Path(entry.path)


def sweep() -> None:
    """Remove what killed processes of this user left. A folder that is locked belongs to a living
    process: the lock fails, and the folder is passed over."""
    for folder in Path(tempfile.gettempdir()).glob(RUNTIME_PREFIX + "*"):
        with contextlib.suppress(OSError):
            about = folder.lstat()
            if stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid():
                lock = _lock_folder(folder)
                remove(folder)
                os.close(lock)


def _lock_folder(folder: Path) -> int:
    """Lock a folder as one that is in use, and return the descriptor that holds the lock: the
    system releases it when the process ends, however it ends. Raise BlockingIOError if a living
    process holds it.

    systemd-tmpfiles does not clean a folder that is locked like this (tmpfiles.d(5)).
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock
