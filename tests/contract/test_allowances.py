"""The counters of allowances: never beyond a limit, never negative, the sum of what was spent."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import UTC
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from core.domain.messages import Answer, File, Person, Usage, encode_json
from core.domain.records import Outcome, RoundOutput, ToolCall, Turn
from core.erasure import SqlPersonalData
from core.money import budget
from core.money.allowances import (
    MAX_DOCUMENT_TOKENS,
    MAX_TEXT_FILE_BYTES,
    MIN_OUTPUT_TOKENS,
    Allowance,
    Grant,
    OverAllowance,
    Scope,
    max_item_tokens,
)
from core.money.budget import Budget
from core.money.settlement import settle_holds
from core.money.usage import MAX_PICTURE_TOKENS, NANODOLLARS_PER_DOLLAR, PaidRun, Price, Prices
from core.store.database import SqlConnection
from core.store.postgres import CONNECTION_OPTIONS, PostgresStatements
from tests.contract.engines import Embedded, Shared, count_blocked
from tests.contract.test_inbox import says
from tests.contract.test_journal import HELLO, SAID, again
from tests.fakes.config import FixedConfig, means_everybody, no_daily_caps

ANA = Person("web", "ana")
PRICES = Prices(
    {"m": Price(1.0, 0.1, 1.25, 4.0)}, container=0.03, commands={"fix": 0.25}, official=False
)
PERSON_AND_CHANNEL_ALLOWANCES = (
    Allowance("each person", tokens=10**7, money=5 * NANODOLLARS_PER_DOLLAR),
    Allowance("each channel", "month", money=50 * NANODOLLARS_PER_DOLLAR),
    Allowance("everybody", tokens=10**8),
)


def budget_of(engine: Embedded, *rules: Allowance) -> Budget:
    return Budget(
        engine.database,
        FixedConfig(turn_allowances=rules, price_list=PRICES),
        no_daily_caps,
        UTC,
        is_meant=means_everybody,
    )


async def begin_turn(engine: Embedded, person: Person = ANA, channel: str = "") -> Turn:
    message = replace(says("hello", channel=channel or person.id), author=person)
    return await again(engine, (await engine.inbox.accept(message)).seq)


async def record_question(engine: Embedded, budget: Budget, turn: Turn) -> Grant | None:
    reserve = await budget.make_reservation(turn, budget.model_call(1, "m", 100))
    await engine.journal.record_user_message(turn, [HELLO], reserve)
    return reserve.grant


async def record_answer(engine: Embedded, turn: Turn, usage: Usage, number: int = 1) -> None:
    priced = replace(usage, cost=PRICES.cost("m", usage))
    await engine.journal.record_answer(
        turn, Answer("hi"), RoundOutput(number, (SAID,), priced, "m")
    )


Books = tuple[dict[str, tuple[int, int]], int, tuple[int, int], tuple[int, int]]


async def books(engine: Embedded) -> Books:
    """Counters (tokens, money) by scope, what is held, and the sums of usage and of spendings."""

    def read(connection: SqlConnection) -> Books:
        rows = connection.execute("SELECT * FROM counters").fetchall()
        assert all(min(row["turns"], row["tokens"], row["money"]) >= 0 for row in rows)
        reservations = connection.execute("SELECT count(*) AS n FROM holds").fetchone()["n"]
        sums = []
        for table in ("usage", "spendings"):
            match = connection.execute(
                f"SELECT input + output AS tokens, cost FROM {table}"
            ).fetchall()
            money = sum(round((row["cost"] or 0) * NANODOLLARS_PER_DOLLAR) for row in match)
            sums.append((sum(int(row["tokens"]) for row in match), money))
        counters = {r["scope"]: (int(r["tokens"]), int(r["money"])) for r in rows}
        return {k: v for k, v in counters.items() if not k.startswith("cap")}, reservations, *sums

    return await engine.database.read(read)


async def test_what_was_used_takes_the_place_of_the_bound(stores: Embedded) -> None:
    budget = budget_of(stores, *PERSON_AND_CHANNEL_ALLOWANCES)
    turn = await begin_turn(stores)
    grant = await record_question(stores, budget, turn)
    assert grant
    counters, reservations, *_ = await books(stores)
    assert reservations == 1
    assert set(counters.values()) == {(grant.bound.tokens, grant.bound.money)}
    await record_answer(stores, turn, Usage(1000, 400, 50, 20))
    counters, reservations, usage, spendings = await books(stores)
    money = round((600 * 1.0 + 400 * 0.1 + 50 * 4.0) / 10**6 * NANODOLLARS_PER_DOLLAR)
    assert (reservations, usage, spendings) == (0, (1050, money), (1050, money))
    assert set(counters.values()) == {(1050, money)}


async def test_a_refusal_leaves_nothing(stores: Embedded) -> None:
    budget = budget_of(
        stores, *PERSON_AND_CHANNEL_ALLOWANCES, Allowance("each workspace", tokens=500)
    )
    turn = await begin_turn(stores)
    with pytest.raises(OverAllowance):
        await record_question(stores, budget, turn)
    assert await books(stores) == ({}, 0, (0, 0), (0, 0))
    assert await stores.journal.transcript(turn.thread) == []


async def test_many_at_once_over_two_processes_hold_no_more_than_there_is(stores: Embedded) -> None:
    """Each holds up to 16,000 tokens of answer and some 700 of what it hears: six whole ones, and
    one with what is left."""
    rule = Allowance("everybody", tokens=110_000)
    two = (stores, await stores.beside())
    budgets = [budget_of(each, rule, *PERSON_AND_CHANNEL_ALLOWANCES) for each in two]
    turns = [await begin_turn(stores, Person("web", f"p{n}")) for n in range(40)]
    results = await asyncio.gather(
        *(record_question(two[n % 2], budgets[n % 2], turn) for n, turn in enumerate(turns)),
        return_exceptions=True,
    )
    grants = [each for each in results if isinstance(each, Grant)]
    assert sum(isinstance(each, OverAllowance) for each in results) == 40 - len(grants) > 30
    assert 110_000 - MIN_OUTPUT_TOKENS * 2 < sum(grant.bound.tokens for grant in grants) <= 110_000
    went = [turn for turn, each in zip(turns, results, strict=True) if isinstance(each, Grant)]
    usages = [Usage(grant.input, 0, grant.output) for grant in grants]
    await asyncio.gather(
        *(record_answer(two[n % 2], turn, usages[n]) for n, turn in enumerate(went))
    )
    counters, open_holds, usage, spendings = await books(stores)
    assert open_holds == 0
    assert usage == spendings
    assert counters[rule.key] == usage
    assert usage[0] <= 110_000


async def test_what_a_killed_process_held_is_settled_by_the_next(stores: Embedded) -> None:
    budget = budget_of(stores, *PERSON_AND_CHANNEL_ALLOWANCES)
    lost_turn, goes_on = (await begin_turn(stores), await begin_turn(stores, channel="C2"))
    grants = [await record_question(stores, budget, turn) for turn in (lost_turn, goes_on)]
    heir = await stores.kill()
    budget = budget_of(heir, *PERSON_AND_CHANNEL_ALLOWANCES)
    await heir.journal.end_turn(await again(heir, lost_turn.seq), "removed")
    assert await budget.settle_ended_turns() == 1, "the other one goes on"
    assert await budget.settle_ended_turns() == 0
    reply = await again(heir, goes_on.seq)
    second = await budget.reserve_model_call(reply, budget.model_call(1, "m", 100))
    assert second
    assert second.part == "r1.2"
    await record_answer(heir, reply, Usage(100, 0, 10))
    counters, reservations, usage, spendings = await books(heir)
    bounds = sum(grant.bound.tokens for grant in grants if grant)
    assert (reservations, usage) == (0, spendings)
    assert usage[0] == bounds + 110
    assert counters[PERSON_AND_CHANNEL_ALLOWANCES[2].key] == usage


async def test_erasing_a_person_charges_for_their_call_under_way(stores: Embedded) -> None:
    """Otherwise, its tokens would be free for everybody else."""
    budget = budget_of(stores, *PERSON_AND_CHANNEL_ALLOWANCES)
    turn = await begin_turn(stores)
    grant = await record_question(stores, budget, turn)
    assert grant
    people = SqlPersonalData(stores.database)
    await people.erase(people.by_key(ANA.key), ())
    counters, reservations, usage, spendings = await books(stores)
    assert (reservations, usage) == (0, spendings)
    assert usage == (grant.bound.tokens, grant.bound.money)
    assert counters[PERSON_AND_CHANNEL_ALLOWANCES[2].key] == usage


async def test_the_bound_of_a_call_counts_the_files_of_its_thread(sqlite: Embedded) -> None:
    budget = budget_of(sqlite, *PERSON_AND_CHANNEL_ALLOWANCES)
    bare = max_item_tokens(encode_json(HELLO))
    for type, size, tokens in (
        ("image/png", 10, MAX_PICTURE_TOKENS),
        ("application/pdf", 10, MAX_DOCUMENT_TOKENS),
        ("text/csv", 10**4, 10**4),
        ("text/csv", 10**9, MAX_TEXT_FILE_BYTES),
    ):
        turn = await begin_turn(sqlite, channel=f"{type}{size}")
        reserve = await budget.make_reservation(turn, budget.model_call(1, "m", 100))
        item = replace(HELLO, files=(File("f1", "one", type, size),))
        await sqlite.journal.record_user_message(turn, [item], reserve)
        assert reserve.grant
        assert tokens <= reserve.grant.input - 100 - bare < tokens + 1_000, type
        await sqlite.journal.end_turn(turn, "removed")
        await budget.settle_ended_turns()


async def test_a_lost_call_is_charged_when_its_round_is_recorded(stores: Embedded) -> None:
    """The turn goes on, so nothing else settles the call yet."""
    budget = budget_of(stores, *PERSON_AND_CHANNEL_ALLOWANCES)
    turn = await begin_turn(stores)
    lost_turn = await record_question(stores, budget, turn)
    assert lost_turn
    assert await budget.reserve_model_call(turn, budget.model_call(1, "m", 100))
    priced = replace(Usage(100, 0, 10), cost=PRICES.cost("m", Usage(100, 0, 10)))
    await stores.journal.record_round(turn, RoundOutput(1, (SAID,), priced, "m"))
    _, reservations, usage, spendings = await books(stores)
    assert (reservations, usage) == (0, spendings)
    assert usage[0] == lost_turn.bound.tokens + 110


async def test_what_a_tools_run_costs_is_held_once_and_settled(stores: Embedded) -> None:
    budget = budget_of(stores, Allowance("each person", money=NANODOLLARS_PER_DOLLAR // 2))
    turn = await begin_turn(stores)
    await budget.reserve(turn)
    for _ in range(2):
        await budget.reserve_run(turn, "c1", PaidRun("quick_commands", "fix"))
    await budget.reserve_run(turn, "c2", PaidRun("quick_commands", "fix"))
    with pytest.raises(OverAllowance, match="reached your limit of"):
        await budget.reserve_run(turn, "c3", PaidRun("quick_commands", "fix"))
    await budget.release(turn, "call:c2")
    await stores.journal.record_call_start(
        turn, ToolCall("c1", "stackspot_quick_command", "{}", "spend")
    )
    outcome = Outcome("ok", "4", usage=Usage(cost=0.25), paid="quick-command fix")
    for _ in range(2):
        await stores.journal.record_call_end(turn, "c1", outcome)
    await budget.reserve_run(turn, "c1", PaidRun("quick_commands", "fix"))  # taken up again
    counters, reservations, usage, _ = await books(stores)
    assert (reservations, usage) == (0, (0, NANODOLLARS_PER_DOLLAR // 4))
    assert list(counters.values()) == [(0, NANODOLLARS_PER_DOLLAR // 4)]
    (row,) = await budget.report("tool", "2000-01-01")
    assert (row["name"], row["calls"], row["cost"]) == ("quick-command fix", 1, 0.25)


async def test_an_operator_sees_all_counters_and_turns(stores: Embedded) -> None:
    rules = (
        Allowance("each person", "month", tokens=10**6),
        Allowance("everybody", turns=5),
        Allowance("each channel", turns=9, where=frozenset({"slack"})),
    )
    budget = budget_of(stores, *rules)
    for person in (ANA, Person("web", "bob")):
        turn = await begin_turn(stores, person)
        assert await record_question(stores, budget, turn) is not None
    counts = await budget.list_counters(ANA, turn.message.address)
    views = [
        (one.scope.allowance.of, one.scope.person, one.spent.turns)
        for one in counts
        if any(one.scope.allowance.limits())
    ]
    assert views[2:] == [("each person", "web:bob", 1)], "after those of who asks"
    assert sorted(views[:2]) == [("each person", ANA.key, 1), ("everybody", "", 2)]
    await stores.journal.end_turn(turn, "failed", "model_down")
    turns = await stores.journal.list_recent_turns()
    assert [(one.person, one.state, one.reason, one.failed) for one in turns] == [
        (ANA.key, "running", "", False),
        ("web:bob", "failed", "model_down", True),
    ]


async def test_a_new_allowance_counts_what_was_spent_before_it(stores: Embedded) -> None:
    budget = budget_of(stores)
    for person in (ANA, Person("web", "bob")):
        turn = await begin_turn(stores, person)
        assert await record_question(stores, budget, turn) is None
        await record_answer(stores, turn, Usage(1000, 0, 50))
    (row,) = await budget.report("channel")
    assert (row["name"], row["turns"]) == ("web", 2), "not a row for each conversation"
    moves = ("discord::4711", "discord:1", turn.seq)
    sql = "UPDATE usage SET place = ?, person = ? WHERE seq = ?"
    await stores.database.write(lambda connection: connection.execute(sql, moves).close())
    names = {row["name"] for row in await budget.report("channel")}
    assert names == {"web", "discord:1"}, "a direct message on Discord is its person's"
    back = ("web::C1", "web:bob", turn.seq)
    await stores.database.write(lambda connection: connection.execute(sql, back).close())
    rules = (
        Allowance("each person", "month", tokens=10**6),
        Allowance("each channel", tokens=10**6, where=frozenset({"web"})),
        Allowance("everybody", "month", tokens=10**6),
    )
    budget.config = FixedConfig(turn_allowances=rules)
    turn = await begin_turn(stores)
    standing = await budget.list_counts(ANA, turn.message.address)
    counts = {c.scope.allowance.of: c.spent for c in standing if c.scope.allowance in rules}
    assert {of: (s.turns, s.tokens) for of, s in counts.items()} == {
        "each person": (1, 1050),
        "each channel": (1, 1050),
        "everybody": (2, 2100),
    }
    await record_question(stores, budget, turn)
    await record_answer(stores, turn, Usage(10, 0, 5))
    counters, _, usage, _ = await books(stores)
    assert counters[rules[2].key] == usage
    assert usage[0] == 2115


async def test_a_notice_is_claimed_once(stores: Embedded) -> None:
    two = (stores, await stores.beside())
    budgets = [budget_of(each, PERSON_AND_CHANNEL_ALLOWANCES[0]) for each in two]
    turn = await begin_turn(stores)
    grant = await record_question(stores, budgets[0], turn)
    assert grant
    claims = await asyncio.gather(*(b.claim_notice(grant.counts[0], 1) for b in budgets * 3))
    assert claims.count(True) == 1
    assert await budgets[0].claim_notice(grant.counts[0], 2)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("hear", "pay", "answer", "call", "lose", "settle", "kill")),
        st.integers(0, 2),
        st.integers(0, 20_000),
    ),
    max_size=14,
)


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
async def test_the_books_agree_whatever_happens(
    stores: Embedded, steps: list[tuple[str, int, int]]
) -> None:
    """Turns are heard, paid for, answered, ended without an answer, and repeated in any order."""
    _, _, _, past = await books(stores)  # what the examples before this one spent
    rule = Allowance(
        "everybody",
        "month",
        past[1] + NANODOLLARS_PER_DOLLAR // 8,
        past[0] + 60_000,
        name=f"{past}",
    )
    budget, open_turns = budget_of(stores, rule), dict[int, Turn]()
    for step, which, size in steps:
        turn = open_turns.get(which)
        if turn is None:
            turn = await begin_turn(stores, channel=f"C{random.Random(size).random()}")
            try:
                await record_question(stores, budget, turn)
            except OverAllowance:
                await stores.journal.end_turn(turn, "failed")
                continue
            open_turns[which] = turn
        try:
            match step:
                case "pay":
                    await budget.reserve_model_call(
                        turn, budget.model_call(1 + size % 2, "m", size)
                    )
                case "answer":
                    await record_answer(stores, turn, Usage(size // 8, size // 16, size // 32))
                    del open_turns[which]
                    await stores.journal.end_turn(turn, "done")
                case "call":
                    await budget.reserve_run(turn, f"c{size % 2}", PaidRun("container"))
                case "lose":
                    await stores.journal.end_turn(turn, "removed")
                    del open_turns[which]
                case "kill":
                    turn = await again(stores, turn.seq)
                    open_turns[which] = turn
                case _:
                    await budget.settle_ended_turns()
        except OverAllowance:
            pass
        counters, _, usage, spendings = await books(stores)
        assert usage == pytest.approx(spendings, abs=20)
        reservations = await stores.database.read(_read_holds)
        ours = counters.get(rule.key, past)
        assert ours == (spendings[0] + reservations[0], spendings[1] + reservations[1])
    for turn in open_turns.values():
        await stores.journal.end_turn(turn, "removed")
    await budget.settle_ended_turns()


def _read_holds(connection: SqlConnection) -> tuple[int, int]:
    rows = connection.execute("SELECT tokens, money FROM holds").fetchall()
    return sum(int(row["tokens"]) for row in rows), sum(int(row["money"]) for row in rows)


async def test_a_person_without_a_counter_holds_nobody_up(
    on_postgres: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that locked the shared counter first, and then inserted the person's, was in a
    deadlock with the person's next message: a second each, for everybody."""
    past_spend = budget._past_spend
    budget_of_two = budget_of(on_postgres, *PERSON_AND_CHANNEL_ALLOWANCES)
    turns = [await begin_turn(on_postgres, Person("web", name), "one") for name in ("ana", "bob")]
    await record_question(on_postgres, budget_of_two, turns[0])
    looks = list[str]()

    def look(connection: SqlConnection, scope: Scope, *more: Any) -> Any:
        looks.append(scope.person)
        with psycopg.connect(on_postgres.url) as other:
            other.execute("SELECT 1 FROM ponte.counters FOR UPDATE NOWAIT")
        return past_spend(connection, scope, *more)

    monkeypatch.setattr(budget, "_past_spend", look)
    await record_question(on_postgres, budget_of_two, turns[1])
    assert looks == ["web:bob"] * 2


