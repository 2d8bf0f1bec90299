"""A message is edited or deleted after its turn has begun, and Ponte restarts before it ends."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from core.domain.messages import Message
from core.domain.model_rounds import RoundRequest
from tests.dialogues.bot_home import BotHome, RunningBot, also_on_postgres
from tests.dialogues.decisions import bot, propose
from tests.fakes.memory_table import MemoryTable
from tests.fakes.models import EchoModel

THREE = [{"Name": name} for name in ("one", "two", "three")]


async def amend(ponte: RunningBot, message: Message, text: str) -> None:
    edit = replace(message, text=text, sent_at=message.sent_at + 1) if text else None
    await ponte.engine.conversations.inbox.amend(message.event_key, edit)


@pytest.mark.parametrize(
    ("text", "bot_home"),
    [("hello", "postgres"), ("deny abc234", "home"), ("", "home"), ("", "postgres")],
    indirect=["bot_home"],
)
async def test_an_approval_that_has_begun_is_completed(bot_home: BotHome, text: str) -> None:
    table = MemoryTable(batch=1)
    table.gate = asyncio.Event()
    async with bot(bot_home, table) as ponte:
        card = await propose(ponte, "table_create", rows=THREE)
        message, receipt = await ponte.send(f"approve {card.id}")
        await table.reached.wait()
        await amend(ponte, message, text)
        draining = asyncio.create_task(ponte.engine.drain(0))
        await asyncio.sleep(0)
        table.gate.set()
        await draining
    model = EchoModel()
    async with bot(bot_home, table, model=model) as ponte:
        answer = await ponte.wait_for_answer(receipt)
        assert answer.text.startswith("Approved by Ana. Done.")
        assert not model.asks
    assert [row["Name"] for row in table.rows.values()] == ["one", "two", "three"]


@pytest.mark.parametrize("is_put_back", [False, True])
@also_on_postgres
async def test_a_turn_is_answered_as_it_was_asked_and_not_if_it_was_deleted(
    bot_home: BotHome, is_put_back: bool
) -> None:
    texts, model = ("again", "help", "stop", "quick-command hello", ""), EchoModel()

    async def hold(ask: RoundRequest) -> None:
        await asyncio.Event().wait()

    model.gate = hold
    async with bot_home.open(model) as ponte:
        messages = [(await ponte.send("swordfish", channel=f"C{text}"))[0] for text in texts]
        await model.until(len(texts))
        if is_put_back:
            await ponte.engine.drain(0)
        for message, text in zip(messages, texts, strict=True):
            await amend(ponte, message, text)
    model = EchoModel()
    async with bot_home.open(model) as ponte:
        for number, text in enumerate(texts, 1):
            question = f"what did I say in {number}?"
            await ponte.ask(question, channel=f"C{text}")
            ask = next(ask for ask in model.asks if ask.input[-1].text == question)
            history = [item.text for item in await ask.history()]
            posts = [post.text for post in ponte.recorder.posts if post.channel == f"C{text}"]
            if text:
                assert history == ["swordfish", "You said: swordfish"], text
                assert posts == ["You said: swordfish", f"You said: {question}"]
            else:
                assert history == ["[deleted by its author]"]
                assert posts == [f"You said: {question}"]
