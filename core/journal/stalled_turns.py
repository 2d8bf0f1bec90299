"""Take over turns of dead processes, and clean up what these left in the queue (Postgres).

If a process dies, Procrastinate leaves its jobs in `doing`, with their locks (issues 1518, 740 and
1408 of procrastinate-org/procrastinate). Two parts of Procrastinate do not suffice:

- Its list of stalled jobs lacks jobs whose worker's row is deleted.
- If such a job were put back, a frozen process could later end it by its id while another process
  runs it.

So the old job is cancelled, and the turn gets a new one before all waiting jobs. Writes of a frozen
process are refused because of their attempt number (tests/contract/test_processes.py).
"""

from __future__ import annotations

from core.domain.records import FINAL_STATES
from core.journal.places import CRASHES_BEFORE_ALONE
from core.journal.tables import OPEN_STATE_LIST
from core.store import processes
from core.store.database import SqlConnection, select_value, select_values

ALONE_PRIORITY, FIRST_PRIORITY, REFUSED_PRIORITY = 2, 1, -1
"""Priorities of jobs; the highest runs first. ALONE: a turn that runs alone. FIRST: another turn
that is handed on. REFUSED: the refusal of a message over a rate limit. Other decisions have 0. Any
other turn has its position in the queue as a negative number."""
FIRST_POSTPONED_SECONDS, MAX_POSTPONED_SECONDS = 0.5, 5.0
"""Minimum and maximum seconds until a turn that gave back its place is tried again. Within these
limits, it waits for half its age."""
WAITING_JOB = 0
"""`inbox.job` of a turn that waits without a job."""
PRUNE_SECONDS = 3600.0
"""Seconds after which rows of `progress` and `paces` that nobody updates are deleted."""
PROCESS_ROW_LEASES = 4
"""Number of leases (`LEASE_SECONDS`) without a heartbeat after which a process's row is deleted."""
DEAD_JOB_SQL = (
    "(jobs.worker_id IS NULL OR NOT EXISTS (SELECT 1 FROM procrastinate_workers AS w"
    " WHERE w.id = jobs.worker_id AND w.last_heartbeat > now() - make_interval(secs => ?)))"
)
"""An SQL condition: the job's worker is gone or had no heartbeat for the given seconds."""
STALLED_TURNS_SQL = (
    "SELECT inbox.seq FROM inbox"  # noqa: S608 (constants of ours)
    " LEFT JOIN procrastinate_jobs AS jobs ON jobs.id = inbox.job"
    f" WHERE inbox.state IN {OPEN_STATE_LIST}"
    f" AND (inbox.state <> 'new' OR inbox.job <> {WAITING_JOB})"
    " AND (jobs.id IS NULL OR jobs.status NOT IN ('todo', 'doing')"
    f" OR (jobs.status = 'doing' AND {DEAD_JOB_SQL})) ORDER BY inbox.solo_crashes, inbox.seq"
)
"""Selects unfinished turns whose job is gone or whose process died. A turn that waits without a job
(`WAITING_JOB`) is not one of them."""
WITHOUT_JOB_SQL = (
    "SELECT DISTINCT channel || ' ' || person AS flow FROM inbox"  # noqa: S608
    f" WHERE state = 'new' AND job = {WAITING_JOB}"
)
"""Selects the senders (channel and person) with turns that wait without a job."""
LEFT_OVER_JOBS_SQL = (
    "DELETE FROM procrastinate_jobs AS jobs WHERE (jobs.status = 'doing' AND"  # noqa: S608
    f" {DEAD_JOB_SQL} OR jobs.status NOT IN ('todo', 'doing')) AND NOT EXISTS"
    f" (SELECT 1 FROM inbox WHERE inbox.job = jobs.id AND inbox.state IN {OPEN_STATE_LIST})"
)
"""Deletes jobs without an unfinished turn: cancelled ones, and those of a process that died after
the turn ended and before the job did."""
SPARE_CONVERSATIONS_SQL = (
    "UPDATE remotes SET erasure = 1 WHERE thread = '' AND erasure = 0"
    " AND owner NOT IN (SELECT id FROM processes)"
)
"""Marks objects on the model's server for erasure that a process made in advance, if the process is
gone."""
KERNEL_HOLDER_SQL = (
    "SELECT kernels.process FROM inbox JOIN threads ON threads.conversation = inbox.conversation"
    " JOIN kernels ON kernels.thread = threads.id JOIN processes ON processes.id = kernels.process"
    " WHERE inbox.seq = ? AND inbox.is_decision = 0 AND processes.id != ?"
    " AND processes.seen_at > extract(epoch FROM now()) - ?"
)
"""Selects the living process, not this one, that runs the kernel of a turn's conversation."""
STRANDED_JOBS_SQL = (
    "UPDATE procrastinate_jobs SET queue_name = split_part(lock, ':', 1) WHERE status = 'todo'"
    " AND left(queue_name, 1) = '@' AND substr(queue_name, 2) NOT IN (SELECT id FROM processes"
    " WHERE seen_at > extract(epoch FROM now()) - ?)"
)
"""Returns jobs of a dead process's own queue (`@` and its id) to their platform's queue."""


