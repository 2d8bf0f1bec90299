"""While it works: one sign of that, one message that grows, and one way to stop it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adapters.slack.surface import SlackSurface
from core.base.errors import PostRemoved
from core.domain.messages import Answer, Progress
from core.domain.model_rounds import RoundRequest
from tests.fakes.loop_clock import run_ready
from tests.fakes.models import EchoModel
from tests.fakes.slack import BOT_USER
from tests.slack.bot import Setting, workplace
from tests.slack.doubles import NoPosts, Speaker, WatchedInbox
from tests.time_limits import Limits

WORDS = ("The bridge ", "was built ", "in 1894, ", "stone by stone.\n")
WHOLE = "".join(WORDS).strip()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> None:
    monkeypatch.setattr(SlackSurface, "interval", 0.0)
    limits(SIGN_AFTER_SECONDS=0.01)


async def test_until_there_is_text_the_session_says_that_it_works(tmp_path: Path) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} tell me of bridges")
        await w.until(lambda: w.slack.workspace.session_log)
        (log,) = w.slack.workspace.session_log
        assert (log["status"], log["title"]) == ("processing", "tell me of bridges")
        assert w.posts() == []
        model.finish()
        assert (await w.slack.wait_for_answer(message)).visible_text == WHOLE
        assert w.slack.workspace.sessions[w.general.id, message.ts] == "active"
        assert w.calls("assistant.threads.setStatus") == []


@pytest.mark.parametrize("error", ["not_authorized", "missing_scope"])
async def test_where_there_are_no_sessions_a_status_shows_what_is_done(
    tmp_path: Path, error: str
) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.workspace.agent = error != "not_authorized"
        if w.slack.workspace.agent:
            w.slack.api.faults.add("agents.sessions.setStatus", error, 0)
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} tell me")
        await w.until(lambda: w.slack.workspace.statuses)
        status = w.slack.workspace.statuses[0]
        assert (status["thread_ts"], status["status"]) == (message.ts, "is thinking…")
        model.finish()
        assert (await w.slack.wait_for_answer(message)).visible_text == WHOLE
        await w.ask("again", w.dm)
        assert w.slack.api.calls["agents.sessions.setStatus"] == 1
        assert f"sessions: {error}" in (await w.bot.slack.health()).words


async def test_no_session_is_tried_after_slack_refused_to_end_one(tmp_path: Path) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.say(w.alice, w.general, f"{w.slack.bot} tell me")
        await w.until(lambda: w.slack.workspace.session_log)
        w.slack.api.faults.add("agents.sessions.setStatus", "feature_disabled", 0)
        model.finish()
        await w.until(lambda: w.slack.api.calls["agents.sessions.setStatus"] == 2)
        w.slack.say(w.alice, w.dm, "again")
        await w.until(lambda: WHOLE in [post.visible_text for post in w.posts(w.dm)])
        assert w.slack.api.calls["agents.sessions.setStatus"] == 2
        assert "sessions: feature_disabled" in (await w.bot.slack.health()).words


async def test_a_session_that_a_former_process_left_working_is_ended(tmp_path: Path) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model, grace=0.05)) as w:
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} tell me")
        await w.until(lambda: w.slack.workspace.session_log)
        other = Speaker(*WORDS)
        other.finish()
        await w.restart(Setting(other))
        assert (await w.slack.wait_for_answer(message)).visible_text == WHOLE
        assert w.slack.workspace.sessions[w.general.id, message.ts] == "active"


async def test_a_quick_answer_shows_no_status(tmp_path: Path, limits: Limits) -> None:
    limits(SIGN_AFTER_SECONDS=600.0)
    async with workplace(tmp_path) as w:
        await w.ask("hello")
        assert w.calls("agents.sessions.setStatus") == []
        assert w.calls("assistant.threads.setStatus") == []


@pytest.mark.parametrize("native", [True, False])
async def test_in_a_channel_one_message_grows_by_edits(tmp_path: Path, native: bool) -> None:
    """There is one Stop: Slack's, or else ours."""
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.workspace.agent = native
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} tell me")
        await w.until(lambda: w.slack.workspace.session_log or w.slack.workspace.statuses)
        model.go()
        post = await w.first_post()
        assert ("Stop" in post.buttons) is not native
        model.go()
        await w.until(lambda: "was built" in post.visible_text)
        model.finish()
        assert await w.slack.wait_for_answer(message) is post
        await w.until(lambda: post.visible_text == WHOLE)
        assert not post.buttons
        assert not w.calls("chat.startStream")


