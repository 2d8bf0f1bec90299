"""The inbox: a conversation's turns one at a time and in order, conversations side by side,
decisions at once; `Runner` runs them all in this process.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar
from weakref import WeakValueDictionary

import structlog

from core import metrics
from core.conversation import grammar
from core.errors import Forgotten, NotStored
from core.messages import Answer, Item, Message, decode, encode
from core.ports import Handler
from core.records import ALL_OVER, FINAL_STATES, Amended, Area, Receipt
from core.store.database import Connection, Database, Row, lock, within

log = structlog.get_logger("inbox")
T = TypeVar("T")
FIRST_WAIT, LONGEST_WAIT = 0.2, 30.0
"""Seconds before a turn that could not even be recorded is taken up again."""
HEAD_START = 30.0
"""Seconds that decisions which were left undone have before turns begin beside them."""
LAST_WORDS = 5.0
"""Seconds that a cancelled turn has to record where it stands."""
DELETED = "[deleted by its author]"
"""What the model reads where a message was."""
PURGED = ("posts", "rounds", "calls", "inbox")


class Handling:
    """The handlers that run in this process: cancelled, waited for, taken up again."""

    recheck: float | None = None
    """Seconds after which who waits for an end looks at the row again; None: each is told here."""

    def __init__(self) -> None:
        self._handler: Handler | None = None
        self._current: dict[int, asyncio.Task[None] | None] = {}
        """Taken up, with the handler that is at it; None between two tries."""
        self._stopped: set[int] = set()
        self._lost: set[int] = set()
        self._ended: WeakValueDictionary[int, asyncio.Event] = WeakValueDictionary()
        self._draining = asyncio.Event()

    def cancel(self, seq: int) -> bool:
        """Cancel its handler, once, if it is taken up here now.

        A handler that the cancellation took before it could record it runs again, and learns from
        `stopped` what it has to do.
        """
        if seq not in self._current:
            return False
        if seq not in self._stopped:
            self._stopped.add(seq)
            if task := self._current[seq]:
                task.cancel()
        return True

    def lose(self, seq: int) -> None:
        """Another process has it: its handler ends, and is not begun again here."""
        if seq in self._current:
            self._lost.add(seq)
            if task := self._current[seq]:
                task.cancel()

    def lost(self, seq: int) -> bool:
        return seq in self._lost

    def stopped(self, seq: int) -> bool:
        """Whether `cancel` (and not a drain) is why its handler was cancelled."""
        return seq in self._stopped

    def wake(self, seq: int) -> None:
        """Let those who wait for its end look at the row again."""
        if event := self._ended.pop(seq, None):
            event.set()

    async def until_ended(self, seq: int, look: Callable[[], Awaitable[T | None]]) -> T:
        """What `look` gives, as soon as the message's handler has come to its end."""
        while True:
            ended = self._ended.setdefault(seq, asyncio.Event())
            if (found := await look()) is not None:
                return found
            with suppress(TimeoutError):
                async with asyncio.timeout(self.recheck):
                    await ended.wait()

    async def drain(self, grace: float) -> None:
        self._draining.set()
        if running := self._handlers():
            await asyncio.wait(running, timeout=grace)
        for task in self._handlers():
            task.cancel()
        if pending := self._handlers() | self._waiting_tasks():
            await asyncio.wait(pending, timeout=LAST_WORDS)

    def _waiting_tasks(self) -> set[asyncio.Task[None]]:
        """What else ends by itself once the handlers do."""
        return set()

    def _handlers(self) -> set[asyncio.Task[None]]:
        return {task for task in self._current.values() if task}

    async def take(self, seq: int) -> bool:
        """Handle it until it is at its end; False when a drain came first."""
        self._current[seq], wait, handled = None, FIRST_WAIT, False
        while not (self._draining.is_set() or seq in self._lost):
            if handled := await self._handled(seq):
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._draining.wait()
            wait = min(wait * 2, LONGEST_WAIT)
        handled = handled or seq in self._lost
        del self._current[seq]
        self._stopped.discard(seq)
        self._lost.discard(seq)
        self.wake(seq)
        return handled

    async def _handled(self, seq: int) -> bool:
        if self._handler is None:
            raise RuntimeError("the runner has no handler yet")
        task = self._current[seq] = asyncio.create_task(self._handler(seq))
        metrics.running.inc()
        try:
            await asyncio.wait({task})
        finally:
            self._current[seq] = None
            metrics.running.dec()
        if task.cancelled():
            return False
        if error := task.exception():
            log.error("put off", seq=seq, why=repr(error), exc_info=error)
            return False
        return True


