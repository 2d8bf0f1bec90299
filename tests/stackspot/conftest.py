"""A StackSpot of the tests, and a client of it, on one clock."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from core.tools.stackspot import StackSpot
from tests.fakes.stackspot import FakeStackSpot
from tests.fakes.stackspot.clock import SteppedClock
from tests.stackspot.command_scene import client


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def fake(clock: SteppedClock) -> AsyncIterator[FakeStackSpot]:
    """Its tokens live by the clock of the test."""
    async with FakeStackSpot(clock=clock.now) as fake:
        yield fake


@pytest.fixture
async def stackspot(fake: FakeStackSpot, clock: SteppedClock) -> AsyncIterator[StackSpot]:
    async with client(fake.url, clock) as stackspot:
        yield stackspot
