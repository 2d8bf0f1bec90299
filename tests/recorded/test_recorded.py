"""A home that an earlier process left, and the buttons that already stand in channels, go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import time_machine

from tests.fakes.discord.world import Payload
from tests.fakes.slack import Post
from tests.recorded.house import NUMBERED, House, Json, house, new_numbers, put, read

SCHEMA = 3


@pytest.fixture(scope="session")
def record() -> Json:
    return read(SCHEMA)


@pytest.fixture(autouse=True)
def then(record: Json) -> Iterator[None]:
    """Twenty seconds after the power cut; the doubles give ids that nothing recorded has."""
    with time_machine.travel(datetime.fromtimestamp(record["at"] + 20, UTC)), pytest.MonkeyPatch.context() as patch:
        for name in NUMBERED:
            patch.setattr(name, new_numbers())
        yield


@pytest.fixture
async def here(record: Json, then: None, tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path / "home") as made:
        put(record, made)
        async with made.open():
            yield made


def post(here: House, record: Json, name: str) -> Post:
    channel, ts = record["names"][f"slack {name}"]
    return here.slack.workspace.posts[channel, ts]


def message(here: House, record: Json, name: str) -> Payload:
    channel, id = record["names"][f"discord {name}"]
    return here.discord.world.channels[int(channel)].messages[int(id)]


async def test_what_was_under_way_ends(here: House, record: Json) -> None:
    for name in ("hanging", "queued"):
        said = post(here, record, name)
        answer = await here.slack.answer(said)
        print(name, answer.shown)


async def test_a_card_on_slack_is_approved(here: House, record: Json) -> None:
    card = post(here, record, "approve")
    here.slack.click(here.person("Alice"), card, "Approve")
    await here.slack.until(lambda: "Approved by Alice. Done." in card.shown)
    assert here.team.rows("Orders")[11]["Amount"] == 1011
    assert list(card.buttons) == ["Undo"]
