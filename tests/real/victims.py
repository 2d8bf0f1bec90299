"""A bot in a process of its own, killed and started again, and the people who write to it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import aiohttp

from core.domain.messages import Answer, Message, decode_json, encode_json
from tests.fakes import forker

ROOT = Path(__file__).parents[2]


class Victim:
    """Started with `start`; `kill` is a real SIGKILL. `url` changes with each start."""

    def __init__(
        self, home: Path, platform: str, bridge: str = "", within: Sequence[str] = ()
    ) -> None:
        self.home = home
        self._within = within
        self.arguments = [str(home), platform, *(["--bridge", bridge] if bridge else [])]
        self._process: asyncio.subprocess.Process | forker.Process | None = None
        self.url = ""

    async def start(self, *more: str) -> None:
        module, arguments = "tests.fakes.victim", [*self.arguments, *more]
        if self._within:
            self._process = await asyncio.create_subprocess_exec(
                *self._within,
                sys.executable,
                "-m",
                module,
                *arguments,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                cwd=ROOT,
            )
        else:
            self._process = await forker.start(module, *arguments)
        assert self._process.stdout
        async for line in self._process.stdout:
            if line.startswith(b"http://"):
                self.url = line.decode().strip()
                return
        raise AssertionError("the bot did not start")

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def terminate(self) -> int:
        return await self._end(signal.SIGTERM)

    async def wait_for_exit(self) -> None:
        assert self._process
        await self._process.wait()

    async def _end(self, by: signal.Signals) -> int:
        assert self._process
        if self._process.returncode is None:
            with suppress(ProcessLookupError):  # it has died by itself
                os.kill(self._process.pid, by)
        return await self._process.wait()


class People:
    """They write, and the platform redelivers what was not acknowledged, as Slack does."""

    def __init__(self, victim: Victim, session: aiohttp.ClientSession) -> None:
        self.victim = victim
        self._session = session

    async def say(self, message: Message) -> None:
        """Deliver until acknowledged."""
        async for _ in turns_of_the_loop():
            if await self.deliver(message):
                return

    async def deliver(self, message: Message) -> bool:
        """Deliver once; whether it was acknowledged."""
        try:
            async with self._session.post(
                f"{self.victim.url}/events", data=encode_json(message)
            ) as ack:
                return ack.status == 200
        except (aiohttp.ClientError, OSError):
            return False

    async def answer(self, message: Message) -> Answer:
        """Deliver it once more, and wait for its first answer."""
        async with self._session.post(
            f"{self.victim.url}/answers", data=encode_json(message)
        ) as reply:
            assert reply.status == 200, await reply.text()
            return decode_json(Answer, await reply.read())

    async def ask(self, message: Message) -> Answer:
        await self.say(message)
        return await self.answer(message)

    async def answers(self, messages: Iterable[Message]) -> list[Answer]:
        return await asyncio.gather(*(self.answer(message) for message in messages))


async def turns_of_the_loop() -> AsyncIterator[None]:
    while True:
        yield
        await asyncio.sleep(0)
