"""The sandbox's own Python: made when it is first needed, kept for all kernels.

It holds the pinned libraries, whole or not at all, and nothing of the bot's. Its name is a hash of
all that it is made of, so that a new version of Ponte makes a new one, and an unfinished one is
never taken for it.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import platform
import secrets
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from core.clients.http import Proxies
from core.domain.errors import PonteError
from core.tools.code.sandbox.process import start_program
from core.tools.code.sandbox.sandbox import SandboxFailed

log = structlog.get_logger("code")

LOCK = Path(__file__).parent / "requirements-sandbox.txt"
FIGURES = Path(__file__).parent / "kernel" / "figures.py"
SECONDS = 900.0
"""What the longest step may take: some 100 MB are fetched."""
AGAIN = 600.0
"""Seconds after which a failed installation is tried again."""
OLD = 86_400.0
"""Seconds after which a folder of another name is in nobody's hands any more."""
PATIENCE = 180.0
"""Seconds that a run waits for an installation, which then goes on without it."""
STILL = "they are still being installed"
FOR_ALL = Path("/var/cache/ponte")
SETTING_UP = "is setting up Python for the first time, which takes about a minute…"
_OLDEST = (3, 11)
_ASK = "import sys; print(*sys.version_info[:3], sys.implementation.cache_tag)"
_NOBODY = 65534
_NOT_ANOTHER = (errno.EPERM, errno.EINVAL)  # setresuid(2); a file is refused with EACCES
_ANSWER_SECONDS = 20.0
"""Seconds in which a Python tells its version."""
_FALLBACKS = ("/usr/local/bin/python3", "/usr/bin/python3")

# Proxies may hold a password, so they go to pip on stdin and not as its arguments.
_PIP = (
    "import json, os, runpy, sys; os.environ.update(json.load(sys.stdin)); "
    "sys.argv[0] = 'pip'; runpy.run_module('pip', run_name='__main__')"
)
_WARM = "import matplotlib.pyplot, openpyxl, pandas, PIL.Image, ponte_figures"

_CAUSES = (
    ("No space left on device", "the disk is full"),
    ("No module named pip", "pip is missing in Ponte's own environment"),
    ("No module named venv", "this Python has no module venv"),
    ("DO NOT MATCH THE HASHES", "a library is not the one that was pinned"),
    ("Permission denied", "its folder cannot be written"),
    ("No matching distribution", "a library cannot be had for this Python from where pip looks"),
    ("HTTPSConnectionPool", "the package index cannot be reached"),
    ("Temporary failure in name resolution", "the package index cannot be reached"),
    ("Connection", "the package index cannot be reached"),
)  # fmt: skip

Tell = Callable[[str], Awaitable[None]]


class NoPython(PonteError):
    code = "no_python"
    sentence = (
        "No Python 3.11 or newer can be read by other users of this machine, and code may not run "
        "as root. Install one under /usr, or run Ponte as a user of its own."
    )


