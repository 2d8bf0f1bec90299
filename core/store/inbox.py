"""The inbox: a conversation's turns one at a time and in order, conversations side by side,
decisions at once; `Runner` runs them all in this process.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar
from weakref import WeakValueDictionary

import structlog

from core.commands import grammar
from core.domain.errors import Forgotten, NotStored
from core.domain.messages import Answer, Item, Message, decode_json, encode_json
from core.domain.records import (
    ALL_CONVERSATIONS,
    CRASHED_REASON,
    FINAL_STATES,
    AmendResult,
    ConversationArea,
    Receipt,
)
from core.observability import metrics
from core.ports.conversations import TurnHandler
from core.runtime.retry import Backoff, retry
from core.store.database import Database, SqlConnection, SqlRow, area_condition, lock_key
from core.store.places import CRASHES_BEFORE_ALONE, Places, Sender, TurnQueue
from core.store.tables import purged_with

log = structlog.get_logger("inbox")
T = TypeVar("T")
MAX_WORKING_TURNS = 300
"""Turns that work at once in a process that runs all of them; the others wait."""
TURN_BACKOFF = Backoff(0.2, max_seconds=30.0)
"""Pauses before a turn whose outcome could not be recorded runs again."""
KEEP_PLACE_SECONDS = 0.05
"""How long a turn whose author is not known yet keeps its place. The look-up of somebody who is
known takes a few milliseconds."""
DECISIONS_FIRST_SECONDS = 30.0
"""Seconds that decisions which were left undone have before turns begin beside them."""
CANCELLED_TURN_SECONDS = 5.0
"""Seconds that a cancelled turn has to record where it stands."""
MAX_CRASHES_ALONE = 2
"""Deaths while it ran alone after which a turn is given up."""
MAX_CRASHES_ALONE_WITH_OTHERS = 5
"""The same where other turns died alone too: then it may be somebody outside who ends the process,
such as an operator or the kernel when memory runs out."""
RUN_ALONE_SECONDS = 60.0
"""How long the others wait for a turn that runs alone, and how long it waits for those under way.
After that they run side by side, and the turn is not blamed."""
DELETED_MESSAGE_TEXT = "[deleted by its author]"
"""What the model reads where a message was."""
Admit = Callable[[int, float], Awaitable[bool]]
"""Waits so many seconds until a turn may begin, and returns whether it may."""


class _NotEnded(Exception):
    """A turn's handler ended, but the turn did not."""


