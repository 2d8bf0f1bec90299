"""A storm: waves of changes while the bot is killed, and what must be true when it is over."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from bot.stores import SCHEMA
from core.changes.ledger import SqlLedger
from core.domain.changes import Change
from core.domain.messages import Message
from core.store.database import Database, SqliteDatabase, select_values
from core.store.postgres import PostgresDatabase
from tests.fakes.choices import make_message
from tests.real.victims import People, Victim


class Table(Protocol):
    """Rows with names, behind something that counts the calls that come in."""

    @property
    def finished_call_count(self) -> int:
        """Calls that have had their effect, or failed."""

    async def until(self, calls: int) -> None: ...

    def names(self) -> Mapping[str, str]:
        """By the row's id, as they stand."""

    def created_rows(self) -> Counter[str]:
        """The names of all rows that were ever made."""

    def create(self, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """The tool that makes such rows, and its arguments."""

    def update(self, names: Mapping[str, str]) -> tuple[str, dict[str, Any]]: ...

    def delete(self, ids: Sequence[str]) -> tuple[str, dict[str, Any]]: ...


class Storm:
    """Each wave has values of its own, so that one can tell what was written."""

    def __init__(self, table: Table, victim: Victim, people: People, start: Sequence[str]) -> None:
        self.table = table
        self.victim = victim
        self.people = people
        self.dice = random.Random(20261120)
        self.before = dict(table.names())
        self.kills = self.midway = self.waves = 0
        self._start = start

    async def blow(self, kills: int) -> None:
        """Until the bot was killed so often."""
        await self.begin()
        while self.kills < kills:
            await self._wave(self.waves)
            self.waves += 1

    async def begin(self) -> None:
        """A bot, new or again."""
        await self.victim.start(*self._start)

    async def _wave(self, number: int) -> None:
        """A change is approved; the bot dies at some call of it, once or twice, and goes on."""
        tool, arguments, rows = self._something(f"wave {number}")
        id = await self.propose(f"w{number}", tool, arguments)
        approve = make_message(f"approve {id}", f"a{number}")
        calls = self.table.finished_call_count
        await self.people.say(approve)
        for _ in range(self.dice.choice((1, 1, 1, 2))):
            more = self.dice.randrange(1, 2 * rows + 3)
            self.midway += await self._wait_for_calls(calls + more, approve)
            calls = self.table.finished_call_count
            await self.victim.kill()
            self.kills += 1
            await self.begin()
        assert (await self.people.answer(approve)).status == "done"

    async def propose(self, key: str, tool: str, arguments: dict[str, Any]) -> str:
        """The id of a change that waits for a person."""
        message = make_message(f"call {tool} {json.dumps(arguments)}", key)
        await self.people.say(message)
        answer = await self.people.answer(message)
        assert [card.state for card in answer.cards] == ["open"], answer.text
        return answer.cards[0].id

    async def _wait_for_calls(self, calls: int, approve: Message) -> bool:
        """Until so many calls have come in, or it is all over: whether the first was first."""
        come = asyncio.create_task(self.table.until(calls))
        answer = asyncio.create_task(self.people.answer(approve))
        await asyncio.wait({come, answer}, return_when=asyncio.FIRST_COMPLETED)
        midway = come.done()
        for task in (come, answer):
            task.cancel()
        await asyncio.gather(come, answer, return_exceptions=True)
        return midway

    def _something(self, word: str) -> tuple[str, dict[str, Any], int]:
        """Creates of 1 to 25 rows, updates and deletes of 1 to 12; how many rows."""
        kind = self.dice.choice(("create", "create", "update", "update", "delete"))
        ids = list(self.table.names())
        if kind == "create" or len(ids) < 15:
            count = self.dice.choice((1, 3, 25))
            return *self.table.create([f"{word} new {n}" for n in range(count)]), count
        choice = self.dice.sample(ids, self.dice.choice((1, 4, 12)))
        if kind == "delete":
            return *self.table.delete(choice), len(choice)
        return *self.table.update({id: f"{word} row {id}" for id in choice}), len(choice)

    async def check(self) -> None:
        """No row is wrong, and the ledger says what is there."""
        assert self.midway > self.kills / 2, "most kills came while it was being applied"
        changes = await ledger(self.victim)
        assert len(changes) == self.waves
        rows, expected, doubtful = self.table.created_rows(), dict(self.before), set[str]()
        for change in reversed(changes):
            assert change.state in ("done", "partial"), change
            for step in change.steps:
                assert step.state in ("done", "unknown"), step
                name = str((step.write.after or {}).get("Name"))
                if change.draft.kind == "create":
                    assert rows[name] <= 1, "no create was repeated"
                if step.state == "unknown":
                    assert change.draft.kind == "create", "all else is looked for and goes on"
                    doubtful.add(name)
                elif change.draft.kind == "delete":
                    del expected[step.write.id]
                else:
                    assert change.draft.kind == "update" or rows[name] == 1
                    expected[step.write.id] = name
        stands = {id: name for id, name in self.table.names().items() if name not in doubtful}
        assert stands == expected


async def ledger(victim: Victim) -> Sequence[Change]:
    """What the bot's own database says, the newest first; the bot is dead then."""
    await victim.kill()
    async with open_database(victim.home) as database:
        return await SqlLedger(database).list_of_conversation("", 1000)


@asynccontextmanager
async def open_database(home: Path, url: str = "") -> AsyncIterator[Database]:
    """The database of a bot that does not run: the Postgres at `url`, or the home's own."""
    database: Database = await (
        PostgresDatabase.open(url, SCHEMA)
        if url
        else SqliteDatabase.open(home / "ponte.db", SCHEMA)
    )
    try:
        yield database
    finally:
        await database.close()


async def read_audit_lines(database: Database) -> list[dict[str, Any]]:
    lines = await database.read(lambda c: select_values(c, "SELECT line FROM audit"))
    return [json.loads(line) for line in lines]
