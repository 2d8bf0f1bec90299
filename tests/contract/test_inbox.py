"""The Inbox: stored when it says so, each event once, in order, side by side."""

from __future__ import annotations

import asyncio
import gc
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from core.base.errors import Forgotten, TooManyDeliveries
from core.base.tasks import Backoff
from core.domain.messages import Address, Message, MessageOrigin, Person, Quote, turn_id
from core.domain.records import ConversationArea, Receipt
from core.journal import inbox as inbox_module
from core.journal.inbox import SenderLimits
from core.observability import metrics
from core.store.database import SqlConnection
from core.webhooks.hook import HOOK_PLATFORM
from tests.contract.engines import Embedded, Engine, Worker
from tests.fakes.choices import make_message
from tests.time_limits import Limits


def says(text: str, channel: str = "C1") -> Message:
    return make_message(text, f"web:{uuid.uuid4()}", channel)


async def test_long_messages_do_not_wait_in_memory(sqlite: Embedded) -> None:
    """A thousand of them could take gigabytes. The database's thread may have the last one."""
    words = "long " * 1000
    quotes = (Quote("x", words),)
    for number in range(5):
        message = replace(says(words, f"C{number}"), context=quotes, program_context=quotes)
        await sqlite.inbox.accept(message)
    gc.collect()
    messages = [each for each in gc.get_objects() if isinstance(each, Message)]
    for long in ("text", "context", "program_context"):
        assert sum(getattr(each, long) in (words, quotes) for each in messages) <= 1, long
    worker = Worker(await sqlite.beside()).start()
    await worker.until_ended(5)


async def test_a_message_is_known_by_its_event_and_its_turn(engine: Engine) -> None:
    hello = says("hello")
    receipt = await engine.inbox.accept(hello)
    assert (receipt.turn, receipt.is_new) == (turn_id(hello.event_key), True)
    times = await engine.inbox.find_times((hello.event_key, "web:unknown"))
    assert set(times) == {hello.event_key}


async def test_messages_at_once_do_not_exceed_what_may_wait(stores: Embedded) -> None:
    config = SimpleNamespace(sender_limits=SenderLimits(waiting=3))
    vars(stores.inbox)["_config"] = config
    requests = [stores.inbox.accept(says("hello", f"C{number}")) for number in range(10)]
    receipts = await asyncio.gather(*requests)
    assert sorted(receipt.refusal for receipt in receipts) == [""] * 3 + ["waiting:3"] * 7


