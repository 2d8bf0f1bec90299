"""`python -m tests.fakes.openai --port N`: the fake as a process; prints its base URL."""

from __future__ import annotations

import argparse
import asyncio

from tests.fakes.openai.server import FakeOpenAI


async def main(port: int, seconds: float) -> None:
    fake = FakeOpenAI(keep=False)
    await fake.start(port)
    if seconds:
        from tests.fakes.openai.script import Script

        fake.say(Script(text="word " * 20, piece=10, seconds=seconds, times=0))
    print(fake.base_url, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0, help="how long each answer takes")
    told = parser.parse_args()
    asyncio.run(main(told.port, told.seconds))
