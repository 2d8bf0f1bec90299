"""`python -m tests.fakes.stackspot --port N`: the fake as a process; prints its origin."""

from __future__ import annotations

import argparse
import asyncio

from tests.fakes.stackspot.server import FakeStackSpot


async def main(port: int) -> None:
    fake = FakeStackSpot()
    await fake.start(port)
    print(fake.url, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(main(parser.parse_args().port))
