"""The Slack adapter, its store on, beside a bare Bolt bot: `python -m benchmarks.slack [--check]`.

Both speak with the same fake Slack in the same run, with Slack's rate limits on. Times are in
milliseconds, as the fake sees them; CPU is the bot's own process.
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
from tests.fakes.slack import APP_TOKEN, BOT_TOKEN, FakeSlack, Place, Post

ROOT = Path(__file__).parents[1]
TARGETS = {"serial_ms": 1.5, "burst_s": 1 / 0.8, "cpu_ms": 1.5, "ack_p99_ms": 2.0}
"""How many times the bare bot's figure ours may be."""


@dataclass(frozen=True)
class Figures:
    """`cpu_ms` is a message at 100 a second; `burst_s` is 300 messages over 60 channels."""

    ready_s: float
    idle_rss_mib: float
    ack_p50_ms: float
    ack_p99_ms: float
    cpu_ms: float
    serial_ms: float
    burst_s: float


class Run:
    """One bot, as a process of its own, and the people who write to it."""

    def __init__(self, slack: FakeSlack, pid: int) -> None:
        self.slack = slack
        self.pid = pid
        self.alice = slack.person("Alice")

    def channels(self, number: int) -> list[Place]:
        return [self.slack.channel(str(n), self.alice) for n in range(number)]

    def ask(self, place: Place, words: str) -> Post:
        return self.slack.say(self.alice, place, f"{self.slack.bot} {words}")

    async def answered(self, said: list[Post]) -> None:
        left = list(said)

        def done() -> bool:
            left[:] = [post for post in left if not self.slack.answers(post)]
            return not left

        await self.slack.until(done, 120)

    async def load(self, per_second: int, seconds: float) -> tuple[float, float, float]:
        """Acknowledgement p50 and p99 in ms, CPU in ms for each message."""
        places = self.channels(per_second)
        before, sent = process.cpu(self.pid), len(self.slack.deliveries.all)
        began, said = time.monotonic(), []
        for number in range(int(per_second * seconds)):
            said.append(self.ask(places[number % len(places)], f"load {number}"))
            await asyncio.sleep(max(0.0, began + (number + 1) / per_second - time.monotonic()))
        await self.answered(said)
        acks = [
            (d.acked_at - d.sent_at) * 1000
            for d in self.slack.deliveries.all[sent:]
            if d.payload["event"]["type"] == "app_mention"
        ]
        cpu = (process.cpu(self.pid) - before) * 1000 / len(said)
        return statistics.median(acks), statistics.quantiles(acks, n=100)[98], cpu

    async def serial(self, turns: int) -> float:
        """Median time from a message to its answer, one after the other, in ms."""
        times = []
        for place in self.channels(turns):
            began = time.monotonic()
            said = self.ask(place, "serial")
            await self.answered([said])
            times.append((time.monotonic() - began) * 1000)
        return statistics.median(times)

    async def burst(self, messages: int, channels: int) -> float:
        places = self.channels(channels)
        began = time.monotonic()
        said = [self.ask(places[n % channels], f"burst {n}") for n in range(messages)]
        await self.answered(said)
        return time.monotonic() - began


async def measured(command: list[str], quick: bool) -> Figures:
    async with FakeSlack() as slack:
        began = time.monotonic()
        arguments = [word.replace("API", slack.base_url) for word in command]
        bot = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *arguments, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await asyncio.wait_for(slack.deliveries.connected(), 30)
            ready = time.monotonic() - began
            await asyncio.sleep(1)
            run = Run(slack, bot.pid)
            rss = process.resident(bot.pid) / 2**20
            await run.answered([run.ask(place, "warm up") for place in run.channels(20)])
            p50, p99, cpu = await run.load(100, 1 if quick else 5)
            serial = await run.serial(20 if quick else 100)
            burst = await run.burst(60 if quick else 300, 60)
            return Figures(ready, rss, p50, p99, cpu, serial, burst)
        finally:
            bot.terminate()
            await bot.wait()


async def main(quick: bool) -> dict[str, float]:
    """Prints both rows; returns the ratios that have a target."""
    with tempfile.TemporaryDirectory() as home:
        bare = await measured(["benchmarks.slack_bare", "API", BOT_TOKEN, APP_TOKEN], quick)
        ours = await measured(["tests.slack.victim", home, "API"], quick)
    print(f"{'':14}{'bare Bolt':>12}{'Ponte':>12}{'ratio':>8}  target")
    ratios = {}
    for name, theirs in asdict(bare).items():
        mine = asdict(ours)[name]
        ratios[name] = mine / theirs
        target = f"≤ {TARGETS[name]:.2f}" if name in TARGETS else ""
        print(f"{name:14}{theirs:12.2f}{mine:12.2f}{ratios[name]:8.2f}  {target}")
    return {name: ratio for name, ratio in ratios.items() if name in TARGETS}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    parser.add_argument("--quick", action="store_true", help="a fifth of the load")
    asked = parser.parse_args()
    got = asyncio.run(main(asked.quick))
    if asked.check and any(ratio > TARGETS[name] for name, ratio in got.items()):
        sys.exit(1)
