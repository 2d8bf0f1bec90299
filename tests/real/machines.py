"""Several processes of Ponte on one Postgres, the companies' doubles around them, and people."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import psycopg

from tests.fakes import forker
from tests.fakes.bridge import FakeBridge
from tests.fakes.bridge_tables import CUSTOMERS
from tests.fakes.discord.people import DiscordPerson
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.slack import FakeSlack, Post
from tests.real.books import find_imbalances
from tests.real.postgres import Postgres
from tests.real.test_whole import clean_environment

APOLOGY = "I was interrupted"
REFUSAL = "I couldn't save your message"
"""What people read on Discord while nothing can be stored: Discord does not deliver again."""
CLICK_REPEAT_SECONDS = 8.0
"""Seconds after which somebody clicks again."""


def is_answer_to(question: str, answer: str) -> bool:
    """A card shows the beginning of a long word."""
    return question in answer or f"{question[:5]}…" in answer or f"{question[:4]}…" in answer


BOOKS = """
[[allowances]]
of = "everybody"
per = "month"
tokens = 1_000_000_000
money = 10_000

[prices.models.gpt-6-luna]
input = 1.0
output = 4.0
"""
"""An allowance that lets everything through, so that the books are kept."""


class Machine:
    """One process with a home of its own; `kill` is a real SIGKILL."""

    def __init__(self, name: str, role: str, folder: Path, settings: dict[str, str]) -> None:
        self.name, self.role, self.settings = name, role, settings
        self.home = folder / name
        self._process: forker.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.lines: list[str] = []
        """What it said, of all its lives."""

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def page(self) -> str:
        """Where its page is, in its present life."""
        return next(line.split()[-1] for line in reversed(self.lines) if "Ponte is ready" in line)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self, **more: str) -> None:
        """Raises AssertionError where it does not come to be ready."""
        env = {**clean_environment(), **self.settings, "PONTE_HOME": str(self.home), **more}
        self._process = await forker.start(
            "tests.real.machine", self.role, stderr=asyncio.subprocess.STDOUT, env=env
        )
        assert self._process.stdout
        ready = asyncio.Event()
        self._reading = asyncio.create_task(self._read(self._process.stdout, ready))
        task = asyncio.create_task(ready.wait())
        await asyncio.wait({task, self._reading}, return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
        assert ready.is_set() or "PONTE_DIES" in more, "\n".join(self.lines[-30:])

    async def _read(self, out: asyncio.StreamReader, ready: asyncio.Event) -> None:
        async for line in out:
            self.lines.append(line.decode(errors="replace").rstrip())
            if "Ponte is ready" in self.lines[-1]:
                ready.set()

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def terminate(self) -> int:
        return await self._end(signal.SIGTERM)

    async def wait_for_exit(self) -> int:
        assert self._process
        return await self._process.wait()

    def freeze(self) -> None:
        self._send(signal.SIGSTOP)

    def wake(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        assert self._process
        if self.alive:
            self._process.send_signal(number)

    async def _end(self, by: signal.Signals) -> int:
        assert self._process
        assert self._reading
        self._send(by)
        code = await self._process.wait()
        await self._reading
        return code

    def count_lines(self, words: str) -> int:
        return sum(words in line for line in self.lines)


class Talk:
    """One conversation, and what was asked in it, in order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[str] = []

    async def say(self, text: str) -> None:
        raise NotImplementedError

    def answers(self) -> Sequence[str]:
        """What stands there of the bot now."""
        raise NotImplementedError

    @property
    def whole(self) -> bool:
        return len(self.answers()) >= len(self.asked)

    def wrong(self, accepted: Sequence[str]) -> list[str]:
        """What is not as it must be: one answer or one apology each, in the order in which they
        were accepted (a platform delivers again what a dying process did not acknowledge), or the
        refusal of a message that was not stored."""
        answers = [answer for answer in self.answers() if REFUSAL not in answer]
        refusals = len(self.answers()) - len(answers)
        questions = [question for question in self.asked if question in accepted]
        if len(self.asked) - len(questions) != refusals:
            lost_questions = [question for question in self.asked if question not in accepted]
            return [f"{self.name}: never stored: {lost_questions}; {refusals} refusals"]
        if len(answers) != len(questions):
            without = [q for q in questions if not any(is_answer_to(q, a) for a in answers)]
            twice = [q for q in questions if sum(is_answer_to(q, a) for a in answers) > 1]
            return [
                f"{self.name}: {len(questions)} questions, {len(answers)} answers; "
                f"without one: {without}, with two: {twice}"
            ]
        pairs = zip(sorted(questions, key=accepted.index), answers, strict=True)
        return [f"{q!r}: {a!r}" for q, a in pairs if not is_answer_to(q, a) and APOLOGY not in a]


