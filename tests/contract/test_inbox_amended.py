"""The Inbox when a message is edited or deleted on its platform: in time, and too late."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from core.base.errors import Forgotten
from core.journal import inbox as inbox_module
from core.journal.inbox import SenderLimits
from tests.contract.engines import Embedded, Engine, Worker
from tests.contract.test_inbox import says


async def test_an_edit_of_a_waiting_message(engine: Engine) -> None:
    worker, helo = Worker(engine, held=True).start(), says("helo")
    first = await engine.inbox.accept(says("think hard"))
    await worker.until(lambda: first.seq in worker.now)
    await engine.inbox.accept(helo)
    assert await engine.inbox.amend(helo.event_key, replace(helo, text="hello")) == "unstarted"
    worker.let_go(first.seq)
    await worker.until_begun(2)
    assert worker.said == ["think hard", "hello"]


async def test_an_edit_that_comes_too_late_is_kept_all_the_same(engine: Engine) -> None:
    worker, helo = Worker(engine, held=True).start(), says("helo")
    await engine.inbox.accept(helo)
    await worker.until_begun(1)
    assert await engine.inbox.amend(helo.event_key, replace(helo, text="hello")) == "started"
    assert worker.said == ["helo"]
    worker = Worker(await engine.kill()).start()
    await worker.until_ended(1)
    assert worker.said == ["hello"]


async def test_an_older_or_unknown_version_never_overwrites(engine: Engine) -> None:
    first, deletion, stranger = (replace(says(text), sent_at=1.0) for text in ("one", "x", "y"))
    for message in (first, deletion):
        await engine.inbox.accept(message)
    key, third = first.event_key, replace(first, text="three", sent_at=3.0)
    assert await engine.inbox.amend(key, third) == "unstarted"
    assert await engine.inbox.amend(key, replace(first, text="two", sent_at=2.0)) == "unknown"
    assert not (await engine.inbox.accept(first)).is_new
    for _ in range(2):
        assert await engine.inbox.amend(deletion.event_key, None) == "unstarted", "told twice"
    for unheard in (stranger, None):
        assert await engine.inbox.amend(stranger.event_key, unheard) == "unknown"
    worker = Worker(engine).start()
    await worker.until_ended(1)
    assert worker.said == ["three"]


async def test_a_deleted_message_is_not_answered(engine: Engine) -> None:
    worker, secret = Worker(engine, held=True).start(), says("my password")
    first = await engine.inbox.accept(says("think hard"))
    await worker.until(lambda: first.seq in worker.now)
    connection = await engine.inbox.accept(secret)
    waiting = asyncio.create_task(engine.inbox.wait_for_answer(connection.seq))
    await asyncio.sleep(0)
    assert await engine.inbox.amend(secret.event_key, None) == "unstarted"
    with pytest.raises(Forgotten):
        await waiting
    last = await engine.inbox.accept(says("bye"))
    worker.let_go(first.seq, last.seq)
    await worker.until_ended(2)
    assert worker.said == ["think hard", "bye"]


async def test_a_deleted_message_is_not_brought_back_by_an_edit(stores: Embedded) -> None:
    secret, reply = says("my password"), says("my other password")
    worker = Worker(stores, held=True).start()
    running = await stores.inbox.accept(reply)
    await worker.until(lambda: running.seq in worker.now)
    await stores.inbox.accept(secret)
    for message in (secret, reply):
        await stores.inbox.amend(message.event_key, None)
        variant = replace(message, text="again", sent_at=9.0)
        assert await stores.inbox.amend(message.event_key, variant) == "unknown"
        assert (await stores.journal.history_entry(message.turn)).message.text == ""


async def test_an_edit_and_the_start_never_cross(engine: Engine) -> None:
    worker = Worker(engine).start()

    async def edit_at_start(number: int) -> None:
        helo = says(f"helo {number}", f"C{number}")
        receipt = await engine.inbox.accept(helo)
        for _ in range(number % 5):
            await asyncio.sleep(0)
        hello = replace(helo, text=f"hello {number}")
        amendment = await engine.inbox.amend(helo.event_key, hello)
        await engine.inbox.wait_for_answer(receipt.seq)
        assert amendment == "started" or hello.text in worker.said

    await asyncio.gather(*(edit_at_start(number) for number in range(30)))
    assert len(worker.said) == 30


async def test_a_deletion_and_the_start_never_cross(engine: Engine) -> None:
    worker = Worker(engine).start()

    async def delete_at_start(number: int) -> None:
        hello = says(f"hello {number}", f"C{number}")
        receipt = await engine.inbox.accept(hello)
        for _ in range(number % 5):
            await asyncio.sleep(0)
        if await engine.inbox.amend(hello.event_key, None) == "started":
            await engine.inbox.wait_for_answer(receipt.seq)
            await worker.until(lambda: receipt.seq in worker.ended)
            return
        with pytest.raises(Forgotten):
            await engine.inbox.wait_for_answer(receipt.seq)
        assert receipt.seq not in worker.began

    await asyncio.gather(*(delete_at_start(number) for number in range(30)))


async def test_a_token_does_not_outlive_a_message_that_never_runs(stores: Embedded) -> None:
    for withdraw in ("deleted", "stopped"):
        hello = says("hello")
        hello = replace(hello, reply_to=replace(hello.reply_to, token="secret-of-slack"))
        receipt = await stores.inbox.accept(hello)
        if withdraw == "deleted":
            await stores.inbox.amend(hello.event_key, None)
        else:
            await stores.inbox.cancel(receipt.seq)
        entry = await stores.journal.history_entry(hello.turn)
        assert (entry.state, entry.message.reply_to.token) == ("withdrawn", "")


async def test_a_waiting_message_that_becomes_a_decision_runs_at_once(stores: Embedded) -> None:
    worker, helo = Worker(stores, held=True).start(), says("helo")
    first = await stores.inbox.accept(says("think hard"))
    await worker.until(lambda: first.seq in worker.now)
    await stores.inbox.accept(helo)
    last = await stores.inbox.accept(says("bye"))
    stop = replace(helo, text="stop", sent_at=1.0)
    assert await stores.inbox.amend(helo.event_key, stop) == "unstarted"
    await worker.until_begun(2)
    assert (worker.said, first.seq in worker.now) == (["think hard", "stop"], True)
    worker.let_go()
    worker.let_go(last.seq)
    await worker.until_ended(3)
    assert worker.said == ["think hard", "stop", "bye"]
    assert await stores.inbox.amend(helo.event_key, None) == "started"
    assert (await stores.journal.history_entry(helo.turn)).message.text == ""


async def test_a_decision_that_becomes_a_message_waits_for_its_turn(stores: Embedded) -> None:
    first, help = await stores.inbox.accept(says("think hard")), says("help")
    await stores.inbox.accept(help)
    amendment = await stores.inbox.amend(help.event_key, replace(help, text="hello", sent_at=1.0))
    assert amendment == "unstarted"
    worker = Worker(stores, held=True).start()
    await worker.until(lambda: bool(worker.now))
    assert worker.now == {first.seq}
    worker.let_go(first.seq)
    await worker.until_begun(2)
    assert worker.said == ["think hard", "hello"]


@pytest.mark.parametrize("sender_limits", [SenderLimits(per_minute=1), SenderLimits(waiting=1)])
async def test_an_edit_of_a_decision_does_not_evade_a_limit(
    stores: Embedded, sender_limits: SenderLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(inbox_module, "time", SimpleNamespace(time=lambda: now))
    vars(stores.inbox)["_config"] = SimpleNamespace(sender_limits=sender_limits)
    help = says("help")
    for message in (says("one"), help):
        assert not (await stores.inbox.accept(message)).refusal
    await stores.inbox.amend(help.event_key, replace(help, text="two", sent_at=1.0))
    assert (await stores.inbox.accept(help)).refusal


async def test_a_withdrawn_message_can_be_accepted_again_if_it_was_not_answered(
    stores: Embedded,
) -> None:
    worker, hello = Worker(stores, held=True).start(), says("hello")
    first, bye = says("think hard"), says("bye")
    running = await stores.inbox.accept(first)
    await worker.until(lambda: running.seq in worker.now)
    for message in (hello, bye):
        await stores.inbox.accept(message)
    for message in (first, hello):
        await stores.inbox.amend(message.event_key, None)
    for message, is_new in ((first, False), (hello, True), (bye, False)):
        await stores.inbox.allow_again(message.event_key)
        assert (await stores.inbox.accept(message)).is_new == is_new
    for count in (2, 3):
        worker.let_go()
        await worker.until_begun(count)
    assert worker.said == ["think hard", "bye", "hello"]
    await worker.until(lambda: running.seq in worker.ended)
    await stores.journal.forget(first.address.conversation)
    await stores.inbox.allow_again(first.event_key)
    assert not (await stores.inbox.accept(first)).is_new


async def test_a_message_that_is_edited_to_and_fro_runs_once_with_its_last_text(
    stores: Embedded,
) -> None:
    worker, hello = Worker(stores, held=True).start(), says("hello")
    first = await stores.inbox.accept(says("think hard"))
    await worker.until(lambda: first.seq in worker.now)
    connection = await stores.inbox.accept(hello)
    for at, text in enumerate(("stop", "helo"), 1):
        variant = replace(hello, text=text, sent_at=float(at))
        if await stores.inbox.amend(hello.event_key, variant) == "started":
            break  # it was a decision, which runs at once
    again = await stores.inbox.accept(hello)  # delivered twice
    assert (again.is_new, again.seq > connection.seq) == (False, True)
    worker.let_go()
    worker.let_go(again.seq)
    await worker.until_ended(2)
    assert worker.said in (["think hard", "stop"], ["think hard", "helo"])
