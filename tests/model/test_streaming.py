"""Every way in which a stream can end, at every level."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from core.base.errors import ModelDown, ModelError, ModelRefused, ModelSilent, TooLong
from core.base.openai import Json
from core.domain.model_rounds import ResponseStarted, RoundCompleted, TextDelta, TextWithdrawn
from core.models.conversations_api import BackgroundStream
from core.models.model_server import MAX_ROUND_SECONDS
from core.models.served_model import Level
from tests.fakes.loop_clock import LoopClock, run_ready
from tests.fakes.openai import FakeOpenAI, Script, errors
from tests.fakes.openai.script import LONG_ANSWER, Disconnect, Failure
from tests.model.conftest import SILENCE_SECONDS, Make, every_level
from tests.model.talk import Talk

own_history = pytest.mark.parametrize("level", ["responses", "chat"])


def count_requests(fake: FakeOpenAI) -> int:
    return len(fake.request_bodies("/responses")) + len(fake.request_bodies("/chat/completions"))


@every_level
async def test_pieces_come_as_they_are_said(make: Make, fake: FakeOpenAI, level: Level) -> None:
    talk = Talk(await make(level))
    fake.say(LONG_ANSWER)
    assert await talk.say("Tell me something long.") == LONG_ANSWER
    kinds = [type(event) for event in talk.heard if not hasattr(event, "remote")]
    assert kinds[0] is ResponseStarted
    assert kinds[-1] is RoundCompleted
    assert kinds.count(TextDelta) == len(range(0, len(LONG_ANSWER), 8))
    assert talk.text == LONG_ANSWER


BROKEN: tuple[Failure, ...] = ("drop", "error_event", "raised_error", "garbage")


@every_level
@pytest.mark.parametrize("fail", BROKEN)
async def test_text_that_was_shown_is_kept_and_paid_once(
    make: Make, fake: FakeOpenAI, level: Level, fail: Failure
) -> None:
    talk = Talk(await make(level))
    fake.say(Script(text="Half an answer.", fail=fail, on_disconnect="nothing"), "And more.")
    talk.begin("Tell me.")
    completion = await talk.round()
    assert completion.items[0].text == talk.text == "Half an "
    assert "before the answer was complete" in str(completion.broken)
    assert count_requests(fake) == 1
    assert await talk.say("Go on.") == "And more."


@every_level
@pytest.mark.parametrize("fail", [*BROKEN, "failed"])
async def test_an_answer_with_an_error_in_a_call_is_withdrawn_and_asked_for_again(
    make: Make, fake: FakeOpenAI, level: Level, fail: Failure
) -> None:
    talk = Talk(await make(level))
    call = ("tables", '{"a": "long arguments in pieces"}')
    cut = Script(text="Look.", calls=(call,), fail=fail, after=2, on_disconnect="nothing")
    fake.say(cut, LONG_ANSWER)
    assert await talk.say("Tell me.") == LONG_ANSWER
    assert count_requests(fake) == 2
    # A response that failed as a whole shows no text before.
    assert any(isinstance(event, TextWithdrawn) for event in talk.heard) or fail == "failed"
    assert talk.text == LONG_ANSWER


@every_level
async def test_an_error_with_a_code_of_its_own_is_told_after_the_text(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    talk = Talk(await make(level))
    script = Script(text=LONG_ANSWER, fail="error_event", code="insufficient_quota")
    fake.say(replace(script, on_disconnect="nothing"))
    talk.begin("Tell me.")
    assert "no credit left" in str((await talk.round()).broken)


@every_level
async def test_a_server_that_always_breaks_is_down(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    talk = Talk(await make(level))
    fake.say(Script(calls=(("tables", "{}"),), fail="error_event", times=0))
    with pytest.raises(ModelDown):
        await talk.say("Tell me.")
    assert count_requests(fake) == 3


@pytest.mark.parametrize("fail", ["drop", "no_terminal"])
@pytest.mark.parametrize("left", ["commit", "response"])
async def test_a_dropped_answer_is_taken_from_the_server(
    make: Make, fake: FakeOpenAI, fail: Failure, left: Disconnect
) -> None:
    """The response is retrieved by its id, and what the conversation lacks is told it later."""
    talk = Talk(await make("conversations"))
    fake.say(
        Script(text=LONG_ANSWER, fail=fail, on_disconnect=left), Script(text="Bye.", match="thanks")
    )
    assert await talk.say("Tell me.") == LONG_ANSWER
    assert count_requests(fake) == 1
    assert await talk.say("thanks") == "Bye."
    (conversation,) = fake.conversations.values()
    messages = [item["content"][-1]["text"] for item in conversation.items]
    assert messages == ["Tell me.", LONG_ANSWER, "thanks", "Bye."]


async def test_a_create_whose_answer_was_lost_is_not_repeated_blindly(
    make: Make, fake: FakeOpenAI
) -> None:
    """No byte came back, but the conversation's tail shows that it was done."""
    talk = Talk(await make("conversations"))
    fake.say(Script(text=LONG_ANSWER, fail="lost"), "A second answer.")
    assert await talk.say("Tell me.") == LONG_ANSWER
    assert count_requests(fake) == 1


