"""The home folder of one Ponte, the lock of the process that holds it, and what a command works
with."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from bot.config.ponte_toml import Config
from bot.config.table_names import NOTHING_KNOWN, KnownNames
from bot.settings import STORED_FILE, Settings
from core.base.errors import HomeTaken, PonteError, SettingsError
from core.integrations import token_fault

log = structlog.get_logger("home")
LOCK_FILE = "ponte.lock"
SOCKET_FILE = "ponte.sock"
PSEUDONYMS_FILE = "pseudonyms.key"
PAGE_KEY_FILE = "page.key"
WEB_TOKEN_FILE = "web-token"  # noqa: S105 - a file name
REPLACE_PLAN_FILE = "restoring"
"""The plan of a `replace` that has begun. The next process that takes the home finishes it."""
NEVER_REPLACED = frozenset({
    LOCK_FILE, SOCKET_FILE, REPLACE_PLAN_FILE, "python", "snapshots",
    STORED_FILE, f"{STORED_FILE}.last", f"{STORED_FILE}.trial",
})  # fmt: skip
"""`replace` leaves these: they belong to the folder and not to its data."""
ASIDE_PREFIX = "replaced-"
"""The name of a folder with data that a restore replaced begins with this."""
_STAGING = re.compile(r"(backup|restore)-[a-z0-9_]{8}")
"""The name of a folder in which a backup or a restore collects its files."""
_KEY_BYTES = 32
_SYSTEM_FOLDERS = frozenset(
    f"/{name}"
    for name in """
