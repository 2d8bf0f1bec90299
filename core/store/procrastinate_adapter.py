"""The adapter for Procrastinate, the job queue on Postgres.

Procrastinate stores jobs and gives each one to one worker. It never runs two jobs with the same
lock at once, notifies workers of new jobs, and puts a job back if its task raises. Each workaround
in this module names the upstream issue (github.com/procrastinate-org/procrastinate) or the test
that shows why it is needed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog

from core.store.database import SqlConnection
from core.store.postgres import CONNECTION_OPTIONS, create_statement_pool, end_each_statement

if TYPE_CHECKING:
    import procrastinate
    from procrastinate import JobContext
    from procrastinate.jobs import Job, Status

log = structlog.get_logger("jobs")
QUEUE_POLL_SECONDS = 0.2
"""Seconds between two polls for a job. Procrastinate sends no notification when a lock becomes free
(issue 213, closed without a change) or when a job becomes due."""
WORKER_POOL_CONNECTIONS = 7
"""Maximum connections in Procrastinate's pool in one process."""
WORKER_CONNECTIONS = WORKER_POOL_CONNECTIONS + 2
"""Maximum connections of one process to the queue: the pool, and one more for each of two workers,
on which it listens for notifications."""
MAX_FETCHED_JOBS = 1000
"""The concurrency of a worker: the maximum number of jobs that it has fetched. This includes jobs
that wait for their platform and hold no place. Procrastinate cannot change the concurrency while a
worker runs (issue 1552), so it is this high, and `until_room` limits the number of jobs that work
(tests/contract/test_fairness.py)."""
RESTART_SECONDS = 1.0
"""Seconds before a worker that ended with an error is started again."""
PRUNE_LEASES = 4
"""Number of leases (`LEASE_SECONDS`) without a heartbeat after which Procrastinate deletes a
worker's row."""
FETCH_JOB_SQL = (
    "SELECT id, status, task_name, priority, lock, queueing_lock, args, scheduled_at, queue_name,"
    " attempts, worker_id FROM ponte_fetch_job(%(queues)s::varchar[], %(worker_id)s)"
)
"""Procrastinate's query for a job, through `ponte_fetch_job`. That function keeps the query plan
fast while the table has no statistics (issue 1242; tests/contract/test_queue_plan.py;
core/store/schema.py)."""
HEARTBEAT_SQL = (
    "INSERT INTO procrastinate_workers (id, last_heartbeat) OVERRIDING SYSTEM VALUE"
    " VALUES (?, now()) ON CONFLICT (id) DO UPDATE SET last_heartbeat = now()"
)
FETCHED_JOBS_SQL = (
    "SELECT id, (args ->> 'seq')::bigint AS seq FROM procrastinate_jobs"
    " WHERE status = 'doing' AND worker_id = ANY(?)"
)
RunJob = Callable[[int, str, int], Awaitable[None]]
"""Runs the turn of a job: called with the turn's `seq`, the job's queue and its priority. If it
raises, the job is put back."""
WaitForRoom = Callable[[Iterable[str] | None], Awaitable[bool]]
"""Waits until a job of these queues may begin. Returns False if the worker must fetch no more."""


