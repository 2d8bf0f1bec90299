"""Many turns over many threads: does anything grow? `make soak`, or `python -m benchmarks.soak
--turns 50000 --threads 5000 [--stored 1000000 --people 50000]`. `--stored`: so many finished turns
of `--people` people are there before.

A whole Ponte, asked over its Unix socket by eight people at once, with an instant double of the
model's server in a process of its own. Ten spans of as many turns; after each its latency, its
processor time for a turn, and its memory. The first is the warm-up. The median of the last four may
be 5 % over that of the four after the warm-up in memory, and a quarter in time, as machines are.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
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


@contextlib.asynccontextmanager
async def running(home: str, model: str) -> AsyncIterator[tuple[aiohttp.ClientSession, int]]:
    """A Ponte in that home: its API, and its process id."""
    bot = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        PONTE,
        "run",
        env={**environment(home, model), "PONTE_DAILY_TURNS": "0/0"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert bot.stdout
    began = time.monotonic()
    while b"ready" not in await bot.stdout.readline():
        assert bot.returncode is None
    print(f"ready after {time.monotonic() - began:.2f} s")
    connector = aiohttp.UnixConnector(str(Path(home) / "ponte.sock"))
    async with aiohttp.ClientSession("http://localhost", connector=connector) as web:
        yield web, bot.pid
    bot.terminate()
    await bot.communicate()


def multiply(database: Path, stored: int, people: int) -> None:
    """Copy the only turn of a database `stored` times, for `people` people with a conversation
    each."""
    own = {
        "seq": "seq + i",
        "event_key": "event_key || i",
        "turn": "turn || i",
        "id": "id || i",
        "conversation": f"'discord::' || (i % {people})",
        "person": f"'discord:' || (i % {people})",
        "thread": f"'t' || (i % {people})",
        "key": "key || i",
        "post": "post || i",
    }
    with contextlib.closing(sqlite3.connect(database)) as connection:
        for table, count in (
            ("inbox", stored),
            ("items", stored),
            ("rounds", stored),
            ("posts", stored),
            ("usage", stored),
            ("spendings", stored),
            ("conversations", people),
            ("threads", people),
        ):
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            names = [name for name in names if (table, name) != ("items", "id")]
            values = ", ".join(own.get(name, name) for name in names)
            connection.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
                f" INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM n,"
                f" (SELECT * FROM {table} LIMIT {1 if count == people else 2})",
                (count,),
            )
            connection.commit()
    print(f"{stored} turns of {people} people: {database.stat().st_size / 2**20:.0f} MiB")


async def main(turns: int, threads: int, stored: int, people: int) -> bool:
    """Prints a row for each span; whether nothing grew."""
    rows: list[tuple[float, float, float]] = []
    async with fake(0.0) as model:
        with tempfile.TemporaryDirectory() as home:
            if stored:
                async with running(home, model) as (web, _):
                    await span(web, 0, 1, 1)
                multiply(Path(home) / "ponte.db", stored, people)
            async with running(home, model) as (web, pid):
                print(f"{'turns':>8}{'p50 ms':>9}{'p95 ms':>9}{'CPU ms':>9}{'MiB':>8}")
                for number in range(SPANS):
                    size, used = turns // SPANS, process.cpu(pid)
                    took = await span(web, number * size, size, threads)
                    cpu = (process.cpu(pid) - used) * 1000 / size
                    memory = process.resident(pid) / 2**20
                    p50, p95 = statistics.median(took), statistics.quantiles(took, n=20)[18]
                    rows.append((p50, cpu, memory))
                    print(f"{(number + 1) * size:8}{p50:9.2f}{p95:9.2f}{cpu:9.2f}{memory:8.1f}")
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
    parser.add_argument("--stored", type=int, default=0)
    parser.add_argument("--people", type=int, default=50_000)
    sys.exit(0 if asyncio.run(main(**vars(parser.parse_args()))) else 1)
