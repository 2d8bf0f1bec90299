"""Ponte with its embedded engine beside the bare bots, on Slack and on Discord, interleaved:
`python -m benchmarks.embedded [--quick] [--rounds N]`."""

from __future__ import annotations

import argparse
import asyncio

from benchmarks import discord, slack
from benchmarks.rounds import ROUNDS


async def main(quick: bool, rounds: int) -> None:
    """Print both tables."""
    print("Slack")
    await slack.main(quick, rounds)
    print("Discord")
    await discord.main(quick, rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the load")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    asyncio.run(main(asked.quick, asked.rounds))
