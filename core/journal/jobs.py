"""Each turn is a job of Procrastinate.

A message's job holds the lock of its conversation, so a conversation has one turn at a time. A
decision's job has no lock, and workers of its own. A message that may begin gets its job in the
transaction that stores it. Any other message gets its job when an earlier turn ends
(core/journal/shared_functions.py).

Related modules are procrastinate_adapter.py (Procrastinate itself) and core/store/processes.py
(signs of life and roles of processes, and notifications).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import structlog

from core.base.errors import NotStored
from core.base.i18n import say
from core.base.tasks import RECANCEL_SECONDS, BackgroundTasks, cancel_all
from core.domain.messages import Progress, decode_json, encode_json
from core.domain.ports import TurnHandler
from core.domain.records import Health
from core.journal.kernels import KernelRows, SharedKernelRows
from core.journal.procrastinate_adapter import QueueWorkers
from core.journal.takeover import (
    ALONE_PRIORITY,
    REFUSED_PRIORITY,
    STALLED_TURNS_SQL,
    delete_leftovers,
    hand_over,
    postpone_turn,
    put_back_unhandled,
    return_stranded,
    take_over,
)
from core.journal.turn_queue import Places, Sender
from core.journal.turn_rows import OPEN_STATE_LIST
from core.journal.turn_runner import TurnExecutor
from core.store import processes
from core.store.database import (
    Database,
    SqlConnection,
    SqlRow,
    SqlStore,
    query,
    select_value,
    select_values,
    transaction,
)
from core.store.postgres import PostgresDatabase
from core.store.processes import Notifications, OwnProcess, notify, read_cluster
from core.store.remembered import RememberedState, SharedRememberedState

log = structlog.get_logger("jobs")
T = TypeVar("T")
MAX_WORKER_TURNS, MAX_WORKER_DECISIONS = 100, 20
MAX_WRITE_SECONDS = 60.0
"""Seconds that a process which drains waits for the turns that outlive their cancellation."""
ADMISSION_WAIT_SECONDS = 0.3
RECHECK_SECONDS = 5.0
"""Seconds between two looks at the rows, because a notification may be lost."""
DECISION_QUEUE_SUFFIX = "!"
TURNS_TO_STOP_SQL = (
    "SELECT seq FROM inbox WHERE owner = ? AND is_stop_requested = 1"  # noqa: S608
    f" AND state IN {OPEN_STATE_LIST}"
)
TAKEN_TURN_SQL = (
    f"SELECT 1 FROM inbox WHERE seq = ? AND NOT (owner IN ('', ?) AND state IN {OPEN_STATE_LIST})"  # noqa: S608
)
"""Selects a row if another process has the turn, or if the turn has ended."""


class PutBack(Exception):
    """Raised in the job of a turn that has not ended when this process stops. Procrastinate then
    puts the job back, and another process takes the turn up."""


class Jobs(TurnExecutor):
    """Turns are jobs in the queue of a shared Postgres database, from which each process fetches
    jobs."""

    is_shared = True
    recheck = RECHECK_SECONDS

    def __init__(
        self,
        url: str,
        database: PostgresDatabase,
        *,
        takes: bool = True,  # receives the platforms' events
        works: bool = True,  # runs turns
        process: str = "",
    ) -> None:
        super().__init__(database, MAX_WORKER_TURNS)
        self.process = process or secrets.token_hex(8)
        self.pace = SharedPace(database)
        self.own = OwnProcess(database, self.process, takes=takes, works=works)
        self.notifications = Notifications(url, database)
        # A turn has ended in some process: wake those who wait for its answer here.
        self.notifications.on("ended", lambda seq: self.wake(int(seq)))
        self.notifications.on("stop", self._on_stop)  # a person stopped a turn in some process
        self.workers = QueueWorkers(url, self.process, self._run_job, self._wait_for_room)
        self._works = works
        self._decision_places = Places(MAX_WORKER_DECISIONS)
        """Decisions have places of their own, so that they never wait for turns."""
        self._has_kernels = False
        self._side_tasks = BackgroundTasks("jobs")
        # Other parts call these on this object. They do not know the objects that do the work.
        self.is_alive, self.lead = self.own.is_alive, self.own.lead
        self.on, self.notify = self.notifications.on, self.notifications.send
        self._worker_tasks: list[asyncio.Task[None]] = []

    @property
    def runner(self) -> Jobs:
        return self

    @property
    def claims(self) -> tuple[str, Callable[[], bool]]:
        return self.process, self.is_alive

    def at_work(self, platforms: Collection[str]) -> None:
        """Other processes run turns too, so those of any platform may be running."""

    async def read_clock(self, local_time: float) -> float:
        """The processes that share the database may have different clocks."""
        sql = "SELECT extract(epoch FROM clock_timestamp()) AS now"
        row = await self._database.read(lambda c: c.execute(sql).fetchone(), single=True)
        return float(row["now"])

    async def health(self) -> Health:
        """The health of the database and of all processes on it, for the status page."""
        # Seconds since this process last wrote a sign of life. After a lease without one, others
        # count it as dead. Then a question to the database would only wait, too.
        silent = self.own.seconds_silent
        if silent > processes.LEASE_SECONDS:
            sentence = say("Postgres hasn't responded for {age} s", age=round(silent))
            return Health("database", "failing", sentence)
        try:
            status = await self._database.read(read_cluster)
        except NotStored as error:
            return Health("database", "failing", error.words())
        disconnected = self.notifications.seconds_disconnected
        if disconnected > processes.BEAT_SECONDS:
            sentence = say(
                "This process has received no notifications for {age} s, so stop requests and "
                "progress updates arrive late. It keeps trying to reconnect. The reason is in "
                "its log.",
                age=round(disconnected),
            )
            return Health("database", "failing", f"Postgres; {sentence}; {status.words}")
        return Health("database", "on", f"Postgres; {status.words}")

    def remembered_state(self, name: str, data: Callable[[], object]) -> RememberedState:
        """`data` is called for the present state whenever it is stored."""
        return SharedRememberedState(self._database, name, data)

    def kernel_places(self) -> SharedKernelRows:
        """From now on a turn runs in the process that has its conversation's kernel, where Python's
        variables are."""
        self._has_kernels = True
        return SharedKernelRows(self._database, self.process, self.notify)

    @transaction
    def save_progress(self, connection: SqlConnection, turn: str, progress: Progress) -> None:
        """Store what a turn has written so far, and notify every process, because a reader may be
        connected to another one."""
        connection.execute(
            "INSERT INTO progress (turn, progress, updated_at)"
            " VALUES (?, ?, extract(epoch FROM now())) ON CONFLICT (turn)"
            " DO UPDATE SET progress = excluded.progress,"
            " updated_at = excluded.updated_at",
            (turn, encode_json(progress)),
        )
        notify(connection, "progress", turn)

    @query
    def read_progress(self, connection: SqlConnection, turn: str) -> Progress | None:
        progress = select_value(connection, "SELECT progress FROM progress WHERE turn = ?", turn)
        return decode_json(Progress, progress) if progress else None

    async def start(self) -> None:
        """Wait at most LEASE_SECONDS for the connection that receives notifications. Without it,
        Ponte starts all the same, because rows are also read from time to time. Raise NotStored if
        the first sign of life fails."""
        await self._beat()
        self._side_tasks.start(self._keep_beating())
        self._side_tasks.start(self.notifications.run(self._wake_all))
        with suppress(TimeoutError):
            async with asyncio.timeout(processes.LEASE_SECONDS):
                await self.notifications.connected.wait()

    def queue_sql(self, decision: bool) -> str:
        """Return an SQL expression over a row of the inbox that was just stored, for the same
        statement. It gives the message its job if it may begin, and a decision (`stop`, `approve`)
        always. Its value is the number of turns that come first in the conversation."""
        if decision:
            # `refusal` is set if a rate limit refuses the message. Its answer comes after decisions
            # of people. NULL: the queue of the platform's decisions.
            priority = f"CASE refusal WHEN '' THEN 0 ELSE {REFUSED_PRIORITY} END"
            # `ponte_defer` returns nothing. The outer CASE makes the number 0 of it.
            return f"CASE WHEN ponte_defer(seq, NULL, {priority}) IS NULL THEN 0 ELSE 0 END"
        return "ponte_line_up(seq)"

    def enqueue(self, seq: int, sender: Sender, decision: bool) -> int:
        """Nothing is left to do: `queue_sql` has queued the message in the transaction that stored
        it."""
        return 0

    def leave_place(self, seq: int) -> None:
        super().leave_place(seq)
        self._decision_places.leave(seq)

    async def take_place(self, seq: int) -> None:
        await super().take_place(seq)
        await self._decision_places.come_back(seq)

    def request_stop(self, connection: SqlConnection, row: SqlRow) -> bool:
        """Runs in the caller's transaction."""
        connection.execute("UPDATE inbox SET is_stop_requested = 1 WHERE seq = ?", (row["seq"],))
        notify(connection, "stop", row["seq"])
        return True

    @query
    def running_turn(self, connection: SqlConnection, conversation: str) -> int | None:
        """Return the `seq` of the turn that any process runs in that conversation, None if none
        runs."""
        seq: int | None = select_value(
            connection,
            "SELECT seq FROM inbox WHERE conversation = ? AND is_decision = 0"
            " AND state IN ('running', 'answered', 'posting') ORDER BY seq LIMIT 1",
            conversation,
        )
        return seq

    async def run(self, handler: TurnHandler, platforms: Collection[str] = ()) -> None:
        """Run the turns of these platforms (all if empty), until `drain`. A process that runs no
        turns only takes stalled turns over and tidies the queue.

        One worker fetches turns and another one decisions (`stop`, `approve`), which have queues of
        their own, so that they never wait for turns.
        """
        self._handler = handler
        await self.workers.open()
        self._side_tasks.start(self._keep_sweeping())
        if self._works:
            for suffix in ("", DECISION_QUEUE_SUFFIX):
                # Without names, None: the worker fetches jobs of all queues.
                queues = [f"{platform}{suffix}" for platform in platforms] or None
                if queues and not suffix:  # the queue of turns that other processes hand over
                    queues.append(f"@{self.process}")
                # The lease says when Procrastinate deletes the row of a worker without heartbeats.
                work = self.workers.run(queues, self._draining, processes.LEASE_SECONDS)
                self._worker_tasks.append(asyncio.create_task(work))
        await self._draining.wait()

    async def drain(self, grace: float) -> None:
        """Stop this process: fetch no more jobs, and let turns finish for `grace` seconds. Put the
        others back into the queue, and remove this process's row, so that others take them at
        once."""
        self._draining.set()
        # A cancelled worker fetches no more jobs, and waits for its running ones.
        for task in self._worker_tasks:
            task.cancel()
        await super().drain(grace)
        # `super().drain` has cancelled the handlers of turns; one that still runs may write. A
        # write is never cancelled. Until it has ended, this process counts as alive, so that no
        # other one makes the write again.
        if writing := self._handlers():
            await asyncio.wait(writing, timeout=MAX_WRITE_SECONDS)
        if self._worker_tasks:  # they record the ends of their jobs, or are cancelled again below
            await asyncio.wait(self._worker_tasks, timeout=RECANCEL_SECONDS)
        await cancel_all(self._worker_tasks)
        await self._side_tasks.close()
        await self.workers.close()
        with suppress(NotStored):
            await self._leave()

    @transaction
    def _leave(self, connection: SqlConnection) -> None:
        connection.execute("DELETE FROM processes WHERE id = ?", (self.process,))
        return_stranded(connection)

    def _waiting_tasks(self) -> set[asyncio.Task[Any]]:
        return set(self._worker_tasks)

    async def _run_job(self, seq: int, queue: str, priority: int) -> None:
        """The turn may be handed to another process or postponed instead, each with a new job; then
        this job ends.

        ALONE_PRIORITY marks a turn that is suspected to crash its process, and runs alone. Raise
        PutBack if this process stops before the turn has ended: Procrastinate then puts the job
        back.
        """
        if seq in self._current:
            self.workers.messages.pop(seq, None)  # its message (JSON), which came with the job
            return  # this process seemed dead, so another one gave the turn a second job
        places = self._places_of(queue)
        if priority != ALONE_PRIORITY:  # `run_turn_alone` takes a place once no other turn runs
            places.begin(seq)
        try:
            # This process can run kernels, and at the last fetch some process may have had one.
            if self._has_kernels and self.workers.has_kernels:
                # The turn goes to the process that has its conversation's kernel, if there is one.
                # Nothing of it was attempted here.
                holder = ""
                with suppress(NotStored):
                    holder = await self._database.write(
                        lambda connection: hand_over(connection, seq, priority, self.process)
                    )
                if holder:
                    log.info("handed a turn to another process", turn_seq=seq, process=holder)
                    return
            if not await self._is_admitted(seq, priority):
                return
            if not await (
                self.run_turn_alone(seq) if priority == ALONE_PRIORITY else self.run_turn(seq)
            ):
                # False: this process stops. The queue then gives the turn to another process.
                raise PutBack
        finally:
            # Does something only if no handler ran, because a drain came first or the turn was
            # postponed. If the database fails, the sweep of another process finds the turn.
            with suppress(NotStored):
                await self._put_back(seq)
            places.end(seq)

    async def _put_back(self, seq: int) -> None:
        """Make a turn "new" again that began with its fetch, if no handler has taken it up. Its
        message is dropped: it may be edited from now on."""
        self.workers.messages.pop(seq, None)
        if self.workers.begun.pop(seq, None):
            await self._database.write(partial(put_back_unhandled, seq=seq, owner=self.process))

    def fetched_message(self, seq: int) -> tuple[str, float] | None:
        """None: it must be read from the database."""
        return self.workers.messages.get(seq)

    def take_begun(self, seq: int) -> Mapping[str, Any] | None:
        """A second call returns None, as for any turn that the journal must begin itself."""
        return self.workers.begun.pop(seq, None)

    def note_end(self, seq: int) -> None:
        """A database trigger then deleted the turn's job, so that Procrastinate need not end it."""
        if seq in self._current:
            self.workers.ended.add(seq)

    def _places_of(self, queue: str) -> Places:
        return self._decision_places if queue.endswith(DECISION_QUEUE_SUFFIX) else self.places

    async def _wait_for_room(self, queues: Iterable[str] | None) -> bool:
        """Return False if a drain came first. A worker has queues of turns or of decisions, never
        both, so the first one tells which places count. None means all queues, of a process without
        named platforms."""
        # The places limit how many turns, or how many decisions, run in this process at once.
        places = self._places_of(next(iter(queues), "") if queues else "")
        if not places.is_free:
            waits = [
                asyncio.ensure_future(places.wait_until_free()),
                asyncio.ensure_future(self._draining.wait()),
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await cancel_all(waits)
        return not self._draining.is_set()

    async def _wait_until_admitted(self, seq: int) -> None:
        """`_is_admitted` asks before the turn begins, because one that must wait goes back to the
        queue."""

    async def _is_admitted(self, seq: int, priority: int) -> bool:
        """Return whether the turn may begin now. It may once the platform has told who its author
        is. A turn that may not gets a new job, due a moment later, and gives up its place.

        `admit` answers that within the given seconds; without one, each turn may begin. The first
        question waits for nothing (0.0 seconds): most authors are known.
        """
        if self.admit is None:
            return True
        try:
            if await self.admit(seq, 0.0):
                return True
            # If the turn began with the fetch of its job, it becomes "new" again: its message may
            # be edited or withdrawn while its author is looked up.
            await self._put_back(seq)
            if await self.admit(seq, ADMISSION_WAIT_SECONDS):
                return True
            # `postpone_turn` returns False if the turn has ended. Its job may then run and end.
            return not await self._database.write(
                lambda connection: postpone_turn(connection, seq, priority, time.time())
            )
        except NotStored:
            # Without the database nothing can be postponed; the turn itself checks rights again.
            return True

    async def _keep_beating(self) -> None:
        """Without the database, go on: it may come back before others count this process as
        dead."""
        while True:
            await asyncio.sleep(processes.BEAT_SECONDS)
            try:
                await self._beat()
            except NotStored as error:
                log.warning("could not send a heartbeat", error=str(error))

    async def _beat(self) -> None:
        """Write a sign of life for the other processes. Cancel turns that somebody stopped, or that
        another process has taken over. `own` knows when this process gave its last
        sign (`seen_at`), and whether it still counts as alive."""
        # Measured before the write, so that this process never believes itself alive longer than
        # the others do.
        began = time.monotonic()
        # After a long silence, other processes may have taken over turns of this one.
        doubtful = [] if self.own.is_alive() else list(self._current)
        turns_to_stop, turns_elsewhere = await self._write_sign_of_life(doubtful)
        for seq in turns_elsewhere:
            log.warning("another process took over a turn", turn_seq=seq)
            self.stop_taken_over(seq)
        for seq in turns_to_stop:  # usually a notification has stopped them already
            self.cancel(seq)
        self.own.seen_at = began  # from which `is_alive` counts
        await self.own.export_metrics()

    @transaction
    def _write_sign_of_life(
        self, connection: SqlConnection, doubtful: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        """Return the turns (`seq`) of this process that somebody stopped, and those of `doubtful`
        that have ended or that another process has taken over. `doubtful` has all turns that run
        here if other processes may count this one as dead; otherwise it is empty."""
        self.own.write_sign_of_life(connection)
        self.workers.write_sign_of_life(connection)
        turns_to_stop = select_values(connection, TURNS_TO_STOP_SQL, self.process)
        return turns_to_stop, [
            seq for seq in doubtful if select_values(connection, TAKEN_TURN_SQL, seq, self.process)
        ]

    async def _keep_sweeping(self) -> None:
        while True:
            try:
                await self.sweep()
            except NotStored as error:
                log.warning("could not look for turns of dead processes", error=str(error))
            await asyncio.sleep(RECHECK_SECONDS)

    async def sweep(self) -> None:
        """Give new jobs to turns whose process died, delete what dead processes left, and drop jobs
        that this process holds without running them. Raise NotStored."""
        for seq in await self._select(STALLED_TURNS_SQL, processes.LEASE_SECONDS):
            if await self._database.write(partial(take_over, seq=seq)):
                log.info("took over a turn of a dead process", turn_seq=seq)
        await self._database.write(delete_leftovers)
        self.workers.idle = await self._database.write(
            lambda connection: self.workers.drop_idle(connection, self._current)
        )

    def _wake_all(self) -> None:
        # Called after each connect, because a notification may have been lost before.
        for seq in list(self._end_events):
            self.wake(seq)

    async def _on_stop(self, id: str) -> None:
        # The notification alone is not enough: any role that may connect to the database can send
        # one.
        if await self._select(f"{TURNS_TO_STOP_SQL} AND seq = ?", self.process, int(id)):
            self.cancel(int(id))


class SharedPace(SqlStore):
    """Keeps the rate limits of platforms across all processes: a table has the time at which the
    next call of each kind may be made."""

    @transaction
    def run(
        self,
        connection: SqlConnection,
        names: Sequence[str],
        work: Callable[[Sequence[float], float], tuple[Sequence[float], T]],
    ) -> T:
        """Read and change the due times of the kinds of calls in `names`. `work` gets the due
        times, in the order of `names`, and the database's time, in seconds. It returns the new due
        times, in this order, and the result of this call. The rows are locked while it runs, so two
        processes never plan the same moment."""
        due, now = dict[str, float](), 0.0
        for name in sorted(names):  # all processes lock in this order, so none can deadlock
            # An UPDATE that changes nothing creates the row if necessary and locks it.
            row = connection.execute(
                "INSERT INTO paces (name, due_at) VALUES (?, 0)"
                " ON CONFLICT (name) DO UPDATE SET due_at = paces.due_at"
                " RETURNING due_at, extract(epoch FROM clock_timestamp()) AS now",
                (name,),
            ).fetchone()
            # clock_timestamp() is the time at which the row was locked, not that of BEGIN.
            due[name], now = row["due_at"], float(row["now"])
        new_due, result = work([due[name] for name in names], now)
        for name, at in zip(names, new_due, strict=True):
            if at != due[name]:
                connection.execute("UPDATE paces SET due_at = ? WHERE name = ?", (at, name))
        return result


class Alone:
    """The `Peers` of a process that shares its database with no other process. Has the methods of
    `Jobs` that other parts call, which here have little or nothing to do."""

    is_shared = False
    pace: SharedPace | None = None
    """None: the process paces its own calls."""
    runner: Jobs | None = None
    """None: the inbox runs the turns in this process."""
    claims: tuple[()] = ()
    note_end: Callable[[int], None] | None = None
    take_begun: Callable[[int], Mapping[str, Any] | None] | None = None

    def __init__(self, database: Database | None = None) -> None:
        self._database = database

    def at_work(self, platforms: Collection[str]) -> frozenset[str] | None:
        return frozenset(platforms)

    async def read_clock(self, local_time: float) -> float:
        return local_time

    def kernel_places(self) -> KernelRows:
        return KernelRows(self._database)

    def remembered_state(self, name: str, data: Callable[[], object]) -> RememberedState:
        return RememberedState(self._database, name, data)

    async def lead(self, role: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await work()

    async def notify(self, word: str, id: str) -> None:
        """Do nothing: there is no other process to notify."""

    def on(self, word: str, handler: Callable[[str], Awaitable[None]]) -> None:
        """Do nothing with the handler: no other process sends notifications."""

    async def sweep(self) -> None:
        """Do nothing: there is no other process that could die and leave turns behind."""

    async def drain(self, grace: float) -> None:
        """Do nothing at the end of the process: the inbox itself ends the turns that run here."""

    async def save_progress(self, turn: str, progress: Progress) -> None:
        """Do nothing with the progress of a turn: no other process reads it."""

    async def read_progress(self, turn: str) -> Progress | None:
        return None


Peers = Alone | Jobs
