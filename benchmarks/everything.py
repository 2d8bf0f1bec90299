"""A Ponte with Slack, Discord and its page, beside one process that holds both bare bots: seconds
until both platforms have it connected, and its idle memory. `python -m benchmarks.everything`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping

from benchmarks import process
from benchmarks.model import fake
from benchmarks.rounds import PONTE, ROUNDS, compare_bots, environment
from tests.fakes.discord import FakeDiscord
from tests.fakes.slack import APP_TOKEN, BOT_TOKEN, FakeSlack

AIMS = {"ready_s": 1.5, "idle_mib": 1.3}
BARE = "benchmarks.both_bare"


async def measure(module: str) -> Mapping[str, float]:
    async with fake(0.0) as model, FakeDiscord() as discord, FakeSlack() as slack:
        where = [
            slack.base_url,
            BOT_TOKEN,
            APP_TOKEN,
            discord.token,
            discord.api_url,
            discord.gateway_url,
            model,
        ]
        with tempfile.TemporaryDirectory() as home:
            told = environment(
                home,
                model,
                SLACK_API_URL=slack.base_url,
                SLACK_BOT_TOKEN=BOT_TOKEN,
                SLACK_APP_TOKEN=APP_TOKEN,
                DISCORD_TOKEN=discord.token,
                DISCORD_API_URL=discord.api_url,
                DISCORD_GATEWAY_URL=discord.gateway_url,
            )
            began = time.monotonic()
            bot = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                *(["run"] if module == PONTE else where),
                env={**told, "PONTE_WEB": "on", "PONTE_WEB_PORT": "0"},
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                await asyncio.wait_for(slack.deliveries.wait_until_connected(), 30)
                await discord.wait_until(lambda: discord.gateway.is_connected, 30)
                ready = time.monotonic() - began
                await asyncio.sleep(1)
                return {"ready_s": ready, "idle_mib": process.resident(bot.pid) / 2**20}
            finally:
                bot.terminate()
                await bot.wait()


async def main(rounds: int = ROUNDS) -> bool:
    return await compare_bots(measure, AIMS, rounds, BARE)


if __name__ == "__main__":
    asyncio.run(main())
