"""Hosted backends on one fake OpenAI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from tests.code.hosted import Bench, benches
from tests.fakes.openai import FakeOpenAI

Make = Callable[..., Bench]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Each one made is another process on the same OpenAI."""
    async with FakeOpenAI() as fake, benches(fake) as made:

        def make(official: bool = False, **choice: object) -> Bench:
            made.append(Bench(fake, official=official, **choice))
            return made[-1]

        yield make


@pytest.fixture
def bench(make: Make) -> Bench:
    return make()
