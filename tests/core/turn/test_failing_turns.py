"""A turn that fails again and again ends with an apology, and its conversation goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.engine import Engine
from core.base.tasks import Backoff
from core.domain.messages import Message, MessageOrigin, ReplyTo
from core.domain.ports import PostJournal, ReplyFactory
from core.turn.manager import MAX_FAILED_ATTEMPTS
from tests.core.turn.test_turn import Watched
from tests.fakes.choices import make_choices, make_message, open_engine
from tests.fakes.models import EchoModel

UNKNOWN, WITHOUT_DATA = MessageOrigin("pigeon"), MessageOrigin("webhook", "x")


@asynccontextmanager
async def open_failing(
    home: Path, reply: ReplyFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Engine, EchoModel]]:
    monkeypatch.setattr("core.journal.turn_runner.TURN_BACKOFF", Backoff(0.0))
    model = EchoModel()
    engine = await open_engine(home, make_choices(model))
    engine.platforms.replies["web"] = reply
    engine.start()
    yield engine, model
    await engine.drain(5)
    await engine.close()


async def send(engine: Engine, message: Message) -> int:
    return (await engine.conversations.inbox.accept(message)).seq


@pytest.mark.parametrize("origin", [UNKNOWN, WITHOUT_DATA], ids=lambda one: one.name)
async def test_an_origin_that_cannot_be_asked_ends_in_an_apology(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: MessageOrigin
) -> None:
    async with open_failing(tmp_path, lambda to, posts: Watched(), monkeypatch) as (engine, model):
        inbox = engine.conversations.inbox
        first = await send(engine, replace(make_message("hello", "k1"), origin=origin))
        second = await send(engine, make_message("again", "k2"))
        answer = await inbox.wait_for_answer(first)
        assert (answer.status, answer.code) == ("failed", "internal")
        assert (await inbox.wait_for_answer(second)).text == "You said: again"
        assert len(model.asks) == 1


async def test_a_turn_that_cannot_even_apologise_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the next message says so."""
    attempts = list[str]()

    def make_reply(to: ReplyTo, posts: PostJournal) -> Watched:
        if to.source == "k1":
            attempts.append(to.source)
            raise ValueError("not a place")
        return Watched()

    async with open_failing(tmp_path, make_reply, monkeypatch) as (engine, _):
        await send(engine, make_message("hello", "k1"))
        second = await send(engine, make_message("again", "k2"))
        answer = await engine.conversations.inbox.wait_for_answer(second)
    assert answer.text.startswith("_I couldn't post my last answer here (internal).")
    assert answer.text.endswith("You said: again")
    assert len(attempts) == MAX_FAILED_ATTEMPTS + 1


async def test_a_message_that_cannot_be_read_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = Watched()
    async with open_failing(tmp_path, lambda to, posts: reply, monkeypatch) as (engine, _):
        # The turn waits until its message is damaged.
        go_on = asyncio.Event()
        begin = engine.conversations.journal.begin

        async def begin_later(seq: int) -> Any:
            await go_on.wait()
            return await begin(seq)

        monkeypatch.setattr(engine.conversations.journal, "begin", begin_later)
        first = await send(engine, make_message("hello", "k1"))
        second = await send(engine, make_message("again", "k2"))
        await engine.stores.database.write(
            lambda connection: connection.execute(
                "UPDATE inbox SET message = '{}' WHERE seq = ?", (first,)
            )
        )
        go_on.set()
        answer = await engine.conversations.inbox.wait_for_answer(second)
    assert answer.text.endswith("You said: again")
