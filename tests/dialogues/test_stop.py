"""Stop, edits, deletions and forgetting, while something runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from core.base.errors import NotStored
from core.domain.messages import Answer, Person
from core.domain.model_rounds import RoundRequest
from core.domain.records import Turn
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.fakes.choices import allow_list
from tests.fakes.loop_clock import run_ready
from tests.fakes.models import EchoModel

BO = Person("web", "bo", name="Bo")


class Gate:
    """Holds every model round until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.reached = asyncio.Event()

    async def __call__(self, ask: RoundRequest) -> None:
        self.reached.set()
        await self.open.wait()


async def _begin_turn(
    ponte: RunningBot, gate: Gate, text: str = "long work", shared: bool = False
) -> int:
    gate.reached.clear()
    _, receipt = await ponte.send(text, shared=shared)
    await gate.reached.wait()
    return receipt.seq


async def test_stop_ends_the_turn_and_the_next_one_starts(bot_home: BotHome) -> None:
    gate = Gate()
    async with bot_home.open(EchoModel(gate=gate)) as ponte:
        seq = await _begin_turn(ponte, gate)
        _, next_ = await ponte.send("next")
        assert (await ponte.ask("stop")).text == "Stopped."
        answer = await ponte.engine.conversations.inbox.wait_for_answer(seq)
        assert (answer.status, answer.text) == ("stopped", "_Stopped._")
        gate.open.set()
        assert (await ponte.wait_for_answer(next_)).text == "You said: next"
        assert (await ponte.ask("stop")).text == "Nothing is running here."


async def test_in_a_shared_place_only_the_asker_or_an_admin_stops(bot_home: BotHome) -> None:
    gate = Gate()
    policy = allow_list(admins=frozenset())
    async with bot_home.open(EchoModel(gate=gate), policy=policy) as ponte:
        seq = await _begin_turn(ponte, gate, shared=True)
        answer = await ponte.ask("stop", person=BO, shared=True)
        assert (answer.status, answer.is_private) == ("failed", True)
        assert (await ponte.ask("stop", shared=True)).text == "Stopped."
        assert (await ponte.engine.conversations.inbox.wait_for_answer(seq)).status == "stopped"


async def test_an_edit_before_the_answer_counts_and_a_later_one_buys_none(
    bot_home: BotHome,
) -> None:
    gate = Gate()
    async with bot_home.open(EchoModel(gate=gate)) as ponte:
        await _begin_turn(ponte, gate)
        queue, receipt = await ponte.send("first wording")
        variant = replace(queue, text="second wording", sent_at=5)
        assert await ponte.engine.conversations.inbox.amend(queue.event_key, variant) == "unstarted"
        gate.open.set()
        assert (await ponte.wait_for_answer(receipt)).text == "You said: second wording"
        late = replace(queue, text="third wording", sent_at=6)
        assert await ponte.engine.conversations.inbox.amend(queue.event_key, late) == "started"
        assert bot_home.recorder.visible(queue.event_key) == ["You said: second wording"]


async def test_a_deleted_message_is_dropped_or_blanked(bot_home: BotHome) -> None:
    gate = Gate()
    model = EchoModel(gate=gate)
    async with bot_home.open(model) as ponte:
        await _begin_turn(ponte, gate)
        queue, _ = await ponte.send("a secret")
        assert await ponte.engine.conversations.inbox.amend(queue.event_key, None) == "unstarted"
        gate.open.set()
        wait_for_answer, receipt = await ponte.send("another secret")
        await ponte.wait_for_answer(receipt)
        assert (
            await ponte.engine.conversations.inbox.amend(wait_for_answer.event_key, None)
            == "started"
        )
        await ponte.ask("and now?")
        texts = [item.text for item in await model.asks[-1].history()]
    assert not bot_home.recorder.visible(queue.event_key)
    assert "[deleted by its author]" in texts
    assert "another secret" not in texts


