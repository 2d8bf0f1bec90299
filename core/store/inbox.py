"""The inbox in `ponte.db`, run by this process: a conversation's turns one at a time and in order,
conversations side by side, decisions at once.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from sqlite3 import Row
from weakref import WeakValueDictionary

import structlog

from core import metrics
from core.conversation import grammar
from core.errors import Forgotten
from core.messages import Answer, Message, decode, encode
from core.ports import Handler
from core.records import FINAL_STATES, Amended, Receipt
from core.store.database import Connection, Database

log = structlog.get_logger("inbox")
FIRST_WAIT, LONGEST_WAIT = 0.2, 30.0
"""Seconds before a turn that could not even be recorded is taken up again."""
HEAD_START = 30.0
"""Seconds that decisions which were left undone have before turns begin beside them."""
LAST_WORDS = 5.0
"""Seconds that a cancelled turn has to record where it stands."""
DELETED = "[deleted by its author]"
"""What the model reads where a message was."""
PURGE = (
    "DELETE FROM posts WHERE seq IN (SELECT seq FROM inbox_finished WHERE updated < ?)",
    "DELETE FROM rounds WHERE seq IN (SELECT seq FROM inbox_finished WHERE updated < ?)",
    "DELETE FROM calls WHERE seq IN (SELECT seq FROM inbox_finished WHERE updated < ?)",
    "DELETE FROM inbox WHERE seq IN (SELECT seq FROM inbox_finished WHERE updated < ?)",
)


class Runner:
    def __init__(self) -> None:
        self._handler: Handler | None = None
        self._open = False
        self._waiting: dict[str, list[int]] = {}
        self._decisions: list[int] = []
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: set[int] = set()
        """Taken in and not at their end yet; `run` finds in the file what `accept` gave already."""
        self._current: dict[int, asyncio.Task[None] | None] = {}
        """Taken up, with the handler that is at it; None between two tries."""
        self._turns: dict[str, int] = {}
        self._stopped: set[int] = set()
        self._ended: WeakValueDictionary[int, asyncio.Event] = WeakValueDictionary()
        self._draining = asyncio.Event()

    def enqueue(self, seq: int, conversation: str, decision: bool) -> int:
        """Take a stored message in, once; returns how many turns stand before it."""
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
        metrics.queued.inc()
        self._start_lane(conversation)
        return before

    async def start(self, handler: Handler) -> None:
        """Decisions that a former process left come before any turn."""
        self._handler = handler
        self._start_decisions()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=HEAD_START)
        self._open = True
        for conversation in list(self._waiting):
            self._start_lane(conversation)

    async def until_drained(self) -> None:
        await self._draining.wait()

    def running(self, conversation: str) -> int | None:
        return self._turns.get(conversation)

    def cancel(self, seq: int) -> bool:
        """Cancel its handler, once, if it is taken up now.

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

    def stopped(self, seq: int) -> bool:
        """Whether `cancel` (and not a drain) is why its handler was cancelled."""
        return seq in self._stopped

    def wake(self, seq: int) -> None:
        """Let those who wait for its end look at the row again."""
        if event := self._ended.pop(seq, None):
            event.set()

    def ended(self, seq: int) -> asyncio.Event:
        """Set when the message's handler has come to its end. Look up, then read the row."""
        return self._ended.setdefault(seq, asyncio.Event())

    async def drain(self, grace: float) -> None:
        self._draining.set()
        if running := self._handlers():
            await asyncio.wait(running, timeout=grace)
        for task in self._handlers():
            task.cancel()
        pending = {*self._handlers(), *self._lanes.values(), *self._tasks}
        if pending:
            await asyncio.wait(pending, timeout=LAST_WORDS)

    def _handlers(self) -> set[asyncio.Task[None]]:
        return {task for task in self._current.values() if task}

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
        self._current[seq], wait = None, FIRST_WAIT
        while not self._draining.is_set() and not await self._handled(seq):
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._draining.wait()
            wait = min(wait * 2, LONGEST_WAIT)
        del self._current[seq]
        self._stopped.discard(seq)
        self._known.discard(seq)
        self.wake(seq)

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


