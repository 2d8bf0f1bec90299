"""A server that sends more than was asked, for longer, or sends us elsewhere, is not obeyed."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from core.base.errors import ModelDown, ModelError
from core.domain.model_rounds import TextDelta
from core.models import model_server as server
from core.models.served_model import Level
from tests.fakes.loop_clock import LoopClock, run_ready
from tests.fakes.openai import FakeOpenAI, hostile
from tests.fakes.openai.hostile import Hostile
from tests.model.conftest import Make, every_level
from tests.model.talk import Talk

ROOT = Path(__file__).parents[2]
MB = 2**20
EXCESS = {
    "line": lambda: hostile.streams(hostile.endless_line),
    "event": lambda: hostile.streams(hostile.endless_event),
    "parts": lambda: hostile.streams(hostile.many_parts),
    "words": lambda: hostile.streams(hostile.endless_words),
    "items": lambda: hostile.streams(hostile.endless_items),
    "depth": lambda: hostile.streams(hostile.deep_event),
    "ids": lambda: hostile.streams(hostile.long_ids),
    "packed": lambda: hostile.compressed_stream(200 * MB),
}
READ_BY_THE_LEVEL = ("words", "items", "ids")
"""Limits of the level's own reader. The client's limits are the same at each level."""


async def goes_on(talk: Talk, fake: FakeOpenAI) -> None:
    fake.hostile = None
    fake.say("Well again.")
    assert await talk.say("and now?") == "Well again."


@pytest.mark.parametrize(
    ("level", "status"),
    [("conversations", 301), ("responses", 302), ("chat", 307), ("conversations", 308)],
)
async def test_no_redirect_is_followed(
    make: Make, fake: FakeOpenAI, level: Level, status: int
) -> None:
    async with FakeOpenAI() as elsewhere:
        fake.hostile = hostile.redirect(status, f"{elsewhere.base_url}/responses")
        talk = Talk(await make(level))
        with pytest.raises(ModelError, match="Set OPENAI_BASE_URL to the final URL"):
            await talk.say("a secret of ours")
        assert elsewhere.requests == []
        await goes_on(talk, fake)


async def test_a_probe_follows_none_either(make: Make, fake: FakeOpenAI) -> None:
    async with FakeOpenAI() as elsewhere:
        fake.hostile_at = {"/conversations", "/models", "/responses"}
        fake.hostile = hostile.redirect(308, f"{elsewhere.base_url}/conversations")
        model = await make(None)
        assert "Set OPENAI_BASE_URL to the final URL" in (await model.health()).words
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("level", "what"),
    [*(("conversations", what) for what in EXCESS), *(("chat", w) for w in READ_BY_THE_LEVEL)],
)
async def test_more_than_we_take_is_told_and_the_next_turn_works(
    make: Make, fake: FakeOpenAI, level: Level, what: str
) -> None:
    fake.hostile = EXCESS[what]()
    talk = Talk(await make(level))
    count = len(fake.requests)
    with pytest.raises(ModelError, match="sent more than the limit"):
        await talk.say("hello")
    posts = [r for r in fake.requests[count:] if r.path in fake.hostile_at]
    assert len(posts) == 1  # it is not asked for the same again
    await goes_on(talk, fake)


@every_level
async def test_what_never_ends_is_ended(make: Make, fake: FakeOpenAI, level: Level) -> None:
    start_event = asyncio.Event()

    async def endless(chat: bool) -> AsyncIterator[bytes]:
        async for piece in hostile.endless_nothing(chat):
            yield piece
            start_event.set()

    fake.hostile = hostile.streams(endless)
    talk = Talk(await make(level, silence_seconds=10 * server.MAX_ROUND_SECONDS))
    clock, saying = LoopClock(), asyncio.create_task(talk.say("hello"))
    await start_event.wait()
    await clock.skip_until_done(saying, server.MAX_ROUND_SECONDS)
    with pytest.raises(ModelError, match="sent more than the limit"):
        await saying
    await goes_on(talk, fake)


@every_level
async def test_comments_are_signs_of_life_up_to_the_limit_of_a_round(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    """llama.cpp sends nothing else while it reads a long prompt."""
    clock, pause = LoopClock(), 50.0
    due, has_come = asyncio.Event(), asyncio.Event()

    async def comments(chat: bool) -> AsyncIterator[bytes]:
        while True:
            yield b":\n\n"
            has_come.set()
            await due.wait()
            due.clear()

    fake.hostile = hostile.streams(comments)
    talk = Talk(await make(level, silence_seconds=60.0))
    saying = asyncio.create_task(talk.say("hello"))
    silences = 0
    while not saying.done():
        waiting = asyncio.create_task(has_come.wait())
        await asyncio.wait({saying, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        has_come.clear()
        await run_ready()
        clock.skip(pause)
        silences += 1
        due.set()
    with pytest.raises(ModelError, match="sent more than the limit"):
        await saying
    assert silences * pause >= server.MAX_ROUND_SECONDS
    await goes_on(talk, fake)


@pytest.mark.parametrize("end", [b"", b"data: [DONE]\n\n", b"data: [DONE]\n\n:\n\n"])
async def test_a_stream_that_stays_open_after_its_end_is_left(
    make: Make, fake: FakeOpenAI, end: bytes
) -> None:
    start_event = asyncio.Event()

    async def pieces(chat: bool) -> AsyncIterator[bytes]:
        stop = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        yield hostile.delta(chat, "Hello.") + hostile.event(stop) + end
        start_event.set()
        while True:
            await asyncio.sleep(1.0)
            yield b":\n\n"

    fake.hostile = hostile.streams(pieces)
    talk = Talk(await make("chat"))
    clock, saying = LoopClock(), asyncio.create_task(talk.say("hello"))
    await start_event.wait()
    await clock.skip_until_done(saying, 1.0)
    assert await saying == "Hello."
    await goes_on(talk, fake)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (hostile.error_body(4 * MB), ModelError, "rejected the request"),
        (hostile.headers(300_000), ModelDown, "isn't responding"),
    ],
)
async def test_an_error_is_read_to_its_cap_alone(
    make: Make, fake: FakeOpenAI, answer: Hostile, error: type[Exception], words: str
) -> None:
    fake.hostile = answer
    talk = Talk(await make("chat"))
    with pytest.raises(error, match=words):
        await talk.say("hello")
    await goes_on(talk, fake)


async def test_a_slow_listener_holds_the_server_back(make: Make, fake: FakeOpenAI) -> None:
    """What nobody heard yet does not pile up here."""
    sent = 0

    async def count_and_send(chat: bool):  # type: ignore[no-untyped-def]
        nonlocal sent
        async for piece in hostile.endless_words(chat):
            sent += len(piece)
            yield piece

    fake.hostile = hostile.streams(count_and_send)
    talk = Talk(await make("conversations"))
    talk.begin("hello")
    events = talk.events()
    while not isinstance(await anext(events), TextDelta):
        pass
    before = -1
    while before != sent < 16 * MB:  # as long as it still gets rid of something
        before = sent
        await run_ready()
    assert sent < 16 * MB
    await events.aclose()


CHILD = """
import asyncio, json, resource, sys
from dataclasses import replace
from core.base.errors import ModelError
from core.models.model_server import ModelOptions
from core.models.served_model import ServedModel
from core.base.openai import ModelEndpoint, ModelServerClient
from tests.model.talk import Talk

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

