"""One process that holds both bare bots, which a Ponte with Slack, Discord and page is measured
against."""

from __future__ import annotations

import asyncio
import sys

from benchmarks import discord_bare, slack_bare


async def main(*told: str) -> None:
    """Slack's address and two tokens, Discord's token and two addresses, the model's address."""
    model = told[6]
    await asyncio.gather(
        slack_bare.main(told[0], told[1], told[2], model),
        discord_bare.main(discord_bare.Bare, told[3], told[4], told[5], model),
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:8]))
