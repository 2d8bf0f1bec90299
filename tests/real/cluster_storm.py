"""A storm over several processes of Ponte on one Postgres, with every kind of fault at random.

`python -m tests.real.cluster_storm [--kills 500] [--seed N]` (`make storm ENGINE=postgres`) runs a
server and three workers for Slack and Discord. People write and approve rows while processes are
killed and frozen, connections are cut, Postgres restarts and crashes, and its disk is full (which
needs root, since Postgres gets a small disk of its own). After each hundred faults it waits until
everything is answered and counts. The exit code is 0 if nothing is lost, doubled or disordered.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.real.machine import LEASE
from tests.real.machines import Cluster, Machine, SlackTalk, Talk, cluster
from tests.real.postgres import missing, postgres

ROLES = ("serve", "work", "work", "work")
FAULTS = {
    "kill a server": 15,
    "kill a worker": 40,
    "freeze": 15,
    "cut connections": 5,
    "restart Postgres": 10,
    "crash Postgres": 10,
    "full disk": 5,
}
"""Kind of fault → how often it comes, in percent."""
PART = 100
"""Faults after which people pause, and all that they wrote is counted."""
TALKS = 3
"""Conversations on each platform."""
MAX_WAITING = 2
"""Messages of a conversation that wait for an answer at once: with more, the crashes that one
message survives would add up until Ponte apologizes for it."""
FULL_SECONDS = 8.0
"""How long a full disk may go unnoticed before there is room again."""
FREE_BYTES = 64 << 10
"""What a full disk still takes."""
SETTLE_SECONDS = 120.0
SETTINGS = {"max_wal_size": "64MB", "min_wal_size": "32MB", "shared_buffers": "64MB"}
"""Postgres' own, with fsync and synchronous commits: a crash must lose nothing."""


