"""How many statements and transactions the clients of Postgres send for one turn, by its log.

Each statement is one round trip: a client waits for its result before it sends the next one.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from benchmarks.engine import NullReply
from core.base.openai import ModelEndpoint, ModelServerClient
from core.domain.messages import Answer
from core.domain.ports import PostJournal
from core.domain.records import Remote
from core.journal.jobs import Jobs
from core.models.model_server import ModelOptions
from core.models.served_model import ServedModel
from core.store import processes
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.fakes.openai import FakeOpenAI
from tests.real.postgres import Postgres
from tests.time_limits import Limits

MAX_FIRST_TURN = (10, 7)
"""Statements and transactions of the first turn of a conversation."""
MAX_LATER_TURN = (10, 6)
PARTS = {
    "INSERT INTO inbox": "accept and queue",
    "SELECT job": "claim and begin",
    "INSERT INTO usage": "lock, items, usage",
    "SELECT has_outside_text": "provenance of the thread",
    "SELECT * FROM ponte_count": "allowances",
    "INSERT INTO remotes": "response on the model's server",
    "UPDATE posts SET post": "post, end of the turn, job",
    "INSERT INTO rounds": "answer, round, spending, thread, key of the post",
}
"""A part of a statement → what it is for; the first that occurs in a statement counts."""
LONG_SECONDS = 3600.0
LISTENS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle'
    AND query LIKE 'LISTEN "procrastinate_queue_v1#@%'
"""
"""Whether the worker of turns receives notifications; this is the last of its channels."""
LINE = re.compile(r"\[(\d+)\] LOG:  (?:statement|execute [^:]+): ?(.*)")
Transaction = list[str]
OPEN_WORK = """
SELECT EXISTS (SELECT 1 FROM ponte.inbox WHERE state IN ('new', 'running', 'answered', 'posting'))
    OR EXISTS (SELECT 1 FROM ponte.procrastinate_jobs WHERE id <> 0),
    (SELECT count(*) FROM ponte.remotes WHERE kind = 'conversation')
"""
"""Whether a turn is unfinished, and how many conversations of the model's server are recorded."""


class Statements:
    """What the clients of one database have sent, by the log of its server."""

    def __init__(self, server: Postgres, url: str) -> None:
        self._log = server.folder / "log"
        self._url = url
        self._at = self._log.stat().st_size
        database = url.partition("@/")[2].partition("?")[0]
        server.execute(f"ALTER DATABASE {database} SET log_statement = 'all'")

    async def find(self, query: str) -> Sequence[Any]:
        """The first row of a query that is not counted."""
        options = "-c log_statement=none"
        async with await psycopg.AsyncConnection.connect(self._url, options=options) as connection:
            row = await (await connection.execute(query.encode())).fetchone()
        assert row
        return row

    async def new_transactions(self) -> list[Transaction]:
        """The transactions since the last call. A statement outside of any is one of its own."""
        there = "SELECT array_agg(pid) FROM pg_stat_activity WHERE datname = current_database()"
        (pids,) = await self.find(there)
        with self._log.open(encoding="utf-8", errors="replace") as log:
            log.seek(self._at)
            lines = log.readlines()
            self._at = log.tell()
        matches: list[Transaction] = []
        unfinished: dict[int, Transaction] = {}
        for match in filter(None, map(LINE.search, lines)):
            pid, statement = int(match[1]), match[2]
            if pid not in pids:
                continue
            transaction = unfinished.setdefault(pid, [])
            if not transaction:
                matches.append(transaction)
            transaction.append(statement)
            # The empty statement with which a pool checks a connection counts with what follows it.
            is_any = any(one.startswith("BEGIN") for one in transaction)
            if statement in ("COMMIT", "ROLLBACK") or (statement and not is_any):
                del unfinished[pid]
        return matches


class PlainReply(NullReply):
    """Posts an answer of one part, and shows nothing before."""

    first_key = "key"

    def __init__(self, posts: PostJournal) -> None:
        self._posts = posts

    async def finish(self, answer: Answer) -> None:
        await self._posts.record_posting(1, self.first_key)
        await self._posts.record_posted(1, "post", last=True)


class CountedBot:
    """A bot on Postgres with a model of level `conversations`, and the statements that it sends."""

    def __init__(self, bot: RunningBot, statements: Statements) -> None:
        self._bot = bot
        self._statements = statements

    async def turn(self, channel: str, conversations: int) -> list[Transaction]:
        """The transactions of a turn. Afterwards so many conversations are recorded."""
        await self._statements.new_transactions()
        await self._bot.send("hello", channel)
        for _ in itertools.repeat(None):
            if tuple(await self._statements.find(OPEN_WORK)) == (False, conversations):
                break
        return await self._statements.new_transactions()


@pytest.fixture
async def counted_bot(
    real_postgres: Postgres,
    migrated_postgres: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: Limits,
) -> AsyncIterator[CountedBot]:
    """Nothing is polled and nothing is tidied while a turn is counted."""
    limits(QUEUE_POLL_SECONDS=LONG_SECONDS)
    limits(RELISTEN_SECONDS=LONG_SECONDS)
    limits(BEAT_SECONDS=LONG_SECONDS)
    limits(LEASE_SECONDS=2 * LONG_SECONDS)

    async def do_nothing(*_: object) -> None:
        return None

    monkeypatch.setattr(processes.OwnProcess, "lead", do_nothing)
    monkeypatch.setattr(Jobs, "_keep_sweeping", do_nothing)
    statements = Statements(real_postgres, migrated_postgres)
    home = BotHome(tmp_path / "home", migrated_postgres)

    async def record_object_to_erase(thread: str, remote: Remote) -> None:
        await running.engine.conversations.journal.record_object_to_erase(thread, remote)

    async with FakeOpenAI() as fake:
        client = ModelServerClient(ModelEndpoint("sk-test", fake.base_url))
        options = ModelOptions(secret=b"tests", spare_conversations=1)
        model = ServedModel(
            client, options, level="conversations", record_object_to_erase=record_object_to_erase
        )
        async with home.open(model) as running:
            for _ in itertools.repeat(None):
                if (await statements.find(LISTENS))[0]:
                    break
            running.engine.platforms.replies["web"] = lambda to, posts: PlainReply(posts)
            yield CountedBot(running, statements)
            await model.close()


def check(name: str, transactions: list[Transaction], most: tuple[int, int]) -> None:
    """Print the transactions, and compare their statements and their number with the most."""
    for number, transaction in enumerate(transactions, 1):
        print(f"{name} {number}: {len(transaction)}")
        for statement in transaction:
            part = next((what for sql, what in PARTS.items() if sql in statement), "")
            print(f"    {part:50} {statement[:110]}")
    matches = (sum(map(len, transactions)), len(transactions))
    print(name, matches)
    assert matches[0] <= most[0], name
    assert matches[1] <= most[1], name


async def test_a_plain_turn_sends_few_statements(counted_bot: CountedBot) -> None:
    """The first turn takes a conversation that was created ahead, and another one is created."""
    await counted_bot.turn("C0", 2)
    check("first turn", await counted_bot.turn("C1", 3), MAX_FIRST_TURN)
    check("later turn", await counted_bot.turn("C1", 3), MAX_LATER_TURN)
