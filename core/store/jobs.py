"""Turns of a database that many processes share: Procrastinate runs them, wherever one works.

A message is one job, under the lock of its conversation; a decision's has none, and workers of its
own. A message that may begin gets its job in the transaction that stores it, any other one when a
turn before it ends (core/store/schema.py). A job carries the message's `seq`, a notice between
processes a word and an id, never text.

What Procrastinate leaves to us: a job whose process died keeps its lock until somebody notices, and
a job is finished by its id alone, so that a process which was frozen would finish the one that
stands in for it. Each process beats, and all look for rows whose job's process beats no more: that
job is cancelled and another one put before all that wait, so that the late end of the first one
finds nothing. What the frozen process still writes is refused by the attempt's number.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import secrets
import socket
import time
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from core.domain.errors import NotStored
from core.domain.messages import Message, Progress, decode, encode
from core.domain.records import FINAL_STATES, Health
from core.observability import metrics
from core.ports.conversations import Handler
from core.runtime.tasks import LOST, Tasks, cancelled, retry
from core.store.database import Connection, Row, lock
from core.store.files import JsonFile, JsonRow, KernelRows
from core.store.inbox import CRASHES, Handling, locked
from core.store.pace import SharedPace
from core.store.places import Places, Sender
from core.store.postgres import OPTIONS, PostgresDatabase
from core.store.rolling_upgrade import WAITING_JOB
from core.text.i18n import plural, say

if TYPE_CHECKING:
    import procrastinate
    import psycopg
    from procrastinate import JobContext

log = structlog.get_logger("jobs")
POLL = 0.2
"""Seconds between two looks for a turn whose conversation has become free: nothing tells of that
(github.com/procrastinate-org/procrastinate/issues/213)."""
BEAT = 3.0
"""Seconds between two signs of life of a process."""
LEASE = 15.0
"""Seconds without one, after which its turns are another one's."""
CONNECTIONS = 9
"""Of a process to the queue, at most: two workers listen on one each, the rest is shared."""
TURNS, DECISIONS = 100, 20
"""Places in a process."""
UNDER_WAY = 1000
"""Jobs of either kind that a process may have fetched, with those that wait for their platform and
hold no place."""
ALONE, FIRST, REFUSED = 2, 1, -1
"""Priorities of a job: of a turn that runs alone, of another one that is handed on, and of the
answer to a message over the limits. Other decisions have 0, and a turn has its position in the
line, negative."""
LEAD = 12.0
"""Seconds that a role is one process's after it asked for it."""
LEAD_MARGIN_SECONDS = 3.0
"""How long before its lease can be taken a process stops the work of a role that it cannot renew.
It is also the time that this work has to end: the Discord gateway closes a connection."""
HOUR = 3600.0
ADMIT_SECONDS = 0.3
"""How long a worker's place is held for somebody whom the platform has yet to tell of."""
FIRST_POSTPONED_SECONDS, LONGEST_POSTPONED_SECONDS = 0.5, 5.0
"""When a turn that gave its place back is looked at again: after half its age."""
RECHECK = 5.0
"""Seconds after which what a lost notice would have told is looked up."""
AGAIN = 1.0
"""Seconds before a connection or a worker that broke is made anew."""
LONGEST_PAUSE = 30.0
"""Seconds between two attempts to connect the listener, at most."""
HANDLER_SECONDS = 10.0
"""Seconds that one handler of a notification may take before the next notification is read."""
CHANNEL = "ponte"
DECISION = "!"
"""Ends the name of a queue of decisions."""
OPEN = "('new', 'running', 'answered', 'posting')"
DEAD = (
    "(jobs.worker_id IS NULL OR NOT EXISTS (SELECT 1 FROM procrastinate_workers AS w"
    " WHERE w.id = jobs.worker_id AND w.last_heartbeat > now() - make_interval(secs => ?)))"
)
ABANDONED = (
    "SELECT inbox.seq FROM inbox"  # noqa: S608 (constants of ours)
    " LEFT JOIN procrastinate_jobs AS jobs"
    f" ON jobs.id = inbox.job AND inbox.job <> {WAITING_JOB}"
    f" WHERE inbox.state IN {OPEN} AND (inbox.state <> 'new' OR inbox.job <> 0)"
    " AND (jobs.id IS NULL OR jobs.status NOT IN ('todo', 'doing')"
    f" OR (jobs.status = 'doing' AND {DEAD})) ORDER BY inbox.alone, inbox.seq"
)  # fmt: skip
"""Turns whose job is gone or whose process died; one that waits without a job is none of them."""
WITHOUT_JOB = (
    "SELECT DISTINCT channel || ' ' || person AS flow FROM inbox WHERE state = 'new' AND job = 0"
)
TO_STOP = f"SELECT seq FROM inbox WHERE owner = ? AND stop = 1 AND state IN {OPEN}"  # noqa: S608
TAKEN = f"SELECT 1 FROM inbox WHERE seq = ? AND NOT (owner IN ('', ?) AND state IN {OPEN})"  # noqa: S608
"""Whether somebody else has it, or has ended it."""
LEFT_OVER = (
    "DELETE FROM procrastinate_jobs AS jobs WHERE (jobs.status = 'doing' AND"  # noqa: S608
    f" {DEAD} OR jobs.status NOT IN ('todo', 'doing')) AND NOT EXISTS"
    f" (SELECT 1 FROM inbox WHERE inbox.job = jobs.id AND inbox.state IN {OPEN})"
)
"""Jobs of turns that are over: what a process left that died between the turn's end and the job's,
and what was cancelled."""
DOING = (
    "SELECT id, (args ->> 'seq')::bigint AS seq FROM procrastinate_jobs"
    " WHERE status = 'doing' AND worker_id = ANY(?)"
)
SPARES = (
    "UPDATE remotes SET erase = 1 WHERE thread = '' AND erase = 0"
    " AND owner NOT IN (SELECT id FROM processes)"
)
"""Conversations made ahead by a process that is gone."""
KERNEL = (
    "SELECT kernels.process FROM inbox JOIN threads ON threads.conversation = inbox.conversation"
    " JOIN kernels ON kernels.thread = threads.id JOIN processes ON processes.id = kernels.process"
    " WHERE inbox.seq = ? AND inbox.decision = 0 AND processes.id != ?"
    " AND processes.seen > extract(epoch FROM now()) - ?"
)
"""The living process that has the conversation's kernel, where that is another one."""
STRANDED = (
    "UPDATE procrastinate_jobs SET queue_name = split_part(lock, ':', 1) WHERE status = 'todo'"
    " AND left(queue_name, 1) = '@' AND substr(queue_name, 2) NOT IN (SELECT id FROM processes"
    " WHERE seen > extract(epoch FROM now()) - ?)"
)
"""What was handed to a process that is gone."""
FETCH = (
    "SELECT id, status, task_name, priority, lock, queueing_lock, args, scheduled_at, queue_name,"
    " attempts, worker_id FROM ponte_fetch_job(%(queues)s::varchar[], %(worker_id)s)"
)
Heard = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Whole:
    """All processes of the last LEASE seconds, and what waits for them.

    `oldest` is the age of the longest waiting turn, in seconds; `leaders` the name of who has each
    role.
    """

    takes: int
    works: int
    waiting: int
    oldest: float
    leaders: Mapping[str, str]

    @property
    def words(self) -> str:
        told = [
            say(
                "processes that take events in: {takes}, that run turns: {works}",
                takes=self.takes, works=self.works,
            )
        ]  # fmt: skip
        if self.takes and not self.works:
            told.append(say("so nothing is answered until `ponte work` runs somewhere"))
        if self.waiting:
            told.append(
                plural(
                    "{count} message waits, the longest for {age} s",
                    "{count} messages wait, the longest for {age} s",
                    self.waiting,
                    age=round(self.oldest),
                )
            )
        if self.leaders:
            roles = ", ".join(f"{role}: {name}" for role, name in sorted(self.leaders.items()))
            told.append(say("done by one alone ({roles})", roles=roles))
        return "; ".join(told)


