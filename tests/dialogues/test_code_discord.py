"""Python in the sandbox, as people on Discord see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dialogues.plotting import PLOT, SALES, calls, sandboxed_ponte
from tests.fakes.discord.people import DiscordPerson
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.openai import FakeOpenAI

pytestmark = pytest.mark.slow


async def test_a_plot_comes_back(tmp_path: Path, discord: FakeDiscord, fake: FakeOpenAI) -> None:
    """A code block just runs. Who is not allowed runs nothing."""
    bo, eve = (DiscordPerson(discord, discord.world.user(name)) for name in ("Bo", "Eve"))
    settings = {
        "discord_token": discord.token,
        "discord_api_url": discord.api_url,
        "discord_gateway_url": discord.gateway_url,
        "ponte_allow": f"discord:{bo.id}",
    }
    async with sandboxed_ponte(tmp_path / "home", fake, **settings):
        await discord.wait_until(lambda: discord.rest.commands)
        fake.say(calls(PLOT), "Sales went up.")
        await bo.say("plot this by month", files=[("sales.csv", SALES)])
        await bo.wait_for_text("Sales went up.")
        posts = await bo.wait_for_messages(lambda posts: any(p["attachments"] for p in posts))
        names = [file["filename"] for post in posts for file in post["attachments"]]
        assert [name.rpartition(".")[2] for name in names] == ["png"]
        await bo.say("```python\nprint('@everyone', 6 * 7)\n```")
        post = await bo.wait_for_text("42")
        assert post["content"] == "```\n@everyone 42\n```"
        await eve.say("```python\n6 * 7\n```")
        (message,) = await eve.wait_for_messages(bool)
        assert "42" not in message["content"]
        assert "You don't have permission to run code here." in message["content"]
        requests = len(fake.request_bodies("/responses"))
        await eve.say("what is 6 times 7?")
        await fake.wait_until(lambda: len(fake.request_bodies("/responses")) > requests)
        assert "run_python" not in str(fake.request_bodies("/responses")[-1].get("tools"))