def defer(connection: SqlConnection, seq: int, priority: int, queue: str | None = None) -> None:
    """Create a new job for a turn. By default it goes to the queue of the turn's platform."""
    connection.execute("SELECT ponte_defer(?, ?, ?)", (seq, queue, priority)).close()


def find_stalled(connection: SqlConnection) -> list[int]:
    """Return the `seq` of turns whose job is gone or whose process died."""
    return select_values(connection, STALLED_TURNS_SQL, processes.LEASE_SECONDS)


def take_over(connection: SqlConnection, seq: int) -> bool:
    """Give a stalled turn a new job. Return False if the turn is no longer stalled."""
    row = connection.execute(
        "SELECT conversation, attempt FROM inbox WHERE seq = ?", (seq,)
    ).fetchone()
    connection.lock_key(row["conversation"])
    # Checked again under the lock, because another process may have taken the turn over.
    still = STALLED_TURNS_SQL.replace("WHERE", "WHERE inbox.seq = ? AND", 1)
    if not select_values(connection, still, seq, processes.LEASE_SECONDS):
        return False
    connection.execute(
        "UPDATE procrastinate_jobs SET status = 'cancelled', abort_requested = false"
        " WHERE id = (SELECT job FROM inbox WHERE seq = ?)",
        (seq,),
    )
    is_suspect = row["attempt"] >= CRASHES_BEFORE_ALONE
    defer(connection, seq, ALONE_PRIORITY if is_suspect else FIRST_PRIORITY)
    return True


def postpone(connection: SqlConnection, seq: int, priority: int, now: float) -> bool:
    """Give a turn a new job, due later, before all jobs that wait in its conversation.

    `now` is in seconds since the epoch. The delay is half the turn's age, within the limits of
    FIRST_POSTPONED_SECONDS and MAX_POSTPONED_SECONDS. Return False if the turn has ended.
    """
    found = connection.read_locked_message(seq)
    if found is None or found["state"] in FINAL_STATES:
        return False
    age = max(0.0, now - found["created_at"])
    wait = min(max(FIRST_POSTPONED_SECONDS, age / 2), MAX_POSTPONED_SECONDS)
    defer(connection, seq, max(FIRST_PRIORITY, priority))
    connection.execute(
        "UPDATE procrastinate_jobs SET scheduled_at = now() + make_interval(secs => ?)"
        " WHERE id = (SELECT job FROM inbox WHERE seq = ?)",
        (wait, seq),
    )
    return True


def put_back_unhandled(connection: SqlConnection, seq: int, owner: str) -> None:
    """Return a turn to the queue that began when the process `owner` fetched it, and that did
    nothing since."""
    connection.execute(
        "UPDATE inbox SET state = 'new', attempt = 0, thread = '', owner = ''"
        " WHERE seq = ? AND owner = ? AND state = 'running' AND attempt = 1",
        (seq, owner),
    ).close()


def hand_over(connection: SqlConnection, seq: int, priority: int, own_id: str) -> str:
    """Give a turn a new job for the process that runs the kernel of its conversation.

    Return the id of that process, or "" if it is this process, if there is none, or if the turn has
    ended. The new job begins when the present one has ended.
    """
    row = connection.execute(KERNEL_HOLDER_SQL, (seq, own_id, processes.LEASE_SECONDS)).fetchone()
    if row is None:
        return ""
    found = connection.read_locked_message(seq)
    if found is None or found["state"] in FINAL_STATES:
        return ""
    defer(connection, seq, max(FIRST_PRIORITY, priority), f"@{row['process']}")
    return str(row["process"])


def return_stranded(connection: SqlConnection) -> None:
    """Return jobs that were handed to a dead process to their platform's queue."""
    connection.execute(STRANDED_JOBS_SQL, (processes.LEASE_SECONDS,)).close()


def delete_leftovers(connection: SqlConnection) -> None:
    """Delete rows and jobs that dead processes left, and give a job to each turn that may begin."""
    lease = processes.LEASE_SECONDS
    connection.execute(LEFT_OVER_JOBS_SQL, (lease,))
    connection.execute(
        "DELETE FROM processes WHERE seen_at < extract(epoch FROM now()) - ?",
        (PROCESS_ROW_LEASES * lease,),
    )
    return_stranded(connection)
    connection.execute(SPARE_CONVERSATIONS_SQL)
    for flow in select_values(connection, WITHOUT_JOB_SQL):
        while select_value(connection, "SELECT ponte_ready(?)", flow):
            pass
    for table, column in (("progress", "updated_at"), ("paces", "due_at")):
        connection.execute(
            f"DELETE FROM {table} WHERE {column} < extract(epoch FROM now()) - ?",  # noqa: S608
            (PRUNE_SECONDS,),
        )
