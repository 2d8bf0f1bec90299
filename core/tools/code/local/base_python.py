"""Which Python of this machine the sandbox's environment stands on."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from core.errors import PonteError

_OLDEST = (3, 11)
_ASK = "import sys; print(*sys.version_info[:3], sys.implementation.cache_tag)"
_NOBODY = 65534
_NOT_ANOTHER = (errno.EPERM, errno.EINVAL)  # setresuid(2); a file is refused with EACCES
_SECONDS = 20.0
_FALLBACKS = ("/usr/local/bin/python3", "/usr/bin/python3")


class NoPython(PonteError):
    code = "no_python"
    sentence = (
        "No Python 3.11 or newer can be read by other users of this machine, and code may not run "
        "as root. Install one under /usr, or run Ponte as a user of its own."
    )


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


async def _version(path: str) -> str:
    """ "" where it is none, too old, or not readable for a kernel's user."""
    try:
        process = await _asked(path)
    except OSError as error:
        if error.errno in _NOT_ANOTHER:
            raise
        return ""
    try:
        async with asyncio.timeout(_SECONDS):
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
    return await asyncio.create_subprocess_exec(
        path, "-I", "-c", _ASK, cwd="/", env={},
        user=user, group=user, extra_groups=None if user is None else (),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
