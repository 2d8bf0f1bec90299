"""The kernels of several threads: apart from each other, ended when idle, gone when forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.stores import SCHEMA
from core.journal.kernels import KernelRows
from core.store.database import Database, SqliteDatabase
from core.tools.code.local import (
    KERNEL_EVICTED,
    KERNEL_IDLE_SECONDS,
    WAS_IDLE,
    Kernels,
    max_kernels,
)
from core.tools.code.port import RunResult
from core.tools.code.sandbox.process import Sandbox
from core.tools.code.sandbox.sandbox import MiB, SandboxLimits
from core.tools.code.session import KernelSession
from tests.code import sandboxed
from tests.fakes.clock import Clock
from tests.time_limits import Limits

STUBBORN = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
print("on", flush=True)
while True:
    try:
        while True: sum(range(10**6))
    except BaseException: pass
"""
"""Does not listen to an interrupt."""


class Places(KernelRows):
    is_elsewhere = False
    """Whether another process forgot the thread, or runs its kernel now."""

    async def is_here(self, thread: str) -> bool:
        return not self.is_elsewhere and await super().is_here(thread)


class Bench:
    def __init__(self, database: Database, sandbox: Sandbox, python: Path, most: int = 2) -> None:
        self.clock = Clock()
        self.database = database
        self._sandbox, self._python = sandbox, python
        self.places = Places(database)
        self.kernels = Kernels(self.places, SandboxLimits(), most, self.clock)

    async def run(self, thread: str, code: str) -> RunResult:
        self.clock.now += 1
        return await self.kernels.run(thread, self._sandbox, self._python, code, ())

    async def threads(self) -> list[str]:
        rows = await self.database.read(lambda c: c.execute("SELECT * FROM kernels").fetchall())
        return [row["thread"] for row in rows]

    def restart(self) -> Bench:
        return Bench(self.database, self._sandbox, self._python)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with sandboxed.sandbox() as sandbox:
        database = await SqliteDatabase.open(tmp_path / "ponte.db", SCHEMA)
        bench = Bench(database, sandbox, await sandboxed.python())
        yield bench
        await bench.kernels.close()
        await database.close()
        assert sandboxed.kernels() == set()


@pytest.mark.slow
async def test_a_notification_alone_ends_no_kernel(bench: Bench) -> None:
    """Anybody who may connect to the shared database can send one; the row says what is so."""
    await bench.run("a", "x = 1")
    await bench.kernels.drop_forgotten("a")
    assert (await bench.run("a", "x")).value == "1"
    bench.places.is_elsewhere = True
    await bench.kernels.drop_forgotten("a")
    assert bench.kernels.running == 0


@pytest.mark.slow
async def test_a_kernel_whose_thread_runs_elsewhere_by_now_is_not_used(bench: Bench) -> None:
    await bench.run("a", "x = 1")
    bench.places.is_elsewhere = True
    ran = await bench.run("a", "x")
    assert "NameError" in ran.error
    assert (ran.reset, ran.why_reset) == (True, KernelRows.why)
    assert bench.kernels.running == 1


@pytest.mark.slow
async def test_threads_have_variables_and_files_of_their_own(bench: Bench) -> None:
    await asyncio.gather(
        bench.run("a", "x = 'a'; open('f', 'w').write('a')"), bench.run("b", "x = 'b'")
    )
    assert (await bench.run("a", "x")).value == "'a'"
    ran = await bench.run("b", "import os; (x, os.listdir())")
    assert (ran.value, ran.reset) == ("('b', [])", False)


@pytest.mark.slow
async def test_runs_of_one_thread_wait_for_each_other(bench: Bench) -> None:
    await bench.run("a", "n = 0")
    code = "import time\nm = n; time.sleep(0.01); n = m + 1"
    await asyncio.gather(*(bench.run("a", code) for _ in range(5)))
    assert (await bench.run("a", "n")).value == "5"


@pytest.mark.slow
async def test_the_longest_unused_makes_room_and_its_thread_is_told(bench: Bench) -> None:
    for thread in ("a", "b", "a", "c"):
        assert not (await bench.run(thread, f"x = {thread!r}")).reset
    assert bench.kernels.running == 2
    ran = await bench.run("b", "x")
    assert (ran.reset, ran.why_reset) == (True, KERNEL_EVICTED)
    assert "NameError" in ran.error
    assert not (await bench.run("b", "1")).reset