class TurnExecutor:
    """The handlers that run in this process: cancelled, waited for, taken up again."""

    recheck: float | None = None
    """Seconds after which who waits for an end looks at the row again; None: each is told here."""

    def __init__(self, database: Database, turns: int) -> None:
        """`turns` may work at once."""
        self._database = database
        self.places = Places(turns)
        self._one_alone = asyncio.Lock()
        self.admit: Admit | None = None
        """Asked before each turn; None: every turn may begin at once."""
        self._handler: TurnHandler | None = None
        self._admitting: dict[int, asyncio.Task[Any]] = {}
        """Taken up, and not admitted yet, or not alone yet: they hold nothing that another turn
        needs."""
        self._current: dict[int, asyncio.Task[None] | None] = {}
        """Taken up, with the handler that is at it; None between two tries."""
        self._stopped: set[int] = set()
        self._taken_over: set[int] = set()
        self._end_events: WeakValueDictionary[int, asyncio.Event] = WeakValueDictionary()
        self._draining = asyncio.Event()

    def leave_place(self, seq: int) -> None:
        """The turn only waits, or posts, from now on: another one may work."""
        self.places.leave(seq)

    async def take_place(self, seq: int) -> None:
        """Wait for a place again."""
        await self.places.come_back(seq)

    def cancel(self, seq: int) -> bool:
        """Cancel its handler, once, if it is taken up here now.

        A handler that the cancellation took before it could record it runs again, and learns from
        `stopped` what it has to do.
        """
        if seq not in self._current:
            return False
        if seq not in self._stopped:
            self._stopped.add(seq)
            self._cancel(seq)
        return True

    def stop_taken_over(self, seq: int) -> None:
        """Another process has it: its handler ends, and is not begun again here."""
        if seq in self._current:
            self._taken_over.add(seq)
            self._cancel(seq)

    def _cancel(self, seq: int) -> None:
        if task := self._current[seq] or self._admitting.get(seq):
            task.cancel()

    def is_taken_over(self, seq: int) -> bool:
        return seq in self._taken_over

    def is_stopped(self, seq: int) -> bool:
        """Whether `cancel` (and not a drain) is why its handler was cancelled."""
        return seq in self._stopped

    def wake(self, seq: int) -> None:
        """Let those who wait for its end look at the row again."""
        if event := self._end_events.pop(seq, None):
            event.set()

    async def wait_until_ended(self, seq: int, look: Callable[[], Awaitable[T | None]]) -> T:
        """What `look` gives, as soon as the message's handler has come to its end."""
        while True:
            ended = self._end_events.setdefault(seq, asyncio.Event())
            if (found := await look()) is not None:
                return found
            with suppress(TimeoutError):
                async with asyncio.timeout(self.recheck):
                    await ended.wait()

    async def drain(self, grace: float) -> None:
        self._draining.set()
        for waiting in self._admitting.values():
            waiting.cancel()
        if running := self._handlers():
            await asyncio.wait(running, timeout=grace)
        for task in self._handlers():
            task.cancel()
        if pending := self._handlers() | self._waiting_tasks():
            await asyncio.wait(pending, timeout=CANCELLED_TURN_SECONDS)

    def _waiting_tasks(self) -> set[asyncio.Task[None]]:
        """What else ends by itself once the handlers do."""
        return set()

    def _handlers(self) -> set[asyncio.Task[None]]:
        return {task for task in self._current.values() if task}

    async def run_turn(self, seq: int) -> bool:
        """Run the turn until it has ended. Return False when a drain came first."""
        self._current[seq] = None
        await self._wait_until_admitted(seq)

        async def run_unless_over() -> bool:
            if self._draining.is_set() or seq in self._taken_over:
                return False
            await self._run_handler(seq)
            return True

        handled = await retry(
            run_unless_over, _NotEnded, TURN_BACKOFF, sleep=self._sleep_unless_draining
        )
        handled = handled or seq in self._taken_over
        del self._current[seq]
        self._stopped.discard(seq)
        self._taken_over.discard(seq)
        self.wake(seq)
        return handled

    async def run_turn_alone(self, seq: int) -> bool:
        """Like `take`, for a turn that was under way at CRASHES deaths of its process: no other
        turn runs beside it, within ALONE_SECONDS. So it is known which turn ends the process."""
        self._current.setdefault(seq, None)
        async with self._one_alone:
            self.places.shut()
            try:
                is_alone = await self._wait_until_quiet(seq) and await self._try_to_record(
                    begin_alone, seq
                )
                log.info("runs alone" if is_alone else "does not run alone", seq=seq)
                self.places.begin(seq)
                work = asyncio.ensure_future(self.run_turn(seq))
                await asyncio.wait({work}, timeout=RUN_ALONE_SECONDS)
                if is_alone:
                    await self._try_to_record(end_alone, seq)
            finally:
                self.places.open()
            self.leave_place(seq)
        return await work

    async def _wait_until_quiet(self, seq: int) -> bool:
        """Wait until no turn is under way, and return whether that came in time. A stop and a drain
        end the wait too."""
        task = self._admitting[seq] = asyncio.ensure_future(self.places.wait_until_quiet())
        if self._draining.is_set() or seq in self._stopped:
            task.cancel()
        try:
            await asyncio.wait({task}, timeout=RUN_ALONE_SECONDS)
        finally:
            del self._admitting[seq]
            task.cancel()
        return task.done() and not task.cancelled()

    async def _try_to_record(self, write: Callable[[SqlConnection, int], None], seq: int) -> bool:
        """Record it; a database that is away costs no turn its answer."""
        try:
            await self._database.write(lambda connection: write(connection, seq))
        except NotStored:
            return False
        return True

    async def _wait_until_admitted(self, seq: int) -> None:
        """Wait until the turn may begin, without a place once that takes longer than a moment. A
        stop, a drain and a loss end the wait too."""
        if self.admit is None or self._draining.is_set():
            return
        task = self._admitting[seq] = asyncio.ensure_future(self.admit(seq, math.inf))
        try:
            await asyncio.wait({task}, timeout=KEEP_PLACE_SECONDS)
            if not task.done():
                self.leave_place(seq)
                await asyncio.wait({task})
                if not self._draining.is_set():
                    await self.take_place(seq)
        finally:
            del self._admitting[seq]
            task.cancel()
        if not task.cancelled() and (error := task.exception()):
            log.error("not waited for", seq=seq, why=repr(error))

    async def _sleep_unless_draining(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._draining.wait()

    async def _run_handler(self, seq: int) -> None:
        """Raises _PutOff where the handler was cancelled or failed, so that the turn has not
        ended."""
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
            raise _NotEnded
        if error := task.exception():
            log.error("put off", seq=seq, why=repr(error), exc_info=error)
            raise _NotEnded


class LocalRunner(TurnExecutor):
    """All turns of a database that is this process' alone."""

    def __init__(self, database: Database, turns: int = MAX_WORKING_TURNS) -> None:
        super().__init__(database, turns)
        self._open = False
        self._early_decisions: set[int] = set()
        """Decisions that a former process left, at work: turns begin after them. One that only
        waits, for its author to be known or for its platform, is none of them any more."""
        self._early_decisions_done = asyncio.Event()
        self._queue = TurnQueue()
        self._decisions: list[int] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._suspects: set[int] = set()
        """Those that were under way at CRASHES deaths of a process."""
        self._known: set[int] = set()
        """Taken in and not at their end yet; `run` finds in the file what `accept` gave already."""
        self._turns: dict[str, int] = {}
        self._since: dict[int, tuple[float, Sender]] = {}
        """When each that waits was stored, in seconds since 1970, and where it waits."""

    def on_stored(
        self, connection: SqlConnection, seq: int, message: Message, decision: bool
    ) -> int:
        """In the transaction that stores it; how many turns stand before it, where it is known."""
        return 0

    def request_stop(self, connection: SqlConnection, row: SqlRow) -> bool:
        """In a transaction: have the process stop it that runs it; False where that is this one."""
        return False

    def enqueue(self, seq: int, sender: Sender, decision: bool, since: float | None = None) -> int:
        """Take a stored message in, once; returns how many turns stand before it. `since`: when
        it was stored, where that was not now."""
        if seq in self._known:
            return 0
        self._known.add(seq)
        if decision:
            self._decisions.append(seq)
            self._start_decisions()
            return 0
        before = self._queue.add(seq, sender)
        self._since[seq] = (time.time() if since is None else since, sender)
        metrics.queued.inc()
        self._start_turns()
        return before

    async def run(self, handler: TurnHandler, platforms: Collection[str]) -> None:
        """Decisions that a former process left come before any turn, and turns that ended the
        process while they ran alone come after those that did not."""
        unfinished = await self._database.read(
            lambda c: c.execute(
                "SELECT seq, conversation, channel, person, decision, created, attempt,"
                " max(alone) OVER (PARTITION BY conversation) AS alone FROM inbox"
                " WHERE state IN ('new', 'running', 'answered', 'posting')"
                " ORDER BY decision DESC, alone, seq"
            ).fetchall()
        )
        self._suspects = {
            row["seq"] for row in unfinished if row["attempt"] >= CRASHES_BEFORE_ALONE
        }
        early = self._empty_queue()  # what was accepted by now comes after what is older
        for row in unfinished:
            if not platforms or row["conversation"].split(":")[0] in platforms:
                sender = Sender(row["conversation"], row["channel"], row["person"])
                self.enqueue(row["seq"], sender, bool(row["decision"]), row["created"])
        for seq, (since, sender) in sorted(early.items()):
            self.enqueue(seq, sender, False, since)
        self._handler = handler
        metrics.set_queue_age(self._queue_age)
        self._early_decisions = set(self._decisions)
        self._start_decisions()
        if self._early_decisions:
            with suppress(TimeoutError):
                async with asyncio.timeout(DECISIONS_FIRST_SECONDS):
                    await self._early_decisions_done.wait()
        self._open = True
        self._start_turns()
        await self._draining.wait()

    def _empty_queue(self) -> dict[int, tuple[float, Sender]]:
        """Take all turns that wait out of the line, before any has begun, and return them."""
        left, self._since, self._queue = self._since, {}, TurnQueue()
        self._known -= left.keys()
        metrics.queued.dec(len(left))
        return left

    async def running_turn(self, conversation: str) -> int | None:
        return self._turns.get(conversation)

    def _queue_age(self) -> float:
        if not self._since:
            return 0.0
        return max(0.0, time.time() - min(at for at, _ in self._since.values()))

    def _waiting_tasks(self) -> set[asyncio.Task[None]]:
        return set(self._tasks)

    def _start_decisions(self) -> None:
        while self._handler and self._decisions and not self._draining.is_set():
            self._start(self._take_decision(self._decisions.pop(0)))

    async def _take_decision(self, seq: int) -> None:
        await self._run(seq)
        self._known.discard(seq)
        self._end_early_decision(seq)

    def _end_early_decision(self, seq: int) -> None:
        self._early_decisions.discard(seq)
        if not self._early_decisions:
            self._early_decisions_done.set()

    async def _run(self, seq: int) -> bool:
        return await (self.run_turn_alone(seq) if seq in self._suspects else self.run_turn(seq))

    def _start_turns(self) -> None:
        """Give each free place to the turn that is next."""
        while self._open and not self._draining.is_set() and self.places.is_free:
            if (seq := self._queue.next()) is None:
                return
            _, sender = self._since.pop(seq)
            metrics.queued.dec()
            if seq in self._suspects:
                self.places.shut()
            else:
                self.places.begin(seq)
            self._turns[sender.conversation] = seq
            self._start(self._take_turn(seq, sender.conversation))

    async def _take_turn(self, seq: int, conversation: str) -> None:
        try:
            await self._run(seq)
        finally:
            del self._turns[conversation]
            self.places.end(seq)
            self._known.discard(seq)
            self._queue.end(seq)
        self._start_turns()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def leave_place(self, seq: int) -> None:
        super().leave_place(seq)
        self._end_early_decision(seq)
        self._start_turns()


class TurnDispatch(Protocol):
    """What an inbox needs of whoever runs its turns."""

    admit: Admit | None

    def on_stored(
        self, connection: SqlConnection, seq: int, message: Message, decision: bool
    ) -> int: ...
    def enqueue(self, seq: int, sender: Sender, decision: bool) -> int: ...
    def leave_place(self, seq: int) -> None: ...
    async def take_place(self, seq: int) -> None: ...
    def request_stop(self, connection: SqlConnection, row: SqlRow) -> bool: ...
    def cancel(self, seq: int) -> bool: ...
    def is_stopped(self, seq: int) -> bool: ...
    def is_taken_over(self, seq: int) -> bool: ...
    def wake(self, seq: int) -> None: ...
    async def wait_until_ended(self, seq: int, look: Callable[[], Awaitable[T | None]]) -> T: ...
    async def run(self, handler: TurnHandler, platforms: Collection[str]) -> None: ...
    async def running_turn(self, conversation: str) -> int | None: ...
    async def drain(self, grace: float) -> None: ...


@dataclass(frozen=True, slots=True)
class SenderLimits:
    """How much one person may send: messages a minute, and turns that wait; 0 is any number.
    Decisions are always accepted."""

    per_minute: int = 0
    waiting: int = 0

    def exceeded_limit(self, connection: SqlConnection, person: str, now: float) -> str:
        """Why one more is too many, with its limit ("fast:20", "waiting:5"); "" where it is not."""
        if self.per_minute and _count_this_minute(connection, person, now) > self.per_minute:
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
    too many by the present `intake()` is stored as refused, and answered at once."""

    def __init__(
        self,
        database: Database,
        runner: TurnDispatch | None = None,
        limits: Callable[[], SenderLimits] = SenderLimits,
    ) -> None:
        self._limits = limits
        self._database = database
        self._runner = runner or LocalRunner(database)

    async def accept(self, message: Message) -> Receipt:
        """Store it; durable on return. Raises NotStored, and then nothing was taken."""
        decides = grammar.is_decision(message.text, message.locale)
        waiting = 0
        address = message.address
        sender = Sender(address.conversation, address.channel_key, message.author.key)

        limits = self._limits()

        def store(connection: SqlConnection) -> tuple[Receipt, bool]:
            now, decision, why = time.time(), decides, ""
            lock_key(connection, sender.conversation)
            row = connection.execute(
                "INSERT INTO inbox (event_key, turn, conversation, channel, person, decision,"
                " message, created, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING RETURNING seq",
                (
                    message.event_key,
                    message.turn,
                    *sender,
                    decision,
                    encode_json(message),
                    now,
                    now,
                ),
            ).fetchone()
            if row is not None:
                if not decision and (
                    why := limits.exceeded_limit(connection, message.author.key, now)
                ):
                    decision = True
                    connection.execute(
                        "UPDATE inbox SET decision = 1, refused = ? WHERE seq = ?",
                        (why, row["seq"]),
                    )
                before = self._runner.on_stored(connection, row["seq"], message, decision)
                return Receipt(row["seq"], message.turn, True, before, why), decision
            row = connection.execute(
                "SELECT seq, refused FROM inbox WHERE event_key = ?", (message.event_key,)
            ).fetchone()
            receipt = Receipt(row["seq"], message.turn, is_new=False, refusal=row["refused"])
            return receipt, decision

        def take(stored: tuple[Receipt, bool]) -> None:
            nonlocal waiting
            receipt, decision = stored
            if receipt.is_new:
                waiting = self._runner.enqueue(receipt.seq, sender, decision)

        with metrics.accept_seconds.labels(message.address.platform).time():
            try:
                receipt, _ = await self._database.write(store, then=take)
            except NotStored:
                metrics.not_stored.inc()
                raise
        return replace(receipt, turns_ahead=receipt.turns_ahead + waiting)

    async def amend(self, event_key: str, message: Message | None) -> AmendResult:
        def wake(amended: tuple[int, AmendResult]) -> None:
            if message is None:
                self._runner.wake(amended[0])

        return (await self._database.write(lambda c: _amend_message(c, event_key, message), wake))[
            1
        ]

    async def wait_for_answer(self, seq: int) -> Answer:
        def read(connection: SqlConnection) -> Answer | None:
            row = _get_row(connection, seq)
            if row is None or row["state"] == "withdrawn":
                raise Forgotten
            if row["state"] not in FINAL_STATES:
                return None
            if row["answer"]:
                return decode_json(Answer, row["answer"])
            return Answer("", status="stopped")  # removed before there was one

        return await self._runner.wait_until_ended(seq, lambda: self._database.read(read))

    async def run(self, handler: TurnHandler, platforms: Collection[str] = ()) -> None:
        await self._runner.run(handler, platforms)

    async def cancel(self, seq: int) -> bool:
        def withdraw(connection: SqlConnection) -> bool:
            row = get_locked_row(connection, seq)
            if row is None or row["state"] in FINAL_STATES:
                return False
            if row["state"] != "new":
                return self._runner.request_stop(connection, row)
            _withdraw_message(connection, seq, decode_json(Message, row["message"]), "new")
            return True

        if self._runner.cancel(seq):
            return True
        if await self._database.write(withdraw):
            self._runner.wake(seq)
            return True
        return self._runner.cancel(seq)  # it began meanwhile

    def is_stopped(self, seq: int) -> bool:
        return self._runner.is_stopped(seq)

    def is_taken_over(self, seq: int) -> bool:
        return self._runner.is_taken_over(seq)

    def set_admission(self, admit: Admit) -> None:
        """From now on ask `admit` before each turn."""
        self._runner.admit = admit

    async def find_unstarted(self, seq: int) -> tuple[Message, float] | None:
        """Return a message whose turn has not begun yet, and when it was stored."""

        def read(connection: SqlConnection) -> tuple[Message, float] | None:
            row = _get_row(connection, seq)
            if row is None or row["state"] not in ("new", "running"):
                return None
            return decode_json(Message, row["message"]), row["created"]

        return await self._database.read(read)

    def leave_place(self, seq: int) -> None:
        self._runner.leave_place(seq)

    async def take_place(self, seq: int) -> None:
        await self._runner.take_place(seq)

    async def running_turn(self, conversation: str) -> int | None:
        return await self._runner.running_turn(conversation)

    async def drain(self, grace: float) -> None:
        await self._runner.drain(grace)

    async def purge(self, before: float, area: ConversationArea = ALL_CONVERSATIONS) -> int:
        there, values = area_condition(area)
        old = "SELECT seq FROM inbox_finished WHERE updated < ?"
        if area != ALL_CONVERSATIONS:
            old += f" AND seq IN (SELECT seq FROM inbox WHERE {there})"  # noqa: S608

        def delete(connection: SqlConnection) -> int:
            for table in (*purged_with("inbox"), "inbox"):
                gone = connection.execute(
                    f"DELETE FROM {table} WHERE seq IN ({old})",  # noqa: S608
                    (before, *values),
                )
            if area.is_one_request:
                _drop_conversations(connection, before, there, values)
            return gone.rowcount

        return await self._database.write(delete)


def _drop_conversations(
    connection: SqlConnection, before: float, there: str, values: Sequence[str | int]
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


def _count_this_minute(connection: SqlConnection, person: str, now: float) -> int:
    """Messages of theirs in this minute, with one more."""
    scope, minute = f"minute:{person}", str(int(now // 60))
    connection.execute("DELETE FROM counters WHERE scope = ? AND period <> ?", (scope, minute))
    row = connection.execute(
        "INSERT INTO counters (scope, period, person, turns) VALUES (?, ?, ?, 1)"
        " ON CONFLICT (scope, period) DO UPDATE SET turns = counters.turns + 1 RETURNING turns",
        (scope, minute, person),
    ).fetchone()
    return int(row["turns"])


def _get_row(connection: SqlConnection, seq: int) -> SqlRow | None:
    row: SqlRow | None = connection.execute("SELECT * FROM inbox WHERE seq = ?", (seq,)).fetchone()
    return row


def get_locked_row(connection: SqlConnection, seq: int) -> SqlRow | None:
    """The row, of which nobody else changes anything until this transaction ends."""
    row = _get_row(connection, seq)
    if row is not None and lock_key(connection, row["conversation"]):
        row = _get_row(connection, seq)
    return row


def _amend_message(
    connection: SqlConnection, event_key: str, message: Message | None
) -> tuple[int, AmendResult]:
    found = connection.execute("SELECT seq FROM inbox WHERE event_key = ?", (event_key,)).fetchone()
    row = get_locked_row(connection, found["seq"]) if found else None
    if row is None:
        return 0, "unknown"
    seq, state, known = row["seq"], row["state"], decode_json(Message, row["message"])
    if message is None:
        _withdraw_message(connection, seq, known, state)
        return seq, "unstarted" if state in ("new", "withdrawn") else "started"
    blank = state == "withdrawn" or not (known.text or known.attachments)
    if blank or message.sent_at < known.sent_at:
        return seq, "unknown"
    text, files, at = message.text, message.attachments, message.sent_at
    _rewrite_message(connection, seq, replace(known, text=text, attachments=files, sent_at=at))
    return seq, "unstarted" if state == "new" else "started"


def _withdraw_message(connection: SqlConnection, seq: int, message: Message, state: str) -> None:
    to = message.reply_to if state != "new" else replace(message.reply_to, token="")
    bare = replace(message, text="", attachments=(), context=(), brought=(), reply_to=to)
    _rewrite_message(connection, seq, bare)
    connection.execute("UPDATE inbox SET state = 'withdrawn' WHERE seq = ? AND state = 'new'",
                       (seq,))  # fmt: skip
    if state != "new":
        for row in connection.execute(
            "SELECT id, item FROM items WHERE seq = ?", (seq,)
        ).fetchall():
            item = decode_json(Item, row["item"])
            if item.role == "user":
                blank = encode_json(replace(item, text=DELETED_MESSAGE_TEXT, files=()))
                connection.execute("UPDATE items SET item = ? WHERE id = ?", (blank, row["id"]))


def _rewrite_message(connection: SqlConnection, seq: int, message: Message) -> None:
    connection.execute(
        "UPDATE inbox SET message = ?, updated = ?,"
        " decision = CASE state WHEN 'new' THEN ? ELSE decision END WHERE seq = ?",
        (encode_json(message), time.time(), grammar.is_decision(message.text, message.locale), seq),
    )


def begin_alone(connection: SqlConnection, seq: int) -> None:
    """Record that the turn runs alone from now on, or that it is given up. A turn that is given up
    gets an apology. Where even that ends the process, or an answer is stored already, it is over,
    and the person is told in the next turn."""
    row = get_locked_row(connection, seq)
    if row is None or row["state"] in FINAL_STATES:
        return
    is_given_up = row["refused"].startswith(CRASHED_REASON)
    deaths = row["alone"]
    others = connection.execute(
        "SELECT 1 FROM inbox WHERE alone > 0 AND seq <> ? AND updated >= ? LIMIT 1",
        (seq, row["created"]),
    ).fetchone()
    if deaths < (MAX_CRASHES_ALONE_WITH_OTHERS if others else MAX_CRASHES_ALONE):
        connection.execute("UPDATE inbox SET alone = alone + 1 WHERE seq = ?", (seq,))
    elif row["state"] in ("answered", "posting") or (
        is_given_up and deaths >= MAX_CRASHES_ALONE_WITH_OTHERS + MAX_CRASHES_ALONE
    ):
        connection.execute(
            "UPDATE inbox SET state = 'undeliverable', reason = ?, updated = ? WHERE seq = ?",
            (CRASHED_REASON, time.time(), seq),
        )
    else:
        connection.execute(
            "UPDATE inbox SET alone = ?, refused = ? WHERE seq = ?",
            (
                max(deaths, MAX_CRASHES_ALONE_WITH_OTHERS) + 1,
                f"{CRASHED_REASON}:{row['attempt']}",
                seq,
            ),
        )


def end_alone(connection: SqlConnection, seq: int) -> None:
    """Record that the process did not die while the turn ran alone."""
    connection.execute("UPDATE inbox SET alone = alone - 1 WHERE seq = ? AND alone > 0", (seq,))
