"""One kernel of one conversation: files in, a run, what came of it.

At the other end is `core/tools/code/kernel/kernel.py`; what passes stands in its first lines. User
code can forge all that comes from there: each frame is checked, none believed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
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

from core.domain.errors import NotFound, PonteError
from core.text import text
from core.tools.code.port import (
    MADE_BYTES,
    MADE_COUNT,
    MADE_TOTAL,
    Fault,
    InputFile,
    OutputFile,
    Ran,
    type_of,
)
from core.tools.code.sandbox.sandbox import Limits, Process, Sandbox, SandboxFailed

PROGRAM = Path(__file__).parent / "kernel" / "kernel.py"
WALL = 30.0
"""Seconds that one run may take."""
GRACE = 1.0
"""Seconds that code has to end by itself after it was interrupted; then its kernel is ended."""
START = 10.0
"""Seconds that a kernel may take to be ready."""
KEPT = 1 << 20
"""Bytes of one run that are kept."""
FLOOD = 64 << 20
"""Bytes of one run from which it is ended."""
LARGEST, LARGEST_TOTAL = 20 << 20, 96 << 20
"""Bytes of one file that goes in, and of all: the work folder takes 128 MiB with what is made."""
LEFT_MOST = 20_000
"""Files that were not taken; no honest kernel goes beyond it, as it looks at 10,000."""
_LEFT_COUNT = 10
"""Those of them that are named."""
_LAST_WORDS = 0.2
"""Seconds in which what an ended kernel printed is read."""
_CHUNK = 1 << 16
_LONG_LINE = 1 << 18
"""Bytes from which a frame is read beside the event loop: 8 MiB of base64 take some 50 ms."""
_WHY_LEFT = {
    "large": f"{{name!r}} was not taken: a file may have {MADE_BYTES >> 20} MiB",
    "many": f"{{name!r}} was not taken: one run gives {MADE_COUNT} files at most",
    "full": f"{{name!r}} was not taken: the files of one run may have {MADE_TOTAL >> 20} MiB",
    "unput": "{name!r} could not be put into the work folder",
}

Word = Annotated[str, StringConstraints(max_length=32)]
Name = Annotated[str, StringConstraints(max_length=4096)]
Text = Annotated[str, StringConstraints(max_length=100_000)]


class BrokenFrame(PonteError):
    """What came is no frame of ours (never shown): the kernel is not to be listened to."""

    code = "broken_frame"
    sentence = "What came from the sandbox is no frame."


class FloodedOut(PonteError):
    """It prints without end (never shown)."""

    code = "flooded"
    sentence = "The code prints without end."


class _Frame(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Ready(_Frame):
    """The kernel listens."""

    ready: Literal[True]


class FileMade(_Frame):
    file: Name
    data: Base64Bytes


class LeftOut(_Frame):
    left: Name
    why: Word


class Done(_Frame):
    done: Word
    value: Text
    error: Text


Frame = Ready | FileMade | LeftOut | Done
_FRAMES: TypeAdapter[Frame] = TypeAdapter(Frame)


def read(line: bytes) -> Frame:
    """The frame of a line. Raises BrokenFrame; "" too, where the pipe has ended."""
    try:
        return _FRAMES.validate_json(line)
    except (ValidationError, ValueError, RecursionError):
        raise BrokenFrame from None


class Printed:
    """What one run prints: kept up to a cap, counted beyond it.

    `mark` is what the kernel writes after the run; whatever follows it belongs to the next.
    """

    def __init__(self, mark: bytes, before: bytes = b"") -> None:
        self._mark = mark
        self._kept = bytearray()
        self._pending = before
        self.total = 0
        self.rest = b""

    def feed(self, chunk: bytes) -> bool:
        """Take it; True when the mark has come."""
        data = self._pending + chunk
        before, mark, self.rest = data.partition(self._mark)
        # The end may be the beginning of the mark.
        held = b"" if mark else before[-len(self._mark) :]
        self._pending = held
        data = before[: len(before) - len(held)]
        self.total += len(data)
        self._kept += data[: KEPT - len(self._kept)]
        return bool(mark)

    @property
    def flooded(self) -> bool:
        return self.total > FLOOD

    @property
    def text(self) -> str:
        """What was kept of it so far."""
        room = KEPT - len(self._kept)
        kept = bytes(self._kept) + self._pending[:room]
        return kept.decode(errors="replace")

    @property
    def cut(self) -> int:
        """Bytes that were not kept."""
        return max(0, self.total - len(self._kept))


class Run:
    """What is known of one run while it lasts, as the kernel tells it, within the caps.

    `name` is a random one, so that what an earlier run left cannot end this one.
    """

    def __init__(self, name: str, printed_before: bytes = b"") -> None:
        self.name = name
        self.printed = Printed(f"\0{name}\0".encode(), printed_before)
        self.made: list[OutputFile] = []
        self.left_out: list[str] = []
        self.done: Done | None = None
        self._left = 0

    def take(self, came: Frame) -> None:
        """Raises BrokenFrame for one that no honest kernel sends now."""
        match came:
            case FileMade(file=name, data=data):
                total = len(data) + sum(len(made.data) for made in self.made)
                if len(self.made) >= MADE_COUNT or total > MADE_TOTAL:
                    raise BrokenFrame
                self.made.append(OutputFile(name, type_of(name, data), data))
            case LeftOut(left=name, why=why) if why in _WHY_LEFT and self._left < LEFT_MOST:
                self._left += 1
                if self._left <= _LEFT_COUNT:
                    self.left_out.append(_WHY_LEFT[why].format(name=name[:100]))
            case Done(done=name) if name == self.name:
                self.done = came
            case _:
                raise BrokenFrame

    def hear(self, chunk: bytes) -> bool:
        """True when all that it printed has come. Raises FloodedOut."""
        ended = self.printed.feed(chunk)
        if self.printed.flooded:
            raise FloodedOut
        return ended

    def ran(self, fault: Fault, *, lost: bool) -> Ran:
        left_out = list(self.left_out)
        if self._left > _LEFT_COUNT:
            left_out.append(f"{self._left - _LEFT_COUNT} more files were not taken")
        if self.printed.cut:
            left_out.append(f"{self.printed.cut:,} bytes of what it printed were not kept")
        return Ran(
            printed=self.printed.text,
            value=self.done.value if self.done else "",
            error=self.done.error if self.done else "",
            made=tuple(self.made),
            left_out=tuple(left_out),
            fault=fault,
            lost=lost,
        )


class Folder:
    """What lies in the work folder, so that files go in once and what it made never."""

    def __init__(self) -> None:
        self._put: set[tuple[str, str]] = set()
        self._contents: set[tuple[str, bytes]] = set()
        self._total = 0

    def holds(self, name: str, data: bytes) -> None:
        """The code made that file itself."""
        self._contents.add((text.safe_file_name(name), hashlib.sha256(data).digest()))

    async def lacking(
        self, given: Sequence[InputFile], left_out: list[str]
    ) -> AsyncIterator[bytes]:
        """The requests that put there what is not; `left_out` gets a sentence for each refused."""
        for each in given:
            if (each.id, each.name) in self._put:
                continue
            self._put.add((each.id, each.name))
            if each.size > LARGEST or self._total + each.size > LARGEST_TOTAL:
                left_out.append(f"{each.name!r} is too large to be put into the work folder")
                continue
            try:
                data = await each.read()
            except NotFound:
                left_out.append(f"{each.name!r} is gone and was not put into the work folder")
                continue
            if (each.name, hashlib.sha256(data).digest()) not in self._contents:
                self._total += len(data)
                yield _line(file=each.name, data=b64encode(data).decode())


class Session:
    """Runs come one after another: who calls `run` sees to that."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._folder = Folder()
        self._early = b""

    @classmethod
    async def start(cls, sandbox: Sandbox, python: Path, limits: Limits) -> Self:
        """Raises SandboxFailed."""
        process = await sandbox.start(PROGRAM, python, limits)
        first: object = None
        try:
            with suppress(TimeoutError, ValueError, BrokenFrame):
                async with asyncio.timeout(START):
                    first = read(await process.frames.readline())
        except asyncio.CancelledError:
            await process.kill()
            raise
        if isinstance(first, Ready):
            return cls(process)
        await process.kill()
        said = (await process.output.read(_CHUNK)).decode(errors="replace").strip()
        raise SandboxFailed(f"the kernel program did not start: {said[-300:]}")

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def kill(self) -> None:
        await self._process.kill()

    async def run(self, code: str, given: Sequence[InputFile]) -> Ran:
        """Whatever the code does, this ends soon after `WALL`; where it is cancelled, sooner."""
        run = Run(secrets.token_hex(8), self._early)
        following = asyncio.create_task(self._follow(run, code, given))
        fault: Fault = ""
        try:
            await asyncio.wait({following}, timeout=WALL)
            if not following.done():
                fault = "timeout"
                await self._interrupt(run, following)
        except asyncio.CancelledError:
            await self._interrupt(run, following)
            raise
        finally:
            if run.done is None:
                await self.kill()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        self._early = run.printed.rest
        if overran := self._process.overran:
            run.left_out.append(f"the sandbox ended it: {overran}")
        for made in run.made:
            self._folder.holds(made.name, made.data)
        return run.ran(fault or following.result(), lost=not self.alive)

    async def _interrupt(self, run: Run, following: asyncio.Task[Fault]) -> None:
        """Ask the code to end, and give it a moment for that."""
        if not self._process.stdin.is_closing():
            self._process.stdin.write(_line(interrupt=run.name))
        await asyncio.wait({following}, timeout=GRACE)

    async def _follow(self, run: Run, code: str, given: Sequence[InputFile]) -> Fault:
        """Until the kernel says that the run is done, or breaks."""
        fault: Fault = ""
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(self._ask(run, code, given))
                parts.create_task(self._frames(run))
                parts.create_task(self._output(run))
        except* FloodedOut:
            fault = "flooded"
        except* (BrokenFrame, ConnectionError):
            fault = "died"
            await self._last_words(run)
        return fault

    async def _ask(self, run: Run, code: str, given: Sequence[InputFile]) -> None:
        stdin = self._process.stdin
        async for request in self._folder.lacking(given, run.left_out):
            stdin.write(request)
            await stdin.drain()
        stdin.write(_line(run=run.name, code=code))
        await stdin.drain()

    async def _frames(self, run: Run) -> None:
        while run.done is None:
            try:
                line = await self._process.frames.readline()
            except ValueError:  # longer than any frame
                raise BrokenFrame from None
            long = len(line) > _LONG_LINE
            run.take(await asyncio.to_thread(read, line) if long else read(line))
            # Lines that lie there already are read without waiting: others get their turn here.
            await asyncio.sleep(0)

    async def _output(self, run: Run) -> None:
        while chunk := await self._process.output.read(_CHUNK):
            if run.hear(chunk):
                return

    async def _last_words(self, run: Run) -> None:
        """What a kernel that ended had printed is still in the pipe."""
        # Before Python 3.11.3 `asyncio.timeout` takes a task group's end for its own task's
        # (https://github.com/python/cpython/issues/102780).
        hearing = asyncio.create_task(self._output(run))
        try:
            await asyncio.wait({hearing}, timeout=_LAST_WORDS)
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)


def _line(**request: str) -> bytes:
    # Escaped to ASCII: code with half a surrogate pair is the kernel's error, not ours.
    return json.dumps(request).encode() + b"\n"
