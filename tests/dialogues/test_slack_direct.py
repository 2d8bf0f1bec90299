"""Direct messages: it answers under each message; answers grow while a person watches."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.slack.render import ANSWER_PART_BYTES
from adapters.slack.surface import SlackSurface
from core.domain.ports import AnswerPart
from tests.fakes.models import EchoModel
from tests.slack.bot import Setting, workplace
from tests.slack.doubles import Speaker, WatchedInbox
from tests.time_limits import Limits

WORDS = ("The bridge ", "was built ", "in 1894, ", "stone by stone.\n")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SlackSurface, "interval", 0.0)


async def test_an_answer_streams_while_it_is_written(tmp_path: Path) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        message = w.slack.say(w.alice, w.dm, "tell me")
        model.go(2)
        post = await w.first_post(w.dm)
        assert (post.stream is not None, post.thread_ts) == (True, message.ts)
        model.go()
        await w.until(lambda: "built in" in post.visible_text)
        model.finish()
        assert await w.slack.wait_for_answer(message) is post
        assert post.visible_text == "".join(WORDS).strip()
        assert post.metadata["event_type"] == "ponte_post"
        assert not w.calls("chat.postMessage")
        assert not w.calls("chat.update")


async def test_one_direct_message_is_one_conversation(tmp_path: Path) -> None:
    model = EchoModel()
    async with workplace(tmp_path, Setting(model)) as w:
        message = w.slack.say(w.alice, w.dm, "one")
        await w.slack.wait_for_answer(message)
        assert (await w.ask("two, under the answer", w.dm, thread=message)).thread_ts == message.ts
        await w.ask("three", w.dm)
        assert len({ask.thread.id for ask in model.asks}) == 1
        await w.restart()
        await w.ask("four", w.dm, thread=message)
        assert len({ask.thread.id for ask in model.asks}) == 1


async def test_a_thread_of_its_own_is_a_conversation_of_its_own(tmp_path: Path) -> None:
    model = EchoModel()
    async with workplace(tmp_path, Setting(model)) as w:
        await w.ask("one", w.dm)
        for conversations, author in enumerate(("the app", "the person"), 2):
            before_ponte = w.slack.workspace.new_bot_post(w.dm.id)
            before_ponte.text = "An old post"
            if author == "the person":
                before_ponte.user, before_ponte.bot_id = w.alice.id, ""
            w.slack.workspace.add(before_ponte)
            answer = await w.ask("about this one", w.dm, thread=before_ponte)
            assert answer.thread_ts == before_ponte.ts, author
            assert len({ask.thread.id for ask in model.asks}) == conversations, author


async def test_a_stream_that_ends_by_itself_loses_nothing(tmp_path: Path) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        message = w.slack.say(w.alice, w.dm, "tell me")
        model.go(2)
        await w.until(lambda: w.posts(w.dm))
        w.slack.workspace.stream_seconds = 0
        model.finish()
        await w.slack.wait_for_answers(message, "".join(WORDS).strip())
        (answer,) = w.posts(w.dm)
        assert answer.metadata["event_type"] == "ponte_post"


async def test_an_old_stream_goes_on_in_another_message(tmp_path: Path, limits: Limits) -> None:
    limits(STREAM_SECONDS=0.0)
    model = Speaker("Look:\n\n```python\nx = 1\n", "y = 2\n", "z = 3\n```\n", "Done.\n")
    async with workplace(tmp_path, Setting(model)) as w:
        message = w.slack.say(w.alice, w.dm, "show me")
        model.go()
        await w.until(lambda: w.posts(w.dm))
        model.go()
        await w.until(lambda: w.posts(w.dm)[0].stream is None)
        limits(STREAM_SECONDS=240.0)
        model.finish()
        first, second = (
            await w.slack.wait_for_answer(message),
            await w.slack.wait_for_answer(message, 2),
        )
        assert first.visible_text == "Look:\n\n```python\nx = 1\ny = 2\n```"
        assert second.visible_text == "```python\nz = 3\n```\nDone."
        assert first.streamed
        assert second.streamed


@pytest.mark.parametrize("error", ["unknown_method", "missing_scope"])
async def test_without_streams_it_posts_and_edits_and_asks_no_more(
    tmp_path: Path, error: str
) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.api.faults.add("chat.startStream", error, 0)
        message = w.slack.say(w.alice, w.dm, "tell me")
        model.go(2)
        await w.until(lambda: w.posts(w.dm))
        model.finish()
        assert (await w.slack.wait_for_answer(message)).visible_text == "".join(WORDS).strip()
        assert (await w.ask("once more", w.dm)).visible_text == "".join(WORDS).strip()
        assert w.slack.api.calls["chat.startStream"] == 1
        assert f"streams: {error}" in (await w.bot.slack.health()).words


async def test_a_lost_answer_to_the_start_of_a_stream_makes_no_second_one(tmp_path: Path) -> None:
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.api.faults.add("chat.startStream", "lost", 1)
        message = w.slack.say(w.alice, w.dm, "tell me")
        model.finish()
        answer = await w.slack.wait_for_answer(message)
        await w.until(lambda: answer.visible_text == "".join(WORDS).strip())
        assert w.posts(w.dm) == [answer]


@pytest.mark.parametrize("method", ["chat.appendStream", "chat.stopStream"])
@pytest.mark.parametrize("how", ["lost", "cut"])
async def test_a_lost_answer_in_mid_stream_doubles_and_loses_no_words(
    tmp_path: Path, limits: Limits, method: str, how: str
) -> None:
    limits(_TRIES=0)
    model = Speaker(*WORDS)
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.api.faults.add(method, how, 1)
        message = w.slack.say(w.alice, w.dm, "tell me")
        model.go(2)
        await w.until(lambda: w.posts(w.dm))
        model.go()
        await w.until(lambda: w.slack.api.calls["chat.appendStream"])
        model.finish()
        await w.slack.wait_for_answers(message, "".join(WORDS).strip())


async def test_nothing_is_sent_to_a_stream_while_a_word_is_unfinished(tmp_path: Path) -> None:
    inbox = WatchedInbox()
    async with workplace(tmp_path, Setting(inbox=inbox.over)) as w:
        await w.slack.wait_for_answer(w.slack.say(w.alice, w.dm, "tell me"))
        surface = w.bot.slack.surface(inbox.messages[0].reply_to)
        assert await surface.seconds_until_growth() == 0.0
        post = await surface.post("key:1", AnswerPart(1, "The bridge w", is_growing=True))
        for text in ("The bridge wa", "The bridge was b"):
            await surface.edit(post, AnswerPart(1, text, is_growing=True))
        requests = [call["chunks"][0]["text"] for call in w.calls("chat.appendStream")]
        assert requests == ["was "]


async def test_a_stream_is_closed_when_the_next_post_begins(tmp_path: Path) -> None:
    full = "The bridge was built in 1894.\n" * (ANSWER_PART_BYTES // 30)
    model = Speaker(f"{full}\n", "It stands there ", "to this day.")
    async with workplace(tmp_path, Setting(model)) as w:
        message = w.slack.say(w.alice, w.dm, "tell me")
        model.go()
        await w.until(lambda: w.posts(w.dm))
        model.go()
        await w.until(lambda: len(w.posts(w.dm)) == 2)
        first, second = w.posts(w.dm)
        assert (first.stream, first.metadata["event_type"]) == (None, "ponte_post")
        assert second.stream is not None
        model.finish()
        await w.slack.wait_for_answers(message, full.strip(), "It stands there to this day.")
