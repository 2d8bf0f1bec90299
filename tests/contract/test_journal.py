"""The Journal of one turn: what was written is there for the next process, once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from core.domain.errors import NotFound, Superseded
from core.domain.messages import Answer, Attachment, File, Item, Post, Quote, Usage, encode
from core.domain.records import Call, Outcome, Provenance, Round, Spoken, Turn
from core.store.budget import CountingBudget
from core.store.database import Connection, SqliteDatabase
from core.store.schema import MIGRATIONS
from core.store.turns import SqlJournal
from tests.contract.engines import Embedded
from tests.contract.test_inbox import says
from tests.fakes import choices

HELLO = Item("message", role="user", text="hello")
LOOK = Item("call", call_id="c1", name="look", arguments="{}")
CALL = Call("c1", "look", "{}", "read")
SAID = Item("message", role="assistant", text="hi")
USAGE = Usage(input=10, output=2, cost=0.01)


async def begun(engine: Embedded, text: str = "hello", channel: str = "C1") -> Turn:
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


async def test_only_a_new_process_is_a_new_attempt(embedded: Embedded) -> None:
    turn = await begun(embedded)
    assert (turn.attempt, turn.state) == (1, "running")
    assert (await again(embedded, turn.seq)).attempt == 1
    heir = await embedded.killed()
    assert (await again(heir, turn.seq)).attempt == 2
    assert (await again(heir, turn.seq)).attempt == 2
    assert (await again(await heir.killed(), turn.seq)).attempt == 3


async def test_a_thread_keeps_that_something_from_outside_is_in_it(embedded: Embedded) -> None:
    turn = await begun(embedded)
    journal, ana = embedded.journal, turn.message.author.key
    await journal.heard(turn, [replace(HELLO, text="see https://mine.test")])
    assert await journal.provenance(turn.thread, ana, turn.seq) == Provenance(
        False, ("see https://mine.test",)
    )
    assert await journal.provenance(turn.thread, "web:somebody", turn.seq) == Provenance(True)
    await journal.call_started(turn, CALL)
    heir = await embedded.killed()
    assert (await heir.journal.provenance(turn.thread, ana, turn.seq)).outside
    fresh = await heir.journal.new_thread(turn.message.address.conversation)
    assert await heir.journal.provenance(fresh.id, ana, turn.seq) == Provenance(False)
    assert (await heir.journal.provenance("gone", ana, turn.seq)).outside


@pytest.mark.parametrize("files", [False, True])
async def test_a_file_or_a_quote_is_from_outside(embedded: Embedded, files: bool) -> None:
    turn = await begun(embedded)
    brought = (Attachment("a.csv", "text/csv", 3),) if files else ()
    quoted = () if files else (Quote("Bo", "look"),)
    told = replace(turn.message, attachments=brought, context=quoted)
    await embedded.journal.heard(replace(turn, message=told), [HELLO])
    ana = turn.message.author.key
    assert (await embedded.journal.provenance(turn.thread, ana, turn.seq)).outside


async def test_what_was_there_before_a_thread_could_say_so(tmp_path: Path) -> None:
    """The threads of an older `ponte.db`."""
    old = await SqliteDatabase.open(tmp_path / "ponte.db", MIGRATIONS[:3])
    spoken = {
        "quiet": HELLO, "tool": Item("output", call_id="c1", text="a row"),
        "quote": replace(HELLO, name="context"),
        "file": replace(HELLO, files=(File("f", "a.csv", "text/csv", 3),)),
    }  # fmt: skip

    def write(connection: Connection) -> None:
        for thread, item in spoken.items():
            connection.execute("INSERT INTO threads VALUES (?, ?, 0, 0)", (thread, thread))
            connection.execute(
                "INSERT INTO items (seq, thread, person, item, at) VALUES (1, ?, '', ?, 0)",
                (thread, encode(item)),
            )

    await old.write(write)
    await old.close()
    new = await SqliteDatabase.open(tmp_path / "ponte.db", MIGRATIONS)
    journal = SqlJournal(new)
    outside = {t for t in spoken if (await journal.provenance(t, "web:ana", 1 << 62)).outside}
    await new.close()
    assert outside == {"tool", "quote", "file"}


async def test_a_begin_whose_caller_left_counts_once(embedded: Embedded) -> None:
    receipt = await embedded.inbox.accept(says("hello"))
    caller = asyncio.create_task(embedded.journal.begin(receipt.seq))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait({caller})
    assert caller.cancelled()
    assert (await again(embedded, receipt.seq)).attempt == 1


async def test_what_is_put_back_was_not_attempted(embedded: Embedded) -> None:
    turn = await begun(embedded)
    await embedded.journal.heard(turn, [HELLO])
    await embedded.journal.put_back(turn)
    assert (await embedded.journal.turn_of(turn.id)).state == "new"
    resumed = await again(await embedded.killed(), turn.seq)
    assert (resumed.attempt, resumed.items) == (1, (HELLO,))


async def test_what_is_over_does_not_begin(embedded: Embedded) -> None:
    turn = await begun(embedded)
    await embedded.journal.answered(turn, Answer("hi"))
    await embedded.journal.ended(turn, "done")
    assert await embedded.journal.begin(turn.seq) is None
    assert await embedded.journal.begin(4711) is None


async def test_the_next_process_finds_everything(embedded: Embedded) -> None:
    turn, journal = await begun(embedded), embedded.journal
    await journal.heard(turn, [HELLO])
    await journal.round_began(turn, 1, "resp_1")
    await journal.items(turn, Spoken(1, (LOOK,), USAGE, "m"))
    await journal.call_started(turn, CALL)
    await journal.call_ended(turn, "c1", Outcome("ok", "3 rows"))
    await journal.round_began(turn, 2, "resp_2")
    await journal.posting(turn, 1, "k1")
    await journal.posted(turn, 1, "p1")
    found = await again(await embedded.killed(), turn.seq)
    output = Item("output", call_id="c1", text="3 rows")
    assert found == replace(
        turn, attempt=2, rounds=(Round(1, "resp_1", True), Round(2, "resp_2")),
        items=(HELLO, LOOK, output), calls=(replace(CALL, outcome=Outcome("ok", "3 rows")),),
        posts=(Post(1, "k1", "p1", "posted"),),
    )  # fmt: skip


async def test_an_answer_is_final_and_its_posting_follows(embedded: Embedded) -> None:
    turn, answer = await begun(embedded), Answer("hi you", parts=("hi", "you"))
    await embedded.journal.posting(turn, 1, "k1")
    assert (await again(embedded, turn.seq)).state == "running"
    await embedded.journal.answered(turn, answer)
    assert (await again(embedded, turn.seq)).state == "answered"
    await embedded.journal.posting(turn, 2, "k2")
    await embedded.journal.answered(turn, Answer("no, wait"))
    found = await again(await embedded.killed(), turn.seq)
    assert (found.state, found.answer) == ("posting", answer)


async def test_a_turn_that_answers_leaves_no_call_open(embedded: Embedded) -> None:
    turn = await begun(embedded)
    await embedded.journal.heard(turn, [HELLO])
    await embedded.journal.items(turn, Spoken(1, (LOOK,), USAGE, "m"))
    await embedded.journal.call_started(turn, CALL)
    await embedded.journal.answered(turn, Answer("_Stopped._", status="stopped"))
    entries = await embedded.journal.transcript(turn.thread)
    lost = Item("output", call_id="c1", text="error: interrupted, result unknown")
    said = Item("message", role="assistant", text="_Stopped._")
    assert [entry.item for entry in entries] == [HELLO, LOOK, lost, said]


async def test_what_was_heard_is_written_once(embedded: Embedded) -> None:
    turn = await begun(embedded)
    for _ in range(2):
        await embedded.journal.heard(turn, [HELLO])
    assert (await again(embedded, turn.seq)).items == (HELLO,)


async def test_a_round_is_written_once(embedded: Embedded) -> None:
    turn = await begun(embedded)
    await embedded.budget.reserve(turn)
    for _ in range(2):
        await embedded.journal.items(turn, Spoken(1, (SAID,), USAGE, "m"))
    assert (await again(embedded, turn.seq)).items == (SAID,)
    assert (await embedded.budget.usage()).usage == USAGE
    await embedded.journal.items(turn, Spoken(2, (SAID,), USAGE, "m"))
    assert (await embedded.budget.usage()).usage.input == 20


async def test_the_first_outcome_of_a_call_stands(embedded: Embedded) -> None:
    turn, journal = await begun(embedded), embedded.journal
    await journal.items(turn, Spoken(1, (LOOK,), USAGE, "m"))
    await journal.call_started(turn, CALL)
    await journal.call_ended(turn, "c1", Outcome("ok", "3 rows"))
    await journal.call_started(turn, CALL)
    await journal.call_ended(turn, "c1", Outcome("error", "late"))
    found = await again(embedded, turn.seq)
    assert [item.text for item in found.items] == ["", "3 rows"]
    assert found.calls[0].outcome == Outcome("ok", "3 rows")


async def test_a_removed_post_stays_removed(embedded: Embedded) -> None:
    turn, journal = await begun(embedded), embedded.journal
    await journal.posting(turn, 1, "k1")
    await journal.posted(turn, 1, "p1")
    assert await journal.seq_of_post("p1") == turn.seq
    await journal.post_removed("p1")
    await journal.posting(turn, 1, "k1")
    await journal.posted(turn, 1, "p2")
    assert (await again(embedded, turn.seq)).posts == (Post(1, "k1", "p1", "removed"),)


async def test_a_post_that_is_known_is_not_in_doubt_again(embedded: Embedded) -> None:
    turn, journal = await begun(embedded), embedded.journal
    await journal.posting(turn, 1, "k1")
    await journal.posted(turn, 1, "p1")
    await journal.posting(turn, 1, "k1")
    assert (await again(embedded, turn.seq)).posts == (Post(1, "k1", "p1", "posted"),)


async def test_an_end_erases_the_token_and_keeps_a_late_edit(embedded: Embedded) -> None:
    helo = says("helo")
    helo = replace(helo, reply_to=replace(helo.reply_to, token="secret", token_expires=9.0))
    turn = await again(embedded, (await embedded.inbox.accept(helo)).seq)
    assert turn.message.reply_to.token == "secret"
    await embedded.inbox.amend(helo.event_key, replace(helo, text="hello"))
    await embedded.journal.ended(turn, "done")
    shown = await embedded.journal.turn_of(turn.id)
    assert (shown.state, shown.message.text, shown.message.reply_to.token) == ("done", "hello", "")
    assert not await embedded.holds("secret")


async def test_what_could_not_be_posted_is_told_once(embedded: Embedded) -> None:
    for reason in ("dm_closed", "channel_gone"):
        await embedded.journal.ended(await begun(embedded), "undeliverable", reason)
    assert (await begun(embedded, channel="elsewhere")).undelivered == ""
    turn = await begun(embedded)
    assert turn.undelivered == "channel_gone"
    assert (await again(embedded, turn.seq)).undelivered == "channel_gone", "it was not told yet"
    await embedded.journal.answered(turn, Answer("told"))
    assert (await begun(embedded)).undelivered == ""


async def test_who_asked_and_what_is_unknown(embedded: Embedded) -> None:
    turn = await begun(embedded)
    assert await embedded.journal.author(turn.seq) == turn.message.author.key
    assert await embedded.journal.author(4711) == ""
    assert await embedded.journal.seq_of_post("p1") is None
    with pytest.raises(NotFound):
        await embedded.journal.turn_of("nobodys")


Write = Callable[[Embedded, Turn], Awaitable[object]]
WRITES: dict[str, Write] = {
    "heard": lambda e, t: e.journal.heard(t, [HELLO]),
    "round_began": lambda e, t: e.journal.round_began(t, 1, "resp_1"),
    "items": lambda e, t: e.journal.items(t, Spoken(1, (SAID,), USAGE, "m")),
    "call_started": lambda e, t: e.journal.call_started(t, CALL),
    "call_ended": lambda e, t: e.journal.call_ended(t, "c1", Outcome("ok", "3 rows")),
    "answered": lambda e, t: e.journal.answered(t, Answer("hi")),
    "posting": lambda e, t: e.journal.posting(t, 1, "k1"),
    "ended": lambda e, t: e.journal.ended(t, "done"),
    "put_back": lambda e, t: e.journal.put_back(t),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_an_older_attempt_writes_nothing(embedded: Embedded, write: Write) -> None:
    turn = await begun(embedded)
    heir = await embedded.killed()
    await again(heir, turn.seq)
    await refused(heir, turn, write)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_a_forgotten_turn_writes_nothing(embedded: Embedded, write: Write) -> None:
    turn = await begun(embedded)
    await embedded.journal.forget(turn.message.address.conversation)
    await refused(embedded, turn, write)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_a_turn_that_ended_writes_nothing(embedded: Embedded, write: Write) -> None:
    turn = await begun(embedded)
    await embedded.journal.ended(turn, "removed")
    await refused(embedded, turn, write)


async def refused(engine: Embedded, turn: Turn, write: Write) -> None:
    before = await rows(engine)
    with pytest.raises(Superseded):
        await write(engine, turn)
    assert await rows(engine) == before


async def test_a_post_of_a_forgotten_turn_is_still_recorded(embedded: Embedded) -> None:
    turn, journal = await begun(embedded), embedded.journal
    for number in (1, 2):
        await journal.posting(turn, number, f"k{number}")
    await journal.forget(turn.message.address.conversation)
    await journal.posted(turn, 1, "p1")
    await journal.removed(turn, 2)
    posts = (await rows(embedded))["posts"]
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
    budget = CountingBudget(sqlite.database, choices.fixed_caps(5000, 5000), UTC)

    async def whole() -> int:
        nonlocal steps
        steps = 0
        turn = await begun(sqlite)
        journal, ana = sqlite.journal, turn.message.author.key
        await journal.provenance(turn.thread, ana, turn.seq)
        await journal.heard(turn, [HELLO], await budget.reserving(turn))
        await journal.answered(turn, Answer("hi"), Spoken(1, (SAID,), USAGE, "m"), "key")
        await journal.ended(turn, "done", posted=Post(1, "key", "p1", "posted"))
        return steps

    await whole()
    first = await whole()

    def much(connection: Connection) -> None:
        said = ("web:ana", encode(replace(HELLO, text="see example.com")))
        for number in range(2000):
            connection.execute(
                "INSERT INTO items (seq, thread, person, item, at) VALUES (?, ?, ?, ?, 0)",
                (10_000 + number, f"t{number}", *said),
            )
            connection.execute(
                "INSERT INTO usage (seq, day, person, conversation)"
                " SELECT ?, day, person, conversation FROM usage LIMIT 1",
                (10_000 + number,),
            )
            connection.execute(
                "INSERT INTO inbox (event_key, turn, conversation, person, decision, state,"
                " message, created, updated) SELECT ?, ?, conversation, person, 0, 'done', message,"
                " 0, 0 FROM inbox LIMIT 1",
                (f"e{number}", f"t{number}"),
            )

    await sqlite.database.write(much)
    assert await whole() < 1.2 * first