class ClusterStorm:
    """People who write at their pace while processes and their database fail.

    `disk` is the folder of a disk that Postgres alone uses; without it the disk is never full.
    """

    def __init__(self, cluster: Cluster, seed: int, disk: Path | None = None) -> None:
        self.cluster = cluster
        self.dice = random.Random(seed)
        self.happened = Counter[str]()
        self._disk = disk
        self._numbers = iter(range(1, 1_000_000))
        self._over = asyncio.Event()
        self._thaws: set[asyncio.Task[None]] = set()

    async def begin(self, talks: int = TALKS) -> None:
        """Start the processes, and wait for the first answer of each conversation."""
        for machine in self.cluster.machines:
            await machine.start()
        for number in range(talks):
            self.cluster.slack_talk(f"s{number}")
            self.cluster.discord_talk(f"d{number}")
        # A server that starts reads only the direct messages that Discord or its database knows.
        for talk in self.cluster.talks:
            await talk.say(self._new_word())
        await self.cluster.settle()

    def choose_faults(self, count: int) -> list[str]:
        """Return so many random kinds of faults."""
        kinds = {kind: share for kind, share in FAULTS.items() if self._disk or kind != "full disk"}
        return self.dice.choices(list(kinds), list(kinds.values()), k=count)

    async def blow(self, faults: Sequence[str]) -> None:
        """Cause these faults while people write; return when everything is answered."""
        self._over.clear()
        people = [asyncio.create_task(self._talk(talk)) for talk in self.cluster.talks]
        clicks = asyncio.create_task(self._click())
        for kind in faults:
            await asyncio.sleep(self.dice.uniform(0.2, 1.2))
            await self._cause(kind)
            self.happened[kind] += 1
        self._over.set()
        await asyncio.gather(*people, clicks, *self._thaws)
        await self.cluster.settle(SETTLE_SECONDS)

    async def _cause(self, kind: str) -> None:
        server, dice = self.cluster.postgres, self.dice
        match kind:
            case "cut connections":
                server.cut(self.cluster.database)
            case "restart Postgres" | "crash Postgres":
                server.stop(crash=kind == "crash Postgres")
                await asyncio.sleep(dice.uniform(0, 0.5))
                await asyncio.to_thread(server.start)
            case "full disk":
                assert self._disk
                await self._fill(self._disk)
            case "freeze":
                frozen = dice.choice(self.cluster.machines)
                frozen.freeze()
                self._thaws.add(thaw := asyncio.create_task(self._thaw(frozen)))
                thaw.add_done_callback(self._thaws.discard)
            case _:
                role = "serve" if kind == "kill a server" else "work"
                victim = dice.choice(self.cluster.of(role))
                await victim.kill()
                await asyncio.sleep(dice.choice((0.0, 0.0, LEASE * 1.3)))
                await victim.start()

    async def _thaw(self, frozen: Machine) -> None:
        """Wake a frozen process after others count it as dead; the next faults come meanwhile."""
        await asyncio.sleep(LEASE * self.dice.uniform(0.5, 2.0))
        frozen.wake()

    async def _fill(self, disk: Path) -> None:
        """Fill the disk until a process is refused; kill a worker meanwhile, half of the time."""
        refusals, filler = self.cluster.count_refusals(), disk / "filler"
        with filler.open("wb") as out:
            out.write(b"\0" * max(0, shutil.disk_usage(disk).free - FREE_BYTES))
        with suppress(TimeoutError):  # if nobody wrote enough
            await self.cluster.slack.wait_until(
                lambda: self.cluster.count_refusals() > refusals, FULL_SECONDS
            )
        victim = self.dice.choice((None, self.dice.choice(self.cluster.of("work"))))
        if victim:
            await victim.kill()
        filler.unlink()
        if not self.cluster.postgres.running:  # it ends where its log cannot be written
            self.happened["Postgres ended on a full disk"] += 1
            await asyncio.to_thread(self.cluster.postgres.start)
        await asyncio.to_thread(self.cluster.postgres.wait_until_ready)
        if victim:
            await victim.start()

    def _new_word(self) -> str:
        return f"word{next(self._numbers)}x"

    async def _talk(self, talk: Talk) -> None:
        """Write a message now and then."""
        while not self._over.is_set():
            await asyncio.sleep(self.dice.uniform(0.5, 3.0))
            if len(talk.asked) - len(talk.answers()) >= MAX_WAITING:
                continue
            if isinstance(talk, SlackTalk) and self.dice.random() < 0.15:
                await self.cluster.propose(talk, self._new_word())
            else:
                await talk.say(self._new_word())

    async def _click(self) -> None:
        while not self._over.is_set():
            await asyncio.sleep(0.5)
            await self.cluster.approve()


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """Mount a disk that Postgres' own user may enter. Raise PermissionError if that is refused."""
    folder = Path(tempfile.mkdtemp(prefix="ponte-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        folder.rmdir()
        raise PermissionError("only root may mount a small disk here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


async def run(kills: int, seed: int) -> int:
    """Print the counts after each part; return the exit code."""
    if why := missing():
        raise SystemExit(why)
    with (
        tempfile.TemporaryDirectory() as folder,
        small_disk("768m") as disk,
        postgres(SETTINGS, disk) as server,
    ):
        async with cluster(server, Path(folder), *ROLES) as machines:
            storm = ClusterStorm(machines, seed, disk)
            await storm.begin()
            for outcome in range(0, kills, PART):
                await storm.blow(storm.choose_faults(min(PART, kills - outcome)))
                wrong, unfinished = machines.wrong(), machines.open()
                now = time.strftime("%H:%M:%S")
                signs = list(machines.slack.workspace.sessions.values()).count("processing")
                print(
                    f"{now} seed {seed}, {dict(storm.happened)}\n    {machines.describe_posts()}; "
                    f"{signs} threads of Slack look busy",
                    flush=True,
                )
                if wrong or unfinished:
                    print(
                        "WRONG:",
                        *wrong,
                        f"{unfinished} unfinished",
                        machines.last_lines(),
                        sep="\n",
                    )
                    return 1
            ends = [await machine.terminate() for machine in machines.machines]
            print("all processes ended" if not any(ends) else f"exit codes {ends}")
            return int(any(ends))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500, help="faults of all kinds together")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    option = parser.parse_args(arguments)
    return asyncio.run(run(option.kills, option.seed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
