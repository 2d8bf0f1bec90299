"""One kernel of one conversation: files in, a run, what came of it. Believes nothing that it says.

At the other end is `core/tools/code/local/kernel/kernel.py`; what passes stands in its first lines.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from core.tools.code.local import frame
from core.tools.code.local.folder import Folder
from core.tools.code.local.run import FloodedOut, Run
from core.tools.code.local.sandbox.sandbox import Limits, Process, Sandbox, SandboxFailed
from core.tools.code.port import Fault, Given, Ran

PROGRAM = Path(__file__).parent / "kernel" / "kernel.py"
WALL = 30.0
"""Seconds that one run may take."""
GRACE = 1.0
"""Seconds that code has to end by itself after it was interrupted; then its kernel is ended."""
START = 10.0
"""Seconds that a kernel may take to be ready."""
_LAST_WORDS = 0.2
_CHUNK = 1 << 16
_LONG_LINE = 1 << 18
"""Bytes from which a frame is read beside the event loop: 8 MiB of base64 take some 50 ms."""


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
            with suppress(TimeoutError, ValueError, frame.BrokenFrame):
                async with asyncio.timeout(START):
                    first = frame.read(await process.frames.readline())
        except asyncio.CancelledError:
            await process.kill()
            raise
        if isinstance(first, frame.Ready):
            return cls(process)
        await process.kill()
        said = (await process.output.read(_CHUNK)).decode(errors="replace").strip()
        raise SandboxFailed(f"the kernel program did not start: {said[-300:]}")

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def kill(self) -> None:
        await self._process.kill()

    async def run(self, code: str, given: Sequence[Given]) -> Ran:
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
        return self._ran(run, fault or following.result())

    def _ran(self, run: Run, fault: Fault) -> Ran:
        if overran := self._process.overran:
            run.left_out.append(f"the sandbox ended it: {overran}")
        for made in run.made:
            self._folder.holds(made.name, made.data)
        return run.ran(fault, lost=not self.alive)

    async def _interrupt(self, run: Run, following: asyncio.Task[Fault]) -> None:
        """Ask the code to end, and give it a moment for that."""
        if not self._process.stdin.is_closing():
            self._process.stdin.write(frame.interrupt(run.name))
        await asyncio.wait({following}, timeout=GRACE)

    async def _follow(self, run: Run, code: str, given: Sequence[Given]) -> Fault:
        """Until the kernel says that the run is done, or breaks."""
        fault: Fault = ""
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(self._ask(run, code, given))
                parts.create_task(self._frames(run))
                parts.create_task(self._output(run))
        except* FloodedOut:
            fault = "flooded"
        except* (frame.BrokenFrame, ConnectionError):
            fault = "died"
            await self._last_words(run)
        return fault

    async def _ask(self, run: Run, code: str, given: Sequence[Given]) -> None:
        stdin = self._process.stdin
        async for request in self._folder.lacking(given, run.left_out):
            stdin.write(request)
            await stdin.drain()
        stdin.write(frame.run(run.name, code))
        await stdin.drain()

    async def _frames(self, run: Run) -> None:
        while run.done is None:
            try:
                line = await self._process.frames.readline()
            except ValueError:  # longer than any frame
                raise frame.BrokenFrame from None
            long = len(line) > _LONG_LINE
            run.take(await asyncio.to_thread(frame.read, line) if long else frame.read(line))
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
