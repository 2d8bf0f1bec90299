"""Python on this machine as the product runs it: the real sandbox, the real environment."""

from __future__ import annotations

import asyncio
import atexit
import builtins
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from bot.stores import SCHEMA
from core.base.proxies import Proxies
from core.journal.kernels import KernelRows
from core.store.database import SqliteDatabase
from core.tools.code.environment import PythonEnvironment, environments_folder
from core.tools.code.local import Kernels, LocalBackend
from core.tools.code.sandbox.barriers import Bubblewrap, Landlock, prove_sandbox
from core.tools.code.sandbox.process import Sandbox
from core.tools.code.sandbox.sandbox import (
    PROBE_ESCAPED,
    PROBE_SILENT,
    RuntimeFolder,
    SandboxLimits,
)
from core.tools.code.session import KernelRun, KernelSession

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ponte-ci"
"""Where `.ci/run` has made the environment."""


BUBBLEWRAP = shutil.which("bwrap")
NEEDS_BUBBLEWRAP = "needs bubblewrap (apt install bubblewrap)"
NEEDS_PYTHON = f"needs the sandbox's Python (PONTE_HOME={CACHE} make sandbox)"
_RUNTIME = RuntimeFolder()
_REASONS: dict[str, str] = {}
"""Why a sandbox does not hold, by its name: each is proved once for all tests of this process."""
atexit.register(_RUNTIME.close)


def require(kind: str) -> None:
    """Skip the test where the sandbox's program is missing."""
    if kind == "bubblewrap" and not BUBBLEWRAP:
        pytest.skip(NEEDS_BUBBLEWRAP)


def skip_blocked(reason: str) -> NoReturn:
    """Skip the test, because this machine refuses the sandbox with an OSError or in bubblewrap's
    words.

    All else is a fault of ours, for which no test may skip: a check that failed, no result, or
    another exception.
    """
    error = getattr(builtins, reason.partition(":")[0], OSError)
    part = PROBE_ESCAPED.partition("{")[0]
    if part in reason or PROBE_SILENT in reason or not issubclass(error, OSError):
        pytest.fail(f"the sandbox does not hold: {reason}")
    pytest.skip(f"blocked: {reason}")


async def python() -> Path:
    """The environment with libraries; skips where nobody has made it."""
    match = await PythonEnvironment(environments_folder(CACHE), Proxies()).bare()
    if match.path.parent.parent.name.endswith("-bare"):
        pytest.skip(NEEDS_PYTHON)
    return match.path


@asynccontextmanager
async def sandbox() -> AsyncIterator[Sandbox]:
    """The one that this machine gets; skips where it gets none."""
    both: tuple[Sandbox, ...] = (Bubblewrap(_RUNTIME), Landlock(_RUNTIME))
    reasons = [await _prove_once(each) for each in both]
    for each, reason in zip(both, reasons, strict=True):
        if not reason:
            yield each
            return
    require("bubblewrap")
    skip_blocked("; ".join(reasons))


@asynccontextmanager
async def session(kind: str = "") -> AsyncIterator[KernelSession]:
    """`kind` is a sandbox's name, "" for the one that this machine gets."""
    async with one_of(kind) if kind else sandbox() as sandbox_of_kind:
        one = await KernelSession.start(sandbox_of_kind, await python(), SandboxLimits())
        try:
            yield one
        finally:
            await one.kill()


@asynccontextmanager
async def one_of(kind: str) -> AsyncIterator[Sandbox]:
    """That very one; skips where it does not hold here."""
    require(kind)
    sandbox_of_kind: Sandbox = Bubblewrap(_RUNTIME) if kind == "bubblewrap" else Landlock(_RUNTIME)
    if reason := await _prove_once(sandbox_of_kind):
        skip_blocked(reason)
    yield sandbox_of_kind


async def _prove_once(sandbox: Sandbox) -> str:
    if sandbox.name not in _REASONS:
        _REASONS[sandbox.name] = await prove_sandbox(sandbox, await python())
    return _REASONS[sandbox.name]


def skip_seconds(seconds: float) -> None:
    """Let so many seconds pass at once for every timer of this test's event loop."""
    loop = asyncio.get_running_loop()
    now = loop.time
    loop.time = lambda: now() + seconds  # type: ignore[method-assign]


@asynccontextmanager
async def local(home: Path, most: int = 4) -> AsyncIterator[LocalBackend]:
    """A backend whose probe has held; each one is another process of Ponte on the same home."""
    await python()
    limits = SandboxLimits()
    database = await SqliteDatabase.open(home / "ponte.db", SCHEMA)
    kernels = Kernels(KernelRows(database), limits, most)
    backend = LocalBackend(
        PythonEnvironment(environments_folder(CACHE), Proxies()), kernels, limits, is_required=True
    )
    try:
        health = await backend.health()
        if health.state != "on":
            skip_blocked(health.words)
        yield backend
    finally:
        await backend.close()
        await database.close()


async def home(folder: Path) -> Path:
    """A home whose Python is made already, wherever this user's kernels look for it."""
    await python()
    return _prepare_folder(folder)


def _prepare_folder(folder: Path) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    if (
        environments_folder(folder) != environments_folder(CACHE)
        and not environments_folder(folder).exists()
    ):
        environments_folder(folder).symlink_to(environments_folder(CACHE))
    return folder


def kernels() -> set[str]:
    """The processes of our kernels now, with ended ones that nobody waited for."""
    path = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    return {each for each in path.read_text().split() if _is_kernel(each)}


def _is_kernel(pid: str) -> bool:
    """An ended one has no command line."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return not command or b"inside.enter" in command


def output(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when code has printed something."""
    event, add_output = asyncio.Event(), KernelRun.add_output

    def hear(self: KernelRun, chunk: bytes) -> bool:
        event.set()
        return add_output(self, chunk)

    monkeypatch.setattr(KernelRun, "add_output", hear)
    return event
