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
"""The module that is Ponte; other bots have another."""
PER_SECOND = "_per_s"
"""The end of a figure's name if more is better."""
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
        **os.environ,
        "PONTE_HOME": home,
        "PONTE_WEB": "off",
        "PONTE_CODE": "off",
        "PONTE_LOG_LEVEL": "warning",
        "OPENAI_API_KEY": "key",
        "OPENAI_BASE_URL": model,
        **more,
    }


@contextlib.asynccontextmanager
async def running_page(home: str, model: str, settings: Mapping[str, str]) -> AsyncIterator[str]:
    """Run a Ponte that serves its page on a free port; yield the page's address."""
    web = {"PONTE_WEB": "on", "PONTE_WEB_PORT": "0"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        PONTE,
        "run",
        env={**environment(home, model), **web, **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
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
    measured: Measured, aims: Mapping[str, float], rounds: int, bare: str, *others: str
) -> bool:
    """Print a row for each figure of `aims`: its median for the bare bot, then for each other bot
    and for Ponte the median, its ratio to the bare bot, and the spread of the ratio over the
    rounds. Return whether Ponte's ratios reach all aims."""
    bots = [*others, PONTE]
    results: dict[str, list[Mapping[str, float]]] = {bot: [] for bot in (bare, *bots)}
    for _ in range(rounds):
        for bot, of_bot in results.items():
            of_bot.append(await measured(bot))
    names = [*(bot.rpartition("_")[2] for bot in others), "Ponte"]
    titles = (f"{title:>10}{'ratio':>7}{'spread':>15}" for title in names)
    print(f"{'':16}{'bare':>10}{''.join(titles)}  aim")
    is_reached = True
    for name, aim in aims.items():
        row = f"{name:16}{_median(name, results[bare]):10.2f}"
        for bot in bots:
            ratios = sorted(
                one[name] / floor[name]
                for one, floor in zip(results[bot], results[bare], strict=True)
            )
            ratio, spread = statistics.median(ratios), f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
            row += f"{_median(name, results[bot]):10.2f}{ratio:7.2f}{spread:>15}"
        is_high = name.endswith(PER_SECOND)
        is_reached &= ratio >= aim if is_high else ratio <= aim
        print(f"{row}  {'≥' if is_high else '≤'} {aim:.2f}")
    return is_reached


def _median(name: str, of: Sequence[Mapping[str, float]]) -> float:
    return statistics.median(one[name] for one in of)
