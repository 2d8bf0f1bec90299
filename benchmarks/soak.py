"""Many turns over many threads: does anything grow? `make soak`, or `python -m benchmarks.soak
--turns 50000 --threads 5000`.

A whole Ponte, asked over its Unix socket by eight people at once, with an instant double of the
model's server in a process of its own. Ten spans of as many turns; after each its latency, its
processor time for a turn, and its memory. The first is the warm-up. The median of the last four may
be 5 % over that of the four after the warm-up in memory, and a quarter in time, as machines are.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from benchmarks import process
from benchmarks.model import fake
from benchmarks.rounds import PONTE, environment

AT_ONCE, SPANS = 8, 10
MEMORY, TIMES = 1.05, 1.25


async def span(web: aiohttp.ClientSession, first: int, turns: int, threads: int) -> list[float]:
    """Milliseconds that each turn took."""
    took: list[float] = []
    numbers = iter(range(first, first + turns))

    async def person() -> None:
        for number in numbers:
            began = time.perf_counter()
            body = {"message": f"turn {number}", "conversation": f"c{number % threads}"}
            async with web.post("/chat", json=body) as answer:
                told = await answer.json()
            assert told["status"] == "done", told
            took.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(person() for _ in range(AT_ONCE)))
    return took


async def main(turns: int, threads: int) -> bool:
    """Prints a row for each span; whether nothing grew."""
    rows: list[tuple[float, float, float]] = []
    async with fake(0.0) as model:
        with tempfile.TemporaryDirectory() as home:
            bot = await asyncio.create_subprocess_exec(
                sys.executable, "-m", PONTE, "run",
                env={**environment(home, model), "PONTE_DAILY_TURNS": "0/0"},
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            assert bot.stdout
            while b"ready" not in await bot.stdout.readline():
                assert bot.returncode is None
            connector = aiohttp.UnixConnector(str(Path(home) / "ponte.sock"))
            async with aiohttp.ClientSession("http://localhost", connector=connector) as web:
                print(f"{'turns':>8}{'p50 ms':>9}{'p95 ms':>9}{'CPU ms':>9}{'MiB':>8}")
                for number in range(SPANS):
                    size, used = turns // SPANS, process.cpu(bot.pid)
                    took = await span(web, number * size, size, threads)
                    cpu = (process.cpu(bot.pid) - used) * 1000 / size
                    memory = process.resident(bot.pid) / 2**20
                    p50, p95 = statistics.median(took), statistics.quantiles(took, n=20)[18]
                    rows.append((p50, cpu, memory))
                    print(f"{(number + 1) * size:8}{p50:9.2f}{p95:9.2f}{cpu:9.2f}{memory:8.1f}")
            bot.terminate()
            await bot.communicate()
    early, late = zip(*rows[1:5], strict=True), zip(*rows[-4:], strict=True)
    ratios = [
        statistics.median(after) / statistics.median(before)
        for before, after in zip(early, late, strict=True)
    ]
    print("late to early: p50 {:.2f}, CPU {:.2f}, memory {:.3f}".format(*ratios))
    return bool(max(ratios[:2]) <= TIMES and ratios[2] <= MEMORY)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=50_000)
    parser.add_argument("--threads", type=int, default=5_000)
    asked = parser.parse_args()
    sys.exit(0 if asyncio.run(main(asked.turns, asked.threads)) else 1)