class SlackTalk(Talk):
    """A thread."""

    def __init__(self, slack: FakeSlack, name: str) -> None:
        super().__init__(f"Slack {name}")
        self.slack = slack
        self.person = slack.person(f"P{name}")
        self.place = slack.channel(f"c{name}", self.person)
        self.root: Post | None = None

    async def say(self, text: str) -> None:
        self.asked.append(text)
        message = self.slack.say(
            self.person, self.place, f"{self.slack.bot} {text}", thread=self.root
        )
        self.root = self.root or message

    def posts(self) -> Sequence[Post]:
        """Return the finished posts. The thread's session does not count: a process that dies right
        after the end of a turn leaves it "processing" until the thread's next turn."""
        if not self.root:
            return []
        there = self.slack.workspace.by_bot(self.place.id, self.root.ts)
        return [post for post in there if post.stream is None and "Stop" not in post.buttons]

    def answers(self) -> Sequence[str]:
        return [post.visible_text for post in self.posts()]


class DiscordTalk(Talk):
    """Direct messages."""

    def __init__(self, person: DiscordPerson, name: str) -> None:
        super().__init__(f"Discord {name}")
        self.person = person

    async def say(self, text: str) -> None:
        self.asked.append(text)
        await self.person.say(text)

    def answers(self) -> Sequence[str]:
        world = self.person.discord.world
        return [one["content"] for one in world.messages_by(world.me.id, self.person.dm.id)]


@dataclass
class Cluster:
    postgres: Postgres
    database: str
    slack: FakeSlack
    discord: FakeDiscord
    model: FakeOpenAI
    bridge: FakeBridge
    machines: list[Machine]
    talks: list[Talk] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    """The names of those that somebody was asked to approve."""
    _clicked: dict[str, float] = field(default_factory=dict)
    _connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def of(self, role: str) -> list[Machine]:
        return [machine for machine in self.machines if machine.role == role]

    def slack_talk(self, name: str) -> SlackTalk:
        talk = SlackTalk(self.slack, name)
        self.talks.append(talk)
        return talk

    def discord_talk(self, name: str) -> DiscordTalk:
        talk = DiscordTalk(self.discord.user(f"P{name}"), name)
        self.talks.append(talk)
        return talk

    async def propose(self, talk: SlackTalk, name: str) -> None:
        """Somebody has a row added, and approves it."""
        arguments = {"table_id": CUSTOMERS, "record_data": {"Name": name}}
        call = json.dumps({"tool": "create_record", "args": arguments})
        self.model.say(Script(match=f"add {name}.", calls=(("nocodb_execute", call),), times=0))
        self.rows.append(name)
        await talk.say(f"add {name}.")
        talk.asked[-1] = name

    async def approve(self) -> int:
        """Click on all that waits, and how many that are; a click that went to a dying process is
        clicked again."""
        now, waiting = time.monotonic(), 0
        for talk in [talk for talk in self.talks if isinstance(talk, SlackTalk)]:
            for post in talk.posts():
                if "Approve" in post.buttons:
                    waiting += 1
                    if self._clicked.get(post.ts, 0.0) < now - CLICK_REPEAT_SECONDS:
                        self._clicked[post.ts] = now
                        self.slack.click(talk.person, post, "Approve")
        return waiting

    def created_rows(self) -> Counter[str]:
        """By name, the rows that were ever made."""
        results = [
            call.args
            for call in self.bridge.calls
            if call.succeeded and call.tool == "create_record"
        ]
        return Counter(str(args["record_data"]["Name"]) for args in results)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows. Raise psycopg.Error; the next query connects again then."""
        if self._connection is None or self._connection.closed:
            url = self.postgres.url(self.database)
            options = "-c search_path=ponte"
            self._connection = psycopg.connect(url, options=options, autocommit=True)
        try:
            return self._connection.execute(sql.encode()).fetchall()
        except psycopg.Error:
            self._connection.close()
            raise

    def close(self) -> None:
        if self._connection:
            self._connection.close()

    def count_refusals(self) -> int:
        """Times that a process was told that nothing could be stored."""
        return sum(machine.count_lines("database transaction failed") for machine in self.machines)

    def holder(self) -> Machine | None:
        """Whoever holds Discord's gateway."""
        sql = "SELECT name FROM leases JOIN processes ON process = id WHERE role = 'discord'"
        try:
            names = [str(name) for (name,) in self.query(sql)]
        except psycopg.Error:
            return None
        holders = [
            m for m in self.machines if m.alive and any(n.endswith(f" {m.pid}") for n in names)
        ]
        return holders[0] if holders else None

    def open(self) -> int:
        """Messages that are not at their end."""
        sql = "SELECT count(*) FROM inbox WHERE state IN ('new', 'running', 'answered', 'posting')"
        try:
            return int(str(self.query(sql)[0][0]))
        except psycopg.Error:
            return -1

    async def settle(self, seconds: float = 60.0) -> None:
        """Until all has its answer and nothing is under way any more."""
        try:
            async with asyncio.timeout(seconds):
                while await self.approve() or self.open() or not all(t.whole for t in self.talks):
                    with suppress(TimeoutError):
                        await self.slack.wait_until(lambda: False, 0.25)
        except TimeoutError:
            pass  # `wrong` says what is missing

    def _stored_words(self) -> list[str]:
        """Return the words of the stored messages, in the order in which they were stored."""
        text = " ".join(str(m) for (m,) in self.query("SELECT message FROM inbox ORDER BY seq"))
        return re.findall(r"\bword\d+x\b", text)

    def _missing_rows(self) -> tuple[list[str], int]:
        """Return the approved rows that were not written, and how many people see as unknown."""
        rows = self.created_rows()
        text = "\n".join(answer for talk in self.talks for answer in talk.answers())
        return [name for name in self.rows if not rows[name]], text.count("Result unknown:")

    def describe_posts(self) -> str:
        """Count what people see."""
        answers = [answer for talk in self.talks for answer in talk.answers()]
        total = sum(len(talk.asked) for talk in self.talks)
        apologies, refusals = (sum(w in a for a in answers) for w in (APOLOGY, REFUSAL))
        return f"{total} messages, {len(answers)} posts: {apologies} apologies, {refusals} refusals"

    def wrong(self) -> list[str]:
        """What is lost, doubled or disordered: answers, approved rows, and the books."""
        receipt = self._stored_words()
        matches = [words for talk in self.talks for words in talk.wrong(receipt)]
        rows = self.created_rows()
        matches += [f"{name} was written {n} times" for name, n in rows.items() if n > 1]
        lacking, unknown = self._missing_rows()
        if len(lacking) > unknown:
            matches.append(f"approved and not written: {lacking}, of which {unknown} are told")
        return matches + find_imbalances(self.query)

    def last_lines(self) -> str:
        """The last that each machine said, for who looks why a test failed."""
        return "\n".join(f"{m.name}: {line}" for m in self.machines for line in m.lines[-15:])