def whole(connection: Connection) -> Whole:
    """As it stands now."""
    seen = connection.execute(
        "SELECT coalesce(sum(takes), 0) AS takes, coalesce(sum(works), 0) AS works FROM processes"
        " WHERE seen > extract(epoch FROM now()) - ?",
        (LEASE,),
    ).fetchone()
    waits = connection.execute(
        "SELECT count(*) AS waiting, coalesce(extract(epoch FROM now()) - min(created), 0)"
        " AS oldest FROM inbox WHERE state = 'new'"
    ).fetchone()
    leaders = connection.execute(
        "SELECT role, name FROM leases JOIN processes ON processes.id = leases.process"
        " WHERE until > extract(epoch FROM now())"
    )
    return Whole(
        takes=int(seen["takes"]), works=int(seen["works"]), waiting=waits["waiting"],
        oldest=float(waits["oldest"]), leaders={row["role"]: row["name"] for row in leaders},
    )  # fmt: skip


class PutBack(Exception):
    """A drain came before the turn's end: another process takes it up."""


class Jobs(Handling):
    """The `Dispatch` of one process among many; `process` is its own id.

    `takes`: events come in here; `works`: turns run here.
    """

    recheck = RECHECK

    def __init__(
        self,
        url: str,
        database: PostgresDatabase,
        *,
        takes: bool = True,
        works: bool = True,
        process: str = "",
    ) -> None:
        super().__init__(database, TURNS)
        self._decision_places = Places(DECISIONS)
        self.process = process or secrets.token_hex(8)
        self.pace = SharedPace(database)
        self.name = f"{socket.gethostname()} {os.getpid()}"
        self._url = url
        self._takes = takes
        self._works = works
        self._own: list[int] = []
        """Our workers' ids."""
        self._idle: set[int] = set()
        """Jobs that our workers have, and nobody here is at: as the last sweep saw it."""
        self._app = _app(url, self._work, self._until_room, self._own)
        self._has_kernels = False
        self._beside = Tasks("jobs")
        self._workers: list[asyncio.Task[None]] = []
        self._beaten = time.monotonic()
        self._listens = asyncio.Event()
        self._deaf_since = time.monotonic()
        """When the listener lost its connection, while `_listens` is not set."""
        self._hears: dict[str, list[Heard]] = {"ended": [self._ended_there], "stop": [self._stop]}

    def fresh(self) -> bool:
        """Whether nobody can have taken this process for dead: its signs of life came through."""
        return time.monotonic() - self._beaten < LEASE - BEAT

    def on(self, word: str, heard: Heard) -> None:
        """Call `heard` with the rest of every notification that begins with `word`.

        A notification is a hint: whoever may connect to the database can send one. `heard` acts on
        what it reads in a row, never on the notification alone.
        """
        self._hears.setdefault(word, []).append(heard)

    async def tell(self, word: str, id: str) -> None:
        """Tell every process, this one too. What must not be missed also stands in a table."""
        statement = "SELECT pg_notify(?, ?)"
        await self._database.write(
            lambda c: c.execute(statement, (CHANNEL, f"{word} {id}")).close()
        )

    async def health(self) -> Health:
        """Of the database and of all processes on it."""
        silent = time.monotonic() - self._beaten
        if silent > LEASE:
            words = say("Postgres has not answered for {age} s", age=round(silent))
            return Health("database", "failing", words)
        try:
            found = await self._database.read(whole)
        except NotStored as error:
            return Health("database", "failing", error.words())
        deaf = 0.0 if self._listens.is_set() else time.monotonic() - self._deaf_since
        if deaf > BEAT:
            words = say(
                "this process has received no notifications for {age} s, so stops and progress "
                "are late; its log says why, and it keeps trying to reconnect",
                age=round(deaf),
            )
            return Health("database", "failing", f"Postgres; {words}; {found.words}")
        return Health("database", "on", f"Postgres; {found.words}")

    def file(self, path: Path, data: Callable[[], object]) -> JsonFile:
        return JsonRow(self._database, path, data)

    def kernels(self, folder: Path) -> KernelRows:
        """From now on a turn runs where its conversation's kernel is."""
        self._has_kernels = True
        return KernelRows(self._database, self.process, self.tell)

    async def show(self, turn: str, progress: Progress) -> None:
        def write(connection: Connection) -> None:
            connection.execute(
                "INSERT INTO progress (turn, progress, at)"
                " VALUES (?, ?, extract(epoch FROM now())) ON CONFLICT (turn)"
                " DO UPDATE SET progress = excluded.progress, at = excluded.at",
                (turn, encode(progress)),
            )
            connection.execute("SELECT pg_notify(?, ?)", (CHANNEL, f"progress {turn}"))

        await self._database.write(write)

    async def shown(self, turn: str) -> Progress | None:
        def read(connection: Connection) -> Progress | None:
            row = connection.execute(
                "SELECT progress FROM progress WHERE turn = ?", (turn,)
            ).fetchone()
            return decode(Progress, row["progress"]) if row else None

        return await self._database.read(read)

    async def lead(self, role: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do `work` while this process has the role's lease.

        By this process's own clock the work ends LEAD_MARGIN_SECONDS before another process can
        take the lease, also while the database does not answer. The lease is given up only after
        the work has ended.
        """
        loop = asyncio.get_running_loop()
        leading: asyncio.Task[None] | None = None
        stop_at = 0.0
        try:
            while True:
                began = loop.time()
                with suppress(NotStored, TimeoutError):
                    async with asyncio.timeout(_lead_pause(leading, stop_at)):
                        renewed = await self._database.write(functools.partial(self._renew, role))
                    # The lease runs from the moment at which Postgres took the request, which is
                    # later than `began`.
                    stop_at = began + LEAD - LEAD_MARGIN_SECONDS if renewed else 0.0
                if leading and (leading.done() or loop.time() >= stop_at):
                    log.info("leads no more", role=role)
                    await _end(leading)
                    leading = None
                if not leading and loop.time() < stop_at:
                    log.info("leads", role=role)
                    leading = asyncio.create_task(work())
                pause = _lead_pause(leading, stop_at)
                await asyncio.wait({leading} if leading else {_never()}, timeout=pause)
        finally:
            if leading:
                await _end(leading)
                await self._give_up(role)

    async def _give_up(self, role: str) -> None:
        """Let another process take the role at once."""

        def write(connection: Connection) -> None:
            connection.execute(
                "DELETE FROM leases WHERE role = ? AND process = ?", (role, self.process)
            ).close()

        with suppress(NotStored, TimeoutError):
            async with asyncio.timeout(BEAT):
                await self._database.write(write)

    def _renew(self, role: str, connection: Connection) -> bool:
        row = connection.execute(
            "INSERT INTO leases (role, process, until)"
            " VALUES (:role, :process, extract(epoch FROM clock_timestamp()) + :seconds)"
            " ON CONFLICT (role) DO UPDATE SET process = excluded.process, until = excluded.until"
            " WHERE leases.process = excluded.process"
            " OR leases.until < extract(epoch FROM clock_timestamp()) RETURNING role",
            {"role": role, "process": self.process, "seconds": LEAD},
        ).fetchone()
        return row is not None

    async def start(self) -> None:
        """Begin to beat and to listen. Raises NotStored."""
        await self._beat()
        self._beside.start(self._beating())
        self._beside.start(self._listening())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEASE):  # who is ready hears what is told
                await self._listens.wait()

    def stored(self, connection: Connection, seq: int, message: Message, decision: bool) -> int:
        if decision:
            refused = "CASE refused WHEN '' THEN 0 ELSE ? END"
            connection.execute(
                f"SELECT ponte_defer(seq, NULL, {refused}) FROM inbox WHERE seq = ?",  # noqa: S608
                (REFUSED, seq),
            ).close()
            return 0
        row = connection.execute("SELECT ponte_line_up(?) AS before", (seq,)).fetchone()
        return int(row["before"])

    def enqueue(self, seq: int, sender: Sender, decision: bool) -> int:
        return 0

    def leave_place(self, seq: int) -> None:
        super().leave_place(seq)
        self._decision_places.leave(seq)

    async def take_place(self, seq: int) -> None:
        await super().take_place(seq)
        await self._decision_places.come_back(seq)

    def stop(self, connection: Connection, row: Row) -> bool:
        connection.execute("UPDATE inbox SET stop = 1 WHERE seq = ?", (row["seq"],))
        connection.execute("SELECT pg_notify(?, ?)", (CHANNEL, f"stop {row['seq']}"))
        return True

    async def running(self, conversation: str) -> int | None:
        def read(connection: Connection) -> int | None:
            row = connection.execute(
                "SELECT seq FROM inbox WHERE conversation = ? AND decision = 0"
                " AND state IN ('running', 'answered', 'posting') ORDER BY seq LIMIT 1",
                (conversation,),
            ).fetchone()
            return row["seq"] if row else None

        return await self._database.read(read)

    async def run(self, handler: Handler, platforms: Collection[str]) -> None:
        self._handler = handler
        await self._app.open_async()
        self._beside.start(self._sweeping())
        if self._works:
            for suffix in ("", DECISION):
                queues = [f"{platform}{suffix}" for platform in platforms] or None
                if queues and not suffix:
                    queues.append(f"@{self.process}")
                self._workers.append(asyncio.create_task(self._working(queues)))
        await self._draining.wait()

    async def drain(self, grace: float) -> None:
        """Fetch nothing more; what does not end within `grace` seconds is put back."""
        self._draining.set()
        for worker in self._workers:
            worker.cancel()
        await super().drain(grace)
        if self._workers:
            await asyncio.wait(self._workers, timeout=LOST)
        await cancelled(self._workers)
        await self._beside.close()
        with suppress(Exception):
            await self._app.close_async()

        def leave(connection: Connection) -> None:
            connection.execute("DELETE FROM processes WHERE id = ?", (self.process,))
            connection.execute(STRANDED, (LEASE,))

        with suppress(NotStored):
            await self._database.write(leave)

    def _waiting_tasks(self) -> set[asyncio.Task[None]]:
        return set(self._workers)

    async def _work(self, context: JobContext, seq: int) -> None:
        """A job. Raises PutBack."""
        if seq in self._current:
            return  # it was taken for dead here, and is not
        places, priority = self._places_of(context.job.queue), context.job.priority
        if priority != ALONE:
            places.begin(seq)
        try:
            if self._has_kernels and await self._handed_over(seq, priority):
                return
            if not await self._is_admitted(seq, priority):
                return
            if not await (self.take_alone(seq) if priority == ALONE else self.take(seq)):
                raise PutBack
        finally:
            places.end(seq)

    def _places_of(self, queue: str) -> Places:
        return self._decision_places if queue.endswith(DECISION) else self.places

    async def _until_room(self, queues: Iterable[str] | None) -> bool:
        """Wait until a job of these queues may begin here; False when a drain came first."""
        places = self._places_of(next(iter(queues), "") if queues else "")
        if not places.is_free:
            waits = [asyncio.ensure_future(places.until_free()),
                     asyncio.ensure_future(self._draining.wait())]  # fmt: skip
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await cancelled(waits)
        return not self._draining.is_set()

    async def _until_admitted(self, seq: int) -> None:
        """It was admitted before it was taken up."""

    async def _is_admitted(self, seq: int, priority: int) -> bool:
        """Whether the turn may begin now. One that may not gives its place back: a new job stands
        before all that wait in its conversation, and is due in a while."""
        if self.admit is None:
            return True
        try:
            if await self.admit(seq, ADMIT_SECONDS):
                return True
            return not await self._database.write(functools.partial(self._postpone, seq, priority))
        except NotStored:
            return True

    def _postpone(self, seq: int, priority: int, connection: Connection) -> bool:
        found = locked(connection, seq)
        if found is None or found["state"] in FINAL_STATES:
            return False
        age = max(0.0, time.time() - found["created"])
        wait = min(max(FIRST_POSTPONED_SECONDS, age / 2), LONGEST_POSTPONED_SECONDS)
        _defer(connection, seq, max(FIRST, priority))
        connection.execute(
            "UPDATE procrastinate_jobs SET scheduled_at = now() + make_interval(secs => ?)"
            " WHERE id = (SELECT job FROM inbox WHERE seq = ?)",
            (wait, seq),
        )
        return True

    async def _handed_over(self, seq: int, priority: int) -> bool:
        """To the process that has the conversation's kernel; nothing was attempted here. Its new
        job stands before all that wait, and begins when this one has ended."""

        def write(connection: Connection) -> str:
            row = connection.execute(KERNEL, (seq, self.process, LEASE)).fetchone()
            if row is None:
                return ""
            found = locked(connection, seq)
            if found is None or found["state"] in FINAL_STATES:
                return ""
            _defer(connection, seq, max(FIRST, priority), f"@{row['process']}")
            return str(row["process"])

        try:
            holder = await self._database.write(write)
        except NotStored:
            return False
        if holder:
            log.info("handed over", seq=seq, process=holder)
        return bool(holder)

    async def _working(self, queues: Sequence[str] | None) -> None:
        while not self._draining.is_set():
            try:
                await self._app.run_worker_async(
                    queues=queues,  # type: ignore[arg-type]
                    concurrency=UNDER_WAY, fetch_job_polling_interval=POLL,
                    delete_jobs="successful", install_signal_handlers=False,
                    update_heartbeat_interval=BEAT, stalled_worker_timeout=4 * LEASE,
                )  # fmt: skip
            except Exception as error:
                log.warning("worker made anew", why=repr(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN):
                    await self._draining.wait()

    async def _beating(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            try:
                await self._beat()
            except NotStored as error:
                log.warning("no sign of life", why=str(error))

    async def _beat(self) -> None:
        began = time.monotonic()
        doubtful = [] if self.fresh() else list(self._current)

        def write(connection: Connection) -> tuple[list[int], list[int]]:
            connection.execute(
                "INSERT INTO processes (id, name, takes, works, started, seen)"
                " VALUES (?, ?, ?, ?, extract(epoch FROM now()), extract(epoch FROM now()))"
                " ON CONFLICT (id) DO UPDATE SET seen = excluded.seen",
                (self.process, self.name, self._takes, self._works),
            )
            rows = connection.execute(TO_STOP, (self.process,))
            taken = [connection.execute(TAKEN, (seq, self.process)).fetchone() for seq in doubtful]
            lost = [seq for seq, other in zip(doubtful, taken, strict=True) if other]
            return [row["seq"] for row in rows], lost

        stopped, lost = await self._database.write(write)
        for seq in lost:
            log.warning("lost to another process", seq=seq)
            self.lose(seq)
        for seq in stopped:
            self.cancel(seq)
        self._beaten = began
        self._count(await self._database.read(whole))

    def _count(self, all: Whole) -> None:
        metrics.queued.set(all.waiting)
        at = time.monotonic()
        metrics.show_queue(lambda: all.oldest + time.monotonic() - at if all.waiting else 0.0)
        metrics.processes.labels("takes").set(all.takes)
        metrics.processes.labels("works").set(all.works)
        for role, name in all.leaders.items():
            metrics.leads.labels(role).set(name == self.name)

    async def _sweeping(self) -> None:
        while True:
            try:
                await self.sweep()
            except NotStored as error:
                log.warning("sweep put off", why=str(error))
            await asyncio.sleep(RECHECK)

    async def sweep(self) -> None:
        """Turns whose process died are others' from now on. Raises NotStored."""
        found = await self._database.read(
            lambda c: [row["seq"] for row in c.execute(ABANDONED, (LEASE,))]
        )
        for seq in found:
            if await self._database.write(functools.partial(self._take_over, seq)):
                log.info("taken over", seq=seq)

        def tidy(connection: Connection) -> None:
            connection.execute(LEFT_OVER, (LEASE,))
            connection.execute(
                "DELETE FROM processes WHERE seen < extract(epoch FROM now()) - ?", (4 * LEASE,)
            )
            connection.execute(STRANDED, (LEASE,))
            connection.execute(SPARES)
            for row in connection.execute(WITHOUT_JOB).fetchall():
                ready = "SELECT ponte_ready(?) AS found"
                while connection.execute(ready, (row["flow"],)).fetchone()["found"]:
                    pass
            connection.execute(
                "DELETE FROM progress WHERE at < extract(epoch FROM now()) - ?", (HOUR,)
            )
            connection.execute(
                "DELETE FROM paces WHERE due < extract(epoch FROM now()) - ?", (HOUR,)
            )

        await self._database.write(tidy)
        self._idle = await self._database.write(self._drop_idle)

    def _drop_idle(self, connection: Connection) -> set[int]:
        """Jobs of which we were not told that we have them, or whose end was not heard: the
        connection broke then, and their conversations would wait for ever."""
        rows = connection.execute(DOING, (self._own,)).fetchall()
        idle = {row["id"]: row["seq"] for row in rows if row["seq"] not in self._current}
        for job in self._idle & idle.keys():
            log.info("job dropped that nobody is at", seq=idle[job])
            connection.execute("DELETE FROM procrastinate_jobs WHERE id = ?", (job,))
        return set(idle)

    def _take_over(self, seq: int, connection: Connection) -> bool:
        row = connection.execute(
            "SELECT conversation, attempt FROM inbox WHERE seq = ?", (seq,)
        ).fetchone()
        lock(connection, row["conversation"])
        still = connection.execute(
            ABANDONED.replace("WHERE", "WHERE inbox.seq = ? AND", 1), (seq, LEASE)
        ).fetchone()
        if still is None:
            return False
        connection.execute(
            "UPDATE procrastinate_jobs SET status = 'cancelled', abort_requested = false"
            " WHERE id <> ? AND id = (SELECT job FROM inbox WHERE seq = ?)",
            (WAITING_JOB, seq),
        )
        _defer(connection, seq, ALONE if row["attempt"] >= CRASHES else FIRST)
        return True

    async def _listening(self) -> None:
        """Receive notifications for as long as this process runs, over one connection at a time."""
        while True:
            connection = await retry(self._open_listener, Exception, _reconnect_pause)
            self._listens.set()
            try:
                for seq in list(self._ended):  # nobody told this process what ended meanwhile
                    self.wake(seq)
                await self._receive(connection)
            except Exception as error:
                log.warning("no notices", why=repr(error))
            finally:
                self._listens.clear()
                self._deaf_since = time.monotonic()
                await connection.close()
            await asyncio.sleep(AGAIN)

    async def _open_listener(self) -> psycopg.AsyncConnection[Any]:
        import psycopg

        connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True, **OPTIONS)
        try:
            await connection.execute(f"LISTEN {CHANNEL}")
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _receive(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Pass each notification on, until the connection breaks."""
        async with contextlib.aclosing(connection.notifies()) as notices:
            async for notice in notices:
                word, _, id = notice.payload.partition(" ")
                for heard in self._hears.get(word, ()):
                    await self._pass_on(heard, word, id)

    async def _pass_on(self, heard: Heard, word: str, id: str) -> None:
        """Call one handler. Its failure is its own: the rows that it reads are read again later.

        It runs in a task of its own, so that a cancellation inside it does not end the listener.
        """
        task = asyncio.ensure_future(heard(id))
        try:
            await asyncio.wait({task}, timeout=HANDLER_SECONDS)
        finally:
            if not task.done():
                await cancelled([task])
        if task.cancelled() or task.exception():
            why = "cancelled" if task.cancelled() else repr(task.exception())
            log.warning("notice not handled", word=word[:20], why=why)

    async def _ended_there(self, id: str) -> None:
        self.wake(int(id))

    async def _stop(self, id: str) -> None:
        """Stop the turn if its row says so."""
        asked = await self._database.read(
            lambda c: c.execute(f"{TO_STOP} AND seq = ?", (self.process, int(id))).fetchone()
        )
        if asked:
            self.cancel(int(id))


def _defer(connection: Connection, seq: int, priority: int, queue: str | None = None) -> None:
    """Give a turn a new job; `queue` is its platform's where it is None."""
    connection.execute("SELECT ponte_defer(?, ?, ?)", (seq, queue, priority)).close()


def _never() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


def _lead_pause(leading: asyncio.Task[None] | None, stop_at: float) -> float:
    """Return how long the next step of `Jobs.lead` may take: not past the end of the work."""
    left = stop_at - asyncio.get_running_loop().time()
    return min(BEAT, max(0.0, left)) if leading else BEAT


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(outcome, Exception):
        log.error("what was led broke", why=repr(outcome), exc_info=outcome)


def _reconnect_pause(error: Exception, failed: int) -> float:
    """Seconds before the next attempt; they double, and there is no last one."""
    log.warning("no notices", why=repr(error), attempts=failed)
    return min(AGAIN * 2.0 ** min(failed - 1, 10), LONGEST_PAUSE)


def _app(
    url: str,
    work: Callable[[JobContext, int], Awaitable[None]],
    until_room: Callable[[Iterable[str] | None], Awaitable[bool]],
    own: list[int],
) -> procrastinate.App:
    """It puts its workers' ids into `own`, and fetches a job after `until_room` of its queues."""
    import procrastinate
    from procrastinate.exceptions import ConnectorException
    from procrastinate.jobs import Job, Status
    from procrastinate.manager import JobManager, get_channel_for_queues
    from procrastinate.retry import BaseRetryStrategy, RetryDecision

    class AtOnce(BaseRetryStrategy):
        def get_retry_decision(self, **_: Any) -> RetryDecision:
            return RetryDecision(retry_in={"seconds": 0})

    class Manager(JobManager):
        async def register_worker(self) -> int:
            id = await super().register_worker()
            own.append(id)
            return id

        async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
            """Fetch through `ponte_fetch_job`, which keeps the plan fast while the table has no
            statistics (core/store/schema.py)."""
            if not await until_room(queues):
                return None
            row = await self.connector.execute_query_one_async(
                query=FETCH, queues=queues, worker_id=worker_id
            )
            return None if row["id"] is None else Job.from_row(row)

        async def listen_for_jobs(
            self, *, on_notification: Any, queues: Iterable[str] | None = None
        ) -> None:
            """Look for a job at every notification, whatever it says.

            Procrastinate's own listener parses the payload: a malformed one ends its worker, and
            one that anybody sends can abort a job.
            """

            async def look(channel: str, payload: str) -> None:
                await on_notification(channel=channel, notification={"type": "job_inserted"})

            await self.connector.listen_notify(look, get_channel_for_queues(queues))

        async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
            try:
                await super().finish_job(job, status, delete_job)
            except ConnectorException as error:
                log.info("a job's end was not recorded; a sweep does", why=repr(error.__cause__))

    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)  # it tells each job, twice
    connector = procrastinate.PsycopgConnector(
        conninfo=url, min_size=1, max_size=CONNECTIONS, kwargs=OPTIONS
    )
    app = procrastinate.App(connector=connector)
    app.job_manager = Manager(connector)
    app.task(name="turn", retry=AtOnce(), pass_context=True)(work)
    return app
