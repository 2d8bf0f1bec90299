"""The whole program as its operator starts it: `ponte run` with every platform on."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.slack.setup import SCOPE_PURPOSES
from core.base.http import HttpClient
from tests.fakes import forker
from tests.fakes.bridge import FakeBridge
from tests.fakes.discord.people import DiscordPerson
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.slack import FakeSlack

ROOT = Path(__file__).parents[2]


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if "PROXY" not in name.upper()}


@asynccontextmanager
async def ponte(settings: Mapping[str, str]) -> AsyncIterator[tuple[int, list[str]]]:
    """Its process id and what it said until it was ready; it must drain and exit 0."""
    process = await forker.start("bot", "run", env={**clean_environment(), **settings})
    assert process.stdout
    lines: list[str] = []
    async for line in process.stdout:
        lines.append(line.decode().strip())
        if "ready" in lines[-1]:
            break
    try:
        yield process.pid, lines
    finally:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


def bearer_of(home: Path) -> dict[str, str]:
    """What opens the page of a process that made its token itself."""
    return {"Authorization": f"Bearer {(home / 'web-token').read_text().strip()}"}


async def test_people_on_every_platform_are_answered_by_one_process(tmp_path: Path) -> None:
    async with FakeSlack() as slack, FakeDiscord() as discord, FakeBridge() as bridge:
        settings = {
            "PONTE_HOME": str(tmp_path / "home"),
            "PONTE_WEB_PORT": "0",
            **slack.settings,
            **discord.settings,
            "NOCODB_URL": bridge.url,
        }
        async with ponte(settings) as (_, lines), HttpClient() as http:
            page = lines[-1].split()[-1]
            assert any("Slack members have no daily message limit" in line for line in lines)
            ana = slack.person("Ana")
            message = slack.say(ana, slack.channel("general", ana), f"{slack.bot} list tables")
            bo = DiscordPerson(discord, discord.world.user("Bo"))
            await bo.say("list tables")
            bearer = bearer_of(tmp_path / "home")
            listing = {"message": "list tables"}
            web = await http.post_json(f"{page}/chat", listing, headers=bearer)
            assert "Customers" in web["response"]
            answer = await slack.wait_for_answer(message)
            refusal = (await bo.wait_for_messages(bool))[0]
    assert "Customers" in answer.visible_text
    assert "Customers" not in refusal["content"], "on Discord tables need PONTE_ALLOW"


async def test_doctor_asks_every_platform(tmp_path: Path) -> None:
    async with FakeSlack() as slack, FakeDiscord() as discord:
        settings = {"PONTE_HOME": str(tmp_path / "home"), **slack.settings, **discord.settings}
        code, text = await doctor(settings)
        assert code == 1
        assert re.search(r"FAIL  slack scope: Missing scopes: .*chat:write \(answer\)", text)
        slack.api.scopes = list(SCOPE_PURPOSES)
        code, text = await doctor(settings)
        assert code == 0, text
        assert "ok    slack token" in text
        assert "ok    discord token" in text
        assert "permissions=" in text, "the invitation"
        code, text = await doctor(settings | {"DISCORD_TOKEN": "not.the.token"})
    assert code == 1
    assert "FAIL  discord token" in text
    assert "not.the.token" not in text


async def doctor(settings: Mapping[str, str]) -> tuple[int, str]:
    process = await forker.start("bot", "doctor", env={**clean_environment(), **settings})
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()
