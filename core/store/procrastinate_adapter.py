"""The adapter for Procrastinate, the job queue on Postgres.

Procrastinate stores jobs and gives each one to one worker. It never runs two jobs with the same
lock at once, notifies workers of new jobs, and puts a job back if its task raises. Each workaround
in this module names the upstream issue (github.com/procrastinate-org/procrastinate) or the test
that shows why it is needed.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
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
QUEUE_POLL_SECONDS = 5.0
"""Seconds between two polls for a job. A worker usually learns of a job by a notification. A poll
finds the job if the notification was lost."""
FETCH_RETRY_SECONDS = 0.2
"""Seconds before a worker looks again after an error, and at least before a job that is due."""
RELISTEN_SECONDS = 1.0
"""Seconds before a worker that lost its connection for notifications opens another one."""
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
    "SELECT job.*, CASE WHEN job.message IS NOT NULL AND NOT job.has_kernels"
    " THEN ponte_begin((job.args ->> 'seq')::bigint, job.lock, %(owner)s, %(thread)s, %(now)s)"
    " END AS begun FROM ponte_fetch(%(queues)s::varchar[], %(worker_id)s) AS job"
)
"""Procrastinate's query for a job, through `ponte_fetch`, which also begins the job's turn. That
function keeps the query plan fast while the table has no statistics (issue 1242;
tests/contract/test_queue_plan.py; core/store/schema.py). Where kernels run, the turn may have to
begin in another process."""
ANNOUNCE_SQL = (
    "SELECT pg_notify('procrastinate_queue_v1#' || queue_name, '{}') FROM procrastinate_jobs"
    " WHERE lock = %(lock)s AND status = 'todo'"
)
"""Notifies workers of the jobs with a lock that became free, as Procrastinate does not (issue 213,
closed without a change)."""
HEARTBEAT_SQL = (
    "INSERT INTO procrastinate_workers (id, last_heartbeat) OVERRIDING SYSTEM VALUE"
    " VALUES (?, now()) ON CONFLICT (id) DO UPDATE SET last_heartbeat = now()"
)
FETCHED_JOBS_SQL = (
    "SELECT id, (args ->> 'seq')::bigint AS seq FROM procrastinate_jobs"
    " WHERE status = 'doing' AND worker_id = ANY(?)"
)
Json = dict[str, Any]
RunJob = Callable[[int, str, int], Awaitable[None]]
"""Runs the turn of a job: called with the turn's `seq`, the job's queue and its priority. If it
raises, the job is put back."""
WaitForRoom = Callable[[Iterable[str] | None], Awaitable[bool]]
"""Waits until a job of these queues may begin. Returns False if the worker must fetch no more."""


class QueueWorkers:
    """The workers of Procrastinate in this process.

    `url` is the database's connection string, `owner` the id of the process, for which fetched
    turns begin.
    """

    def __init__(self, url: str, owner: str, run_job: RunJob, until_room: WaitForRoom) -> None:
        self.owner = owner
        self.ids: list[int] = []
        """The ids of the running workers, as in the table `procrastinate_workers`."""
        self.ended: set[int] = set()
        """The `seq` of turns that this process ended. The transaction that ended a turn also
        deleted its job."""
        self.messages: dict[int, tuple[str, float]] = {}
        """The messages of fetched turns that had not begun, as JSON, and when they were stored
        (seconds since 1970), by `seq`."""
        self.begun: dict[int, Json] = {}
        """What `ponte_begin` returned of turns that began with the fetch, by `seq`, until a handler
        takes it."""
        self.has_kernels = False
        """Whether any process may have had a kernel at the last fetch."""
        self.idle: set[int] = set()
        """The ids of jobs that our workers own and that this process does not run, as of the last
        sweep."""
        self.app = _create_app(url, run_job, until_room, self)

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
    url: str, run_job: RunJob, until_room: WaitForRoom, workers: QueueWorkers
) -> procrastinate.App:
    """Return a Procrastinate app whose job manager has the workarounds below.

    The app keeps `ids`, `ended` and `has_kernels` of `workers` up to date.
    """
    import procrastinate
    from procrastinate.exceptions import ConnectorException
    from procrastinate.manager import JobManager, get_channel_for_queues

    class Manager(JobManager):
        """Procrastinate's job manager with workarounds for its handling of errors, and with fewer
        looks for jobs."""

        def __init__(self, connector: Any) -> None:
            super().__init__(connector)
            self._news: set[tuple[str, ...]] = set()
            """Queues of a worker for which a notification came since the last fetch."""
            self._without_more: set[int] = set()
            """Workers whose last fetch found a job, and no other job that waits."""
            self._looks: dict[tuple[str, ...], Callable[[], None]] = {}
            """Functions that make a worker look for a job, by its queues."""

        async def register_worker(self) -> int:
            """Register a worker and remember its id."""
            id = await super().register_worker()
            workers.ids.append(id)
            return id

        async def unregister_worker(self, worker_id: int) -> None:
            """Unregister a worker and drop its id."""
            await super().unregister_worker(worker_id)
            workers.ids.remove(worker_id)

        async def update_heartbeat(self, worker_id: int) -> None:
            """Do nothing: `write_sign_of_life` stores the heartbeat, together with the process's.

            Procrastinate stops its own heartbeat as soon as a worker begins to stop, although its
            jobs still run. Other processes would then take these jobs over (pull request 1585,
            open; tests/contract/test_queue_workers.py).
            """

        async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
            """Wait for room and fetch a job. An error counts as no job.

            At an error, Procrastinate would wait for the worker's running jobs and then end the
            worker. After a broken connection, the process would get no new turns until its longest
            turn ends (tests/contract/test_queue_workers.py). Procrastinate also fetches until it
            gets no job. `ponte_fetch` tells whether another one waits, so that most turns need one
            fetch.
            """
            from procrastinate.jobs import Job

            key = tuple(queues or ())
            while await until_room(queues):
                if worker_id in self._without_more:
                    self._without_more.discard(worker_id)
                    if key not in self._news:
                        return None
                self._news.discard(key)
                try:
                    row = await self.connector.execute_query_one_async(
                        query=FETCH_JOB_SQL, queues=queues, worker_id=worker_id,
                        owner=workers.owner, thread=secrets.token_hex(8), now=time.time(),
                    )  # fmt: skip
                except ConnectorException as error:
                    log.warning("no job fetched", why=repr(error.__cause__))
                    await connector.pool.check()
                    self._look_later(key, FETCH_RETRY_SECONDS)
                    return None
                workers.has_kernels = row.pop("has_kernels")
                look_in = row.pop("look_in")
                message, stored_at = row.pop("message"), row.pop("created")
                begun = row.pop("begun")
                if row["id"] is not None:
                    seq = row["args"]["seq"]
                    if message is not None:
                        workers.messages[seq] = message, stored_at
                    if begun is not None:
                        workers.begun[seq] = begun
                    if look_in is None:
                        self._without_more.add(worker_id)
                    return Job.from_row(row)
                # Procrastinate forgets a notification that comes during a fetch.
                if key not in self._news:
                    if look_in is not None:
                        self._look_later(key, max(look_in, FETCH_RETRY_SECONDS))
                    return None
            return None

        def _look_later(self, key: tuple[str, ...], seconds: float) -> None:
            """Make the workers of these queues look for a job after that time."""
            if look := self._looks.get(key):
                asyncio.get_running_loop().call_later(seconds, look)

        async def listen_for_jobs(
            self, *, on_notification: Any, queues: Iterable[str] | None = None
        ) -> None:
            """Look for a job at every notification, without reading its payload.

            Procrastinate's own listener parses the payload. A malformed one would end the worker,
            and anybody who may connect to the database could abort a job
            (tests/contract/test_notifications.py). It would also end the worker if it cannot
            connect again.
            """
            key = tuple(queues or ())
            notification = {"type": "job_inserted"}

            def look() -> None:
                self._news.add(key)
                task = asyncio.ensure_future(on_notification(channel="", notification=notification))
                looking.add(task)
                task.add_done_callback(looking.discard)

            async def on_news(channel: str, payload: str) -> None:
                self._news.add(key)
                await on_notification(channel=channel, notification=notification)

            looking: set[asyncio.Future[None]] = set()
            self._looks[key] = look
            while True:
                # Jobs may have come before the connection listens.
                self._look_later(key, RELISTEN_SECONDS)
                with suppress(ConnectorException):
                    await self.connector.listen_notify(on_news, get_channel_for_queues(queues))
                await asyncio.sleep(RELISTEN_SECONDS)

        async def retry_job(self, job: Job, *options: Any, **more: Any) -> None:
            """Put a job back, and notify all processes of it."""
            await super().retry_job(job, *options, **more)
            await self.connector.execute_query_async(query=ANNOUNCE_SQL, lock=job.lock)

        async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
            """Record the end of a job, unless the end of its turn has deleted it. If that fails,
            the next sweep does it.

            It fails if the database is unavailable, or if another process took the turn over and
            cancelled the job (issue 511). Procrastinate would raise in a task that nobody awaits
            (tests/contract/test_queue_workers.py).
            """
            if (seq := job.task_kwargs["seq"]) in workers.ended:
                workers.ended.discard(seq)
                return
            try:
                await super().finish_job(job, status, delete_job)
                await self.connector.execute_query_async(query=ANNOUNCE_SQL, lock=job.lock)
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
