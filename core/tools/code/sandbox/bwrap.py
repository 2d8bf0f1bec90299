"""The bubblewrap sandbox: a program in its own namespaces, with almost no files."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from core.tools.code.sandbox import runtime as trees
from core.tools.code.sandbox.limits import EntryMeter, watch_limits
from core.tools.code.sandbox.process import (
    ProgramEnds,
    RunningProgram,
    as_sandbox_failure,
    children_of,
    command,
    launch,
)
from core.tools.code.sandbox.runtime import USERS, RuntimeFolder
from core.tools.code.sandbox.sandbox import KERNEL_ENVIRONMENT, MiB, SandboxLimits

PROGRAM_FOLDER = Path("/ponte")
USER_INSIDE = 1000
"""The user and group that the program sees itself as."""
WORK, TEMPORARY, MEMORY = "/work", "/tmp", "/dev/shm"  # noqa: S108 - the sandbox's own
SHARED_MEMORY_BYTES = 64 * MiB

_NAMESPACES = (
    "--unshare-all",
    # By itself --unshare-all goes on without a user namespace where it cannot have one.
    "--unshare-user",
    "--disable-userns",
    *("--cap-drop", "ALL"),
    *("--uid", str(USER_INSIDE), "--gid", str(USER_INSIDE)),
    *("--hostname", "sandbox"),
    # bwrap's own first process would be the same user's, without filter or limits, and /proc/1/mem
    # the door into it.
    "--as-pid-1",
    "--die-with-parent",
    # No terminal to type into: CVE-2017-5226.
    "--new-session",
    "--clearenv",
)


class Bubblewrap:
    """Implements Sandbox. `bwrap` is the program's path."""

    name: Literal["bubblewrap"] = "bubblewrap"

    def __init__(self, runtime: RuntimeFolder, bwrap: str = "bwrap") -> None:
        self._runtime = runtime
        self._bwrap = bwrap

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

                def of(ends: ProgramEnds) -> list[str]:
                    inner = command(python, PROGRAM_FOLDER, ends, limits)
                    files = mount_arguments(program, python, limits)
                    return [self._bwrap, *_NAMESPACES, *files, "--", *inner]

                running = await launch(of, environment={}, folder=Path("/"), user=user)
                running.tidy = tidy.pop_all().aclose
            try:
                # The program's own process. Ended first, it is collected by bwrap; an orphan would
                # be left to process 1, which in a container can be the bot.
                child = next(iter(children_of(running.pid)), None)
                if child is None:
                    raise ProcessLookupError("it has ended")
                running.first = os.pidfd_open(child)
                # bwrap's tmpfs limits bytes but not the number of files: counted from outside.
                entries = EntryMeter(child, (MEMORY, TEMPORARY, WORK), limits.entries)
                await asyncio.to_thread(entries.too_much)
            except BaseException:
                await running.kill()
                raise
        running.watch = asyncio.create_task(watch_limits(running, entries), name="code-files")
        return running


def mount_arguments(program: Path, python: Path, limits: SandboxLimits) -> Iterator[str]:
    """Yield the arguments for the file system: what Python reads, and three small writable
    tmpfs."""
    system, own = trees.system_folders(), trees.python_folders(python)
    hidden = trees.find_hidden((*system, *own))
    for tree in system:
        yield from ("--ro-bind", str(tree), str(tree))
    for link in trees.SYSTEM_LINKS:
        if link.is_symlink():
            yield from ("--symlink", str(link.readlink()), str(link))
        elif link.is_dir():
            yield from ("--ro-bind", str(link), str(link))
    yield from ("--ro-bind-try", str(trees.LOADER), str(trees.LOADER))
    yield from ("--proc", "/proc", "--dev", "/dev")
    for folder, size in (
        (MEMORY, SHARED_MEMORY_BYTES),
        (TEMPORARY, limits.temporary),
        (WORK, limits.work),
    ):
        yield from ("--size", str(size), "--tmpfs", folder)
    for tree in own:
        yield from ("--ro-bind", str(tree), str(tree))
    for tree in hidden:
        yield from ("--size", "4096", "--tmpfs", str(tree), "--remount-ro", str(tree))
    yield from ("--ro-bind", str(program), str(PROGRAM_FOLDER))
    for name, value in {**KERNEL_ENVIRONMENT, "HOME": WORK, "TMPDIR": TEMPORARY}.items():
        yield from ("--setenv", name, value)
    # Both are memories of half the machine's, and writable, as bwrap makes them.
    yield from ("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", WORK)
