"""One token for everybody, for as long as it is good."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core.tools.stackspot import StackSpot
from tests.fakes.stackspot import FakeStackSpot, Trouble
from tests.fakes.stackspot.clock import SteppedClock
from tests.stackspot.command_scene import client, error_of


async def test_it_is_asked_for_once_by_any_number_of_waiters(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    fake.fail("token", Trouble("hang"))
    waiting = [asyncio.create_task(stackspot.check()) for _ in range(50)]
    await fake.wait_for_requests("token")
    fake.release.set()
    await asyncio.gather(*waiting)
    assert fake.count("token") == 1


async def test_who_gives_up_waiting_takes_it_from_nobody(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    fake.fail("token", Trouble("hang"))
    impatient, patient = (asyncio.create_task(stackspot.check()) for _ in range(2))
    await fake.wait_for_requests("token")
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    fake.release.set()
    await patient
    assert fake.count("token") == 1


async def test_all_waiters_share_one_failure(fake: FakeStackSpot, clock: SteppedClock) -> None:
    async with client(fake.url, clock, secret="wrong") as stackspot:
        errors = await asyncio.gather(*(error_of(stackspot.check()) for _ in range(10)))
    assert {error.code for error in errors} == {"bad_credentials"}
    assert fake.count("token") == 1


@pytest.mark.parametrize(
    ("lifetime", "good", "over"),
    [(1199, 1138, 1140), (None, 1138, 1140), (300, 239, 241), (40, 19, 21), (0, 1138, 1140)],
)
async def test_it_is_replaced_a_minute_before_its_end(
    fake: FakeStackSpot,
    stackspot: StackSpot,
    clock: SteppedClock,
    lifetime: int | None,
    good: float,
    over: float,
) -> None:
    fake.lifetime = lifetime
    await stackspot.check()
    time = clock.time
    clock.time = time + good
    await stackspot.check()
    assert fake.count("token") == 1
    clock.time = time + over
    await stackspot.check()
    assert fake.count("token") == 2


async def test_a_second_refusal_is_final(fake: FakeStackSpot, stackspot: StackSpot) -> None:
    fake.answer("create", 401, 401)
    error = await error_of(stackspot.create("echo", "a"))
    assert error.code == "refused"
    assert (fake.count("create"), fake.count("token"), fake.count_executions("a")) == (2, 2, 0)


async def test_a_refusal_while_it_runs_says_that_it_may_still_finish(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    fake.answer("status", 401, 401)
    error = await error_of(stackspot.run("echo", "a"))
    assert error.code == "refused"
    assert str(error).endswith("The run was started, and StackSpot may still finish it.")


async def test_it_is_asked_for_again_while_the_service_is_not_well(
    fake: FakeStackSpot, stackspot: StackSpot, clock: SteppedClock
) -> None:
    fake.answer("token", 503, 500, 429)
    await stackspot.check()
    assert clock.pauses == [0.5, 2.0, 20.0]
    assert fake.count("token") == 4


async def test_an_answer_without_a_token_is_told(fake: FakeStackSpot, stackspot: StackSpot) -> None:
    bodies: list[Any] = [{}, {"access_token": ""}, {"access_token": "a\nb"}, ["x"]]
    for body in bodies:
        fake.answer("token", *[200] * 4, body=body)
        assert (await error_of(stackspot.check())).code == "unreadable", body


async def test_closing_ends_what_is_under_way(fake: FakeStackSpot, clock: SteppedClock) -> None:
    fake.fail("token", Trouble("hang"))
    async with client(fake.url, clock) as stackspot:
        waiting = asyncio.create_task(stackspot.check())
        await fake.wait_for_requests("token")
    with pytest.raises(asyncio.CancelledError):
        await waiting
