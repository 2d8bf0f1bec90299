"""Rate limits of an external API for several processes that use one token.

The table `paces` has a row for each kind of call: when the next one may be sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from core.store.database import Database, SqlConnection

T = TypeVar("T")


class SharedPace:
    """The `Pace` port over a database that several processes share."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(
        self,
        names: Sequence[str],
        work: Callable[[Sequence[float], float], tuple[Sequence[float], T]],
    ) -> T:
        """Read and change the due times of the kinds of calls in `names`, in one transaction.

        `work` gets the due times, in the order of `names`, and the database's time, in seconds. It
        returns the new due times and the result. The rows are locked while it runs.
        """

        def write(connection: SqlConnection) -> T:
            due, now = dict[str, float](), 0.0
            for name in sorted(names):  # all processes lock in this order, so none can deadlock
                # An UPDATE that changes nothing creates the row if necessary and locks it.
                row = connection.execute(
                    "INSERT INTO paces (name, due) VALUES (?, 0)"
                    " ON CONFLICT (name) DO UPDATE SET due = paces.due"
                    " RETURNING due, extract(epoch FROM clock_timestamp()) AS now",
                    (name,),
                ).fetchone()
                # clock_timestamp() is the time at which the row was locked, not that of BEGIN.
                due[name], now = row["due"], float(row["now"])
            kept, result = work([due[name] for name in names], now)
            for name, at in zip(names, kept, strict=True):
                if at != due[name]:
                    connection.execute("UPDATE paces SET due = ? WHERE name = ?", (at, name))
            return result

        return await self._database.write(write)
