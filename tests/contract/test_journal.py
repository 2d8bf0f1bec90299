"""The Journal of one turn: what was written is there for the next process, once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest

from core.base.errors import NotFound, Superseded, TakenOver
from core.domain.messages import Answer, Attachment, Item, Message, Post, Quote, Usage, encode_json
from core.domain.records import Outcome, Provenance, Round, RoundOutput, ToolCall, Turn
from core.journal.journal import Journal
from core.money.budget import Budget
from core.store.database import SqlConnection
from tests.contract.engines import Embedded
from tests.contract.test_inbox import says
from tests.fakes import choices
from tests.fakes.config import FixedConfig, means_everybody

HELLO = Item("message", role="user", text="hello")
LOOK = Item("call", call_id="c1", name="look", arguments="{}")
CALL = ToolCall("c1", "look", "{}", "read")
SAID = Item("message", role="assistant", text="hi")
USAGE = Usage(input=10, output=2, cost=0.01)


async def begin_turn(engine: Embedded, text: str = "hello", channel: str = "C1") -> Turn:
    receipt = await engine.inbox.accept(says(text, channel))
    return await again(engine, receipt.seq)


async def again(engine: Embedded, seq: int) -> Turn:
    turn = await engine.journal.begin(seq)
    assert turn
    return turn


async def rows(engine: Embedded) -> dict[str, list[dict[str, object]]]:
    """All that is journalled, table by table."""
    tables = ("inbox", "items", "rounds", "calls", "posts", "usage")
    return await engine.database.read(
        lambda c: {t: [dict(row) for row in c.execute(f"SELECT * FROM {t}")] for t in tables}
    )


async def test_only_a_new_process_is_a_new_attempt(stores: Embedded) -> None:
    turn = await begin_turn(stores)
    assert (turn.attempt, turn.state) == (1, "running")
    assert (await again(stores, turn.seq)).attempt == 1
    heir = await stores.kill()
    assert (await again(heir, turn.seq)).attempt == 2
    assert (await again(heir, turn.seq)).attempt == 2
    assert (await again(await heir.kill(), turn.seq)).attempt == 3


async def test_a_process_that_may_count_as_dead_is_told_to_stop(stores: Embedded) -> None:
    alive = True
    journal = Journal(stores.database, "p1", lambda: alive)
    turn = await journal.begin((await stores.inbox.accept(says("hello"))).seq)
    assert turn
    await journal.record_user_message(turn, [HELLO])
    journal.check_ownership()
    alive = False
    with pytest.raises(TakenOver):
        journal.check_ownership()
    with pytest.raises(TakenOver):
        await journal.record_answer(turn, Answer("hi"), key="k1")


async def test_an_older_attempt_records_no_post(stores: Embedded) -> None:
    turn = await begin_turn(stores)
    await stores.journal.record_answer(turn, Answer("hi", parts=("hi",)), key="k1")
    heir = await stores.kill()
    newer = await again(heir, turn.seq)
    with pytest.raises(TakenOver):
        await heir.journal.record_posted(turn, 1, "late")
    assert [row["post"] for row in (await rows(heir))["posts"]] == [""]
    await heir.journal.record_posted(newer, 1, "p1")
    assert [row["post"] for row in (await rows(heir))["posts"]] == ["p1"]


async def test_a_thread_keeps_that_something_from_outside_is_in_it(stores: Embedded) -> None:
    turn = await begin_turn(stores)
    journal, ana = stores.journal, turn.message.author.key
    await journal.record_user_message(
        turn, [replace(HELLO, text="see https://mine.test", is_authored=True)]
    )
    assert await journal.provenance(turn.thread, ana, turn.seq) == Provenance(
        False, ("see https://mine.test",)
    )
    assert await journal.provenance(turn.thread, "web:somebody", turn.seq) == Provenance(True)
    await journal.record_call_start(turn, CALL)
    heir = await stores.kill()
    assert (await heir.journal.provenance(turn.thread, ana, turn.seq)).has_outside_text
    fresh = await heir.journal.new_thread(turn.message.address.conversation)
    assert await heir.journal.provenance(fresh.id, ana, turn.seq) == Provenance(False)
    assert (await heir.journal.provenance("gone", ana, turn.seq)).has_outside_text


async def test_a_file_or_a_quote_is_from_outside(stores: Embedded) -> None:
    for channel, more in {
        "C1": {"attachments": (Attachment("a.csv", "text/csv", 3),)},
        "C2": {"context": (Quote("Bo", "look"),)},
    }.items():
        turn = await begin_turn(stores, channel=channel)
        variant: Message = replace(turn.message, **more)  # type: ignore[arg-type]
        await stores.journal.record_user_message(replace(turn, message=variant), [HELLO])
        ana = turn.message.author.key
        assert (await stores.journal.provenance(turn.thread, ana, turn.seq)).has_outside_text, more


async def test_a_begin_whose_caller_left_counts_once(stores: Embedded) -> None:
    receipt = await stores.inbox.accept(says("hello"))
    caller = asyncio.create_task(stores.journal.begin(receipt.seq))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait({caller})
    assert caller.cancelled()
    assert (await again(stores, receipt.seq)).attempt == 1


async def test_a_turn_that_is_put_back_does_not_count_an_attempt(stores: Embedded) -> None:
    turn = await begin_turn(stores)
    await stores.journal.record_user_message(turn, [HELLO])
    await stores.journal.put_back(turn)
    assert (await stores.journal.history_entry(turn.id)).state == "new"
    reply = await again(await stores.kill(), turn.seq)
    assert (reply.attempt, reply.items) == (1, (HELLO,))


async def test_an_ended_turn_does_not_begin_again(stores: Embedded) -> None:
    turn = await begin_turn(stores)
    await stores.journal.record_answer(turn, Answer("hi"))
    await stores.journal.end_turn(turn, "done")
    assert await stores.journal.begin(turn.seq) is None
    assert await stores.journal.begin(4711) is None


async def test_the_next_process_finds_everything(stores: Embedded) -> None:
    turn, journal = await begin_turn(stores), stores.journal
    await journal.record_user_message(turn, [HELLO])
    await journal.record_response(turn, 1, "resp_1")
    await journal.record_round(turn, RoundOutput(1, (LOOK,), USAGE, "m"))
    await journal.record_call_start(turn, CALL)
    await journal.record_call_end(turn, "c1", Outcome("ok", "3 rows"))
    await journal.record_response(turn, 2, "resp_2")
    await journal.record_posting(turn, 1, "k1")
    await journal.record_posted(turn, 1, "p1")
    reply = await again(await stores.kill(), turn.seq)
    output = Item("output", call_id="c1", text="3 rows")
    assert reply == replace(
        turn,
        attempt=2,
        is_untouched=False,
        is_thread_new=False,
        rounds=(Round(1, "resp_1", True), Round(2, "resp_2")),
        items=(HELLO, LOOK, output),
        calls=(replace(CALL, outcome=Outcome("ok", "3 rows")),),
        posts=(Post(1, "k1", "p1", "posted"),),
    )


async def test_an_answer_is_final_and_its_posting_follows(stores: Embedded) -> None:
    turn, answer = await begin_turn(stores), Answer("hi you", parts=("hi", "you"))
    await stores.journal.record_posting(turn, 1, "k1")
    assert (await again(stores, turn.seq)).state == "running"
    await stores.journal.record_answer(turn, answer)
    assert (await again(stores, turn.seq)).state == "answered"
    await stores.journal.record_posting(turn, 2, "k2")
    await stores.journal.record_answer(turn, Answer("no, wait"))
    reply = await again(await stores.kill(), turn.seq)
    assert (reply.state, reply.answer) == ("posting", answer)


async def test_a_turn_that_answers_leaves_no_call_open(stores: Embedded) -> None:
    turn = await begin_turn(stores)
    await stores.journal.record_user_message(turn, [HELLO])
    await stores.journal.record_round(turn, RoundOutput(1, (LOOK,), USAGE, "m"))
    await stores.journal.record_call_start(turn, CALL)
    await stores.journal.record_answer(turn, Answer("_Stopped._", status="stopped"))
    entries = await stores.journal.transcript(turn.thread)
    lost_item = Item("output", call_id="c1", text="error: interrupted, result unknown")
    item = Item("message", role="assistant", text="_Stopped._")
    assert [entry.item for entry in entries] == [HELLO, LOOK, lost_item, item]


async def test_a_turn_that_was_counted_before_stores_its_question(stores: Embedded) -> None:
    """A schedule's run is counted before its question is known."""
    turn = await begin_turn(stores)
    await stores.budget.reserve(turn)
    reservation = await stores.budget.make_reservation(turn)
    recorded = await stores.journal.record_user_message(turn, [HELLO], reservation)
    assert recorded.items == (HELLO,)
    assert [entry.item for entry in await stores.journal.transcript(turn.thread)] == [HELLO]
    assert reservation.counts == ()


