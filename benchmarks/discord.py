"""The Discord adapter, its store on, beside a bare discord.py bot:
`python -m benchmarks.discord [--check] [--quick]`.

Both speak with the same fake Discord in the same run. Times are as the fake sees them; CPU is the
bot's own process.
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
from tests.fakes.discord import FakeDiscord, Somebody

ROOT = Path(__file__).parents[1]
TARGETS = {"serial_ms": 15.0, "burst_s": 0.5, "cpu_ms": 4.0, "ready_s": 1.2, "rss_mib": 100.0}
"""What ours may be at most. The bare bot stores nothing, so a ratio to it says little: beside a
round trip to Discord of some 100 ms the commits of a turn are not seen."""


@dataclass(frozen=True)
class Figures:
    """`burst_s` is 60 DMs of 60 people at once; `cpu_ms` is for a message of it."""

    ready_s: float
    idle_rss_mib: float
    serial_ms: float
    serial_p99_ms: float
    burst_s: float
    cpu_ms: float
    rss_mib: float


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


async def measured(command: list[str], quick: bool) -> Figures:
    async with FakeDiscord() as discord:
        words = {"TOKEN": discord.token, "API": discord.api_url, "GATEWAY": discord.gateway_url}
        began = time.monotonic()
        bot = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *(words.get(word, word) for word in command), cwd=ROOT,
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
            return Figures(
                ready_s=ready,
                idle_rss_mib=idle,
                serial_ms=statistics.median(serial),
                serial_p99_ms=statistics.quantiles(serial, n=100)[98],
                burst_s=statistics.median(took for took, _ in bursts),
                cpu_ms=statistics.median(cpu for _, cpu in bursts),
                rss_mib=process.resident(bot.pid) / 2**20,
            )
        finally:
            bot.terminate()
            await bot.wait()


async def main(quick: bool) -> bool:
    """Prints both rows; whether every target is met."""
    with tempfile.TemporaryDirectory() as home:
        bare = await measured(["benchmarks.discord_bare", "TOKEN", "API", "GATEWAY"], quick)
        ours = await measured(["tests.discord.victim", home, "TOKEN", "API", "GATEWAY"], quick)
    print(f"{'':14}{'bare':>12}{'Ponte':>12}{'ratio':>8}  target")
    met = True
    for name, theirs in asdict(bare).items():
        mine, most = asdict(ours)[name], TARGETS.get(name)
        target = f"≤ {most}" if most else ""
        met = met and (most is None or mine <= most)
        print(f"{name:14}{theirs:12.2f}{mine:12.2f}{mine / theirs:8.2f}  {target}")
    return met


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    parser.add_argument("--quick", action="store_true", help="a fifth of the load")
    asked = parser.parse_args()
    if not asyncio.run(main(asked.quick)) and asked.check:
        sys.exit(1)
