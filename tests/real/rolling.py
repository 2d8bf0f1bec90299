"""A rolling upgrade: an old version of Ponte and this one on one Postgres, killed at random.

`python -m tests.real.rolling OLD` (`make rolling OLD=…`). OLD is a checkout of the old version with
its environment (`make .venv/ready-to-test` in it). The steps are those of
docs/guides/scaling.md: old processes run, new ones come and migrate the database while messages
wait, both work side by side
and are killed, the old ones end, and the new ones answer the rest. The exit code is 0 if each
message has exactly one answer, in the order of its conversation. A wrong order that the old version
made alone is printed and does not count.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.openai import Script
from tests.real.machine import LEASE
from tests.real.machines import BOOKS, Cluster, Machine, Talk, cluster
from tests.real.postgres import SPEED, postgres

ROLES = ("serve", "work", "work")
"""The processes of each version."""
OLD_ALONE_SHARE, COMING_SHARE, BOTH_SHARE = 0.2, 0.3, 0.85
"""Shares of the messages that are sent before new processes come, while they come, and before the
old ones end."""


@dataclass(frozen=True, slots=True)
class Options:
    old: Path
    messages: int
    conversations: int
    kills: int
    seed: int
    model_seconds: float


class Rolling:
    """People write while one version takes over from the other."""

    def __init__(self, made: Cluster, options: Options) -> None:
        self.made = made
        self.options = options
        self.dice = random.Random(options.seed)
        self.new = list(made.machines)
        self.old = [
            Machine(f"old-{m.name}", m.role, m.home.parent, m.settings, options.old)
            for m in self.new
        ]
        made.machines[:] = [*self.old, *self.new]
        self.talks = [made.slack_talk(f"r{n}") for n in range(options.conversations)]
        self.running: list[Machine] = []
        self.happened = Counter[str]()
        self._both, self._killed = asyncio.Event(), asyncio.Event()
        self._killing = asyncio.Lock()
        self._sent = 0
        self.new_version_came_at = 0.0

    async def roll(self) -> None:
        for machine in self.old:
            await self._start(machine)
        for talk in self.talks:
            await self._say(talk)
        await self.made.settle(120)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._talk())
            group.create_task(self._kill())
            group.create_task(self._upgrade())
        self._report("all is sent")
        await self.made.settle(60 + self.options.messages * self.options.model_seconds)
        self._report("everything is answered")

    async def _upgrade(self) -> None:
        """Start the new processes beside the old ones, and end the old ones later."""
        await self._until_sent(OLD_ALONE_SHARE)
        self.new_version_came_at = time.time()
        self._report("the new version comes")
        for machine in self.new:
            await self._start(machine)
        self._both.set()
        self._report("both versions run")
        await self._until_sent(BOTH_SHARE)
        self._report("the old version ends")
        for machine in self.old:
            async with self._killing:
                self.running.remove(machine)
                await machine.terminate()

    async def _start(self, machine: Machine) -> None:
        await machine.start()
        self.running.append(machine)

    async def _talk(self) -> None:
        """Send the rest: bursts into random conversations, so that turns wait for each other. The
        kills are spread evenly over the messages."""
        while self._sent < self.options.messages:
            if self._sent >= COMING_SHARE * self.options.messages:
                await self._both.wait()
            talk = self.dice.choice(self.talks)
            for _ in range(min(self.dice.randint(1, 6), self.options.messages - self._sent)):
                await self._say(talk)
            share = (self.happened.total() + 1) / self.options.kills
            if self._sent > share * self.options.messages:
                self._killed.clear()
                await self._killed.wait()

    async def _say(self, talk: Talk) -> None:
        self._sent += 1
        word = f"word{self._sent}x"
        seconds = self.options.model_seconds
        self.made.model.say(Script(f"You said: {word}", match=word, times=0, seconds=seconds))
        await talk.say(word)

    async def _until_sent(self, share: float) -> None:
        await self.made.slack.wait_until(lambda: self._sent >= share * self.options.messages, None)

    async def _kill(self) -> None:
        """Kill a process of either version at a random moment, and start it again."""
        while self.happened.total() < self.options.kills:
            await asyncio.sleep(self.dice.uniform(0.1, 1.5))
            async with self._killing:
                old = [machine for machine in self.running if machine.checkout]
                new = [machine for machine in self.running if not machine.checkout]
                victim = self.dice.choice(self.dice.choice([each for each in (old, new) if each]))
                await victim.kill()
                self.happened["old" if victim.checkout else "new"] += 1
                self._killed.set()
                await asyncio.sleep(self.dice.choice((0.0, 0.0, LEASE * 1.3)))
                await victim.start()

    def _report(self, step: str) -> None:
        waiting = self.made.query("SELECT count(*) FROM inbox WHERE state = 'new'")[0][0]
        print(f"{time.strftime('%H:%M:%S')} {step}: {self._sent} messages sent, {waiting} wait; "
              f"kills: {dict(self.happened)}", flush=True)  # fmt: skip

    def verdict(self) -> list[str]:
        """Return what is wrong; print the counts."""
        late = sum(
            machine.count_lines("removed a duplicate post") for machine in self.made.machines
        )
        over = sum(
            machine.count_lines("took over a turn of a dead process")
            for machine in self.made.machines
        )
        print(
            f"{self.made.tally()}; kills: {dict(self.happened)}; {over} turns taken over, "
            f"{late} late posts taken away; seed {self.options.seed}",
            flush=True,
        )
        wrong = [fault for fault in self.made.wrong() if not self._is_by_old_version_alone(fault)]
        if self.made.open():
            wrong.append(f"{self.made.open()} messages are not at their end")
        return wrong

    def _is_by_old_version_alone(self, fault: str) -> bool:
        """Return whether a wrong order came about before any new process ran; then print it."""
        words = re.findall(r"word\d+x", fault)
        rows = self.made.query("SELECT message, updated FROM inbox")
        ended_at = [at for message, at in rows if any(word in str(message) for word in words)]
        is_before = ": 'You said" in fault and max(ended_at) < self.new_version_came_at
        if is_before:
            print("BY THE OLD VERSION ALONE:", fault)
        return is_before


async def run(options: Options) -> int:
    with tempfile.TemporaryDirectory() as folder, postgres(SPEED) as server:
        async with cluster(server, Path(folder), *ROLES, platforms=["slack"], config=BOOKS) as made:
            rolling = Rolling(made, options)
            await rolling.roll()
            wrong = rolling.verdict()
            for line in wrong:
                print("WRONG:", line)
            if wrong:
                print(made.last_lines())
            ended = [await machine.terminate() for machine in rolling.new]
            return 1 if wrong or any(ended) else 0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", type=Path, help="the checkout of the old version")
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--conversations", type=int, default=30)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model-seconds", type=float, default=0.3, help="how long a turn takes")
    given = parser.parse_args(arguments)
    return asyncio.run(run(Options(**{**vars(given), "old": given.old.resolve()})))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