class SqliteInbox:
    """The `Inbox` port."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._runner = Runner()

    async def accept(self, message: Message) -> Receipt:
        """Store it; durable on return. Raises NotStored, and then nothing was taken."""
        decision = grammar.is_decision(message.text)
        waiting = 0

        def store(connection: Connection) -> tuple[int, bool]:
            now = time.time()
            row = connection.execute(
                "INSERT INTO inbox (event_key, turn, conversation, person, decision, message,"
                " created, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
                " RETURNING seq",
                (message.event_key, message.turn, message.address.conversation,
                 message.author.key, decision, encode(message), now, now),
            ).fetchone()  # fmt: skip
            if row is not None:
                return row["seq"], True
            row = connection.execute(
                "SELECT seq FROM inbox WHERE event_key = ?", (message.event_key,)
            ).fetchone()
            return row["seq"], False

        def take(stored: tuple[int, bool]) -> None:
            nonlocal waiting
            seq, fresh = stored
            if fresh:
                waiting = self._runner.enqueue(seq, message.address.conversation, decision)

        with metrics.accept_seconds.labels(message.address.platform).time():
            seq, fresh = await self._database.write(store, then=take)
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

        ended = self._runner.ended(seq)
        while (answer := await self._database.read(read)) is None:
            await ended.wait()
            ended = self._runner.ended(seq)
        return answer

    async def run(self, handler: Handler, platforms: Collection[str] = ()) -> None:
        unfinished = await self._database.read(
            lambda c: c.execute(
                "SELECT seq, conversation, decision FROM inbox WHERE state IN"
                " ('new', 'running', 'answered', 'posting') ORDER BY decision DESC, seq"
            ).fetchall()
        )
        for row in unfinished:
            if not platforms or row["conversation"].split(":")[0] in platforms:
                self._runner.enqueue(row["seq"], row["conversation"], bool(row["decision"]))
        await self._runner.start(handler)
        await self._runner.until_drained()

    async def cancel(self, seq: int) -> bool:
        def withdraw(connection: Connection) -> bool:
            row = _row(connection, seq)
            if row is None or row["state"] != "new":
                return False
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

    def running(self, conversation: str) -> int | None:
        return self._runner.running(conversation)

    async def drain(self, grace: float) -> None:
        await self._runner.drain(grace)

    async def purge(self, before: float) -> int:
        def delete(connection: Connection) -> int:
            for statement in PURGE[:-1]:
                connection.execute(statement, (before,))
            return connection.execute(PURGE[-1], (before,)).rowcount

        return await self._database.write(delete)


def _row(connection: Connection, seq: int) -> Row | None:
    row: Row | None = connection.execute("SELECT * FROM inbox WHERE seq = ?", (seq,)).fetchone()
    return row


def _amend(connection: Connection, event_key: str, message: Message | None) -> tuple[int, Amended]:
    row = connection.execute(
        "SELECT seq, state, message FROM inbox WHERE event_key = ?", (event_key,)
    ).fetchone()
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
    _rewrite(connection, seq, replace(message, text="", attachments=(), context=(), reply_to=to))
    connection.execute("UPDATE inbox SET state = 'withdrawn' WHERE seq = ? AND state = 'new'",
                       (seq,))  # fmt: skip
    if state != "new":
        connection.execute(
            "UPDATE items SET item = json_remove(json_set(item, '$.text', ?), '$.files')"
            " WHERE seq = ? AND json_extract(item, '$.role') = 'user'",
            (DELETED, seq),
        )


def _rewrite(connection: Connection, seq: int, message: Message) -> None:
    connection.execute(
        "UPDATE inbox SET message = ?, updated = ?,"
        " decision = CASE state WHEN 'new' THEN ? ELSE decision END WHERE seq = ?",
        (encode(message), time.time(), grammar.is_decision(message.text), seq),
    )
