"""Python on this machine: a sandboxed kernel for each thread."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import structlog

from core.base.errors import PonteError, ToolError
from core.base.i18n import say
from core.domain.records import Health, ToolContext
from core.journal.kernels import KernelRows
from core.tools.code.environment import PythonEnvironment
from core.tools.code.port import InputFiles, RunResult, measure_run
from core.tools.code.sandbox.barriers import SandboxChoice, choose_sandbox
from core.tools.code.sandbox.process import Sandbox
from core.tools.code.sandbox.sandbox import (
    RuntimeFolder,
    SandboxFailed,
    SandboxLimits,
    explain_start_failure,
)
from core.tools.code.session import KernelSession

log = structlog.get_logger("code")

KERNEL_IDLE_SECONDS = 1200.0
"""An unused kernel is ended after this time, like OpenAI's containers."""
SWEEP_INTERVAL_SECONDS = 60.0
MAX_KERNELS = 32

WAS_IDLE = "it was idle for 20 minutes"
KERNEL_EVICTED = "other conversations needed its memory"
KERNEL_STOPPED = "the last run was stopped"
ENDED = "it was shut down"
NEW_PYTHON = "its packages were installed"
_FAULTS = {
    "timeout": "the program ran too long",
    "memory": "the program used too much memory",
    "flooded": "the program printed too much",
    "died": "its process ended",
}
_CGROUP = Path("/sys/fs/cgroup/memory.max")
PROOF_WAIT_SECONDS = 2.0
"""Seconds that a turn waits for the proof at Ponte's start, which takes 0.1 s."""
WITHOUT_LIBRARIES = "{words}, but without numpy, pandas and matplotlib ({lacks})"
LOCAL_DESCRIPTION = """\
Run Python in a sandbox of this conversation. You get its output, the value of the last \
expression, the error, and the names of new files. Attached files are in the current folder; \
figures, pictures and files that you save there are sent to the person.

Variables and files are kept between calls; you are told when they are lost. Packages: numpy, \
pandas, matplotlib, openpyxl, pillow, nothing else. No network, no other \
programs (also no asyncio); threads work. At most 30 seconds, 1 GiB."""


