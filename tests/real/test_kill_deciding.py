"""kill -9 while a person changes, denies, repeats, approves or undoes: the same event ends as
without it, with the same lines in the audit log.

Each command runs in copies of one data folder. In each, the bot dies at another commit of the
event: just before it, so that what happened since the commit before is there. On Postgres, where a
start takes longer, it dies just after each decision and each result. `PONTE_STORM`, as in `make
storm`, adds all moments of all commits on both engines, also of those with which every turn begins
and ends (`test_kill_model.py`).
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
import pytest

from core.changes.ledger import SqlLedger
from core.domain.changes import Change
from core.domain.messages import Answer
from tests.fakes.bridge_tables import CUSTOMERS
from tests.fakes.choices import make_message
from tests.real.conftest import ToolContext
from tests.real.postgres import Postgres, expire_leases
from tests.real.storm import open_database, read_audit_lines
from tests.real.test_kill_applying import propose

pytestmark = pytest.mark.slow

IS_STORM = "PONTE_STORM" in os.environ
MOMENTS = ("before", "inside", "after") if IS_STORM else ("before",)
OF_EVERY_TURN = ("SqlInbox.accept", "Journal.begin", "Journal.end_turn")
COUNTING = () if IS_STORM else ("--uncounted", *OF_EVERY_TURN)
POSTGRES_MOMENTS = MOMENTS if IS_STORM else ("after",)
CARD_IS_DRAWN = "SqlLedger.record_drawn"
ON_POSTGRES = () if IS_STORM else ("--counted", "SqlLedger.", "--uncounted", CARD_IS_DRAWN)
MAX_COMMITS = 40


@dataclass(frozen=True)
class End:
    """What is there when it is over."""

    answer: str
    changes: list[tuple[object, ...]]
    writes: Counter[str]
    audit: Counter[tuple[str, str]]
    """How many lines there are, by event and change."""


class Trial:
    """Runs one command in copies of one state: of the home, of the database and of the rows."""

    def __init__(
        self, ctx: ToolContext, text: str, ids: dict[str, str], server: Postgres | None, url: str
    ) -> None:
        self.ctx, self.text, self.ids = ctx, text, ids
        self._server, self._url = server, url
        self._template = url.partition("@/")[2].partition("?")[0]
        self._base = ctx.victim.home.with_name("base")
        self._rows = ctx.bridge.api.rows[CUSTOMERS]
        self._rows_before = copy.deepcopy(self._rows)
        shutil.copytree(ctx.victim.home, self._base)

    async def run(self, number: int, moment: str) -> tuple[End, bool]:
        """Return the end, and whether the bot died at that commit."""
        ctx, victim = self.ctx, self.ctx.victim
        shutil.rmtree(victim.home)
        shutil.copytree(self._base, victim.home)
        self._rows[:] = copy.deepcopy(self._rows_before)
        if self._server:
            self._url = self._server.url(self._server.database(self._template))
        calls = len(ctx.bridge.calls)
        message = make_message(self.text, f"{moment} {number}")
        dies = ("--die-at-commit", f"{number}:{moment}")
        counting = ON_POSTGRES if self._server else COUNTING
        await victim.start("--postgres", self._url, *dies, *counting)
        with suppress(aiohttp.ClientError):  # it is dead
            if await ctx.people.deliver(message):
                await ctx.people.answer(message)
        is_died = await victim.terminate() == -signal.SIGKILL
        if self._server:
            expire_leases(self._url)
        await victim.start("--postgres", self._url)
        answer = await ctx.people.ask(message)
        assert await victim.terminate() == 0
        (post,) = ctx.recorder.visible(message.event_key)
        assert post.startswith(answer.text)
        async with open_database(victim.home, self._url) as database:
            lines = await read_audit_lines(database)
            changes = await SqlLedger(database).list_of_conversation("", 1000)
        writes = Counter(
            str(call.args["record_id"])
            for call in ctx.bridge.calls[calls:]
            if call.tool == "update_record"
        )
        audit = Counter((line["event"], self._name(line["change"])) for line in lines)
        return End(
            self._answer(answer), [self._describe(change) for change in changes], writes, audit
        ), is_died

    def _describe(self, change: Change) -> tuple[object, ...]:
        proposal, steps = change.proposal, change.steps
        values = [(step.state, step.write.after) for step in steps]
        return (
            self._name(change.id),
            change.state,
            proposal.revision,
            change.denial_reason,
            self._name(change.repeated_by),
            values,
        )

    def _answer(self, answer: Answer) -> str:
        text = re.sub("(?<=`)[a-z2-7]{6}(?=`)", lambda match: self._name(match[0]), answer.text)
        return f"{answer.status}: {text} {[card.state for card in answer.cards]}"

    def _name(self, id: str) -> str:
        return self.ids.get(id, "new" if id else "")


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
@pytest.mark.parametrize(
    "text",
    ["change {a} Value = 9", "deny {a} Not yet.", "again {c}", "approve {a} {b}", "undo {d}"],
)
async def test_a_kill_at_any_commit_changes_nothing_of_the_end(
    ctx: ToolContext, text: str, engine: str, request: pytest.FixtureRequest
) -> None:
    server, url, moments = None, "", MOMENTS
    if engine == "postgres":
        server = request.getfixturevalue("real_postgres")
        url = request.getfixturevalue("migrated_postgres")
        moments = POSTGRES_MOMENTS
    await ctx.victim.start("--postgres", url)
    ids = {}
    for name, row in (("a", 3), ("b", 5), ("c", 6), ("d", 7)):
        values = {"Status": "Lost", "Value": 7}
        ids[name] = await propose(ctx, name, "update_record", record_id=row, record_data=values)
    await ctx.people.ask(make_message(f"deny {ids['c']}", "deny"))
    await ctx.people.ask(make_message(f"approve {ids['d']}", "approve"))
    assert await ctx.victim.terminate() == 0
    trial = Trial(ctx, text.format(**ids), {id: name for name, id in ids.items()}, server, url)
    whole, _ = await trial.run(0, "before")
    assert whole.answer.startswith("done: ")
    for moment in moments:
        number, is_died = 0, True
        while is_died:
            number += 1
            end, is_died = await trial.run(number, moment)
            assert end == whole, (moment, number)
            assert number < MAX_COMMITS
