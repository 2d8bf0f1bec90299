"""The pace of calls that many processes make with one token, in a row for each kind of call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from core.store.database import Database, SqlConnection

T = TypeVar("T")


class SharedPace:
    """The `Pace` port, on a database that many processes share."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(
        self,
        names: Sequence[str],
        work: Callable[[Sequence[float], float], tuple[Sequence[float], T]],
    ) -> T:
        def write(connection: SqlConnection) -> T:
            due, now = dict[str, float](), 0.0
            for name in sorted(names):  # in one order, so that no two processes wait for each other
                row = connection.execute(
                    "INSERT INTO paces (name, due) VALUES (?, 0)"
                    " ON CONFLICT (name) DO UPDATE SET due = paces.due"
                    " RETURNING due, extract(epoch FROM clock_timestamp()) AS now",
                    (name,),
                ).fetchone()
                due[name], now = row["due"], float(row["now"])  # read once the row is locked
            kept, result = work([due[name] for name in names], now)
            for name, at in zip(names, kept, strict=True):
                if at != due[name]:
                    connection.execute("UPDATE paces SET due = ? WHERE name = ?", (at, name))
            return result

        return await self._database.write(write)
