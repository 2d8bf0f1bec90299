"""`ponte serve`, `work` or `run` to be killed: `python -m tests.real.machine ROLE`.

A process counts as dead after LEASE seconds and not after fifteen. `PONTE_DIES=N:before` (or
`inside`, `after`) kills it at the N-th transaction that a turn writes. `PONTE_DIES_UPGRADING` is a
statement of a migration before which it is killed on SQLite, or a number N: on Postgres it is
killed at the N-th notice that the server sends during the migrations.
"""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from typing import Any

from adapters.discord.adapter import DiscordOptions
from adapters.slack.surface import SlackSurface
from bot.cli import main as cli
from core.journal import jobs, procrastinate_adapter
from core.store import processes
from core.store import processes as notifications
from core.store.database import SqlConnection
from core.store.postgres import PostgresDatabase

LEASE = 3.0
OF_TURNS = ("inbox", "journal", "ledger", "threads", "files")


def hurry() -> None:
    """All that waits for seconds waits for less."""
    processes.BEAT_SECONDS, processes.LEASE_SECONDS = 0.5, LEASE
    processes.ROLE_LEASE_SECONDS, processes.ROLE_MARGIN_SECONDS = 2.0, 0.5
    jobs.RECHECK_SECONDS = jobs.Jobs.recheck = 0.5
    notifications.RECONNECT_SECONDS = procrastinate_adapter.RESTART_SECONDS = 0.2
    SlackSurface.interval = 0.2
    *others, _ = DiscordOptions.__init__.__defaults__ or ()
    DiscordOptions.__init__.__defaults__ = (*others, 0.0)  # `identify_wait` is the last one


def mortal(number: int, moment: str) -> None:
    """Die at that transaction."""
    transact, count = PostgresDatabase._transact, 0

    def transact_and_count(
        self: Any,
        work: Callable[[SqlConnection], Any],
        *,
        reads: bool = False,
        single: bool = False,
    ) -> Any:
        nonlocal count
        where = getattr(getattr(work, "func", work), "__module__", "").rpartition(".")[2]
        if reads or where not in OF_TURNS:
            return transact(self, work, reads=reads, single=single)
        count += 1
        if count != number:
            return transact(self, work)

        def dying(connection: SqlConnection) -> Any:
            work(connection)
            _die()

        if moment == "before":
            _die()
        elif moment == "inside":
            transact(self, dying)
        else:
            transact(self, work)
            _die()
        raise AssertionError

    PostgresDatabase._transact = transact_and_count  # type: ignore[method-assign]


def die_upgrading(statement: str) -> None:
    """Die there; see the top of this file."""
    connect, migrate = sqlite3.connect, PostgresDatabase._migrate

    def compare(sql: str) -> None:
        if sql.strip(" ;\n") == statement:
            _die()

    def connect_and_compare(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)
        connection.set_trace_callback(compare)
        return connection

    def migrate_and_count(self: PostgresDatabase, connection: Any) -> None:
        notices = itertools.count(1)

        def die_at_last(_: object) -> None:
            if next(notices) == int(statement):
                _die()

        connection.add_notice_handler(die_at_last)
        migrate(self, connection)

    sqlite3.connect = connect_and_compare  # type: ignore[assignment]
    PostgresDatabase._migrate = migrate_and_count  # type: ignore[method-assign]


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    hurry()
    if dies := os.environ.get("PONTE_DIES"):
        number, _, moment = dies.partition(":")
        mortal(int(number), moment)
    if statement := os.environ.get("PONTE_DIES_UPGRADING"):
        die_upgrading(statement)
    sys.exit(cli.main(sys.argv[1:]))
