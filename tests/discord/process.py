"""Starts and ends `tests.discord.victim`: `kill` is a real SIGKILL."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from tests.fakes.discord import FakeDiscord

ROOT = Path(__file__).parents[2]


class Process:
    def __init__(self, discord: FakeDiscord, home: Path) -> None:
        self._discord = discord
        self._home = home
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *more: str) -> None:
        discord = self._discord
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.discord.victim", str(self._home), discord.token,
            discord.api_url, discord.gateway_url, *more,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=ROOT,
        )  # fmt: skip
        assert self._process.stdout
        told: list[bytes] = []
        async for line in self._process.stdout:
            told.append(line)
            if line.strip() == b"ready":
                return
        raise AssertionError(b"".join(told[-40:]).decode())

    async def kill(self) -> None:
        await self.end(signal.SIGKILL)

    async def end(self, by: signal.Signals) -> int:
        process = self._process
        assert process is not None
        if process.returncode is None:
            process.send_signal(by)
        await process.communicate()
        assert process.returncode is not None
        return process.returncode
