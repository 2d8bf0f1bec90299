"""In which order turns get the places of a process, and what holds none. No clock is read."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence, Sized
from dataclasses import replace

from core.domain.messages import Address, Message, Person
from core.journal.turn_queue import (
    MAX_OVERTAKING_MESSAGES,
    MAX_PERSON_TURNS_IN_CHANNEL,
    Places,
    Sender,
    TurnQueue,
)
from core.journal.turn_runner import LocalRunner, TurnExecutor
from tests.contract.engines import Embedded, Shared, Worker, runner_of
from tests.contract.test_inbox import says as asks
from tests.fakes.choices import make_message
from tests.time_limits import Limits

_numbers = itertools.count()


def says(person: str, channel: str, thread: bool = True) -> Message:
    """A message in a thread of its own, as a mention in Slack begins one."""
    number = next(_numbers)
    text = f"{person} in {channel}"
    message = make_message(text, f"web:{number}", channel)
    address = Address("web", channel, thread=str(number) if thread else "", is_shared=True)
    return _by(message, person, address)


def _by(made: Message, person: str, address: Address) -> Message:
    author = Person("web", person, name=person)
    to = replace(made.reply_to, address=address, asker=author)
    return replace(made, author=author, address=address, reply_to=to)


def places_of(engine: Embedded) -> Places:
    runner = runner_of(engine)
    assert isinstance(runner, TurnExecutor)
    return runner.places


async def accept(engine: Embedded, *messages: Message) -> Sequence[int]:
    return [(await engine.inbox.accept(one)).seq for one in messages]


async def order(engine: Embedded, *messages: Message) -> Sequence[str]:
    """What gets the only place, one after the other."""
    places_of(engine).total = 1
    await accept(engine, *messages)
    worker = Worker(engine).start("web")
    await worker.until_ended(len(messages))
    return worker.said


async def position(engine: Embedded, seq: int) -> int:
    if isinstance(engine, Shared):
        select = "SELECT position FROM inbox WHERE seq = ?"
        row = await engine.database.read(lambda c: c.execute(select, (seq,)).fetchone())
        return int(row["position"])
    runner = runner_of(engine)
    assert isinstance(runner, LocalRunner)
    return runner._queue._open[seq].position


async def test_a_flood_delays_each_other_person_by_one_message(stores: Embedded) -> None:
    flood = [says("Ana", "C1") for _ in range(5)]
    message = await order(stores, *flood, says("Bob", "C2"), says("Cleo", "C3"), says("Dan", "C1"))
    assert message == [
        "Ana in C1",
        "Bob in C2",
        "Cleo in C3",
        "Dan in C1",
        "Ana in C1",
        "Ana in C1",
        "Ana in C1",
        "Ana in C1",
    ]


async def test_a_flood_over_many_channels_delays_nobody_more(stores: Embedded) -> None:
    message = await order(stores, *(says("Ana", f"C{n}") for n in range(5)), says("Bob", "C9"))
    assert message[:2] == ["Ana in C0", "Bob in C9"]
    assert message[2:] == [f"Ana in C{n}" for n in range(1, 5)]


async def test_a_crowd_in_one_channel_delays_another_channel_by_one_message(
    stores: Embedded,
) -> None:
    crowd = [says(f"Person {n}", "C1") for n in range(5)]
    message = await order(stores, *crowd, says("Zoe", "C2"))
    assert message[:2] == ["Person 0 in C1", "Zoe in C2"]


async def test_who_writes_while_a_flood_is_answered_is_next(stores: Embedded) -> None:
    places_of(stores).total = 1
    worker = Worker(stores, held=True).start("web")
    flood = await accept(stores, *(says("Ana", "C1") for _ in range(6)))
    for number in range(3):
        await worker.until_begun(number + 1)
        worker.let_go(flood[number])
    await worker.until_begun(4)
    (late,) = await accept(stores, says("Bob", "C2"))
    worker.let_go(flood[3])
    await worker.until_begun(5)
    assert worker.began == [*flood[:4], late]


async def test_newcomers_overtake_who_has_more_to_say_only_so_often(stores: Embedded) -> None:
    places_of(stores).total = 1
    worker = Worker(stores, held=True).start("web")
    _, waits = await accept(stores, says("Ana", "C1"), says("Ana", "C1"))
    await worker.until_begun(1)
    new = await accept(
        stores, *(says(f"P{n}", f"D{n}") for n in range(MAX_OVERTAKING_MESSAGES + 2))
    )
    before = [seq for seq in new if await position(stores, seq) < await position(stores, waits)]
    assert before == list(new[:MAX_OVERTAKING_MESSAGES])


async def test_a_conversation_keeps_its_order_whoever_speaks_in_it(stores: Embedded) -> None:
    flood = [says("Ana", "C1", thread=False) for _ in range(3)]
    both = [says("Bob", "C1", thread=False), says("Ana", "C1", thread=False)]
    message = await order(stores, *flood, *both)
    assert message == ["Ana in C1"] * 3 + ["Bob in C1", "Ana in C1"]


async def test_a_turn_that_waits_for_its_conversation_lets_no_later_one_overtake(
    stores: Embedded,
) -> None:
    flood = [says("Ana", "C1", thread=False) for _ in range(2)]
    bob = [says("Bob", "C1") for _ in range(2)]
    after_ana = says("Dan", "C1", thread=False)
    eve = [says("Eve", "C1") for _ in range(2)]
    seqs = await accept(stores, *flood, *bob, after_ana, *eve)
    positions = [await position(stores, seq) for seq in seqs]
    assert positions == [0, 1000, 1, 1001, 1000, 2, 1002]


async def test_one_person_has_so_many_turns_under_way_in_a_channel(stores: Embedded) -> None:
    """Those that only wait for the channel's pace count, too: they hold no place."""
    worker = Worker(stores, held=True).start("web")
    flood = await accept(
        stores, *(says("Ana", "C1") for _ in range(MAX_PERSON_TURNS_IN_CHANNEL + 5))
    )
    others = await accept(stores, says("Bob", "C1"), says("Ana", "C2"))
    await worker.until_begun(MAX_PERSON_TURNS_IN_CHANNEL + 2)
    assert worker.now == {*flood[:MAX_PERSON_TURNS_IN_CHANNEL], *others}
    stores.inbox.leave_place(flood[0])
    worker.let_go(flood[3])
    await worker.until(lambda: flood[MAX_PERSON_TURNS_IN_CHANNEL] in worker.began)
    worker.let_go(*flood, *others)
    await worker.until(lambda: set(worker.ended) >= {*flood, *others})


