"""Which places are public: told soon, known for a while, and looked up in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.base.errors import PlatformBusy
from core.domain.messages import Address
from core.feedback.places import PublicPlaces
from tests.fakes.slack import TEAM
from tests.slack.bot import workplace
from tests.time_limits import Limits


class Platform:
    """Tells of as many places as it has room for. `public` are the ids of channels."""

    def __init__(self, room: int, *public: str) -> None:
        self.room, self.public = room, {*public}
        self.questions = list[str]()

    async def is_public(self, address: Address) -> bool | None:
        if address.channel == "busy":
            raise PlatformBusy(1.0)
        if self.room <= 0:
            return None
        self.room -= 1
        self.questions.append(address.channel)
        return address.channel in self.public


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def places(clock: Clock, limits: Limits) -> AsyncIterator[PublicPlaces]:
    limits(PLACE_TIMEOUT_SECONDS=0.01, PLACE_PAUSE_SECONDS=0.0)
    places = PublicPlaces(clock)
    yield places
    await places.close()


def channel(id: str, *, is_shared: bool = True) -> Address:
    return Address("slack", id, "T1", is_shared=is_shared)


async def ask(places: PublicPlaces, platform: Platform, *ids: str) -> list[bool | None]:
    messengers: Any = {"slack": platform}
    found = await places.find({*map(channel, ids)}, messengers)
    return [found[channel(id)] for id in ids]


async def finish(places: PublicPlaces) -> None:
    looking = places._looking
    assert looking is not None
    await looking


async def test_what_is_not_told_is_unknown_and_found_in_the_background(
    places: PublicPlaces,
) -> None:
    platform = Platform(1, "C1", "C2")
    told = await ask(places, platform, "C1", "C2", "C3")
    assert sorted(map(str, told)).count("None") == 2, "and not private"
    platform.room = 9
    await finish(places)
    assert await ask(places, platform, "C1", "C2", "C3") == [True, True, False]
    assert sorted(platform.questions) == ["C1", "C2", "C3"], "each is asked for once"


async def test_what_is_known_stays_known_for_a_while(places: PublicPlaces, clock: Clock) -> None:
    platform = Platform(9, "C1")
    assert await ask(places, platform, "C1") == [True]
    platform.room, clock.now = 0, 599.0
    assert await ask(places, platform, "C1") == [True], "also while the platform tells nothing"
    clock.now = 601.0
    assert await ask(places, platform, "C1") == [None]
    platform.room, platform.public = 9, set()
    await finish(places)
    assert await ask(places, platform, "C1") == [False], "it has become private"


async def test_a_place_that_the_platform_does_not_tell_holds_up_no_other(
    places: PublicPlaces,
) -> None:
    platform, looked = Platform(0, "C1"), asyncio.Event()
    assert await ask(places, platform, "busy", "C1") == [None, None]
    is_public = platform.is_public

    async def tell(address: Address) -> bool | None:
        looked.set()
        return await is_public(address)

    platform.room, platform.is_public = 9, tell  # type: ignore[method-assign]
    waiting = asyncio.create_task(looked.wait())
    assert places._looking is not None
    await asyncio.wait({waiting, places._looking}, return_when=asyncio.FIRST_COMPLETED)
    assert looked.is_set(), "it is still looked up"
    waiting.cancel()
    assert await ask(places, platform, "C1") == [True]


async def test_a_busy_platform_and_places_of_one_person(places: PublicPlaces) -> None:
    assert await ask(places, Platform(9), "busy") == [None]
    messengers: Any = {"slack": Platform(9)}
    direct, off = channel("D1", is_shared=False), Address("discord", "1", is_shared=True)
    assert await places.find({direct, off}, messengers) == {direct: False, off: False}


async def test_the_background_leaves_half_of_slacks_limit_to_links(tmp_path: Path) -> None:
    """24 channels with a vote each: as many are told as leave room, none counts as private."""
    async with workplace(tmp_path) as w:
        channels = [w.slack.channel(f"c{n}", w.alice) for n in range(24)]
        before = len(w.calls("conversations.info"))
        slack = w.bot.slack
        told = await asyncio.gather(
            *(slack.is_public(Address("slack", c.id, TEAM, is_shared=True)) for c in channels)
        )
        assert set(told) == {True, None}
        asked = len(w.calls("conversations.info")) - before
        assert asked == told.count(True) <= 9
        for _ in range(6):  # as links of people do, which wait for nothing
            await w.bot.slack.workspace.api.limiter.turn("conversations.info", "", 0.0)


async def test_a_channel_that_slack_refuses_to_tell_is_private(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        here = Address("slack", w.general.id, TEAM, is_shared=True)
        w.slack.api.faults.add("conversations.info", "channel_not_found", 1)
        assert await w.bot.slack.is_public(here) is False
        assert await w.bot.slack.is_public(here) is True
