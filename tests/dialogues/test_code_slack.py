"""Python in the sandbox, as people in Slack see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dialogues.plotting import PLOT, PNG, SALES, calls, sandboxed_ponte
from tests.fakes.openai import FakeOpenAI
from tests.fakes.slack import FakeSlack

pytestmark = pytest.mark.slow

CSV = ("sales.csv", "text/csv", SALES)


def slack_settings(slack: FakeSlack) -> dict[str, str]:
    return {
        "slack_bot_token": slack.bot_token,
        "slack_app_token": slack.app_token,
        "slack_api_url": slack.base_url,
    }


def files_in(slack: FakeSlack, channel: str, thread: str) -> list[tuple[str, bytes]]:
    posts = slack.workspace.by_bot(channel, thread)
    return [(file.name, file.data) for post in posts for file in post.files]


async def test_a_plot_of_a_table_comes_into_the_thread(tmp_path: Path, fake: FakeOpenAI) -> None:
    """In a direct message a code block just runs, and what code prints mentions nobody."""
    async with (
        FakeSlack() as slack,
        sandboxed_ponte(tmp_path / "home", fake, **slack_settings(slack)),
    ):
        await slack.deliveries.wait_until_connected()
        alice = slack.person("Alice")
        general, dm = slack.channel("general", alice), slack.dm(alice)
        fake.say(calls(PLOT), "Sales went up.")
        message = slack.say(alice, general, f"{slack.bot} plot this by month", files=[CSV])
        assert "Sales went up." in (await slack.wait_for_answer(message)).visible_text
        await slack.wait_until(lambda: files_in(slack, general.id, message.ts))
        ((name, plot),) = files_in(slack, general.id, message.ts)
        assert (name.endswith(".png"), plot.startswith(PNG)) == (True, True)
        message = slack.say(alice, dm, "```python\nx = 6\nx * 7\n```")
        assert "42" in (await slack.wait_for_answer(message)).visible_text
        fake.say(calls("x + 1"), "Seven.")
        message = slack.say(alice, dm, "and one more?")
        assert "Seven." in (await slack.wait_for_answer(message)).visible_text
        assert "'output': '7'" in str(fake.request_bodies("/responses")[-1]["input"])
        message = slack.say(alice, dm, f"```python\nprint('<!channel> <@{alice.id}> @here')\n```")
        await slack.wait_for_answer(message)
        assert (slack.workspace.pings, slack.workspace.complaints) == ([], [])
