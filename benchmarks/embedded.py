"""Ponte with its embedded engine beside the bare bots, on Slack and on Discord, interleaved:
`python -m benchmarks.embedded [--quick] [--rounds N]`."""

from __future__ import annotations

import asyncio

from benchmarks import discord, slack
from benchmarks.rounds import parser_of_rounds


async def main(quick: bool, rounds: int) -> None:
    """Print both tables."""
    print("Slack")
    await slack.main(quick, rounds)
    print("Discord")
    await discord.main(quick, rounds)


if __name__ == "__main__":
    asked = parser_of_rounds(__doc__).parse_args()
    asyncio.run(main(asked.quick, asked.rounds))
