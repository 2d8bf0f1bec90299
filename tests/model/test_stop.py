"""A turn that is stopped in mid-stream: its stream is drained, and what comes after is sound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from core.base.openai import Json
from core.domain.messages import Item
from core.domain.model_rounds import TextDelta
from core.domain.records import Remote
from core.models.conversations_api import OpenStreams
from core.models.served_model import Level
from tests.fakes.openai import FakeOpenAI, Script, errors
from tests.fakes.openai.errors import GatewayError
from tests.fakes.openai.items import text_of
from tests.fakes.openai.script import LONG_ANSWER
from tests.model.conftest import Make
from tests.model.talk import Talk


async def stop_after(talk: Talk, kind: type[object]) -> None:
    """Listen until the first event of that kind, then go away."""
    events = talk.events()
    async for event in events:
        talk.take(event)
        if isinstance(event, kind):
            break
    await events.aclose()


async def test_the_stream_is_read_to_its_end(make: Make, fake: FakeOpenAI) -> None:
    """A person stops the answer: the server still finishes it and keeps it."""
    talk = Talk(await make())
    fake.say(Script(text=LONG_ANSWER, fail="hang", on_disconnect="nothing"))
    talk.begin("Tell me.")
    await stop_after(talk, TextDelta)
    fake.release.set()
    conversation = fake.conversations[talk.thread.remote]
    assert await talk.model.erase(Remote("file", "file_1")), "the loop goes on meanwhile"
    assert await talk.say("thanks") == "You said: thanks"
    assert fake.running == 0
    assert [text_of(item) for item in conversation.items[:2]] == ["Tell me.", LONG_ANSWER]


async def test_the_next_message_does_not_wait_for_the_drain(make: Make, fake: FakeOpenAI) -> None:
    """It gets a conversation of its own, made from the transcript."""
    talk = Talk(await make())
    fake.say(Script(text=LONG_ANSWER, fail="hang"))
    talk.begin("Tell me.")
    await stop_after(talk, TextDelta)
    old = talk.thread.remote
    assert await talk.say("thanks") == "You said: thanks"
    assert talk.thread.remote != old
    assert fake.running == 1, "the first answer is still being said"
    messages = [text_of(item) for item in fake.conversations[talk.thread.remote].items]
    assert messages == ["Tell me.", "thanks", "You said: thanks"]


async def test_after_the_drain_the_conversation_is_looked_at(make: Make, fake: FakeOpenAI) -> None:
    """It holds an answer that nobody saw: our transcript is the truth, so a new one is made."""
    talk = Talk(await make())
    fake.say(Script(text=LONG_ANSWER, piece=len(LONG_ANSWER), fail="hang"))
    talk.begin("Tell me.")
    await stop_after(talk, TextDelta)
    talk.keep(Item(kind="message", role="assistant", text="A long _Stopped._"))
    fake.release.set()
    old = talk.thread.remote
    assert await talk.model.erase(Remote("conversation", old)), "it waits for the drain"
    assert await talk.say("thanks") == "You said: thanks"
    assert talk.thread.remote != old


async def test_a_drain_ends_after_its_time(make: Make, fake: FakeOpenAI) -> None:
    talk = Talk(await make(drain_seconds=0.05))
    fake.say(Script(text=LONG_ANSWER, fail="hang", on_disconnect="nothing"))
    talk.begin("Tell me.")
    await stop_after(talk, TextDelta)
    assert await talk.model.erase(Remote("conversation", talk.thread.remote))
    assert fake.conversations == {}


def refuse_streams(body: Mapping[str, Any]) -> GatewayError | None:
    return errors.NO_STREAM["OpenAI"] if body.get("stream") else None


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_an_id_that_comes_late_is_told(
    make: Make, fake: FakeOpenAI, late: list[tuple[str, Remote]], is_streamed: bool
) -> None:
    """Stopped before the server named its response: it must still be erased one day."""
    talk = Talk(await make())
    fake.refuses = None if is_streamed else refuse_streams
    fake.say(Script(text=LONG_ANSWER, held=True))
    talk.begin("Tell me.")
    asking = asyncio.ensure_future(talk.round())
    await fake.wait_until(lambda: fake.running == 1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    fake.release.set()
    await talk.model.erase(Remote("conversation", talk.thread.remote))
    assert late == [("T1", Remote("response", next(iter(fake.responses))))]


async def test_an_id_that_was_read_and_not_heard_is_told() -> None:
    """It came in, but its listener went away before it listened."""
    messages: list[str] = []
    event = asyncio.Event()

    async def source() -> AsyncIterator[Json]:
        yield {"type": "response.created", "response": {"id": "resp_1"}}
        event.set()
        await asyncio.Event().wait()

    async def late(response: str) -> None:
        messages.append(response)

    streams = OpenStreams(grace=5.0)
    stream = streams.open(source(), "conv_1", 5.0, late)
    await event.wait()
    streams.stop_listening(stream, "conv_1")
    assert streams.is_draining("conv_1")
    assert "conv_1" in streams.uncertain
    await streams.close()
    assert messages == ["resp_1"]
    assert not streams.is_draining("conv_1")


@pytest.mark.parametrize("level", ["responses", "chat"])
async def test_an_answer_that_is_not_streamed_is_stopped(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    talk = Talk(await make(level), preface="")
    fake.refuses = refuse_streams
    fake.say(Script(text=LONG_ANSWER, held=True))
    talk.begin("Tell me.")
    asking = asyncio.ensure_future(talk.round())
    await fake.wait_until(lambda: fake.running == 1)
    asking.cancel()
    await fake.wait_until(lambda: fake.running == 0)
    fake.release.set()
    assert await talk.say("thanks") == "You said: thanks"


@pytest.mark.parametrize("level", ["responses", "chat"])
async def test_without_a_history_there_the_stream_is_closed(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    talk = Talk(await make(level))
    fake.say(Script(text=LONG_ANSWER, fail="hang"))
    talk.begin("Tell me.")
    await stop_after(talk, TextDelta)
    await fake.wait_until(lambda: fake.running == 0)
    assert await talk.say("thanks")


async def test_closing_the_model_ends_every_stream(make: Make, fake: FakeOpenAI) -> None:
    talk = Talk(await make())
    fake.say(Script(text=LONG_ANSWER, fail="hang"))
    talk.begin("Tell me.")
    await stop_after(talk, TextDelta)
    await talk.model.close()
    await fake.wait_until(lambda: fake.running == 0)
