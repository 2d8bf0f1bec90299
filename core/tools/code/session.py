"""One kernel of one conversation: it puts files in, runs code, and reads the results.

The other end is `core/tools/code/kernel/kernel.py`, which documents the protocol. User code can
forge every frame, so each one is checked.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Base64Bytes,
    BaseModel,
    ConfigDict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from core.base import text
from core.base.errors import NotFound
from core.base.tasks import cancel_all
from core.tools.code.port import (
    MAX_OUTPUT_BYTES,
    MAX_OUTPUT_FILE_BYTES,
    MAX_OUTPUT_FILES,
    Fault,
    InputFiles,
    OutputFile,
    RunResult,
    detect_type,
)
from core.tools.code.sandbox.process import RunningProgram, Sandbox
from core.tools.code.sandbox.sandbox import SandboxFailed, SandboxLimits

KERNEL_PROGRAM = Path(__file__).parent / "kernel" / "kernel.py"
RUN_SECONDS = 30.0
INTERRUPT_GRACE_SECONDS = 1.0
"""Seconds that code has to end after an interrupt, before its kernel is killed."""
KERNEL_START_SECONDS = 10.0
MAX_KEPT_BYTES = 1 << 20
MAX_PRINTED_BYTES = 64 << 20
"""Bytes of output from which a run is ended."""
MAX_WORK_FILE_BYTES, MAX_INPUT_BYTES = 20 << 20, 96 << 20
"""Bytes of one file that goes in, and of all: the work folder takes 128 MiB with what is made."""
MAX_LEFT_OUT_FILES = 20_000
"""Files that a kernel may report as left out. An honest kernel looks at only 10,000 files."""
_MAX_NAMED_LEFT_OUT = 10
_LAST_OUTPUT_SECONDS = 0.2
"""Seconds in which the last output of an ended kernel is read."""
_CHUNK = 1 << 16
_LONG_FRAME_BYTES = 1 << 18
"""Length from which a frame is parsed in a thread: 8 MiB of base64 take about 50 ms."""
_LEFT_OUT_REASONS = {
    "large": f"{{name!r}} was not taken: a file may have {MAX_OUTPUT_FILE_BYTES >> 20} MiB",
    "many": f"{{name!r}} was not taken: one run gives {MAX_OUTPUT_FILES} files at most",
    "full": f"{{name!r}} was not taken: the files of one run may have {MAX_OUTPUT_BYTES >> 20} MiB",
    "unput": "{name!r} could not be put into the work folder",
}

Word = Annotated[str, StringConstraints(max_length=32)]
Name = Annotated[str, StringConstraints(max_length=4096)]
Text = Annotated[str, StringConstraints(max_length=100_000)]


class BrokenFrame(Exception):
    """A line from a kernel that is no valid frame, or not one that an honest kernel would send now.
    Nothing more is read from that kernel."""


class FloodedOut(Exception):
    """The code printed more than `MAX_PRINTED_BYTES`, so its run is ended."""


class _Frame(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class KernelReady(_Frame):
    """The kernel's message that it is ready."""

    ready: Literal[True]


class FileMade(_Frame):
    """The kernel's message with a file that the code created."""

    file: Name
    data: Base64Bytes


class LeftOut(_Frame):
    """The kernel's message that it left out a file of the run, and why."""

    left: Name
    why: Word


class Done(_Frame):
    """The kernel's message at the end of a run."""

    done: Word
    value: Text
    error: Text


Frame = KernelReady | FileMade | LeftOut | Done
_FRAMES: TypeAdapter[Frame] = TypeAdapter(Frame)


def parse_frame(line: bytes) -> Frame:
    """Raise BrokenFrame if it is none, also for "" at the end of the pipe."""
    try:
        return _FRAMES.validate_json(line)
    except (ValidationError, ValueError, RecursionError):
        raise BrokenFrame from None


class PrintedOutput:
    """The output of one run: kept up to a limit, counted beyond it.

    The kernel writes `mark` after the run; what follows (`rest`) belongs to the next run, to which
    it comes as `before`: threads of an earlier run may go on printing.
    """

    def __init__(self, mark: bytes, before: bytes = b"") -> None:
        self._mark = mark
        self._output = bytearray()
        self._pending = before
        self.total = 0
        self.rest = b""

    def feed(self, chunk: bytes) -> bool:
        """Return True once the mark was read, which ends the output of the run; what follows it is
        `rest`. The mark can come in two pieces, so the last bytes, as many as it has, wait in
        `_pending` for the next piece."""
        data = self._pending + chunk
        before, mark, self.rest = data.partition(self._mark)
        partial_mark = b"" if mark else before[-len(self._mark) :]
        self._pending = partial_mark
        data = before[: len(before) - len(partial_mark)]
        self.total += len(data)
        self._output += data[: MAX_KEPT_BYTES - len(self._output)]
        return bool(mark)

    @property
    def text(self) -> str:
        room = MAX_KEPT_BYTES - len(self._output)
        output = bytes(self._output) + self._pending[:room]
        return output.decode(errors="replace")

    @property
    def discarded_bytes(self) -> int:
        return max(0, self.total - len(self._output))


