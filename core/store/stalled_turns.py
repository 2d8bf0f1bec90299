"""Finds turns whose process died, and everything else that a dead process left in the queue.

Procrastinate leaves a job whose process died in `doing`, with its lock (issues 1518, 740 and 1408
of procrastinate-org/procrastinate). Its own list of stalled jobs lacks those whose worker's row is
deleted, and putting such a job back would let a frozen process end it by its id while another one
runs it. So the job is cancelled, and the turn gets a new one before all that wait. What a frozen
process still writes is refused by the attempt's number (tests/contract/test_processes.py).
"""

from __future__ import annotations

import structlog

from core.domain.records import FINAL_STATES
from core.store import processes
from core.store.database import SqlConnection, lock_key
from core.store.inbox import get_locked_row
from core.store.places import CRASHES_BEFORE_ALONE
from core.store.rolling_upgrade import WAITING_JOB
from core.store.tables import OPEN_STATE_LIST

log = structlog.get_logger("jobs")
ALONE_PRIORITY, FIRST_PRIORITY, REFUSED_PRIORITY = 2, 1, -1
"""Priorities of a job: of a turn that runs alone, of another one that is handed on, and of the
answer to a message over the limits. Other decisions have 0, and a turn has its position in the
line, negative."""
FIRST_POSTPONED_SECONDS, MAX_POSTPONED_SECONDS = 0.5, 5.0
"""When a turn that gave its place back is looked at again: after half its age."""
PRUNE_SECONDS = 3600.0
"""After which progress and rate limits that nobody updates are deleted."""
PROCESS_ROW_LEASES = 4
"""Leases without a sign of life after which a process's row is deleted."""
DEAD_JOB_SQL = (
    "(jobs.worker_id IS NULL OR NOT EXISTS (SELECT 1 FROM procrastinate_workers AS w"
    " WHERE w.id = jobs.worker_id AND w.last_heartbeat > now() - make_interval(secs => ?)))"
)
STALLED_TURNS_SQL = (
    "SELECT inbox.seq FROM inbox"  # noqa: S608 (constants of ours)
    " LEFT JOIN procrastinate_jobs AS jobs"
    f" ON jobs.id = inbox.job AND inbox.job <> {WAITING_JOB}"
    f" WHERE inbox.state IN {OPEN_STATE_LIST}"
    f" AND (inbox.state <> 'new' OR inbox.job <> {WAITING_JOB})"
    " AND (jobs.id IS NULL OR jobs.status NOT IN ('todo', 'doing')"
    f" OR (jobs.status = 'doing' AND {DEAD_JOB_SQL})) ORDER BY inbox.alone, inbox.seq"
)
"""Turns whose job is gone or whose process died; one that waits without a job is none of them."""
WITHOUT_JOB_SQL = (
    "SELECT DISTINCT channel || ' ' || person AS flow FROM inbox"  # noqa: S608
    f" WHERE state = 'new' AND job = {WAITING_JOB}"
)
LEFT_OVER_JOBS_SQL = (
    "DELETE FROM procrastinate_jobs AS jobs WHERE (jobs.status = 'doing' AND"  # noqa: S608
    f" {DEAD_JOB_SQL} OR jobs.status NOT IN ('todo', 'doing')) AND NOT EXISTS"
    f" (SELECT 1 FROM inbox WHERE inbox.job = jobs.id AND inbox.state IN {OPEN_STATE_LIST})"
)
"""Jobs of turns that are over: what a process left that died between the turn's end and the job's,
and what was cancelled."""
SPARE_CONVERSATIONS_SQL = (
    "UPDATE remotes SET erase = 1 WHERE thread = '' AND erase = 0"
    " AND owner NOT IN (SELECT id FROM processes)"
)
"""Conversations made ahead by a process that is gone."""
KERNEL_HOLDER_SQL = (
    "SELECT kernels.process FROM inbox JOIN threads ON threads.conversation = inbox.conversation"
    " JOIN kernels ON kernels.thread = threads.id JOIN processes ON processes.id = kernels.process"
    " WHERE inbox.seq = ? AND inbox.decision = 0 AND processes.id != ?"
    " AND processes.seen > extract(epoch FROM now()) - ?"
)
"""The living process that has the conversation's kernel, where that is another one."""
STRANDED_JOBS_SQL = (
    "UPDATE procrastinate_jobs SET queue_name = split_part(lock, ':', 1) WHERE status = 'todo'"
    " AND left(queue_name, 1) = '@' AND substr(queue_name, 2) NOT IN (SELECT id FROM processes"
    " WHERE seen > extract(epoch FROM now()) - ?)"
)
"""What was handed to a process that is gone."""


