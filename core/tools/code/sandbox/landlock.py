"""The Landlock sandbox, for machines where users cannot create namespaces.

The machine's files stay visible by path but cannot be opened. The program writes to its own folders
on disk, which are measured ten times a second and removed afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
import os
from pathlib import Path
from typing import Literal

from core.tools.code.sandbox import runtime as trees
from core.tools.code.sandbox.inside.enter import LandlockPaths
from core.tools.code.sandbox.limits import DiskMeter, running_threads, watch_limits
from core.tools.code.sandbox.process import (
    ProgramEnds,
    RunningProgram,
    as_sandbox_failure,
    command,
    launch,
)
from core.tools.code.sandbox.runtime import USERS, RuntimeFolder, remove
from core.tools.code.sandbox.sandbox import KERNEL_ENVIRONMENT, SandboxLimits

_DEVICES = ["/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"]


class Landlock:
    """Implements Sandbox."""

    name: Literal["landlock"] = "landlock"

    def __init__(self, runtime: RuntimeFolder) -> None:
        self._runtime = runtime

    async def start(
        self, kernel: Path, python: Path, limits: SandboxLimits | None = None
    ) -> RunningProgram:
        """Start a program. Raise SandboxFailed."""
        limits = limits or SandboxLimits()
        with as_sandbox_failure():
            async with contextlib.AsyncExitStack() as tidy:
                program = await asyncio.to_thread(self._runtime.program, kernel)
                user = USERS.take()
                tidy.callback(USERS.give_back, user)
                session = await asyncio.to_thread(self._runtime.session, user)
                tidy.push_async_callback(asyncio.to_thread, remove, session)
                beside = 0 if user is not None else await asyncio.to_thread(running_threads)
                fence = await asyncio.to_thread(landlock_rules, program, python, session)

                def of(ends: ProgramEnds) -> list[str]:
                    return command(python, program, ends, limits, fence, beside)

                work, tmp = session / "work", session / "tmp"
                environment = {**KERNEL_ENVIRONMENT, "HOME": str(work), "TMPDIR": str(tmp)}
                running = await launch(of, environment=environment, folder=work, user=user)
                running.tidy = tidy.pop_all().aclose
            return await _watch_disk(running, session, limits)


async def _watch_disk(
    running: RunningProgram, session: Path, limits: SandboxLimits
) -> RunningProgram:
    try:
        process = os.pidfd_open(running.pid)
    except BaseException:
        await running.kill()
        raise
    running.first = process
    disk = DiskMeter(session, running.pid, process, limits)
    running.watch = asyncio.create_task(watch_limits(running, disk), name="code-disk")
    return running


def landlock_rules(program: Path, python: Path, session: Path) -> LandlockPaths:
    """Return the paths that the program may use. Blocking.

    Python reads the lists of file types if it sees them, and fails if that is refused; so they are
    readable.
    """
    roots = [*trees.system_folders(), *trees.python_folders(python), program]
    hidden = trees.find_hidden(roots)
    pieces = [piece for root in roots for piece in trees.split_around(root, hidden)]
    read = [*(piece for piece, whole in pieces if whole), *trees.SYSTEM_LINKS, trees.LOADER]
    return {
        "read": [*map(str, read), *_DEVICES, *map(str, mimetypes.knownfiles)],
        "list": [str(piece) for piece, whole in pieces if not whole],
        "own": [str(session / "work"), str(session / "tmp")],
        "write": ["/dev/null"],
    }