async def test_a_question_a_round_and_an_outcome_are_written_once(stores: Embedded) -> None:
    turn, journal = await begin_turn(stores), stores.journal
    await stores.budget.reserve(turn)
    for _ in range(2):
        await journal.record_user_message(turn, [HELLO])
        await journal.record_round(turn, RoundOutput(1, (LOOK,), USAGE, "m"))
    assert (await again(stores, turn.seq)).items == (HELLO, LOOK)
    assert (await stores.budget.usage_today()).usage == USAGE
    await journal.record_round(turn, RoundOutput(2, (SAID,), USAGE, "m"))
    assert (await stores.budget.usage_today()).usage.input == 20
    for outcome in (Outcome("ok", "3 rows"), Outcome("error", "late")):
        await journal.record_call_start(turn, CALL)
        await journal.record_call_end(turn, "c1", outcome)
    reply = await again(stores, turn.seq)
    assert [item.text for item in reply.items] == ["hello", "", "hi", "3 rows"]
    assert reply.calls[0].outcome == Outcome("ok", "3 rows"), "the first one stands"


async def test_a_post_that_is_known_or_removed_is_not_in_doubt_again(stores: Embedded) -> None:
    turn, journal = await begin_turn(stores), stores.journal
    await journal.record_posting(turn, 1, "k1")
    await journal.record_posted(turn, 1, "p1")
    await journal.record_posting(turn, 1, "k1")
    assert (await again(stores, turn.seq)).posts == (Post(1, "k1", "p1", "posted"),)
    assert await journal.seq_of_post("p1") == turn.seq
    await journal.record_post_removal("p1")
    await journal.record_posting(turn, 1, "k1")
    await journal.record_posted(turn, 1, "p2")
    assert (await again(stores, turn.seq)).posts == (Post(1, "k1", "p1", "removed"),)