async def begin_turn_that_returns(engine: Embedded) -> tuple[Worker, int, int, asyncio.Task[None]]:
    """Begin two turns with one place. The first one left the place to the second and takes it back.

    Return the worker, both turns, and the task that takes the place back.
    """
    places_of(engine).total = 1
    worker = Worker(engine, held=True).start("web")
    first, second = await accept(engine, says("Ana", "C1"), says("Bob", "C2"))
    await worker.until_begun(1)
    engine.inbox.leave_place(first)
    await worker.until_begun(2)
    return worker, first, second, asyncio.create_task(engine.inbox.take_place(first))


async def test_a_turn_that_waits_for_its_platform_holds_no_place(stores: Embedded) -> None:
    worker, first, second, back = await begin_turn_that_returns(stores)
    (third,) = await accept(stores, says("Cleo", "C3"))
    await asyncio.sleep(0)
    assert not back.done(), "the place is the second one's"
    worker.let_go(second)
    await back
    assert worker.began == [first, second], "it comes back before a new one begins"
    worker.let_go(first)
    await worker.until_begun(3)
    assert worker.began[2] == third


async def test_a_cancelled_turn_takes_no_place_any_more(stores: Embedded) -> None:
    worker, _, second, back = await begin_turn_that_returns(stores)
    await asyncio.sleep(0)
    back.cancel()
    await asyncio.wait({back})
    (third,) = await accept(stores, says("Cleo", "C3"))
    worker.let_go(second)
    await worker.until(lambda: third in worker.began)


