from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from discord.state import ConnectionState

from core.base.tasks import Backoff
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.addresses import sdk_addresses
from tests.fakes.discord.world import Channel

PAUSES = {
    "adapters.discord.state.SHARE_AFTER_SECONDS": 0.01,
    "adapters.discord.surface.EDIT_INTERVAL_SECONDS": 0.1,
    "adapters.discord.surface.ChannelSurface.interval": 0.1,
    "adapters.discord.responses.ClickSurface.interval": 0.1,
    "adapters.discord.responses.ResponseSurface.interval": 0.1,
    "adapters.discord.presence.SIGN_AFTER_SECONDS": 0.02,
    "core.chat.reply.POST_BACKOFF": Backoff(0.01, max_seconds=60.0),
    "core.chat.incoming.SIGN_AFTER_SECONDS": 0.02,
}


@pytest.fixture(autouse=True)
def _addresses() -> Iterator[None]:
    with sdk_addresses():
        yield


@pytest.fixture(autouse=True)
def _seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that is about one of the pauses sets it."""
    for name, seconds in PAUSES.items():
        monkeypatch.setattr(name, seconds)
    make = ConnectionState.__init__

    def make_quick_state(self: ConnectionState[Any], **options: Any) -> None:
        make(self, **options, guild_ready_timeout=0.2)

    monkeypatch.setattr(ConnectionState, "__init__", make_quick_state)


@pytest.fixture
async def discord() -> AsyncIterator[FakeDiscord]:
    async with FakeDiscord() as fake:
        yield fake


@pytest.fixture
def ana(discord: FakeDiscord) -> DiscordPerson:
    return discord.user("Ana")


@pytest.fixture
def channel(discord: FakeDiscord, ana: DiscordPerson) -> Channel:
    """A channel of Ana's server."""
    return discord.text_channel(discord.guild("Bolts", ana), "general")


@pytest.fixture
async def ponte(discord: FakeDiscord, tmp_path: Path) -> AsyncIterator[DiscordPonte]:
    """Closed: a test opens it, with its options."""
    ponte = DiscordPonte(discord, tmp_path / "home")
    ponte.home.mkdir()
    yield ponte
    await ponte.close()
    assert not discord.world.unguarded, "each request says that its message mentions nobody"


@pytest.fixture
async def live(ponte: DiscordPonte) -> DiscordPonte:
    """Open, with the usual options."""
    return await ponte.open()
