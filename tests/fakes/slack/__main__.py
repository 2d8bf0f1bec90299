"""`python -m tests.fakes.slack [--port N]` prints one JSON line: where it is, and its tokens."""

from __future__ import annotations

import argparse
import asyncio
import json

from .server import FakeSlack


async def main(port: int) -> None:
    async with FakeSlack(port) as slack:
        print(json.dumps(slack.settings), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(main(parser.parse_args().port))
