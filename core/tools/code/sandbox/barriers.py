"""The two barriers of the sandbox (bubblewrap's namespaces, or Landlock), and which of them works
on this machine.

Each is proven by starting it and trying what it must prevent.

The machine's files stay visible by path but cannot be opened. The program writes to its own folders
on disk, which are measured ten times a second and removed afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import mimetypes
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.base.errors import PonteError
from core.base.i18n import say
from core.tools.code.sandbox import checks
from core.tools.code.sandbox import sandbox as trees
from core.tools.code.sandbox.checks import ANSWER, CHECKS, Outside
from core.tools.code.sandbox.inside import ruleset
from core.tools.code.sandbox.inside.enter import LandlockPaths
from core.tools.code.sandbox.inside.seccomp import ARCHITECTURES
from core.tools.code.sandbox.process import (
    DiskMeter,
    EntryMeter,
    ProgramEnds,
    RunningProgram,
    Sandbox,
    as_sandbox_failure,
    children_of,
    kernel_command_line,
    launch,
    running_threads,
    watch_limits,
)
from core.tools.code.sandbox.sandbox import (
    KERNEL_ENVIRONMENT,
    NO_LANDLOCK,
    NO_TABLE,
    NOT_LINUX,
    PROBE_ESCAPED,
    PROBE_SILENT,
    USERS,
    MiB,
    RuntimeFolder,
    SandboxFailed,
    SandboxLimits,
    explain_start_failure,
    remove,
)

PROGRAM_FOLDER = Path("/ponte")
USER_INSIDE = 1000
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
    """Starts programs in namespaces that the program bubblewrap makes (the port `Sandbox`): they
    see only files that they may read."""

    name: Literal["bubblewrap"] = "bubblewrap"

    def __init__(self, runtime: RuntimeFolder) -> None:
        self._runtime = runtime

    async def start(self, kernel: Path, python: Path, limits: SandboxLimits) -> RunningProgram:
        """All that was made for the program is undone at its end, or if its start fails. Raise
        SandboxFailed, also if its files cannot be counted from outside: it must not run without
        that limit."""
        with as_sandbox_failure():
            async with contextlib.AsyncExitStack() as tidy:
                # A folder with a copy of the kernel's code, which every user can read.
                program = await asyncio.to_thread(self._runtime.program, kernel)
                user = USERS.take()  # a user of its own, if this process is root
                tidy.callback(USERS.give_back, user)

                def command(ends: ProgramEnds) -> list[str]:
                    inner = kernel_command_line(python, PROGRAM_FOLDER, ends, limits)
                    files = mount_arguments(program, python, limits)
                    return ["bwrap", *_NAMESPACES, *files, "--", *inner]

                # bwrap itself sets the program's variables and folder (`mount_arguments`).
                running = await launch(command, environment={}, folder=Path("/"), user=user)
                # From here on, the end of the program undoes what was made for it.
                running.tidy = tidy.pop_all().aclose
            try:
                # The program's own process. Ended first, it is collected by bwrap; an orphan would
                # be left to process 1, which in a container can be the bot.
                child = next(iter(children_of(running.pid)), None)
                if child is None:
                    raise ProcessLookupError("it has ended")
                running.first = os.pidfd_open(child)
                # bwrap's tmpfs limits bytes but not the number of files: counted from outside. One
                # count now, only for its OSError: it shows that counting works on this machine.
                entries = EntryMeter(child, (MEMORY, TEMPORARY, WORK), limits.entries)
                await asyncio.to_thread(entries.too_much)
            except BaseException:
                await running.kill()
                raise
        running.watch = asyncio.create_task(watch_limits(running, entries), name="code-files")
        return running


def mount_arguments(program: Path, python: Path, limits: SandboxLimits) -> Iterator[str]:
    """An empty tmpfs hides each folder with Ponte's own modules below what Python reads. The order
    counts: a later mount covers earlier ones, and everything is made read-only last."""
    system, python_paths = trees.system_folders(), trees.python_folders(python)
    hidden = trees.find_hidden((*system, *python_paths))
    for tree in system:
        yield from ("--ro-bind", str(tree), str(tree))
    # On most systems /bin and the like are links into /usr; on others they are folders.
    for link in trees.SYSTEM_LINKS:
        if link.is_symlink():
            yield from ("--symlink", str(link.readlink()), str(link))
        elif link.is_dir():
            yield from ("--ro-bind", str(link), str(link))
    # The loader's list of libraries outside its standard folders. Not every system has one.
    yield from ("--ro-bind-try", str(trees.LOADER), str(trees.LOADER))
    yield from ("--proc", "/proc", "--dev", "/dev")
    sizes = {MEMORY: SHARED_MEMORY_BYTES, TEMPORARY: limits.temporary, WORK: limits.work}
    for folder, size in sizes.items():
        yield from ("--size", str(size), "--tmpfs", folder)
    # After the tmpfs, which would cover an environment below /tmp.
    for tree in python_paths:
        yield from ("--ro-bind", str(tree), str(tree))
    for tree in hidden:
        yield from ("--size", "4096", "--tmpfs", str(tree), "--remount-ro", str(tree))
    yield from ("--ro-bind", str(program), str(PROGRAM_FOLDER))
    for name, value in {**KERNEL_ENVIRONMENT, "HOME": WORK, "TMPDIR": TEMPORARY}.items():
        yield from ("--setenv", name, value)
    # bwrap makes both as writable tmpfs, which may take half of the machine's memory.
    yield from ("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", WORK)


_DEVICES = ["/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"]


class Landlock:
    """Starts programs that Linux's Landlock keeps from opening other files (the port `Sandbox`),
    for machines without bubblewrap."""

    name: Literal["landlock"] = "landlock"

    def __init__(self, runtime: RuntimeFolder) -> None:
        self._runtime = runtime

    async def start(self, kernel: Path, python: Path, limits: SandboxLimits) -> RunningProgram:
        """All that was made for the program is undone in reverse order, at its end or if its start
        fails. Raise SandboxFailed."""
        with as_sandbox_failure():
            async with contextlib.AsyncExitStack() as tidy:
                program = await asyncio.to_thread(self._runtime.program, kernel)
                # None unless this process is root.
                user = USERS.take()
                tidy.callback(USERS.give_back, user)
                session = await asyncio.to_thread(self._runtime.session, user)
                tidy.push_async_callback(asyncio.to_thread, remove, session)
                # A user of its own runs nothing else. Ponte's user does, and Linux counts all of
                # a user's threads for the limit of the program.
                beside = 0 if user is not None else await asyncio.to_thread(running_threads)
                fence = await asyncio.to_thread(landlock_rules, program, python, session)
                work, tmp = session / "work", session / "tmp"
                running = await launch(
                    lambda ends: kernel_command_line(python, program, ends, limits, fence, beside),
                    environment={**KERNEL_ENVIRONMENT, "HOME": str(work), "TMPDIR": str(tmp)},
                    folder=work,
                    user=user,
                )
                # From here on, the end of the program undoes what was made for it.
                running.tidy = tidy.pop_all().aclose
            return await _watch_disk(running, session, limits)


async def _watch_disk(
    running: RunningProgram, session: Path, limits: SandboxLimits
) -> RunningProgram:
    """A program that cannot be watched is killed. `first` is the pidfd by which the program is
    killed later: it means this process, even if its id is given to another one."""
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
    """Return the paths that a sandboxed program may read, list or write; all others are closed to
    it. In its `own` folders it may also make, change and delete files. Folders above Ponte's own
    modules (`hidden`) can only be listed. Blocking. Python reads the machine's lists of file types
    if it sees them, and fails if that is refused; so they are readable."""
    roots = [*trees.system_folders(), *trees.python_folders(python), program]
    hidden = trees.find_hidden(roots)
    pieces = [piece for root in roots for piece in trees.split_around(root, hidden)]
    # LOADER lists the libraries outside the standard folders; SYSTEM_LINKS are /bin and the like.
    readable = [*(piece for piece, whole in pieces if whole), *trees.SYSTEM_LINKS, trees.LOADER]
    return {
        "read": [*map(str, readable), *_DEVICES, *map(str, mimetypes.knownfiles)],
        "list": [str(piece) for piece, whole in pieces if not whole],
        "own": [str(session / "work"), str(session / "tmp")],
        "write": ["/dev/null"],
    }


PROBE_PROGRAM = Path(checks.__file__)
PROBE_TIMEOUT_SECONDS = 20.0
"""Seconds for all checks, which take about 50 ms."""

BUBBLEWRAP = "bubblewrap: all checks passed"
LANDLOCK = "Landlock {version}: all checks passed. bubblewrap isn't used: {why}"
NEITHER = "no sandbox is available; bubblewrap: {what}; Landlock: {why}"


async def prove_sandbox(sandbox: Sandbox, python: Path, limits: SandboxLimits | None = None) -> str:
    """Return why the sandbox must not be used, in English for the operator, or "" if every check
    passed. A machine that lacks it gives a reason, not an exception.

    A program in the sandbox tries what it must prevent (`CHECKS`). It must print ANSWER and report
    each check, so that a program which does not run at all never counts as a passed proof."""
    limits = limits or SandboxLimits()
    # A file, a folder and a process outside of the sandbox, which the probe tries to reach.
    outside = await asyncio.to_thread(_prepare_outside, limits)
    try:
        process = await sandbox.start(PROBE_PROGRAM, python, limits)
    except SandboxFailed as failed:
        return explain_start_failure(failed.cause)
    else:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                process.stdin.write(json.dumps(outside).encode() + b"\n")
                printed = await process.output.readline()
                results = json.loads(await process.frames.readline())
            is_complete = isinstance(results, dict) and results.keys() == CHECKS.keys()
            if printed != f"{ANSWER}\n".encode() or not is_complete:
                return say(PROBE_SILENT, "en")
            # Each value says what the program could do although it must not; "" if nothing.
            escapes = ", ".join(str(what) for what in results.values() if what)
            return say(PROBE_ESCAPED, "en", what=escapes) if escapes else ""
        except (TimeoutError, ValueError, OSError):
            return say(PROBE_SILENT, "en")
        finally:
            await process.kill()
    finally:
        await asyncio.to_thread(shutil.rmtree, outside["folder"], ignore_errors=True)


def _prepare_outside(limits: SandboxLimits) -> Outside:
    """Return what the probe inside tries to reach: a file and a folder that everybody but the
    sandbox may write to, and the process of Ponte; and the memory that it may use."""
    folder = Path(tempfile.mkdtemp(prefix="ponte-probe-"))
    folder.chmod(0o777)
    file = folder / "file"
    file.write_text("outside")
    file.chmod(0o666)
    return {"file": str(file), "folder": str(folder), "bot": os.getpid(), "memory": limits.memory}


@dataclass(frozen=True, slots=True)
class SandboxChoice:
    """The sandbox that works on this machine, or None. `reason` explains the choice for `status`
    and doctor."""

    sandbox: Sandbox | None
    reason: PonteError


async def choose_sandbox(
    python: Path, runtime: RuntimeFolder, limits: SandboxLimits | None = None
) -> SandboxChoice:
    """Takes tens of milliseconds; the result is not cached."""
    if obstacle := _find_obstacle():
        return SandboxChoice(None, obstacle)
    bubblewrap = Bubblewrap(runtime)
    reason = await prove_sandbox(bubblewrap, python, limits)
    if not reason:
        return SandboxChoice(bubblewrap, PonteError(BUBBLEWRAP))
    # `reason` says why bubblewrap does not work, `lacks` why Landlock does not, both in English for
    # the operator. The version 0 means that this Linux has no Landlock.
    version, lacks = ruleset.version(), say(NO_LANDLOCK, "en")
    landlock = Landlock(runtime)
    if version and not (lacks := await prove_sandbox(landlock, python, limits)):
        return SandboxChoice(landlock, PonteError(LANDLOCK, version=version, why=reason))
    return SandboxChoice(None, PonteError(NEITHER, what=reason, why=lacks))


def _find_obstacle() -> PonteError | None:
    if sys.platform != "linux":
        return PonteError(NOT_LINUX, system=sys.platform)
    machine = os.uname().machine
    return None if machine in ARCHITECTURES else PonteError(NO_TABLE, machine=machine)