@pytest.mark.parametrize(
    ("fail", "left"), [("lost", "commit"), ("lost", "nothing"), ("drop", "commit")]
)
async def test_a_lost_stream_is_completed_later_in_a_thread(
    make: Make, fake: FakeOpenAI, fail: Failure, left: Disconnect
) -> None:
    talk = Talk(await make("conversations"))
    await talk.say("hello")
    fake.say(
        Script(text=LONG_ANSWER, fail=fail, on_disconnect=left),
        Script(text=LONG_ANSWER, match="Tell"),
    )
    assert await talk.say("Tell me.") == LONG_ANSWER
    assert count_requests(fake) == (2 if left == "commit" else 3)
    (conversation,) = fake.conversations.values()
    assert len(conversation.items) == 4


async def test_a_server_that_broke_over_a_create_is_looked_at(make: Make, fake: FakeOpenAI) -> None:
    talk = Talk(await make("conversations"))
    await talk.say("hello")
    fake.say(Script(status=500), "Now.")
    assert await talk.say("Tell me.") == "Now."
    assert any(request.path.endswith("/items") for request in fake.requests)


async def test_a_create_that_was_lost_on_its_way_is_repeated(make: Make, fake: FakeOpenAI) -> None:
    talk = Talk(await make("conversations"))
    fake.say(Script(text=LONG_ANSWER, fail="lost", on_disconnect="nothing"), "Now it came.")
    assert await talk.say("Tell me.") == "Now it came."
    assert count_requests(fake) == 2


