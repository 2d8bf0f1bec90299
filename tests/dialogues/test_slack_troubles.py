"""Slack has a bad day: one answer for each message all the same, and none lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adapters.slack.connection import PING_SECONDS
from adapters.slack.surface import SlackSurface
from core.domain.messages import turn_id
from core.domain.model_rounds import RoundRequest
from tests.fakes.loop_clock import LoopClock, run_ready
from tests.fakes.models import EchoModel
from tests.fakes.slack import TEAM, Post, SlackChannel
from tests.slack.bot import Setting, Workplace, workplace
from tests.slack.doubles import Says, Speaker, WatchedInbox
from tests.time_limits import Limits


@pytest.fixture(autouse=True)
def quick_arrivals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The double of Slack has handled a request when its response is lost."""
    monkeypatch.setattr(SlackSurface, "arrival_seconds", 0.001)


async def ask_and_check_answers(w: Workplace, places: list[SlackChannel], messages: int) -> None:
    """Alice asks in each place, and gets one answer to each message, in order."""
    message = [
        w.slack.say(w.alice, places[number % len(places)], f"{w.slack.bot} {number}")
        for number in range(messages)
    ]
    for post in message:
        await w.slack.wait_for_answer(post, seconds=60)
    await w.slack.deliveries.wait_for_deliveries()
    for number, post in enumerate(message):
        await w.slack.wait_for_answers(post, f"You said: {number}")


@pytest.mark.parametrize("how", ["429", "500", "503", "lost", "cut", "internal_error"])
async def test_a_call_that_goes_wrong_costs_no_answer_and_makes_no_second(
    tmp_path: Path, how: str
) -> None:
    async with workplace(tmp_path) as w:
        w.slack.api.faults.add("chat.postMessage", how, 3)
        w.slack.api.faults.add("chat.startStream", how, 3)
        await ask_and_check_answers(w, [w.general, w.dm, w.slack.channel("other", w.alice)], 3)


async def test_an_event_that_cannot_be_stored_is_not_acknowledged_and_comes_again(
    tmp_path: Path,
) -> None:
    inbox = WatchedInbox(times=2)
    async with workplace(tmp_path, Setting(inbox=inbox.over)) as w:
        w.slack.deliveries.retry_delays = (0.0, 0.0, 0.0)
        message = w.slack.say(w.alice, w.dm, "hello")
        await w.until(lambda: inbox.refused == 1)
        w.slack.deliveries.give_up()
        await w.until(lambda: inbox.refused == 2)
        w.slack.deliveries.give_up()
        assert (await w.slack.wait_for_answer(message)).visible_text == "You said: hello"
        (delivery,) = [d for d in w.slack.deliveries.all if d.payload["event"]["ts"] == message.ts]
        assert delivery.attempts == 3
        assert inbox.refused == 2


async def test_a_broken_connection_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        w.slack.say(w.alice, w.dm, "warm up")
        w.slack.deliveries.drop()
        await run_ready()  # until the break is noticed; it is looked for once in PING_SECONDS
        LoopClock().skip(PING_SECONDS)
        await ask_and_check_answers(w, [w.slack.dm(w.alice) for _ in range(4)], 8)
        await w.slack.deliveries.refresh()
        await ask_and_check_answers(w, [w.slack.dm(w.alice) for _ in range(4)], 8)
        assert w.slack.socket_opened == 3


async def test_a_third_of_all_events_twice_makes_no_second_answer(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        w.slack.deliveries.twice = 0.3
        places = [w.slack.channel(str(number), w.alice) for number in range(10)]
        await ask_and_check_answers(w, places, 30)
        assert w.slack.api.calls["auth.test"] == 1, "the bot's identity is asked once"
        assert w.slack.api.calls["users.info"] == 0, "she was listed"


@pytest.mark.slow
async def test_a_busy_channel_is_met_at_slacks_pace(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        await ask_and_check_answers(w, [w.general], 8)
        assert w.slack.api.refusals.total() == 0


async def test_every_event_is_acknowledged_also_those_nobody_asked_for(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        for kind in ("file_shared", "team_join", "reaction_added", "message_metadata_posted"):
            w.slack.event({"type": kind, "user": w.alice.id, "event_ts": "1.0"})
        w.slack.say(w.alice, w.general, "topic", subtype="channel_topic")
        await w.slack.deliveries.wait_for_deliveries()
        assert [d.attempts for d in w.slack.deliveries.all] == [1] * 5


async def test_blocks_that_slack_refuses_cost_only_the_layout(tmp_path: Path) -> None:
    text = "# Title\n\n" + "word " * 1000
    async with workplace(tmp_path, Setting(Says(text))) as w:
        w.slack.api.faults.add("chat.postMessage", "invalid_blocks", 1)
        w.slack.api.faults.add("chat.update", "invalid_blocks", 1)
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} go")
        await w.until(
            lambda: any(
                a.visible_text.count("word") == 1000 for a in w.slack.finished_answers(message)
            )
        )


async def test_a_channel_that_takes_no_posts_ends_the_turn_and_is_told_later(
    tmp_path: Path,
) -> None:
    async with workplace(tmp_path, Setting(EchoModel())) as w:
        w.general.archived = True
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} one")
        await w.until(lambda: w.slack.api.calls["chat.postMessage"])
        w.general.archived = False
        assert "is_archived" in (await w.ask("two", thread=message)).visible_text


@pytest.fixture
def growing(limits: Limits) -> None:
    """An answer is shown from its first words on, however quickly it comes."""
    limits(WHOLE_ANSWER_SECONDS=0.0)


PASSING = [
    ("chat.update", "update_failed"),
    ("chat.startStream", "messaging_processing_failed"),
    ("chat.appendStream", "messaging_processing_failed"),
    ("chat.postMessage", "token_revoked"),
    ("chat.postMessage", "service_unavailable"),
    ("chat.stopStream", "fatal_error"),
]


@pytest.mark.usefixtures("growing")
@pytest.mark.parametrize(("method", "error"), PASSING)
async def test_a_passing_error_is_retried_until_the_answer_is_posted(
    tmp_path: Path, method: str, error: str
) -> None:
    model = Speaker("One ", "two ", "three.")
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.api.faults.add(method, error, 3)
        place = w.dm if "Stream" in method else w.general
        message = w.slack.say(w.alice, place, f"{w.slack.bot} count")
        model.go(2)
        await w.until(
            lambda: w.slack.api.calls["chat.postMessage"] or w.slack.api.calls["chat.startStream"]
        )
        model.finish()
        await w.slack.wait_for_answers(message, "One two three.")
        assert len(w.posts(place)) == 1


async def test_a_token_that_was_revoked_and_comes_back_costs_no_answer(tmp_path: Path) -> None:
    model = Speaker("One ", "two ", "three.")
    async with workplace(tmp_path, Setting(model)) as w:
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} count")
        await w.until(lambda: model.asks)
        w.slack.api.revoked = True
        model.finish()
        api = w.bot.slack.workspace.api
        await w.until(lambda: api.refused)
        health = await w.bot.slack.health()
        assert (health.state, "token_revoked" in health.words) == ("failing", True)
        w.slack.api.revoked = False
        await w.slack.wait_for_answers(message, "One two three.")
        await w.until(lambda: not api.refused)
        assert (await w.bot.slack.health()).state == "on"


