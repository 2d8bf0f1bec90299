from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.discord.house import House
from tests.fakes.discord import FakeDiscord, Somebody
from tests.fakes.discord.addresses import sdk_addresses


@pytest.fixture(autouse=True)
def _addresses() -> Iterator[None]:
    with sdk_addresses():
        yield


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
    assert not discord.world.unguarded, "each request says that its message mentions nobody"
