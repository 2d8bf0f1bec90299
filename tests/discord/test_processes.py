"""`ponte run` with Discord on, as a process of its own, as an operator would try it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fakes import forker
from tests.fakes.discord import DiscordPerson, FakeDiscord


@asynccontextmanager
async def running(*module: str, **settings: str) -> AsyncIterator[asyncio.StreamReader]:
    """What it prints and logs, line by line; ended by SIGTERM, with which it exits 0."""
    process = await forker.start(
        *module, env={**os.environ, **settings}, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout
    try:
        yield process.stdout
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode == 0


async def test_ponte_run_with_discord_on(
    discord: FakeDiscord, ana: DiscordPerson, tmp_path: Path
) -> None:
    file = tmp_path / "ponte.toml"
    file.write_text("[channels.discord]\nanswer_everything = true\n")
    settings = {
        "DISCORD_TOKEN": discord.token,
        "DISCORD_API_URL": discord.api_url,
        "DISCORD_GATEWAY_URL": discord.gateway_url,
        "PONTE_HOME": str(tmp_path),
        "PONTE_WEB": "off",
        "PONTE_MODEL_API": "demo",
        "PONTE_CONFIG": str(file),
    }
    async with running("bot", "run", **settings) as bot:
        text = b""
        while b"Ponte is ready" not in text:
            assert not bot.at_eof(), text.decode()
            text += await bot.readline()
        words = b"only sees messages that mention it, because DISCORD_MESSAGE_CONTENT is off"
        assert words in text
        assert b"voice" not in text, "its libraries are nothing that Ponte misses"
        await ana.say("help")
        assert "Ask me anything" in (await ana.wait_for_text("quick-command"))["content"]
