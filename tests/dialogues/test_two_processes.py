"""A server that takes events in and a worker that runs them: each thing works from either."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from core.base.errors import Forgotten
from core.domain.messages import Answer
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import ADA, propose
from tests.dialogues.stackspot import Bot, asks
from tests.dialogues.test_stop import Gate
from tests.fakes.memory_table import MemoryTable
from tests.fakes.models import EchoModel
from tests.fakes.stackspot import FakeStackSpot, Look, Run
from tests.time_limits import Limits

FORGOTTEN = "_Stopped: this conversation was deleted._"


@pytest.fixture
def worker(migrated_postgres: str, tmp_path: Path) -> BotHome:
    return BotHome(tmp_path / "worker", migrated_postgres)


@asynccontextmanager
async def pair(worker: BotHome, gate: Gate) -> AsyncIterator[RunningBot]:
    """The server; the worker's model is held by `gate`."""
    async with worker.open(EchoModel(gate=gate)), worker.taking().open() as server:
        yield server


async def test_a_stop_on_the_server_ends_a_turn_of_the_worker(worker: BotHome) -> None:
    gate = Gate()
    async with pair(worker, gate) as server:
        _, receipt = await server.send("long work")
        await gate.reached.wait()
        assert (await server.ask("stop")).text == "Stopped."
        assert (await server.wait_for_answer(receipt)).text == "_Stopped._"
        assert (await server.ask("stop")).text == "Nothing is running here."


async def test_forget_on_the_server_ends_a_turn_of_the_worker(worker: BotHome) -> None:
    gate = Gate()
    async with pair(worker, gate) as server:
        message, receipt = await server.send("a secret")
        await gate.reached.wait()
        answer = await server.ask("forget")
        assert answer.text.startswith("Deleted this conversation (1 message). The deleted data may")
        with pytest.raises(Forgotten):
            await server.wait_for_answer(receipt)
        gate.open.set()
        assert (await server.ask("hello")).text == "You said: hello"
    assert not any("secret" in text for post in worker.recorder.posts for text in post.texts)
    assert worker.recorder.visible(message.event_key) in ([], [FORGOTTEN])


async def test_an_edit_on_the_server_changes_a_waiting_message(worker: BotHome) -> None:
    gate = Gate()
    async with pair(worker, gate) as server:
        await server.send("long work")
        await gate.reached.wait()
        message, receipt = await server.send("wrong")
        cancelled_turn, withdrawal = await server.send("never mind")
        amend = server.engine.conversations.inbox.amend
        assert await amend(message.event_key, replace(message, text="right")) == "unstarted"
        await amend(cancelled_turn.event_key, None)
        gate.open.set()
        assert (await server.wait_for_answer(receipt)).text == "You said: right"
        with pytest.raises(Forgotten):
            await server.wait_for_answer(withdrawal)


async def test_a_card_is_drawn_anew_whoever_decides(worker: BotHome) -> None:
    table = MemoryTable()
    other = worker.taking()
    async with (
        worker.open(sources=[table], appliers=[table]),
        other.open(sources=[table], appliers=[table]) as server,
    ):
        card = await propose(server, "table_create", rows=[ADA])
        assert "Done." in (await server.ask(f"approve {card.id}")).text
        while not any(f"{card.id} done" in post.text for post in worker.recorder.posts):
            await worker.recorder.wait_for_calls(len(worker.recorder.calls) + 1)
    assert [row["Name"] for row in table.rows.values()] == ["Ada"]


async def test_a_card_that_was_decided_while_it_was_posted_is_drawn_anew(
    worker: BotHome, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    """By the other process, and not only when it looks again by itself."""
    limits(REDRAW_PERIOD_SECONDS=3600.0)
    table, gate, recorder = MemoryTable(), Gate(), worker.recorder
    make_post = recorder.post

    async def hold_post(*post: str) -> str:
        id = await make_post(*post)
        if len(recorder.posts) == 1:
            gate.reached.set()
            await gate.open.wait()
        return id

    monkeypatch.setattr(recorder, "post", hold_post)
    async with (
        worker.taking().open(sources=[table], appliers=[table]) as server,
        worker.open(sources=[table], appliers=[table]),
    ):
        await server.send(f"call table_create {json.dumps({'rows': [ADA]})}")
        await gate.reached.wait()
        (change,) = await server.engine.changes.ledger.list_waiting_for_people()
        assert "Done." in (await server.ask(f"approve {change.id}")).text
        gate.open.set()
        while f"{change.id} done" not in recorder.posts[0].text:
            await recorder.wait_for_calls(len(recorder.calls) + 1)


async def test_a_run_that_was_approved_is_left_by_a_stop(worker: BotHome) -> None:
    async with FakeStackSpot() as stackspot:
        stackspot.go(*[Run((Look("RUNNING"),) * 10_000)] * 2)
        there, here = Bot(worker, stackspot), Bot(worker.taking(), stackspot)
        async with there.open(), here.open() as server:
            (card,) = (await server.ask(asks("translate-all", "it"))).cards
            _, receipt = await server.send(f"approve {card.id}")
            await stackspot.wait_for_requests("status", 2)
            assert (await server.ask("stop")).text == "Stopped."
            answer: Answer = await server.wait_for_answer(receipt)
        assert "I stopped waiting because you asked me to." in answer.text
        assert stackspot.count("create") == 1