async def test_where_nobody_would_hear_slacks_stop_there_is_ours(tmp_path: Path) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.workspace.stop_subscribed = False
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} tell me")
        await w.until(lambda: w.slack.workspace.session_log)
        model.go()
        await w.until(lambda: w.posts())
        assert "Stop" in w.posts()[0].buttons
        model.finish()
        await w.slack.wait_for_answers(message, WHOLE)


@pytest.mark.parametrize("where", ["general", "dm"])
@pytest.mark.parametrize("native", [True, False])
async def test_the_stop_that_is_there_ends_it(tmp_path: Path, where: str, native: bool) -> None:
    model, inbox = Speaker(*WORDS), WatchedInbox()
    async with workplace(tmp_path, Setting(model, inbox=inbox.over)) as w:
        w.slack.workspace.agent = native
        place = w.general if where == "general" else w.dm
        if not native:  # a stream has no button of ours
            w.slack.api.faults.add("chat.startStream", "unknown_method", 0)
        messages = w.slack.say(w.alice, place, f"{w.slack.bot} tell me")
        await w.until(lambda: w.slack.workspace.session_log or w.slack.workspace.statuses)
        model.go()
        post = await w.first_post(place)
        if native:
            w.slack.stop(w.alice, place, messages.ts)
        else:
            w.slack.click(w.alice, post, "Stop")
        await w.until(
            lambda: "Stopped." in post.visible_text and post in w.slack.finished_answers(messages)
        )
        assert post.visible_text.startswith("The bridge")
        assert w.slack.finished_answers(messages) == [post]
        await w.slack.deliveries.wait_for_deliveries()
        if native and where == "dm":  # the event and the stream report one press under one key
            keys = {message.event_key for message in inbox.messages[1:]}
            assert {key.partition(":stopped:")[2] for key in keys} == {post.ts}


@pytest.mark.parametrize("method", ["chat.appendStream", "chat.stopStream"])
async def test_a_stop_that_only_the_stream_is_told_of_ends_it_too(
    tmp_path: Path, method: str
) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        message = w.slack.say(w.alice, w.dm, "tell me")
        await w.until(lambda: w.slack.workspace.session_log)
        model.go()
        post = await w.first_post(w.dm)
        w.slack.stop_streams(w.dm, message.ts)  # the event is lost on its way
        if method == "chat.appendStream":
            model.go()
            await w.until(lambda: "Stopped." in post.visible_text)
            assert not post.visible_text.endswith("stone by stone.")
        else:
            model.finish()
        await w.until(lambda: w.slack.finished_answers(message) == [post])
        assert len(w.posts(w.dm)) == 1


async def test_a_stop_while_the_signs_of_an_answer_are_removed_leaves_no_session(
    tmp_path: Path,
) -> None:
    """The turn is then cancelled, and finishes its answer once more."""
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        gate = w.slack.api.close("agents.sessions.setStatus")
        message = w.slack.say(w.alice, w.dm, "tell me")
        await gate.wait_until_reached()
        model.finish()
        post = await w.first_post(w.dm)
        await w.until(lambda: post.visible_text == WHOLE and post.stream is None)
        w.slack.say(w.alice, w.dm, "stop", thread=message)
        await w.slack.deliveries.wait_for_deliveries()
        await w.bot.engine.conversations.inbox.wait_for_answer(2)  # the second message is `stop`
        gate.release()
        await w.until(lambda: w.slack.workspace.session_log)
        await w.until(lambda: post in w.slack.finished_answers(message))


