"""Records which threads have or had a kernel, the process that runs their Python. There is one row
for each thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from core.base.errors import NotStored
from core.store.database import Database, SqlConnection, select_value
from core.store.tables import TableDeclaration, text

KERNELS_TABLE = TableDeclaration(
    name="kernels",
    whose="conversation",
    not_exported="which process runs a thread's Python",
    contents="which threads had a kernel; Postgres: which process runs a thread's Python",
    kept="until the thread is forgotten",
    columns=(text("thread"), text("process")),
    key=("thread",),
    deleted_by=("thread",),
)


class KernelRows:
    """The rows that note which threads have a Python kernel, for a process that works alone. The
    rows outlive the process. After a restart they show that a thread's variables are lost. If the
    database fails, Python still runs, but a thread does not learn of that loss. Without a
    `database`, nothing is stored."""

    why = "Ponte was restarted"

    def __init__(self, database: Database | None, process: str = "") -> None:
        self._database = database
        self._process = process

    async def is_here(self, thread: str) -> bool:
        return True

    async def record_start(self, thread: str) -> bool:
        """Return whether the thread had a kernel before: its variables are then lost, which the
        model must learn. If the database fails, return False; Python runs all the same."""

        def write(connection: SqlConnection) -> bool:
            had = connection.execute("SELECT 1 FROM kernels WHERE thread = ?", (thread,)).fetchone()
            connection.execute(
                "INSERT INTO kernels (thread, process) VALUES (?, ?)"
                " ON CONFLICT (thread) DO UPDATE SET process = excluded.process",
                (thread, self._process),
            ).close()
            return had is not None

        with suppress(NotStored):
            return self._database is not None and await self._database.write(write)
        return False

    async def record_end(self, thread: str) -> None:
        """The row stays, because it records that the thread had one."""

    async def forget(self, thread: str) -> None:
        await self._write("DELETE FROM kernels WHERE thread = ?", thread)

    async def _write(self, statement: str, *values: str) -> None:
        if self._database is not None:
            with suppress(NotStored):
                await self._database.write(lambda c: c.execute(statement, values).close())


class SharedKernelRows(KernelRows):
    """The rows that note which threads have a Python kernel, for several processes that share a
    database. A row also names the process that has the kernel now, "" if none has."""

    why = "its previous process ended"

    def __init__(
        self, database: Database, process: str, tell: Callable[[str, str], Awaitable[None]]
    ) -> None:
        super().__init__(database, process)
        self._shared = database  # the base class also knows a `database` of None
        self._tell = tell  # makes all processes end their kernel of a thread

    async def is_here(self, thread: str) -> bool:
        """Return True if the database fails, so that a running kernel is not given up."""
        sql = "SELECT process FROM kernels WHERE thread = ?"
        try:
            holder = await self._shared.read(lambda c: select_value(c, sql, thread))
            return bool(holder == self._process)
        except NotStored:
            return True

    async def record_end(self, thread: str) -> None:
        # Any process may then start a new one.
        await self._write(
            "UPDATE kernels SET process = '' WHERE thread = ? AND process = ?",
            thread,
            self._process,
        )

    async def forget(self, thread: str) -> None:
        await super().forget(thread)
        with suppress(NotStored):
            await self._tell("kernel", thread)
