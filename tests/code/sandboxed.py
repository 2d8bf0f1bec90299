"""Python on this machine as the product runs it: the real sandbox, the real environment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.http import Proxies
from core.store.files import KernelMarks
from core.tools.code.environment import Environment, place
from core.tools.code.local import Kernels, LocalBackend
from core.tools.code.sandbox.bwrap import Bubblewrap
from core.tools.code.sandbox.landlock import Landlock
from core.tools.code.sandbox.probe import choose, prove
from core.tools.code.sandbox.runtime import RuntimeFolder
from core.tools.code.sandbox.sandbox import Limits, Sandbox
from core.tools.code.session import Run, Session

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ponte-ci"
"""Where `.ci/run` has made the environment."""


async def python() -> Path:
    """The environment with libraries; skips where nobody has made it."""
    found = await Environment(place(CACHE), Proxies()).bare()
    if found.path.parent.parent.name.endswith("-bare"):
        pytest.skip(f"the sandbox's Python is not made: PONTE_HOME={CACHE} make sandbox")
    return found.path


@asynccontextmanager
async def sandbox() -> AsyncIterator[Sandbox]:
    """The one that this machine gets; skips where it gets none."""
    runtime = RuntimeFolder()
    try:
        choice = await choose(await python(), runtime)
        if choice.sandbox is None:
            pytest.skip(f"blocked: {choice.words}")
        yield choice.sandbox
    finally:
        runtime.close()


@asynccontextmanager
async def session(kind: str = "") -> AsyncIterator[Session]:
    """`kind` is a sandbox's name, "" for the one that this machine gets."""
    async with one_of(kind) if kind else sandbox() as held:
        one = await Session.start(held, await python(), Limits())
        try:
            yield one
        finally:
            await one.kill()


@asynccontextmanager
async def one_of(kind: str) -> AsyncIterator[Sandbox]:
    """That very one; skips where it does not hold here."""
    runtime = RuntimeFolder()
    held: Sandbox = Bubblewrap(runtime) if kind == "bubblewrap" else Landlock(runtime)
    try:
        proof = await prove(held, await python())
        if not proof.holds:
            pytest.skip(f"blocked: {proof.reason}")
        yield held
    finally:
        runtime.close()


@asynccontextmanager
async def local(home: Path, most: int = 4) -> AsyncIterator[LocalBackend]:
    """A backend whose probe has held; each one is another process of Ponte on the same home."""
    await python()
    limits = Limits()
    kernels = Kernels(KernelMarks(home / "kernels"), limits, most)
    backend = LocalBackend(Environment(place(CACHE), Proxies()), kernels, limits, wanted=True)
    try:
        health = await backend.health()
        if health.state != "on":
            pytest.skip(f"blocked: {health.words}")
        yield backend
    finally:
        await backend.close()


async def home(folder: Path) -> Path:
    """A home whose Python is made already, wherever this user's kernels look for it."""
    await python()
    return _furnished(folder)


def _furnished(folder: Path) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    if place(folder) != place(CACHE) and not place(folder).exists():
        place(folder).symlink_to(place(CACHE))
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
    heard, printed = asyncio.Event(), Run.hear

    def hear(self: Run, chunk: bytes) -> bool:
        heard.set()
        return printed(self, chunk)

    monkeypatch.setattr(Run, "hear", hear)
    return heard
