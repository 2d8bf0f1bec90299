from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from discord.gateway import DiscordWebSocket
from discord.http import Route

from tests.discord.house import House
from tests.fakes.discord import FakeDiscord, Somebody


@pytest.fixture(autouse=True)
def _bases() -> Iterator[None]:
    """The SDK's addresses are the whole process's: put them back."""
    rest, gateway = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
    yield
    Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = rest, gateway


@pytest.fixture
async def discord() -> AsyncIterator[FakeDiscord]:
    async with FakeDiscord() as fake:
        yield fake


@pytest.fixture
def ana(discord: FakeDiscord) -> Somebody:
    return discord.user("Ana")


@pytest.fixture
async def house(discord: FakeDiscord, tmp_path: Path) -> AsyncIterator[House]:
    """Closed: a test opens it, with its options."""
    house = House(discord, tmp_path / "home")
    house.home.mkdir()
    yield house
    await house.close()