class KernelRun:
    """The results of one run of code so far, within the limits. `name` is a random id, so that
    output of an earlier run cannot end this one."""

    def __init__(self, name: str, printed_before: bytes = b"") -> None:
        self.name = name
        self.printed = PrintedOutput(f"\0{name}\0".encode(), printed_before)
        self.files: list[OutputFile] = []
        self.left_out: list[str] = []
        self.done: Done | None = None
        self._left_out_count = 0

    def add_frame(self, came: Frame) -> None:
        """Add a file, a file that was left out, or the end of the run. Code of the person can write
        into the same pipe, so a frame that no honest kernel sends now raises BrokenFrame: one
        beyond the kernel's own limits, or the end of another run."""
        match came:
            case FileMade(file=name, data=data):
                total = len(data) + sum(len(file.data) for file in self.files)
                if len(self.files) >= MAX_OUTPUT_FILES or total > MAX_OUTPUT_BYTES:
                    raise BrokenFrame
                self.files.append(OutputFile(name, detect_type(name, data), data))
            case LeftOut(left=name, why=why) if (
                why in _LEFT_OUT_REASONS and self._left_out_count < MAX_LEFT_OUT_FILES
            ):
                self._left_out_count += 1
                if self._left_out_count <= _MAX_NAMED_LEFT_OUT:
                    self.left_out.append(_LEFT_OUT_REASONS[why].format(name=name[:100]))
            case Done(done=name) if name == self.name:
                self.done = came
            case _:
                raise BrokenFrame

    def add_output(self, chunk: bytes) -> bool:
        """Raise FloodedOut if the code printed too much."""
        ended = self.printed.feed(chunk)
        if self.printed.total > MAX_PRINTED_BYTES:
            raise FloodedOut
        return ended

    def build_result(self, fault: Fault, *, is_state_lost: bool) -> RunResult:
        """Return the result of the run, as far as it came. `fault` says why it was ended from
        outside; the kernel then reported neither a value nor an error. `is_state_lost`: the
        variables are gone with the kernel. Only the first files that were left out are named."""
        left_out = list(self.left_out)
        if self._left_out_count > _MAX_NAMED_LEFT_OUT:
            unnamed = self._left_out_count - _MAX_NAMED_LEFT_OUT
            left_out.append(f"{unnamed} more files were not taken")
        if discarded := self.printed.discarded_bytes:
            left_out.append(f"{discarded:,} bytes of what it printed were not kept")
        return RunResult(
            printed=self.printed.text,
            value=self.done.value if self.done else "",
            error=self.done.error if self.done else "",
            output_files=tuple(self.files),
            left_out=tuple(left_out),
            fault=fault,
            is_state_lost=is_state_lost,
        )