async def test_an_answer_that_waited_for_its_token_is_posted_by_the_next_process(
    tmp_path: Path,
) -> None:
    model = Speaker("One ", "two ", "three.")
    async with workplace(tmp_path, Setting(model, grace=0.05)) as w:
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} count")
        await w.until(lambda: model.asks)
        w.slack.api.revoked = True
        model.finish()
        await w.until(lambda: w.slack.api.calls["chat.postMessage"])
        w.slack.api.revoked = False
        await w.restart()
        await w.slack.wait_for_answers(message, "One two three.")


@pytest.mark.usefixtures("growing")
@pytest.mark.parametrize("method", ["chat.postMessage", "chat.update", "chat.stopStream"])
async def test_a_refusal_that_nobody_has_heard_of_ends_worded(tmp_path: Path, method: str) -> None:
    model = Speaker("One ", "two ", "three.")
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.api.faults.add(method, "?the_moon_is_full", 0)
        place = w.dm if method == "chat.stopStream" else w.general
        first = "chat.startStream" if place is w.dm else "chat.postMessage"
        message = w.slack.say(w.alice, place, f"{w.slack.bot} count")
        model.go(2)
        await w.until(lambda: w.slack.api.calls[first])
        model.finish()
        await w.until(lambda: w.slack.api.calls[method] > 1 or method != first)
        await wait_for_turn_end(w, message)
        calls = w.slack.api.calls[method]
        w.slack.api.faults.end(method)
        again = w.slack.say(w.alice, place, f"{w.slack.bot} and?", thread=message)
        answer = await w.slack.wait_for_answer(again)
        await w.until(lambda: "the_moon_is_full" in answer.visible_text)
        assert w.slack.api.calls[method] <= calls + 2


async def wait_for_turn_end(w: Workplace, said: Post) -> None:
    """Until the turn of this message is over, however it ended."""
    turn = turn_id(f"slack:{TEAM}:{said.channel}:{said.ts}")
    seq = (await w.bot.engine.conversations.journal.history_entry(turn)).seq
    await w.bot.engine.conversations.inbox.wait_for_answer(seq)


async def test_a_feature_that_is_refused_again_and_again_is_left_alone(
    tmp_path: Path, limits: Limits
) -> None:
    limits(SIGN_AFTER_SECONDS=0.01)
    thinking = asyncio.Semaphore(0)

    async def think(_: RoundRequest) -> None:
        await thinking.acquire()

    async with workplace(tmp_path, Setting(EchoModel(gate=think))) as w:
        w.slack.api.faults.add("agents.sessions.setStatus", "?the_moon_is_full", 0)
        for number in range(5):
            message = w.slack.say(
                w.alice, w.slack.channel(str(number), w.alice), f"{w.slack.bot} hello"
            )
            if number < 3:
                gate = w.slack.api.hold("agents.sessions.setStatus")
                await gate.wait_until_reached()
                gate.release()
            thinking.release()
            await w.slack.wait_for_answer(message)
        assert w.slack.api.calls["agents.sessions.setStatus"] == 3
        assert "sessions: the_moon_is_full" in (await w.bot.slack.health()).words


async def test_an_answer_to_what_was_deleted_does_not_stand_in_the_channel(tmp_path: Path) -> None:
    """Slack takes it, and puts it at the top level, for all to see."""
    model = Speaker("One ", "two ", "three.")
    async with workplace(tmp_path, Setting(model)) as w:
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} count")
        await w.until(lambda: model.asks)
        w.slack.remove(message)
        await w.slack.deliveries.wait_for_deliveries()
        model.finish()
        await wait_for_turn_end(w, message)
        assert w.posts() == []
