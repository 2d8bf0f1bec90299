from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from core.runtime.retry import Backoff
from tests.dialogues.bot_home import BotHome
from tests.fakes import uvicorn_pauses
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.addresses import sdk_addresses
from tests.fakes.openai import FakeOpenAI
from tests.fakes.stackspot import FakeStackSpot

ON_POSTGRES = (
    "test_changes", "test_changes_restart", "test_content", "test_hooks", "test_pace",
    "test_rights_restart", "test_stackspot_approved", "test_stop", "test_talk", "test_upkeep",
)  # fmt: skip
"""Where the store, or who runs a turn, could make a difference."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    name = metafunc.module.__name__.rpartition(".")[2]
    given = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "bot_home" in metafunc.fixturenames and "bot_home" not in given:
        places = ["home", "postgres"] if name in ON_POSTGRES else ["home"]
        metafunc.parametrize("bot_home", places, indirect=True)


@pytest.fixture
def bot_home(request: pytest.FixtureRequest, tmp_path: Path) -> BotHome:
    if request.param == "home":
        return BotHome(tmp_path / "home")
    return BotHome(tmp_path / "home", request.getfixturevalue("migrated_postgres"))


@pytest.fixture(scope="session", autouse=True)
def _uvicorn_ends_at_once() -> Iterator[None]:
    with uvicorn_pauses.short_pauses():
        yield


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again later is tried again at once."""
    monkeypatch.setattr("core.chat.reply.POST_BACKOFF", Backoff(0.01, max_seconds=60.0))


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
