"""The process dies in mid-stream: the next one takes the round from where it stands."""

from __future__ import annotations

import json
import signal
from dataclasses import asdict

import pytest
from aiohttp import web

from core.domain.messages import Item
from core.domain.records import Thread
from tests.fakes import forker
from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.openai.items import text_of
from tests.fakes.openai.script import LONG_ANSWER, Disconnect
from tests.model.conftest import Make
from tests.model.talk import Talk


async def ask_and_kill(fake: FakeOpenAI, talk: Talk) -> Talk:
    """Ask in a process that is killed once words came; what it journalled lives on."""
    process = await forker.start(
        "tests.model.victim",
        fake.base_url,
        talk.transcript[-1][1].text,
        json.dumps(asdict(talk.thread)),
    )
    assert process.stdout is not None
    async for line in process.stdout:
        data = json.loads(line)
        if "response" in data:
            talk.response = data["response"]
        if "thread" in data:
            talk.thread = Thread(**{**data["thread"], "participants": ()})
        if "delta" in data:
            break
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await fake.wait_until(lambda: fake.running == 0)
    return talk


@pytest.mark.parametrize("left", ["commit", "response"])
async def test_kill_in_mid_stream(make: Make, fake: FakeOpenAI, left: Disconnect) -> None:
    """The server finished the response: it is retrieved, and not asked for again."""
    talk = Talk(await make())
    fake.say(Script(text=LONG_ANSWER, fail="hang", on_disconnect=left))
    talk.begin("Tell me.")
    await ask_and_kill(fake, talk)
    completion = await talk.round(response=talk.response)
    assert completion.items == (Item(kind="message", role="assistant", text=LONG_ANSWER),)
    assert completion.usage.output > 0
    assert len(fake.request_bodies("/responses")) == 1
    assert await talk.say("thanks") == "You said: thanks"
    assert len(fake.conversations) == 1
    (conversation,) = fake.conversations.values()
    assert [text_of(item) for item in conversation.items] == [
        "Tell me.",
        LONG_ANSWER,
        "thanks",
        "You said: thanks",
    ]


async def test_kill_in_mid_stream_and_the_server_lost_it(make: Make, fake: FakeOpenAI) -> None:
    """Then that round alone is asked again, in the same conversation."""
    talk = Talk(await make())
    fake.say(Script(text=LONG_ANSWER, fail="hang", on_disconnect="nothing"), "Again.")
    talk.begin("Tell me.")
    await ask_and_kill(fake, talk)
    completion = await talk.round(response=talk.response)
    assert completion.items[0].text == "Again."
    assert len(fake.conversations) == 1


async def test_kill_in_mid_stream_and_the_thread_record_is_lost_too(
    make: Make, fake: FakeOpenAI
) -> None:
    """The response itself says in which conversation it was."""
    talk = Talk(await make())
    fake.say(Script(text=LONG_ANSWER, fail="hang"))
    talk.begin("Tell me.")
    await ask_and_kill(fake, talk)
    remote, talk.thread = talk.thread.remote, Thread("web:c", "T1")
    await talk.round(response=talk.response)
    assert talk.thread.remote == remote
    assert await talk.say("thanks") == "You said: thanks"
    assert len(fake.conversations) == 1


async def test_a_response_that_still_runs_is_waited_for(
    make: Make, fake: FakeOpenAI, waits: list[float]
) -> None:
    talk = Talk(await make())
    await talk.say("hello")
    response = next(reversed(fake.responses.values()))
    running = {**response, "status": "in_progress", "output": [], "usage": None}
    fake.responses[response["id"]] = running

    async def finish(seconds: float) -> None:
        waits.append(seconds)
        fake.responses[response["id"]] = response

    model = await make(sleep=finish)
    talk = talk.restart(model)
    talk.transcript = talk.transcript[:1]
    completion = await talk.round(response=response["id"])
    assert completion.items[0].text == "You said: hello"
    assert waits == [0.5]


async def test_a_response_that_cannot_be_read_is_asked_again(make: Make, fake: FakeOpenAI) -> None:
    talk = Talk(await make())
    await talk.say("hello")
    response = talk.response

    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "No."}}, status=503)

    fake.hostile, fake.hostile_at = refuse, {f"/responses/{response}"}
    fake.say("Again.")
    talk.begin("And now?")
    completion = await talk.restart(await make()).round(response=response)
    assert completion.items[0].text == "Again."
    assert [r.method for r in fake.requests if r.path == f"/responses/{response}"] == ["GET"] * 3


async def test_a_crash_after_calls_were_complete(make: Make, fake: FakeOpenAI) -> None:
    """Round 1 was journalled whole: round 2 is asked with the outputs alone."""
    talk = Talk(await make())
    fake.say(Script(calls=(("tables", "{}"),)), Script(text="Two.", match="two tables"))
    talk.begin("Which tables?")
    completion = await talk.round()
    talk.keep(Item(kind="output", call_id=completion.items[0].call_id, text="two tables"))
    talk = talk.restart(await make())
    completion = await talk.round()
    assert completion.items[0].text == "Two."
    assert len(fake.conversations) == 1


@pytest.mark.parametrize("level", ["responses", "chat"])
async def test_without_a_history_there_the_round_is_asked_again(
    make: Make, fake: FakeOpenAI, level: str
) -> None:
    talk = Talk(await make(level))
    fake.say("Again.")
    talk.begin("Tell me.")
    completion = await talk.round(response="resp_of_a_dead_process")
    assert completion.items[0].text == "Again."
    assert not any(request.method == "GET" for request in fake.requests)
