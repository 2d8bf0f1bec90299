"""Imports of a spreadsheet: what they take from memory, and from people who ask meanwhile.

`python -m benchmarks.imports`. A bot in a process of its own applies imports of 1,000 and of 10,000
rows to the fake NocoDB, which has a process, too. Then people ask for a row all the time, without
an import and while one of 1,000 rows runs.
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
from typing import Any

import structlog

from benchmarks.process import resident
from core.changes import apply as runner
from tests.dialogues.bot_home import BotHome
from tests.dialogues.imports import Importer, importer, new_rows

ROWS = (1_000, 10_000)
QUESTIONS, WARM_UP = 150, 20
MEGABYTE = 1 << 20


async def ask(here: Importer, times: list[float]) -> None:
    began = time.perf_counter()
    answer = await here.bot.ask('call nocodb_get {"table": "Orders", "id": 7}', "C2")
    assert "Order 07" in answer.text
    times.append((time.perf_counter() - began) * 1000)


async def propose(home: Path, url: str, rows: int) -> None:
    async with importer(BotHome(home), url) as here:
        print(json.dumps([(await here.propose(new_rows(rows))).id]))


async def apply(home: Path, url: str, id: str) -> None:
    """Print the bytes of memory before the import, and at most while it runs without a rest."""
    runner.REST_FACTOR = 0.0
    async with importer(BotHome(home), url) as here:
        for _ in range(WARM_UP):
            await ask(here, [])
        before = most = resident(os.getpid())
        _, receipt = await here.bot.send(f"approve {id}")
        applying = asyncio.create_task(here.bot.wait_for_answer(receipt))
        while not applying.done():
            await asyncio.sleep(0.02)
            most = max(most, resident(os.getpid()))
        assert "Written:" in applying.result().text
        print(json.dumps((before, most)))


async def answer(home: Path, url: str, id: str) -> None:
    """Print the medians of the milliseconds to an answer, without the import and beside it."""
    async with importer(BotHome(home), url) as here:
        for _ in range(WARM_UP):
            await ask(here, [])
        alone, beside = list[float](), list[float]()
        for _ in range(QUESTIONS):
            await ask(here, alone)
        _, receipt = await here.bot.send(f"approve {id}")
        applying = asyncio.create_task(here.bot.wait_for_answer(receipt))
        while not applying.done() and len(beside) < QUESTIONS:
            await ask(here, beside)
        assert len(beside) > WARM_UP
        print(json.dumps((statistics.median(alone), statistics.median(beside))))
        await here.bot.ask("stop")
        await applying


async def run(*arguments: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.imports", *arguments), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return json.loads(output.splitlines()[-1])


async def measure(what: str, rows: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.fakes.nocodb.server"), stdout=asyncio.subprocess.PIPE
        )
        assert server.stdout
        url = (await server.stdout.readline()).decode().split()[0]
        try:
            (id,) = await run("propose", folder, url, str(rows))
            before, after = await run(what, folder, url, id)
            return before, after
        finally:
            server.kill()
            await server.communicate()


async def main() -> None:
    for rows in ROWS:
        before, most = await measure("apply", rows)
        more = (most - before) / MEGABYTE
        sys.stdout.write(f"{rows:6,} rows: {more:5.1f} MB more than {before / MEGABYTE:.0f} MB\n")
    alone, beside = await measure("answer", ROWS[0])
    sys.stdout.write(f"an answer beside it: {beside:.1f} ms, {beside / alone:.2f} times alone\n")


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    match sys.argv[1:]:
        case ["propose", folder, address, count]:
            asyncio.run(propose(Path(folder), address, int(count)))
        case ["apply", folder, address, change]:
            asyncio.run(apply(Path(folder), address, change))
        case ["answer", folder, address, change]:
            asyncio.run(answer(Path(folder), address, change))
        case _:
            asyncio.run(main())
