"""The CodeBackend: what holds wherever Python runs, hosted by OpenAI or in a sandbox here."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from core.base.openai import ModelEndpoint, ModelServerClient
from core.base.proxies import Proxies
from core.journal.kernels import KernelRows
from core.tools.code.environment import PythonEnvironment, SandboxPython, Tell
from core.tools.code.hosted import HostedBackend
from core.tools.code.local import Kernels, LocalBackend
from core.tools.code.port import CodeBackend, InputFile, RunResult
from core.tools.code.sandbox.sandbox import SandboxLimits
from tests.code.sandboxed import skip_blocked
from tests.core.tools.scene import ctx
from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.openai.script import Run

pytestmark = pytest.mark.slow


class Bare(PythonEnvironment):
    """Without the libraries, which take a minute to come."""

    async def python(self, tell: Tell) -> SandboxPython:
        return await self.bare()


@dataclass
class People:
    """Who runs code in threads of their own."""

    backend: CodeBackend

    async def run(
        self, code: str, *given: InputFile, thread: str = "t1", own_memory: str = ""
    ) -> RunResult:
        bare = ctx()
        there = replace(bare, thread=replace(bare.thread, id=thread), own_memory=own_memory)
        return await self.backend.run(there, code, given)


@asynccontextmanager
async def hosted_backend() -> AsyncIterator[HostedBackend]:
    async with FakeOpenAI() as fake:
        fake.runs(Script(runs=(Run(logs=""),), fail="hang", match="while True"))
        client = ModelServerClient(ModelEndpoint("sk-test", fake.base_url))
        backend = HostedBackend(client)
        yield backend
        await backend.close()
        await client.close()


@asynccontextmanager
async def local() -> AsyncIterator[LocalBackend]:
    """The folder is one that any user can look into, as kernels have other users than root."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        limits = SandboxLimits()
        kernels = Kernels(KernelRows(None), limits, 4)
        environment = Bare(Path(name) / "python", Proxies())
        backend = LocalBackend(environment, kernels, limits)
        try:
            if (health := await backend.health()).state != "on":
                skip_blocked(health.words)
            yield backend
        finally:
            await backend.close()


@pytest.fixture(params=[hosted_backend, local])
async def people(request: pytest.FixtureRequest) -> AsyncIterator[People]:
    async with request.param() as backend:
        yield People(cast(CodeBackend, backend))


async def test_a_run_returns_what_was_printed_shown_and_failed(people: People) -> None:
    assert await people.backend.is_available()
    health = await people.backend.health()
    assert (health.name, health.state) == ("code", "on")
    assert health.words.startswith(people.backend.name)
    assert len(people.backend.description) > 100

    ran = await people.run("print('olá', '日本')")
    assert (ran.printed, ran.error, ran.fault) == ("olá 日本\n", "", "")
    assert (ran.reset, ran.is_state_lost, ran.changed_code, ran.left_out) == (False, False, "", ())
    ran = await people.run("x = 6\nx * 7")
    assert (ran.printed + ran.value).strip() == "42", "the last expression"
    assert (await people.run("x = 1")).printed == ""

    ran = await people.run("n = 1\nprint('before')\n1 / 0")
    assert ran.printed == "before\n"
    assert ran.error.startswith("Traceback (most recent call last):")
    assert ran.error.strip().endswith("ZeroDivisionError: division by zero")
    for code in ("x = = 1", "if True:\npass"):
        assert "Error: " in (await people.run(code)).error
    assert (await people.run("print(n)")).printed == "1\n", "state outlives a failure"


async def test_state_lives_within_a_thread_and_stays_in_it(people: People) -> None:
    await people.run("def double(n): return 2 * n")
    await people.run("n = 21")
    ran = await people.run("print(double(n))")
    assert ran.printed == "42\n"
    assert "NameError" in (await people.run("n", thread="t2")).error
    assert "NameError" in (await people.run("n", own_memory="t1.turn")).error, "a turn's own memory"
    await people.run("n = 1", own_memory="t1.turn")
    await people.backend.forget("t1.turn")
    assert (await people.run("print(n)")).printed == "21\n"
    assert "NameError" in (await people.run("n", own_memory="t1.turn")).error


async def test_files_go_in_and_come_out(people: People) -> None:
    reads: list[str] = []

    async def read() -> bytes:
        reads.append("once")
        return b"month,total\n1,20\n2,22\n"

    sales = InputFile("f1", "sales.csv", "text/csv", 22, read)
    code = (
        "rows = open('sales.csv').read().split()[1:]\n"
        "total = sum(int(row.split(',')[1]) for row in rows)\n"
        "with open('total.txt', 'w') as out: out.write(str(total))\n"
        "print(total)"
    )
    ran = await people.run(code, sales)
    assert ran.printed == "42\n"
    assert [(file.name, file.type, file.data) for file in ran.output_files] == [
        ("total.txt", "text/plain", b"42")
    ]
    again = await people.run("print(open('total.txt').read())", sales)
    assert (again.printed, again.output_files) == ("42\n", ()), "what was there is not made again"
    assert (await people.run("print(len(open('sales.csv').read()))", sales)).printed == "22\n"
    assert reads == ["once"]


async def test_threads_run_side_by_side_and_runs_of_one_in_order(people: People) -> None:
    await people.run("seen = []")
    code = "print(sum(range({n}00)))"
    *others, _, _, _ = await asyncio.gather(
        *(people.run(code.format(n=n), thread=f"t{n}") for n in (2, 3)),
        *(people.run(f"seen.append({n})") for n in range(3)),
    )
    assert [ran.printed for ran in others] == ["19900\n", "44850\n"]
    assert (await people.run("print(seen)")).printed == "[0, 1, 2]\n"


async def test_a_stop_ends_the_run_and_the_next_one_says_what_it_cost(people: People) -> None:
    await people.run("n = 1")
    running = asyncio.create_task(people.run("while True: pass"))
    for _ in range(50):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    ran = await people.run("print('n' in dir())")
    assert ran.printed == f"{not ran.reset}\n"
    assert bool(ran.why_reset) == ran.reset


async def test_forgetting_leaves_nothing(people: People) -> None:
    async def read() -> bytes:
        return b"a"

    input_file = InputFile("f1", "a.csv", "text/csv", 1, read)
    await people.run("n = 1; open('n.txt', 'w').write('1')", input_file)
    await people.run("n = 2", thread="t2")
    await people.backend.forget("t1")
    await people.backend.forget("never there")
    code = "import os\ntry: open('n.txt')\nexcept OSError: print('gone', 'n' in dir())"
    ran = await people.run(code)
    assert (ran.printed, ran.reset) == ("gone False\n", False)
    assert (await people.run("print(n)", thread="t2")).printed == "2\n"
