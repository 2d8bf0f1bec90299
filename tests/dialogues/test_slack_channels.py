"""In a channel: mention it, and it answers in the thread."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.slack import FakeSlack
from tests.slack.bot import running
from tests.slack.conftest import slack as slack


async def test_a_mention_is_answered_in_its_thread(slack: FakeSlack, tmp_path: Path) -> None:
    alice = slack.person("Alice")
    general = slack.channel("general", alice)
    async with running(slack, tmp_path):
        said = slack.say(alice, general, f"{slack.bot} how are you?")
        answer = await slack.answer(said)
        assert answer.thread_ts == said.ts
        assert answer.shown == "You said: how are you?"
        await slack.deliveries.settled()
    assert all(delivery.attempts == 1 for delivery in slack.deliveries.all)
    assert len(slack.answers(said)) == 1
