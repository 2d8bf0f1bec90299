"""Imports of a spreadsheet: what they take from memory, and from people who ask meanwhile.

`python -m benchmarks.imports`. A bot in a process of its own applies imports of 1,000 and of 10,000
rows to the fake NocoDB, which has a process, too. People ask for a row all the time, before the
import and while it runs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import structlog

from benchmarks.process import resident
from tests.dialogues.bot_home import BotHome
from tests.dialogues.imports import Importer, importer, new_rows

ROWS = (1_000, 10_000)
QUESTIONS = 150
MEGABYTE = 1 << 20


async def ask(here: Importer, times: list[float]) -> None:
    began = time.perf_counter()
    answer = await here.bot.ask('call nocodb_get {"table": "Orders", "id": 7}', "C2")
    assert "Order 07" in answer.text
    times.append((time.perf_counter() - began) * 1000)


async def propose(home: Path, url: str, rows: int) -> None:
    async with importer(BotHome(home), url) as here:
        print(json.dumps((await here.propose(new_rows(rows))).id))


async def apply(home: Path, url: str, id: str) -> None:
    """Print the bytes of memory before the import and at most while it runs, and the medians of the
    milliseconds to an answer."""
    async with importer(BotHome(home), url) as here:
        for _ in range(20):
            await ask(here, [])
        alone, beside, before = list[float](), list[float](), resident(os.getpid())
        for _ in range(QUESTIONS):
            await ask(here, alone)
        most = 0
        _, receipt = await here.bot.send(f"approve {id}")
        applying = asyncio.create_task(here.bot.wait_for_answer(receipt))
        began = time.perf_counter()
        while not applying.done():
            if len(beside) < QUESTIONS:
                await ask(here, beside)
            else:
                await asyncio.sleep(0.02)
            most = max(most, resident(os.getpid()))
        assert "Written:" in applying.result().text
        seconds = time.perf_counter() - began
        figures = (before, most, statistics.median(alone), statistics.median(beside), seconds)
        print(json.dumps(figures))


async def run(*arguments: str) -> object:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.imports", *arguments), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return json.loads(output.splitlines()[-1])


async def main() -> None:
    for rows in ROWS:
        with tempfile.TemporaryDirectory() as folder:
            server = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.fakes.nocodb.server"), stdout=asyncio.subprocess.PIPE
            )
            assert server.stdout
            url = (await server.stdout.readline()).decode().split()[0]
            try:
                id = await run("propose", folder, url, str(rows))
                figures = await run("apply", folder, url, str(id))
            finally:
                server.kill()
                await server.communicate()
        before, most, alone, beside, seconds = figures
        print(
            f"{rows:6,} rows in {seconds:5.1f} s: {(most - before) / MEGABYTE:5.1f} MB more than"
            f" {before / MEGABYTE:.0f} MB; an answer beside it {beside:.1f} ms,"
            f" {beside / alone:.2f} times that alone"
        )


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    match sys.argv[1:]:
        case ["propose", folder, address, count]:
            asyncio.run(propose(Path(folder), address, int(count)))
        case ["apply", folder, address, change]:
            asyncio.run(apply(Path(folder), address, change))
        case _:
            asyncio.run(main())
