"""The program and the fake Discord, each a process of its own, as an operator would try it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.fakes import forker


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


async def test_ponte_run_with_discord_on(tmp_path: Path) -> None:
    async with running("tests.fakes.discord") as fake, aiohttp.ClientSession() as session:
        settings = dict([(await fake.readline()).decode().strip().split("=", 1) for _ in range(3)])
        control = settings["DISCORD_API_URL"].replace("/api/v10", "/control")
        settings |= {"PONTE_HOME": str(tmp_path), "PONTE_WEB": "off", "PONTE_MODEL_API": "demo"}
        file = tmp_path / "ponte.toml"
        file.write_text("[channels.discord]\nanswer_everything = true\n")
        settings["PONTE_CONFIG"] = str(file)
        async with running("bot", "run", **settings) as bot:
            told = b""
            while b"Ponte is ready" not in told:
                assert not bot.at_eof(), told.decode()
                told += await bot.readline()
            assert (
                b"only sees messages that mention it, because DISCORD_MESSAGE_CONTENT is off"
                in told
            )
            assert b"voice" not in told, "its libraries are nothing that Ponte misses"
            await session.post(f"{control}/dm", json={"person": "Ana", "text": "help"})
            asked = {"person": "Ana", "until": "quick-command"}
            async with session.get(f"{control}/answers", params=asked) as answers:
                (help_,) = await answers.json()
                assert "Ask me anything" in help_
