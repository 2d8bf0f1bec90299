"""Starts and ends `tests.discord.victim`: `kill` is a real SIGKILL."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from tests.fakes import forker
from tests.fakes.discord import FakeDiscord


class Process:
    def __init__(self, discord: FakeDiscord, home: Path) -> None:
        self._discord = discord
        self._home = home
        self._process: forker.Process | None = None

    async def start(self, *more: str) -> None:
        discord = self._discord
        self._process = await forker.start(
            "tests.discord.victim",
            str(self._home),
            discord.token,
            discord.api_url,
            discord.gateway_url,
            *more,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert self._process.stdout
        texts: list[bytes] = []
        async for line in self._process.stdout:
            texts.append(line)
            if line.strip() == b"ready":
                return
        raise AssertionError(b"".join(texts[-40:]).decode())

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
