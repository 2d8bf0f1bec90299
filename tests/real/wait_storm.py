"""kill -9 while approvals, schedules and new people are under way: who waits, and for how long?

`python -m tests.real.wait_storm [--postgres] [--rounds 12] [--seed N]` runs one process for Slack,
with Slack's rate limits. In each round, somebody's rows are being written slowly, a person leaves a
channel in which a schedule of theirs posts each minute, and the process dies twice. New people
write before, between and after. The exit code is 0 if each of them is answered within
MAX_WAIT_SECONDS, each row is written once, and nothing is posted for who has left.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bot.stores import Stores
from core.domain.messages import Address, Person, ReplyTo
from core.schedules.schedule import ScheduleDraft, ScheduleRule
from tests.fakes.choices import make_choices, open_engine
from tests.fakes.schedules import put_schedule
from tests.fakes.slack import TEAM, Post, SlackChannel, SlackPerson
from tests.real.machines import Cluster, Machine, SlackTalk, cluster
from tests.real.postgres import missing, postgres

MAX_WAIT_SECONDS = 15.0
WRITE_SECONDS = 5.0
"""How long each row takes to be written."""
ROWS = 2
"""Rows that are being written in each round, each of a person of its own."""


class WaitStorm:
    """One process for Slack with slow tables, and people in channels of their own."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster, self.slack, self.dice = cluster, cluster.slack, random.Random(seed)
        (self.machine,) = cluster.machines
        self.waits: dict[str, float] = {}
        """Seconds until each new person had their answer."""
        self.gone: list[tuple[SlackChannel, int]] = []
        """Channels whose owner has left, with the posts that were there then."""
        self.owners: list[tuple[SlackPerson, SlackChannel]] = []
        self._waiting: set[asyncio.Task[None]] = set()
        take_trouble = cluster.bridge.take_trouble

        async def write_slowly(name: str) -> object:
            if name == "create_record":
                await asyncio.sleep(WRITE_SECONDS)
            return await take_trouble(name)

        cluster.bridge.take_trouble = write_slowly  # type: ignore[method-assign, assignment]
        self.slack.api.limits.on = True

    async def begin(self, owners: int) -> None:
        """Start the process once for its database, and give each owner a schedule."""
        await self.machine.start()
        await self.machine.kill()
        for number in range(owners):
            person = self.slack.person(f"Owner{number}")
            self.owners.append((person, self.slack.channel(f"o{number}", person)))
        await add_schedules(self.machine, self.owners)
        await self.machine.start()

    async def round(self, number: int) -> None:
        """Have people write, approve and leave while the process dies twice."""
        talks = [self.cluster.slack_talk(f"r{number}n{n}") for n in range(ROWS)]
        for talk in talks:
            await self.cluster.propose(talk, f"row{number}{talk.name[-1]}")
        await self.slack.wait_until(lambda: all(self._cards(talk) for talk in talks))
        await self.cluster.approve()
        for life in range(2):
            self._meet(f"new{number}life{life}")
            await asyncio.sleep(self.dice.uniform(0.5, 3.0))
            await self.machine.kill()
            self._leave()
            self._meet(f"new{number}dead{life}")
            await self.machine.start()
        self._meet(f"new{number}after")
        while self._waiting:
            await asyncio.wait(self._waiting)
        while await self.cluster.approve() or self.wrong_rows():  # noqa: ASYNC110
            await asyncio.sleep(0.25)

    def _cards(self, talk: SlackTalk) -> list[Post]:
        return [post for post in talk.posts() if "Approve" in post.buttons]

    def _meet(self, name: str) -> None:
        """Have a new person write, and measure until they are answered."""
        task = asyncio.create_task(self._time_answer(self.cluster.slack_talk(name)))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _time_answer(self, talk: SlackTalk) -> None:
        began = time.monotonic()
        await talk.say(f"hello from {talk.name}")
        await self.slack.wait_until(lambda: talk.whole)
        self.waits[talk.name] = time.monotonic() - began

    def _leave(self) -> None:
        """Let an owner leave whose schedule has posted; the next post would be a mistake."""
        for person, channel in self.owners:
            posts = len(self.slack.workspace.by_bot(channel.id))
            if posts and person.id in channel.members:
                channel.members.discard(person.id)
                self.gone.append((channel, posts))
                return

    def wrong_posts(self) -> int:
        """Return how many posts were made for people who had left."""
        return sum(len(self.slack.workspace.by_bot(c.id)) - posts for c, posts in self.gone)

    def wrong_rows(self) -> list[str]:
        """Return the rows that were not written exactly once, unless people see it as unknown."""
        rows = self.cluster.created_rows()
        return [name for name in self.cluster.rows if rows[name] != 1]


async def add_schedules(
    machine: Machine, owners: Sequence[tuple[SlackPerson, SlackChannel]]
) -> None:
    """Give each owner a schedule that posts each minute in their channel."""
    if url := machine.settings["DATABASE_URL"]:
        stores = await Stores.open_shared(url, takes=False, works=False)
    else:
        stores = await Stores.open_in_home(machine.home, keeps=False)
    engine = await open_engine(machine.home, make_choices(), stores)
    for person, channel in owners:
        address = Address("slack", channel.id, TEAM, is_shared=True)
        owner = Person("slack", person.id, TEAM, person.name)
        to = ReplyTo(address, owner, f"command:{time.time():.6f}", "")
        draft = ScheduleDraft("post", "Good morning", ScheduleRule("* * * * *"), "UTC")
        await put_schedule(engine.schedules.store, to, draft)
    await engine.drain(0.0)
    await engine.close()


async def run(rounds: int, seed: int, is_shared: bool) -> int:
    """Print what people had to wait for after each round; return the exit code."""
    if is_shared and (why := missing()):
        raise SystemExit(why)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(postgres({})) if is_shared else None
        async with cluster(server, Path(folder), "run", platforms=("slack",)) as machines:
            storm = WaitStorm(machines, seed)
            await storm.begin(owners=3 * rounds)
            for number in range(rounds):
                await storm.round(number)
                own = [
                    wait
                    for name, wait in storm.waits.items()
                    if f"new{number}l" in name or f"new{number}d" in name or f"new{number}a" in name
                ]
                print(
                    f"round {number}: new people waited {max(own):.1f} s at most;"
                    f" {len(storm.gone)} owners left, {storm.wrong_posts()} wrong posts",
                    flush=True,
                )
            longest = max(storm.waits.values())
            is_right = longest <= MAX_WAIT_SECONDS and not storm.wrong_posts()
            print(
                f"seed {seed}: {len(storm.waits)} new people, longest wait {longest:.1f} s,"
                f" {len(storm.cluster.rows)} rows written once: {is_right}"
            )
            return int(not is_right)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    option = parser.parse_args(arguments)
    return asyncio.run(run(option.rounds, option.seed, option.postgres))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
