"""All tables of the database, in one list, and the schema that they make."""

from __future__ import annotations

from core.changes.tables import CHANGES, CONSENTS, NOTES, OUTBOX, STEPS
from core.journal.kernels import KERNELS
from core.journal.shared_functions import QUEUE_FUNCTIONS, TURN_FUNCTIONS
from core.journal.tables import (
    CALLS,
    CONVERSATIONS,
    CURRENT_TURNS_VIEW,
    FINISHED_VIEW,
    INBOX,
    ITEMS,
    POSTS,
    PROGRESS,
    REMOTES,
    ROUNDS,
    THREAD_MAP,
    THREADS,
)
from core.money.tables import COUNTERS, HOLDS, SPENDINGS, USAGE
from core.people.tables import (
    API_TOKENS,
    AUDIT,
    AUDIT_KEYS,
    DIRECTORY,
    ENDED_SESSIONS,
    ERASED_PEOPLE,
    PEOPLE,
)
from core.schedules.tables import SCHEDULE_RUNS, SCHEDULES
from core.store.schema import Migration, Schema
from core.store.tables import FILES, LEASES, PACES, PIECES, PROCESSES, REMEMBERED, SECRETS

TABLES = (
    INBOX, ITEMS, ROUNDS, CALLS, POSTS, FILES, CHANGES, STEPS, NOTES, CONSENTS, OUTBOX, SCHEDULES,
    SCHEDULE_RUNS, PEOPLE, API_TOKENS, DIRECTORY, ERASED_PEOPLE, USAGE, SPENDINGS, COUNTERS, HOLDS,
    CONVERSATIONS, THREADS, REMOTES, AUDIT_KEYS, THREAD_MAP, KERNELS, PROGRESS, PIECES, REMEMBERED,
    AUDIT, ENDED_SESSIONS, PROCESSES, LEASES, PACES, SECRETS,
)  # fmt: skip
"""In the order in which a new database creates them."""
VIEWS = (FINISHED_VIEW, CURRENT_TURNS_VIEW)
MIGRATIONS: tuple[Migration, ...] = ()
"""Changes since version 1."""
SCHEMA = Schema.of(TABLES, VIEWS, (QUEUE_FUNCTIONS, TURN_FUNCTIONS), MIGRATIONS)
