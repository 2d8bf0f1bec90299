"""The adapter for Procrastinate, the job queue on Postgres.

Procrastinate stores jobs and gives each one to one worker. It never runs two jobs with the same
lock at once, notifies workers of new jobs, and puts a job back if its task raises. Workarounds are
in this module and in queue_manager.py, which is imported only with a shared database. Each names
the upstream issue (github.com/procrastinate-org/procrastinate) or the test that shows why it is
needed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from core.journal.turn_rows import FetchedTurns, WaitForRoom
from core.store.database import SqlConnection
from core.store.postgres import CONNECTION_OPTIONS, create_statement_pool, end_each_statement

if TYPE_CHECKING:
    from procrastinate import JobContext

log = structlog.get_logger("jobs")
QUEUE_POLL_SECONDS = 5.0
"""A poll finds the job if the notification was lost."""
WORKER_POOL_CONNECTIONS = 7
WORKER_CONNECTIONS = WORKER_POOL_CONNECTIONS + 2
"""Maximum connections of one process to the queue: the pool, and one more for each of two workers,
on which it listens for notifications."""
MAX_FETCHED_JOBS = 1000
"""The concurrency of a worker: the maximum number of jobs that it has fetched. This includes jobs
that wait for their platform and hold no place. Procrastinate cannot change the concurrency while a
worker runs (issue 1552), so it is this high, and `until_room` limits the number of jobs that work
(tests/contract/test_fairness.py)."""
RESTART_SECONDS = 1.0
PRUNE_LEASES = 4
"""Number of leases (`LEASE_SECONDS`) without a heartbeat after which Procrastinate deletes a
worker's row."""
HEARTBEAT_SQL = (
    "INSERT INTO procrastinate_workers (id, last_heartbeat) OVERRIDING SYSTEM VALUE"
    " VALUES (?, now()) ON CONFLICT (id) DO UPDATE SET last_heartbeat = now()"
)
FETCHED_JOBS_SQL = (
    "SELECT id, (args ->> 'seq')::bigint AS seq FROM procrastinate_jobs"
    " WHERE status = 'doing' AND worker_id = ANY(?)"
)
RunJob = Callable[[int, str, int], Awaitable[None]]
"""If it raises, the job is put back."""


class QueueWorkers(FetchedTurns):
    """The workers of Procrastinate in this process. Each fetches jobs from the queue in Postgres
    and runs the turn of each job."""

    def __init__(self, url: str, owner: str, run_job: RunJob, until_room: WaitForRoom) -> None:
        super().__init__(owner)
        self.idle: set[int] = set()
        """The ids of jobs that our workers own and that this process does not run, as of the last
        sweep."""
        # Imported only with a shared database.
        import procrastinate

        from core.journal.queue_manager import TurnJobManager

        async def run(context: JobContext, seq: int) -> None:
            await run_job(seq, context.job.queue, context.job.priority)

        # Procrastinate logs each job twice, with its arguments, and errors that Ponte logs itself.
        # So nothing of its log is written.
        logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
        connector = procrastinate.PsycopgConnector(
            conninfo=url,
            min_size=1,
            max_size=WORKER_POOL_CONNECTIONS,
            kwargs=CONNECTION_OPTIONS,
            # Both save round trips: no check before each use, and no BEGIN and COMMIT.
            pool_factory=create_statement_pool,
            configure=end_each_statement,
        )
        # `open` connects it.
        self.app = procrastinate.App(connector=connector)
        # In place of Procrastinate's own: with workarounds for how it handles errors, and with
        # fewer queries.
        # `until_room` waits until another turn may begin here.
        self.app.job_manager = TurnJobManager(connector, self, until_room)
        # `retry`: a job whose task raises (`PutBack`) goes back to the queue.
        self.app.task(name="turn", retry=True, pass_context=True)(run)

    async def open(self) -> None:
        await self.app.open_async()

    async def close(self) -> None:
        with suppress(Exception):
            await self.app.close_async()

    async def run(self, queues: Sequence[str] | None, stop: asyncio.Event, lease: float) -> None:
        """`queues` None means all queues. Cancel this call to make the worker fetch no more jobs
        and wait for its running ones. `lease` is the number of seconds after which a process
        without a heartbeat counts as dead. Procrastinate deletes the row of a worker only some
        leases later."""
        while not stop.is_set():
            try:
                await self.app.run_worker_async(
                    queues=queues,  # type: ignore[arg-type]
                    concurrency=MAX_FETCHED_JOBS,  # `until_room` limits how many work at once
                    fetch_job_polling_interval=QUEUE_POLL_SECONDS,
                    delete_jobs="successful",
                    install_signal_handlers=False,  # Ponte itself handles SIGTERM
                    stalled_worker_timeout=PRUNE_LEASES * lease,
                )
            except Exception as error:
                log.warning("restarted the job worker", error=repr(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(RESTART_SECONDS):
                    await stop.wait()

    def write_sign_of_life(self, connection: SqlConnection) -> None:
        """If another process deleted a worker's row while this process was frozen, the row is
        inserted again. Otherwise no fetch would succeed any more
        (tests/contract/test_queue_workers.py)."""
        for id in tuple(self.ids):
            connection.execute(HEARTBEAT_SQL, (id,)).close()

    def drop_idle(self, connection: SqlConnection, running: Container[int]) -> set[int]:
        """Delete jobs that our workers own but that this process did not run in two sweeps.

        Return the ids of all idle jobs; assign them to `idle` once the transaction is committed.

        A job becomes idle if the connection breaks while the job is fetched or its end is recorded.
        Procrastinate leaves such a job in `doing`, so its conversation would wait forever
        (Procrastinate's issue 1518; tests/contract/test_queue_workers.py). `running` are the `seq`
        of turns that run here, `self.ids` the ids of this process's workers.
        """
        # A job that is idle in one sweep may just have been fetched, and not begun yet. So only one
        # that was idle in the sweep before (`self.idle`), too, is deleted.
        fetched = connection.execute(FETCHED_JOBS_SQL, (self.ids,)).fetchall()
        idle = {row["id"]: row["seq"] for row in fetched if row["seq"] not in running}
        for job in self.idle & idle.keys():
            log.info("dropped an abandoned job", turn_seq=idle[job])
            connection.execute("DELETE FROM procrastinate_jobs WHERE id = ?", (job,))
        return set(idle)
