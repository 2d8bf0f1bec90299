"""An approved quick command while it runs: it can be left, and it shows how far it is."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from bot.config.ponte_toml import Config
from core.base.errors import NotStored
from core.domain.messages import Answer, Message, Person
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import BOSS, MEMBER, RIGHTS, STRANGER, on_slack, says
from tests.dialogues.stackspot import Bot, asks
from tests.fakes.choices import make_message
from tests.fakes.models import EchoModel
from tests.fakes.stackspot import FakeStackSpot, Trouble

LEFT = "I stopped waiting because you asked me to. The operation had started and may still finish."


@pytest.fixture
async def bot(bot_home: BotHome) -> AsyncIterator[Bot]:
    async with FakeStackSpot() as fake:
        fake.held = True
        yield Bot(bot_home, fake)
        assert fake.refused == []


async def approve_run(ponte: RunningBot, bot: Bot, input: str = "it", begun: int = 1) -> int:
    """The seq of the approval whose run is waited for now."""
    (card,) = (await ponte.ask(asks("translate-all", input))).cards
    _, receipt = await ponte.send(f"approve {card.id}")
    await bot.stackspot.wait_for_requests("status", bot.stackspot.count("status") + 2)
    assert bot.stackspot.count("create") == begun
    return receipt.seq


def in_the_thread(text: str, key: str, person: Person) -> Message:
    """Said where the member's proposal stands."""
    message = on_slack(text, key, person)
    return replace(message, address=replace(message.address, thread=f"t{MEMBER.id}"))


async def waits(ponte: RunningBot, seq: int, beside: int = 1) -> None:
    """Wait until that approval waits for its run, while `beside` others are under way."""
    changes, where = ponte.engine.changes, make_message("", "").address.conversation
    for _ in itertools.count():
        is_claimed = seq in await changes.ledger.list_events_awaiting_change(where, ["run"])
        if is_claimed and len(changes.lifecycle.runner._flights) > beside:
            return
        await asyncio.sleep(0)


async def answer(ponte: RunningBot, seq: int) -> Answer:
    return await ponte.engine.conversations.inbox.wait_for_answer(seq)


async def test_stop_ends_the_waiting_and_not_the_run(bot: Bot) -> None:
    model = EchoModel()
    async with bot.open(model) as ponte:
        seq = await approve_run(ponte, bot)
        assert (await ponte.ask("stop")).text == "Stopped."
        assert (await answer(ponte, seq)).text == (
            f"Approved by Ana. The result is unknown. Check the data before you ask again. {LEFT}"
        )
        assert (await ponte.ask("stop")).text == "Nothing is running here."
        (card,) = await ponte.engine.changes.views.find_latest("")
        assert card.state == "partial"
        await ponte.ask("well?")
    notes = [item.text for item in model.asks[-1].input if item.name == "note"]
    assert LEFT in notes[0]
    assert bot.stackspot.count("create") == 1


async def test_the_stop_of_a_surface_leaves_it_too(bot: Bot) -> None:
    async with bot.open() as ponte:
        seq = await approve_run(ponte, bot)
        assert await ponte.engine.conversations.inbox.cancel(seq)
        last_answer = await answer(ponte, seq)
        assert (last_answer.status, LEFT in last_answer.text) == ("done", True), last_answer.text


async def test_each_stop_leaves_the_latest(bot: Bot) -> None:
    async with bot.open() as ponte:
        first = await approve_run(ponte, bot, "one")
        (other,) = (await ponte.ask(asks("close-month", "two"))).cards
        _, second = await ponte.send(f"approve {other.id}")
        await bot.stackspot.wait_for_requests("create", 2)
        for seq in (second.seq, first):
            assert (await ponte.ask("stop")).text == "Stopped."
            assert LEFT in (await answer(ponte, seq)).text


async def test_one_that_waits_for_its_turn_is_not_begun(bot: Bot) -> None:
    async with bot.open() as ponte:
        first = await approve_run(ponte, bot, "one")
        (card,) = (await ponte.ask(asks("translate-all", "two"))).cards
        _, second = await ponte.send(f"approve {card.id}")
        await waits(ponte, second.seq)
        await ponte.ask("stop")
        await ponte.ask("stop")
        assert LEFT in (await answer(ponte, first)).text
        text = (await answer(ponte, second.seq)).text
        assert text == ("Approved by Ana. No result. The operation was stopped before it started.")
    assert bot.stackspot.count("create") == 1


async def test_one_that_is_being_begun_is_named_first(bot: Bot) -> None:
    bot.stackspot.fail("create", Trouble("hang"))
    async with bot.open() as ponte:
        (card,) = (await ponte.ask(asks("translate-all"))).cards
        _, receipt = await ponte.send(f"approve {card.id}")
        await bot.stackspot.wait_for_requests("create")
        await ponte.ask("stop")
        bot.stackspot.release.set()
        assert LEFT in (await answer(ponte, receipt.seq)).text


async def test_only_who_approved_it_or_an_admin_stops_it(bot: Bot) -> None:
    async with bot.open(policy=RIGHTS) as ponte:
        (card,) = (await says(ponte, asks("translate-all"), "k1", MEMBER)).cards
        receipt = await ponte.engine.conversations.inbox.accept(
            on_slack(f"approve {card.id}", "k2", MEMBER)
        )
        await bot.stackspot.wait_for_requests("status", 2)
        refusal = await ponte.ask_message(in_the_thread("stop", "k3", STRANGER))
        assert refusal.code == "forbidden"
        assert (await ponte.ask_message(in_the_thread("stop", "k4", BOSS))).text == "Stopped."
        assert LEFT in (await answer(ponte, receipt.seq)).text


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("slug", ["translate-all", "unlisted"])
async def test_a_proposal_whose_record_was_lost_is_still_one_card(
    bot: Bot, monkeypatch: pytest.MonkeyPatch, slug: str, after: bool
) -> None:
    """As if the process had died beside the proposing: before it, or just after it."""
    bot.config = Config() if slug == "unlisted" else bot.config
    async with bot.open() as ponte:
        place: object = ponte.engine.conversations.journal if after else ponte.engine.changes.ledger
        name = "record_call_end" if after else "propose"
        whole, faults = getattr(place, name), [NotStored(cause="died")]

        async def dying(*given: Any, **options: Any) -> Any:
            if faults:
                raise faults.pop()
            return await whole(*given, **options)

        monkeypatch.setattr(place, name, dying)
        answer = await ponte.ask(asks(slug, "it"))
        assert faults == []
        assert [card.state for card in answer.cards] == ["open"], answer.text
        assert len(await ponte.engine.changes.views.find_latest("")) == 1
