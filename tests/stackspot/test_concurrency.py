"""Twenty people at once: one client, one token, nobody's answer mixed up."""

from __future__ import annotations

import asyncio

import pytest

from core import metrics
from core.tools.stackspot import StackSpot
from tests.fakes.stackspot import FakeStackSpot, Trouble
from tests.fakes.stackspot.clock import SteppedClock
from tests.stackspot.house import client


async def test_twenty_commands_share_one_token(fake: FakeStackSpot, stackspot: StackSpot) -> None:
    results = await asyncio.gather(*(stackspot.run("echo", str(n)) for n in range(20)))
    assert [result.text for result in results] == [f"echo: {n}" for n in range(20)]
    assert len({result.execution for result in results}) == 20
    assert (fake.count("token"), fake.count("create")) == (1, 20)


async def test_twenty_commands_outlive_a_revoked_token(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    fake.held = True
    running = [asyncio.create_task(stackspot.run("echo", str(n))) for n in range(20)]
    await fake.seen("status", 40)
    fake.revoke()
    fake.held = False
    results = await asyncio.gather(*running)
    assert [result.text for result in results] == [f"echo: {n}" for n in range(20)]
    assert (fake.count("token"), len(fake.executions)) == (2, 20)


async def test_one_that_is_stopped_stops_no_other(fake: FakeStackSpot, clock: SteppedClock) -> None:
    fake.fail("create", *[Trouble("hang")] * 20)
    async with client(fake.url, clock) as stackspot:
        running = [asyncio.create_task(stackspot.run("echo", str(n))) for n in range(20)]
        await fake.seen("create", 20)
        running[0].cancel()
        fake.release.set()
        with pytest.raises(asyncio.CancelledError):
            await running[0]
        results = await asyncio.gather(*running[1:])
    assert {result.text for result in results} == {f"echo: {n}" for n in range(1, 20)}


async def test_requests_are_counted_by_what_came_of_them(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    fake.answer("create", 503)
    fake.fail("status", Trouble("reset"))
    labels = [("create", "answered"), ("create", "503"), ("status", "HttpDown"), ("token", "lost")]
    before = [_counted(*each) for each in labels]
    await stackspot.run("echo", "a")
    counted = [_counted(*each) - old for each, old in zip(labels, before, strict=True)]
    assert counted == [1, 1, 1, 0]


def _counted(kind: str, outcome: str) -> float:
    labels = {"kind": kind, "outcome": outcome}
    return metrics.registry.get_sample_value("ponte_stackspot_requests_total", labels) or 0
