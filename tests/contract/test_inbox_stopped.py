"""The Inbox when a person says stop, and when the process must end."""

from __future__ import annotations

import asyncio

import pytest

from core.base.errors import Forgotten
from core.base.tasks import Backoff
from core.domain.messages import Address
from core.domain.records import TurnState
from tests.contract.engines import Embedded, Engine, Worker
from tests.contract.test_inbox import says
from tests.time_limits import Limits

CONVERSATION = Address("web", "C1").conversation


async def test_a_running_turn_is_stopped_and_the_next_begins(engine: Engine) -> None:
    worker = Worker(engine, held=True).start()
    first = (await engine.inbox.accept(says("think hard"))).seq
    second = (await engine.inbox.accept(says("and this"))).seq
    await worker.until(lambda: first in worker.now)
    assert await engine.inbox.cancel(first)
    assert (await engine.inbox.wait_for_answer(first)).text == "stopped"
    await worker.until(lambda: worker.now == {second})
    assert worker.cut == [first]


async def test_a_second_stop_does_not_cut_the_first_one_short(engine: Engine) -> None:
    worker = Worker(engine, held=True).start()
    seq = (await engine.inbox.accept(says("think hard"))).seq
    await worker.until(lambda: seq in worker.now)
    assert await engine.inbox.cancel(seq)
    await worker.until(lambda: seq in worker.cut)
    await engine.inbox.cancel(seq)
    assert (await engine.inbox.wait_for_answer(seq)).text == "stopped"


async def test_a_waiting_message_is_withdrawn(engine: Engine) -> None:
    worker = Worker(engine, held=True).start()
    first, second, third = [(await engine.inbox.accept(says(f"{n}"))).seq for n in range(3)]
    await worker.until(lambda: first in worker.now)
    waiting = asyncio.create_task(engine.inbox.wait_for_answer(second))
    await asyncio.sleep(0)
    assert await engine.inbox.cancel(second)
    with pytest.raises(Forgotten):
        await waiting
    worker.let_go(first)
    await worker.until(lambda: third in worker.now)
    assert worker.said == ["0", "2"]


async def test_what_is_over_cannot_be_stopped(engine: Engine) -> None:
    worker = Worker(engine).start()
    seq = (await engine.inbox.accept(says("hello"))).seq
    await worker.until_ended(1)
    await engine.inbox.drain(1)
    assert not await engine.inbox.cancel(seq)
    assert (await engine.inbox.wait_for_answer(seq)).text == "re: hello"


@pytest.mark.usefixtures("at_once")
async def test_a_stop_at_the_moment_of_the_start_is_heard(stores: Embedded) -> None:
    worker = Worker(stores, held=True).start()
    states: list[TurnState] = []

    async def stop_at_start(number: int) -> None:
        hello = says("hello", f"C{number}")
        seq = (await stores.inbox.accept(hello)).seq
        for _ in range(number % 12):
            await asyncio.sleep(0)
        assert await stores.inbox.cancel(seq)
        try:
            assert (await stores.inbox.wait_for_answer(seq)).text == "stopped"
        except Forgotten:
            assert seq not in worker.began
        states.append((await stores.journal.history_entry(hello.turn)).state)

    await asyncio.gather(*(stop_at_start(number) for number in range(48)))
    assert len(states) == 48
    assert set(states) <= {"stopped", "withdrawn"}
    assert worker.ended == []


@pytest.mark.usefixtures("at_once")
async def test_a_handler_that_drops_a_stop_is_asked_again(stores: Embedded) -> None:
    texts: list[bool] = []
    start_event, end_event = asyncio.Event(), asyncio.Event()

    async def careless(seq: int) -> None:
        texts.append(stores.inbox.is_stopped(seq))
        start_event.set()
        if len(texts) == 1:
            await asyncio.Event().wait()
        await stores.end(seq, "stopped", "stopped")
        end_event.set()

    running = asyncio.create_task(stores.inbox.run(careless))
    seq = (await stores.inbox.accept(says("think hard"))).seq
    await start_event.wait()
    await stores.inbox.cancel(seq)
    await end_event.wait()
    assert texts == [False, True]
    await stores.inbox.drain(1)
    await running


async def test_a_stop_reaches_what_is_put_off(stores: Embedded, limits: Limits) -> None:
    limits(TURN_BACKOFF=Backoff(0.05, max_seconds=30.0))
    worker = Worker(stores, broken=1).start()
    seq = (await stores.inbox.accept(says("hello"))).seq
    await worker.until_begun(1)
    for _ in range(5):
        await asyncio.sleep(0)
    assert await stores.inbox.running_turn(CONVERSATION) == seq
    assert await stores.inbox.cancel(seq)
    assert (await stores.inbox.wait_for_answer(seq)).text == "stopped"


async def test_a_drain_lets_turns_finish_and_starts_none(engine: Engine) -> None:
    worker = Worker(engine, held=True).start()
    first, second = [(await engine.inbox.accept(says(f"{n}"))).seq for n in range(2)]
    await worker.until(lambda: first in worker.now)
    draining = asyncio.create_task(engine.inbox.drain(60))
    await asyncio.sleep(0)
    worker.let_go()
    await draining
    assert (worker.ended, worker.cut, worker.began) == ([first], [], [first])
    late = await engine.inbox.accept(says("late"))
    heir = Worker(await engine.kill()).start()
    await heir.until_ended(2)
    assert heir.ended == [second, late.seq]


async def test_a_drain_without_grace_leaves_the_rest_to_the_next(engine: Engine) -> None:
    worker = Worker(engine, held=True).start()
    seqs = [(await engine.inbox.accept(says(f"{n}", f"C{n % 4}"))).seq for n in range(12)]
    await worker.until(lambda: len(worker.now) == 4)
    await engine.inbox.drain(0)
    assert sorted(worker.cut) == seqs[:4]
    assert not any(engine.inbox.is_stopped(seq) for seq in seqs)
    heir = Worker(await engine.kill()).start()
    await heir.until_ended(12)
    assert sorted(heir.ended) == seqs
    # On a busy machine a thread that committed an end can resume after the next turn has ended.
    for channel in range(4):
        assert [seq for seq in heir.began if (seq - seqs[0]) % 4 == channel] == seqs[channel::4]


async def test_a_drain_takes_no_decision_up(stores: Embedded) -> None:
    worker = Worker(stores).start()
    await stores.inbox.drain(0)
    stop = await stores.inbox.accept(says("stop"))
    assert worker.began == []
    heir = Worker(await stores.kill()).start()
    await heir.until_ended(1)
    assert heir.ended == [stop.seq]
