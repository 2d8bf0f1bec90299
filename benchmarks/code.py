"""Python in the sandbox, as whole calls of the tool: from the model's arguments to the outcome.

`make bench` or `python -m benchmarks.code`. The floor is the same code in a bare interpreter of the
same environment, without a sandbox; milliseconds are medians.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import structlog

from benchmarks.process import proportional, resident
from core.base.proxies import Proxies
from core.domain.records import Outcome
from core.domain.rights import Viewer
from core.journal.kernels import KernelRows
from core.tools.code.environment import PythonEnvironment, environments_folder
from core.tools.code.local import Kernels, LocalBackend
from core.tools.code.sandbox.sandbox import SandboxLimits
from core.tools.code.source import CodeSource
from tests.code.scenes import set_scene
from tests.fakes.scene_folder import MemoryContextFiles

COLD, WARM, PLOTS, KERNELS = 15, 200, 10, 8
PLOT = "plt.figure(); plt.plot([1, 3, 2]); plt.title('t'); plt.xlabel('x')"
Row = tuple[str, float, str, float]
"""What was measured, how much, in what, and the floor (0: there is none)."""
FIRST = f"import pandas as pd\nimport matplotlib.pyplot as plt\n{PLOT}"

SECOND = f"""
{FIRST}
import io, statistics, time
took = []
for _ in range({PLOTS + 1}):
    begun = time.perf_counter()
    {PLOT}
    plt.savefig(io.BytesIO(), format="png", dpi=120, bbox_inches="tight")
    plt.close("all")
    took.append(time.perf_counter() - begun)
print(statistics.median(took[1:]) * 1000)
"""


class Caller:
    """Calls `run_python` for one thread after another."""

    def __init__(self, backend: LocalBackend) -> None:
        self._source = CodeSource(backend)

    async def call(self, thread: str, code: str) -> Outcome:
        (tool,) = await self._source.tools(Viewer())
        ctx = set_scene(MemoryContextFiles())
        ctx = replace(ctx, thread=replace(ctx.thread, id=thread))
        outcome = await tool.run(ctx, json.dumps({"code": code}))
        assert outcome.status == "ok", outcome.text
        return outcome


async def _ms(work: Callable[[int], Awaitable[object]], times: int) -> float:
    took = []
    for number in range(times):
        begun = time.perf_counter()
        await work(number)
        took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1000


async def _bare(python: Path, code: str) -> None:
    process = await asyncio.create_subprocess_exec(
        str(python),
        "-I",
        "-c",
        code,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={"MPLBACKEND": "Agg", "PATH": os.defpath},
    )
    assert await process.wait() == 0


async def _run_and_read_number(python: Path, code: str) -> float:
    """The figure that the code prints."""
    process = await asyncio.create_subprocess_exec(
        str(python),
        "-I",
        "-c",
        code,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"MPLBACKEND": "Agg", "PATH": os.defpath},
    )
    told, _ = await process.communicate()
    return float(told)


def _megabytes() -> list[tuple[float, float]]:
    """Of each kernel, the last processes below ours: its share of what is shared, and all of it."""
    return [(proportional(pid) / 1e6, resident(pid) / 1e6) for pid in _leaves(os.getpid())]


def _leaves(pid: int) -> list[int]:
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [leaf for child in below for leaf in _leaves(int(child)) or [int(child)]]


async def _one_by_one(backend: LocalBackend, python: Path) -> list[Row]:
    caller = Caller(backend)
    hello = await _ms(lambda _: _bare(python, "print('hello')"), COLD)
    cold = await _ms(lambda n: caller.call(f"cold {n}", "print('hello')"), COLD)
    await caller.call("warm", "x = 41")
    warm = await _ms(lambda _: caller.call("warm", "print(x + 1)"), WARM)
    script = f"{FIRST}\nplt.savefig('/tmp/ponte-bench.png')"
    first_bare = await _ms(lambda _: _bare(python, script), 3)
    first = await _ms(lambda n: caller.call(f"first {n}", FIRST), 3)
    await caller.call("plot", FIRST)
    second = await _ms(lambda _: caller.call("plot", PLOT), PLOTS)
    second_bare = await _run_and_read_number(python, SECOND)
    return [
        ("cold, to the first output", cold, "ms", hello),
        ("warm", warm, "ms", 0),
        ("pandas imported, first plot", first, "ms", first_bare),
        ("second plot", second, "ms", second_bare),
    ]


async def _side_by_side(backend: LocalBackend, python: Path) -> list[Row]:
    caller = Caller(backend)
    await asyncio.gather(*(caller.call(str(n), "import pandas") for n in range(KERNELS)))
    shared, whole = zip(*_megabytes(), strict=True)
    begun = time.perf_counter()
    await asyncio.gather(*(caller.call(str(n), "print(1)") for n in range(KERNELS)))
    took = (time.perf_counter() - begun) * 1000
    assert len(whole) == KERNELS
    return [
        (f"idle with pandas, of {KERNELS}: PSS", statistics.median(shared), "MB", 0),
        (f"idle with pandas, of {KERNELS}: RSS", statistics.median(whole), "MB", 0),
        (f"a call in each of {KERNELS} at once", took, "ms", 0),
    ]


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    limits = SandboxLimits()
    environment = PythonEnvironment(
        environments_folder(Path.home() / ".cache" / "ponte-ci"), Proxies()
    )
    rows: list[Row] = []
    for measured in (_one_by_one, _side_by_side):
        kernels = Kernels(KernelRows(None), limits, 64)
        backend = LocalBackend(environment, kernels, limits)
        health = await backend.health()
        python = await environment.python(_print_line)
        rows += await measured(backend, python.path)
        await backend.close()
    sys.stdout.write(f"{health.words}\n")
    for what, figure, unit, floor in rows:
        beside = f"   floor {floor:7.1f} ms   ratio {figure / floor:5.1f}" if floor else ""
        sys.stdout.write(f"{what:<34} {figure:7.1f} {unit}{beside}\n")


async def _print_line(words: str) -> None:
    sys.stdout.write(f"Ponte {words}\n")


if __name__ == "__main__":
    asyncio.run(main())
