"""One person floods a channel while 20 others write: `python -m benchmarks.fairness [--check]`.

On Slack, on Discord and on the page, over the embedded engine and over a Postgres that it starts.
The 20 write at once, each in a place of their own: once alone, and once right after somebody sent
300 messages into one channel. The figure is the ratio of the two medians of one run, from a message
to its answer. Whoever gets no answer ends the benchmark. The aim is for a model that takes a
second. With one that answers at once, the ratio shows what it costs to store 300 messages that come
before the others' in the same connection.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Sequence
from pathlib import Path
from typing import Protocol

import aiohttp

from benchmarks import discord, slack
from benchmarks.model import fake
from benchmarks.rounds import PONTE, ROUNDS, running_page
from tests.fakes.discord import FakeDiscord
from tests.fakes.slack import FakeSlack
from tests.real.postgres import postgres

FLOOD, PEOPLE = 300, 20
FLOOD_CONNECTIONS = 20
"""Of who floods the page, which holds few connections that have not shown a token yet."""
AIM = 2.0
"""How many times the time without a flood a person's may be."""
MODEL_SECONDS = (1.0, 0.0)
ANSWER_SECONDS = 120.0
ENGINES = ("embedded", "Postgres")
ANSWERS = frozenset({"You said: hello", ("word " * 20).strip()})
"""What the double of the model answers at once, and in a second."""


class Scene(Protocol):
    """A platform with a running Ponte and its people."""

    async def flood(self) -> None:
        """Send FLOOD messages of one person into one channel, as fast as they can be sent."""

    async def ask(self) -> Sequence[float]:
        """Have PEOPLE others write at once, each in a place of their own. Return how many
        milliseconds the answer to each took."""


async def until_answered(
    until: Callable[[Callable[[], object], float], object],
    places: Collection[Hashable],
    answered: Callable[[], Collection[Hashable]],
) -> Sequence[float]:
    """Return when an answer came in each place, in milliseconds from now."""
    began, took = time.perf_counter(), dict[Hashable, float]()

    def look() -> bool:
        for place in answered():
            if place in places:
                took.setdefault(place, (time.perf_counter() - began) * 1000)
        return len(took) == len(places)

    waiting = until(look, ANSWER_SECONDS)
    assert asyncio.iscoroutine(waiting)
    await waiting
    return list(took.values())


class SlackScene:
    def __init__(self, server: FakeSlack) -> None:
        self._slack = server
        self._loud, *others = [server.person(f"Person {n}") for n in range(PEOPLE + 1)]
        self._general = server.channel("general", self._loud)
        self._places = [(one, server.channel(f"of {one.id}", one)) for one in others]

    async def flood(self) -> None:
        for number in range(FLOOD):
            self._slack.say(self._loud, self._general, f"{self._slack.bot} flood {number}")

    async def ask(self) -> Sequence[float]:
        asked = {
            place.id: self._slack.say(who, place, f"{self._slack.bot} hello").ts
            for who, place in self._places
        }
        posts = self._slack.workspace.posts

        def answered_channels() -> Collection[Hashable]:
            return {
                post.channel
                for post in posts.values()
                if post.bot_id
                and post.ts > asked.get(post.channel, "9")
                and not self._slack.is_in_progress(post)
            }

        return await until_answered(self._slack.wait_until, asked, answered_channels)


class DiscordScene:
    def __init__(self, server: FakeDiscord) -> None:
        self._discord = server
        self._loud, *self._others = [server.user(f"Person {n}") for n in range(PEOPLE + 1)]
        guild = server.guild("Bolts", self._loud, *self._others)
        self._general = server.text_channel(guild, "general")

    async def flood(self) -> None:
        for number in range(FLOOD):
            await self._loud.mention(f"flood {number}", self._general)

    async def ask(self) -> Sequence[float]:
        world = self._discord.world
        before = {one.dm.id: len(world.messages_by(world.me.id, one.dm.id)) for one in self._others}

        def answered_channels() -> Collection[Hashable]:
            return [
                place
                for place, count in before.items()
                if any(
                    message["content"].strip() in ANSWERS
                    for message in world.messages_by(world.me.id, place)[count:]
                )
            ]

        asking = asyncio.gather(*(one.say("hello") for one in self._others))
        took = await until_answered(self._discord.wait_until, before, answered_channels)
        await asking
        return took


