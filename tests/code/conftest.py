"""Hosted backends on one fake OpenAI, and the search for the sandbox's Python."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable

import pytest

from core.tools.code import environment
from tests.code.hosted import Bench, benches
from tests.fakes.openai import FakeOpenAI

Make = Callable[..., Bench]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Each one made is another process on the same OpenAI."""
    async with FakeOpenAI() as fake, benches(fake) as result:

        def make(official: bool = False, **choice: object) -> Bench:
            result.append(Bench(fake, official=official, **choice))
            return result[-1]

        yield make


@pytest.fixture
def bench(make: Make) -> Bench:
    return make()


@pytest.fixture
def searches_for_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search as the product does, and not once for all tests (`tests/conftest.py`)."""
    search = inspect.unwrap(environment.find_base_python)
    monkeypatch.setattr(environment, "find_base_python", search)