async def main():
    async def late(*_): pass
    options = replace(ModelOptions(secret=b"s"), silence_seconds=20.0)
    client = ModelServerClient(ModelEndpoint("sk-test", sys.argv[1]))
    models = {level: ServedModel(client, options, level=level, record_object_to_erase=late)
              for level in sys.argv[2:]}
    for model in models.values():
        await Talk(model).say("hello")
    idle = peak()
    print("idle", flush=True)
    while level := (await asyncio.to_thread(sys.stdin.readline)).strip():
        told = ""
        try:
            await Talk(models[level]).say("hello")
        except ModelError as error:
            told = error.words()
        print(json.dumps({"grown": peak() - idle, "told": told}), flush=True)
    for model in models.values():
        await model.close()

asyncio.run(main())
"""


@pytest.mark.slow
async def test_memory_stays_within_100_mb_of_the_idle_process(fake: FakeOpenAI) -> None:
    worst: dict[str, Callable[[], Hostile]] = {
        **EXCESS,
        "event": lambda: hostile.streams(hostile.endless_short_lines),
        "error": lambda: hostile.error_body(128 * MB),
    }
    levels = ("conversations", "chat")  # responses alone are read by the same code
    fake.say(*["Hello."] * len(levels))
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CHILD,
        fake.base_url,
        *levels,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdin
    assert child.stdout
    try:
        while b"idle" not in (line := await child.stdout.readline()):
            assert line
        cases = [("chat", what) for what in worst]
        for level, what in cases + [("conversations", what) for what in READ_BY_THE_LEVEL]:
            fake.hostile = worst[what]()
            child.stdin.write(f"{level}\n".encode())
            while not (line := await child.stdout.readline()).startswith(b"{"):
                assert line
            data = json.loads(line)
            assert data["told"], (level, what)
            assert data["grown"] < 100 * MB, (level, what, data)
    finally:
        child.stdin.close()
        await child.wait()