async def test_an_end_erases_the_token_and_keeps_a_late_edit(stores: Embedded) -> None:
    helo = says("helo")
    helo = replace(helo, reply_to=replace(helo.reply_to, token="secret", token_expires_at=9.0))
    turn = await again(stores, (await stores.inbox.accept(helo)).seq)
    assert turn.message.reply_to.token == "secret"
    await stores.inbox.amend(helo.event_key, replace(helo, text="hello"))
    await stores.journal.end_turn(turn, "done")
    entry = await stores.journal.history_entry(turn.id)
    assert (entry.state, entry.message.text, entry.message.reply_to.token) == ("done", "hello", "")
    assert not await stores.holds("secret")


async def test_what_could_not_be_posted_is_told_once(stores: Embedded) -> None:
    for reason in ("dm_closed", "channel_gone"):
        await stores.journal.end_turn(await begin_turn(stores), "undeliverable", reason)
    assert (await begin_turn(stores, channel="elsewhere")).undelivered_reason == ""
    turn = await begin_turn(stores)
    assert turn.undelivered_reason == "channel_gone"
    assert (await again(stores, turn.seq)).undelivered_reason == "channel_gone", (
        "it was not told yet"
    )
    await stores.journal.record_answer(turn, Answer("told"))
    assert (await begin_turn(stores)).undelivered_reason == ""


async def test_an_abandoned_turn_is_undeliverable_unless_it_has_ended(stores: Embedded) -> None:
    journal, end = stores.journal, await begin_turn(stores)
    await journal.end_turn(end, "done")
    lost_item = await begin_turn(stores)
    for turn in (end, lost_item):
        await journal.abandon(turn.seq, "internal")
    assert (await journal.history_entry(end.id)).state == "done"
    assert (await journal.history_entry(lost_item.id)).state == "undeliverable"
    assert (await begin_turn(stores)).undelivered_reason == "internal"


async def test_who_asked_and_what_is_unknown(stores: Embedded) -> None:
    turn = await begin_turn(stores)
    assert await stores.journal.message_of(turn.seq) == turn.message
    assert await stores.journal.message_of(4711) is None
    assert await stores.journal.seq_of_post("p1") is None
    with pytest.raises(NotFound):
        await stores.journal.history_entry("nobodys")


