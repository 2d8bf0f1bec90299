"""Starts the program of a sandbox, follows it to its end, and watches its limits.

Ponte's ends of the pipes are asyncio streams. The pipes of `asyncio.create_subprocess_exec` would
make `wait` wait for whoever reads them (https://github.com/python/cpython/issues/119710).

The watched limits are the number of files in a tmpfs, and the space that a program uses on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from core.base.errors import PonteError
from core.base.i18n import say
from core.tools.code.sandbox.inside import START_PROGRAM
from core.tools.code.sandbox.inside.enter import FENCED_BYTE, Configuration, LandlockPaths
from core.tools.code.sandbox.sandbox import (
    KERNEL_FILE,
    MAX_FRAME_BYTES,
    MiB,
    SandboxFailed,
    SandboxLimits,
)

_SMALL = 64 * 1024
"""Buffer of the streams for printed output and signs of life."""
LAST_OUTPUT_SECONDS = 0.05
"""Seconds in which the last output is read; endless output is cut off."""
START_TIMEOUT_SECONDS = 10.0
"""Seconds after the start in which the program must be fenced."""
FOLLOW_SECONDS = 1.0
"""Seconds in which bubblewrap must end after the program in it."""
MAX_FAILURE_BYTES = 2000
ENDED_SILENTLY = "the program ended without an error message"
NOT_STARTED_IN_TIME = "the program didn't start within {seconds:.0f} s"


class ProgramEnds(NamedTuple):
    """The sandboxed program's ends of its four pipes, as file descriptors. The bot closes its
    copies of them once the program has them."""

    stdin: int
    output: int
    frames: int
    life: int


Command = Callable[[ProgramEnds], Sequence[str]]
Tidy = Callable[[], Awaitable[None]]


class ProgramPipes:
    """The four pipes between the bot and a program in the sandbox."""

    def __init__(self) -> None:
        self._transports: list[asyncio.BaseTransport] = []
        self._reading: list[_Reading] = []

    async def open(self) -> ProgramEnds:
        """Make all four pipes, and return the program's ends. The bot's ends are `stdin`, `output`
        (what it prints), `frames` (its results) and `life` (one byte says that it is fenced, the
        end of the pipe that it has ended) from here on."""
        stdin, write = os.pipe()
        loop = asyncio.get_running_loop()
        # asyncio's writer needs a protocol with flow control, and this is the public one that has
        # it.
        transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(write, "wb", 0)
        )
        self._transports.append(transport)
        self.stdin = asyncio.StreamWriter(transport, protocol, None, loop)
        self.output, output = await self._reader(_SMALL)
        self.frames, frames = await self._reader(MAX_FRAME_BYTES)
        self.life, life = await self._reader(_SMALL)
        return ProgramEnds(stdin, output, frames, life)

    def close(self) -> None:
        for transport in self._transports:
            transport.close()

    async def end(self) -> None:
        """Close the pipes after the program's end. Its last output is read into the streams first,
        for up to `LAST_OUTPUT_SECONDS`: a reader gets it even after this."""
        ends = [asyncio.ensure_future(protocol.ended.wait()) for protocol in self._reading]
        _, late = await asyncio.wait(ends, timeout=LAST_OUTPUT_SECONDS)
        for task in late:
            task.cancel()
        self.close()

    async def _reader(self, limit: int) -> tuple[asyncio.StreamReader, int]:
        """Open a pipe from which this process reads without blocking. Return its reader, and the
        descriptor for the program to write to."""
        read_end, write_end = os.pipe()
        reader = asyncio.StreamReader(limit)
        transport, protocol = await asyncio.get_running_loop().connect_read_pipe(
            lambda: _Reading(reader), os.fdopen(read_end, "rb", 0)
        )
        self._transports.append(transport)
        self._reading.append(protocol)
        return reader, write_end


class _Reading(asyncio.StreamReaderProtocol):
    def __init__(self, reader: asyncio.StreamReader) -> None:
        super().__init__(reader)
        self.ended = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.ended.set()


def kernel_command_line(
    python: Path,
    program: Path,
    ends: ProgramEnds,
    limits: SandboxLimits,
    landlock: LandlockPaths | None = None,
    beside: int = 0,
) -> list[str]:
    """Return the command that fences itself and then runs the kernel in the folder `program`. `-I`
    keeps the environment and the current folder out of Python's modules.

    Under Landlock the program ends itself when its parent, the bot, ends; elsewhere bubblewrap ends
    it. `beside`: the threads that its user runs elsewhere. Linux counts them together with the
    program's, so they are added to its limit. `ends`: the descriptors of its pipes. Results go
    through `frames`; `life` ends with the program.
    """
    configuration: Configuration = {
        "kernel": str(program / KERNEL_FILE),
        "frames": ends.frames,
        "life": ends.life,
        "parent": os.getpid() if landlock else 0,
        "limits": {
            "memory": limits.memory,
            "cpu": limits.cpu,
            "file": limits.file,
            "descriptors": limits.descriptors,
            "threads": limits.threads + beside,
        },
        "landlock": landlock,
    }
    options = ("-I", "-B", "-u", "-c")
    return [str(python), *options, START_PROGRAM, str(program), json.dumps(configuration)]


class RunningProgram:
    """A kernel program that was started.

    What comes out of `frames`, its own pipe, and out of `output`, its stdout and stderr in one, is
    untrusted. `output` must always be read: a full pipe stops the program.

    `tidy` cleans up after the end, which cancels the task `watch`.
    """

    def __init__(self, process: asyncio.subprocess.Process, pipes: ProgramPipes) -> None:
        self.overran = ""  # why the sandbox itself ended the program, in English
        self.stdin = pipes.stdin
        self.frames = pipes.frames
        self.output = pipes.output
        self._process = process
        self._pipes = pipes
        self.tidy: Tidy | None = None
        self.watch: asyncio.Task[None] | None = None
        self.first: int | None = None
        """A pidfd of the program's own process, which is killed first; None until the program is
        fenced."""
        self._ending: asyncio.Future[None] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        code = self._process.returncode
        return code if code is None else _signal_code(code)

    async def wait(self) -> int:
        return _signal_code(await self._process.wait())

    def overrun(self, why: str) -> None:
        """`why` is the limit in words, for the result of the run."""
        self.overran = why
        self._strike()

    async def kill(self) -> None:
        """On return no process of it is left, and no file.

        Also to be called after it ended by itself; any number of times; shielded from cancelling.
        """
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._end())
        await asyncio.shield(self._ending)

    async def ready(self) -> None:
        """Raise SandboxFailed with the program's output if it does not report in time, by one byte
        in `life`, that it has given up its rights."""
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                if await self._pipes.life.read(len(FENCED_BYTE)) == FENCED_BYTE:
                    return
                cause = (await self.output.read(MAX_FAILURE_BYTES)).decode(errors="replace").strip()
        except TimeoutError:
            cause = say(NOT_STARTED_IN_TIME, "en", seconds=START_TIMEOUT_SECONDS)
        raise SandboxFailed(cause or say(ENDED_SILENTLY, "en"))

    async def _end(self) -> None:
        """Kill the program and all that it has started, wait until nothing of it runs, then close
        its pipes and remove its files. Every process of the program has the pipe `life`, which ends
        when the last of them does."""
        # The task that ends the program when it exceeds a limit.
        if self.watch is not None:
            self.watch.cancel()
            await asyncio.wait([self.watch])
        self._strike()
        # `_strike` has killed the process of the pidfd `first`. bubblewrap ends by itself after it;
        # `_follow` kills it only if it does not. Under Landlock, both are the same process. None:
        # it was just starting.
        if self.first is not None:
            await self._follow()
            os.close(self.first)
        await self._process.wait()
        # Bytes that the program wrote there mean nothing, so any size of a read will do.
        while await self._pipes.life.read(MAX_FAILURE_BYTES):
            pass
        await self._pipes.end()
        if self.tidy is not None:
            await self.tidy()

    async def _follow(self) -> None:
        try:
            async with asyncio.timeout(FOLLOW_SECONDS):
                await self._process.wait()  # bubblewrap
        except TimeoutError:
            # It can have ended at the last moment, or while the event loop was busy.
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _strike(self) -> None:
        """Send SIGKILL to the program, in a way that hits no other process: the ids of ended ones
        are given to new ones. A pidfd (`first`: of the first process inside the sandbox) names one
        process for ever. Without it, the program is just starting."""
        with contextlib.suppress(ProcessLookupError):
            if self._process.returncode is not None:
                return
            if self.first is not None:
                signal.pidfd_send_signal(self.first, signal.SIGKILL)
            else:
                # A child of bubblewrap can have its own session, which `killpg` misses, and not
                # yet end with bubblewrap. It would then keep the pipe `life` open for ever.
                # SIGSTOP: a stopped program cannot start a child, nor make a child's id free.
                os.kill(self.pid, signal.SIGSTOP)
                with contextlib.suppress(OSError):
                    for child in children_of(self.pid):
                        os.kill(child, signal.SIGKILL)
                os.killpg(self.pid, signal.SIGKILL)


class Sandbox(Protocol):
    """Starts programs that can do less than Ponte's user: no network, no other programs, only their
    own files."""

    @property
    def name(self) -> Literal["bubblewrap", "landlock"]: ...

    async def start(self, kernel: Path, python: Path, limits: SandboxLimits) -> RunningProgram:
        """Start the file `kernel` with the interpreter of the environment that holds `python`.

        `python` is `…/bin/python` of a virtual environment; its tree and its base interpreter's
        must be readable for other users of the machine where the bot runs as root (the program
        never does). Raises SandboxFailed where it cannot be started; never starts it with fewer
        restrictions.
        """


def children_of(pid: int) -> list[int]:
    """Raise OSError where the machine does not tell.

    https://man7.org/linux/man-pages/man5/proc_pid_task.5.html
    """
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _signal_code(code: int) -> int:
    # Shells and bubblewrap return 128 + signal for a program that a signal ended; Python writes it
    # negative.
    return 128 - code if 128 < code < 128 + signal.NSIG else code


@contextlib.contextmanager
def as_sandbox_failure() -> Iterator[None]:
    """Turn an OSError or another PonteError of the code in this context into SandboxFailed."""
    try:
        yield
    except SandboxFailed:
        raise
    except (PonteError, OSError) as error:
        raise SandboxFailed(str(error)) from error


async def start_program(
    *command: str, user: int | None = None, **options: Any
) -> asyncio.subprocess.Process:
    """Start a program as `user` (None: our own).

    Event loops other than asyncio's own refuse `user`, `group` and `extra_groups`, also as None
    (uvloop, `loop.pyx`: "unexpected kwargs"), so they are given only where they are needed. Raises
    SandboxFailed where the loop cannot start it as that user, and OSError.
    """
    if user is not None:
        # `extra_groups` removes the groups of root.
        options |= {"user": user, "group": user, "extra_groups": ()}
    try:
        return await asyncio.create_subprocess_exec(*command, **options)
    except ValueError as error:
        loop = type(asyncio.get_running_loop()).__module__
        if user is None:
            raise SandboxFailed(f"the event loop ({loop}) cannot start it: {error}") from error
        raise SandboxFailed(
            f"the event loop ({loop}) cannot start programs as another user, which root needs: "
            f"{error}"
        ) from error


async def launch(
    command: Command, *, environment: Mapping[str, str], folder: Path, user: int | None
) -> RunningProgram:
    """Of this process, the program gets only the four pipes.

    Return when the program reports from inside the sandbox. If that fails, or this call is
    cancelled, end all its processes and raise the error: SandboxFailed, OSError or CancelledError.
    `user` None: our own.
    """
    starting = asyncio.ensure_future(_start(command, environment, folder, user))
    try:
        # Without `shield`, a cancelled start would leave no `running`, by which all processes of
        # the program can be ended.
        running = await asyncio.shield(starting)
        await running.ready()
    except BaseException:
        # A start that failed raises here again: nothing is left to end, and the first error counts.
        with contextlib.suppress(SandboxFailed, OSError):
            await (await starting).kill()
        raise
    return running


async def _start(
    command: Command, environment: Mapping[str, str], folder: Path, user: int | None
) -> RunningProgram:
    """Start the command with its four pipes. The ends that the program uses are closed in this
    process, so that a pipe ends with the program. It gets a session of its own, so that all its
    processes can be killed as one group. `frames` carries its results, `life` the byte by which it
    says that it is fenced. `user`: None for our own."""
    pipes = ProgramPipes()
    ends = await pipes.open()
    try:
        process = await start_program(
            *command(ends),
            user=user,
            stdin=ends.stdin,
            stdout=ends.output,
            stderr=ends.output,
            pass_fds=(ends.frames, ends.life),
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
        )
    except BaseException:
        pipes.close()
        raise
    finally:
        for end in ends:
            os.close(end)
    return RunningProgram(process, pipes)


TOO_MANY_FILES = "the program created more than {count} files"
_BLOCK_BYTES = 512  # bytes; https://man7.org/linux/man-pages/man3/stat.3type.html: st_blocks
TOO_MANY_BYTES = "the program wrote more than {size} MB"
MAX_LOOKS, LOOK_PAUSE_SECONDS = 20, 0.005
"""How often it is looked at once it was told to stand still, and the seconds between two looks:
every thread stops when it next leaves the kernel."""
WATCH_PAUSE_SECONDS = 0.1
"""Seconds between two checks: 35 MB at the 350 MB/s of a laptop's disk."""


