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
from tests.dialogues.bot_home import BotHome, RunningBot, also_on_postgres
from tests.dialogues.decisions import BOSS, MEMBER, RIGHTS, STRANGER, on_slack
from tests.dialogues.stackspot import Bot, asks
from tests.fakes.choices import make_message
from tests.fakes.models import EchoModel
from tests.fakes.stackspot import FakeStackSpot, Trouble

LEFT = "I stopped waiting because you asked me to stop. It had started, and may still finish."


@pytest.fixture
async def bot(bot_home: BotHome) -> AsyncIterator[Bot]:
    async with FakeStackSpot() as fake:
        fake.held = True
        yield Bot(bot_home, fake)
        assert fake.refused == []


async def approve_run(running_bot: RunningBot, bot: Bot, input: str = "it", begun: int = 1) -> int:
    """The seq of the approval whose run is waited for now."""
    (card,) = (await running_bot.ask(asks("translate-all", input))).cards
    _, receipt = await running_bot.send(f"approve {card.id}")
    await bot.stackspot.wait_for_requests("status", bot.stackspot.count("status") + 2)
    assert bot.stackspot.count("create") == begun
    return receipt.seq


def in_the_thread(text: str, key: str, person: Person) -> Message:
    """Said where the member's proposal stands."""
    said = on_slack(text, key, person)
    return replace(said, address=replace(said.address, thread=f"t{MEMBER.id}"))


async def waits(running_bot: RunningBot, seq: int, beside: int = 1) -> None:
    """Wait until that approval waits for its run, while `beside` others are under way."""
    changes, where = running_bot.engine.changes, make_message("", "").address.conversation
    for _ in itertools.count():
        claimed = seq in await changes.ledger.list_waiting_runs(where, ["run"])
        if claimed and len(changes.lifecycle.runner._flights) > beside:
            return
        await asyncio.sleep(0)


async def answer(running_bot: RunningBot, seq: int) -> Answer:
    return await running_bot.engine.conversations.inbox.wait_for_answer(seq)


@also_on_postgres
async def test_stop_ends_the_waiting_and_not_the_run(bot: Bot) -> None:
    model = EchoModel()
    async with bot.open(model) as running_bot:
        seq = await approve_run(running_bot, bot)
        assert (await running_bot.ask("stop")).text == "Stopped."
        assert (await answer(running_bot, seq)).text == (
            f"Approved by Ana. The result is unknown. Check the data before you ask again. {LEFT}"
        )
        assert (await running_bot.ask("stop")).text == "Nothing is running here."
        (card,) = await running_bot.engine.changes.views.find_latest("")
        assert card.state == "partial"
        await running_bot.ask("well?")
    heard = [item.text for item in model.asks[-1].input if item.name == "note"]
    assert LEFT in heard[0]
    assert bot.stackspot.count("create") == 1


async def test_the_stop_of_a_surface_leaves_it_too(bot: Bot) -> None:
    async with bot.open() as running_bot:
        seq = await approve_run(running_bot, bot)
        assert await running_bot.engine.conversations.inbox.cancel(seq)
        left = await answer(running_bot, seq)
        assert (left.status, LEFT in left.text) == ("done", True), left.text


async def test_each_stop_leaves_the_latest(bot: Bot) -> None:
    async with bot.open() as running_bot:
        first = await approve_run(running_bot, bot, "one")
        (other,) = (await running_bot.ask(asks("close-month", "two"))).cards
        _, second = await running_bot.send(f"approve {other.id}")
        await bot.stackspot.wait_for_requests("create", 2)
        for seq in (second.seq, first):
            assert (await running_bot.ask("stop")).text == "Stopped."
            assert LEFT in (await answer(running_bot, seq)).text


@also_on_postgres
async def test_one_that_waits_for_its_turn_is_not_begun(bot: Bot) -> None:
    async with bot.open() as running_bot:
        first = await approve_run(running_bot, bot, "one")
        (card,) = (await running_bot.ask(asks("translate-all", "two"))).cards
        _, second = await running_bot.send(f"approve {card.id}")
        await waits(running_bot, second.seq)
        await running_bot.ask("stop")
        await running_bot.ask("stop")
        assert LEFT in (await answer(running_bot, first)).text
        told = (await answer(running_bot, second.seq)).text
        assert told == ("Approved by Ana. No result. It was stopped before it started.")
    assert bot.stackspot.count("create") == 1


async def test_one_that_is_being_begun_is_named_first(bot: Bot) -> None:
    bot.stackspot.fail("create", Trouble("hang"))
    async with bot.open() as running_bot:
        (card,) = (await running_bot.ask(asks("translate-all"))).cards
        _, receipt = await running_bot.send(f"approve {card.id}")
        await bot.stackspot.wait_for_requests("create")
        await running_bot.ask("stop")
        bot.stackspot.release.set()
        assert LEFT in (await answer(running_bot, receipt.seq)).text


async def test_only_who_approved_it_or_an_admin_stops_it(bot: Bot) -> None:
    async with bot.open(policy=RIGHTS) as running_bot:
        (card,) = (
            await running_bot.ask_message(on_slack(asks("translate-all"), "k1", MEMBER))
        ).cards
        receipt = await running_bot.engine.conversations.inbox.accept(
            on_slack(f"approve {card.id}", "k2", MEMBER)
        )
        await bot.stackspot.wait_for_requests("status", 2)
        refused = await running_bot.ask_message(in_the_thread("stop", "k3", STRANGER))
        assert refused.code == "forbidden"
        assert (await running_bot.ask_message(in_the_thread("stop", "k4", BOSS))).text == "Stopped."
        assert LEFT in (await answer(running_bot, receipt.seq)).text


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("slug", ["translate-all", "unlisted"])
async def test_a_proposal_whose_record_was_lost_is_still_one_card(
    bot: Bot, monkeypatch: pytest.MonkeyPatch, slug: str, after: bool
) -> None:
    """As if the process had died beside the proposing: before it, or just after it."""
    bot.config = Config() if slug == "unlisted" else bot.config
    async with bot.open() as running_bot:
        place: object = (
            running_bot.engine.conversations.journal if after else running_bot.engine.changes.ledger
        )
        name = "record_call_end" if after else "propose"
        whole, faults = getattr(place, name), [NotStored(cause="died")]

        async def dying(*given: Any, **options: Any) -> Any:
            if faults:
                raise faults.pop()
            return await whole(*given, **options)

        monkeypatch.setattr(place, name, dying)
        answer = await running_bot.ask(asks(slug, "it"))
        assert faults == []
        assert [card.state for card in answer.cards] == ["open"], answer.text
        assert len(await running_bot.engine.changes.views.find_latest("")) == 1