@dataclass(slots=True)
class _KernelSlot:
    """The place of a thread's kernel in this process: the kernel (`session`) with its `python`, or
    why there is none. Whoever uses it holds the `lock`, because a kernel runs one code at a
    time."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    session: KernelSession | None = None
    python: Path | None = None
    used_at: float = 0.0
    busy: bool = False
    why: str = ""
    """Why an earlier kernel is gone, if this process knows."""

    async def end(self, why: str) -> None:
        session, self.session, self.why = self.session, None, why
        if session:
            await session.kill()


class Kernels:
    """The kernels of all threads: started when needed, ended when idle or when memory is short.

    `most` kernels run at once.
    """

    def __init__(
        self,
        places: KernelRows,
        limits: SandboxLimits,
        most: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places = places  # knows the kernels of other and earlier processes
        self._limits = limits
        self._most = most
        self._clock = clock
        self._slots: dict[str, _KernelSlot] = {}
        """By the thread's id: the thread's kernel in this process, or why it has none now."""
        self._room = asyncio.Semaphore(most)
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        return sum(slot.session is not None for slot in self._slots.values())

    async def run(
        self,
        thread: str,
        sandbox: Sandbox,
        python: Path,
        code: str,
        files: InputFiles,
        zone: str = "UTC",
    ) -> RunResult:
        """A kernel that has ended, that has another Python than `python`, or whose thread ran newer
        code in another process, is replaced by a new one; the result then says why earlier
        variables are gone. Raise SandboxFailed if none could be started."""
        self._sweeping = self._sweeping or asyncio.create_task(self._sweep())
        slot = self._slots.setdefault(thread, _KernelSlot())
        async with slot.lock, self._room:
            slot.busy = True
            try:
                if slot.session and not slot.session.alive:
                    await slot.end(ENDED)
                if slot.session and slot.python != python:
                    await slot.end(NEW_PYTHON)
                # Another process may have run the thread's newer code; then this kernel's state is
                # old.
                if slot.session and not await self._places.is_here(thread):
                    await slot.end(self._places.why)
                # Why earlier variables are gone, for the result; "" if they are there, or if the
                # thread never had any.
                why = ""
                if slot.session is None:
                    await self._make_room()
                    slot.session = await KernelSession.start(sandbox, python, self._limits)
                    slot.python = python
                    if await self._places.record_start(thread):  # the thread had a kernel before
                        why = slot.why or self._places.why
                session = slot.session
                session.zone = zone
                ran = await session.run(code, files)
                if ran.is_state_lost:
                    # The next run begins with a new kernel.
                    await self._end_kernel(thread, slot, _FAULTS.get(ran.fault, ENDED))
                return replace(ran, reset=bool(why), why_reset=why)
            except asyncio.CancelledError:
                if slot.session and not slot.session.alive:
                    # Stopping a run may end its kernel; the next run says that its state is gone.
                    slot.session, slot.why = None, KERNEL_STOPPED
                raise
            finally:
                slot.busy = False
                slot.used_at = self._clock()
                # The thread was forgotten during the run, so nothing of it may stay.
                if self._slots.get(thread) is not slot:
                    await slot.end(ENDED)
                    await self._places.forget(thread)

    async def forget(self, thread: str) -> None:
        await self.drop(thread)
        await self._places.forget(thread)

    async def drop(self, thread: str) -> None:
        """End the thread's kernel if it runs in this process. Its record in the database stays."""
        if slot := self._slots.pop(thread, None):
            await slot.end(ENDED)

    async def drop_forgotten(self, thread: str) -> None:
        """End the thread's kernel in this process, unless the database still names this process:
        another process runs the thread now, or it was forgotten."""
        if thread in self._slots and not await self._places.is_here(thread):
            await self.drop(thread)

    async def evict_idle(self) -> None:
        """End kernels that are idle, or whose thread has run newer code in another process, so that
        their variables are old."""
        before = self._clock() - KERNEL_IDLE_SECONDS
        for thread, slot in list(self._slots.items()):
            if slot.session and not slot.busy:
                if slot.used_at <= before:
                    await self._end_kernel(thread, slot, WAS_IDLE)
                # Only here: the thread's row in the database is that of the other process.
                elif not await self._places.is_here(thread):
                    await slot.end(ENDED)

    async def close(self) -> None:
        if self._sweeping:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        await asyncio.gather(*(slot.end(ENDED) for slot in self._slots.values()))

    async def _end_kernel(self, thread: str, slot: _KernelSlot, why: str) -> None:
        await slot.end(why)
        await self._places.record_end(thread)

    async def _make_room(self) -> None:
        # A busy slot has a kernel or is about to start one, ours too. The semaphore `_room` admits
        # at most `most` of them, so ending idle ones makes enough room.
        idle = [(name, s) for name, s in self._slots.items() if s.session and not s.busy]
        for name, other in sorted(idle, key=lambda pair: pair[1].used_at):
            busy_count = sum(bool(slot.session) or slot.busy for slot in self._slots.values())
            if busy_count <= self._most:
                break
            await self._end_kernel(name, other, KERNEL_EVICTED)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_SECONDS)
            await self.evict_idle()


