"""What two processes do at once comes out as if one had gone first, whatever they share."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import UTC

import pytest

from core.base.errors import OverBudget, Superseded
from core.changes.ledger import SqlLedger
from core.domain.messages import Answer, Item, Person, Usage
from core.domain.records import RoundOutput
from core.money.budget import Budget
from core.store.database import SqlConnection
from tests.contract.engines import Embedded
from tests.contract.test_inbox import says
from tests.contract.test_journal import SAID, again, begin_turn
from tests.contract.test_ledger import ANA, BOB, draft, proposal
from tests.fakes import choices
from tests.fakes.config import FixedConfig, means_everybody

ROUNDS = 12


@pytest.fixture
async def two(stores: Embedded) -> tuple[Embedded, Embedded]:
    return stores, await stores.beside()


Two = tuple[Embedded, Embedded]


async def test_what_is_accepted_by_two_is_in_one_order(two: Two) -> None:
    """A later number never becomes visible before an earlier one of its conversation."""

    def newest(connection: SqlConnection) -> tuple[int, int]:
        row = connection.execute("SELECT max(seq) AS seq, count(*) AS n FROM inbox").fetchone()
        return row["seq"] or 0, row["n"]

    async def look() -> None:
        while len(events) < 40:
            events.append(await two[0].database.read(newest))

    events: list[tuple[int, int]] = []
    accepting = [engine.inbox.accept(says(f"{n}")) for n in range(40) for engine in two]
    await asyncio.gather(look(), *accepting)

    def upto(connection: SqlConnection) -> dict[int, int]:
        rows = connection.execute("SELECT seq FROM inbox ORDER BY seq").fetchall()
        return {row["seq"]: number for number, row in enumerate(rows, 1)} | {0: 0}

    content = await two[0].database.read(upto)
    assert [content[seq] for seq, _ in events] == [n for _, n in events]


async def test_one_event_told_to_two_is_one_row(two: Two) -> None:
    for number in range(ROUNDS):
        event = says(f"hello {number}")
        receipts = await asyncio.gather(*(each.inbox.accept(event) for each in two * 3))
        assert [receipt.is_new for receipt in receipts].count(True) == 1
        assert len({receipt.seq for receipt in receipts}) == 1


async def test_nothing_is_written_after_it_was_forgotten(two: Two) -> None:
    """However the two fall: the round is there and erased, or refused."""
    ours, theirs = two
    for number in range(2 * ROUNDS):
        turn = await begin_turn(ours, channel=f"C{number}")
        secret = Item("message", role="assistant", text=f"secret {number}")
        message, _ = await asyncio.gather(
            ours.journal.record_round(turn, RoundOutput(1, (secret,), Usage(), "m")),
            theirs.journal.forget(turn.message.address.conversation),
            return_exceptions=True,
        )
        assert message is None or isinstance(message, Superseded)
        assert await theirs.journal.transcript(turn.thread) == []


async def test_an_attempt_that_another_took_over_writes_nothing(two: Two) -> None:
    ours, theirs = two
    for number in range(ROUNDS):
        turn = await begin_turn(ours, channel=f"C{number}")
        claim, message = await asyncio.gather(
            theirs.journal.begin(turn.seq),
            ours.journal.record_round(turn, RoundOutput(1, (SAID,), Usage(), "m")),
            return_exceptions=True,
        )
        assert not isinstance(claim, BaseException)
        assert claim
        assert claim.attempt == 2
        with pytest.raises(Superseded):
            await ours.journal.record_answer(turn, Answer("mine"))
        if isinstance(message, Superseded):
            assert await theirs.journal.transcript(turn.thread) == []
        await theirs.journal.record_answer(claim, Answer("theirs"))


async def test_a_day_is_counted_over_all(two: Two) -> None:
    budgets = [
        Budget(
            each.database, FixedConfig(), choices.fixed_caps(3, 10), UTC, is_meant=means_everybody
        )
        for each in two
    ]
    people = [Person("web", f"p{n}") for n in range(5)]
    turns = []
    for number in range(30):
        variant = replace(says("hi", f"C{number}"), author=people[number % 5])
        turns.append(await again(two[0], (await two[0].inbox.accept(variant)).seq))
    values = list(zip(turns, budgets * 15, strict=True))
    random.Random(3).shuffle(values)
    results = await asyncio.gather(
        *(budget.reserve(turn) for turn, budget in values), return_exceptions=True
    )
    assert sum(result is None for result in results) == 10
    assert sum(isinstance(result, OverBudget) for result in results) == 20
    assert (await budgets[0].usage_today()).turns == 10
    each = [(await budgets[1].usage_today(person.key)).turns for person in people]
    assert max(each) <= 3


async def test_one_decision_of_two(two: Two) -> None:
    ours, theirs = (SqlLedger(each.database) for each in two)

    async def deny(id: str) -> str:
        try:
            return (await theirs.close(id, "denied", BOB, "no", 150.0)).state
        except Superseded:
            return "too late"

    for number in range(ROUNDS):
        id = (await ours.propose(proposal(f"c{number}"))).id
        approval, denial = await asyncio.gather(ours.claim(id, 8, ANA, 150.0), deny(id))
        assert (approval.state, denial) in (("applying", "too late"), ("denied", "denied"))
        assert (await ours.get(id)).state == approval.state


async def test_forgetting_and_proposing(two: Two) -> None:
    """What is proposed in a conversation is withdrawn with it, or refused."""
    ours, theirs = two
    ledger = SqlLedger(ours.database)
    for number in range(ROUNDS):
        turn = await begin_turn(ours, channel=f"C{number}")
        variant = replace(
            proposal(f"c{number}", turn.seq, turn.message.address),
            draft=draft(),
            generation=turn.generation,
            thread=turn.thread,
        )
        proposals, _ = await asyncio.gather(
            ledger.propose(variant),
            theirs.journal.forget(turn.message.address.conversation),
            return_exceptions=True,
        )
        if not isinstance(proposals, Superseded):
            assert not isinstance(proposals, BaseException)
            assert (await ledger.get(proposals.id)).state == "withdrawn"


async def test_an_edit_and_a_beginning(two: Two) -> None:
    ours, theirs = two
    for number in range(ROUNDS):
        reply = says("helo", f"C{number}")
        seq = (await ours.inbox.accept(reply)).seq
        amendment, turn = await asyncio.gather(
            theirs.inbox.amend(reply.event_key, replace(reply, text="hello")),
            ours.journal.begin(seq),
        )
        assert turn
        assert turn.message.text == ("hello" if amendment == "unstarted" else "helo")


async def test_who_waits_for_a_lock_reads_what_the_other_wrote(two: Two) -> None:
    turn = await begin_turn(two[0])

    def once(connection: SqlConnection) -> bool:
        connection.lock_key(turn.message.address.conversation)
        rows = connection.execute("SELECT count(*) AS n FROM items").fetchone()["n"]
        if rows == 0:
            connection.execute(
                "INSERT INTO items (seq, thread, person, item, created_at) VALUES (1, 't', '',"
                " 'x', 0)"
            )
        return bool(rows == 0)

    wrote = await asyncio.gather(*(each.database.write(once) for each in two * 4))
    assert wrote.count(True) == 1
