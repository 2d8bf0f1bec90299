"""`TurnExecutor` runs handlers in this process. `LocalRunner` is the executor of a process that has
a database of its own; `Jobs` (core/journal/jobs.py) is that of one of several processes."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import structlog

from core.base.errors import NotStored
from core.base.tasks import Backoff, retry
from core.domain.ports import TurnHandler
from core.domain.records import CRASHED_REASON, FINAL_STATES
from core.journal.turn_queue import Places, Sender, TurnQueue
from core.observability import metrics
from core.store.database import Database, SqlConnection, SqlRow, SqlStore

CRASHES_BEFORE_ALONE = 2


log = structlog.get_logger("inbox")
T = TypeVar("T")
MAX_WORKING_TURNS = 300
TURN_BACKOFF = Backoff(0.2, max_seconds=30.0)
KEEP_PLACE_SECONDS = 0.05
"""Seconds that a turn keeps its place while Ponte looks up its author. The look-up of a known
author takes a few milliseconds."""
DECISIONS_FIRST_SECONDS = 5.0
CANCELLED_TURN_SECONDS = 5.0
MAX_CRASHES_ALONE = 2
MAX_CRASHES_ALONE_WITH_OTHERS = 5
"""The value of MAX_CRASHES_ALONE if other turns crashed alone, too. Then something outside may end
the process, such as an operator or the kernel when memory runs out."""
MAX_CRASHES = 20
RUN_ALONE_SECONDS = 5.0
"""Seconds that other turns wait for a turn that runs alone, and that it waits for those under way.
After that they run side by side, and a crash is not blamed on it."""
MAX_SUSPECT_SECONDS = 60.0
"""Further seconds that turns which are to run alone wait for the one before them."""
LONG_WAIT_SECONDS, OTHERS_FIRST_SECONDS = 2.0, 1.0
"""If a turn has waited LONG_WAIT_SECONDS, other turns may begin for OTHERS_FIRST_SECONDS before the
next turn runs alone."""
WAITING_TURN_SQL = (
    "SELECT 1 FROM inbox WHERE is_decision = 0 AND state = 'new' AND created_at < ? LIMIT 1"
)
Admit = Callable[[int, float], Awaitable[bool]]


class _NotEnded(Exception):
    # The handler ended before the turn's end was recorded, so it must run again.
    pass


class TurnExecutor(SqlStore):
    """Runs the handlers of turns in this process, and again those whose turn has not ended."""

    recheck: float | None = None
    """Seconds after which a caller that waits for a turn's end reads the row again. None if all
    turns run in this process: then `wake` is reliable."""

    def __init__(self, database: Database, turns: int) -> None:
        super().__init__(database)
        self.places = Places(turns)  # turns that may work at the same time
        self._one_alone = asyncio.Lock()
        self.admit: Admit | None = None
        """Called before each turn. None: every turn may begin at once."""
        self._handler: TurnHandler | None = None
        self._admitting: dict[int, asyncio.Task[Any] | None] = {}
        """The turns that wait here hold nothing that another turn needs."""
        self._current: dict[int, asyncio.Task[Any] | None] = {}
        """None between two attempts."""
        self._stopped: set[int] = set()
        self._taken_over: set[int] = set()
        self._end_events: WeakValueDictionary[int, asyncio.Event] = WeakValueDictionary()
        self._draining = asyncio.Event()

    def fetched_message(self, seq: int) -> tuple[str, float] | None:
        """With a shared database, a message comes with its job."""
        return None

    def leave_place(self, seq: int) -> None:
        """From now on this turn only waits for its platform, or posts."""
        self.places.leave(seq)

    async def take_place(self, seq: int) -> None:
        await self.places.come_back(seq)

    def cancel(self, seq: int) -> bool:
        """Cancel the turn's handler once, because a person stopped the turn. Return whether the
        turn is in this process now.

        A handler that ends before it has recorded the stop runs again. Then `is_stopped` returns
        True, so that it records the stop and does nothing else.
        """
        if seq not in self._current:
            return False
        if seq not in self._stopped:
            self._stopped.add(seq)
            self._cancel(seq)
        return True

    def stop_taken_over(self, seq: int) -> None:
        if seq in self._current:
            self._taken_over.add(seq)
            self._cancel(seq)

    def _cancel(self, seq: int) -> None:
        if task := self._current[seq] or self._admitting.get(seq):
            task.cancel()

    def is_taken_over(self, seq: int) -> bool:
        return seq in self._taken_over

    def is_stopped(self, seq: int) -> bool:
        return seq in self._stopped

    def wake(self, seq: int) -> None:
        if event := self._end_events.pop(seq, None):
            event.set()

    async def wait_until_ended(self, seq: int, look: Callable[[], Awaitable[T | None]]) -> T:
        """`look` returns None until the turn has ended. It is called now, each time that `wake` is
        called for the turn, and every `recheck` seconds, because a notification of another process
        may be lost."""
        while True:
            # The event exists before `look` runs, so that an end in between is not missed.
            ended = self._end_events.setdefault(seq, asyncio.Event())
            if (result := await look()) is not None:
                return result
            with suppress(TimeoutError):
                async with asyncio.timeout(self.recheck):  # None: no timeout
                    await ended.wait()

    async def drain(self, grace: float) -> None:
        """Cancelled handlers get CANCELLED_TURN_SECONDS to record their progress, with which the
        next process goes on."""
        self._draining.set()
        # Turns that have not begun need not wait any longer for permission to begin.
        for waiting in filter(None, self._admitting.values()):
            waiting.cancel()
        if running := self._handlers():
            await asyncio.wait(running, timeout=grace)
        for task in self._handlers():
            task.cancel()
        # `_waiting_tasks` are the tasks around the handlers, which end after them.
        if pending := self._handlers() | self._waiting_tasks():
            await asyncio.wait(pending, timeout=CANCELLED_TURN_SECONDS)

    def _waiting_tasks(self) -> set[asyncio.Task[Any]]:
        return set()

    def _handlers(self) -> set[asyncio.Task[Any]]:
        return {task for task in self._current.values() if task}

    async def run_turn(self, seq: int) -> bool:
        """Run the turn's handler until the turn is recorded as ended, or another process has taken
        it over. Return False if this process stops first (`drain`).

        A handler that fails or is cancelled runs again after a pause: it reads what is recorded,
        and continues there.
        """
        self._current[seq] = None
        await self._wait_until_admitted(seq)

        async def run_handler() -> bool:
            if self._draining.is_set() or seq in self._taken_over:
                return False
            if self._handler is None:
                raise RuntimeError("the runner has no handler yet")
            self._current[seq] = asyncio.current_task()
            metrics.running.inc()
            try:
                await self._handler(seq)
            except asyncio.CancelledError as error:  # before it recorded the turn's end
                # After a stop, a drain or a takeover this task goes on. Any other cancellation is
                # raised again here.
                self._end_cancellation(seq)
                raise _NotEnded from error
            except Exception as error:
                log.error("could not record a turn; retrying", turn_seq=seq, exc_info=error)
                raise _NotEnded from error
            finally:
                self._current[seq] = None
                metrics.running.dec()
            return True

        handled = await retry(
            run_handler, _NotEnded, TURN_BACKOFF, sleep=self._sleep_unless_draining
        )
        # A turn that another process has taken over must not be put back into the queue.
        handled = handled or seq in self._taken_over
        del self._current[seq]
        self._stopped.discard(seq)
        self._taken_over.discard(seq)
        self.wake(seq)  # callers that wait for the turn's end read its row now
        return handled

    async def run_turn_alone(self, seq: int) -> bool:
        """For turns that were under way at CRASHES_BEFORE_ALONE crashes of their process. A further
        crash then shows which turn causes it. Other turns wait at most RUN_ALONE_SECONDS until it
        begins, and as long again while it runs alone. Those that have waited begin before the next
        turn runs alone. Return what `run_turn` returns."""
        self._current.setdefault(seq, None)  # a stop can find it while it waits
        async with self._one_alone:  # one such turn after the other
            self.places.shut()  # at once: no other turn may begin
            try:
                # Several such turns in a row must not keep others from beginning.
                if await self._is_anyone_waiting():
                    self.places.open()
                    self.leave_place(seq)  # it has none yet; this starts the turns that wait
                    await self._sleep_unless_draining(OTHERS_FIRST_SECONDS)
                    self.places.shut()
                is_alone = await self._wait_until_alone(seq) and await self._try_to_record(
                    begin_alone, seq
                )
                log.info("turn runs alone" if is_alone else "turn does not run alone", turn_seq=seq)
                self.places.begin(seq)
                work = asyncio.ensure_future(self.run_turn(seq))
                # `begin_alone` has counted a crash in advance, which `end_alone` takes back. From
                # then on others run beside the turn, and a crash is not blamed on it. If it is not
                # alone, because others did not end in time, no crash is blamed on it at all.
                await asyncio.wait({work}, timeout=RUN_ALONE_SECONDS)
                if is_alone:
                    await self._try_to_record(end_alone, seq)
            finally:
                self.places.open()
            # Others get its place, even if it still runs; this starts the turns that wait.
            self.leave_place(seq)
            # The next turn that is to run alone waits for it, but not without end.
            await asyncio.wait({work}, timeout=MAX_SUSPECT_SECONDS)
        try:
            return await work
        finally:
            self.places.end(seq)

    async def _is_anyone_waiting(self) -> bool:
        before = time.time() - LONG_WAIT_SECONDS
        with suppress(NotStored):
            return bool(
                await self._database.read(
                    lambda connection: connection.execute(WAITING_TURN_SQL, (before,)).fetchone()
                )
            )
        return False

    def _end_cancellation(self, seq: int) -> None:
        """Let the present task go on after the runner itself cancelled the turn's handler: for a
        stop, for a drain, or because another process has the turn. Let the cancellation pass if
        something else cancelled the task.

        Python counts the cancellations of a task, so each one is taken back.
        """
        task = asyncio.current_task()
        is_own = seq in self._stopped or seq in self._taken_over or self._draining.is_set()
        while task and task.cancelling():
            if not is_own:
                raise asyncio.CancelledError
            task.uncancel()

    async def _wait_until_alone(self, seq: int) -> bool:
        """Wait until no other turn runs in this process, so that the turn `seq` can run alone.

        Return False if others still run after RUN_ALONE_SECONDS, or if a stop of the turn or the
        end of the process ends the wait.
        """
        # `cancel` and `drain` cancel the tasks in `_admitting` (by `seq`). They may have come
        # before this one: then the turn is in `_stopped`, or `_draining` is set.
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
        # An unavailable database raises nothing, because it must not cost the turn its answer.
        try:
            await self._database.write(lambda connection: write(connection, seq))
        except NotStored:
            return False
        return True

    async def _wait_until_admitted(self, seq: int) -> None:
        """Wait until the platform has told who the author is, on which rights depend. If that takes
        longer than KEEP_PLACE_SECONDS, the turn gives up its place meanwhile. A stop, a drain, or
        another process that takes the turn over ends the wait."""
        if self.admit is None or self._draining.is_set():
            return
        timer = asyncio.get_running_loop().call_later(KEEP_PLACE_SECONDS, self.leave_place, seq)
        self._admitting[seq] = asyncio.current_task()
        try:
            # `admit` has a time limit of its own, so this call sets none.
            await self.admit(seq, math.inf)
        except asyncio.CancelledError:
            # Returns if the runner itself cancelled the wait, so that the turn goes on to its end;
            # otherwise raises the cancellation again.
            self._end_cancellation(seq)
        except Exception as error:
            # The turn goes on: what is not known of its author is denied then.
            log.error("waiting for a turn failed", turn_seq=seq, error=repr(error))
        finally:
            del self._admitting[seq]
            timer.cancel()
        if not self._draining.is_set():
            await self.take_place(seq)  # returns at once if the turn has its place

    async def _sleep_unless_draining(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._draining.wait()


class LocalRunner(TurnExecutor):
    """Queues and runs all turns of a database that no other process uses."""

    def __init__(self, database: Database, turns: int = MAX_WORKING_TURNS) -> None:
        super().__init__(database, turns)
        self._open = False
        """Turns may begin: the decisions that an earlier process left have run, or took too
        long."""
        self._early_decisions: set[int] = set()
        """Unfinished decisions of an earlier process that run now. A decision leaves the set once
        it only waits for its author or its platform."""
        self._early_decisions_done = asyncio.Event()
        self._queue = TurnQueue()
        self._decisions: list[int] = []
        """Decisions that have not begun, in order: `run` has no handler yet, or `drain` began."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._suspects: set[int] = set()
        self._known: set[int] = set()
        """Messages (`seq`) that are queued or under way, so that none is queued twice: `run` reads
        all unfinished ones from the database, and `accept` may have queued some of them."""
        self._turns: dict[str, int] = {}
        self._since: dict[int, tuple[float, Sender]] = {}
        """For each waiting turn: when its message was stored (seconds since 1970), and its
        sender."""

    def queue_sql(self, decision: bool) -> str:
        return "0"

    def request_stop(self, connection: SqlConnection, row: SqlRow) -> bool:
        return False

    def enqueue(self, seq: int, sender: Sender, decision: bool, since: float | None = None) -> int:
        """Queue a stored message, once. Return how many turns of its conversation come first.
        `since` is when it was stored (seconds since 1970), None for now. `decision`: it is a
        command such as `stop` or `approve ID`, which does not wait for turns."""
        if seq in self._known:  # `run` and `accept` may both have found it
            return 0
        self._known.add(seq)
        if decision:
            self._decisions.append(seq)
            self._start_decisions()  # it needs no place
            return 0
        before = self._queue.add(seq, sender)
        self._since[seq] = (time.time() if since is None else since, sender)
        metrics.queued.inc()
        self._start_turns()  # this one, if it is the next and a place is free
        return before

    async def run(self, handler: TurnHandler, platforms: Collection[str] = ()) -> None:
        """Take up what an earlier process left, then run each message in its turn until `drain`.

        Unfinished decisions (`stop`, `approve`) come before any turn, for at most
        DECISIONS_FIRST_SECONDS. Turns that crashed the process while they ran alone come after
        those that did not. Only messages of `platforms` are taken up; of all if empty.
        """
        # The maximum of `solo_crashes` orders whole conversations, so that each keeps the order of
        # its turns.
        unfinished = await self._database.read(
            lambda c: c.execute(
                "SELECT seq, conversation, channel, person, is_decision, created_at, attempt,"
                " max(solo_crashes) OVER (PARTITION BY conversation) AS solo_crashes FROM inbox"
                " WHERE state IN ('new', 'running', 'answered', 'posting')"
                " ORDER BY is_decision DESC, solo_crashes, seq"
            ).fetchall()
        )
        # These were under way when the process died, more than once. They run alone, one at a time,
        # to find the turn that ends its process.
        self._suspects = {
            row["seq"] for row in unfinished if row["attempt"] >= CRASHES_BEFORE_ALONE
        }
        # Messages that were accepted since the start are queued already. They come after older
        # ones, so the queue is built once more. `_since` has them (without decisions, which do not
        # wait): when each was stored, and its sender. `_known` would refuse to queue them again.
        early, self._since, self._queue = self._since, {}, TurnQueue()
        self._known -= early.keys()
        metrics.queued.dec(len(early))
        for row in unfinished:
            if not platforms or row["conversation"].split(":")[0] in platforms:
                sender = Sender(row["conversation"], row["channel"], row["person"])
                self.enqueue(row["seq"], sender, bool(row["is_decision"]), row["created_at"])
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
        # From here on, turns begin, and not only decisions.
        self._open = True
        self._start_turns()
        await self._draining.wait()

    async def running_turn(self, conversation: str) -> int | None:
        return self._turns.get(conversation)

    def _queue_age(self) -> float:
        if not self._since:
            return 0.0
        return max(0.0, time.time() - min(at for at, _ in self._since.values()))

    def _waiting_tasks(self) -> set[asyncio.Task[Any]]:
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
        """Called whenever a turn or a place may be free. Nothing starts before `_open`: decisions
        of an earlier process come first. `_suspects` run alone, because they may have crashed their
        process."""
        while self._open and not self._draining.is_set() and self.places.is_free:
            if (seq := self._queue.next()) is None:
                return
            _, sender = self._since.pop(seq)  # it waits no longer
            metrics.queued.dec()
            if seq not in self._suspects:
                self.places.begin(seq)  # takes a place; `run_turn_alone` does it for a suspect
            elif not self._one_alone.locked():
                # It is to run alone, but its task starts later. No other turn may begin until then.
                # While another such turn holds the lock, this one waits and shuts nothing.
                self.places.shut()
            self._turns[sender.conversation] = seq
            self._start(self._take_turn(seq, sender.conversation))

    async def _take_turn(self, seq: int, conversation: str) -> None:
        """The next turn of the conversation may begin only at its end."""
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
        """If the turn is a decision that an earlier process left, others no longer wait for it: it
        only waits for its platform."""
        super().leave_place(seq)
        self._end_early_decision(seq)
        self._start_turns()


