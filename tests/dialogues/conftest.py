from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.dialogues.stage import Theatre
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.addresses import sdk_addresses
from tests.fakes.openai import FakeOpenAI
from tests.fakes.stackspot import FakeStackSpot


@pytest.fixture
def theatre(tmp_path: Path) -> Theatre:
    return Theatre(tmp_path / "home")


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
