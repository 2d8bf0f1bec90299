"""The engines that the suites of Inbox and Journal run over, and a handler that tests hold back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Protocol

from core.messages import Answer, Message
from core.ports import Inbox
from core.records import State
from core.store.changes import CountingBudget, uncapped
from core.store.database import Database
from core.store.inbox import SqliteInbox
from core.store.schema import MIGRATIONS
from core.store.turns import SqliteJournal
from tests.fakes.memory import MemoryInbox, Row


class Engine(Protocol):
    runs: list[asyncio.Task[None]]
    """What goes on in it, for as long as it is known."""

    @property
    def inbox(self) -> Inbox: ...

    async def begin(self, seq: int) -> Message | None:
        """What a handler does first; None when the message needs nothing more."""

    async def end(self, seq: int, text: str = "", state: State = "done") -> None:
        """What it does last."""

    async def beside(self) -> Engine:
        """Another process on the same storage."""

    async def killed(self) -> Engine:
        """The next process, after a kill -9 of this one."""

    async def close(self) -> None: ...


class Embedded:
    """`ponte.db` in a folder."""

    def __init__(self, home: Path, database: Database) -> None:
        self.home = home
        self.database = database
        self.inbox = SqliteInbox(database)
        self.journal = SqliteJournal(database)
        self.budget = CountingBudget(database, uncapped, UTC)
        self.runs: list[asyncio.Task[None]] = []
        self._others: list[Embedded] = []

    @classmethod
    async def open(cls, home: Path) -> Embedded:
        return cls(home, await Database.open(home / "ponte.db", MIGRATIONS))

    async def begin(self, seq: int) -> Message | None:
        turn = await self.journal.begin(seq)
        return turn.message if turn else None

    async def end(self, seq: int, text: str = "", state: State = "done") -> None:
        if turn := await self.journal.begin(seq):
            await self.journal.answered(turn, Answer(text))
            await self.journal.ended(turn, state)

    async def beside(self) -> Embedded:
        other = await Embedded.open(self.home)
        self._others.append(other)
        return other

    async def killed(self) -> Embedded:
        heir = await self.beside()
        await self.database.close()
        return heir

    async def close(self) -> None:
        await self.database.close()
        for other in self._others:
            await other.close()


class InMemory:
    """The double; its rows outlive it."""

    def __init__(self, rows: dict[int, Row]) -> None:
        self.inbox = MemoryInbox(rows)
        self.runs: list[asyncio.Task[None]] = []

    async def begin(self, seq: int) -> Message | None:
        row = self.inbox.rows[seq]
        return None if row.state == "withdrawn" else row.message

    async def end(self, seq: int, text: str = "", state: State = "done") -> None:
        await self.inbox.end(seq, Answer(text))

    async def beside(self) -> InMemory:
        return InMemory(self.inbox.rows)

    async def killed(self) -> InMemory:
        await self.close()
        return InMemory(self.inbox.rows)

    async def close(self) -> None:
        await self.inbox.drain(0)


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

    def start(self) -> Worker:
        self.engine.runs.append(asyncio.create_task(self.engine.inbox.run(self.handle)))
        return self

    async def handle(self, seq: int) -> None:
        self.calls += 1
        if message := await self.engine.begin(seq):
            if self.engine.inbox.stopped(seq) or not await self._works(seq, message):
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
            if not self.engine.inbox.stopped(seq):
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
