"""Ponte on Discord, whole, beside a bare discord.py bot:
`python -m benchmarks.discord [--check] [--quick]`.

The bare bot makes one unstreamed call of the `openai` package and one reply; it stores nothing.
Both speak with the same doubles of Discord and of OpenAI, each a process of its own, in interleaved
rounds. Times are as Discord sees them, CPU is the bot's own process.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import process
from benchmarks.model import fake
from benchmarks.rounds import PONTE, ROUNDS, compared, environment
from tests.fakes.discord import FakeDiscord, Somebody

ROOT = Path(__file__).parents[1]
AIMS = {"ready_s": 1.5, "idle_mib": 1.3, "serial_ms": 1.8, "burst_s": 1 / 0.6, "cpu_ms": 1.8}
"""How many times the bare bot's figure ours may be."""
BARE = "benchmarks.discord_bare"


@dataclass(frozen=True)
class Figures:
    """`serial_ms` is the median of one direct message after the other; `burst_s` is 60 of 60 people
    at once; `cpu_ms` is for a message of it."""

    ready_s: float
    idle_mib: float
    serial_ms: float
    burst_s: float
    cpu_ms: float


class Run:
    """One bot, as a process of its own, and the people who write to it."""

    def __init__(self, discord: FakeDiscord, pid: int) -> None:
        self.discord = discord
        self.pid = pid

    def people(self, number: int) -> list[Somebody]:
        return [self.discord.user(f"Person {n}") for n in range(number)]

    async def asked(self, who: Somebody, text: str) -> float:
        """Milliseconds until the answer stands."""
        began = time.perf_counter()
        await who.say(text)
        await who.reads(f"You said: {text}")
        return (time.perf_counter() - began) * 1000

    async def serial(self, messages: int) -> list[float]:
        (ana,) = self.people(1)
        return [await self.asked(ana, f"serial {n}") for n in range(messages)]

    async def burst(self, people: int) -> tuple[float, float]:
        """Seconds for all, and milliseconds of the bot's CPU for each."""
        everybody = self.people(people)
        used, began = process.cpu(self.pid), time.perf_counter()
        for person in everybody:
            await person.say("burst")
        world = self.discord.world

        def all_answered() -> bool:
            return all(world.said_by(world.me.id, person.dm.id) for person in everybody)

        await self.discord.until(all_answered, 60)
        took = time.perf_counter() - began
        return took, (process.cpu(self.pid) - used) * 1000 / people


async def measured(module: str, quick: bool) -> Figures:
    async with fake(0.0) as model, FakeDiscord() as discord:
        with tempfile.TemporaryDirectory() as home:
            where = [discord.token, discord.api_url, discord.gateway_url]
            began = time.monotonic()
            bot = await asyncio.create_subprocess_exec(
                sys.executable, "-m", module, *(["run"] if module == PONTE else [*where, model]),
                cwd=ROOT, env=environment(
                    home, model, DISCORD_TOKEN=discord.token, DISCORD_API_URL=discord.api_url,
                    DISCORD_GATEWAY_URL=discord.gateway_url, PONTE_DAILY_TURNS="0/0",
                ),
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            try:
                await discord.until(lambda: discord.gateway.connected, 30)
                ready = time.monotonic() - began
                await asyncio.sleep(1)
                run = Run(discord, bot.pid)
                idle = process.resident(bot.pid) / 2**20
                await run.serial(20)
                serial = await run.serial(50 if quick else 300)
                bursts = [await run.burst(60) for _ in range(1 if quick else 5)]
                took, cpu = (statistics.median(figures) for figures in zip(*bursts, strict=True))
                return Figures(ready, idle, statistics.median(serial), took, cpu)
            finally:
                bot.terminate()
                await bot.wait()


async def main(quick: bool, rounds: int = ROUNDS) -> dict[str, float]:
    """Prints a row for each figure; returns the ratios."""

    async def figures(module: str) -> dict[str, float]:
        return asdict(await measured(module, quick))

    return await compared(BARE, figures, AIMS, rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 where an aim is missed")
    parser.add_argument("--quick", action="store_true", help="a fifth of the load")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    got = asyncio.run(main(asked.quick, asked.rounds))
    if asked.check and any(ratio > AIMS[name] for name, ratio in got.items()):
        sys.exit(1)