async def test_a_post_that_a_person_removed_stays_away(bot_home: BotHome) -> None:
    gate = Gate()
    async with bot_home.open(EchoModel(gate=gate)) as ponte:
        gate.open.set()
        one, receipt = await ponte.send("hello")
        await ponte.wait_for_answer(receipt)
        post = bot_home.recorder.posts[0]
        bot_home.recorder.remove(post.id)
        await ponte.engine.conversations.withdraw_post(post.id)
        await ponte.engine.conversations.inbox.accept(one)
    async with bot_home.open() as ponte:
        await ponte.ask("later")
    assert not bot_home.recorder.visible(one.event_key)
    assert len([p for p in bot_home.recorder.posts if p.source == one.event_key]) == 1


async def test_what_could_not_be_posted_is_told_with_the_next_message(bot_home: BotHome) -> None:
    async with bot_home.open() as ponte:
        bot_home.recorder.faults.refuse = "channel_is_gone"
        one, receipt = await ponte.send("hello")
        await ponte.wait_for_answer(receipt)
        bot_home.recorder.faults.refuse = ""
        answer = await ponte.ask("are you there?")
        assert "channel_is_gone" in answer.text
        assert "channel_is_gone" not in (await ponte.ask("and now?")).text
    assert not bot_home.recorder.visible(one.event_key)


async def test_forget_erases_what_was_said_and_what_runs(bot_home: BotHome) -> None:
    gate = Gate()
    model = EchoModel(gate=gate)
    async with bot_home.open(model) as ponte:
        gate.open.set()
        await ponte.ask("my name is Rumpelstiltskin")
        gate.open.clear()
        await _begin_turn(ponte, gate, "Rumpelstiltskin again")
        queue, _ = await ponte.send("still Rumpelstiltskin")
        answer = await ponte.ask("forget")
        assert answer.text.startswith("Deleted this conversation (3 messages).")
        gate.open.set()
        await ponte.ask("hello")
        assert not await model.asks[-1].history()
    assert not bot_home.recorder.visible(queue.event_key)
    for name in ("ponte.db", "ponte.db-wal", "threads.db"):
        path = bot_home.home / name
        assert not path.exists() or b"Rumpelstiltskin" not in path.read_bytes()


async def test_forget_in_a_shared_place_asks_first(bot_home: BotHome) -> None:
    async with bot_home.open() as ponte:
        await ponte.ask("hello", shared=True)
        assert "forget yes" in (await ponte.ask("forget", shared=True)).text
        assert (await ponte.ask("forget yes", shared=True)).text.startswith(
            "Deleted this conversation (2 messages)."
        )


async def test_progress_under_way_when_the_store_fails_is_not_posted_twice(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer cannot be recorded at first, while a long text is still being shown."""
    bot_home.recorder.limit = 200
    post, again = bot_home.recorder.post, asyncio.Event()

    async def slow(channel: str, source: str, key: str, text: str) -> str:
        if key.endswith(":3"):
            await again.wait()
            await run_ready()  # whoever would post it a second time does so now
        return await post(channel, source, key, text)

    monkeypatch.setattr(bot_home.recorder, "post", slow)
    async with bot_home.open() as ponte:
        record_answer, refusals = ponte.engine.conversations.journal.record_answer, [NotStored()]

        async def refuse_once(turn: Turn, answer: Answer, *more: Any) -> None:
            if refusals:
                raise refusals.pop()
            again.set()
            await record_answer(turn, answer, *more)

        monkeypatch.setattr(ponte.engine.conversations.journal, "record_answer", refuse_once)
        one, receipt = await ponte.send("\n\n".join("x" * 150 for _ in range(6)))
        answer = await ponte.wait_for_answer(receipt)
    assert bot_home.recorder.visible(one.event_key) == list(answer.parts)
    assert len(bot_home.recorder.posts) == len(answer.parts)
