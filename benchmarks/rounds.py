"""Shared by the platforms' benchmarks: processes of Ponte, interleaved rounds, and the table of
ratios."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

ROUNDS = 3
PONTE = "bot"
"""The module that is Ponte; a bare bot has another."""
Measured = Callable[[str], Awaitable[Mapping[str, float]]]


def parser_of_rounds(about: str | None) -> argparse.ArgumentParser:
    """Return the options of a benchmark in rounds: `quick` and `rounds`."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="a fifth of the load")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    return parser


def environment(home: str, model: str, **more: str) -> Mapping[str, str]:
    """Return the environment of a Ponte with one platform and this model."""
    return {
        **os.environ, "PONTE_HOME": home, "PONTE_WEB": "off", "PONTE_CODE": "off",
        "PONTE_LOG_LEVEL": "warning", "OPENAI_API_KEY": "key", "OPENAI_BASE_URL": model, **more,
    }  # fmt: skip


@contextlib.asynccontextmanager
async def running_page(home: str, model: str, settings: Mapping[str, str]) -> AsyncIterator[str]:
    """Run a Ponte that serves its page on a free port; yield the page's address."""
    web = {"PONTE_WEB": "on", "PONTE_WEB_PORT": "0"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", PONTE, "run", env={**environment(home, model), **web, **settings},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout
    try:
        address = ""
        async for line in process.stdout:
            if found := re.search(rb"http://127\.0\.0\.1:\d+", line):
                address = found[0].decode()
            if b"ready" in line:
                break
        yield address
    finally:
        process.terminate()
        await process.communicate()


async def compare_bots(
    bare: str, measured: Measured, aims: Mapping[str, float], rounds: int
) -> dict[str, float]:
    """Print a row for each figure of `aims`: medians, the ratio and its spread over the rounds, and
    how many times the bare bot's figure ours may be. The ratios."""
    theirs: list[Mapping[str, float]] = []
    ours: list[Mapping[str, float]] = []
    for _ in range(rounds):
        theirs.append(await measured(bare))
        ours.append(await measured(PONTE))
    print(f"{'':14}{'bare':>10}{'Ponte':>10}{'ratio':>8}{'spread':>14}  aim")
    found = {}
    for name, aim in aims.items():
        ratios = sorted(mine[name] / one[name] for mine, one in zip(ours, theirs, strict=True))
        found[name] = statistics.median(ratios)
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        figures = "".join(f"{_median(name, of):10.2f}" for of in (theirs, ours))
        print(f"{name:14}{figures}{found[name]:8.2f}{spread:>14}  ≤ {aim:.2f}")
    return found


def _median(name: str, of: Sequence[Mapping[str, float]]) -> float:
    return statistics.median(one[name] for one in of)
