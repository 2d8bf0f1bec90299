"""The sandbox's own Python environment, built at its first use and shared by all kernels.

It holds all pinned libraries or none, and nothing of Ponte. Its folder's name is a hash of its
contents, so a new version of Ponte builds a new one, and an unfinished one is never used.
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
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from core.base.errors import PonteError
from core.base.proxies import Proxies
from core.tools.code.sandbox.process import as_sandbox_failure, start_program

log = structlog.get_logger("code")

REQUIREMENTS_FILE = Path(__file__).parent / "requirements-sandbox.txt"
FIGURES_FILE = Path(__file__).parent / "kernel" / "figures.py"
INSTALL_STEP_SECONDS = 900.0
"""Limit of the longest step, which downloads about 100 MB."""
INSTALL_RETRY_SECONDS = 600.0
OLD_FOLDER_SECONDS = 86_400.0
INSTALL_WAIT_SECONDS = 180.0
STILL_INSTALLING = "they are still being installed"
SHARED_FOLDER = Path("/var/cache/ponte")
SETTING_UP = "is setting up Python for the first time (about a minute)…"
_MIN_VERSION = (3, 11)
_VERSION_PROGRAM = "import sys; print(*sys.version_info[:3], sys.implementation.cache_tag)"
_NOBODY_UID = 65534
_CANNOT_CHANGE_USER = (errno.EPERM, errno.EINVAL)  # setresuid(2); a file is refused with EACCES
_ANSWER_SECONDS = 20.0
"""Seconds in which a Python must print its version."""
_FALLBACKS = ("/usr/local/bin/python3", "/usr/bin/python3")

# Proxies may hold a password, so they go to pip on stdin and not as its arguments.
_PIP = (
    "import json, os, runpy, sys; os.environ.update(json.load(sys.stdin)); "
    "sys.argv[0] = 'pip'; runpy.run_module('pip', run_name='__main__')"
)
_WARM = "import matplotlib.pyplot, openpyxl, pandas, PIL.Image, ponte_figures"

_CAUSES = (
    ("No space left on device", "the disk is full"),
    ("No module named pip", "pip is missing from Ponte's environment"),
    ("No module named venv", "this Python has no venv module"),
    ("DO NOT MATCH THE HASHES", "a package doesn't match its pinned hash"),
    ("Permission denied", "the sandbox's folder isn't writable"),
    ("No matching distribution", "pip found no version of a package for this Python"),
    ("HTTPSConnectionPool", "the package index can't be reached"),
    ("Temporary failure in name resolution", "the package index can't be reached"),
    ("Connection", "the package index can't be reached"),
)

Tell = Callable[[str], Awaitable[None]]


class NoPython(PonteError):
    """No Python is installed that the sandbox could run."""

    code = "no_python"
    sentence = (
        "Other users can't read any Python 3.11 or newer, and code must not run as root. Install "
        "Python under /usr, or run Ponte as its own user."
    )


class InstallationFailed(PonteError):
    """The packages of the sandbox could not be installed. `cause` is the reason for people, as far
    as the installer's output shows it."""

    code = "installation_failed"
    sentence = "the packages couldn't be installed: {cause}"

    def __init__(self, cause: str) -> None:
        super().__init__(cause=cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class BasePython:
    """A Python of this machine from which the sandbox's is made. `version` is complete, like
    "3.11.2 cpython-311": compiled files depend on it."""

    path: Path
    version: str


async def find_base_python() -> BasePython:
    """Return Ponte's own Python if kernels can read it, else the system's.

    If Ponte runs as root, its kernels are other users, who cannot read a Python under /root. Raise
    NoPython, and OSError if root cannot become another user.
    """
    # In a virtual environment, this is the Python from which that was made.
    executable = getattr(sys, "_base_executable", None) or sys.executable
    for path in dict.fromkeys((executable, *_FALLBACKS)):
        if version := await _read_version(path):
            return BasePython(await asyncio.to_thread(Path(path).resolve), version)
    raise NoPython


async def make_bare(base: Path, folder: Path) -> None:
    """This needs no network. Raise InstallationFailed."""
    command = [str(base), "-I", "-m", "venv", "--without-pip", str(folder)]
    await _run_program(command, _environment_variables(folder))


async def install_libraries(folder: Path, proxies: Proxies) -> None:
    """Install the pinned libraries into the environment in `folder`, by hash and only as wheels, so
    that no setup code runs. Raise InstallationFailed."""
    environment = {"HTTPS_PROXY": proxies.https, "HTTP_PROXY": proxies.http, "NO_PROXY": proxies.no}
    # By stdin and not as an argument: other users of the machine can read arguments.
    proxy_settings = json.dumps({name: value for name, value in environment.items() if value})
    # `_PIP` is a program that reads the proxies from stdin and then runs pip.
    command = [
        sys.executable,
        "-c",
        _PIP,
        "--python",
        str(_python_in(folder)),
        "install",
        "--quiet",
        "--no-input",
        "--no-deps",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--requirement",
        str(REQUIREMENTS_FILE),
    ]
    await _run_program(command, None, proxy_settings.encode())
    # Ponte's own backend of matplotlib, which kernels import from there.
    for library in (folder / "lib").glob("python3*/site-packages"):
        await asyncio.to_thread(shutil.copyfile, FIGURES_FILE, library / "ponte_figures.py")
        (library / "ponte_figures.py").chmod(0o644)
    # Compiles what is imported first and lists the machine's fonts, once for all kernels.
    command = [str(_python_in(folder)), "-I", "-c", _WARM]
    await _run_program(command, _environment_variables(folder))


def find_cause(output: str) -> str:
    causes = (cause for mark, cause in _CAUSES if mark in output)
    lines = output.strip().splitlines()
    return next(causes, lines[-1][:300] if lines else "pip ended without a word")


@dataclass(frozen=True, slots=True)
class SandboxPython:
    """The Python that runs in the sandbox, by its path. `lacks` is the reason why its libraries
    (numpy and others) are missing, or ""."""

    path: Path
    lacks: str = ""


def environments_folder(home: Path) -> Path:
    """A shared folder if Ponte is root, because its kernels run as other users, who cannot read
    root's home."""
    return (SHARED_FOLDER if os.geteuid() == 0 else home) / "python"


class PythonEnvironment:
    """Builds the Python for the sandbox, with its libraries, at first use, and keeps it."""

    def __init__(
        self, folder: Path, proxies: Proxies, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._proxies = proxies
        self._clock = clock
        self._base: BasePython | None = None
        self._installation: asyncio.Task[None] | None = None
        # So long ago that the first installation is due at once.
        self._failed_at = -INSTALL_RETRY_SECONDS
        self.lacks = ""

    async def python(self, tell: Tell) -> SandboxPython:
        """Return the Python with libraries, built now if needed. Return a bare Python if the
        libraries cannot be installed, or not within `INSTALL_WAIT_SECONDS`. `tell` gets words for
        the person meanwhile. Raise SandboxFailed if there is no Python at all. After a failure,
        nothing is installed for `INSTALL_RETRY_SECONDS`."""
        with as_sandbox_failure():
            # `base` is this machine's Python, from which the sandbox's is made. `whole` is the
            # folder of the environment with all libraries; it may not exist yet.
            base, whole = await self._base_and_folder()
            is_due = self._clock() - self._failed_at >= INSTALL_RETRY_SECONDS
            if is_due and not _python_in(whole).exists():
                await tell(SETTING_UP)
                with suppress(TimeoutError):
                    # Made once for all who wait; it goes on when one of them waits no more.
                    if self._installation is None or self._installation.done():
                        self._installation = asyncio.create_task(self._install(whole, base))
                    async with asyncio.timeout(INSTALL_WAIT_SECONDS):
                        await asyncio.shield(self._installation)
            return await self._find_python(base, whole)

    async def bare(self) -> SandboxPython:
        with as_sandbox_failure():
            return await self._find_python(*await self._base_and_folder())

    async def close(self) -> None:
        if self._installation is not None:
            self._installation.cancel()
            await asyncio.gather(self._installation, return_exceptions=True)

    async def _base_and_folder(self) -> tuple[BasePython, Path]:
        base = self._base = self._base or await find_base_python()
        parts = (base.version.encode(), str(base.path).encode(), platform.machine().encode())
        contents = (*parts, REQUIREMENTS_FILE.read_bytes(), FIGURES_FILE.read_bytes())
        return base, self._folder / hashlib.sha256(b"\0".join(contents)).hexdigest()[:16]

    async def _find_python(self, base: BasePython, whole: Path) -> SandboxPython:
        """Without the libraries, return a bare Python: runs need not wait for minutes."""
        if _python_in(whole).exists():
            return SandboxPython(_python_in(whole))
        bare = whole.with_name(f"{whole.name}-bare")
        if not _python_in(bare).exists():
            async with _build_folder(bare) as folder:
                await make_bare(base.path, folder)
        making = self._installation is not None and not self._installation.done()
        return SandboxPython(_python_in(bare), STILL_INSTALLING if making else self.lacks)

    async def _install(self, whole: Path, base: BasePython) -> None:
        """Install the Python with all libraries into the folder `whole`: first a virtual
        environment without libraries (`make_bare`), then these. A failure is kept in `lacks`, which
        runs report; the next attempt comes after INSTALL_RETRY_SECONDS."""
        began = self._clock()
        try:
            async with _build_folder(whole) as folder:
                await make_bare(base.path, folder)
                await install_libraries(folder, self._proxies)
            self.lacks = ""
            log.info("installed the sandbox libraries", seconds=round(self._clock() - began))
            await asyncio.to_thread(_remove_older, whole)
        except (InstallationFailed, OSError) as error:
            self._failed_at = self._clock()
            self.lacks = str(error)
            # The text of an OSError has paths, which are of no use to people.
            if isinstance(error, OSError):
                why = error.strerror or type(error).__name__
                self.lacks = f"the libraries could not be installed: {why}"
            log.warning("could not install the sandbox libraries", error=self.lacks)


async def _read_version(path: str) -> str:
    """Return "" if it is too old or that user cannot run it. Raise OSError if root cannot become
    another user, which no other Python would change."""
    try:
        process = await start_program(
            path,
            "-I",
            "-c",
            _VERSION_PROGRAM,
            cwd="/",
            env={},
            user=_NOBODY_UID if os.geteuid() == 0 else None,  # never as root
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output = await _read_output(process, _ANSWER_SECONDS)
    except TimeoutError:
        return ""
    except OSError as error:
        if error.errno in _CANNOT_CHANGE_USER:
            raise
        return ""
    # `tag`: implementation and version, such as "cpython-312".
    *numbers, tag = output.decode().split() or ("0", "")
    if process.returncode or tuple(map(int, numbers)) < _MIN_VERSION:
        return ""
    return f"{'.'.join(numbers)} {tag}"


async def _read_output(
    process: asyncio.subprocess.Process, seconds: float, stdin_data: bytes | None = None
) -> bytes:
    """Return what a program prints until its end. It is killed after `seconds`, with a
    TimeoutError, and if the caller is cancelled."""
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate(stdin_data)
            return output
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _environment_variables(folder: Path) -> Mapping[str, str]:
    return {
        "HOME": str(folder),
        "MPLCONFIGDIR": str(folder / "matplotlib"),
        "PATH": "/usr/bin:/bin",
    }


async def _run_program(
    command: Sequence[str], environment: Mapping[str, str] | None, stdin_data: bytes = b""
) -> None:
    """Raise InstallationFailed with what the program says about the cause. `environment` None: that
    of Ponte. After INSTALL_STEP_SECONDS, `_read_output` kills it."""
    # Kernels can be other users, who must be able to read the files that this makes.
    shell = ("/bin/sh", "-c", 'umask 022 && exec "$@"', "sh")
    process = await start_program(
        *shell,
        *command,
        cwd="/",
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output = await _read_output(process, INSTALL_STEP_SECONDS, stdin_data)
    except TimeoutError:
        raise InstallationFailed(f"it took longer than {INSTALL_STEP_SECONDS:.0f} s") from None
    if process.returncode:
        raise InstallationFailed(find_cause(output.decode(errors="replace")))


@asynccontextmanager
async def _build_folder(whole: Path) -> AsyncIterator[Path]:
    """Yield the path of a temporary folder, which the caller makes and fills. At the end it is
    renamed to `whole`, so that an unfinished one never has that name; after a failure it is
    removed."""
    await asyncio.to_thread(_open_to_all, whole.parent)
    folder = whole.with_name(f".{whole.name}-{secrets.token_hex(4)}")
    try:
        yield folder
        with suppress(OSError):  # another process was first
            folder.rename(whole)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _open_to_all(folder: Path) -> None:
    # Readable to other users whatever the umask: kernels can be other users. An existing parent,
    # such as Ponte's home, keeps its mode.
    for path in (folder.parent, folder):
        is_new = not path.exists()
        path.mkdir(exist_ok=True)
        if is_new or path == folder:
            path.chmod(0o755)


def _python_in(folder: Path) -> Path:
    return folder / "bin" / "python"


def _remove_older(whole: Path) -> None:
    """Remove environments of earlier versions of Ponte, and unfinished ones of killed processes.
    Folders that changed within a day stay: another Ponte may use them."""
    before = time.time() - OLD_FOLDER_SECONDS
    for other in whole.parent.iterdir():
        # The bare environment, and folders that are being built, begin with the same name.
        if other.name.lstrip(".").startswith(whole.name) or other.stat().st_mtime > before:
            continue
        shutil.rmtree(other, ignore_errors=True)
