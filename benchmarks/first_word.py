"""How soon a model's first word shows on the page and in the terminal: `python -m
benchmarks.first_word`.

Milliseconds from the model's first piece of text, as its double writes it, until it is read where
the page listens (its event stream) and off a terminal (`ponte chat` on a pty). One turn after the
other; the model's double stands in this process, so both ends are seen by one clock.
"""

from __future__ import annotations

import asyncio
import os
import pty
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.rounds import PONTE, environment, running_page
from tests.fakes.openai import FakeOpenAI, Script

TURNS = 100
AIM = 15.0
"""Milliseconds, of which p95 may not be more."""
NO_DAILY_CAP = {"PONTE_DAILY_TURNS": "0/0"}
WORDS = "lorem ipsum dolor sit amet " * 8


class Watched(FakeOpenAI):
    """Knows when it wrote the first word of its last answer."""

    spoke = 0.0

    def emit(self, kind: str, event: dict[str, Any]) -> dict[str, Any]:
        if event.get("type") == "response.created":
            self.spoke = 0.0
        elif event.get("type") == "response.output_text.delta" and not self.spoke:
            self.spoke = time.monotonic()
        return super().emit(kind, event)


async def page(model: Watched, home: str, address: str) -> Sequence[float]:
    token = (Path(home) / "web-token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    took = []
    async with (
        aiohttp.ClientSession(address, headers=headers) as web,
        web.get("/conversations/main/events") as events,
    ):
        for number in range(TURNS):
            body = {"message": f"tell {number}"}
            async with web.post("/chat", json=body, headers={"Prefer": "respond-async"}) as asked:
                assert asked.status == 202
            shown = 0.0
            async for line in events.content:
                if line.startswith(b"event: delta") and not shown:
                    shown = time.monotonic()
                elif line.startswith(b"event: done"):
                    break
            took.append((shown - model.spoke) * 1000)
    return took


async def terminal(model: Watched, home: str) -> Sequence[float]:
    ours, theirs = pty.openpty()
    chat = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        PONTE,
        "chat",
        env=environment(home, model.base_url),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    loop = asyncio.get_running_loop()
    read: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    loop.add_reader(ours, lambda: read.put_nowait((time.monotonic(), os.read(ours, 65536))))
    took = []
    try:
        await asyncio.wait_for(read.get(), 30)
        for number in range(TURNS // 2):
            os.write(ours, f"tell {number}\r".encode())
            seen = b""
            while b"lorem" not in seen:
                at, data = await asyncio.wait_for(read.get(), 30)
                seen += data
            took.append((at - model.spoke) * 1000)
            while seen.count(b"amet") < WORDS.count("amet"):
                seen += (await asyncio.wait_for(read.get(), 30))[1]
            await asyncio.sleep(0.2)  # until it asks for the next line
    finally:
        loop.remove_reader(ours)
        chat.terminate()
        await chat.wait()
    return took


async def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        model = Watched()
        async with model, running_page(home, model.base_url, NO_DAILY_CAP) as address:
            model.say(Script(text=WORDS, times=0, piece=20, seconds=0.3))
            for where, took in (
                ("page", await page(model, home, address)),
                ("terminal", await terminal(model, home)),
            ):
                p50, p95 = statistics.median(took), statistics.quantiles(took, n=20)[18]
                print(f"first word, {where:9} {p50:6.1f} ms p50 {p95:6.1f} ms p95   ≤ {AIM:.0f}")


if __name__ == "__main__":
    asyncio.run(main())
