"""A whole bot in this process, a recording platform, and people who write to it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from bot.engine import Engine
from core.budget import Caps
from core.conversation import Profile
from core.messages import Answer, Message, Person
from core.ports import Model, Policy, ToolSource
from core.posting import PostedReply
from core.records import Receipt
from tests.fakes.choices import ANA, choices, message
from tests.fakes.recorder import Recorder, RecordingSurface


class Stage:
    """`said` waits for the answer; `says` only delivers."""

    def __init__(self, engine: Engine, recorder: Recorder, numbers: itertools.count[int]) -> None:
        self.engine = engine
        self.recorder = recorder
        self._numbers = numbers

    async def says(
        self, text: str, channel: str = "C1", person: Person = ANA, shared: bool = False
    ) -> tuple[Message, Receipt]:
        one = message(text, f"k{next(self._numbers)}", channel, person, shared)
        return one, await self.engine.inbox.accept(one)

    async def said(
        self, text: str, channel: str = "C1", person: Person = ANA, shared: bool = False
    ) -> Answer:
        _, receipt = await self.says(text, channel, person, shared)
        return await self.engine.inbox.answer_of(receipt.seq)

    async def answered(self, receipt: Receipt) -> Answer:
        return await self.engine.inbox.answer_of(receipt.seq)


class Theatre:
    """Opens a bot on one home as often as asked: a restart in between."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.recorder = Recorder(limit=4000)
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def open(
        self,
        model: Model | None = None,
        sources: Sequence[ToolSource] = (),
        policy: Policy | None = None,
        caps: Caps = lambda person: (0, 0),
        profile: Profile | None = None,
    ) -> AsyncIterator[Stage]:
        made = choices(model, sources, policy)
        made = replace(made, caps=caps, profile=profile or made.profile)
        self.home.mkdir(exist_ok=True)
        engine = await Engine.open(self.home, made)
        engine.replies["web"] = lambda to, posts: PostedReply(
            RecordingSurface(self.recorder, to, self.recorder.limit), posts, to.turn
        )
        engine.start()
        try:
            yield Stage(engine, self.recorder, self._numbers)
        finally:
            await engine.drain(1)
            await engine.close()
