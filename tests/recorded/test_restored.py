"""A recorded home, backed up and put back: nothing that stands in the channels comes again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import time_machine

from bot.config.ponte_toml import Config
from bot.features.backup.backup import backup, restore
from bot.home import Home, Start
from bot.settings import Settings
from core.base.errors import RESTORED_REASON, Restored
from tests.fakes.slack.records import BOT_USER
from tests.recorded.record import HANGS
from tests.recorded.recorded_ponte import (
    NUMBERED,
    Json,
    RecordedPonte,
    new_numbers,
    open_recorded_ponte,
    put,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def record(recorded_today: Json) -> Iterator[Json]:
    """An hour after the power cut."""
    match = recorded_today
    with (
        time_machine.travel(datetime.fromtimestamp(match["at"] + 3600, UTC)),
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in NUMBERED:
            patch.setattr(name, new_numbers())
        yield match


@pytest.fixture
async def here(record: Json, tmp_path: Path) -> AsyncIterator[RecordedPonte]:
    async with open_recorded_ponte(tmp_path / "home") as recorded_ponte:
        put(record, recorded_ponte)
        home = Home(recorded_ponte.team.home)
        start = Start(Settings(ponte_home=home.path), Config(), home)
        file = str(tmp_path / "kept.tar.gz")
        await asyncio.to_thread(backup, start, file)
        await asyncio.to_thread(restore, start, file, replace=True, resume=False)
        yield recorded_ponte


def _stands(here: RecordedPonte) -> list[str]:
    """All that the bot has said anywhere."""
    world, me = here.discord.world, here.discord.world.me.id
    slack = here.slack.workspace.posts.values()
    return sorted(
        [f"{p.channel} {p.ts} {p.text}" for p in slack if p.user == BOT_USER]
        + [
            json.dumps([m["id"], m["content"]])
            for c in world.channels
            for m in world.messages_by(me, c)
        ]
    )


async def test_it_goes_on_and_says_nothing_twice(here: RecordedPonte, record: Json) -> None:
    before = _stands(here)
    writes = len(here.team.writes())
    slack, alice = here.slack, here.person("Alice")
    async with here.open():
        assert not {"new", "running", "answered", "posting"} & here.states("inbox")
        message = slack.say(alice, here.direct, "Anybody there?")
        await slack.wait_until(
            lambda: any("Anybody there?" in p.visible_text for p in slack.finished_answers(message))
        )
        (answer,) = slack.finished_answers(message)
        assert str(Restored()) in answer.visible_text, "what streamed there is told of, once"
        again = slack.say(alice, here.direct, "And now?")
        await slack.wait_until(
            lambda: any("And now?" in p.visible_text for p in slack.finished_answers(again))
        )
        assert str(Restored()) not in slack.finished_answers(again)[0].visible_text
        channel, ts = record["names"]["slack approve"]
        card = slack.workspace.posts[channel, ts]
        slack.click(alice, card, "Approve")
        await slack.wait_until(lambda: "Withdrawn" in card.visible_text)
        other = (await here.page.get("/conversations/other")).json()["messages"]
        assert [one["text"] for one in other] == [f"{HANGS}, page", str(Restored())]
    assert len(here.team.writes()) == writes, "nothing was written by what was approved then"
    new = set(_stands(here)) - set(before)
    assert len([one for one in new if "Anybody" in one or "And now" in one]) == 2
    assert here.rows(f"SELECT count(*) FROM inbox WHERE reason = '{RESTORED_REASON}'") > [(5,)]
    assert here.slack.workspace.pings == []