async def test_a_decision_that_waits_for_its_platform_holds_no_place(on_postgres: Shared) -> None:
    on_postgres.jobs._decision_places.total = 1
    worker = Worker(on_postgres, held=True).start("web")
    first, second = await accept(on_postgres, asks("help", "C1"), asks("status", "C2"))
    await worker.until_begun(1)
    assert worker.now == {first}
    on_postgres.inbox.leave_place(first)
    await worker.until(lambda: worker.now == {first, second})


async def test_a_turn_that_waits_for_its_platform_holds_no_connection(on_postgres: Shared) -> None:
    """Many more wait than the process has connections."""
    worker = Worker(on_postgres, held=True).start("web")
    seqs = await accept(on_postgres, *(says(f"Person {n}", f"C{n}") for n in range(40)))
    await worker.until_begun(len(seqs))
    for seq in seqs:
        on_postgres.inbox.leave_place(seq)
    text = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND state = 'idle in transaction'"
    )
    # the process's own rounds have one for a moment
    while await on_postgres.database.read(lambda c: c.execute(text).fetchall()):
        pass
    late = await accept(on_postgres, says("Zoe", "C99"))
    await worker.until(lambda: late[0] in worker.began)
    assert on_postgres.jobs.places.under_way == {*seqs, *late}


async def test_what_two_transactions_left_without_a_job_gets_one(on_postgres: Shared) -> None:
    """A message was stored while the last turn of its person ended: neither saw the other."""
    (seq,) = await accept(on_postgres, says("Ana", "C1"))
    await on_postgres.database.write(
        lambda c: (
            c.execute("DELETE FROM procrastinate_jobs"),
            c.execute("UPDATE inbox SET job = 0"),
        )
    )
    await on_postgres.jobs.sweep()
    worker = Worker(on_postgres).start("web")
    await worker.until_ended(1)
    assert worker.began == [seq]


async def test_a_waiting_message_that_becomes_a_decision_is_taken_up(on_postgres: Shared) -> None:
    first, second = says("Ana", "C1", thread=False), says("Ana", "C1", thread=False)
    await accept(on_postgres, first, second)
    await on_postgres.inbox.amend(second.event_key, replace(second, text="help", sent_at=9e9))
    await on_postgres.jobs.sweep()
    worker = Worker(on_postgres, held=True).start("web")
    await worker.until_begun(2)


async def test_only_what_may_begin_has_a_job(on_postgres: Shared) -> None:
    """However long the queue of one person or conversation is, a fetch looks at few jobs."""
    await accept(on_postgres, *(says("Ana", "C1") for _ in range(30)))
    await accept(on_postgres, *(says("Bob", "C2", thread=False) for _ in range(30)))
    jobs = await on_postgres.database.read(
        lambda c: c.execute("SELECT count(*) AS n FROM procrastinate_jobs").fetchone()["n"]
    )
    assert jobs == MAX_PERSON_TURNS_IN_CHANNEL + 1


def test_a_long_round_keeps_its_last_position(limits: Limits) -> None:
    limits(POSITIONS_PER_ROUND=3)
    line = TurnQueue()
    for number in range(6):
        line.add(number, Sender(f"web:C1:{number}", "web:C1", f"web:{number}"))
    line.add(9, Sender("web:C1:9", "web:C1", "web:0"))
    line.add(10, Sender("web:C2", "web:C2", "web:10"))
    assert [line.next() for _ in range(8)] == [0, 10, 1, 2, 3, 4, 5, 9]
    assert line.next() is None


def test_a_line_forgets_what_is_over() -> None:
    line = TurnQueue()
    for number in range(50):
        line.add(number, Sender(f"web:C1:{number % 7}", "web:C1", f"web:{number % 3}"))
    while (seq := line.next()) is not None:
        line.end(seq)
    assert not any(value for value in vars(line).values() if isinstance(value, Sized))
