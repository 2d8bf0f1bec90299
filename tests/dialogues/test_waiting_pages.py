"""Pages that name what a chat platform knows, while the platform answers nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from core.domain.messages import Address, Person, ReplyTo
from core.schedules.schedule import ScheduleDraft, ScheduleRule
from tests.dialogues.test_code_slack import slack_settings
from tests.dialogues.whole import whole
from tests.fakes.openai import FakeOpenAI
from tests.fakes.schedules import put_schedule
from tests.fakes.slack import FakeSlack
from tests.fakes.slack.records import TEAM
from tests.fakes.timeouts import HANG_TIMEOUT_SECONDS

pytestmark = pytest.mark.slow


async def test_the_operators_page_does_not_wait_for_slack(tmp_path: Path, fake: FakeOpenAI) -> None:
    """It shows what is known. Slack is asked once for a channel, however many lines name it, then
    at most once a minute."""
    async with FakeSlack() as slack, whole(tmp_path, fake, **slack_settings(slack)) as ponte:
        await slack.deliveries.wait_until_connected()
        alice = slack.person("Alice")
        general = slack.channel("general", alice)
        to = ReplyTo(
            Address("slack", general.id, TEAM, is_shared=True),
            Person("slack", alice.id, TEAM, "Alice"),
            "1.0  message",
            "",
        )
        draft = ScheduleDraft("post", "Stand-up", ScheduleRule("0 9 * * 1"), "UTC")
        for _ in range(15):
            await put_schedule(ponte.app.engine.schedules.store, to, draft)
        fake.say("It is 42.")
        await slack.wait_for_answer(slack.say(alice, general, f"{slack.bot} why?"))

        async def read_all() -> str:
            tabs = ("schedules", "audit", "usage", "feedback", "")
            return "".join([(await ponte.web.get(f"/admin/{tab}")).text for tab in tabs])

        before = slack.api.calls["conversations.info"]
        gate = slack.api.close("conversations.info")
        assert "#general" not in await read_all() + await read_all()
        await slack.wait_until(lambda: slack.api.waiting["conversations.info"])
        gate.release()
        async with asyncio.timeout(HANG_TIMEOUT_SECONDS):
            while "#general" not in await read_all():
                pass
        gate = slack.api.close("conversations.info")
        assert "#general" in await read_all(), "a name that is known stays"
        gate.release()
        assert slack.api.calls["conversations.info"] - before in (1, 2)