@pytest.mark.parametrize("how", ["typed", "clicked"])
@pytest.mark.parametrize("where", ["general", "dm"])
async def test_stopped_is_said_once(tmp_path: Path, where: str, how: str) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.workspace.agent = False
        w.slack.api.faults.add("chat.startStream", "unknown_method", 0)
        place = w.general if where == "general" else w.dm
        message = w.slack.say(w.alice, place, f"{w.slack.bot} tell me")
        await w.until(lambda: w.slack.workspace.statuses)
        model.go()
        post = await w.first_post(place)
        if how == "typed":
            w.slack.say(w.alice, place, f"{w.slack.bot} stop", thread=message)
        else:
            w.slack.click(w.alice, post, "Stop")
        await w.until(lambda: "Stopped." in post.visible_text)
        # The next answer comes after that of `stop`.
        again = w.slack.say(w.alice, place, f"{w.slack.bot} stop", thread=message)
        assert (await w.slack.wait_for_answer(again)).text == "Nothing is running here."
        posts = [*w.posts(place), *w.slack.ephemeral_posts(place.id)]
        assert sum("Stopped." in post.visible_text for post in posts) == 1


async def test_a_stop_where_nothing_runs_ends_the_session(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} hello")
        await w.slack.wait_for_answer(message)
        await w.bot.engine.conversations.inbox.wait_for_answer(1)  # posted, and ended
        w.slack.workspace.show_session(w.general.id, message.ts, "processing")  # left by a crash
        w.slack.stop(w.alice, w.general, message.ts)
        await w.until(lambda: w.slack.workspace.sessions[w.general.id, message.ts] == "active")


async def test_signs_of_an_attempt_that_died_with_its_answer_go(tmp_path: Path) -> None:
    """The next attempt finds the answer, and has no time to show that it works."""
    inbox = WatchedInbox()
    async with workplace(tmp_path, Setting(inbox=inbox.over)) as w:
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} hello")
        await w.slack.wait_for_answer(message)
        w.slack.workspace.show_session(w.general.id, message.ts, "processing")
        message.reactions.add("hourglass_flowing_sand")
        posts = NoPosts()
        posts.is_resumed = True
        reply = w.bot.slack.reply(inbox.messages[0].reply_to, posts)
        await reply.show(Progress())
        await reply.finish(Answer("Hello.", parts=("Hello.",)))
        await reply.wait_for_updates()
        assert w.slack.workspace.sessions[w.general.id, message.ts] == "active"
        await w.until(lambda: not message.reactions)
        calls = w.slack.api.calls.total()
        await reply.wait_for_updates()
        assert w.slack.api.calls.total() == calls, "each turn waits twice"


async def test_only_who_asked_may_stop_and_others_are_told_alone(tmp_path: Path) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} tell me")
        await w.until(lambda: w.slack.workspace.session_log)
        model.go()
        await w.until(lambda: w.posts())
        w.slack.stop(w.bob, w.general, message.ts)
        refusal = await w.first_whisper()
        assert refusal.seen_by == w.bob.id
        model.finish()
        await w.slack.wait_for_answers(message, WHOLE)


async def test_what_waits_its_turn_is_marked_until_then(tmp_path: Path) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.say(w.alice, w.dm, "one")
        await w.until(lambda: model.asks)
        two = w.slack.say(w.alice, w.dm, "two")
        await w.until(lambda: two.reactions)
        model.finish()
        assert (await w.slack.wait_for_answer(two)).visible_text == WHOLE
        await w.until(lambda: not two.reactions)


@pytest.mark.parametrize(
    "method", ["assistant.threads.setStatus", "agents.sessions.setStatus", "reactions.add"]
)
async def test_a_sign_that_slack_does_not_know_is_tried_once(tmp_path: Path, method: str) -> None:
    go_on = asyncio.Event()

    async def gate(_: RoundRequest) -> None:
        await go_on.wait()

    async with workplace(tmp_path, Setting(EchoModel(gate=gate))) as w:
        w.slack.workspace.agent = method != "assistant.threads.setStatus"
        w.slack.api.faults.add(method, "unknown_method", 0)
        w.slack.say(w.alice, w.dm, "one")
        two = w.slack.say(w.alice, w.dm, "two")
        await w.until(lambda: w.slack.api.calls[method])
        go_on.set()
        await w.slack.wait_for_answer(two)
        calls = w.slack.api.calls[method]
        for number in range(3):
            message = w.slack.say(w.alice, w.dm, str(number))
        await w.slack.wait_for_answer(message)
        assert w.slack.api.calls[method] == calls > 0