class InstallationFailed(PonteError):
    code = "installation_failed"
    sentence = "the libraries could not be installed: {cause}"

    def __init__(self, cause: str) -> None:
        super().__init__(cause=cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class BasePython:
    """`version` is in full, as in "3.11.2 cpython-311": compiled files depend on it."""

    path: Path
    version: str


async def find() -> BasePython:
    """The one that Ponte itself runs on, where kernels can read it; else the system's.

    Where the bot is root its kernels are other users, and a Python under /root is closed to them.
    Raises NoPython, and OSError where a root bot cannot become another user.
    """
    own = getattr(sys, "_base_executable", None) or sys.executable
    for path in dict.fromkeys((own, *_FALLBACKS)):
        if version := await _version(path):
            return BasePython(await asyncio.to_thread(Path(path).resolve), version)
    raise NoPython


async def make_bare(base: Path, folder: Path) -> None:
    """An environment without libraries; needs no network. Raises InstallationFailed."""
    await _run([str(base), "-I", "-m", "venv", "--without-pip", str(folder)], _environment(folder))


async def fill(folder: Path, proxies: Proxies) -> None:
    """The pinned libraries, by their hashes, as ready wheels only: nothing of theirs runs."""
    environment = {"HTTPS_PROXY": proxies.https, "HTTP_PROXY": proxies.http, "NO_PROXY": proxies.no}
    told = json.dumps({name: value for name, value in environment.items() if value})
    await _run(
        [
            sys.executable, "-c", _PIP, "--python", str(folder / "bin" / "python"), "install",
            "--quiet", "--no-input", "--no-deps", "--require-hashes", "--only-binary", ":all:",
            "--requirement", str(LOCK),
        ],
        None,
        told.encode(),
    )  # fmt: skip
    for library in (folder / "lib").glob("python3*/site-packages"):
        await asyncio.to_thread(shutil.copyfile, FIGURES, library / "ponte_figures.py")
        (library / "ponte_figures.py").chmod(0o644)
    # Compiles what is imported first and lists the machine's fonts, once for all kernels.
    await _run([str(folder / "bin" / "python"), "-I", "-c", _WARM], _environment(folder))


def cause_of(told: str) -> str:
    known = (words for mark, words in _CAUSES if mark in told)
    lines = told.strip().splitlines()
    return next(known, lines[-1][:300] if lines else "pip ended without a word")


@dataclass(frozen=True, slots=True)
class Python:
    """`path` is `…/bin/python`; `lacks` says why the libraries are not there, "" where they are."""

    path: Path
    lacks: str = ""


def place(home: Path) -> Path:
    """The folder for environments: in `home`, which is closed to the other users that kernels run
    as where the bot is root."""
    return (FOR_ALL if os.geteuid() == 0 else home) / "python"


class Environment:
    """`clock` gives seconds that only go forward."""

    def __init__(
        self, folder: Path, proxies: Proxies, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._proxies = proxies
        self._clock = clock
        self._base: BasePython | None = None
        self._making: asyncio.Task[None] | None = None
        self._tried = -AGAIN
        self.lacks = ""
        """Why the libraries are not there, as the last try found."""

    async def python(self, tell: Tell) -> Python:
        """The one with libraries, made now if it must be; else a bare one.

        `tell` takes words for the person while it is made. Raises SandboxFailed where there is no
        Python at all.
        """
        with _worded():
            base, whole = await self._place()
            if not _is_made(whole) and self._clock() - self._tried >= AGAIN:
                await tell(SETTING_UP)
                with suppress(TimeoutError):
                    # Made once for all who wait; it goes on when one of them waits no more.
                    if self._making is None or self._making.done():
                        self._making = asyncio.create_task(self._make(whole, base))
                    async with asyncio.timeout(PATIENCE):
                        await asyncio.shield(self._making)
            return await self._there(base, whole)

    async def bare(self) -> Python:
        """What is there without waiting: the one with libraries if it was made, else a bare one."""
        with _worded():
            return await self._there(*await self._place())

    async def close(self) -> None:
        if self._making is not None:
            self._making.cancel()
            await asyncio.gather(self._making, return_exceptions=True)

    async def _place(self) -> tuple[BasePython, Path]:
        """The Python that it stands on, and its folder: named by all that it is made of."""
        base = self._base = self._base or await find()
        parts = (base.version.encode(), str(base.path).encode(), platform.machine().encode())
        digest = hashlib.sha256(b"\0".join((*parts, LOCK.read_bytes(), FIGURES.read_bytes())))
        return base, self._folder / digest.hexdigest()[:16]

    async def _there(self, base: BasePython, whole: Path) -> Python:
        if _is_made(whole):
            return Python(_python_in(whole))
        bare = whole.with_name(f"{whole.name}-bare")
        if not _is_made(bare):
            async with _becoming(bare) as folder:
                await make_bare(base.path, folder)
        making = self._making is not None and not self._making.done()
        return Python(_python_in(bare), STILL if making else self.lacks)

    async def _make(self, whole: Path, base: BasePython) -> None:
        began = self._clock()
        try:
            async with _becoming(whole) as folder:
                await make_bare(base.path, folder)
                await fill(folder, self._proxies)
            self.lacks = ""
            log.info("the sandbox has its Python", seconds=round(self._clock() - began))
            await asyncio.to_thread(_remove_older, whole)
        except (InstallationFailed, OSError) as error:
            self._tried = self._clock()
            self.lacks = str(error)
            if isinstance(error, OSError):
                why = error.strerror or type(error).__name__
                self.lacks = f"the libraries could not be installed: {why}"
            log.warning("the sandbox lacks its libraries", why=self.lacks)


async def _version(path: str) -> str:
    """ "" where it is none, too old, or not readable for a kernel's user."""
    try:
        process = await _asked(path)
    except OSError as error:
        if error.errno in _NOT_ANOTHER:
            raise
        return ""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            told, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    *numbers, tag = told.decode().split() or ("0", "")
    if process.returncode or tuple(map(int, numbers)) < _OLDEST:
        return ""
    return f"{'.'.join(numbers)} {tag}"


async def _asked(path: str) -> asyncio.subprocess.Process:
    user = _NOBODY if os.geteuid() == 0 else None
    return await start_program(
        path, "-I", "-c", _ASK, cwd="/", env={}, user=user,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


def _environment(folder: Path) -> Mapping[str, str]:
    return {
        "HOME": str(folder),
        "MPLCONFIGDIR": str(folder / "matplotlib"),
        "PATH": "/usr/bin:/bin",
    }


async def _run(
    command: Sequence[str], environment: Mapping[str, str] | None, given: bytes = b""
) -> None:
    shell = ("/bin/sh", "-c", 'umask 022 && exec "$@"', "sh")
    process = await start_program(
        *shell, *command, cwd="/", env=environment,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS):
            told, _ = await process.communicate(given)
    except TimeoutError:
        raise InstallationFailed(f"it took longer than {SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise InstallationFailed(cause_of(told.decode(errors="replace")))


@contextmanager
def _worded() -> Iterator[None]:
    try:
        yield
    except SandboxFailed:
        raise
    except (PonteError, OSError) as error:
        raise SandboxFailed(str(error)) from error


@asynccontextmanager
async def _becoming(whole: Path) -> AsyncIterator[Path]:
    """A folder that takes its place when the block ends well, and goes when it does not."""
    await asyncio.to_thread(_open_to_all, whole.parent)
    folder = whole.with_name(f".{whole.name}-{secrets.token_hex(4)}")
    try:
        yield folder
        with suppress(OSError):  # another process was first
            folder.rename(whole)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _open_to_all(folder: Path) -> None:
    """Kernels can be other users than the bot, whose own mask may close what it makes."""
    for each in (folder.parent, folder):
        made = not each.exists()
        each.mkdir(exist_ok=True)
        if made or each == folder:
            each.chmod(0o755)


def _python_in(folder: Path) -> Path:
    return folder / "bin" / "python"


def _is_made(folder: Path) -> bool:
    return _python_in(folder).exists()


def _remove_older(whole: Path) -> None:
    """What an earlier version of Ponte used, or a killed process left half made."""
    before = time.time() - OLD
    for other in whole.parent.iterdir():
        if other.name.lstrip(".").startswith(whole.name) or other.stat().st_mtime > before:
            continue
        shutil.rmtree(other, ignore_errors=True)
