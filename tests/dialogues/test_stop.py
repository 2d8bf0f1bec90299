"""Stop, edits, deletions and forgetting, while something runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from core.domain.errors import NotStored
from core.domain.messages import Answer, Person
from core.domain.records import RoundRequest, Turn
from tests.dialogues.stage import BotHome, RunningBot
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
    stage: RunningBot, gate: Gate, text: str = "long work", shared: bool = False
) -> int:
    gate.reached.clear()
    _, receipt = await stage.send(text, shared=shared)
    await gate.reached.wait()
    return receipt.seq


async def test_stop_ends_the_turn_and_the_next_one_starts(theatre: BotHome) -> None:
    gate = Gate()
    async with theatre.open(EchoModel(gate=gate)) as stage:
        seq = await _begin_turn(stage, gate)
        _, next_ = await stage.send("next")
        assert (await stage.ask("stop")).text == "Stopped."
        stopped = await stage.engine.records.inbox.wait_for_answer(seq)
        assert (stopped.status, stopped.text) == ("stopped", "_Stopped._")
        gate.open.set()
        assert (await stage.wait_for_answer(next_)).text == "You said: next"
        assert (await stage.ask("stop")).text == "Nothing is running here."


async def test_in_a_shared_place_only_the_asker_or_an_admin_stops(theatre: BotHome) -> None:
    gate = Gate()
    policy = allow_list(admins=frozenset())
    async with theatre.open(EchoModel(gate=gate), policy=policy) as stage:
        seq = await _begin_turn(stage, gate, shared=True)
        refused = await stage.ask("stop", person=BO, shared=True)
        assert (refused.status, refused.private) == ("failed", True)
        assert (await stage.ask("stop", shared=True)).text == "Stopped."
        assert (await stage.engine.records.inbox.wait_for_answer(seq)).status == "stopped"


async def test_an_edit_before_the_answer_counts_and_a_later_one_buys_none(theatre: BotHome) -> None:
    gate = Gate()
    async with theatre.open(EchoModel(gate=gate)) as stage:
        await _begin_turn(stage, gate)
        queued, receipt = await stage.send("first wording")
        edited = replace(queued, text="second wording", sent_at=5)
        assert await stage.engine.records.inbox.amend(queued.event_key, edited) == "unstarted"
        gate.open.set()
        assert (await stage.wait_for_answer(receipt)).text == "You said: second wording"
        late = replace(queued, text="third wording", sent_at=6)
        assert await stage.engine.records.inbox.amend(queued.event_key, late) == "started"
        assert theatre.recorder.visible(queued.event_key) == ["You said: second wording"]


async def test_a_deleted_message_is_dropped_or_blanked(theatre: BotHome) -> None:
    gate = Gate()
    model = EchoModel(gate=gate)
    async with theatre.open(model) as stage:
        await _begin_turn(stage, gate)
        queued, _ = await stage.send("a secret")
        assert await stage.engine.records.inbox.amend(queued.event_key, None) == "unstarted"
        gate.open.set()
        wait_for_answer, receipt = await stage.send("another secret")
        await stage.wait_for_answer(receipt)
        assert await stage.engine.records.inbox.amend(wait_for_answer.event_key, None) == "started"
        await stage.ask("and now?")
        heard = [item.text for item in await model.asks[-1].history()]
    assert not theatre.recorder.visible(queued.event_key)
    assert "[deleted by its author]" in heard
    assert "another secret" not in heard


async def test_a_post_that_a_person_removed_stays_away(theatre: BotHome) -> None:
    gate = Gate()
    async with theatre.open(EchoModel(gate=gate)) as stage:
        gate.open.set()
        one, receipt = await stage.send("hello")
        await stage.wait_for_answer(receipt)
        post = theatre.recorder.posts[0]
        theatre.recorder.remove(post.id)
        await stage.engine.manager.on_post_removed(post.id)
        await stage.engine.records.inbox.accept(one)
    async with theatre.open() as stage:
        await stage.ask("later")
    assert not theatre.recorder.visible(one.event_key)
    assert len([p for p in theatre.recorder.posts if p.source == one.event_key]) == 1


async def test_what_could_not_be_posted_is_told_with_the_next_message(theatre: BotHome) -> None:
    async with theatre.open() as stage:
        theatre.recorder.faults.refuse = "channel_is_gone"
        one, receipt = await stage.send("hello")
        await stage.wait_for_answer(receipt)
        theatre.recorder.faults.refuse = ""
        told = await stage.ask("are you there?")
        assert "channel_is_gone" in told.text
        assert "channel_is_gone" not in (await stage.ask("and now?")).text
    assert not theatre.recorder.visible(one.event_key)


async def test_forget_erases_what_was_said_and_what_runs(theatre: BotHome) -> None:
    gate = Gate()
    model = EchoModel(gate=gate)
    async with theatre.open(model) as stage:
        gate.open.set()
        await stage.ask("my name is Rumpelstiltskin")
        gate.open.clear()
        await _begin_turn(stage, gate, "Rumpelstiltskin again")
        queued, _ = await stage.send("still Rumpelstiltskin")
        forgotten = await stage.ask("forget")
        assert forgotten.text.startswith("Deleted this conversation (3 messages).")
        gate.open.set()
        await stage.ask("hello")
        assert not await model.asks[-1].history()
    assert not theatre.recorder.visible(queued.event_key)
    for name in ("ponte.db", "ponte.db-wal", "threads.db"):
        path = theatre.home / name
        assert not path.exists() or b"Rumpelstiltskin" not in path.read_bytes()


async def test_forget_in_a_shared_place_asks_first(theatre: BotHome) -> None:
    async with theatre.open() as stage:
        await stage.ask("hello", shared=True)
        assert "forget yes" in (await stage.ask("forget", shared=True)).text
        assert (await stage.ask("forget yes", shared=True)).text.startswith(
            "Deleted this conversation (2 messages)."
        )


async def test_progress_under_way_when_the_store_fails_is_not_posted_twice(
    theatre: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer cannot be recorded at first, while a long text is still being shown."""
    theatre.recorder.limit = 200
    post, again = theatre.recorder.post, asyncio.Event()

    async def slow(channel: str, source: str, key: str, text: str) -> str:
        if key.endswith(":3"):
            await again.wait()
            await run_ready()  # whoever would post it a second time does so now
        return await post(channel, source, key, text)

    monkeypatch.setattr(theatre.recorder, "post", slow)
    async with theatre.open() as stage:
        answered, refusals = stage.engine.records.journal.record_answer, [NotStored()]

        async def refuse_once(turn: Turn, answer: Answer, *more: Any) -> None:
            if refusals:
                raise refusals.pop()
            again.set()
            await answered(turn, answer, *more)

        monkeypatch.setattr(stage.engine.records.journal, "record_answer", refuse_once)
        one, receipt = await stage.send("\n\n".join("x" * 150 for _ in range(6)))
        answer = await stage.wait_for_answer(receipt)
    assert theatre.recorder.visible(one.event_key) == list(answer.parts)
    assert len(theatre.recorder.posts) == len(answer.parts)