async def test_a_refused_session_is_no_status_once_the_answer_streams(tmp_path: Path) -> None:
    """It would replace the stream's session, and Slack's Stop with it."""
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.api.faults.add("agents.sessions.setStatus", "unknown_method", 1)
        session = w.slack.api.hold("agents.sessions.setStatus")
        message = w.slack.say(w.alice, w.dm, "tell me")
        await w.until(lambda: w.slack.api.calls["agents.sessions.setStatus"])
        model.go()
        await w.until(lambda: w.calls("chat.startStream"))
        session.release()
        model.finish()
        assert (await w.slack.wait_for_answer(message)).visible_text == WHOLE
        assert w.calls("assistant.threads.setStatus") == []


async def test_a_stream_begins_after_a_status_that_is_under_way(tmp_path: Path) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.api.faults.add("agents.sessions.setStatus", "unknown_method", 0)
        status = w.slack.api.hold("assistant.threads.setStatus")
        message = w.slack.say(w.alice, w.dm, "tell me")
        await w.until(lambda: w.slack.api.calls["assistant.threads.setStatus"])
        model.go()
        await run_ready()
        assert w.calls("chat.startStream") == []
        status.release()
        model.finish()
        assert (await w.slack.wait_for_answer(message)).visible_text == WHOLE


async def test_an_answer_that_somebody_deleted_is_never_posted_again(tmp_path: Path) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} tell me")
        model.go()
        post = await w.first_post()
        model.go()
        # Ponte edits the post only once it has recorded which turn it belongs to.
        await w.until(lambda: "was built" in post.visible_text)
        w.slack.remove(post)
        await w.slack.deliveries.wait_for_deliveries()
        again = w.slack.say(w.alice, w.general, f"{w.slack.bot} and now?", thread=message)
        # the turn has stopped, although its model has said nothing since
        await w.until(lambda: len(model.asks) == 2)
        model.finish()
        await w.slack.wait_for_answer(again)
        assert {post.user for post in w.posts()} == {BOT_USER}
        assert len(w.posts()) == 1


async def test_a_post_that_somebody_deleted_cannot_be_deleted_again(tmp_path: Path) -> None:
    inbox = WatchedInbox()
    async with workplace(tmp_path, Setting(inbox=inbox.over)) as w:
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} hello")
        answer = await w.slack.wait_for_answer(message)
        surface = w.bot.slack.surface(inbox.messages[0].reply_to)
        id = f"{w.general.id}:{answer.ts}"
        w.slack.api.faults.add("chat.delete", "cant_delete_message", 1)
        await surface.delete(id)
        assert w.slack.finished_answers(message) == [answer], "a refusal is only logged"
        await surface.delete(id)
        assert w.slack.finished_answers(message) == []
        with pytest.raises(PostRemoved):
            await surface.delete(id)


async def test_an_answer_that_was_deleted_when_done_stays_away_after_a_restart(
    tmp_path: Path,
) -> None:
    async with workplace(tmp_path) as w:
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} hello")
        w.slack.remove(await w.slack.wait_for_answer(message))
        await w.slack.deliveries.wait_for_deliveries()
        await w.restart()
        await w.ask("else")
        assert w.slack.finished_answers(message) == []


async def test_when_too_many_ask_at_once_answers_come_whole_and_none_is_refused(
    tmp_path: Path,
) -> None:
    """A growing answer costs an edit, of which Slack allows fifty a minute."""
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        places = [w.slack.channel(str(number), w.alice) for number in range(40)]
        messages = [w.slack.say(w.alice, place, f"{w.slack.bot} tell me") for place in places]
        await w.until(lambda: len(model.asks) == 40)
        model.go(40)
        await w.until(
            lambda: any("The bridge" in p.visible_text for p in w.slack.workspace.posts.values())
        )
        model.finish()
        for post in messages:
            await w.slack.wait_for_answers(post, WHOLE)
        assert 0 < w.slack.api.calls["chat.update"] <= 20
        assert w.slack.api.refusals.total() == 0
