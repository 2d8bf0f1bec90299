"""An approved quick command while it runs: it can be left, and it shows how far it is."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from bot.config import Config
from core.domain.errors import NotStored
from core.domain.messages import Answer, Message, Person
from tests.dialogues.decisions import BOSS, MEMBER, RIGHTS, STRANGER, on_slack
from tests.dialogues.stackspot import Bot, asks
from tests.dialogues.stage import BotHome, RunningBot
from tests.fakes.choices import make_message
from tests.fakes.models import EchoModel
from tests.fakes.stackspot import FakeStackSpot, Trouble

LEFT = "I stopped waiting because you asked me to stop. It had started, and may still finish."


@pytest.fixture
async def bot(theatre: BotHome) -> AsyncIterator[Bot]:
    async with FakeStackSpot() as fake:
        fake.held = True
        yield Bot(theatre, fake)
        assert fake.refused == []


async def approve_run(stage: RunningBot, bot: Bot, input: str = "it", begun: int = 1) -> int:
    """The seq of the approval whose run is waited for now."""
    (card,) = (await stage.ask(asks("translate-all", input))).cards
    _, receipt = await stage.send(f"approve {card.id}")
    await bot.stackspot.wait_for_requests("status", bot.stackspot.count("status") + 2)
    assert bot.stackspot.count("create") == begun
    return receipt.seq


def in_the_thread(text: str, key: str, person: Person) -> Message:
    """Said where the member's proposal stands."""
    said = on_slack(text, key, person)
    return replace(said, address=replace(said.address, thread=f"t{MEMBER.id}"))


async def waits(stage: RunningBot, seq: int, beside: int = 1) -> None:
    """Wait until that approval waits for its run, while `beside` others are under way."""
    changes, where = stage.engine.changes, make_message("", "").address.conversation
    for _ in itertools.count():
        claimed = seq in await changes.ledger.list_waiting_runs(where)
        if claimed and len(changes.applying._flights) > beside:
            return
        await asyncio.sleep(0)


async def answer(stage: RunningBot, seq: int) -> Answer:
    return await stage.engine.records.inbox.wait_for_answer(seq)


async def test_stop_ends_the_waiting_and_not_the_run(bot: Bot) -> None:
    model = EchoModel()
    async with bot.open(model) as stage:
        seq = await approve_run(stage, bot)
        assert (await stage.ask("stop")).text == "Stopped."
        assert (await answer(stage, seq)).text == (
            f"Approved by Ana. The result is unknown. Check the data before you ask again. {LEFT}"
        )
        assert (await stage.ask("stop")).text == "Nothing is running here."
        (card,) = await stage.engine.changes.find_latest("")
        assert card.state == "partial"
        await stage.ask("well?")
    heard = [item.text for item in model.asks[-1].input if item.name == "note"]
    assert LEFT in heard[0]
    assert bot.stackspot.count("create") == 1


async def test_the_stop_of_a_surface_leaves_it_too(bot: Bot) -> None:
    async with bot.open() as stage:
        seq = await approve_run(stage, bot)
        assert await stage.engine.records.inbox.cancel(seq)
        left = await answer(stage, seq)
        assert (left.status, LEFT in left.text) == ("done", True), left.text


async def test_each_stop_leaves_the_latest(bot: Bot) -> None:
    async with bot.open() as stage:
        first = await approve_run(stage, bot, "one")
        (other,) = (await stage.ask(asks("close-month", "two"))).cards
        _, second = await stage.send(f"approve {other.id}")
        await bot.stackspot.wait_for_requests("create", 2)
        for seq in (second.seq, first):
            assert (await stage.ask("stop")).text == "Stopped."
            assert LEFT in (await answer(stage, seq)).text


async def test_one_that_waits_for_its_turn_is_not_begun(bot: Bot) -> None:
    async with bot.open() as stage:
        first = await approve_run(stage, bot, "one")
        (card,) = (await stage.ask(asks("translate-all", "two"))).cards
        _, second = await stage.send(f"approve {card.id}")
        await waits(stage, second.seq)
        await stage.ask("stop")
        await stage.ask("stop")
        assert LEFT in (await answer(stage, first)).text
        told = (await answer(stage, second.seq)).text
        assert told == ("Approved by Ana. No result. It was stopped before it started.")
    assert bot.stackspot.count("create") == 1


async def test_one_that_is_being_begun_is_named_first(bot: Bot) -> None:
    bot.stackspot.fail("create", Trouble("hang"))
    async with bot.open() as stage:
        (card,) = (await stage.ask(asks("translate-all"))).cards
        _, receipt = await stage.send(f"approve {card.id}")
        await bot.stackspot.wait_for_requests("create")
        await stage.ask("stop")
        bot.stackspot.release.set()
        assert LEFT in (await answer(stage, receipt.seq)).text


async def test_only_who_approved_it_or_an_admin_stops_it(bot: Bot) -> None:
    async with bot.open(policy=RIGHTS) as stage:
        (card,) = (await stage.ask_message(on_slack(asks("translate-all"), "k1", MEMBER))).cards
        receipt = await stage.engine.records.inbox.accept(
            on_slack(f"approve {card.id}", "k2", MEMBER)
        )
        await bot.stackspot.wait_for_requests("status", 2)
        refused = await stage.ask_message(in_the_thread("stop", "k3", STRANGER))
        assert refused.code == "forbidden"
        assert (await stage.ask_message(in_the_thread("stop", "k4", BOSS))).text == "Stopped."
        assert LEFT in (await answer(stage, receipt.seq)).text


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("slug", ["translate-all", "unlisted"])
async def test_a_proposal_whose_record_was_lost_is_still_one_card(
    bot: Bot, monkeypatch: pytest.MonkeyPatch, slug: str, after: bool
) -> None:
    """As if the process had died beside the proposing: before it, or just after it."""
    bot.config = Config() if slug == "unlisted" else bot.config
    async with bot.open() as stage:
        place: object = stage.engine.records.journal if after else stage.engine.changes.ledger
        name = "record_call_end" if after else "propose"
        whole, faults = getattr(place, name), [NotStored(cause="died")]

        async def dying(*given: Any, **options: Any) -> Any:
            if faults:
                raise faults.pop()
            return await whole(*given, **options)

        monkeypatch.setattr(place, name, dying)
        answer = await stage.ask(asks(slug, "it"))
        assert faults == []
        assert [card.state for card in answer.cards] == ["open"], answer.text
        assert len(await stage.engine.changes.find_latest("")) == 1