@asynccontextmanager
async def cluster(
    postgres: Postgres | None,
    folder: Path,
    *roles: str,
    platforms: Sequence[str] = ("slack", "discord"),
    config: str = BOOKS,
) -> AsyncIterator[Cluster]:
    """Not started yet. `config`: their ponte.toml. Without Postgres, each has a database of its
    own."""
    async with AsyncExitStack() as stack:
        slack, discord = FakeSlack(), FakeDiscord()
        for fake in (slack, discord):
            await stack.enter_async_context(fake)
        model = await stack.enter_async_context(FakeOpenAI())
        bridge = await stack.enter_async_context(FakeBridge())
        slack.api.limits.on = False
        slack.deliveries.ack_limit = 1.0
        slack.deliveries.retry_delays = (0.1, *(0.5,) * 400)
        database = postgres.database() if postgres else ""
        settings = {
            "DATABASE_URL": postgres.url(database) if postgres else "",
            "PONTE_WEB_PORT": "0",
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_BASE_URL": model.base_url,
            "NOCODB_URL": bridge.url,
            "PONTE_CODE": "off",
            "PONTE_DAILY_TURNS": "0/0",
            "PONTE_ALLOW": "*",
            "PONTE_CONFIG": str(folder / "ponte.toml"),
        }
        (folder / "ponte.toml").write_text(config)
        if "slack" in platforms:
            settings |= slack.settings
        if "discord" in platforms:
            settings |= discord.settings
        names = Counter[str]()
        machines = []
        for role in roles:
            names[role] += 1
            machines.append(Machine(f"{role}{names[role]}", role, folder, settings))
        server = cast("Postgres", postgres)  # without one, there is nothing to query
        result = Cluster(server, database, slack, discord, model, bridge, machines)
        try:
            yield result
        finally:
            result.close()
            for machine in machines:
                if machine.alive:
                    machine.wake()
                    await machine.kill()
