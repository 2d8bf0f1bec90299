from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.fakes.bridge import FakeBridge
from tests.fakes.recorder import Recorder
from tests.fakes.recorder_server import Gate, serve
from tests.real.victims import People, Victim


@dataclass
class ToolContext:
    """The platform and the bridge outlive the bot that stands between them."""

    recorder: Recorder
    bridge: FakeBridge
    victim: Victim
    people: People
    gate: list[Gate]


@pytest.fixture
async def ctx(tmp_path: Path) -> AsyncIterator[ToolContext]:
    recorder, gates = Recorder(), list[Gate]()

    async def gate(turn: str, number: int) -> None:
        for each in gates:
            await each(turn, number)

    timeout = aiohttp.ClientTimeout(total=60)
    async with (
        FakeBridge() as bridge,
        serve(recorder, gate) as platform,
        aiohttp.ClientSession(timeout=timeout) as session,
    ):
        victim = Victim(tmp_path / "home", platform, bridge.url)
        yield ToolContext(recorder, bridge, victim, People(victim, session), gates)
        await victim.kill()