Write = Callable[[Embedded, Turn], Awaitable[object]]
WRITES: dict[str, Write] = {
    "heard": lambda e, t: e.journal.record_user_message(t, [HELLO]),
    "round_began": lambda e, t: e.journal.record_response(t, 1, "resp_1"),
    "items": lambda e, t: e.journal.record_round(t, RoundOutput(1, (SAID,), USAGE, "m")),
    "call_started": lambda e, t: e.journal.record_call_start(t, CALL),
    "call_ended": lambda e, t: e.journal.record_call_end(t, "c1", Outcome("ok", "3 rows")),
    "answered": lambda e, t: e.journal.record_answer(t, Answer("hi")),
    "posting": lambda e, t: e.journal.record_posting(t, 1, "k1"),
    "ended": lambda e, t: e.journal.end_turn(t, "done"),
    "put_back": lambda e, t: e.journal.put_back(t),
}


async def test_an_older_attempt_writes_nothing(stores: Embedded) -> None:
    turn = await begin_turn(stores)
    heir = await stores.kill()
    await again(heir, turn.seq)
    await assert_superseded(heir, turn, TakenOver)


async def test_a_turn_that_ended_or_was_forgotten_writes_nothing(stores: Embedded) -> None:
    end, memory = await begin_turn(stores), await begin_turn(stores, channel="C2")
    await stores.journal.end_turn(end, "removed")
    await stores.journal.forget(memory.message.address.conversation)
    for turn in (end, memory):
        await assert_superseded(stores, turn)


async def assert_superseded(
    engine: Embedded, turn: Turn, error: type[Superseded] = Superseded
) -> None:
    """Each write of the turn is refused, and leaves everything as it was."""
    before = await rows(engine)
    for name, write in WRITES.items():
        with pytest.raises(error):
            pytest.fail(f"{name} was not refused: {await write(engine, turn)}")
        assert await rows(engine) == before, name


async def test_a_post_of_a_forgotten_turn_is_still_recorded(stores: Embedded) -> None:
    turn, journal = await begin_turn(stores), stores.journal
    for number in (1, 2):
        await journal.record_posting(turn, number, f"k{number}")
    await journal.forget(turn.message.address.conversation)
    await journal.record_posted(turn, 1, "p1")
    await journal.record_removed(turn, 2)
    posts = (await rows(stores))["posts"]
    assert [(row["number"], row["post"], row["state"]) for row in posts] == [
        (1, "p1", "posted"),
        (2, "", "removed"),
    ]


async def test_a_turn_costs_the_same_however_much_went_before(sqlite: Embedded) -> None:
    """Counted in steps of SQLite's machine, by a person and in a channel that are used a lot."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    def watch(connection: Any) -> None:
        connection.raw.set_progress_handler(step, 1)

    for do in (sqlite.database.write, sqlite.database.read):
        await do(watch)
    budget = Budget(
        sqlite.database,
        FixedConfig(),
        choices.fixed_caps(5000, 5000),
        UTC,
        is_meant=means_everybody,
    )

    async def whole() -> int:
        nonlocal steps
        steps = 0
        turn = await begin_turn(sqlite)
        journal, ana = sqlite.journal, turn.message.author.key
        await journal.provenance(turn.thread, ana, turn.seq)
        await journal.record_user_message(turn, [HELLO], await budget.make_reservation(turn))
        await journal.record_answer(turn, Answer("hi"), RoundOutput(1, (SAID,), USAGE, "m"), "key")
        await journal.end_turn(turn, "done", posted=Post(1, "key", "p1", "posted"))
        return steps

    await whole()
    first = await whole()

    def much(connection: SqlConnection) -> None:
        messages = ("web:ana", encode_json(replace(HELLO, text="see example.com")))
        for number in range(2000):
            connection.execute(
                "INSERT INTO items (seq, thread, person, item, created_at) VALUES (?, ?, ?, ?, 0)",
                (10_000 + number, f"t{number}", *messages),
            )
            connection.execute(
                "INSERT INTO usage (seq, day, person, conversation)"
                " SELECT ?, day, person, conversation FROM usage LIMIT 1",
                (10_000 + number,),
            )
            connection.execute(
                "INSERT INTO inbox (event_key, turn, conversation, person, is_decision, state,"
                " message, created_at, updated_at) SELECT ?, ?, conversation, person, 0,"
                " 'done', message,"
                " 0, 0 FROM inbox LIMIT 1",
                (f"e{number}", f"t{number}"),
            )

    await sqlite.database.write(much)
    assert await whole() < 1.2 * first
