"""Procrastinate's job manager with the workarounds of Ponte, imported only with a shared database.

Each workaround names the upstream issue (github.com/procrastinate-org/procrastinate) or the test
that shows why it is needed.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import structlog
from procrastinate import PsycopgConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager, get_channel_for_queues

from core.journal.turn_rows import FetchedTurns, WaitForRoom

log = structlog.get_logger("jobs")
FETCH_RETRY_SECONDS = 0.2
RELISTEN_SECONDS = 1.0
FETCH_JOB_SQL = (
    "SELECT job.*, CASE WHEN job.message IS NOT NULL AND job.lock IS NOT NULL"
    " AND NOT job.has_kernels"
    " THEN ponte_begin((job.args ->> 'seq')::bigint, job.lock, %(owner)s, %(thread)s, %(now)s)"
    " END AS begun FROM ponte_fetch(%(queues)s::varchar[], %(worker_id)s) AS job"
)
"""Procrastinate's query for a job, through `ponte_fetch`, which also begins the job's turn. That
function keeps the query plan fast while the table has no statistics (issue 1242;
tests/contract/test_queue_plan.py; core/journal/shared_functions.py). Where kernels run, the turn
may have to begin in another process. A decision has no lock; it begins later."""
ANNOUNCE_SQL = (
    "SELECT pg_notify('procrastinate_queue_v1#' || queue_name, '{}') FROM procrastinate_jobs"
    " WHERE lock = %(lock)s AND status = 'todo'"
)
"""Notifies workers of the jobs with a lock that became free, as Procrastinate does not (issue 213,
closed without a change)."""


class TurnJob(Job):
    """A job without a description: Procrastinate would build the text several times for each job,
    although Ponte does not write this log."""

    def log_context(self) -> dict[str, Any]:
        return {}


class TurnJobManager(JobManager):
    """Procrastinate's job manager (the part that fetches jobs and records their ends), with
    workarounds for how it handles errors, and with fewer queries."""

    def __init__(
        self, connector: PsycopgConnector, workers: FetchedTurns, until_room: WaitForRoom
    ) -> None:
        super().__init__(connector)
        # `connector` of the base class has a wider type, without `pool`.
        self._queue = connector
        self._workers = workers
        self._until_room = until_room
        self._news: set[tuple[str, ...]] = set()
        """Queues of a worker for which a notification came since the last fetch. Procrastinate
        forgets one that comes during a fetch, so that fetch is repeated."""
        self._without_more: set[int] = set()
        """The ids of workers whose last fetch found a job, and no other job that waits.
        Procrastinate fetches again at once; without a notification, that fetch needs no query."""
        self._looks: dict[tuple[str, ...], Callable[[], None]] = {}
        """`_look_later` calls them when no notification comes, such as after an error."""

    async def register_worker(self) -> int:
        id = await super().register_worker()
        self._workers.ids.append(id)
        return id

    async def unregister_worker(self, worker_id: int) -> None:
        await super().unregister_worker(worker_id)
        self._workers.ids.remove(worker_id)

    async def update_heartbeat(self, worker_id: int) -> None:
        """Do nothing: `write_sign_of_life` stores the heartbeat, together with the process's.

        Procrastinate stops its own heartbeat as soon as a worker begins to stop, although its
        jobs still run. Other processes would then take these jobs over (pull request 1585,
        open; tests/contract/test_queue_workers.py).
        """

    async def list_jobs_to_abort_async(self, queue: str | None = None) -> Iterable[int]:
        """Return none, without asking the database: Ponte never asks for the abortion of a job.

        Procrastinate would ask every five seconds while a job runs. A person stops a turn by
        `Inbox.cancel`.
        """
        return ()

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """Wait until another turn may begin here. Return None if there is none, or if the database
        fails: then the worker looks again soon.

        If this raised, Procrastinate would wait for the worker's running jobs and then end the
        worker. After a broken connection, the process would get no new turns until its longest turn
        ends (tests/contract/test_queue_workers.py). Procrastinate also fetches until it gets no
        job. `ponte_fetch` tells whether another one waits, so that most turns need one fetch.
        """
        key = tuple(queues or ())
        while await self._until_room(queues):
            # This worker's last fetch told that no other job waits. Only a notification since then
            # (`_news`) is worth a fetch.
            if worker_id in self._without_more:
                self._without_more.discard(worker_id)
                if key not in self._news:
                    return None
            self._news.discard(key)
            try:
                row = await self.connector.execute_query_one_async(
                    query=FETCH_JOB_SQL,
                    queues=queues,
                    worker_id=worker_id,
                    owner=self._workers.owner,
                    thread=secrets.token_hex(8),
                    now=time.time(),
                )
            except ConnectorException as error:
                log.warning("could not fetch a job", error=repr(error.__cause__))
                await self._queue.pool.check()  # replaces broken connections
                self._look_later(key, FETCH_RETRY_SECONDS)
                return None
            # Columns that `ponte_fetch` adds to the job's row, which `from_row` does not know.
            self._workers.has_kernels = row.pop("has_kernels")
            look_in = row.pop("look_in")
            message, stored_at = row.pop("message"), row.pop("created_at")
            turn_facts = row.pop("begun")
            if row["id"] is not None:
                seq = row["args"]["seq"]
                if message is not None:
                    self._workers.messages[seq] = message, stored_at
                if turn_facts is not None:  # the fetch has begun the turn, too
                    self._workers.begun[seq] = turn_facts
                if look_in is None:  # no other job waits
                    self._without_more.add(worker_id)
                return TurnJob.from_row(row)
            # No job. Procrastinate forgets a notification that comes during a fetch: if one came,
            # the loop fetches again. `look_in`: seconds until a postponed job is due.
            if key not in self._news:
                if look_in is not None:
                    self._look_later(key, max(look_in, FETCH_RETRY_SECONDS))
                return None
        return None

    def _look_later(self, key: tuple[str, ...], seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._look, key)

    def _look(self, key: tuple[str, ...]) -> None:
        if look := self._looks.get(key):
            look()

    async def listen_for_jobs(
        self, *, on_notification: Any, queues: Iterable[str] | None = None
    ) -> None:
        """Make a worker look for a job (`on_notification`) at each notification, whatever its
        payload, until cancelled. Procrastinate's own listener parses the payload. A malformed one
        would end the worker, and anybody who may connect to the database could abort a job
        (tests/contract/test_notifications.py). It would also end the worker if it cannot connect
        again."""
        key = tuple(queues or ())
        notification = {"type": "job_inserted"}  # what the worker is told instead of the payload

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
        try:
            while True:
                # Jobs may have come before the connection listens, or while it was broken. The
                # worker looks for them later, when the connection usually listens.
                self._look_later(key, RELISTEN_SECONDS)
                # `listen_notify` opens a lost connection again, and raises if it cannot.
                with suppress(ConnectorException):
                    await self.connector.listen_notify(on_news, get_channel_for_queues(queues))
                await asyncio.sleep(RELISTEN_SECONDS)
        finally:
            # A worker that was restarted meanwhile has its own function there.
            if self._looks.get(key) is look:
                del self._looks[key]

    async def retry_job(self, job: Job, *options: Any, **keywords: Any) -> None:
        """All processes are notified, so that another one takes the job at once."""
        await super().retry_job(job, *options, **keywords)
        await self.connector.execute_query_async(query=ANNOUNCE_SQL, lock=job.lock)

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        """Record the end of a job, unless the end of its turn has deleted the job. Then notify
        workers that the next job with its lock, which is its conversation, may run.

        This fails if the database is unavailable, or if another process took the turn over and
        cancelled the job (issue 511). Then a later `Jobs.sweep` deletes the job. Procrastinate
        would raise in a task that nobody awaits (tests/contract/test_queue_workers.py).
        """
        if (seq := job.task_kwargs["seq"]) in self._workers.ended:
            self._workers.ended.discard(seq)
            return
        try:
            await super().finish_job(job, status, delete_job)
            await self.connector.execute_query_async(query=ANNOUNCE_SQL, lock=job.lock)
        except ConnectorException as error:
            log.info("could not record the end of a job", error=repr(error.__cause__))