class QueueWorkers:
    """The workers of Procrastinate in this process. `url` is the database's connection string."""

    def __init__(self, url: str, run_job: RunJob, until_room: WaitForRoom) -> None:
        self.ids: list[int] = []
        """The ids of the running workers, as in the table `procrastinate_workers`."""
        self.idle: set[int] = set()
        """The ids of jobs that our workers own and that this process does not run, as of the last
        sweep."""
        self.app = _create_app(url, run_job, until_room, self.ids)

    async def open(self) -> None:
        """Open the connections to the queue."""
        await self.app.open_async()

    async def close(self) -> None:
        """Close the connections to the queue. Errors are ignored."""
        with suppress(Exception):
            await self.app.close_async()

    async def run(self, queues: Sequence[str] | None, stop: asyncio.Event, lease: float) -> None:
        """Run one worker until `stop` is set, and restart it after an error.

        Cancel this call to make the worker fetch no more jobs and wait for its running ones.
        `queues` None means all queues. `lease` is the lease of a process in seconds.
        """
        while not stop.is_set():
            try:
                await self.app.run_worker_async(
                    queues=queues,  # type: ignore[arg-type]
                    concurrency=MAX_FETCHED_JOBS, fetch_job_polling_interval=QUEUE_POLL_SECONDS,
                    delete_jobs="successful", install_signal_handlers=False,
                    stalled_worker_timeout=PRUNE_LEASES * lease,
                )  # fmt: skip
            except Exception as error:
                log.warning("worker made anew", why=repr(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(RESTART_SECONDS):
                    await stop.wait()

    def write_sign_of_life(self, connection: SqlConnection) -> None:
        """Store a heartbeat of each worker, so that its jobs stay its own (see `update_heartbeat`).

        If another process deleted a worker's row while this process was frozen, the row is inserted
        again. Otherwise no fetch would succeed any more (tests/contract/test_queue_workers.py).
        """
        for id in tuple(self.ids):
            connection.execute(HEARTBEAT_SQL, (id,)).close()

    def drop_idle(self, connection: SqlConnection, running: Container[int]) -> set[int]:
        """Delete jobs that our workers own but that this process did not run in two sweeps.

        `running` are the `seq` of turns that run here. Return the ids of all idle jobs; assign them
        to `idle` once the transaction is committed.

        A job becomes idle if the connection breaks while the job is fetched or its end is recorded.
        Procrastinate leaves such a job in `doing`, so its conversation would wait forever
        (issue 1518; tests/contract/test_queue_workers.py).
        """
        fetched = connection.execute(FETCHED_JOBS_SQL, (self.ids,)).fetchall()
        idle = {row["id"]: row["seq"] for row in fetched if row["seq"] not in running}
        for job in self.idle & idle.keys():
            log.info("job dropped that nobody is at", seq=idle[job])
            connection.execute("DELETE FROM procrastinate_jobs WHERE id = ?", (job,))
        return set(idle)


def _create_app(
    url: str, run_job: RunJob, until_room: WaitForRoom, ids: list[int]
) -> procrastinate.App:
    """Return a Procrastinate app whose job manager has the workarounds below.

    The app keeps the ids of the running workers in `ids`.
    """
    import procrastinate
    from procrastinate.exceptions import ConnectorException
    from procrastinate.manager import JobManager, get_channel_for_queues

    class Manager(JobManager):
        """Procrastinate's job manager with workarounds for its handling of errors."""

        async def register_worker(self) -> int:
            """Register a worker and remember its id."""
            id = await super().register_worker()
            ids.append(id)
            return id

        async def unregister_worker(self, worker_id: int) -> None:
            """Unregister a worker and drop its id."""
            await super().unregister_worker(worker_id)
            ids.remove(worker_id)

        async def update_heartbeat(self, worker_id: int) -> None:
            """Do nothing: `write_sign_of_life` stores the heartbeat, together with the process's.

            Procrastinate stops its own heartbeat as soon as a worker begins to stop, although its
            jobs still run. Other processes would then take these jobs over (pull request 1585,
            open; tests/contract/test_queue_workers.py).
            """

        async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
            """Wait for room and fetch a job. An error counts as no job; the next poll comes soon.

            At an error, Procrastinate would wait for the worker's running jobs and then end the
            worker. After a broken connection, the process would get no new turns until its longest
            turn ends (tests/contract/test_queue_workers.py).
            """
            from procrastinate.jobs import Job

            if not await until_room(queues):
                return None
            try:
                row = await self.connector.execute_query_one_async(
                    query=FETCH_JOB_SQL, queues=queues, worker_id=worker_id
                )
            except ConnectorException as error:
                log.warning("no job fetched", why=repr(error.__cause__))
                await connector.pool.check()
                return None
            return None if row["id"] is None else Job.from_row(row)

        async def listen_for_jobs(
            self, *, on_notification: Any, queues: Iterable[str] | None = None
        ) -> None:
            """Poll for a job at every notification, without reading its payload.

            Procrastinate's own listener parses the payload. A malformed one would end the worker,
            and anybody who may connect to the database could abort a job
            (tests/contract/test_notifications.py).
            """

            async def look(channel: str, payload: str) -> None:
                await on_notification(channel=channel, notification={"type": "job_inserted"})

            await self.connector.listen_notify(look, get_channel_for_queues(queues))

        async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
            """Record the end of a job. If that fails, the next sweep does it.

            It fails if the database is unavailable, or if another process took the turn over and
            cancelled the job (issue 511). Procrastinate would raise in a task that nobody awaits
            (tests/contract/test_queue_workers.py).
            """
            try:
                await super().finish_job(job, status, delete_job)
            except ConnectorException as error:
                log.info("a job's end was not recorded; a sweep does", why=repr(error.__cause__))

    async def run(context: JobContext, seq: int) -> None:
        await run_job(seq, context.job.queue, context.job.priority)

    # Procrastinate logs each job twice, with its arguments, and errors that Ponte logs itself.
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
    connector = procrastinate.PsycopgConnector(
        conninfo=url, min_size=1, max_size=WORKER_POOL_CONNECTIONS, kwargs=CONNECTION_OPTIONS,
        pool_factory=create_statement_pool, configure=end_each_statement,
    )  # fmt: skip
    app = procrastinate.App(connector=connector)
    app.job_manager = Manager(connector)
    app.task(name="turn", retry=True, pass_context=True)(run)
    return app
