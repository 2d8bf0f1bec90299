from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from core.base.tasks import Backoff
from tests.dialogues.bot_home import BotHome
from tests.fakes import uvicorn_pauses
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.addresses import sdk_addresses
from tests.fakes.openai import FakeOpenAI
from tests.fakes.stackspot import FakeStackSpot
from tests.time_limits import Limits


@pytest.fixture
def bot_home(request: pytest.FixtureRequest, tmp_path: Path) -> BotHome:
    """Most dialogues have SQLite alone: the tests of the contract hold every engine to the same."""
    if getattr(request, "param", "home") == "home":
        return BotHome(tmp_path / "home")
    return BotHome(tmp_path / "home", request.getfixturevalue("migrated_postgres"))


@pytest.fixture(scope="session", autouse=True)
def _uvicorn_ends_at_once() -> Iterator[None]:
    with uvicorn_pauses.short_pauses():
        yield


@pytest.fixture(autouse=True)
def _short_pauses(limits: Limits) -> None:
    """What is tried again later is tried again at once."""
    limits(POST_BACKOFF=Backoff(0.01, max_seconds=60.0), REST_FACTOR=0.0)


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
async def discord() -> AsyncIterator[FakeDiscord]:
    with sdk_addresses():
        async with FakeDiscord() as fake:
            yield fake


@pytest.fixture
async def stackspot() -> AsyncIterator[FakeStackSpot]:
    async with FakeStackSpot() as fake:
        yield fake
        assert fake.refused == []