async def test_deliveries_at_once_over_two_processes_do_not_exceed_the_webhook_s_limit(
    stores: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, now = stores, time.time()
    monkeypatch.setattr(inbox_module, "time", SimpleNamespace(time=lambda: now))
    inboxes = [engine.inbox, (await engine.beside()).inbox]

    def deliver(number: int, name: str = "ci") -> Message:
        author = Person(HOOK_PLATFORM, name, is_bot=True)
        hook = MessageOrigin("webhook", name, per_minute=3)
        return replace(make_message("x", f"hook:{name}:{number}"), author=author, origin=hook)

    requests = [inboxes[number % 2].accept(deliver(number)) for number in range(10)]
    results = await asyncio.gather(*requests, return_exceptions=True)
    records = [number for number, one in enumerate(results) if isinstance(one, Receipt)]
    assert len(records) == 3
    assert sum(isinstance(one, TooManyDeliveries) for one in results) == 7
    again = await engine.inbox.accept(deliver(records[0]))
    assert not again.is_new, "a repeated delivery gets its first receipt"
    assert (await engine.inbox.accept(deliver(1, "other"))).is_new
    late = next(number for number in range(10) if number not in records)
    now += 59
    with pytest.raises(TooManyDeliveries):
        await engine.inbox.accept(deliver(late))
    now += 2
    assert (await engine.inbox.accept(deliver(late))).is_new, "the sender tries again"


async def test_one_event_a_hundred_times_at_once_is_one_turn(engine: Engine) -> None:
    worker, hello = Worker(engine).start(), says("hello")
    receipts = await asyncio.gather(*(engine.inbox.accept(hello) for _ in range(100)))
    assert sum(receipt.is_new for receipt in receipts) == 1
    assert len({(receipt.seq, receipt.turn) for receipt in receipts}) == 1
    await engine.inbox.accept(says("done"))
    await worker.until_ended(2)
    assert worker.said == ["hello", "done"]


async def test_a_redelivery_gets_the_first_answer(engine: Engine) -> None:
    worker, hello = Worker(engine).start(), says("hello")
    first = await engine.inbox.accept(hello)
    await worker.until_ended(1)
    other_text = replace(hello, text="something else")
    again = await engine.inbox.accept(other_text)
    assert (again.seq, again.is_new) == (first.seq, False)
    assert (await engine.inbox.wait_for_answer(again.seq)).text == "re: hello"


async def test_a_redelivery_after_a_crash_is_recognised(engine: Engine) -> None:
    """What was accepted before a process runs turns is run once."""
    hello = says("hello")
    first = await engine.inbox.accept(hello)
    heir = await engine.kill()
    again = await heir.inbox.accept(hello)
    assert (again.seq, again.is_new) == (first.seq, False)
    worker = Worker(heir).start()
    await worker.until_ended(1)
    last = await heir.inbox.accept(says("done"))
    await worker.until_ended(2)
    assert (worker.ended, worker.calls) == ([first.seq, last.seq], 2)


async def test_messages_of_one_conversation_keep_their_order(engine: Engine) -> None:
    worker = Worker(engine).start()
    texts = [f"{n}" for n in range(12)]
    for text in texts:
        await engine.inbox.accept(says(text))
    await worker.until_ended(12)
    assert worker.said == texts


async def test_the_next_process_keeps_the_order_too(engine: Engine) -> None:
    for n in range(15):
        await engine.inbox.accept(says(f"C{n % 5} {n}", f"C{n % 5}"))
    worker = Worker(await engine.kill()).start()
    await worker.until_ended(15)
    for channel in range(5):
        messages = [message for message in worker.said if message.startswith(f"C{channel} ")]
        assert messages == [f"C{channel} {n}" for n in range(channel, 15, 5)]


async def test_a_hundred_conversations_go_on_at_once(engine: Engine) -> None:
    worker = Worker(engine, held=True).start()
    await asyncio.gather(*(engine.inbox.accept(says("hello", f"C{n}")) for n in range(100)))
    await worker.until(lambda: len(worker.now) == 100)
    worker.let_go()
    await worker.until_ended(100)


async def test_one_conversation_goes_one_at_a_time(engine: Engine) -> None:
    worker = Worker(engine, held=True).start()
    receipts = [await engine.inbox.accept(says(f"{n}")) for n in range(3)]
    conversation = Address("web", "C1").conversation
    for number, receipt in enumerate(receipts):
        await worker.until_begun(number + 1)
        assert worker.now == {receipt.seq}
        assert await engine.inbox.running_turn(conversation) == receipt.seq
        worker.let_go(receipt.seq)
        await worker.until_ended(number + 1)
    await engine.inbox.drain(1)
    assert await engine.inbox.running_turn(conversation) is None


async def test_a_person_is_told_how_many_wait_before_them(engine: Engine, limits: Limits) -> None:
    limits(DECISIONS_FIRST_SECONDS=0.0)  # of decisions found at the start
    worker = Worker(engine, held=True).start()
    assert [(await engine.inbox.accept(says("hello"))).turns_ahead for _ in range(3)] == [0, 1, 2]
    assert (await engine.inbox.accept(says("hello", "C2"))).turns_ahead == 0
    assert (await engine.inbox.accept(says("help"))).turns_ahead == 0
    await worker.until(lambda: len(worker.now) == 3)


async def test_the_age_of_the_queue_is_that_of_who_waits_longest(sqlite: Embedded) -> None:
    metrics.set_queue_age(float)
    worker = Worker(sqlite, held=True).start()
    first = await sqlite.inbox.accept(says("think hard"))
    await worker.until(lambda: worker.now == {first.seq})
    assert "ponte_oldest_queued_message_seconds 0.0\n" in metrics.render_metrics()
    await sqlite.inbox.accept(says("and then this"))
    assert "ponte_oldest_queued_message_seconds 0.0\n" not in metrics.render_metrics()
    metrics.set_queue_age(float)


async def test_a_decision_does_not_wait_for_a_busy_conversation(engine: Engine) -> None:
    worker = Worker(engine, held=True).start()
    first = await engine.inbox.accept(says("think hard"))
    await engine.inbox.accept(says("and then this"))
    await worker.until(lambda: worker.now == {first.seq})
    stop = await engine.inbox.accept(says("stop"))
    await worker.until(lambda: worker.now == {first.seq, stop.seq})
    assert await engine.inbox.running_turn(Address("web", "C1").conversation) == first.seq


async def test_decisions_run_before_other_messages_after_a_restart(sqlite: Embedded) -> None:
    for text in ("hello", "stop", "hello again", "help"):
        await sqlite.inbox.accept(says(text, text))
    worker = Worker(await sqlite.kill()).start()
    await worker.until_ended(4)
    assert worker.said[:2] == ["stop", "help"]


async def test_a_place_that_nobody_serves_now_waits_for_one_who_does(engine: Engine) -> None:
    await engine.inbox.accept(says("to the web"))
    slack = Address("slack", "C1", workspace="T1")
    await engine.inbox.accept(replace(says("to Slack"), address=slack))
    heir = await engine.kill()
    worker = Worker(heir)
    running = asyncio.create_task(heir.inbox.run(worker.handle, ["web"]))
    await worker.until_ended(1)
    await heir.inbox.drain(1)
    await running
    assert worker.said == ["to the web"]
    worker = Worker(await heir.kill()).start()
    await worker.until_ended(1)
    assert worker.said == ["to Slack"]


@pytest.mark.usefixtures("at_once")
async def test_a_handler_that_raises_is_tried_again_in_its_place(stores: Embedded) -> None:
    worker = Worker(stores, broken=3).start()
    for text in ("first", "second", "third"):
        await stores.inbox.accept(says(text))
    await worker.until_ended(3)
    assert worker.said == ["first"] * 4 + ["second", "third"]


async def test_what_is_put_off_holds_up_nobody_else(stores: Embedded, limits: Limits) -> None:
    limits(TURN_BACKOFF=Backoff(3600.0))
    worker = Worker(stores, broken=1).start()
    first = await stores.inbox.accept(says("first"))
    await worker.until(lambda: first.seq in worker.began)
    other = await stores.inbox.accept(says("elsewhere", "C2"))
    await worker.until_ended(1)
    assert worker.ended == [other.seq]


async def test_an_answer_is_waited_for_and_there_after_a_restart(engine: Engine) -> None:
    worker = Worker(engine, held=True).start()
    seq = (await engine.inbox.accept(says("hello"))).seq
    waiting = [asyncio.create_task(engine.inbox.wait_for_answer(seq)) for _ in range(3)]
    await worker.until(lambda: seq in worker.now)
    assert not any(task.done() for task in waiting)
    worker.let_go(seq)
    assert {answer.text for answer in await asyncio.gather(*waiting)} == {"re: hello"}
    assert (await engine.inbox.wait_for_answer(seq)).text == "re: hello"
    heir = await engine.kill()
    assert (await heir.inbox.wait_for_answer(seq)).text == "re: hello"


async def test_a_turn_that_ended_without_an_answer_keeps_nobody_waiting(stores: Embedded) -> None:
    seq = (await stores.inbox.accept(says("hello"))).seq
    turn = await stores.journal.begin(seq)
    assert turn
    await stores.journal.end_turn(turn, "removed")
    answer = await stores.inbox.wait_for_answer(seq)
    assert (answer.text, answer.status) == ("", "stopped")


async def test_finished_rows_are_purged_and_no_others(engine: Engine) -> None:
    worker = Worker(engine, held=True).start()
    hello = says("hello")
    seq = (await engine.inbox.accept(hello)).seq
    await worker.until(lambda: seq in worker.now)
    worker.let_go(seq)
    await worker.until_ended(1)
    busy = (await engine.inbox.accept(says("hard"))).seq
    await engine.inbox.accept(says("waits"))
    await worker.until(lambda: busy in worker.now)
    assert await engine.inbox.purge(time.time() - 60) == 0
    for elsewhere in (
        ConversationArea("web:C2"),
        ConversationArea("", ("web:C1",)),
        ConversationArea("slack"),
    ):
        assert await engine.inbox.purge(time.time() + 60, elsewhere) == 0
    assert await engine.inbox.purge(time.time() + 60) == 1
    with pytest.raises(Forgotten):
        await engine.inbox.wait_for_answer(seq)
    assert (await engine.inbox.accept(hello)).is_new
    worker.let_go()
    await worker.until_ended(2)


async def test_what_comes_while_a_process_begins_waits_behind_what_is_older(
    sqlite: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored after the process has read what a former one left."""
    for text in ("first", "second"):
        await sqlite.inbox.accept(says(text))
    engine = await sqlite.beside()
    read_database = engine.database.read

    async def read_late(work: Callable[[SqlConnection], Any]) -> Any:
        content = await read_database(work)
        monkeypatch.undo()
        await engine.inbox.accept(says("third"))
        return content

    monkeypatch.setattr(engine.database, "read", read_late)
    worker = Worker(engine).start()
    await worker.until_ended(3)
    assert worker.said == ["first", "second", "third"]
