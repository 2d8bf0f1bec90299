"""Gives turns of dead processes new jobs, as SQL of one transaction.

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
from core.journal.turn_rows import OPEN_STATE_LIST
from core.journal.turn_runner import CRASHES_BEFORE_ALONE
from core.store import processes
from core.store.database import SqlConnection, select_value, select_values

ALONE_PRIORITY, FIRST_PRIORITY, REFUSED_PRIORITY = 2, 1, -1
"""Priorities of jobs; the highest runs first. ALONE: a turn that runs alone. FIRST: another turn
that is handed on. REFUSED: the refusal of a message over a rate limit. Other decisions have 0. Any
other turn has its position in the queue as a negative number."""
FIRST_POSTPONED_SECONDS, MAX_POSTPONED_SECONDS = 0.5, 5.0
"""Within these limits, it waits for half its age."""
WAITING_JOB = 0
"""`inbox.job` of a turn that waits without a job."""
PRUNE_SECONDS = 3600.0
PROCESS_ROW_LEASES = 4
DEAD_JOB_SQL = (
    "(jobs.worker_id IS NULL OR NOT EXISTS (SELECT 1 FROM procrastinate_workers AS w"
    " WHERE w.id = jobs.worker_id AND w.last_heartbeat > now() - make_interval(secs => ?)))"
)
STALLED_TURNS_SQL = (
    "SELECT inbox.seq FROM inbox"  # noqa: S608 (constants of ours)
    " LEFT JOIN procrastinate_jobs AS jobs ON jobs.id = inbox.job"
    f" WHERE inbox.state IN {OPEN_STATE_LIST}"
    f" AND (inbox.state <> 'new' OR inbox.job <> {WAITING_JOB})"
    " AND (jobs.id IS NULL OR jobs.status NOT IN ('todo', 'doing')"
    f" OR (jobs.status = 'doing' AND {DEAD_JOB_SQL})) ORDER BY inbox.solo_crashes, inbox.seq"
)
"""A turn that waits without a job (`WAITING_JOB`) is not one of them."""
WITHOUT_JOB_SQL = (
    "SELECT DISTINCT channel || ' ' || person AS flow FROM inbox"  # noqa: S608
    f" WHERE state = 'new' AND job = {WAITING_JOB}"
)
LEFT_OVER_JOBS_SQL = (
    "DELETE FROM procrastinate_jobs AS jobs WHERE (jobs.status = 'doing' AND"  # noqa: S608
    f" {DEAD_JOB_SQL} OR jobs.status NOT IN ('todo', 'doing')) AND NOT EXISTS"
    f" (SELECT 1 FROM inbox WHERE inbox.job = jobs.id AND inbox.state IN {OPEN_STATE_LIST})"
)
SPARE_CONVERSATIONS_SQL = (
    "UPDATE remotes SET erasure = 1 WHERE thread = '' AND erasure = 0"
    " AND owner NOT IN (SELECT id FROM processes)"
)
KERNEL_HOLDER_SQL = (
    "SELECT kernels.process FROM inbox JOIN threads ON threads.conversation = inbox.conversation"
    " JOIN kernels ON kernels.thread = threads.id JOIN processes ON processes.id = kernels.process"
    " WHERE inbox.seq = ? AND inbox.is_decision = 0 AND processes.id != ?"
    " AND processes.seen_at > extract(epoch FROM now()) - ?"
)
STRANDED_JOBS_SQL = (
    "UPDATE procrastinate_jobs SET queue_name = split_part(lock, ':', 1) WHERE status = 'todo'"
    " AND left(queue_name, 1) = '@' AND substr(queue_name, 2) NOT IN (SELECT id FROM processes"
    " WHERE seen_at > extract(epoch FROM now()) - ?)"
)


def add_job(connection: SqlConnection, seq: int, priority: int, queue: str | None = None) -> None:
    """By default the job goes to the queue of the turn's platform. The job with the highest
    `priority` runs first."""
    connection.execute("SELECT ponte_defer(?, ?, ?)", (seq, queue, priority)).close()


def take_over(connection: SqlConnection, seq: int) -> bool:
    """Give a new job to a stalled turn, whose process died or whose job is gone. Return False if
    the turn is no longer stalled.

    A turn that was under way at several crashes is suspected to cause them. Its new job has the
    priority by which it runs alone.
    """
    row = connection.execute(
        "SELECT conversation, attempt FROM inbox WHERE seq = ?", (seq,)
    ).fetchone()
    connection.lock_key(row["conversation"])  # the transaction that begins a turn holds it, too
    # Checked again under the lock, because another process may have taken the turn over.
    still = STALLED_TURNS_SQL.replace("WHERE", "WHERE inbox.seq = ? AND", 1)
    if not select_values(connection, still, seq, processes.LEASE_SECONDS):
        return False
    # The old job is not reused: a frozen process that wakes up could still end it by its id.
    # Procrastinate also resets `abort_requested` when it ends a job.
    connection.execute(
        "UPDATE procrastinate_jobs SET status = 'cancelled', abort_requested = false"
        " WHERE id = (SELECT job FROM inbox WHERE seq = ?)",
        (seq,),
    )
    is_suspect = row["attempt"] >= CRASHES_BEFORE_ALONE
    add_job(connection, seq, ALONE_PRIORITY if is_suspect else FIRST_PRIORITY)
    return True


def postpone_turn(connection: SqlConnection, seq: int, priority: int, now: float) -> bool:
    """Give a turn that cannot begin yet a new job, due later, before all jobs that wait in its
    conversation. The platform has not told its author yet, so other turns get its place.

    `priority` is that of the present job, and `now` is in seconds since the epoch. The delay is
    half the turn's age, within FIRST_POSTPONED_SECONDS and MAX_POSTPONED_SECONDS. Return False if
    the turn has ended.
    """
    row = connection.read_locked_message(seq)
    if row is None or row["state"] in FINAL_STATES:
        return False
    age = max(0.0, now - row["created_at"])
    wait = min(max(FIRST_POSTPONED_SECONDS, age / 2), MAX_POSTPONED_SECONDS)
    # New turns have lower priorities. A turn that runs alone keeps its higher one.
    add_job(connection, seq, max(FIRST_PRIORITY, priority))
    connection.execute(
        "UPDATE procrastinate_jobs SET scheduled_at = now() + make_interval(secs => ?)"
        " WHERE id = (SELECT job FROM inbox WHERE seq = ?)",
        (wait, seq),
    )
    return True


def put_back_unhandled(connection: SqlConnection, seq: int, owner: str) -> None:
    """Make a turn "new" again that began when the process `owner` fetched its job, and that did
    nothing since."""
    connection.execute(
        "UPDATE inbox SET state = 'new', attempt = 0, thread = '', owner = ''"
        " WHERE seq = ? AND owner = ? AND state = 'running' AND attempt = 1",
        (seq, owner),
    ).close()


def hand_over(connection: SqlConnection, seq: int, priority: int, own_id: str) -> str:
    """Give a turn a new job for the process that runs the kernel of its conversation.

    The variables of the conversation's Python code live in that process. `own_id` is this process.
    Return the id of the other process, or "" if this process has the kernel, if nobody has one, or
    if the turn has ended. The new job begins when the present one has ended, because both have the
    lock of the conversation.
    """
    row = connection.execute(KERNEL_HOLDER_SQL, (seq, own_id, processes.LEASE_SECONDS)).fetchone()
    if row is None:
        return ""
    message_row = connection.read_locked_message(seq)
    if message_row is None or message_row["state"] in FINAL_STATES:
        return ""
    # A turn that runs alone keeps its higher priority. `@` and an id name a process's own queue.
    add_job(connection, seq, max(FIRST_PRIORITY, priority), f"@{row['process']}")
    return str(row["process"])


def return_stranded(connection: SqlConnection) -> None:
    """No other process would run a job that was handed to a process which has died since."""
    connection.execute(STRANDED_JOBS_SQL, (processes.LEASE_SECONDS,)).close()


def delete_leftovers(connection: SqlConnection) -> None:
    """Delete rows and jobs that dead processes left, and give a job to each turn that may begin.
    Each process does so every few seconds.

    A process counts as dead after LEASE_SECONDS without a sign of life. Its row stays for a few
    leases more, in case that it was only frozen.
    """
    lease = processes.LEASE_SECONDS
    # Deletes jobs without an unfinished turn: cancelled ones, and those of a process that died
    # after the turn ended and before the job did.
    connection.execute(LEFT_OVER_JOBS_SQL, (lease,))
    connection.execute(
        "DELETE FROM processes WHERE seen_at < extract(epoch FROM now()) - ?",
        (PROCESS_ROW_LEASES * lease,),
    )
    # Jobs that were handed to a dead process go back to their platform's queue.
    return_stranded(connection)
    # Empty conversations that it created ahead on the model's server are marked for erasure.
    connection.execute(SPARE_CONVERSATIONS_SQL)
    # Usually the end of a turn gives the next one its job. Two transactions that end at the same
    # moment can both miss a turn. `ponte_ready` gives a job to one turn of this sender (`flow`: the
    # channel and the person) at a time, and returns false if there is none, or if the sender has as
    # many jobs as allowed.
    for flow in select_values(connection, WITHOUT_JOB_SQL):
        while select_value(connection, "SELECT ponte_ready(?)", flow):
            pass
    # What running turns have written so far, and rate limits, as far as nobody needs them any more.
    for table, column in (("progress", "updated_at"), ("paces", "due_at")):
        connection.execute(
            f"DELETE FROM {table} WHERE {column} < extract(epoch FROM now()) - ?",  # noqa: S608
            (PRUNE_SECONDS,),
        )