class Runner(Handling):
    """All turns of a database that is this process' alone."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._open = False
        self._waiting: dict[str, list[int]] = {}
        self._decisions: list[int] = []
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: set[int] = set()
        """Taken in and not at their end yet; `run` finds in the file what `accept` gave already."""
        self._turns: dict[str, int] = {}
        self._since: dict[int, float] = {}
        """When each that waits was stored, in seconds since 1970."""

    def stored(self, connection: Connection, seq: int, message: Message, decision: bool) -> int:
        """In the transaction that stores it; how many turns stand before it, where it is known."""
        return 0

    def stop(self, connection: Connection, row: Row) -> bool:
        """In a transaction: have the process stop it that runs it; False where that is this one."""
        return False

    def enqueue(
        self, seq: int, conversation: str, decision: bool, since: float | None = None
    ) -> int:
        """Take a stored message in, once; returns how many turns stand before it. `since`: when
        it was stored, where that was not now."""
        if seq in self._known:
            return 0
        self._known.add(seq)
        if decision:
            self._decisions.append(seq)
            self._start_decisions()
            return 0
        queue = self._waiting.setdefault(conversation, [])
        before = len(queue) + (conversation in self._turns)
        heapq.heappush(queue, seq)
        self._since[seq] = time.time() if since is None else since
        metrics.queued.inc()
        self._start_lane(conversation)
        return before

    async def run(self, handler: Handler, platforms: Collection[str]) -> None:
        """Decisions that a former process left come before any turn."""
        unfinished = await self._database.read(
            lambda c: c.execute(
                "SELECT seq, conversation, decision, created FROM inbox WHERE state IN"
                " ('new', 'running', 'answered', 'posting') ORDER BY decision DESC, seq"
            ).fetchall()
        )
        for row in unfinished:
            if not platforms or row["conversation"].split(":")[0] in platforms:
                self.enqueue(row["seq"], row["conversation"], bool(row["decision"]), row["created"])
        self._handler = handler
        metrics.show_queue(self._age)
        self._start_decisions()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=HEAD_START)
        self._open = True
        for conversation in list(self._waiting):
            self._start_lane(conversation)
        await self._draining.wait()

    async def running(self, conversation: str) -> int | None:
        return self._turns.get(conversation)

    def _age(self) -> float:
        return max(0.0, time.time() - min(self._since.values())) if self._since else 0.0

    def _waiting_tasks(self) -> set[asyncio.Task[None]]:
        return {*self._lanes.values(), *self._tasks}

    def _start_decisions(self) -> None:
        while self._handler and self._decisions and not self._draining.is_set():
            task = asyncio.create_task(self._take(self._decisions.pop(0)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _start_lane(self, conversation: str) -> None:
        if self._open and conversation not in self._lanes and not self._draining.is_set():
            self._lanes[conversation] = asyncio.create_task(self._lane(conversation))

    async def _lane(self, conversation: str) -> None:
        queue = self._waiting[conversation]
        try:
            while queue and not self._draining.is_set():
                seq = heapq.heappop(queue)
                del self._since[seq]
                metrics.queued.dec()
                self._turns[conversation] = seq
                try:
                    await self._take(seq)
                finally:
                    del self._turns[conversation]
        finally:
            del self._lanes[conversation]
            if not queue:
                self._waiting.pop(conversation, None)

    async def _take(self, seq: int) -> None:
        await self.take(seq)
        self._known.discard(seq)


class Dispatch(Protocol):
    """What an inbox needs of whoever runs its turns."""

    def stored(self, connection: Connection, seq: int, message: Message, decision: bool) -> int: ...
    def enqueue(self, seq: int, conversation: str, decision: bool) -> int: ...
    def stop(self, connection: Connection, row: Row) -> bool: ...
    def cancel(self, seq: int) -> bool: ...
    def stopped(self, seq: int) -> bool: ...
    def lost(self, seq: int) -> bool: ...
    def wake(self, seq: int) -> None: ...
    async def until_ended(self, seq: int, look: Callable[[], Awaitable[T | None]]) -> T: ...
    async def run(self, handler: Handler, platforms: Collection[str]) -> None: ...
    async def running(self, conversation: str) -> int | None: ...
    async def drain(self, grace: float) -> None: ...


@dataclass(slots=True)
class Intake:
    """What one person may send, which may be changed at any time: messages a minute, and turns
    that wait; 0 is any number. Decisions are always taken."""

    per_minute: int = 0
    waiting: int = 0

    def over(self, connection: Connection, person: str, now: float) -> str:
        """Why one more is too many, with its limit ("fast:20", "waiting:5"); "" where it is not."""
        if self.per_minute and _this_minute(connection, person, now) > self.per_minute:
            return f"fast:{self.per_minute}"
        if self.waiting:
            row = connection.execute(
                "SELECT count(*) AS n FROM inbox"
                " WHERE person = ? AND decision = 0 AND state = 'new'",
                (person,),
            ).fetchone()
            if row["n"] > self.waiting:
                return f"waiting:{self.waiting}"
        return ""


class SqlInbox:
    """The `Inbox` port; `runner` runs its turns, here or wherever the database is shared. What is
    too many by the `intake` is stored as refused, and answered at once."""

    def __init__(
        self, database: Database, runner: Dispatch | None = None, intake: Intake | None = None
    ) -> None:
        self._intake = intake or Intake()
        self._database = database
        self._runner = runner or Runner(database)

    async def accept(self, message: Message) -> Receipt:
        """Store it; durable on return. Raises NotStored, and then nothing was taken."""
        decides = grammar.is_decision(message.text, message.locale)
        waiting = 0

        def store(connection: Connection) -> tuple[int, bool, int, bool]:
            now, decision = time.time(), decides
            lock(connection, message.address.conversation)
            row = connection.execute(
                "INSERT INTO inbox (event_key, turn, conversation, person, decision, message,"
                " created, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
                " RETURNING seq",
                (message.event_key, message.turn, message.address.conversation,
                 message.author.key, decision, encode(message), now, now),
            ).fetchone()  # fmt: skip
            if row is not None:
                if not decision and (why := self._intake.over(connection, message.author.key, now)):
                    decision = True
                    connection.execute(
                        "UPDATE inbox SET decision = 1, refused = ? WHERE seq = ?",
                        (why, row["seq"]),
                    )
                before = self._runner.stored(connection, row["seq"], message, decision)
                return row["seq"], True, before, decision
            row = connection.execute(
                "SELECT seq FROM inbox WHERE event_key = ?", (message.event_key,)
            ).fetchone()
            return row["seq"], False, 0, decision

        def take(stored: tuple[int, bool, int, bool]) -> None:
            nonlocal waiting
            seq, fresh, waiting, decision = stored
            if fresh:
                waiting += self._runner.enqueue(seq, message.address.conversation, decision)

        with metrics.accept_seconds.labels(message.address.platform).time():
            try:
                seq, fresh, *_ = await self._database.write(store, then=take)
            except NotStored:
                metrics.not_stored.inc()
                raise
        return Receipt(seq=seq, turn=message.turn, fresh=fresh, waiting=waiting)

    async def amend(self, event_key: str, message: Message | None) -> Amended:
        def wake(amended: tuple[int, Amended]) -> None:
            if message is None:
                self._runner.wake(amended[0])

        return (await self._database.write(lambda c: _amend(c, event_key, message), wake))[1]

    async def answer_of(self, seq: int) -> Answer:
        def read(connection: Connection) -> Answer | None:
            row = _row(connection, seq)
            if row is None or row["state"] == "withdrawn":
                raise Forgotten
            if row["state"] not in FINAL_STATES:
                return None
            if row["answer"]:
                return decode(Answer, row["answer"])
            return Answer("", status="stopped")  # removed before there was one

        return await self._runner.until_ended(seq, lambda: self._database.read(read))

    async def run(self, handler: Handler, platforms: Collection[str] = ()) -> None:
        await self._runner.run(handler, platforms)

    async def cancel(self, seq: int) -> bool:
        def withdraw(connection: Connection) -> bool:
            row = locked(connection, seq)
            if row is None or row["state"] in FINAL_STATES:
                return False
            if row["state"] != "new":
                return self._runner.stop(connection, row)
            _withdraw(connection, seq, decode(Message, row["message"]), "new")
            return True

        if self._runner.cancel(seq):
            return True
        if await self._database.write(withdraw):
            self._runner.wake(seq)
            return True
        return self._runner.cancel(seq)  # it began meanwhile

    def stopped(self, seq: int) -> bool:
        return self._runner.stopped(seq)

    def lost(self, seq: int) -> bool:
        return self._runner.lost(seq)

    async def running(self, conversation: str) -> int | None:
        return await self._runner.running(conversation)

    async def drain(self, grace: float) -> None:
        await self._runner.drain(grace)

    async def purge(self, before: float, area: Area = ALL_OVER) -> int:
        there, values = within(area)
        old = "SELECT seq FROM inbox_finished WHERE updated < ?"
        if area != ALL_OVER:
            old += f" AND seq IN (SELECT seq FROM inbox WHERE {there})"  # noqa: S608

        def delete(connection: Connection) -> int:
            *_, gone = [
                connection.execute(f"DELETE FROM {table} WHERE seq IN ({old})", (before, *values))  # noqa: S608
                for table in PURGED
            ]
            if area.once:
                _drop_conversations(connection, before, there, values)
            return gone.rowcount

        return await self._database.write(delete)


def _drop_conversations(
    connection: Connection, before: float, there: str, values: Sequence[str | int]
) -> None:
    """Those there of which nothing is left: each request has one, and nobody comes back to it."""
    left = (
        f"SELECT conversation FROM conversations WHERE used_at < ? AND {there}"  # noqa: S608
        " AND NOT EXISTS (SELECT 1 FROM inbox"
        "  WHERE inbox.conversation = conversations.conversation)"
        " AND NOT EXISTS (SELECT 1 FROM items JOIN threads ON threads.id = items.thread"
        "  WHERE threads.conversation = conversations.conversation)"
    )
    for table in ("threads", "conversations"):
        connection.execute(
            f"DELETE FROM {table} WHERE conversation IN ({left})",  # noqa: S608
            (before, *values),
        )


def _this_minute(connection: Connection, person: str, now: float) -> int:
    """Messages of theirs in this minute, with one more."""
    scope, minute = f"minute:{person}", str(int(now // 60))
    connection.execute("DELETE FROM counters WHERE scope = ? AND period <> ?", (scope, minute))
    row = connection.execute(
        "INSERT INTO counters (scope, period, person, turns) VALUES (?, ?, ?, 1)"
        " ON CONFLICT (scope, period) DO UPDATE SET turns = counters.turns + 1 RETURNING turns",
        (scope, minute, person),
    ).fetchone()
    return int(row["turns"])


def _row(connection: Connection, seq: int) -> Row | None:
    row: Row | None = connection.execute("SELECT * FROM inbox WHERE seq = ?", (seq,)).fetchone()
    return row


def locked(connection: Connection, seq: int) -> Row | None:
    """The row, of which nobody else changes anything until this transaction ends."""
    row = _row(connection, seq)
    if row is not None and lock(connection, row["conversation"]):
        row = _row(connection, seq)
    return row


def _amend(connection: Connection, event_key: str, message: Message | None) -> tuple[int, Amended]:
    found = connection.execute("SELECT seq FROM inbox WHERE event_key = ?", (event_key,)).fetchone()
    row = locked(connection, found["seq"]) if found else None
    if row is None:
        return 0, "unknown"
    seq, state, known = row["seq"], row["state"], decode(Message, row["message"])
    if message is None:
        _withdraw(connection, seq, known, state)
        return seq, "unstarted" if state in ("new", "withdrawn") else "started"
    blank = state == "withdrawn" or not (known.text or known.attachments)
    if blank or message.sent_at < known.sent_at:
        return seq, "unknown"
    text, files, at = message.text, message.attachments, message.sent_at
    _rewrite(connection, seq, replace(known, text=text, attachments=files, sent_at=at))
    return seq, "unstarted" if state == "new" else "started"


def _withdraw(connection: Connection, seq: int, message: Message, state: str) -> None:
    to = message.reply_to if state != "new" else replace(message.reply_to, token="")
    bare = replace(message, text="", attachments=(), context=(), brought=(), reply_to=to)
    _rewrite(connection, seq, bare)
    connection.execute("UPDATE inbox SET state = 'withdrawn' WHERE seq = ? AND state = 'new'",
                       (seq,))  # fmt: skip
    if state != "new":
        for row in connection.execute(
            "SELECT id, item FROM items WHERE seq = ?", (seq,)
        ).fetchall():
            item = decode(Item, row["item"])
            if item.role == "user":
                blank = encode(replace(item, text=DELETED, files=()))
                connection.execute("UPDATE items SET item = ? WHERE id = ?", (blank, row["id"]))


def _rewrite(connection: Connection, seq: int, message: Message) -> None:
    connection.execute(
        "UPDATE inbox SET message = ?, updated = ?,"
        " decision = CASE state WHEN 'new' THEN ? ELSE decision END WHERE seq = ?",
        (encode(message), time.time(), grammar.is_decision(message.text, message.locale), seq),
    )
