"""While it works: a status, one message that is edited, and two ways to stop it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.models import EchoModel
from tests.fakes.slack import BOT_USER
from tests.slack.bot import Setting, workplace
from tests.slack.doubles import Speaker

WORDS = ("The bridge ", "was built ", "in 1894, ", "stone by stone.\n")
WHOLE = "".join(WORDS).strip()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.slack.surface.ChatSurface.interval", 0.0)
    monkeypatch.setattr("adapters.slack.signs.SOON", 0.01)


async def test_until_there_is_text_a_status_shows_and_no_post(tmp_path: Path) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        said = w.slack.say(w.alice, w.general, f"{w.slack.bot} tell me")
        await w.slack.until(lambda: w.slack.workspace.statuses)
        status = w.slack.workspace.statuses[0]
        assert (status["thread_ts"], status["status"]) == (said.ts, "is thinking…")
        assert w.slack.workspace.by_bot(w.general.id) == []
        assert w.slack.workspace.sessions[w.general.id, said.ts] == "processing"
        model.finish()
        assert (await w.slack.answer(said)).shown == WHOLE
        sessions = w.slack.workspace.sessions
        await w.slack.until(lambda: sessions[w.general.id, said.ts] == "active")


async def test_a_quick_answer_shows_no_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.slack.signs.SOON", 5.0)
    async with workplace(tmp_path) as w:
        said = w.slack.say(w.alice, w.general, f"{w.slack.bot} hello")
        await w.slack.answer(said)
        assert w.calls("agents.sessions.setStatus") == []
        assert w.calls("assistant.threads.setStatus") == []


async def test_in_a_channel_one_message_grows_by_edits(tmp_path: Path) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        said = w.slack.say(w.alice, w.general, f"{w.slack.bot} tell me")
        model.go()
        await w.slack.until(lambda: w.slack.workspace.by_bot(w.general.id))
        (post,) = w.slack.workspace.by_bot(w.general.id)
        assert "Stop" in post.buttons
        model.go()
        await w.slack.until(lambda: "was built" in post.shown)
        model.finish()
        assert await w.slack.answer(said) is post
        await w.slack.until(lambda: post.shown == WHOLE)
        assert not post.buttons
        assert not w.calls("chat.startStream")


@pytest.mark.parametrize("where", ["general", "dm"])
async def test_the_stop_button_and_the_native_stop_end_it(tmp_path: Path, where: str) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        place = w.general if where == "general" else w.dm
        said = w.slack.say(w.alice, place, f"{w.slack.bot} tell me")
        model.go()
        await w.slack.until(lambda: w.slack.workspace.by_bot(place.id))
        (post,) = w.slack.workspace.by_bot(place.id)
        if where == "general":
            w.slack.click(w.alice, post, "Stop")
        else:
            w.slack.stop(w.alice, place, said.ts)
        await w.slack.until(lambda: "Stopped." in post.shown)
        assert post.shown.startswith("The bridge")
        assert w.slack.answers(said) == [post]
        await w.slack.deliveries.settled()


async def test_only_who_asked_may_stop_and_others_are_told_alone(tmp_path: Path) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        said = w.slack.say(w.alice, w.general, f"{w.slack.bot} tell me")
        model.go()
        await w.slack.until(lambda: w.slack.workspace.by_bot(w.general.id))
        w.slack.click(w.bob, w.slack.workspace.by_bot(w.general.id)[0], "Stop")
        await w.slack.until(lambda: w.slack.private(w.general.id))
        (refusal,) = w.slack.private(w.general.id)
        assert refusal.seen_by == w.bob.id
        model.finish()
        await w.slack.reads(said, WHOLE)


async def test_what_waits_its_turn_is_marked_until_then(tmp_path: Path) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.say(w.alice, w.dm, "one")
        await w.slack.until(lambda: model.asks)
        two = w.slack.say(w.alice, w.dm, "two")
        await w.slack.until(lambda: two.reactions)
        model.finish()
        assert (await w.slack.answer(two)).shown == WHOLE
        await w.slack.until(lambda: not two.reactions)


@pytest.mark.parametrize(
    "method", ["assistant.threads.setStatus", "agents.sessions.setStatus", "reactions.add"]
)
async def test_a_sign_that_slack_does_not_know_is_tried_once(tmp_path: Path, method: str) -> None:
    model = EchoModel(delay=0.05)
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.api.faults.add(method, "unknown_method", 0)
        w.slack.say(w.alice, w.dm, "one")
        two = w.slack.say(w.alice, w.dm, "two")
        await w.slack.answer(two)
        tried = w.slack.api.calls[method]
        for number in range(3):
            said = w.slack.say(w.alice, w.dm, str(number))
        await w.slack.answer(said)
        assert w.slack.api.calls[method] == tried > 0


async def test_an_answer_that_somebody_deleted_is_never_posted_again(tmp_path: Path) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        said = w.slack.say(w.alice, w.general, f"{w.slack.bot} tell me")
        model.go()
        await w.slack.until(lambda: w.slack.workspace.by_bot(w.general.id))
        w.slack.remove(w.slack.workspace.by_bot(w.general.id)[0])
        await w.slack.deliveries.settled()
        model.finish()
        again = w.slack.say(w.alice, w.general, f"{w.slack.bot} and now?", thread=said)
        await w.slack.answer(again)
        assert {post.user for post in w.slack.workspace.by_bot(w.general.id)} == {BOT_USER}
        assert len(w.slack.workspace.by_bot(w.general.id)) == 1


async def test_an_answer_that_was_deleted_when_done_stays_away_after_a_restart(
    tmp_path: Path,
) -> None:
    async with workplace(tmp_path) as w:
        said = w.slack.say(w.alice, w.general, f"{w.slack.bot} hello")
        w.slack.remove(await w.slack.answer(said))
        await w.slack.deliveries.settled()
        await w.restart()
        other = w.slack.say(w.alice, w.general, f"{w.slack.bot} else")
        await w.slack.answer(other)
        assert w.slack.answers(said) == []


async def test_when_too_many_ask_at_once_answers_come_whole_and_none_is_refused(
    tmp_path: Path,
) -> None:
    """A growing answer costs an edit, of which Slack allows fifty a minute."""
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        places = [w.slack.channel(str(number), w.alice) for number in range(40)]
        said = [w.slack.say(w.alice, place, f"{w.slack.bot} tell me") for place in places]
        await w.slack.until(lambda: len(model.asks) == 40)
        model.go(40)
        await w.slack.until(
            lambda: any("Stop" in p.buttons for p in w.slack.workspace.posts.values())
        )
        model.finish()
        for post in said:
            await w.slack.reads(post, WHOLE)
        assert 0 < w.slack.api.calls["chat.update"] <= 20
        assert w.slack.api.refusals.total() == 0