def get_row(connection: SqlConnection, seq: int) -> SqlRow | None:
    row: SqlRow | None = connection.execute("SELECT * FROM inbox WHERE seq = ?", (seq,)).fetchone()
    return row


def begin_alone(connection: SqlConnection, seq: int) -> None:
    """Record that the turn runs alone, or give it up after too many crashes.

    The process has crashed CRASHES_BEFORE_ALONE times while this turn was under way beside others.
    Alone, a further crash shows that this turn causes it (MAX_CRASHES_ALONE). After some seconds
    others run beside it again and a crash is not blamed on it, so MAX_CRASHES limits all of them.

    A turn that is given up gets an apology as its answer: `refusal` makes its handler do nothing
    else. If an answer is stored already, or if the process also crashes MAX_CRASHES_ALONE times
    during the apology, the turn ends as undeliverable. The person learns of it in the next turn.
    """
    # `attempt` counts how often a process began the turn and did not put it back in good order.
    # `solo_crashes` counts its crashes alone.
    row = connection.read_locked_message(seq)
    if row is None or row["state"] in FINAL_STATES:
        return
    # Other turns that crashed their process alone since this message arrived: then the cause may be
    # outside, such as an operator who kills the process. So this turn gets more attempts.
    others = connection.execute(
        "SELECT 1 FROM inbox WHERE solo_crashes > 0 AND seq <> ? AND updated_at >= ? LIMIT 1",
        (seq, row["created_at"]),
    ).fetchone()
    limit = MAX_CRASHES_ALONE_WITH_OTHERS if others else MAX_CRASHES_ALONE
    crashes, refusal = row["solo_crashes"], row["refusal"]
    if crashes >= limit or row["attempt"] >= MAX_CRASHES:
        if row["state"] in ("answered", "posting") or crashes >= limit + MAX_CRASHES_ALONE:
            connection.execute(
                "UPDATE inbox SET state = 'undeliverable', reason = ?, updated_at = ?"
                " WHERE seq = ?",
                (CRASHED_REASON, time.time(), seq),
            )
            return
        # The apology names the number of attempts.
        refusal = f"{CRASHED_REASON}:{row['attempt']}"
    # This run is counted in advance. `end_alone` takes it back if the process survives.
    sql = "UPDATE inbox SET solo_crashes = solo_crashes + 1, refusal = ? WHERE seq = ?"
    connection.execute(sql, (refusal, seq))


def end_alone(connection: SqlConnection, seq: int) -> None:
    connection.execute(
        "UPDATE inbox SET solo_crashes = solo_crashes - 1 WHERE seq = ? AND solo_crashes > 0",
        (seq,),
    )