def defer(connection: SqlConnection, seq: int, priority: int, queue: str | None = None) -> None:
    """Give a turn a new job; `queue` is its platform's where it is None."""
    connection.execute("SELECT ponte_defer(?, ?, ?)", (seq, queue, priority)).close()


def find_stalled(connection: SqlConnection) -> list[int]:
    return [row["seq"] for row in connection.execute(STALLED_TURNS_SQL, (processes.LEASE_SECONDS,))]


def take_over(connection: SqlConnection, seq: int) -> bool:
    """Give a stalled turn a new job; False where it is none any more."""
    row = connection.execute(
        "SELECT conversation, attempt FROM inbox WHERE seq = ?", (seq,)
    ).fetchone()
    lock_key(connection, row["conversation"])
    still = connection.execute(
        STALLED_TURNS_SQL.replace("WHERE", "WHERE inbox.seq = ? AND", 1),
        (seq, processes.LEASE_SECONDS),
    ).fetchone()
    if still is None:
        return False
    connection.execute(
        "UPDATE procrastinate_jobs SET status = 'cancelled', abort_requested = false"
        " WHERE id <> ? AND id = (SELECT job FROM inbox WHERE seq = ?)",
        (WAITING_JOB, seq),
    )
    defer(
        connection,
        seq,
        ALONE_PRIORITY if row["attempt"] >= CRASHES_BEFORE_ALONE else FIRST_PRIORITY,
    )
    return True


def postpone(connection: SqlConnection, seq: int, priority: int, now: float) -> bool:
    """Give the turn a new job before all that wait in its conversation, which is due in a while;
    False where the turn is over."""
    found = get_locked_row(connection, seq)
    if found is None or found["state"] in FINAL_STATES:
        return False
    age = max(0.0, now - found["created"])
    wait = min(max(FIRST_POSTPONED_SECONDS, age / 2), MAX_POSTPONED_SECONDS)
    defer(connection, seq, max(FIRST_PRIORITY, priority))
    connection.execute(
        "UPDATE procrastinate_jobs SET scheduled_at = now() + make_interval(secs => ?)"
        " WHERE id = (SELECT job FROM inbox WHERE seq = ?)",
        (wait, seq),
    )
    return True


def hand_over(connection: SqlConnection, seq: int, priority: int, own_id: str) -> str:
    """Give the turn a new job for the process that has its conversation's kernel; return that
    process's id, or "" where it is the own process or none. The job begins when the present one
    has ended."""
    row = connection.execute(KERNEL_HOLDER_SQL, (seq, own_id, processes.LEASE_SECONDS)).fetchone()
    if row is None:
        return ""
    found = get_locked_row(connection, seq)
    if found is None or found["state"] in FINAL_STATES:
        return ""
    defer(connection, seq, max(FIRST_PRIORITY, priority), f"@{row['process']}")
    return str(row["process"])


def return_stranded(connection: SqlConnection) -> None:
    """Give jobs that were handed to a dead process back to their platform's queue."""
    connection.execute(STRANDED_JOBS_SQL, (processes.LEASE_SECONDS,)).close()


def delete_leftovers(connection: SqlConnection) -> None:
    """Delete what dead processes left, and give each turn that may begin a job."""
    lease = processes.LEASE_SECONDS
    connection.execute(LEFT_OVER_JOBS_SQL, (lease,))
    connection.execute(
        "DELETE FROM processes WHERE seen < extract(epoch FROM now()) - ?",
        (PROCESS_ROW_LEASES * lease,),
    )
    return_stranded(connection)
    connection.execute(SPARE_CONVERSATIONS_SQL)
    for row in connection.execute(WITHOUT_JOB_SQL).fetchall():
        ready = "SELECT ponte_ready(?) AS found"
        while connection.execute(ready, (row["flow"],)).fetchone()["found"]:
            pass
    for table, column in (("progress", "at"), ("paces", "due")):
        connection.execute(
            f"DELETE FROM {table} WHERE {column} < extract(epoch FROM now()) - ?",  # noqa: S608
            (PRUNE_SECONDS,),
        )
