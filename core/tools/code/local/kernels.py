"""The kernels of all threads: one each, started when needed, ended when idle or in the way."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from core.tools.code.local.marks import Marks
from core.tools.code.local.sandbox.sandbox import Limits, Sandbox
from core.tools.code.local.session import Session
from core.tools.code.port import Given, Ran

IDLE = 1200.0
"""Seconds after which an unused kernel is ended, as OpenAI's containers are."""
EVERY = 60.0
MOST = 32

RESTARTED = "I was started anew"
WAS_IDLE = "it was idle for 20 minutes"
CROWDED = "other conversations needed its memory"
STOPPED = "the last run was stopped"
ENDED = "it was ended"
NEW_PYTHON = "its libraries were set up"
_FAULTS = {
    "timeout": "it ran for too long",
    "memory": "it took too much memory",
    "flooded": "it printed without end",
    "died": "its process ended",
}
_CGROUP = Path("/sys/fs/cgroup/memory.max")


@dataclass(slots=True)
class _Seat:
    """A thread's place: its kernel, if it has one, and why it has not."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    session: Session | None = None
    python: Path | None = None
    used_at: float = 0.0
    busy: bool = False
    why: str = RESTARTED


class Kernels:
    """`most` kernels at once; `clock` gives seconds that only go forward."""

    def __init__(
        self,
        marks: Marks,
        limits: Limits,
        most: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._marks = marks
        self._limits = limits
        self._most = most
        self._clock = clock
        self._seats: dict[str, _Seat] = {}
        self._places = asyncio.Semaphore(most)
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        return sum(seat.session is not None for seat in self._seats.values())

    async def run(
        self, thread: str, sandbox: Sandbox, python: Path, code: str, given: Sequence[Given]
    ) -> Ran:
        """Raises SandboxFailed where no kernel could be started."""
        self._sweeping = self._sweeping or asyncio.create_task(self._sweep())
        seat = self._seats.setdefault(thread, _Seat())
        async with seat.lock, self._places:
            seat.busy = True
            try:
                session, why = await self._seated(thread, seat, sandbox, python)
                ran = await session.run(code, given)
                if ran.lost:
                    await self._end(seat, _FAULTS.get(ran.fault, ENDED))
                return replace(ran, reset=bool(why), why_reset=why)
            except asyncio.CancelledError:
                if seat.session and not seat.session.alive:
                    seat.session, seat.why = None, STOPPED
                raise
            finally:
                seat.busy = False
                seat.used_at = self._clock()
                if self._seats.get(thread) is not seat:  # forgotten meanwhile
                    await self._end(seat, ENDED)
                    await asyncio.to_thread(self._marks.remove, thread)

    async def forget(self, thread: str) -> None:
        if seat := self._seats.pop(thread, None):
            await self._end(seat, ENDED)
        await asyncio.to_thread(self._marks.remove, thread)

    async def evict_idle(self) -> None:
        before = self._clock() - IDLE
        for seat in list(self._seats.values()):
            if seat.session and not seat.busy and seat.used_at <= before:
                await self._end(seat, WAS_IDLE)

    async def close(self) -> None:
        if self._sweeping:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        await asyncio.gather(*(self._end(seat, RESTARTED) for seat in self._seats.values()))

    async def _seated(
        self, thread: str, seat: _Seat, sandbox: Sandbox, python: Path
    ) -> tuple[Session, str]:
        """Its kernel, and why the state of a former one is gone; "" where nothing was lost."""
        if seat.session and not seat.session.alive:
            await self._end(seat, ENDED)
        if seat.session and seat.python != python:
            await self._end(seat, NEW_PYTHON)
        if seat.session:
            return seat.session, ""
        await self._make_room()
        session = await Session.start(sandbox, python, self._limits)
        seat.session, seat.python = session, python
        had = await asyncio.to_thread(self._marks.put, thread)
        return session, seat.why if had else ""

    async def _make_room(self) -> None:
        """A busy seat has a kernel or is about to, ours too; there are at most `most` of them."""
        idle = [seat for seat in self._seats.values() if seat.session and not seat.busy]
        for seat in sorted(idle, key=lambda seat: seat.used_at):
            if sum(bool(each.session) or each.busy for each in self._seats.values()) <= self._most:
                return
            await self._end(seat, CROWDED)

    async def _end(self, seat: _Seat, why: str) -> None:
        session, seat.session, seat.why = seat.session, None, why
        if session:
            await session.kill()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            await self.evict_idle()


def most_kernels(limits: Limits) -> int:
    """As many as can take all that they may and leave half of the memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no container, or one without a cap ("max")
        memory = min(memory, int(_CGROUP.read_text()))
    return max(1, min(MOST, memory // 2 // limits.memory))
