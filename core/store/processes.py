"""The processes that share one database: their heartbeats, roles and number, and the notifications
between them, over LISTEN and NOTIFY of Postgres.

A notification is a word and an id, never a person's text. It is only a hint. Any role that may
connect to the database can send one, and a process misses those that are sent while it reconnects.
So a handler acts on what it reads in a row. What must not be missed is also looked up from time to
time.

Each process updates its row in `processes` every BEAT_SECONDS. A process without a heartbeat for
LEASE_SECONDS counts as dead, and other processes take over its turns. A role, such as Discord's
gateway, is work that only one process does at a time; the process holds a lease for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from core.base.errors import NotStored
from core.base.i18n import plural, say
from core.base.tasks import Backoff, cancel_all, retry
from core.observability import metrics
from core.store.database import SqlConnection, SqlStore, transaction
from core.store.postgres import CONNECTION_OPTIONS, PostgresDatabase

if TYPE_CHECKING:
    import psycopg

log = structlog.get_logger("jobs")
NOTIFY_CHANNEL = "ponte"
RECONNECT_SECONDS = 1.0
RECONNECT_BACKOFF = Backoff(RECONNECT_SECONDS, max_seconds=30.0)
HANDLER_TIMEOUT_SECONDS = 10.0
"""Seconds that one handler may take. After that it is cancelled, and the next notification is
read."""
NotificationHandler = Callable[[str], Awaitable[None] | None]
"""A handler that waits for nothing is a plain function, which costs no task: each process gets a
notification at the end of every turn."""


class Notifications:
    """Sends notifications to all processes that share a Postgres database, and receives theirs.

    A notification is a word for what happened and an id, as in "stop 17" for a turn. Handlers are
    registered by word.
    """

    def __init__(self, url: str, database: PostgresDatabase) -> None:
        self._url = url
        self._database = database
        self._handlers: dict[str, list[NotificationHandler]] = {}
        self.connected = asyncio.Event()
        self.disconnected_at = time.monotonic()
        """Valid while `connected` is not set."""

    def on(self, word: str, handler: NotificationHandler) -> None:
        self._handlers.setdefault(word, []).append(handler)

    async def send(self, word: str, id: str) -> None:
        """Raise NotStored."""
        await self._database.write(lambda connection: notify(connection, word, id))

    @property
    def seconds_disconnected(self) -> float:
        """Return 0 while connected."""
        return 0.0 if self.connected.is_set() else time.monotonic() - self.disconnected_at

    async def run(self, on_connect: Callable[[], None]) -> None:
        """Notifications that are sent without a connection are lost, so after each connect,
        `on_connect` looks up what the process may have missed."""
        while True:
            connection = await retry(self._connect, Exception, reconnect_pause)
            self.connected.set()
            try:
                on_connect()
                await self._receive(connection)
            except Exception as error:
                log.warning("notification connection lost; reconnecting", error=repr(error))
            finally:
                self.connected.clear()
                self.disconnected_at = time.monotonic()  # for the health of the database
                await connection.close()
            # `reconnect_pause` waits only after a connect that failed, not after a lost connection.
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        # Psycopg is an optional package, which only a Ponte on Postgres has.
        import psycopg

        # `autocommit`: LISTEN has no effect before its transaction is committed.
        connection = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, **CONNECTION_OPTIONS
        )
        try:
            await connection.execute(f"LISTEN {NOTIFY_CHANNEL}")
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _receive(self, connection: psycopg.AsyncConnection[Any]) -> None:
        async with contextlib.aclosing(connection.notifies()) as notifications:
            async for notification in notifications:
                word, _, id = notification.payload.partition(" ")
                for handler in self._handlers.get(word, ()):
                    await self._call(handler, word, id)

    async def _call(self, handler: NotificationHandler, word: str, id: str) -> None:
        """A failure or a timeout is only logged: the rows that the handler reads are read again
        later. A handler that is a plain function returns None, and is done. The others run in a
        task of their own, so that a cancellation inside it does not end the listener. The text of a
        notification is "WORD ID"."""
        try:
            if (waiting := handler(id)) is None:
                return
        except Exception as error:
            log.warning(
                "could not handle a notification", notification=word[:20], error=repr(error)
            )
            return
        task = asyncio.ensure_future(waiting)
        try:
            await asyncio.wait({task}, timeout=HANDLER_TIMEOUT_SECONDS)
        finally:
            if not task.done():
                await cancel_all([task])
        if task.cancelled() or task.exception():
            why = "cancelled" if task.cancelled() else repr(task.exception())
            log.warning("could not handle a notification", notification=word[:20], error=why)


def notify(connection: SqlConnection, word: str, id: str) -> None:
    """The notification is sent as soon as the transaction of `connection` commits."""
    connection.execute("SELECT pg_notify(?, ?)", (NOTIFY_CHANNEL, f"{word} {id}")).close()


def reconnect_pause(error: Exception, failed: int) -> float:
    log.warning(
        "notification connection lost; reconnecting", error=repr(error), failed_attempts=failed
    )
    return RECONNECT_BACKOFF.seconds_after(failed)


BEAT_SECONDS = 3.0
"""Seconds between two heartbeats of a process."""
LEASE_SECONDS = 15.0
"""Seconds without a heartbeat after which a process counts as dead."""
ROLE_LEASE_SECONDS = 12.0
"""Seconds for which a role belongs to a process after it acquired or renewed the lease."""
ROLE_MARGIN_SECONDS = 3.0
"""A process that cannot renew a role's lease stops the role's work this many seconds before the
lease expires. The work has this time to end, for example to close a connection of Discord's
gateway."""


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """`takes` is the number of processes that receive events, `works` of those that run turns.
    `waiting` is the number of waiting turns, `oldest` the age of the oldest one in seconds.
    `leaders` maps each role to the name of the process that has it."""

    takes: int
    works: int
    waiting: int
    oldest: float
    leaders: Mapping[str, str]

    @property
    def words(self) -> str:
        """Return the status as a text for people, in the current language."""
        parts = [
            say(
                "processes that receive events: {takes}; processes that answer messages: {works}",
                takes=self.takes,
                works=self.works,
            )
        ]
        if self.takes and not self.works:
            parts.append(say("no messages are answered until `ponte work` runs"))
        if self.waiting:
            parts.append(
                plural(
                    "{count} message has been waiting for {age} s",
                    "{count} messages are waiting, the oldest for {age} s",
                    self.waiting,
                    age=round(self.oldest),
                )
            )
        # A role, such as Discord's gateway, is the work of one process at a time, its leader. The
        # ending says that, because the numbers above may be larger.
        if self.leaders:
            roles = ", ".join(f"{role}: {name}" for role, name in sorted(self.leaders.items()))
            parts.append(say("{roles}: one process", roles=roles))
        return "; ".join(parts)


def read_cluster(connection: SqlConnection) -> ClusterStatus:
    """All times are those of the database's clock, because the clocks of the machines may
    differ."""
    living = connection.execute(
        "SELECT coalesce(sum(has_intake), 0) AS takes,"
        " coalesce(sum(has_workers), 0) AS works FROM processes"
        " WHERE seen_at > extract(epoch FROM now()) - ?",
        (LEASE_SECONDS,),
    ).fetchone()
    queue = connection.execute(
        "SELECT count(*) AS waiting, coalesce(extract(epoch FROM now()) - min(created_at), 0)"
        " AS oldest FROM inbox WHERE state = 'new'"
    ).fetchone()
    leaders = connection.execute(
        "SELECT role, name FROM leases JOIN processes ON processes.id = leases.process"
        " WHERE expires_at > extract(epoch FROM now())"
    )
    return ClusterStatus(
        takes=int(living["takes"]),
        works=int(living["works"]),
        waiting=queue["waiting"],
        oldest=float(queue["oldest"]),
        leaders={row["role"]: row["name"] for row in leaders},
    )


class OwnProcess(SqlStore):
    """This process among those that share a database. `name` is its host and process id. `takes`:
    it receives events. `works`: it runs turns."""

    def __init__(self, database: PostgresDatabase, id: str, *, takes: bool, works: bool) -> None:
        super().__init__(database)
        self.id = id
        self.name = f"{socket.gethostname()} {os.getpid()}"
        self._takes = takes
        self._works = works
        self.seen_at = time.monotonic()

    @property
    def seconds_silent(self) -> float:
        return time.monotonic() - self.seen_at

    def is_alive(self) -> bool:
        """True if no other process can count this one as dead within the next BEAT_SECONDS.
        Otherwise another one may take over its turns, so it must begin nothing."""
        return self.seconds_silent < LEASE_SECONDS - BEAT_SECONDS

    def write_sign_of_life(self, connection: SqlConnection) -> None:
        """The time is that of the database's clock."""
        connection.execute(
            "INSERT INTO processes (id, name, has_intake, has_workers, started_at, seen_at)"
            " VALUES (?, ?, ?, ?, extract(epoch FROM now()), extract(epoch FROM now()))"
            " ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
            (self.id, self.name, self._takes, self._works),
        )

    async def export_metrics(self) -> None:
        """The age of the oldest message grows until the next update, because a scrape may come long
        after this one."""
        status = await self._database.read(read_cluster)
        metrics.queued.set(status.waiting)
        at = time.monotonic()
        metrics.set_queue_age(
            lambda: status.oldest + time.monotonic() - at if status.waiting else 0.0
        )
        metrics.processes.labels("receive_messages").set(status.takes)
        metrics.processes.labels("run_turns").set(status.works)

    async def lead(self, role: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work` whenever this process has the lease of `role`, which one process at a time can
        have. Runs until it is cancelled.

        `stop_at` is the time by which the work must end if no renewal succeeds: ROLE_MARGIN_SECONDS
        before another process can take the lease. It is in the process's own clock, so the work
        also ends while the database does not answer. The lease is released only after the work has
        ended. Each step of the loop takes at most BEAT_SECONDS, and while the work runs, it ends by
        `stop_at` (`_seconds_to_next_step`).
        """
        loop = asyncio.get_running_loop()
        leading: asyncio.Task[None] | None = None
        stop_at = 0.0
        try:
            while True:
                began = loop.time()
                with suppress(NotStored, TimeoutError):
                    async with asyncio.timeout(_seconds_to_next_step(leading, stop_at)):
                        renewed = await self._renew(role)
                    # The lease starts when Postgres handles the request, which is later than
                    # `began`. So the work always stops early rather than late.
                    stop_at = began + ROLE_LEASE_SECONDS - ROLE_MARGIN_SECONDS if renewed else 0.0
                # Work that ended by itself, for example by an error, is started again below.
                if leading and (leading.done() or loop.time() >= stop_at):
                    log.info("gave up a leader role", role=role)
                    await _cancel_and_log(leading)
                    leading = None
                if not leading and loop.time() < stop_at:
                    log.info("took a leader role", role=role)
                    leading = asyncio.create_task(work())
                metrics.leader.labels(role).set(leading is not None)
                await asyncio.wait(
                    # A future that never ends: without work to watch, only the timeout ends the
                    # wait.
                    {leading or loop.create_future()},
                    timeout=_seconds_to_next_step(leading, stop_at),
                )
        finally:
            if leading:
                await _cancel_and_log(leading)
                metrics.leader.labels(role).set(0)
                await self._give_up(role)

    @transaction
    def _renew(self, connection: SqlConnection, role: str) -> bool:
        """Return False if another process has the lease. The row changes only if it is this
        process's own or has expired. `clock_timestamp()` is the time of the statement; `now()`
        would be the start of the transaction, which may have waited."""
        row = connection.execute(
            "INSERT INTO leases (role, process, expires_at)"
            " VALUES (:role, :process, extract(epoch FROM clock_timestamp()) + :seconds)"
            " ON CONFLICT (role) DO UPDATE SET process = excluded.process,"
            " expires_at = excluded.expires_at"
            " WHERE leases.process = excluded.process"
            " OR leases.expires_at < extract(epoch FROM clock_timestamp()) RETURNING role",
            {"role": role, "process": self.id, "seconds": ROLE_LEASE_SECONDS},
        ).fetchone()
        return row is not None

    async def _give_up(self, role: str) -> None:
        with suppress(NotStored, TimeoutError):
            async with asyncio.timeout(BEAT_SECONDS):
                sql = "DELETE FROM leases WHERE role = ? AND process = ?"
                await self._execute(sql, role, self.id)


def _seconds_to_next_step(leading: asyncio.Task[None] | None, stop_at: float) -> float:
    remaining_seconds = stop_at - asyncio.get_running_loop().time()
    return min(BEAT_SECONDS, max(0.0, remaining_seconds)) if leading else BEAT_SECONDS


async def _cancel_and_log(task: asyncio.Task[None]) -> None:
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(outcome, Exception):
        log.error("leader task failed; restarting", exc_info=outcome)
