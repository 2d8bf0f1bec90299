"""A complete bot in this process, a recording platform, and people who write to it."""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.engine import Engine
from bot.integrations import canonical_person
from bot.stores import Stores
from core.base.tasks import cancel_all
from core.changes.approval import TableRules
from core.changes.kinds import Applier
from core.chat.reply import GrowingReply
from core.domain.messages import Answer, Message, Person, turn_id
from core.domain.ports import Model, QuickCommands, StatusBoard, ToolSource
from core.domain.records import Receipt
from core.journal.inbox import SenderLimits
from core.money.allowances import Allowance
from core.money.budget import DailyCapLookup
from core.money.usage import Prices
from core.people.policy import Policy
from core.tools.code.source import CodeRunner
from core.turn.run import TurnConfig
from tests.fakes.choices import ANA, Choices, make_choices, make_message, make_spending, open_engine
from tests.fakes.clock import Clock
from tests.fakes.config import no_daily_caps
from tests.fakes.recorder import Recorder, RecordingSurface

also_on_postgres = pytest.mark.parametrize("bot_home", ["home", "postgres"], indirect=True)
"""For a dialogue in which the engine runs, finds or stores something in its own way."""


class RunningBot:
    """A Ponte that runs in this process. `ask` waits for the answer; `send` only delivers."""

    def __init__(self, engine: Engine, recorder: Recorder, numbers: itertools.count[int]) -> None:
        self.engine = engine
        self.recorder = recorder
        self._numbers = numbers

    async def stop_redrawing(self) -> None:
        """From now on cards are redrawn by `engine.redraw.once` alone."""
        await cancel_all([task for task in asyncio.all_tasks() if task.get_name() == "redraw"])

    async def send(
        self, text: str, channel: str = "C1", person: Person = ANA, shared: bool = False
    ) -> tuple[Message, Receipt]:
        one = make_message(text, f"k{next(self._numbers)}", channel, person, shared)
        return one, await self.engine.conversations.inbox.accept(one)

    async def ask(
        self, text: str, channel: str = "C1", person: Person = ANA, shared: bool = False
    ) -> Answer:
        _, receipt = await self.send(text, channel, person, shared)
        return await self.engine.conversations.inbox.wait_for_answer(receipt.seq)

    async def click(self, text: str, at: Message) -> Answer:
        """Click on the answer to `at` as the person who asked; return the answer."""
        key = f"k{next(self._numbers)}"
        reply_to = replace(at.reply_to, source=key, turn=turn_id(key))
        variant = replace(at, event_key=key, text=text, reply_to=reply_to, is_click=True)
        return await self.wait_for_answer(await self.engine.conversations.inbox.accept(variant))

    async def ask_message(self, one: Message) -> Answer:
        """Send a message that the test made; return its answer."""
        return await self.wait_for_answer(await self.engine.conversations.inbox.accept(one))

    async def wait_for_answer(self, receipt: Receipt) -> Answer:
        return await self.engine.conversations.inbox.wait_for_answer(receipt.seq)


class BotHome:
    """A home that a bot opens again and again, as after restarts."""

    def __init__(self, home: Path, database: str = "") -> None:
        """`database` is the URL of a Postgres, used instead of the home's own database."""
        self.home = home
        self.database = database
        self.recorder = Recorder(limit=4000)
        self.clock = Clock(time.time())
        self._numbers = itertools.count(1)
        self._works = True

    def read_audit_lines(self) -> list[dict[str, Any]]:
        """Return the lines of the audit log as they are stored in the home, oldest first."""
        with closing(sqlite3.connect(self.home / "ponte.db")) as connection:
            rows = connection.execute("SELECT line FROM audit ORDER BY id").fetchall()
        return [json.loads(line) for (line,) in rows]

    def taking(self) -> BotHome:
        """Return another process of this bot, which receives events and runs no turns."""
        other = BotHome(self.home.with_name("server"), self.database)
        other.recorder, other.clock, other._numbers = self.recorder, self.clock, self._numbers
        other._works = False
        return other

    @asynccontextmanager
    async def open(
        self,
        model: Model | None = None,
        sources: Sequence[ToolSource] = (),
        policy: Policy | None = None,
        caps: DailyCapLookup = no_daily_caps,
        profile: TurnConfig | None = None,
        quick: QuickCommands | None = None,
        appliers: Sequence[Applier] = (),
        rules: TableRules | None = None,
        allowed: Sequence[Allowance] = (),
        prices: Prices | None = None,
        intake: SenderLimits | None = None,
        code: CodeRunner | None = None,
        board: StatusBoard | None = None,
    ) -> AsyncIterator[RunningBot]:
        spending = make_spending(caps, allowed, prices, intake)
        choices = make_choices(model, sources, policy, appliers, rules=rules, spending=spending)
        approval = replace(choices.approval, canonical_person=canonical_person)
        choices = replace(
            choices,
            profile=profile or choices.profile,
            quick=quick or choices.quick,
            approval=approval,
            code=code,
            board=board or choices.board,
        )
        async with self.play(choices) as ponte:
            yield ponte

    @asynccontextmanager
    async def play(self, made: Choices) -> AsyncIterator[RunningBot]:
        """Open a bot with these parts of the engine."""
        self.home.mkdir(exist_ok=True)
        stores = None
        if self.database:
            stores = await Stores.open_shared(self.database, works=self._works)
        engine = await open_engine(self.home, replace(made, clock=self.clock), stores)
        for platform in ("web", "slack", "discord", "terminal"):
            engine.platforms.replies[platform] = lambda to, posts: GrowingReply(
                RecordingSurface(self.recorder, to, self.recorder.limit), posts, to.turn
            )
        engine.start()
        try:
            yield RunningBot(engine, self.recorder, self._numbers)
        finally:
            await engine.drain(1)
            await engine.close()