def max_kernels(limits: SandboxLimits) -> int:
    """Half of the machine's memory, or of the container's if that has a limit, stays free."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no container, or one without a cap ("max")
        memory = min(memory, int(_CGROUP.read_text()))
    return max(1, min(MAX_KERNELS, memory // 2 // limits.memory))


class LocalBackend:
    """Runs Python in a sandbox on this machine (the port `CodeBackend`)."""

    name: Literal["local"] = "local"
    description = LOCAL_DESCRIPTION

    def __init__(
        self,
        environment: PythonEnvironment,
        kernels: Kernels,
        limits: SandboxLimits,
        *,
        is_required: bool = False,
    ) -> None:
        self._environment = environment
        self._kernels = kernels
        self._limits = limits
        # The operator chose this sandbox, so it is a failure if the machine allows none.
        self._is_required = is_required
        # A folder in /tmp with the files of this process's kernels.
        self._runtime = RuntimeFolder()
        self._choice: SandboxChoice | None = None
        """The sandbox that was proven to work here; None before the proof."""
        self._proof: asyncio.Task[SandboxChoice] | None = None

    def start(self) -> None:
        """Begin to prove the sandbox in the background, by trying to break out of it. The tool is
        not offered before that."""
        self._proof = self._proof or asyncio.create_task(self._prove_sandbox())

    async def is_available(self) -> bool:
        """Waits up to 2 s for the proof."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PROOF_WAIT_SECONDS):
                await self._wait_for_proof()
        return self._choice is not None and self._choice.sandbox is not None

    async def run(self, ctx: ToolContext, code: str, files: InputFiles) -> RunResult:
        try:
            return await measure_run(self.name, self._run(ctx, code, files))
        except ToolError as error:
            log.warning("could not run code", error=error.hint)
            raise

    async def forget(self, thread: str) -> None:
        await self._kernels.forget(thread)

    async def health(self) -> Health:
        """Without a sandbox, the state is failing only if the operator chose it."""
        choice = await self._wait_for_proof()
        text = say("local: {words}", words=choice.reason.words())
        if choice.sandbox is None:
            return Health("code", "failing" if self._is_required else "off", text)
        if lacks := self._environment.lacks:
            text = say(WITHOUT_LIBRARIES, words=text, lacks=lacks)
        return Health("code", "on", text)

    async def close(self) -> None:
        if self._proof is not None:
            self._proof.cancel()
            await asyncio.gather(self._proof, return_exceptions=True)
        await self._kernels.close()
        await self._environment.close()
        await asyncio.to_thread(self._runtime.close)

    async def _run(self, ctx: ToolContext, code: str, files: InputFiles) -> RunResult:
        """If a library is missing because the installation failed or goes on (`lacks` has the
        reason), the result says so."""
        choice = await self._wait_for_proof()
        if choice.sandbox is None:
            raise SandboxFailed(str(choice.reason))
        python = await self._environment.python(lambda status: ctx.turn.show_progress(say(status)))
        thread, sandbox = ctx.memory_id, choice.sandbox
        ran = await self._kernels.run(thread, sandbox, python.path, code, files, ctx.zone)
        if not python.lacks or "ModuleNotFoundError" not in ran.error:
            return ran
        note = f"the libraries of the sandbox are not there: {python.lacks}"
        # The model reads `left_out` as notes about the run.
        return replace(ran, left_out=(*ran.left_out, note))

    async def _wait_for_proof(self) -> SandboxChoice:
        self._proof = self._proof or asyncio.create_task(self._prove_sandbox())
        # A caller that is cancelled must not cancel the proof, which is made once for all.
        return await asyncio.shield(self._proof)

    async def _prove_sandbox(self) -> SandboxChoice:
        """Find a sandbox that works on this machine, by trying to break out of it, and remember it.
        Without one, no code runs here."""
        try:
            # The proof needs no libraries, and must not wait until they are installed.
            python = await self._environment.bare()
            self._choice = await choose_sandbox(python.path, self._runtime, self._limits)
        except SandboxFailed as failed:
            # The reason is an error, because that has a sentence in each language. Here the
            # explanation for the operator, in English, is the whole sentence.
            self._choice = SandboxChoice(
                None, PonteError("{why}", why=explain_start_failure(failed.cause))
            )
        # The sentence of the reason names the sandbox, or says why there is none.
        log.debug("selected the sandbox", sandbox=str(self._choice.reason))
        return self._choice