@dataclass(frozen=True, slots=True)
class EntryMeter:
    """Counts files and folders in the tmpfs of process `pid`, whose size option limits only
    bytes."""

    pid: int
    folders: Sequence[str]
    most: int

    def too_much(self) -> str:
        """Blocking. Raise OSError after the program's end, and if the machine does not let Ponte
        look into its file system."""
        count = 0
        for folder in self.folders:
            about = os.statvfs(f"/proc/{self.pid}/root{folder}")
            count += about.f_files - about.f_ffree
        return say(TOO_MANY_FILES, "en", count=self.most) if count > self.most else ""


def running_threads() -> int:
    """RLIMIT_NPROC counts all of them, so the limit of a kernel that runs as this user must allow
    for them. Blocking."""
    count = 0
    for process in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if process.isdigit() and os.stat(f"/proc/{process}").st_uid == os.geteuid():
                count += len(os.listdir(f"/proc/{process}/task"))
    return count


@dataclass(slots=True)
class _DiskUse:
    """The result of one measurement of a program's files: how many there are, and their bytes.
    `moved`: a file disappeared before it was counted."""

    count: int = 0
    size: int = 0
    moved: bool = False


@dataclass(frozen=True, slots=True)
class DiskMeter:
    """Measures what process `pid` stores below `folder`. Blocking.

    `process` is a pidfd.
    """

    folder: Path
    pid: int
    process: int
    limits: SandboxLimits

    def too_much(self) -> str:
        """If files disappeared during the measurement (`moved`), the program is stopped and
        measured again: it could otherwise move files from folders that are still to be counted to
        counted ones."""
        use = self._measure()
        # An excess that was found counts without another look: the caller ends the program.
        if use.moved and not self._find_excess(use):
            self._signal(signal.SIGSTOP)
            try:
                for _ in range(MAX_LOOKS):
                    use = self._measure()
                    if not use.moved:
                        break
                    time.sleep(LOOK_PAUSE_SECONDS)
            finally:
                self._signal(signal.SIGCONT)
        # Files that still move count as too many: `moved` (True) adds one to the limit.
        moving = _DiskUse(self.limits.entries + use.moved)
        return self._find_excess(use) or self._find_excess(moving)

    def _find_excess(self, use: _DiskUse) -> str:
        most = self.limits.work + self.limits.temporary
        if use.count > self.limits.entries:
            return say(TOO_MANY_FILES, "en", count=self.limits.entries)
        return say(TOO_MANY_BYTES, "en", size=most // MiB) if use.size > most else ""

    def _measure(self) -> _DiskUse:
        """Count the files below the program's folder and their size on the disk. More entries than
        allowed end the count. `moved`: files disappeared meanwhile, so the caller stops the program
        and measures again."""
        use = _DiskUse()
        folders = [str(self.folder)]
        while folders and use.count <= self.limits.entries:
            try:
                with os.scandir(folders.pop()) as entries:
                    for entry in entries:
                        self._count_entry(entry, use, folders)
            except FileNotFoundError:
                use.moved = True
            except OSError:  # a path of more than 4,096 bytes, or folders that we may not enter
                # What lies below cannot be counted, so it counts as too many files.
                use.count = self.limits.entries + 1
        # Files without a name: those that are open, and those that are only mapped. How large a
        # mapped one is cannot be asked without rights of root
        # (https://man7.org/linux/man-pages/man5/proc_pid_map_files.5.html), so each counts as the
        # largest that there can be.
        open_inodes = set[int]()
        with contextlib.suppress(OSError):  # it has ended
            for number in os.listdir(f"/proc/{self.pid}/fd"):
                try:
                    about = os.stat(f"/proc/{self.pid}/fd/{number}")
                except FileNotFoundError:
                    use.moved = True
                    continue
                if stat.S_ISREG(about.st_mode) and not about.st_nlink:
                    open_inodes.add(about.st_ino)
                    use.size += about.st_blocks * _BLOCK_BYTES
            below, mapped_inodes = f"{self.folder.resolve()}/", set[int]()
            with open(f"/proc/{self.pid}/maps", errors="replace") as maps:
                for line in maps:
                    fields = line.rstrip("\n").split(maxsplit=5)
                    path = fields[5] if len(fields) > 5 else ""
                    # The mark of a removed file: proc_pid_maps(5).
                    if path.startswith(below) and path.endswith(" (deleted)"):
                        mapped_inodes.add(int(fields[4]))
            use.size += len(mapped_inodes - open_inodes) * self.limits.file
        return use

    def _count_entry(self, entry: os.DirEntry[str], use: _DiskUse, folders: list[str]) -> None:
        """Add one entry of a folder to `use`; a folder below is added to `folders`. A file that the
        program moved or removed meanwhile is noted, because the count may then lack some."""
        try:
            about = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            use.moved = True
            return
        use.count += 1
        use.size += about.st_blocks * _BLOCK_BYTES
        if stat.S_ISDIR(about.st_mode):
            folders.append(entry.path)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(OSError):  # it has ended
            signal.pidfd_send_signal(self.process, number)


async def watch_limits(running: RunningProgram, meter: EntryMeter | DiskMeter) -> None:
    """End the program when it exceeds a limit that only measuring can enforce (`meter`). It is
    measured only after it has used processor time: `clock` is Linux's clock of that time."""
    clock = ~meter.pid << 3 | 2  # as clock_getcpuclockid(3) makes it, of all threads together
    measured_at = -1.0  # the processor time at the last measurement
    while running.returncode is None:
        try:
            # Without processor time since the last look, the program has stored nothing.
            if (used_seconds := time.clock_gettime(clock)) != measured_at:
                measured_at = used_seconds
                if too_much := await asyncio.to_thread(meter.too_much):
                    running.overrun(too_much)
                    return
        except OSError:  # it has just ended
            return
        await asyncio.sleep(WATCH_PAUSE_SECONDS)
