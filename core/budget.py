"""Counts turns and money, a row a turn; refuses a turn over the day's cap before it costs."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import datetime, tzinfo

from core.errors import OverBudget
from core.messages import Address, Person, Usage
from core.records import Spent, Turn
from core.store.database import Connection, Database

Caps = Callable[[Person, Address], Awaitable[tuple[int, int]]]
"""Turns a day for a person there: their own, and everybody's together; 0 is no cap."""


async def uncapped(person: Person, address: Address) -> tuple[int, int]:
    return 0, 0


class CountingBudget:
    def __init__(self, database: Database, caps: Caps, zone: tzinfo) -> None:
        self._database = database
        self._caps = caps
        self._zone = zone

    async def reserve(self, turn: Turn) -> None:
        """Count the turn, once however often it resumes. Raises OverBudget."""
        person, day = turn.message.author, self._today()
        own, all_ = await self._caps(person, turn.message.address)

        def count(connection: Connection) -> None:
            if connection.execute("SELECT 1 FROM usage WHERE seq = ?", (turn.seq,)).fetchone():
                return
            if own and _turns(connection, day, person.key) >= own:
                raise OverBudget(limit=own, whose="for each person")
            if all_ and _turns(connection, day, None) >= all_:
                raise OverBudget(limit=all_, whose="for everybody together")
            connection.execute(
                "INSERT INTO usage (seq, day, person, conversation) VALUES (?, ?, ?, ?)",
                (turn.seq, day, person.key, turn.message.address.conversation),
            )

        await self._database.write(count)

    async def settle(self, turn: Turn) -> None:
        """Nothing is left to do: the rounds' tokens were added as they came."""

    async def usage(self, person: str | None = None) -> Spent:
        day = self._today()
        return await self._database.read(lambda c: _spent(c, day, person))

    def _today(self) -> str:
        return datetime.fromtimestamp(time.time(), self._zone).date().isoformat()


def _turns(connection: Connection, day: str, person: str | None) -> int:
    return _spent(connection, day, person).turns


def _spent(connection: Connection, day: str, person: str | None) -> Spent:
    row = connection.execute(
        "SELECT count(*), sum(input), sum(cached), sum(output), sum(reasoning), sum(cost)"
        " FROM usage WHERE day = :day AND (:person IS NULL OR person = :person)",
        {"day": day, "person": person},
    ).fetchone()
    turns, input_, cached, output, reasoning, cost = row
    return Spent(turns, Usage(input_ or 0, cached or 0, output or 0, reasoning or 0, cost))
