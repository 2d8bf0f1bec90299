"""The fake Discord as a process: `python -m tests.fakes.discord [--port N]`.

Prints the three settings that point a bot at it.
"""

from __future__ import annotations

import argparse
import asyncio

from tests.fakes.discord.server import FakeDiscord


async def main(port: int) -> None:
    async with FakeDiscord(port=port) as discord:
        print(
            *(f"{name}={value}" for name, value in discord.settings.items()), sep="\n", flush=True
        )
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(main(parser.parse_args().port))