class KernelSession:
    """A running kernel of one conversation, and which files it has. The caller must run one code at
    a time."""

    def __init__(self, process: RunningProgram) -> None:
        self._process = process
        self._uploads: set[tuple[str, str]] = set()
        """Ids and names of the files that were sent to the work folder, each once."""
        self._contents: set[tuple[str, bytes]] = set()
        """Names and digests of the files that the code made in the work folder, not to send them
        there again."""
        self._sent_bytes = 0
        self._early_output = b""
        """What was printed after the last run's end, for the next run."""
        self.zone = "UTC"

    @classmethod
    async def start(cls, sandbox: Sandbox, python: Path, limits: SandboxLimits) -> Self:
        """A kernel that does not report in time that it is ready is killed, and SandboxFailed
        raised with the end of its output."""
        process = await sandbox.start(KERNEL_PROGRAM, python, limits)
        first: object = None
        try:
            with suppress(TimeoutError, ValueError, BrokenFrame):
                async with asyncio.timeout(KERNEL_START_SECONDS):
                    first = parse_frame(await process.frames.readline())
        except asyncio.CancelledError:
            await process.kill()
            raise
        if isinstance(first, KernelReady):
            return cls(process)
        await process.kill()
        output = (await process.output.read(_CHUNK)).decode(errors="replace").strip()
        raise SandboxFailed(f"the kernel program did not start: {output[-300:]}")

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def kill(self) -> None:
        await self._process.kill()

    async def run(self, code: str, files: InputFiles) -> RunResult:
        """Run code. This ends soon after `RUN_SECONDS` whatever the code does; sooner if cancelled.

        When the time is over, the code is interrupted first, which keeps the kernel's variables; a
        kernel that does not report the end of the run (`run.done`) then is killed.
        """
        # What was printed after the end of the last run belongs to this one.
        run = KernelRun(secrets.token_hex(8), self._early_output)
        following = asyncio.create_task(self._follow_run(run, code, files))
        fault: Fault = ""
        try:
            await asyncio.wait({following}, timeout=RUN_SECONDS)
            if not following.done():
                fault = "timeout"
                await self._interrupt(run, following)
        except asyncio.CancelledError:
            await self._interrupt(run, following)
            raise
        finally:
            # It did not stop at the interrupt, so its process ends.
            if run.done is None:
                await self.kill()
            await cancel_all([following])
        self._early_output = run.printed.rest
        # The sandbox itself may have ended it, for a limit on files or the disk.
        if overran := self._process.overran:
            run.left_out.append(f"the sandbox ended it: {overran}")
        # Files that the code made are in the work folder already, so they are not sent to it again.
        for file in run.files:
            self._contents.add((text.safe_file_name(file.name), hashlib.sha256(file.data).digest()))
        return run.build_result(fault or following.result(), is_state_lost=not self.alive)

    async def _interrupt(self, run: KernelRun, following: asyncio.Task[Fault]) -> None:
        if not self._process.stdin.is_closing():
            self._process.stdin.write(_request_line(interrupt=run.name))
        await asyncio.wait({following}, timeout=INTERRUPT_GRACE_SECONDS)

    async def _follow_run(self, run: KernelRun, code: str, files: InputFiles) -> Fault:
        """Send the code and read all that comes until the kernel reports the end of the run. Return
        why it failed, or "": "flooded" if the code printed too much, "died" if the kernel ended or
        sent a broken frame. Frames and output are read at the same time, because a full pipe stops
        the kernel."""
        fault: Fault = ""
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(self._send_run(run, code, files))
                parts.create_task(self._read_frames(run))
                parts.create_task(self._read_output(run))
        except* FloodedOut:
            fault = "flooded"
        except* (BrokenFrame, ConnectionError):
            fault = "died"
            # What the ended kernel left in the pipe is read for a moment. Not by `asyncio.timeout`:
            # before Python 3.11.3, that takes a task group's end for its own task's
            # (https://github.com/python/cpython/issues/102780).
            reading = asyncio.create_task(self._read_output(run))
            try:
                await asyncio.wait({reading}, timeout=_LAST_OUTPUT_SECONDS)
            finally:
                await cancel_all([reading])
        return fault

    async def _send_run(self, run: KernelRun, code: str, files: InputFiles) -> None:
        """Put files that the kernel does not have into the work folder, then send the code. A file
        that the code itself made is there already."""
        stdin = self._process.stdin
        for file in files:
            if (file.id, file.name) in self._uploads:
                continue
            # Noted before it is read: a file that cannot be put in is not tried at each run.
            self._uploads.add((file.id, file.name))
            if file.size > MAX_WORK_FILE_BYTES or self._sent_bytes + file.size > MAX_INPUT_BYTES:
                run.left_out.append(f"{file.name!r} is too large to be put into the work folder")
                continue
            try:
                data = await file.read()
            except NotFound:
                run.left_out.append(f"{file.name!r} is gone and was not put into the work folder")
                continue
            if (file.name, hashlib.sha256(data).digest()) not in self._contents:
                self._sent_bytes += len(data)
                stdin.write(_request_line(file=file.name, data=b64encode(data).decode()))
                await stdin.drain()
        stdin.write(_request_line(run=run.name, code=code, zone=self.zone))
        await stdin.drain()

    async def _read_frames(self, run: KernelRun) -> None:
        """Raise BrokenFrame for a message that no honest kernel sends, and at the end of the pipe,
        which comes if the kernel has ended."""
        while run.done is None:  # `add_frame` sets it
            try:
                line = await self._process.frames.readline()
            except ValueError:  # longer than any frame
                raise BrokenFrame from None
            # In a thread, because parsing a long frame would block the event loop.
            long = len(line) > _LONG_FRAME_BYTES
            run.add_frame(await asyncio.to_thread(parse_frame, line) if long else parse_frame(line))
            # Lines that lie there already are read without waiting: others get their turn here.
            await asyncio.sleep(0)

    async def _read_output(self, run: KernelRun) -> None:
        while chunk := await self._process.output.read(_CHUNK):
            if run.add_output(chunk):
                return


def _request_line(**request: str) -> bytes:
    # Escaped to ASCII: code with half a surrogate pair is the kernel's error, not ours.
    return json.dumps(request).encode() + b"\n"