async def test_a_counter_that_is_erased_while_a_message_waits_for_it_begins_anew(
    on_postgres: Shared,
) -> None:
    limits = budget_of(on_postgres, *PERSON_AND_CHANNEL_ALLOWANCES)
    turns = [await begin_turn(on_postgres, channel=name) for name in ("one", "two")]
    await record_question(on_postgres, limits, turns[0])
    before, *_ = await books(on_postgres)
    async with await psycopg.AsyncConnection.connect(
        on_postgres.url, **CONNECTION_OPTIONS
    ) as other:
        await other.execute("DELETE FROM counters WHERE person <> ''")
        asking = asyncio.create_task(record_question(on_postgres, limits, turns[1]))
        while not asking.done() and not await on_postgres.database.read(count_blocked):
            pass
    await asking
    counters, *_ = await books(on_postgres)
    person, _, everybody = (rule.key for rule in PERSON_AND_CHANNEL_ALLOWANCES)
    assert counters[f"{person}:{ANA.key}"] == before[f"{person}:{ANA.key}"]
    assert counters[everybody] == tuple(2 * one for one in before[everybody])


@pytest.mark.parametrize("ends", ["released", "answered"])
async def test_a_reservation_that_two_settle_at_once_is_settled_once(
    on_postgres: Shared, ends: str
) -> None:
    """An erasure does not lock a conversation that began after it."""
    limits = budget_of(on_postgres, *PERSON_AND_CHANNEL_ALLOWANCES)
    turn = await begin_turn(on_postgres)
    grant = await record_question(on_postgres, limits, turn)
    assert grant
    with psycopg.connect(on_postgres.url, row_factory=dict_row, **CONNECTION_OPTIONS) as other:
        settle_holds(PostgresStatements(other), turn.seq)
        ending = asyncio.create_task(
            limits.release(turn, grant.part)
            if ends == "released"
            else record_answer(on_postgres, turn, Usage(input=100, output=10))
        )
        while not ending.done() and not await on_postgres.database.read(count_blocked):
            pass
    await ending
    counters, reservations, usage, spendings = await books(on_postgres)
    assert (reservations, usage) == (0, spendings)
    assert set(counters.values()) == {spendings}


async def test_an_erased_counter_keeps_no_other_from_being_settled(stores: Embedded) -> None:
    limits = budget_of(stores, *PERSON_AND_CHANNEL_ALLOWANCES)
    turn = await begin_turn(stores)
    await record_question(stores, limits, turn)
    before, *_ = await books(stores)
    await stores.database.write(
        lambda c: c.execute("DELETE FROM counters WHERE person <> ''").rowcount
    )
    await record_answer(stores, turn, Usage(input=100, output=10))
    after, *_ = await books(stores)
    assert len(after) == len(before) - 1
    assert all(after[key] < before[key] for key in after)
