"""Python in the sandbox, as people on Discord see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.dialogues.plotting import PLOT, SALES, calls, sandboxed_ponte
from tests.dialogues.whole import Whole
from tests.fakes.discord.people import DiscordPerson
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.openai import FakeOpenAI


def settings(discord: FakeDiscord, allow: str) -> dict[str, Any]:
    return {
        "discord_token": discord.token,
        "discord_api_url": discord.api_url,
        "discord_gateway_url": discord.gateway_url,
        "ponte_allow": allow,
    }


@pytest.fixture
async def ponte(tmp_path: Path, discord: FakeDiscord, fake: FakeOpenAI) -> AsyncIterator[Whole]:
    async with sandboxed_ponte(tmp_path / "home", fake, **settings(discord, "*")) as ponte:
        await discord.wait_until(lambda: discord.rest.commands)
        yield ponte


async def test_a_table_goes_in_and_a_plot_comes_back(
    ponte: Whole, discord: FakeDiscord, fake: FakeOpenAI
) -> None:
    bo = DiscordPerson(discord, discord.world.user("Bo"))
    fake.say(calls(PLOT), "Sales went up.")
    await bo.say("plot this by month", files=[("sales.csv", SALES)])
    await bo.wait_for_text("Sales went up.")
    posts = await bo.wait_for_messages(lambda posts: any(post["attachments"] for post in posts))
    names = [file["filename"] for post in posts for file in post["attachments"]]
    assert [name.rpartition(".")[2] for name in names] == ["png", "py"]


async def test_a_code_block_just_runs(ponte: Whole, discord: FakeDiscord) -> None:
    bo = DiscordPerson(discord, discord.world.user("Bo"))
    await bo.say("```python\nprint('@everyone', 6 * 7)\n```")
    post = await bo.wait_for_text("42")
    assert post["content"] == "```\n@everyone 42\n```"


async def test_who_is_not_allowed_runs_nothing(
    tmp_path: Path, discord: FakeDiscord, fake: FakeOpenAI
) -> None:
    async with sandboxed_ponte(tmp_path / "home", fake, **settings(discord, "")):
        await discord.wait_until(lambda: discord.rest.commands)
        bo = DiscordPerson(discord, discord.world.user("Bo"))
        await bo.say("```python\n6 * 7\n```")
        (refused,) = await bo.wait_for_messages(bool)
        assert "42" not in refused["content"]
        assert "You don't have permission to run code here." in refused["content"]
        await bo.say("what is 6 times 7?")
        await fake.wait_until(lambda: bool(fake.request_bodies("/responses")))
        assert "run_python" not in str(fake.request_bodies("/responses")[-1].get("tools"))
