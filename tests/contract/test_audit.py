"""The audit log over both engines."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
import time_machine

from core.base.errors import NotStored
from core.domain.messages import Address, Person
from core.people.audit import OPERATOR, Audit, assign_pseudonym
from tests.contract.engines import Embedded
from tests.time_limits import Limits

ANA, BIA = Person("slack", "U1", "T1", "Ana"), Person("slack", "U2", "T1", "Bia")
HERE = Address("slack", "C1", "T1", is_shared=True)


async def every(log: Audit, **wanted: str) -> list[tuple[str, str]]:
    """Each line's event and asker, however many pages they come in."""
    match, following, more = list[tuple[str, str]](), "", True
    while more:
        lines, following = await log.read(following, **wanted)
        match += [(line["event"], line["asker"]) for line in lines]
        more = bool(following)
    return match


async def test_what_is_written_is_read_page_by_page(stores: Embedded, limits: Limits) -> None:
    log = Audit(stores.database)
    for number in range(7):
        log.note(f"event {number}", ANA if number % 3 else BIA, HERE)
    await log.write_note("last", OPERATOR)
    everything = await every(log)
    assert [event for event, _ in everything] == ["last", *(f"event {6 - n}" for n in range(7))]
    for limit, looked_at in ((2, 100), (100, 3), (3, 4), (8, 8)):
        limits(MAX_PAGE_LINES=limit)
        limits(MAX_SCANNED_LINES=looked_at)
        assert await every(log) == everything
        assert await every(log, person="slack:U2") == [(f"event {n}", BIA.key) for n in (6, 3, 0)]
    await log.close()


async def test_two_processes_make_one_pseudonym_for_a_person(stores: Embedded) -> None:
    both = (stores.database, (await stores.beside()).database)
    people = sorted([ANA.key, BIA.key])
    results = await asyncio.gather(
        *(
            both[n % 2].write(lambda c: [assign_pseudonym(c, one) for one in people])
            for n in range(8)
        )
    )
    assert all(one == results[0] for one in results)
    assert len(set(results[0])) == 2


async def test_the_log_does_not_know_a_forgotten_person(stores: Embedded) -> None:
    log = Audit(stores.database)
    await log.write_note("one", ANA, HERE)
    await log.write_note("two", BIA, HERE)
    await log.forget(ANA.key)
    second, (_, first) = await every(log)
    assert (first.startswith("p-"), second) == (True, ("two", BIA.key))
    await log.write_note("three", ANA, HERE)
    assert (await every(log, person=ANA.key)) == [("three", ANA.key)], "another pseudonym"
    await log.forget(ANA.key)
    await stores.database.scrub()
    await log.close()
    assert not await stores.holds(ANA.key)


async def test_old_lines_are_purged(stores: Embedded, limits: Limits) -> None:
    limits(ROWS_PER_TRANSACTION=3)
    log = Audit(stores.database)
    for day in range(1, 11):
        with time_machine.travel(datetime(2026, 11, day, 12, tzinfo=UTC), tick=False):
            await log.write_note(f"day {day}", BIA, HERE)
    assert await log.purge("2026-11-01T12:00:00.000+00:00") == 0, "written at that moment"
    assert await log.purge("2026-11-08T00:00:00.000+00:00") == 7
    assert [event for event, _ in await every(log)] == ["day 10", "day 9", "day 8"]
    assert await log.purge("2026-11-08T00:00:00.000+00:00") == 0
    assert await log.purge("2026-12-01T00:00:00.000+00:00") == 3
    assert await every(log) == []
    await log.write_note("later", OPERATOR)
    assert await every(log) == [("later", "operator")]
    await log.close()


async def test_a_line_that_cannot_be_stored_is_an_error(stores: Embedded) -> None:
    log = Audit(stores.database)
    await stores.database.close()
    with pytest.raises(NotStored):
        await log.write_note("one", ANA, HERE)
    await log.close()
