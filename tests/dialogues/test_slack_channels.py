"""In a channel: mention it, and it answers in the thread; it is polite in company."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from core.base.i18n import say
from core.chat.incoming import WAITS_FOR_MENTION
from tests.fakes.models import EchoModel
from tests.fakes.places import FixedAddressingSettings, FixedPlaces
from tests.slack.bot import Setting, workplace


async def test_a_mention_is_answered_in_a_thread_that_goes_on_without_one(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} how are you?")
        answer = await w.slack.wait_for_answer(message)
        assert (answer.thread_ts, answer.visible_text) == (message.ts, "You said: how are you?")
        await w.slack.deliveries.wait_for_deliveries()
        assert len(w.slack.finished_answers(message)) == 1
        assert all(delivery.attempts == 1 for delivery in w.slack.deliveries.all)
        more = w.slack.say(w.alice, w.general, "and two", thread=message)
        assert (await w.slack.wait_for_answer(more)).visible_text == "You said: and two"


async def test_a_second_person_makes_it_wait_and_it_says_so_once(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        messages = w.slack.say(w.alice, w.general, f"{w.slack.bot} one")
        await w.slack.wait_for_answer(messages)
        bob = w.slack.say(w.bob, w.general, "let me join", thread=messages)
        notice = await w.slack.wait_for_answer(bob)
        assert notice.visible_text == say(WAITS_FOR_MENTION, "pt-BR")
        alice = w.slack.say(w.alice, w.general, "is that so?", thread=messages)
        w.slack.say(w.bob, w.general, "it is", thread=messages)
        await w.slack.deliveries.wait_for_deliveries()
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} still there?", thread=messages)
        assert (await w.slack.wait_for_answer(message)).visible_text == "You said: still there?"
        assert w.slack.finished_answers(alice) == w.slack.finished_answers(message)


async def test_after_a_restart_it_still_knows_who_is_there(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        alone = w.slack.say(w.alice, w.general, f"{w.slack.bot} one")
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} here too")
        await w.slack.wait_for_answer(alone)
        await w.slack.wait_for_answer(message)
        w.slack.say(w.bob, w.general, "me too", thread=message)
        await w.slack.wait_for_answer(message, 2)
        await w.restart()
        w.slack.say(w.alice, w.general, "not for the bot", thread=message)
        w.slack.say(w.bob, w.general, "nor this", thread=message)
        more = w.slack.say(w.alice, w.general, "two", thread=alone)
        assert (await w.slack.wait_for_answer(more)).visible_text == "You said: two"
        await w.slack.deliveries.wait_for_deliveries()
        assert len(w.slack.finished_answers(message)) == 2


async def test_after_a_restart_without_the_history_it_knows_who_asked(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        alone = w.slack.say(w.alice, w.general, f"{w.slack.bot} one")
        share = w.slack.say(w.alice, w.general, f"{w.slack.bot} here too")
        await w.slack.wait_for_answer(alone)
        await w.slack.wait_for_answer(share)
        message = w.slack.say(w.bob, w.general, f"{w.slack.bot} and I", thread=share)
        await w.slack.wait_for_answer(message, 2)  # and the notice that it waits for mentions
        answers = w.slack.finished_answers(share)
        await w.restart()
        w.slack.api.faults.add("conversations.replies", "429", 0, retry_after=600)
        w.slack.say(w.alice, w.general, "not for the bot", thread=share)
        more = w.slack.say(w.alice, w.general, "two", thread=alone)
        assert (await w.slack.wait_for_answer(more)).visible_text == "You said: two"
        await w.slack.deliveries.wait_for_deliveries()
        assert w.slack.finished_answers(share) == answers


async def test_strict_mention_wants_one_each_time(tmp_path: Path) -> None:
    places = FixedPlaces(FixedAddressingSettings(strict_mention=True))
    async with workplace(tmp_path, Setting(places=places)) as w:
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} one")
        await w.slack.wait_for_answer(message)
        w.slack.say(w.alice, w.general, "two", thread=message)
        three = w.slack.say(w.alice, w.general, f"{w.slack.bot} three", thread=message)
        assert (await w.slack.wait_for_answer(three)).visible_text == "You said: three"
        assert [post.visible_text for post in w.slack.finished_answers(message)] == [
            "You said: one",
            "You said: three",
        ]


async def test_what_is_not_for_it_and_other_bots_and_joins_are_acknowledged_and_kept_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    async with workplace(tmp_path) as w:
        secret = w.slack.say(w.alice, w.general, "the swordfish is ready")
        w.slack.say(w.bob, w.general, "good: swordfish", thread=secret)
        robot = w.slack.person("Robot", is_bot=True)
        w.slack.say(robot, w.general, f"{w.slack.bot} are you one of us, swordfish?")
        w.slack.say(w.alice, w.general, f"{w.slack.bot} has joined", subtype="channel_join")
        await w.slack.deliveries.wait_for_deliveries()
        assert all(d.acked.is_set() and d.attempts == 1 for d in w.slack.deliveries.all)
        assert w.posts() == []
    assert "swordfish" not in caplog.text
    assert b"swordfish" not in await asyncio.to_thread(everything_in, tmp_path)


async def test_people_of_other_companies_are_refused_alone(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        eve = w.slack.person("Eve", team="T0OTHER")
        share = w.slack.channel("shared", w.alice, eve)
        share.shared_with_strangers = True
        w.slack.say(eve, share, f"{w.slack.bot} hello")
        refusal = await w.first_whisper(share)
        assert (refusal.seen_by, "members of this workspace" in refusal.visible_text) == (
            eve.id,
            True,
        )
        ours = w.slack.say(w.alice, share, f"{w.slack.bot} hello")
        assert (await w.slack.wait_for_answer(ours)).visible_text == "You said: hello"
        assert w.posts(share) == w.slack.finished_answers(ours)


async def test_what_was_said_before_is_quoted_with_names(tmp_path: Path) -> None:
    model = EchoModel()
    async with workplace(tmp_path, Setting(model)) as w:
        root = w.slack.say(w.bob, w.general, "The build is red again")
        w.slack.say(w.alice, w.general, f"{w.bob.mention} since when?", thread=root)
        await w.ask("what would you do?", thread=root)
        quotation, question = model.asks[0].input
        assert "'Bob': The build is red again" in quotation.text
        assert "'Alice': @Bob since when?" in quotation.text
        assert question.text == "what would you do?"
        w.slack.say(w.bob, w.general, "Since Monday", thread=root)
        await w.ask("and now?", who=w.bob, thread=root)
        quotation, _ = model.asks[1].input
        assert "Since Monday" in quotation.text
        assert "The build" not in quotation.text


async def test_history_that_slack_limits_is_gone_without_and_said(tmp_path: Path) -> None:
    model = EchoModel()
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.api.faults.add("conversations.replies", "429", 0, retry_after=60)
        root = w.slack.say(w.bob, w.general, "The build is red again")
        answer = await w.ask("why?", thread=root)
        assert answer.visible_text.startswith("You said: why?")
        assert "once a minute" in answer.visible_text
        assert "could not be read" in model.asks[0].input[0].text


async def test_messages_of_one_thread_are_answered_in_order(tmp_path: Path) -> None:
    async with workplace(tmp_path, Setting(EchoModel(delay=0.02))) as w:
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} 0")
        for number in range(1, 5):
            w.slack.say(w.alice, w.general, f"{w.slack.bot} {number}", thread=message)
        await w.slack.wait_for_answer(message, 5)
        views = [post.visible_text for post in w.slack.finished_answers(message)]
        assert views == [f"You said: {number}" for number in range(5)]
        await w.slack.deliveries.wait_for_deliveries()


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
