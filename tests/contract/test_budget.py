"""The Budget: turns are counted once, before they cost, whatever happens to them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from bot.integrations import canonical_person
from core.base.errors import OverBudget
from core.domain.messages import Item, Person, Usage
from core.domain.records import RoundOutput, Turn, UsageTotal
from core.money import budget
from core.money.budget import Budget
from tests.contract.engines import Embedded
from tests.contract.test_inbox import says
from tests.contract.test_journal import again
from tests.fakes import choices
from tests.fakes.config import FixedConfig, means_everybody

ANA, BOB = Person("web", "ana"), Person("web", "bob")
LISBON = timezone(timedelta(hours=1))
SAID = (Item("message", role="assistant", text="hi"),)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 20, 12, tzinfo=LISBON)

    def time(self) -> float:
        return self.now.timestamp()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(budget, "time", clock)
    return clock


def make_budget(engine: Embedded, own: int = 0, everybody: int = 0) -> Budget:
    caps = choices.fixed_caps(own, everybody)
    return Budget(engine.database, FixedConfig(), caps, LISBON, is_meant=means_everybody)


async def begin_turn(engine: Embedded, person: Person = ANA) -> Turn:
    message = replace(says("hello", channel=person.id), author=person)
    return await again(engine, (await engine.inbox.accept(message)).seq)


async def test_a_turn_counts_once_however_often_it_resumes(stores: Embedded) -> None:
    turn = await begin_turn(stores)
    for _ in range(2):
        await make_budget(stores, own=1).reserve(turn)
    heir = await stores.kill()
    await make_budget(heir, own=1).reserve(await again(heir, turn.seq))
    assert (await make_budget(heir).usage_today()).turns == 1


async def test_a_person_who_used_up_theirs_is_refused_alone(stores: Embedded) -> None:
    counting = make_budget(stores, own=2, everybody=3)
    for _ in range(2):
        await counting.reserve(await begin_turn(stores))
    with pytest.raises(OverBudget, match="reached your limit of 2 messages a day"):
        await counting.reserve(await begin_turn(stores))
    await counting.reserve(await begin_turn(stores, BOB))
    assert (await counting.usage_today(ANA.key)).turns == 2
    assert (await counting.usage_today()).turns == 3
    with pytest.raises(OverBudget, match="The shared limit of"):
        await counting.reserve(await begin_turn(stores, BOB))


async def test_a_day_begins_at_midnight_where_the_people_are(
    stores: Embedded, clock: Clock
) -> None:
    counting = make_budget(stores, own=1)
    clock.now = datetime(2026, 11, 20, 23, 59, tzinfo=LISBON)
    await counting.reserve(await begin_turn(stores))
    with pytest.raises(OverBudget):
        await counting.reserve(await begin_turn(stores))
    clock.now += timedelta(minutes=2)
    assert (await counting.usage_today()).turns == 0
    await counting.reserve(await begin_turn(stores))


async def test_what_models_count_is_added_up(stores: Embedded) -> None:
    counting, journal = make_budget(stores), stores.journal
    first, second = await begin_turn(stores), await begin_turn(stores, BOB)
    for turn in (first, second):
        await counting.reserve(turn)
    assert await counting.usage_today() == UsageTotal(2, Usage())
    await journal.record_round(first, RoundOutput(1, SAID, Usage(100, 50, 10, 5, cost=None), "m"))
    assert (await counting.usage_today()).usage == Usage(100, 50, 10, 5, cost=None)
    await journal.record_round(first, RoundOutput(2, SAID, Usage(100, 50, 10, 5, cost=0.25), "m"))
    await journal.record_round(second, RoundOutput(1, SAID, Usage(1, 0, 1, 0, cost=0.5), "m"))
    assert await counting.usage_today() == UsageTotal(2, Usage(201, 100, 21, 10, cost=0.75))
    assert await counting.usage_today(BOB.key) == UsageTotal(1, Usage(1, 0, 1, 0, cost=0.5))


async def test_what_was_used_is_still_counted_after_forgetting(stores: Embedded) -> None:
    counting = make_budget(stores, own=1)
    await counting.reserve(await begin_turn(stores))
    await stores.journal.forget("web:ana")
    with pytest.raises(OverBudget):
        await counting.reserve(await begin_turn(stores))


async def test_who_comes_by_two_ways_is_counted_once(stores: Embedded) -> None:
    page, terminal = Person("web", "owner"), Person("terminal", "owner")
    counting = Budget(
        stores.database,
        FixedConfig(),
        choices.fixed_caps(2, 0),
        LISBON,
        canonical_person,
        is_meant=means_everybody,
    )
    for person in (page, terminal):
        await counting.reserve(await begin_turn(stores, person))
    with pytest.raises(OverBudget):
        await counting.reserve(await begin_turn(stores, page))
    assert (await counting.usage_today(page.key)).turns == 2
    assert (await counting.usage_today(terminal.key)).turns == 2
    assert (await counting.usage_today("slack:owner")).turns == 0
