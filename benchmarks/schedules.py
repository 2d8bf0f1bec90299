"""1,000 schedules under random kills: `python -m benchmarks.schedules [--engine postgres]`.

Each schedule is due every virtual hour, at a minute of its own. Meanwhile, processes are killed at
random and started again. In the end, each due time must have exactly one run with one post, or
stand in the list of missed runs. The command fails if a due time is lost or doubled, or if it is
listed as missed before a later one came (`hasty`).

An embedded Ponte has one process. On Postgres, `--processes` run the same schedules.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace

from tests.fakes import forker
from tests.real.postgres import SPEED, postgres
from tests.real.schedule_machine import BEGIN, HOUR, Machine, add_schedules, count_results


async def measure(
    machine: Machine, schedules: int, processes: int, kills: int, seed: int
) -> Counter[str]:
    """Run the schedules with that many kills, spread over the time. Return `count_results`."""
    dice = random.Random(seed)
    await add_schedules(machine, [f"{dice.randrange(60)} * * * *" for _ in range(schedules)])
    machine = replace(machine, since=time.time())
    real_seconds = (machine.until - machine.begin) / machine.speed
    pause = real_seconds / (kills + 1)
    running = [await _start(machine) for _ in range(processes)]
    for _ in range(kills):
        await asyncio.sleep(pause * dice.uniform(0.3, 1.7))
        number = dice.randrange(processes)
        running[number].kill()
        await running[number].wait()
        running[number] = await _start(machine)
    codes = await asyncio.gather(*(each.wait() for each in running))
    if any(codes):
        sys.exit(f"a process ended with {codes}")
    return await count_results(machine)


async def _start(machine: Machine) -> forker.Process:
    return await forker.start("tests.real.schedule_machine", machine.arguments())


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=("embedded", "postgres"), default="embedded")
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--hours", type=int, default=6, help="virtual hours")
    parser.add_argument("--seconds", type=float, default=90.0, help="the time that they take")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory())
        url = ""
        if asked.engine == "postgres":
            server = stack.enter_context(postgres(SPEED))
            url = stack.enter_context(server.migrated_database())
        elif asked.processes > 1:
            sys.exit("an embedded Ponte has one process")
        span = asked.hours * HOUR
        machine = Machine(home, BEGIN + span, url, speed=span / asked.seconds)
        began = time.monotonic()
        found = asyncio.run(
            measure(machine, asked.schedules, asked.processes, asked.kills, asked.seed)
        )
    words = ", ".join(
        f"{found[name]:,} {name}"
        for name in (
            "due",
            "done",
            "missed",
            "hasty",
            "skipped",
            "failed",
            "lost",
            "doubled",
            "invented",
        )
    )
    print(
        f"{asked.engine}, {asked.processes} process(es), {asked.schedules:,} schedules,"
        f" {asked.kills} kills, {time.monotonic() - began:.0f} s: {words}"
    )
    if any(found[name] for name in ("hasty", "lost", "doubled", "invented")):
        sys.exit(1)


if __name__ == "__main__":
    main()
