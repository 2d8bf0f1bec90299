"""The sandbox's own Python: made when it is first needed, kept for all kernels.

It holds nothing of the bot's. Its name is a hash of all that it is made of, so that a new version
of Ponte makes a new one, and an unfinished one is never taken for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import platform
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from core.errors import PonteError
from core.proxies import Proxies
from core.tools.code.local import base_python, installation
from core.tools.code.local.base_python import BasePython
from core.tools.code.local.installation import FIGURES, LOCK, InstallationFailed
from core.tools.code.local.sandbox.sandbox import SandboxFailed

log = structlog.get_logger("code")
AGAIN = 600.0
"""Seconds after which a failed installation is tried again."""
OLD = 86_400.0
"""Seconds after which a folder of another name is in nobody's hands any more."""
PATIENCE = 180.0
"""Seconds that a run waits for an installation, which then goes on without it."""
STILL = "they are still being installed"
FOR_ALL = Path("/var/cache/ponte")
SETTING_UP = "is setting up Python for the first time, which takes about a minute…"

Tell = Callable[[str], Awaitable[None]]


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
                    async with asyncio.timeout(PATIENCE):
                        await self._made(whole, base)
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
        self._base = self._base or await base_python.find()
        return self._base, self._folder / _name(self._base)

    async def _there(self, base: BasePython, whole: Path) -> Python:
        if _is_made(whole):
            return Python(_python_in(whole))
        bare = await self._bare(whole, base)
        making = self._making is not None and not self._making.done()
        return Python(_python_in(bare), STILL if making else self.lacks)

    async def _made(self, whole: Path, base: BasePython) -> None:
        """Made once for all who wait; it goes on when one of them does not wait any more."""
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make(whole, base))
        await asyncio.shield(self._making)

    async def _make(self, whole: Path, base: BasePython) -> None:
        began = self._clock()
        try:
            async with _becoming(whole) as folder:
                await installation.bare(base.path, folder)
                await installation.fill(folder, self._proxies)
            self.lacks = ""
            log.info("the sandbox has its Python", seconds=round(self._clock() - began))
            await asyncio.to_thread(_remove_older, whole)
        except (InstallationFailed, OSError) as error:
            self._tried = self._clock()
            self.lacks = str(error) if isinstance(error, PonteError) else _disk(error)
            log.warning("the sandbox lacks its libraries", why=self.lacks)

    async def _bare(self, whole: Path, base: BasePython) -> Path:
        bare = whole.with_name(f"{whole.name}-bare")
        if not _is_made(bare):
            async with _becoming(bare) as folder:
                await installation.bare(base.path, folder)
        return bare


@contextmanager
def _worded() -> Iterator[None]:
    try:
        yield
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


def _name(base: BasePython) -> str:
    """By all that the environment is made of."""
    parts = (base.version.encode(), str(base.path).encode(), platform.machine().encode())
    digest = hashlib.sha256(b"\0".join((*parts, LOCK.read_bytes(), FIGURES.read_bytes())))
    return digest.hexdigest()[:16]


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


def _disk(error: OSError) -> str:
    return f"the libraries could not be installed: {error.strerror or type(error).__name__}"
