"""The processes that share one database: their signs of life, their roles, and how many there are.

Each process writes its row in `processes` every BEAT_SECONDS. A process without a sign of life for
LEASE_SECONDS counts as dead, and other processes take its turns over.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from core.domain.errors import NotStored
from core.observability import metrics
from core.store.database import SqlConnection
from core.store.postgres import PostgresDatabase
from core.text.i18n import plural, say

log = structlog.get_logger("jobs")
BEAT_SECONDS = 3.0
"""Between two signs of life of a process."""
LEASE_SECONDS = 15.0
"""Without a sign of life, after which a process counts as dead."""
ROLE_LEASE_SECONDS = 12.0
"""How long a role belongs to a process after it asked for it."""
ROLE_MARGIN_SECONDS = 3.0
"""How long before its lease can be taken a process stops the work of a role that it cannot renew.
It is also the time that this work has to end: the Discord gateway closes a connection."""


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The living processes, and the turns that wait for them.

    `takes` processes take events in, `works` processes run turns. `oldest` is the age of the
    longest waiting turn, in seconds; `leaders` the name of the process that has each role.
    """

    takes: int
    works: int
    waiting: int
    oldest: float
    leaders: Mapping[str, str]

    @property
    def words(self) -> str:
        parts = [
            say(
                "processes that take events in: {takes}, that run turns: {works}",
                takes=self.takes, works=self.works,
            )
        ]  # fmt: skip
        if self.takes and not self.works:
            parts.append(say("so nothing is answered until `ponte work` runs somewhere"))
        if self.waiting:
            parts.append(
                plural(
                    "{count} message waits, the longest for {age} s",
                    "{count} messages wait, the longest for {age} s",
                    self.waiting,
                    age=round(self.oldest),
                )
            )
        if self.leaders:
            roles = ", ".join(f"{role}: {name}" for role, name in sorted(self.leaders.items()))
            parts.append(say("done by one alone ({roles})", roles=roles))
        return "; ".join(parts)


def read_cluster(connection: SqlConnection) -> ClusterStatus:
    living = connection.execute(
        "SELECT coalesce(sum(takes), 0) AS takes, coalesce(sum(works), 0) AS works FROM processes"
        " WHERE seen > extract(epoch FROM now()) - ?",
        (LEASE_SECONDS,),
    ).fetchone()
    queue = connection.execute(
        "SELECT count(*) AS waiting, coalesce(extract(epoch FROM now()) - min(created), 0)"
        " AS oldest FROM inbox WHERE state = 'new'"
    ).fetchone()
    leaders = connection.execute(
        "SELECT role, name FROM leases JOIN processes ON processes.id = leases.process"
        " WHERE until > extract(epoch FROM now())"
    )
    return ClusterStatus(
        takes=int(living["takes"]), works=int(living["works"]), waiting=queue["waiting"],
        oldest=float(queue["oldest"]), leaders={row["role"]: row["name"] for row in leaders},
    )  # fmt: skip


class OwnProcess:
    """This process's row in `processes`, and the roles that it leads."""

    def __init__(self, database: PostgresDatabase, id: str, *, takes: bool, works: bool) -> None:
        self._database = database
        self.id = id
        self.name = f"{socket.gethostname()} {os.getpid()}"
        self._takes = takes
        self._works = works
        self.seen_at = time.monotonic()
        """When the last sign of life that was stored began, by the monotonic clock."""

    @property
    def seconds_silent(self) -> float:
        return time.monotonic() - self.seen_at

    def is_alive(self) -> bool:
        """Whether no other process can have taken this one for dead."""
        return self.seconds_silent < LEASE_SECONDS - BEAT_SECONDS

    def write_sign_of_life(self, connection: SqlConnection) -> None:
        connection.execute(
            "INSERT INTO processes (id, name, takes, works, started, seen)"
            " VALUES (?, ?, ?, ?, extract(epoch FROM now()), extract(epoch FROM now()))"
            " ON CONFLICT (id) DO UPDATE SET seen = excluded.seen",
            (self.id, self.name, self._takes, self._works),
        )

    async def export_metrics(self) -> None:
        status = await self._database.read(read_cluster)
        metrics.queued.set(status.waiting)
        at = time.monotonic()
        metrics.set_queue_age(
            lambda: status.oldest + time.monotonic() - at if status.waiting else 0.0
        )
        metrics.processes.labels("takes").set(status.takes)
        metrics.processes.labels("works").set(status.works)
        for role, name in status.leaders.items():
            metrics.leads.labels(role).set(name == self.name)

    async def lead(self, role: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do `work` while this process has the role's lease.

        By this process's own clock the work ends ROLE_MARGIN_SECONDS before another process can
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
                    async with asyncio.timeout(_seconds_to_next_step(leading, stop_at)):
                        renewed = await self._database.write(partial(self._renew, role))
                    # The lease runs from the moment at which Postgres took the request, which is
                    # later than `began`.
                    stop_at = began + ROLE_LEASE_SECONDS - ROLE_MARGIN_SECONDS if renewed else 0.0
                if leading and (leading.done() or loop.time() >= stop_at):
                    log.info("leads no more", role=role)
                    await _cancel_and_log(leading)
                    leading = None
                if not leading and loop.time() < stop_at:
                    log.info("leads", role=role)
                    leading = asyncio.create_task(work())
                await asyncio.wait({leading or loop.create_future()},
                                   timeout=_seconds_to_next_step(leading, stop_at))  # fmt: skip
        finally:
            if leading:
                await _cancel_and_log(leading)
                await self._give_up(role)

    def _renew(self, role: str, connection: SqlConnection) -> bool:
        row = connection.execute(
            "INSERT INTO leases (role, process, until)"
            " VALUES (:role, :process, extract(epoch FROM clock_timestamp()) + :seconds)"
            " ON CONFLICT (role) DO UPDATE SET process = excluded.process, until = excluded.until"
            " WHERE leases.process = excluded.process"
            " OR leases.until < extract(epoch FROM clock_timestamp()) RETURNING role",
            {"role": role, "process": self.id, "seconds": ROLE_LEASE_SECONDS},
        ).fetchone()
        return row is not None

    async def _give_up(self, role: str) -> None:
        """Let another process take the role at once."""

        def write(connection: SqlConnection) -> None:
            connection.execute(
                "DELETE FROM leases WHERE role = ? AND process = ?", (role, self.id)
            ).close()

        with suppress(NotStored, TimeoutError):
            async with asyncio.timeout(BEAT_SECONDS):
                await self._database.write(write)


def _seconds_to_next_step(leading: asyncio.Task[None] | None, stop_at: float) -> float:
    """Return how long the next step of `lead` may take: not past the end of the work."""
    left = stop_at - asyncio.get_running_loop().time()
    return min(BEAT_SECONDS, max(0.0, left)) if leading else BEAT_SECONDS


async def _cancel_and_log(task: asyncio.Task[None]) -> None:
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(outcome, Exception):
        log.error("what was led broke", why=repr(outcome), exc_info=outcome)
