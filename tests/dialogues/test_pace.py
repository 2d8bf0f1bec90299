"""A turn that waits for its platform keeps no other turn from its work."""

from __future__ import annotations

import asyncio

import pytest

from core.conversation import manager
from core.domain.messages import Address, Person
from core.rights.policy import AccessPolicy, Rights
from core.store.turn_runner import TurnExecutor
from tests.dialogues.stage import BotHome, RunningBot
from tests.fakes.choices import allow_list
from tests.fakes.recorder import Recorder


def only_one_works(stage: RunningBot) -> None:
    runner = stage.engine.records.inbox._runner
    assert isinstance(runner, TurnExecutor)
    runner.places.total = 1


async def check_other_channel_is_answered(
    stage: RunningBot, waits: asyncio.Event, release: asyncio.Event
) -> None:
    """Check that C2 is answered while the turn of C1 waits, and C1 after `release`."""
    only_one_works(stage)
    _, first = await stage.send("one", "C1")
    await waits.wait()
    assert (await stage.ask("two", "C2")).text == "You said: two"
    release.set()
    assert (await stage.wait_for_answer(first)).text == "You said: one"


async def test_an_answer_that_waits_for_its_channels_pace(
    theatre: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, free = asyncio.Event(), asyncio.Event()
    post = Recorder.post

    async def post_slowly(self: Recorder, channel: str, source: str, key: str, text: str) -> str:
        if channel.endswith("C1"):
            waits.set()
            await free.wait()
        return await post(self, channel, source, key, text)

    monkeypatch.setattr(Recorder, "post", post_slowly)
    async with theatre.open() as stage:
        await check_other_channel_is_answered(stage, waits, free)


async def test_a_person_of_whom_the_platform_says_nothing_yet(
    theatre: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "PLATFORM_SECONDS", 0.0)
    asked, known = asyncio.Event(), asyncio.Event()
    rights = AccessPolicy.rights

    async def looked_up(self: AccessPolicy, person: Person, address: Address) -> Rights:
        if address.channel == "C1":
            asked.set()
            await known.wait()
        return await rights(self, person, address)

    monkeypatch.setattr(AccessPolicy, "rights", looked_up)
    async with theatre.open(policy=allow_list()) as stage:
        await check_other_channel_is_answered(stage, asked, known)


async def test_a_stop_reaches_a_turn_that_waits_for_its_platform(
    theatre: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "PLATFORM_SECONDS", 0.0)
    asked = asyncio.Event()
    rights = AccessPolicy.rights

    async def looked_up(self: AccessPolicy, person: Person, address: Address) -> Rights:
        if not asked.is_set():
            asked.set()
            await asyncio.Event().wait()
        return await rights(self, person, address)

    monkeypatch.setattr(AccessPolicy, "rights", looked_up)
    async with theatre.open(policy=allow_list()) as stage:
        only_one_works(stage)
        _, first = await stage.send("one", "C1")
        await asked.wait()
        assert (await stage.ask("stop", "C1")).text == "Stopped."
        assert (await stage.wait_for_answer(first)).status == "stopped"
        assert (await stage.ask("two", "C1")).text == "You said: two"