bin
boot
dev
dev/shm
etc
home
lib
media
mnt
opt
proc
run
sbin
srv
sys
tmp
usr
usr/local
var
var/cache
var/lib
var/log
var/tmp
""".splitlines()
)
"""The folders of the whole machine (Filesystem Hierarchy Standard 3.0)."""
_MAX_SOCKET_PATH_BYTES = 103
"""The limit of a Unix socket's path: `sun_path` has 104 bytes with its final zero on macOS, 108 on
Linux (unix(7))."""
_BACKLOG = 128
"""The kernel holds this many connections until they are accepted."""


class HomeUnusable(PonteError):
    """The data folder cannot be created, read or written."""

    code = "home_unusable"
    sentence = "Can't use {home} ({cause}). Make it writable, or set PONTE_HOME to another folder."


class HomeNotOurs(HomeUnusable):
    """The data folder belongs to another user of this machine, or others can open it."""

    sentence = (
        "The folder {home} isn't safe for Ponte's secrets: {cause}. Set PONTE_HOME to a folder "
        "that only Ponte uses."
    )


class Home:
    """The data folder of a Ponte (PONTE_HOME), which one process at a time holds. Nothing in it is
    changed before `take` locks it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold the data folder, by a lock on a file in it, until the block ends or the process
        dies. A missing folder is made (0700). A restore that a killed process began is finished.

        Raises HomeTaken if another process holds the folder, HomeUnusable if it cannot be written
        or closed to other users.
        """
        self._ensure_private_folder()
        with self._explain_errors():
            # Not inherited by programs that we start (PEP 446), so none of them keeps the lock.
            # O_NOFOLLOW refuses a symbolic link, which may lead out of the folder.
            lock = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            with self._explain_errors():
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise HomeTaken(pid=self.holder() or "unknown", home=self.path) from None
                # For the message to whoever finds the home taken.
                os.ftruncate(lock, 0)
                os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
                # What a killed process left is removed, and its restore is finished.
                (self.path / f"{REPLACE_PLAN_FILE}.new").unlink(missing_ok=True)
                if (self.path / REPLACE_PLAN_FILE).exists():
                    self._finish_replace()
                    log.warning("finished an interrupted restore")
                self._remove_old_staging()  # folders of a killed backup or restore
            try:
                yield
            finally:
                self._remove_socket()
        finally:
            os.close(lock)  # releases the lock

    @contextmanager
    def staging(self, kind: str) -> Iterator[Path]:
        """Yield a new folder (0700) in the data folder, in which a `backup` or `restore` collects
        its files, and remove it at the end.

        The lock on the folder tells other processes that it is in use. Folders that killed
        processes left have none, and the next one removes them. Raise HomeUnusable.
        """
        with self._explain_errors():
            self._remove_old_staging()
            folder = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=self.path))
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(descriptor)  # ends the lock
            # A `replace` was interrupted, and the folder has what is not moved yet.
            if not (self.path / REPLACE_PLAN_FILE).exists():
                shutil.rmtree(folder, ignore_errors=True)

    def entries(self) -> list[str]:
        """Return the names that a restore replaces: all but NEVER_REPLACED and unfinished work."""
        names = (entry.name for entry in self.path.iterdir())
        return sorted(
            name
            for name in names
            if name not in NEVER_REPLACED
            and not name.startswith(ASIDE_PREFIX)  # what an earlier restore replaced
            and not name.endswith(".new")  # a file that is not written to its end
            and not _STAGING.fullmatch(name)
        )

    def replace(self, staged: Path, aside: str) -> None:
        """Move all `entries` into the folder `aside`, and the contents of `staged` into their
        place. Both folders are below the data folder.

        A plan of all moves is written first. The caller holds the home. After a crash the next
        process that takes it finishes the plan, so that no mixture of old and new data is used.
        """
        new = sorted(entry.name for entry in staged.iterdir())
        plan = {"from": staged.name, "aside": aside, "old": self.entries(), "new": new}
        self.write_secret(REPLACE_PLAN_FILE, json.dumps(plan).encode())
        with self._explain_errors():
            self._finish_replace()

    def is_served(self) -> bool:
        """Return whether a process accepts connections on the folder's socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
            try:
                with self.address() as address:
                    trial.connect(address)
            except OSError:
                return False
        return True

    def holder(self) -> str:
        """Return the process id in the lock file; "" if there is none."""
        try:
            return (self.path / LOCK_FILE).read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            return ""

    def pseudonyms(self) -> bytes:
        """The key for the pseudonyms under which servers know people: 32 random bytes, generated
        once."""
        return self._read_or_make_secret(PSEUDONYMS_FILE, os.urandom(_KEY_BYTES))

    def page_key(self) -> bytes:
        """The key of the page's cookies: 32 random bytes, generated once."""
        return self._read_or_make_secret(PAGE_KEY_FILE, os.urandom(_KEY_BYTES))

    def web_token(self) -> str:
        """Return the page's token if the settings have none: generated once and stored in
        `web-token`.

        The caller holds the home. Raises HomeUnusable, and SettingsError if a person wrote a bad
        token there.
        """
        fresh = f"{secrets.token_urlsafe(_KEY_BYTES)}\n".encode()
        return self._check_token(self._read_or_make_secret(WEB_TOKEN_FILE, fresh))

    def kept_web_token(self) -> str:
        """Return "" if no token is kept. The home need not be held."""
        with self._explain_errors(), suppress(FileNotFoundError):
            return self._check_token((self.path / WEB_TOKEN_FILE).read_bytes())
        return ""

    def secrets(self) -> dict[str, bytes]:
        """Return the generated secrets by file name, and make missing ones. All processes of a
        Ponte with Postgres need the same ones."""
        self.pseudonyms()
        self.page_key()
        self.web_token()
        files = (PSEUDONYMS_FILE, PAGE_KEY_FILE, WEB_TOKEN_FILE)
        return {name: (self.path / name).read_bytes() for name in files}

    def share(self, name: str, value: bytes) -> None:
        """Store a secret that all processes of a shared database use, in place of this folder's
        own. Raises HomeUnusable."""
        if self._read_or_make_secret(name, value) != value:
            self.write_secret(name, value)

    def _check_token(self, kept: bytes) -> str:
        """Raise SettingsError if the stored token is too weak: an operator may have written it."""
        token = kept.decode("utf-8", errors="replace").strip()
        if wrong := token_fault(token):
            raise SettingsError(
                "{path}: {wrong}. Fix this, or delete the file so that `ponte run` creates a "
                "new one.",
                path=self.path / WEB_TOKEN_FILE,
                wrong=wrong,
            )
        return token

    def listen(self) -> socket.socket:
        """Return a listening socket at `ponte.sock` (0600), by which commands of the shell reach
        this process. The caller holds the home.

        The socket file of a killed process is removed: the lock proves that nobody serves it.
        """
        self._remove_socket()
        with self._explain_errors(), ExitStack() as closing:
            listening = closing.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            # Before bind, so that it is never open to others: bind(2) takes the mode from here.
            with suppress(OSError):  # macOS refuses it for a socket: the folder's mode protects it
                os.fchmod(listening.fileno(), 0o600)
            with self.address() as address:
                listening.bind(address)
            listening.listen(_BACKLOG)
            listening.setblocking(False)
            # Without an error, the socket stays open.
            closing.pop_all()
        return listening

    def _remove_socket(self) -> None:
        with self._explain_errors():
            (self.path / SOCKET_FILE).unlink(missing_ok=True)

    @contextmanager
    def address(self) -> Iterator[str]:
        """Yield a path of the socket that is short enough to bind or connect to, while the block
        runs: one through an open descriptor of the folder, if its own is too long for a Unix
        socket. Raise OSError on macOS, which has no such path."""
        path = str(self.path / SOCKET_FILE)
        if len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES:
            yield path
            return
        if not hasattr(os, "O_PATH"):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
        folder = os.open(self.path, os.O_PATH | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{folder}/{SOCKET_FILE}"
        finally:
            os.close(folder)

    def _finish_replace(self) -> None:
        """Carry out the plan that `replace` wrote. A crash may have interrupted it, so each step
        may have been done before: a new entry is in its place once it is not in the staging folder
        any more, and then the entry of that name is not an old one to move aside. The plan is
        deleted last, after all moves are on disk."""
        plan = json.loads((self.path / REPLACE_PLAN_FILE).read_text())
        staged, aside = self.path / plan["from"], self.path / plan["aside"]
        if plan["old"]:
            aside.mkdir(mode=0o700, exist_ok=True)
        for name in plan["old"]:
            is_new = name in plan["new"] and not (staged / name).exists()
            if not is_new and (self.path / name).exists():
                (self.path / name).rename(aside / name)
        for name in plan["new"]:
            if (staged / name).exists():
                (staged / name).rename(self.path / name)
        for folder in (self.path, aside):
            if folder.exists():
                sync_folder(folder)
        (self.path / REPLACE_PLAN_FILE).unlink()
        sync_folder(self.path)

    def _remove_old_staging(self) -> None:
        """Remove staging folders (in which a backup or a restore collects its files) that no
        process has locked, and so none works in."""
        # A restore has begun: its plan still moves files out of one of them.
        if (self.path / REPLACE_PLAN_FILE).exists():
            return
        for folder in self.path.iterdir():
            # A symbolic link is no folder that `staging` made.
            if _STAGING.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
                except BlockingIOError:
                    continue
                finally:
                    os.close(descriptor)

    def check(self) -> None:
        """Raise HomeUnusable if a process could not take this folder now."""
        self._ensure_private_folder(changes=False)
        with self._explain_errors():
            if (self.path / LOCK_FILE).exists():
                os.close(os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_NOFOLLOW))

    def _ensure_private_folder(self, *, changes: bool = True) -> None:
        """Check that the folder belongs to this user and that nobody else uses it. With `changes`,
        also make a missing folder and close an open one to others. Raises HomeUnusable."""
        with self._explain_errors(), ExitStack() as closing:
            if changes:
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # By this descriptor, so that nobody can swap the folder between the reading of its
            # owner and the setting of its mode.
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            closing.callback(os.close, folder)
            status = os.fstat(folder)
            if status.st_uid != os.geteuid():
                raise HomeNotOurs(home=self.path, cause="it belongs to another user")
            if status.st_mode & 0o077:  # open to other users
                # To close a folder that others use would take their access to it.
                is_system = str(self.path.resolve()) in _SYSTEM_FOLDERS
                owners = (entry.lstat().st_uid for entry in self.path.iterdir())
                if is_system or any(owner != os.geteuid() for owner in owners):
                    raise HomeNotOurs(home=self.path, cause="it's shared with other users")
                if changes:
                    os.fchmod(folder, 0o700)

    def _read_or_make_secret(self, name: str, fresh: bytes) -> bytes:
        """Return the contents of a secret file, which only this user can read. A missing file is
        made from `fresh`. Raises HomeUnusable.
        """
        path = self.path / name
        with self._explain_errors():
            if not path.exists():
                self.write_secret(name, fresh)
            # O_NOFOLLOW refuses a symbolic link, which may lead out of the folder.
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    os.fchmod(file.fileno(), 0o600)
                return file.read()

    def write_secret(self, name: str, secret: bytes) -> None:
        """Write a secret file completely or not at all, readable by this user only. Raises
        HomeUnusable."""
        new_path = self.path / f"{name}.new"
        with self._explain_errors():
            new_path.touch(mode=0o600)  # before there is anything to read
            with new_path.open("wb") as file:
                file.write(secret)
                file.flush()
                os.fsync(file.fileno())
            new_path.rename(self.path / name)
            sync_folder(self.path)

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        """Raise HomeUnusable, with its cause and the file's name, for an OSError in the block."""
        try:
            yield
        except OSError as error:
            cause = error.strerror or type(error).__name__
            if isinstance(error.filename, str | os.PathLike) and Path(error.filename) != self.path:
                cause = f"{Path(error.filename).name}: {cause}"
            raise HomeUnusable(home=self.path, cause=cause) from None


@dataclass(frozen=True, slots=True)
class Start:
    """The start of a command of the shell: the settings, ponte.toml as read, and the home, whose
    lock is not taken yet.

    `fault`: ponte.toml has errors, and `config` is empty. The command then continues only if a
    running Ponte answers it over its socket: that process goes on with the ponte.toml that it read
    when it had no errors. `known`: the names that a running Ponte looked up.
    """

    settings: Settings
    config: Config
    home: Home
    fault: SettingsError | None = None
    known: KnownNames = NOTHING_KNOWN


def sync_folder(folder: Path) -> None:
    """Sync the folder: a new name in it is durable only then (fsync(2))."""
    entry = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)
