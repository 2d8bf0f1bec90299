"""The adapter around Procrastinate, the queue that hands jobs to workers.

Procrastinate stores jobs, gives each to one worker, keeps jobs with the same lock apart, notifies
workers of new jobs, and puts a job back whose task raises. Each workaround here names the upstream
issue (github.com/procrastinate-org/procrastinate) or the test that shows its need.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog

from core.store.database import SqlConnection
from core.store.postgres import CONNECTION_OPTIONS

if TYPE_CHECKING:
    import procrastinate
    from procrastinate import JobContext
    from procrastinate.jobs import Job, Status

log = structlog.get_logger("jobs")
QUEUE_POLL_SECONDS = 0.2
"""Between two looks for a job. Procrastinate notifies nobody when a lock becomes free (issue 213,
closed without a change), nor when a job becomes due."""
WORKER_POOL_CONNECTIONS = 7
WORKER_CONNECTIONS = WORKER_POOL_CONNECTIONS + 2
"""Of a process to the queue, at most: each of two workers listens on a connection of its own."""
MAX_FETCHED_JOBS = 1000
"""Jobs that one worker may have fetched, with those that wait for their platform and hold no place.
Procrastinate cannot change a worker's concurrency while it runs (issue 1552), so this is its
concurrency, and `until_room` limits how many work (tests/contract/test_fairness.py)."""
RESTART_SECONDS = 1.0
"""Before a worker that could not start is started again."""
PRUNE_LEASES = 4
"""Leases without a sign of life after which Procrastinate deletes a worker's row."""
FETCH_JOB_SQL = (
    "SELECT id, status, task_name, priority, lock, queueing_lock, args, scheduled_at, queue_name,"
    " attempts, worker_id FROM ponte_fetch_job(%(queues)s::varchar[], %(worker_id)s)"
)
"""Procrastinate's query over `ponte_fetch_job`, which keeps the plan fast while the table has no
statistics (issue 1242; tests/contract/test_queue_plan.py; core/store/schema.py)."""
HEARTBEAT_SQL = (
    "INSERT INTO procrastinate_workers (id, last_heartbeat) OVERRIDING SYSTEM VALUE"
    " VALUES (?, now()) ON CONFLICT (id) DO UPDATE SET last_heartbeat = now()"
)
FETCHED_JOBS_SQL = (
    "SELECT id, (args ->> 'seq')::bigint AS seq FROM procrastinate_jobs"
    " WHERE status = 'doing' AND worker_id = ANY(?)"
)
RunJob = Callable[[int, str, int], Awaitable[None]]
"""Runs the turn `seq` of a job from this queue with this priority. A job whose run raises is put
back."""
WaitForRoom = Callable[[Iterable[str] | None], Awaitable[bool]]
"""Waits until a job of these queues may begin; False when nothing more is to be fetched."""


class QueueWorkers:
    """Procrastinate's workers in this process."""

    def __init__(self, url: str, run_job: RunJob, until_room: WaitForRoom) -> None:
        self.ids: list[int] = []
        """Of the workers that run now, in `procrastinate_workers`."""
        self.idle: set[int] = set()
        """Jobs that our workers have and nobody here works at, as the last sweep found them."""
        self.app = _create_app(url, run_job, until_room, self.ids)

    async def open(self) -> None:
        await self.app.open_async()

    async def close(self) -> None:
        with suppress(Exception):
            await self.app.close_async()

    async def run(self, queues: Sequence[str] | None, stop: asyncio.Event, lease: float) -> None:
        """Run one worker until `stop`. Cancel it to let its jobs end and fetch nothing more."""
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
        """Keep the workers' jobs theirs (see `update_heartbeat` below). A row that another process
        pruned while this one stood still is written again, or no fetch would succeed any more
        (tests/contract/test_queue_workers.py)."""
        for id in tuple(self.ids):
            connection.execute(HEARTBEAT_SQL, (id,)).close()

    def drop_idle(self, connection: SqlConnection, running: Container[int]) -> set[int]:
        """Delete jobs that our workers have, that are not `running`, and that were `idle` before;
        return all that are idle.

        The connection broke while a job was fetched, before this process learned of it, or while
        its end was recorded. Procrastinate keeps such a job in `doing`, and its conversation would
        wait for ever (issue 1518; tests/contract/test_queue_workers.py).
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
    """`ids` holds the ids of the workers that run."""
    import procrastinate
    from procrastinate.exceptions import ConnectorException
    from procrastinate.manager import JobManager, get_channel_for_queues

    class Manager(JobManager):
        async def register_worker(self) -> int:
            id = await super().register_worker()
            ids.append(id)
            return id

        async def unregister_worker(self, worker_id: int) -> None:
            await super().unregister_worker(worker_id)
            ids.remove(worker_id)

        async def update_heartbeat(self, worker_id: int) -> None:
            """Do nothing: `write_sign_of_life` does it, together with the process's own.

            Procrastinate's heartbeat stops as soon as a worker is to end, although its jobs still
            run, so other processes would take them over (pull request 1585, open;
            tests/contract/test_queue_workers.py).
            """

        async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
            """Fetch once there is room. An error counts as no job, and the next look comes soon.

            Procrastinate ends the worker at an error and waits for its running jobs before that, so
            a cut connection would keep a process from new turns for as long as its longest turn
            (tests/contract/test_queue_workers.py).
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
                return None
            return None if row["id"] is None else Job.from_row(row)

        async def listen_for_jobs(
            self, *, on_notification: Any, queues: Iterable[str] | None = None
        ) -> None:
            """Look for a job at every notification, whatever it says.

            Procrastinate's own listener parses the payload: a malformed one ends the worker, and
            anybody who may connect can abort a job (tests/contract/test_notifications.py).
            """

            async def look(channel: str, payload: str) -> None:
                await on_notification(channel=channel, notification={"type": "job_inserted"})

            await self.connector.listen_notify(look, get_channel_for_queues(queues))

        async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
            """Record a job's end, or leave that to the next sweep.

            It fails where the database is away, and where another process took the turn over and
            cancelled the job (issue 511). Procrastinate would raise in a task that nobody awaits
            (tests/contract/test_queue_workers.py).
            """
            try:
                await super().finish_job(job, status, delete_job)
            except ConnectorException as error:
                log.info("a job's end was not recorded; a sweep does", why=repr(error.__cause__))

    async def run(context: JobContext, seq: int) -> None:
        await run_job(seq, context.job.queue, context.job.priority)

    # It logs each job twice, with its arguments, and errors that we log ourselves.
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
    connector = procrastinate.PsycopgConnector(
        conninfo=url, min_size=1, max_size=WORKER_POOL_CONNECTIONS, kwargs=CONNECTION_OPTIONS
    )
    app = procrastinate.App(connector=connector)
    app.job_manager = Manager(connector)
    app.task(name="turn", retry=True, pass_context=True)(run)
    return app
