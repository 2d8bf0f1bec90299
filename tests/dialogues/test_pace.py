"""A turn that waits for its platform keeps no other turn from its work."""

from __future__ import annotations

import asyncio

import pytest

from core.domain.messages import Address, Person
from core.journal.turn_runner import TurnExecutor
from core.people.policy import Policy, Rights
from tests.contract.engines import runner_of
from tests.dialogues.bot_home import BotHome, RunningBot, also_on_postgres
from tests.fakes.choices import allow_list
from tests.fakes.recorder import Recorder
from tests.time_limits import Limits


def only_one_works(ponte: RunningBot) -> None:
    runner = runner_of(ponte.engine.conversations)
    assert isinstance(runner, TurnExecutor)
    runner.places.total = 1


async def check_other_channel_is_answered(
    ponte: RunningBot, waits: asyncio.Event, release: asyncio.Event
) -> None:
    """Check that C2 is answered while the turn of C1 waits, and C1 after `release`."""
    only_one_works(ponte)
    _, first = await ponte.send("one", "C1")
    await waits.wait()
    assert (await ponte.ask("two", "C2")).text == "You said: two"
    release.set()
    assert (await ponte.wait_for_answer(first)).text == "You said: one"


@also_on_postgres
async def test_an_answer_that_waits_for_its_channels_pace(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, free = asyncio.Event(), asyncio.Event()
    post = Recorder.post

    async def post_slowly(self: Recorder, channel: str, source: str, key: str, text: str) -> str:
        if channel.endswith("C1"):
            waits.set()
            await free.wait()
        return await post(self, channel, source, key, text)

    monkeypatch.setattr(Recorder, "post", post_slowly)
    async with bot_home.open() as ponte:
        await check_other_channel_is_answered(ponte, waits, free)


async def test_a_person_of_whom_the_platform_says_nothing_yet(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    limits(PLATFORM_SECONDS=0.0)
    event, value_event = asyncio.Event(), asyncio.Event()
    rights = Policy.rights

    async def looked_up(self: Policy, person: Person, address: Address) -> Rights:
        if address.channel == "C1":
            event.set()
            await value_event.wait()
        return await rights(self, person, address)

    monkeypatch.setattr(Policy, "rights", looked_up)
    async with bot_home.open(policy=allow_list()) as ponte:
        await check_other_channel_is_answered(ponte, event, value_event)


async def test_a_stop_reaches_a_turn_that_waits_for_its_platform(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    limits(PLATFORM_SECONDS=0.0)
    event = asyncio.Event()
    rights = Policy.rights

    async def looked_up(self: Policy, person: Person, address: Address) -> Rights:
        if not event.is_set():
            event.set()
            await asyncio.Event().wait()
        return await rights(self, person, address)

    monkeypatch.setattr(Policy, "rights", looked_up)
    async with bot_home.open(policy=allow_list()) as ponte:
        only_one_works(ponte)
        _, first = await ponte.send("one", "C1")
        await event.wait()
        assert (await ponte.ask("stop", "C1")).text == "Stopped."
        assert (await ponte.wait_for_answer(first)).status == "stopped"
        assert (await ponte.ask("two", "C1")).text == "You said: two"
