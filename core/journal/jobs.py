"""Runs the turns of a database that several processes share. Each turn is a job of Procrastinate.

A message's job holds the lock of its conversation, so a conversation has one turn at a time. A
decision's job has no lock, and workers of its own. A message that may begin gets its job in the
transaction that stores it. Any other message gets its job when an earlier turn ends
(core/journal/queue_functions.py). A job carries the message's `seq`.

Related modules are procrastinate_adapter.py (Procrastinate itself), processes.py (signs of life and
roles of processes), stalled_turns.py (turns whose process died) and notifications.py.
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
from core.domain.conversation_ports import TurnHandler
from core.domain.messages import Progress, decode_json, encode_json
from core.domain.records import Health
from core.journal.kernels import SharedKernelRows
from core.journal.places import Places, Sender
from core.journal.procrastinate_adapter import QueueWorkers
from core.journal.stalled_turns import (
    ALONE_PRIORITY,
    REFUSED_PRIORITY,
    delete_leftovers,
    find_stalled,
    hand_over,
    postpone,
    put_back_unhandled,
    return_stranded,
    take_over,
)
from core.journal.tables import OPEN_STATE_LIST
from core.journal.turn_runner import TurnExecutor
from core.store import processes
from core.store.database import (
    SqlConnection,
    SqlRow,
    SqlStore,
    query,
    select_value,
    select_values,
    transaction,
)
from core.store.notifications import Notifications, notify
from core.store.postgres import PostgresDatabase
from core.store.processes import OwnProcess, read_cluster
from core.store.remembered import RememberedState, SharedRememberedState

log = structlog.get_logger("jobs")
T = TypeVar("T")
MAX_WORKER_TURNS, MAX_WORKER_DECISIONS = 100, 20
"""How many turns, and how many decisions, may work in one process at the same time."""
ADMISSION_WAIT_SECONDS = 0.3
"""Seconds that a worker keeps a place for a turn whose author the platform has not reported yet."""
RECHECK_SECONDS = 5.0
"""Seconds between two looks at the rows, because a notification may be lost."""
DECISION_QUEUE_SUFFIX = "!"
"""The end of the name of a queue of decisions."""
TURNS_TO_STOP_SQL = (
    "SELECT seq FROM inbox WHERE owner = ? AND is_stop_requested = 1"  # noqa: S608
    f" AND state IN {OPEN_STATE_LIST}"
)
"""Selects the open turns of a process that somebody has stopped."""
TAKEN_TURN_SQL = (
    f"SELECT 1 FROM inbox WHERE seq = ? AND NOT (owner IN ('', ?) AND state IN {OPEN_STATE_LIST})"  # noqa: S608
)
"""Selects a row if another process has the turn, or if the turn has ended."""


class PutBack(Exception):
    """Raised when a drain comes before the turn's end. Procrastinate then puts the job back, and
    another process takes the turn up."""


class Jobs(TurnExecutor):
    """Runs turns in one of several processes on one database. `process` is the id of this process.
    If `takes`, it takes events in; if `works`, it runs turns."""

    is_shared = True
    recheck = RECHECK_SECONDS
    """Seconds after which a caller that waits for a turn's end reads the row again."""

    def __init__(
        self,
        url: str,
        database: PostgresDatabase,
        *,
        takes: bool = True,
        works: bool = True,
        process: str = "",
    ) -> None:
        super().__init__(database, MAX_WORKER_TURNS)
        self.process = process or secrets.token_hex(8)
        self.pace = SharedPace(database)
        self.own = OwnProcess(database, self.process, takes=takes, works=works)
        self.notifications = Notifications(url, database)
        self.notifications.on("ended", lambda seq: self.wake(int(seq)))
        self.notifications.on("stop", self._on_stop)
        self.workers = QueueWorkers(url, self.process, self._run_job, self._wait_for_room)
        self._works = works
        self._decision_places = Places(MAX_WORKER_DECISIONS)
        self._has_kernels = False
        self._side_tasks = BackgroundTasks("jobs")
        self._worker_tasks: list[asyncio.Task[None]] = []

    def is_alive(self) -> bool:
        """Return whether this process wrote its last sign of life so recently that no other process
        counts it as dead."""
        return self.own.is_alive()

    def on(self, word: str, handler: Callable[[str], Awaitable[None]]) -> None:
        """Call `handler` with the id of every notification that begins with `word`."""
        self.notifications.on(word, handler)

    async def notify(self, word: str, id: str) -> None:
        """Notify every process, this one too. A notification may be lost, so what must not be
        missed is also stored in a table. Raise NotStored."""
        await self.notifications.send(word, id)

    async def lead(self, role: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work` while this process has the role's lease (`OwnProcess.lead`)."""
        await self.own.lead(role, work)

    async def health(self) -> Health:
        """Return the health of the database and of all processes on it."""
        silent = self.own.seconds_silent
        if silent > processes.LEASE_SECONDS:
            words = say("Postgres has not responded for {age} s", age=round(silent))
            return Health("database", "failing", words)
        try:
            status = await self._database.read(read_cluster)
        except NotStored as error:
            return Health("database", "failing", error.words())
        disconnected = self.notifications.seconds_disconnected
        if disconnected > processes.BEAT_SECONDS:
            words = say(
                "this process has received no notifications for {age} s, so stops and "
                "progress are delayed. It keeps reconnecting; the reason is in its log",
                age=round(disconnected),
            )
            return Health("database", "failing", f"Postgres; {words}; {status.words}")
        return Health("database", "on", f"Postgres; {status.words}")

    def remembered_state(self, name: str, data: Callable[[], object]) -> RememberedState:
        """Return the state that the row `name` keeps over restarts. `data` returns what the row is
        to hold."""
        return SharedRememberedState(self._database, name, data)

    def kernel_places(self) -> SharedKernelRows:
        """Return the rows that record which process has which kernel. From now on a turn runs in
        the process that has its conversation's kernel."""
        self._has_kernels = True
        return SharedKernelRows(self._database, self.process, self.notify)

    @transaction
    def save_progress(self, connection: SqlConnection, turn: str, progress: Progress) -> None:
        """Store the progress of a turn, and notify every process of it."""
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
        """Return the last stored progress of a turn, None if there is none."""
        stored = select_value(connection, "SELECT progress FROM progress WHERE turn = ?", turn)
        return decode_json(Progress, stored) if stored else None

    async def start(self) -> None:
        """Begin to write signs of life and to receive notifications. Wait at most LEASE_SECONDS for
        the connection. Raise NotStored."""
        await self._beat()
        self._side_tasks.start(self._keep_beating())
        self._side_tasks.start(self.notifications.run(self._wake_all))
        with suppress(TimeoutError):
            async with asyncio.timeout(processes.LEASE_SECONDS):
                await self.notifications.connected.wait()

    def line_up_sql(self, decision: bool) -> str:
        """Return an SQL expression over a row of the inbox that was just stored. It gives the
        message its job if it may begin, and a decision always. Its value is the number of turns
        that come first in the conversation."""
        if decision:
            refused = f"CASE refusal WHEN '' THEN 0 ELSE {REFUSED_PRIORITY} END"
            return f"CASE WHEN ponte_defer(seq, NULL, {refused}) IS NULL THEN 0 ELSE 0 END"
        return "ponte_line_up(seq)"

    def enqueue(self, seq: int, sender: Sender, decision: bool) -> int:
        """Return 0. `line_up_sql` has already queued the message."""
        return 0

    def leave_place(self, seq: int) -> None:
        """Give the turn's or the decision's place to another one."""
        super().leave_place(seq)
        self._decision_places.leave(seq)

    async def take_place(self, seq: int) -> None:
        """Wait for a place again after `leave_place`."""
        await super().take_place(seq)
        await self._decision_places.come_back(seq)

    def request_stop(self, connection: SqlConnection, row: SqlRow) -> bool:
        """Record that the turn is to stop, and notify the process that runs it. Return True. Runs
        in a transaction."""
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

    async def run(self, handler: TurnHandler, platforms: Collection[str]) -> None:
        """Run the turns of these platforms (all if empty) with `handler`, until `drain`. Without
        `works`, only take stalled turns over and tidy the queue."""
        self._handler = handler
        await self.workers.open()
        self._side_tasks.start(self._keep_sweeping())
        if self._works:
            for suffix in ("", DECISION_QUEUE_SUFFIX):
                queues = [f"{platform}{suffix}" for platform in platforms] or None
                if queues and not suffix:
                    queues.append(f"@{self.process}")
                work = self.workers.run(queues, self._draining, processes.LEASE_SECONDS)
                self._worker_tasks.append(asyncio.create_task(work))
        await self._draining.wait()

    async def drain(self, grace: float) -> None:
        """Fetch no more jobs, and let turns finish for `grace` seconds. Put the others back, and
        remove this process's row."""
        self._draining.set()
        for task in self._worker_tasks:
            task.cancel()
        await super().drain(grace)
        if self._worker_tasks:
            await asyncio.wait(self._worker_tasks, timeout=RECANCEL_SECONDS)
        await cancel_all(self._worker_tasks)
        await self._side_tasks.close()
        await self.workers.close()
        with suppress(NotStored):
            await self._leave()

    @transaction
    def _leave(self, connection: SqlConnection) -> None:
        """Remove this process's row, and return turns that only it could run to the queue."""
        connection.execute("DELETE FROM processes WHERE id = ?", (self.process,))
        return_stranded(connection)

    def _waiting_tasks(self) -> set[asyncio.Task[None]]:
        return set(self._worker_tasks)

    async def _run_job(self, seq: int, queue: str, priority: int) -> None:
        """Run the turn of a job. Raise PutBack if a drain came first."""
        if seq in self._current:
            self.workers.messages.pop(seq, None)
            return  # this process seemed dead, so another one gave the turn a second job
        places = self._places_of(queue)
        if priority != ALONE_PRIORITY:
            places.begin(seq)
        try:
            may_have_kernel = self._has_kernels and self.workers.has_kernels
            if may_have_kernel and await self._hand_over(seq, priority):
                return
            if not await self._is_admitted(seq, priority):
                return
            if not await (
                self.run_turn_alone(seq) if priority == ALONE_PRIORITY else self.run_turn(seq)
            ):
                raise PutBack
        finally:
            with suppress(NotStored):
                await self._put_back(seq)  # where a drain came before the turn's handler
            places.end(seq)

    async def _put_back(self, seq: int) -> None:
        """Return a turn to the queue that began when this process fetched it, if nothing of it was
        done. From then on its message is read from the database."""
        self.workers.messages.pop(seq, None)
        if self.workers.begun.pop(seq, None):
            await self._database.write(partial(put_back_unhandled, seq=seq, owner=self.process))

    def fetched_message(self, seq: int) -> tuple[str, float] | None:
        """Return the message of a turn that this process has fetched and that had not begun."""
        return self.workers.messages.get(seq)

    def take_begun(self, seq: int) -> Mapping[str, Any] | None:
        """Return what the journal needs of a turn that began when this process fetched it, once.
        Return None if the journal must begin it."""
        return self.workers.begun.pop(seq, None)

    def note_end(self, seq: int) -> None:
        """Note that this process ended the turn, and with it the turn's job."""
        if seq in self._current:
            self.workers.ended.add(seq)

    def _places_of(self, queue: str) -> Places:
        return self._decision_places if queue.endswith(DECISION_QUEUE_SUFFIX) else self.places

    async def _wait_for_room(self, queues: Iterable[str] | None) -> bool:
        """Wait until a job of these queues may begin here. Return False if a drain came first."""
        places = self._places_of(next(iter(queues), "") if queues else "")
        if not places.is_free:
            waits = [asyncio.ensure_future(places.wait_until_free()),
                     asyncio.ensure_future(self._draining.wait())]  # fmt: skip
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await cancel_all(waits)
        return not self._draining.is_set()

    async def _wait_until_admitted(self, seq: int) -> None:
        """Do nothing: `_is_admitted` asked before the turn was taken up."""

    async def _is_admitted(self, seq: int, priority: int) -> bool:
        """Return whether the turn may begin now. A turn that may not gets a new job, due a moment
        later, and gives up its place."""
        if self.admit is None:
            return True
        try:
            if await self.admit(seq, 0.0):
                return True
            # A message may be edited or withdrawn while its author is looked up: it has not begun.
            await self._put_back(seq)
            if await self.admit(seq, ADMISSION_WAIT_SECONDS):
                return True
            return not await self._database.write(
                lambda connection: postpone(connection, seq, priority, time.time())
            )
        except NotStored:
            return True

    async def _hand_over(self, seq: int, priority: int) -> bool:
        """Give the turn to the process that has its conversation's kernel. Return whether there is
        one. Nothing of the turn was attempted here."""
        try:
            holder = await self._database.write(
                lambda connection: hand_over(connection, seq, priority, self.process)
            )
        except NotStored:
            return False
        if holder:
            log.info("handed a turn to another process", turn_seq=seq, process=holder)
        return bool(holder)

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(processes.BEAT_SECONDS)
            try:
                await self._beat()
            except NotStored as error:
                log.warning("could not send a heartbeat", error=str(error))

    async def _beat(self) -> None:
        """Write a sign of life. Cancel turns that somebody stopped, or that another process has
        taken over."""
        began = time.monotonic()
        # After a long silence, other processes may have taken over turns of this one.
        doubtful = [] if self.own.is_alive() else list(self._current)
        stopped, lost = await self._write_sign_of_life(doubtful)
        for seq in lost:
            log.warning("another process took over a turn", turn_seq=seq)
            self.stop_taken_over(seq)
        for seq in stopped:
            self.cancel(seq)
        self.own.seen_at = began
        await self.own.export_metrics()

    @transaction
    def _write_sign_of_life(
        self, connection: SqlConnection, doubtful: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        """Write a sign of life. Return the turns of this process that somebody stopped, and those
        of `doubtful` that another process has taken over."""
        self.own.write_sign_of_life(connection)
        self.workers.write_sign_of_life(connection)
        stopped = select_values(connection, TURNS_TO_STOP_SQL, self.process)
        return stopped, [
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
        """Give new jobs to turns whose process died, and tidy the queue. Raise NotStored."""
        for seq in await self._database.read(find_stalled):
            if await self._database.write(partial(take_over, seq=seq)):
                log.info("took over a turn of a dead process", turn_seq=seq)
        await self._database.write(delete_leftovers)
        self.workers.idle = await self._database.write(
            lambda connection: self.workers.drop_idle(connection, self._current)
        )

    def _wake_all(self) -> None:
        """Wake every caller that waits for the end of a turn, because its notification may be
        lost."""
        for seq in list(self._end_events):
            self.wake(seq)

    async def _on_stop(self, id: str) -> None:
        """Stop the turn if its row says so. The notification alone is not enough: any role that may
        connect to the database can send one."""
        if await self._select(f"{TURNS_TO_STOP_SQL} AND seq = ?", self.process, int(id)):
            self.cancel(int(id))


class SharedPace(SqlStore):
    """Schedules calls across all processes, with a due time for each kind of call."""

    @transaction
    def run(
        self,
        connection: SqlConnection,
        names: Sequence[str],
        work: Callable[[Sequence[float], float], tuple[Sequence[float], T]],
    ) -> T:
        """Read and change the due times of the kinds of calls in `names`, in one transaction.

        `work` gets the due times, in the order of `names`, and the database's time, in seconds. It
        returns the new due times and the result. The rows are locked while it runs.
        """
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
        kept, result = work([due[name] for name in names], now)
        for name, at in zip(names, kept, strict=True):
            if at != due[name]:
                connection.execute("UPDATE paces SET due_at = ? WHERE name = ?", (at, name))
        return result
