"""The engines that the suites of Inbox and Journal run over, and a handler that tests hold back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any, Protocol

from bot.stores import SCHEMA
from core.domain.messages import Answer, Message
from core.domain.ports import Inbox
from core.domain.records import TurnState
from core.journal.inbox import SqlInbox
from core.journal.jobs import Jobs
from core.journal.journal import Journal
from core.money.budget import Budget
from core.store.database import Database, SqlConnection, SqliteDatabase
from core.store.files import FileBytes, FolderBytes, PieceBytes
from core.store.postgres import PostgresDatabase
from tests.fakes.config import FixedConfig, means_everybody, no_daily_caps


class Engine(Protocol):
    runs: list[asyncio.Task[None]]
    """What goes on in it, for as long as it is known."""

    @property
    def inbox(self) -> Inbox: ...

    async def begin(self, seq: int) -> Message | None:
        """What a handler does first; None when the message needs nothing more."""

    async def end(self, seq: int, text: str = "", state: TurnState = "done") -> None:
        """What it does last."""

    async def beside(self) -> Engine:
        """Another process on the same storage."""

    async def kill(self) -> Engine:
        """The next process, after a kill -9 of this one."""

    async def close(self) -> None: ...


class Embedded:
    """`ponte.db` in a folder."""

    def __init__(self, home: Path, database: Database) -> None:
        self.home = home
        self.database = database
        self.inbox = SqlInbox(database)
        self.journal = Journal(database)
        self.budget = Budget(database, FixedConfig(), no_daily_caps, UTC, is_meant=means_everybody)
        self.runs: list[asyncio.Task[None]] = []
        self._others: list[Embedded] = []

    @classmethod
    async def open(cls, home: Path) -> Embedded:
        return cls(home, await SqliteDatabase.open(home / "ponte.db", SCHEMA))

    async def _other(self) -> Embedded:
        return await Embedded.open(self.home)

    def bytes(self) -> FileBytes:
        return FolderBytes(self.home / "files")

    async def holds(self, text: str) -> bool:
        """Whether that stands anywhere in what is kept; it is closed then."""
        await self.close()
        return any(text.encode() in path.read_bytes() for path in self.home.glob("ponte.db*"))

    async def begin(self, seq: int) -> Message | None:
        turn = await self.journal.begin(seq)
        return turn.message if turn else None

    async def end(self, seq: int, text: str = "", state: TurnState = "done") -> None:
        if turn := await self.journal.begin(seq):
            await self.journal.record_answer(turn, Answer(text))
            await self.journal.end_turn(turn, state)

    async def beside(self) -> Embedded:
        other = await self._other()
        self._others.append(other)
        return other

    async def kill(self) -> Embedded:
        heir = await self.beside()
        await self.database.close()
        return heir

    async def close(self) -> None:
        await self.database.close()
        for other in self._others:
            await other.close()


class Shared(Embedded):
    """A database of a real Postgres."""

    def __init__(self, home: Path, database: PostgresDatabase, jobs: Jobs, url: str) -> None:
        super().__init__(home, database)
        self.url = url
        self.jobs = jobs
        self.inbox = SqlInbox(database, jobs)
        self.journal = Journal(database, jobs.process)
        self.journal.on_end, self.journal.take_begun = jobs.note_end, jobs.take_begun

    @classmethod
    async def on(cls, url: str, home: Path, *, works: bool = True) -> Shared:
        database = await PostgresDatabase.open(url, SCHEMA)
        jobs = Jobs(url, database, works=works)
        await jobs.start()
        return cls(home, database, jobs, url)

    async def kill(self) -> Shared:
        """Nothing is put back, no job is ended, nothing beats any more."""
        heir = await Shared.on(self.url, self.home)
        self._others.append(heir)
        await self.database.close()
        jobs = self.jobs
        jobs._draining.set()  # nothing is begun anew
        await jobs._side_tasks.close()
        await jobs.workers.close()
        remaining_tasks = jobs._handlers() | set(jobs._worker_tasks)
        for task in remaining_tasks:
            task.cancel()
        await asyncio.wait(remaining_tasks) if remaining_tasks else None
        await heir.age_signs_of_life(self.jobs)
        return heir

    async def age_signs_of_life(self, jobs: Jobs) -> None:
        """Make the last sign of life of that process older than any lease."""

        def write(connection: SqlConnection) -> None:
            connection.execute(
                "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 hour'"
                " WHERE id = ANY(?)",
                (jobs.workers.ids,),
            ).close()
            connection.execute(
                "UPDATE processes SET seen_at = seen_at - 3600 WHERE id = ?", (jobs.process,)
            ).close()

        await self.database.write(write)

    async def close(self) -> None:
        await self.jobs.drain(0)
        await super().close()

    def bytes(self) -> FileBytes:
        return PieceBytes(self.database)

    async def holds(self, text: str) -> bool:
        def look(connection: SqlConnection) -> bool:
            tables = connection.execute(
                "SELECT relname FROM pg_class JOIN pg_namespace AS s ON s.oid = relnamespace"
                " WHERE nspname = 'ponte' AND relkind = 'r'"
            ).fetchall()
            return any(
                text in str(list(connection.execute(f"SELECT * FROM {table['relname']}")))
                for table in tables
            )

        return await self.database.read(look)

    async def _other(self) -> Shared:
        return await Shared.on(self.url, self.home)


def count_blocked(connection: SqlConnection) -> int:
    """The transactions on this Postgres database that wait for another's lock."""
    sql = (
        "SELECT count(*) AS n FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return int(connection.execute(sql).fetchone()["n"])


class InMemory(Embedded):
    """The double. Its processes share one connection, which outlives each of them."""

    async def kill(self) -> Embedded:
        heir = await self.beside()
        await self.inbox.drain(0)
        return heir

    async def _other(self) -> InMemory:
        return InMemory(self.home, self.database)


class Worker:
    """A handler. `held`, it waits in each message until `let_go`; `broken`, it raises so often."""

    def __init__(self, engine: Engine, held: bool = False, broken: int = 0) -> None:
        self.engine = engine
        self.broken = broken
        self.began: list[int] = []
        self.said: list[str] = []
        self.ended: list[int] = []
        self.cut: list[int] = []
        self.calls = 0
        self._held = held
        self._gates: dict[int, asyncio.Event] = {}
        self._news = asyncio.Event()

    @property
    def now(self) -> set[int]:
        """What it works at."""
        return set(self.began) - set(self.ended) - set(self.cut)

    def start(self, *platforms: str) -> Worker:
        run = self.engine.inbox.run(self.handle, platforms)
        self.engine.runs.append(asyncio.create_task(run))
        return self

    async def handle(self, seq: int) -> None:
        self.calls += 1
        if message := await self.engine.begin(seq):
            if self.engine.inbox.is_stopped(seq) or not await self._works(seq, message):
                await self.engine.end(seq, "stopped", "stopped")
            else:
                await self.engine.end(seq, f"re: {message.text}")
                self._tell(self.ended, seq)

    async def _works(self, seq: int, message: Message) -> bool:
        """False when a person stopped it."""
        self.said.append(message.text)
        self._tell(self.began, seq)
        if self.broken:
            self.broken -= 1
            raise ConnectionError("the model is away")
        try:
            if self._held:
                await self._gate(seq).wait()
        except asyncio.CancelledError:
            self._tell(self.cut, seq)
            if not self.engine.inbox.is_stopped(seq):
                raise
            return False
        return True

    def let_go(self, *seqs: int) -> None:
        for seq in seqs or self.now:
            self._gate(seq).set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._news.clear()
            await self._news.wait()

    async def until_begun(self, count: int) -> None:
        await self.until(lambda: len(self.began) >= count)

    async def until_ended(self, count: int) -> None:
        await self.until(lambda: len(self.ended) >= count)

    def _gate(self, seq: int) -> asyncio.Event:
        return self._gates.setdefault(seq, asyncio.Event())

    def _tell(self, what: list[int], seq: int) -> None:
        what.append(seq)
        self._news.set()


class HasInbox(Protocol):
    @property
    def inbox(self) -> Any: ...


def runner_of(stores: HasInbox) -> object:
    """Return what runs the turns of this process."""
    return stores.inbox._runner
