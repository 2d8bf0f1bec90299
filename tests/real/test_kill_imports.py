"""kill -9 while an import or its undo is applied: each row is written once, and none is lost.

A bot in this process proposes; another one applies, dies at some commit, and the next one goes on.
`PONTE_STORM` (any value) takes every commit of both engines, and all moments of each.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from core.changes.ledger import SqlLedger
from core.domain.changes import Change
from core.domain.messages import Answer
from tests.dialogues.bot_home import BotHome
from tests.dialogues.imports import SEEDED_ROWS, PacedNocoDB, importer, new_rows
from tests.fakes.choices import make_message
from tests.fakes.nocodb import filled
from tests.fakes.recorder import Recorder
from tests.fakes.recorder_server import serve
from tests.real.postgres import Postgres, expire_leases
from tests.real.storm import open_database
from tests.real.victims import People, Victim

pytestmark = pytest.mark.slow

IS_STORM = "PONTE_STORM" in os.environ
MOMENTS = ("before", "inside", "after") if IS_STORM else ("after",)
NEW, CHANGED = 15, 14
MAX_COMMITS = 60


@dataclass
class Killing:
    nocodb: PacedNocoDB
    home: Path
    platform: str
    session: aiohttp.ClientSession
    server: Postgres | None
    url: str

    def __post_init__(self) -> None:
        self.parts: list[Change] = []
        self.statuses = {id: row["Status"] for id, row in self.nocodb.customers.rows.items()}

    def moments(self) -> Iterator[tuple[str, int]]:
        """On Postgres, where a start takes longer, every third commit."""
        step = 3 if self.server and not IS_STORM else 1
        for moment in MOMENTS:
            for number in range(1, MAX_COMMITS, step):
                yield moment, number

    async def prepare(self, command: str) -> str:
        """Return the id of an import that waits, or that was applied."""
        home = BotHome(self.home, self.url)
        async with importer(home, self.nocodb.origin) as here:
            rows = [f"Customer {n:02d},Active" for n in range(1, CHANGED * 3 // 2 + 1)]
            card = await here.propose([*rows, *new_rows(NEW)], key="Name")
            if command == "undo":
                assert "Written: 29." in (await here.bot.ask(f"approve {card.id}")).text
        shutil.copytree(self.home, self.home.with_name("base"))
        self.rows = {id: dict(row) for id, row in self.nocodb.customers.rows.items()}
        return card.id

    async def run(
        self, command: str, id: str, number: int, moment: str, until: Awaitable[None] | None = None
    ) -> tuple[Answer, bool]:
        """Return the answer of the second bot, and whether the first died: at that commit, or
        killed after `until`."""
        shutil.rmtree(self.home)
        shutil.copytree(self.home.with_name("base"), self.home)
        table = self.nocodb.customers
        table.rows.clear()
        table.rows.update({id: dict(row) for id, row in self.rows.items()})
        self.nocodb.calls.clear()
        url = self.url
        if self.server:
            template = self.url.partition("@/")[2].partition("?")[0]
            url = self.server.url(self.server.database(template))
        victim = Victim(self.home, self.platform)
        start = (f"--nocodb={self.nocodb.origin} {filled.OWNER} {filled.CRM}", "--postgres", url)
        counted = ("--counted", "SqlLedger.", "--uncounted", "SqlLedger.record_drawn")
        people = People(victim, self.session)
        message = make_message(f"{command} {id}", f"{command} {moment} {number}")
        await victim.start(*start, "--die-at-commit", f"{number}:{moment}", *counted)
        with suppress(aiohttp.ClientError):  # it is dead
            if await people.deliver(message) and not until:
                await people.answer(message)
        if until:
            await until
            await victim.kill()
            calls = self.nocodb.finished_call_count
            self.nocodb.release()
            await self.nocodb.wait_for_calls(calls + 1)
        is_died = await victim.terminate() == -signal.SIGKILL
        if self.server:
            expire_leases(url)
        await victim.start(*start)
        answer = await people.ask(message)
        assert await victim.terminate() == 0
        async with open_database(self.home, url) as database:
            ledger = SqlLedger(database)
            change = await ledger.get(id)
            undo = await ledger.get(change.undone_by) if change.undone_by else None
            whole = undo or change
            ids = await ledger.list_parts(whole.id)
            self.parts = [await ledger.get(part, whole.id) for part in ids]
        return answer, is_died


@pytest.fixture(params=["sqlite", "postgres"])
async def killing(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Killing]:
    server = url = None
    if request.param == "postgres":
        server = request.getfixturevalue("real_postgres")
        url = request.getfixturevalue("migrated_postgres")
    async with (
        PacedNocoDB() as nocodb,
        serve(Recorder()) as platform,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session,
    ):
        yield Killing(nocodb, tmp_path / "home", platform, session, server, url or "")


async def test_a_kill_during_an_import(killing: Killing) -> None:
    """Only new rows whose write was recorded, and perhaps not sent, are unknown: they are named,
    and not written again."""
    id, nocodb = await killing.prepare("approve"), killing.nocodb
    for moment, number in killing.moments():
        answer, is_died = await killing.run("approve", id, number, moment)
        writes = Counter(
            row["id"] if "id" in row else row["fields"]["Name"]
            for call in nocodb.calls
            if call.method != "GET" and call.succeeded
            for row in call.body
        )
        assert set(writes.values()) == {1}, (moment, number)
        unknown = [row for part in killing.parts for row in part.steps_in("unknown")]
        assert len(unknown) in (0, 5, 10)
        assert len(writes) + len(unknown) == NEW + CHANGED, (moment, number)
        changed, new = killing.parts
        assert (changed.state, len(new.steps)) == ("done", NEW)
        assert f"Written: {len(writes)}" in answer.text
        names = {(row.write.after or {})["Name"] for row in unknown}
        assert names.isdisjoint(nocodb.new_names)
        if not is_died:
            assert not unknown
            return


async def test_a_kill_during_an_undo(killing: Killing) -> None:
    id, nocodb = await killing.prepare("undo"), killing.nocodb
    for moment, number in killing.moments():
        answer, is_died = await killing.run("undo", id, number, moment)
        assert not nocodb.new_names, (moment, number)
        assert len(nocodb.customers.rows) == SEEDED_ROWS
        restored = {id: row["Status"] for id, row in nocodb.customers.rows.items()}
        assert restored == killing.statuses, (moment, number)
        assert answer.text.startswith("Undone")
        assert "Not tried" not in answer.text
        if not is_died:
            return


@pytest.mark.parametrize("method", ["PATCH", "POST", "DELETE"])
async def test_a_kill_while_a_write_is_under_way(killing: Killing, method: str) -> None:
    """Its effect comes after the death of the bot. The next one finds it done."""
    command = "undo" if method == "DELETE" else "approve"
    id, nocodb = await killing.prepare(command), killing.nocodb
    nocodb.hang(method)
    answer, is_died = await killing.run(command, id, 0, "after", nocodb.wait_for_held_call())
    assert is_died
    writes = Counter(
        row["id"] if "id" in row else row["fields"]["Name"]
        for call in nocodb.calls
        if call.method == method and call.succeeded
        for row in call.body
    )
    assert set(writes.values()) == {1}
    assert len(writes) == (CHANGED if method == "PATCH" else NEW)
    assert "Written: 29." in answer.text or answer.text.startswith("Undone")