class PageScene:
    def __init__(self, web: aiohttp.ClientSession, tokens: Sequence[str]) -> None:
        self._web = web
        self._loud, *self._others = [{"Authorization": f"Bearer {token}"} for token in tokens]
        self._sending: asyncio.Future[list[None]] | None = None

    async def flood(self) -> None:
        headers = {**self._loud, "Prefer": "respond-async"}

        numbers = iter(range(FLOOD))

        async def send() -> None:
            for number in numbers:
                body = {"message": f"flood {number}", "conversation": "general"}
                async with self._web.post("/chat", json=body, headers=headers) as answer:
                    assert answer.status == 202, await answer.text()

        self._sending = asyncio.gather(*(send() for _ in range(FLOOD_CONNECTIONS)))
        await asyncio.sleep(0)

    async def ask(self) -> Sequence[float]:
        async def one(headers: dict[str, str]) -> float:
            began = time.perf_counter()
            body = {"message": "hello", "conversation": "mine"}
            async with self._web.post("/chat", json=body, headers=headers) as answer:
                told = await answer.json()
            assert told["response"].strip() in ANSWERS, told
            return (time.perf_counter() - began) * 1000

        took = await asyncio.gather(*(one(headers) for headers in self._others))
        if self._sending is not None:
            await self._sending
        return took


Opened = contextlib.AbstractAsyncContextManager[Scene]


@contextlib.asynccontextmanager
async def on_slack(model: str, more: dict[str, str]) -> AsyncIterator[Scene]:
    async with FakeSlack() as server:
        scene = SlackScene(server)
        async with slack.running_on(server, PONTE, model, **more):
            await server.wait_until(lambda: server.api.calls["users.list"], 30)
            yield scene


@contextlib.asynccontextmanager
async def on_discord(model: str, more: dict[str, str]) -> AsyncIterator[Scene]:
    async with FakeDiscord() as server:
        scene = DiscordScene(server)
        async with discord.running(server, PONTE, model, **more):
            yield scene


@contextlib.asynccontextmanager
async def on_page(model: str, more: dict[str, str]) -> AsyncIterator[Scene]:
    with tempfile.TemporaryDirectory() as home:
        async with running_page(home, model, more) as address:
            tokens = await page_tokens(Path(home))
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(address, connector=connector) as web:
                yield PageScene(web, tokens)


async def page_tokens(home: Path) -> Sequence[str]:
    """Let people come in by the page; return the token of each."""
    connector = aiohttp.UnixConnector(str(home / "ponte.sock"))
    tokens = list[str]()
    async with aiohttp.ClientSession("http://localhost", connector=connector) as operator:
        for number in range(PEOPLE + 1):
            body = {"arguments": {"name": f"person{number}"}}
            async with operator.post("/operator/people/add", json=body) as answer:
                tokens.append((await answer.json())["token"])
    return tokens


PLATFORMS: dict[str, Callable[[str, dict[str, str]], Opened]] = {
    "Slack": on_slack,
    "Discord": on_discord,
    "page": on_page,
}


async def measure(opened: Opened) -> tuple[float, float]:
    """Return the median milliseconds to an answer without the flood, and with it."""
    async with opened as scene:
        await scene.ask()  # everybody is known then, and each client is connected
        alone = statistics.median(await scene.ask())
        await scene.flood()
        return alone, statistics.median(await scene.ask())


async def main(
    rounds: int = ROUNDS,
    platforms: Sequence[str] = tuple(PLATFORMS),
    engines: Sequence[str] = ENGINES,
    models: Sequence[float] = MODEL_SECONDS,
) -> dict[str, float]:
    """Print a row for each platform, engine and model; return the ratios."""
    found = dict[str, float]()
    print(f"{'':32}{'alone':>9}{'flood':>9}{'ratio':>8}{'spread':>16}  aim")
    with postgres({}) as server:
        for seconds in models:
            async with fake(seconds) as model:
                for platform in platforms:
                    for engine in engines:
                        runs = []
                        for _ in range(rounds):
                            more = {"PONTE_GRACE": "0", "PONTE_DAILY_TURNS": "0/0"}
                            if engine == "Postgres":
                                more["DATABASE_URL"] = server.url(server.database())
                            runs.append(await measure(PLATFORMS[platform](model, more)))
                        ratios = sorted(flooded / alone for alone, flooded in runs)
                        name = f"{platform}, {engine}, model {seconds:.0f} s"
                        found[name] = statistics.median(ratios)
                        alone, flooded = (statistics.median(of) for of in zip(*runs, strict=True))
                        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
                        aim = f"≤ {AIM:.2f}" if seconds else "–"
                        print(
                            f"{name:32}{alone:6.0f} ms{flooded:6.0f} ms{found[name]:8.2f}"
                            f"{spread:>16}  {aim}",
                            flush=True,
                        )
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 where the aim is missed")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--platform", action="append", choices=tuple(PLATFORMS))
    parser.add_argument("--engine", action="append", choices=ENGINES)
    parser.add_argument("--model", type=float, action="append", help="seconds that it takes")
    asked = parser.parse_args()
    got = asyncio.run(
        main(
            asked.rounds,
            asked.platform or tuple(PLATFORMS),
            asked.engine or ENGINES,
            asked.model or MODEL_SECONDS,
        )
    )
    slow = [ratio for name, ratio in got.items() if ratio > AIM and "model 0" not in name]
    if asked.check and slow:
        sys.exit(1)