@own_history
async def test_without_a_history_there_a_lost_answer_is_asked_for_once_more(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    talk = Talk(await make(level))
    fake.say(Script(text=LONG_ANSWER, fail="lost"), "Here it is.")
    assert await talk.say("Tell me.") == "Here it is."
    fake.say(Script(text=LONG_ANSWER, fail="lost", times=0))
    with pytest.raises(ModelDown):
        await talk.say("And now?")
    assert count_requests(fake) == 4


@own_history
async def test_an_answer_without_its_last_sign_is_whole(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    talk = Talk(await make(level))
    fake.say(Script(text=LONG_ANSWER, fail="no_terminal"), "Another one.")
    talk.begin("Tell me.")
    completion = await talk.round()
    assert completion.items[0].text == talk.text == LONG_ANSWER
    assert completion.broken is None
    assert count_requests(fake) == 1


@every_level
@pytest.mark.parametrize("text", ["", LONG_ANSWER])
async def test_a_silent_server_is_given_up(
    make: Make, fake: FakeOpenAI, level: Level, text: str
) -> None:
    talk = Talk(await make(level, drain_seconds=0.2))
    calls = () if text else (("tables", "{}"),)
    fake.say(Script(text=text, calls=calls, fail="hang", on_disconnect="nothing"))
    talk.begin("Tell me.")
    asking = asyncio.create_task(talk.round())
    await fake.wait_for_failures()
    await LoopClock().skip_until_done(asking, SILENCE_SECONDS)
    if text:
        assert (await asking).broken is not None
        return
    with pytest.raises(ModelSilent):
        await asking


@every_level
async def test_an_answer_without_a_stream_may_take_as_long_as_a_stream(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    talk = Talk(await make(level))
    error = errors.NO_STREAM["OpenAI"]
    fake.refuses = lambda body: error if body.get("stream") else None
    fake.say(Script(text=LONG_ANSWER, held=True))
    saying = asyncio.create_task(talk.say("Tell me."))
    await fake.wait_until(lambda: fake.running == 1)
    LoopClock().skip(MAX_ROUND_SECONDS - SILENCE_SECONDS)
    await run_ready()
    fake.release.set()
    assert await saying == LONG_ANSWER
    assert len(fake.used) == 1


async def test_an_answer_that_came_during_a_silence_is_taken(make: Make, fake: FakeOpenAI) -> None:
    talk = Talk(await make("conversations"))
    fake.say(Script(text=LONG_ANSWER, fail="hang", on_disconnect="commit"))
    saying = asyncio.create_task(talk.say("Tell me."))
    await fake.wait_for_failures()
    await LoopClock().skip_until_done(saying, SILENCE_SECONDS)
    assert await saying == LONG_ANSWER


@every_level
async def test_a_call_is_given_only_when_the_round_is_complete(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    """The socket breaks while the arguments are streamed: nothing runs of that answer twice."""
    ran: list[str] = []

    def run(name: str, arguments: str) -> str:
        ran.append(arguments)
        return "done"

    talk = Talk(await make(level), run=run)
    call = ("tables", '{"a": "long arguments in pieces"}')
    fake.say(Script(calls=(call,), fail="drop", after=2, on_disconnect="response"))
    fake.say(Script(calls=(call,), match="look"), Script(text="Two tables.", match="done"))
    assert await talk.say("look") == "Two tables."
    assert ran == ['{"a": "long arguments in pieces"}']


@every_level
async def test_a_refusal_is_said_in_the_models_words(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    talk = Talk(await make(level))
    fake.say(Script(refusal="I will not help with that."))
    assert await talk.say("Something bad.") == "I will not help with that."
    assert talk.text == "I will not help with that."


@every_level
async def test_a_cut_answer_says_so(make: Make, fake: FakeOpenAI, level: Level) -> None:
    talk = Talk(await make(level))
    fake.say(Script(text="The beginning of", incomplete="max_output_tokens"))
    talk.begin("Tell me all.")
    completion = await talk.round()
    assert completion.is_truncated
    assert completion.items[0].text == "The beginning of"


@every_level
async def test_a_cut_call_never_runs(make: Make, fake: FakeOpenAI, level: Level) -> None:
    talk = Talk(await make(level))
    fake.say(Script(calls=(("tables", '{"a"'),), incomplete="max_output_tokens"))
    with pytest.raises(TooLong, match="ran out of space"):
        await talk.say("Tell me all.")


@every_level
async def test_filtered_words_are_a_refusal(make: Make, fake: FakeOpenAI, level: Level) -> None:
    talk = Talk(await make(level))
    fake.say(Script(text="Something ba", incomplete="content_filter"))
    with pytest.raises(ModelRefused):
        await talk.say("Tell me.")
    fake.say("Better.")
    assert await talk.say("Something else, then.") == "Better."


@every_level
async def test_an_empty_answer_is_worded(make: Make, fake: FakeOpenAI, level: Level) -> None:
    talk = Talk(await make(level))
    fake.say(Script())
    with pytest.raises(ModelError, match="empty answer"):
        await talk.say("Tell me.")


async def test_a_short_answer_is_read_ahead_and_a_long_one_waits_for_its_listener() -> None:
    """The events of a short answer cost no pass of the event loop each."""
    read = 0

    async def send_events() -> AsyncGenerator[Json, None]:
        nonlocal read
        for read in range(1, 101):
            yield {"type": "response.output_text.delta", "delta": str(read)}

    stream = BackgroundStream(send_events(), SILENCE_SECONDS, SILENCE_SECONDS, _ignore)
    await run_ready()
    assert 12 <= read <= 32, "a short answer has 11 events; no memory is filled with a long one"
    assert [event["delta"] async for event in stream.events()] == [str(n) for n in range(1, 101)]


async def _ignore(response: str) -> None:
    """Forget the id of a response that nobody listens to."""