@pytest.mark.slow
async def test_more_threads_than_places_take_turns(bench: Bench) -> None:
    rans = await asyncio.gather(*(bench.run(str(n), f"{n} * 2") for n in range(6)))
    assert [ran.value for ran in rans] == [str(n * 2) for n in range(6)]
    assert bench.kernels.running == 2


@pytest.mark.slow
async def test_an_idle_kernel_ends_and_the_loss_is_told_once(bench: Bench) -> None:
    await bench.run("a", "x = 1")
    bench.clock.now += KERNEL_IDLE_SECONDS - 1
    await bench.kernels.evict_idle()
    assert bench.kernels.running == 1
    bench.clock.now += 1
    await bench.kernels.evict_idle()
    assert (bench.kernels.running, sandboxed.kernels()) == (0, set())
    ran = await bench.run("a", "1")
    assert (ran.reset, ran.why_reset) == (True, WAS_IDLE)


@pytest.mark.slow
async def test_a_kernel_that_ended_by_itself_is_told_as_lost(bench: Bench) -> None:
    await bench.run("a", "x = 1")
    result = await bench.run("a", "import os; os._exit(1)")
    assert (result.is_state_lost, result.reset) == (True, False)
    ran = await bench.run("a", "'anew'")
    assert (ran.value, ran.why_reset) == ("'anew'", "its process ended")


@pytest.mark.slow
async def test_a_restart_of_ponte_is_told_too(bench: Bench) -> None:
    await bench.run("a", "x = 1")
    await bench.kernels.close()
    again = bench.restart()
    assert (await again.run("a", "1")).why_reset == KernelRows.why
    assert not (await again.run("new", "1")).reset
    await again.kernels.close()


@pytest.mark.slow
async def test_forgetting_leaves_nothing(bench: Bench) -> None:
    await bench.run("a", "open('secret.txt', 'w').write('s')")
    await bench.kernels.forget("a")
    assert (sandboxed.kernels(), await bench.threads()) == (set(), [])
    ran = await bench.run("a", "import os; os.listdir()")
    assert (ran.value, ran.reset) == ("[]", False)


@pytest.mark.slow
async def test_forgetting_ends_what_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.run("a", "1")
    began = sandboxed.output(monkeypatch)
    code = "import time; print('on', flush=True); time.sleep(600)"
    running = asyncio.create_task(bench.run("a", code))
    await began.wait()
    await bench.kernels.forget("a")
    assert (await running).is_state_lost


@pytest.mark.slow
async def test_forgetting_while_one_starts_leaves_none(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting, event = asyncio.Event(), asyncio.Event()
    start = KernelSession.start

    async def slowly(sandbox: Sandbox, python: Path, limits: SandboxLimits) -> KernelSession:
        starting.set()
        await event.wait()
        return await start(sandbox, python, limits)

    monkeypatch.setattr(KernelSession, "start", slowly)
    running = asyncio.create_task(bench.run("a", "x = 1"))
    await starting.wait()
    await bench.kernels.forget("a")
    event.set()
    await running
    assert (sandboxed.kernels(), await bench.threads()) == (set(), [])


def test_kernels_may_take_half_of_the_memory(limits: Limits, tmp_path: Path) -> None:
    cap = tmp_path / "memory.max"
    limits(_CGROUP=cap)
    for text, most in (("max", None), (str(4096 * MiB), 2), ("1000000", 1)):
        cap.write_text(text)
        assert most is None or max_kernels(SandboxLimits(memory=1024 * MiB)) == most
    assert 1 <= max_kernels(SandboxLimits()) <= 32


@pytest.mark.slow
async def test_a_stop_that_costs_the_state_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    limits(INTERRUPT_GRACE_SECONDS=0.2)
    await bench.run("a", "x = 1")
    began = sandboxed.output(monkeypatch)
    running = asyncio.create_task(bench.run("a", STUBBORN))
    await began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sandboxed.kernels() == set()
    assert (await bench.run("a", "1")).why_reset == "the last run was stopped"
