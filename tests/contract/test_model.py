"""What every model keeps to, whichever server or parser answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from core.base.openai import ModelEndpoint, ModelServerClient
from core.domain.model_rounds import ResponseStarted, RoundCompleted, TextDelta, ToolSpec
from core.domain.ports import Model
from core.domain.records import Remote
from core.models.demo_model import DemoModel
from core.models.model_server import ModelOptions
from core.models.served_model import Level, ServedModel
from tests.fakes.aimock import aimock, missing
from tests.fakes.openai import FakeOpenAI, Script
from tests.model.talk import Talk
from tests.time_limits import Limits

CODE = {"type": "object", "properties": {"code": {"type": "string"}}}
PYTHON = ToolSpec(
    "run_python", "Runs Python.", {**CODE, "required": ["code"], "additionalProperties": False}
)
RUN, RAN = "run python print(2 + 2)", "4 it is"
HELLO = "Hello! I am a model that speaks in several pieces."
ARGUMENTS = '{"code": "print(2 + 2)"}'
SCRIPTS = (
    Script(text=f"The result: {RAN}", match=RAN, times=0),
    Script(calls=(("run_python", ARGUMENTS),), match=RUN, times=0),
    Script(text=HELLO, match="hello", times=0),
)
FIXTURES: list[dict[str, Any]] = [
    {"match": {"toolResultContains": RAN}, "response": {"content": f"The result: {RAN}"}},
    {"match": {"userMessage": RUN},
     "response": {"toolCalls": [{"name": "run_python", "arguments": ARGUMENTS}]}},
    {"match": {"userMessage": "hello"}, "response": {"content": HELLO}},
]  # fmt: skip
KINDS = (
    *("demo", "conversations", "responses", "chat", "auto", "odd responses", "odd chat"),
    *("aimock auto", "aimock responses", "aimock chat"),
)


async def nobody(thread: str, remote: Remote) -> None:
    return None


@asynccontextmanager
async def serve_model(kind: str, base_url: str) -> AsyncIterator[Model]:
    levels: dict[str, Level] = {
        "conversations": "conversations",
        "responses": "responses",
        "chat": "chat",
    }
    client = ModelServerClient(ModelEndpoint("sk-test", base_url))
    model = ServedModel(
        client, ModelOptions(), level=levels.get(kind), record_object_to_erase=nobody
    )
    try:
        yield model
    finally:
        await model.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def aimock_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    if why := missing():
        pytest.skip(why)
    async with aimock(FIXTURES, tmp_path_factory.mktemp("aimock")) as url:
        yield url


@pytest.fixture(params=KINDS)
def kind_and_url(request: pytest.FixtureRequest) -> tuple[str, str]:
    """`url` is "" for the kinds that need no server of others."""
    kind = str(request.param)
    return kind, request.getfixturevalue("aimock_url") if kind.startswith("aimock") else ""


@pytest.fixture
async def model(kind_and_url: tuple[str, str]) -> AsyncIterator[Model]:
    kind, url = kind_and_url
    if kind == "demo":
        yield DemoModel()
    elif kind.startswith("aimock"):
        async with serve_model(kind[7:], url) as model:
            yield model
    else:
        level = kind.removeprefix("odd ")
        async with FakeOpenAI() as fake, serve_model(level, fake.base_url) as model:
            fake.odd = {"all"} if kind != level else set()
            fake.say(*SCRIPTS)
            yield model


@pytest.fixture
def talk(model: Model) -> Talk:
    return Talk(model, tools=(PYTHON,), run=lambda name, arguments: RAN)


async def test_it_speaks_in_pieces_and_ends_with_the_whole(talk: Talk) -> None:
    answer = await talk.say("hello")
    pieces = [n for n, event in enumerate(talk.heard) if isinstance(event, TextDelta)]
    assert len(pieces) > 1
    assert talk.text == answer
    assert isinstance(talk.heard[-1], RoundCompleted)
    assert sum(isinstance(event, RoundCompleted) for event in talk.heard) == 1
    names = [n for n, event in enumerate(talk.heard) if isinstance(event, ResponseStarted)]
    assert all(n < pieces[0] for n in names), "a name for the response comes before any word"


async def test_it_calls_a_tool_and_answers_from_its_outcome(talk: Talk) -> None:
    talk.begin(RUN)
    completion = await talk.round()
    (call,) = [item for item in completion.items if item.kind == "call"]
    assert (call.name, call.arguments) == ("run_python", ARGUMENTS)
    assert call.call_id
    assert RAN in await talk.say(RUN)


async def test_it_goes_on_after_somebody_stopped_listening(talk: Talk) -> None:
    talk.begin("hello")
    events = talk.events()
    async for event in events:
        if isinstance(event, TextDelta):
            break
    await events.aclose()
    assert RAN in await talk.say(RUN)


async def test_it_takes_up_a_thread_that_it_never_saw(talk: Talk, model: Model) -> None:
    """Another process, or another model, had the first half."""
    await talk.say("hello")
    elsewhere = Talk(model, tools=(PYTHON,), run=talk.run, transcript=talk.transcript, seq=talk.seq)
    assert RAN in await elsewhere.say(RUN)


async def test_a_round_from_before_a_crash_is_answered(talk: Talk) -> None:
    talk.begin("hello")
    completion = await talk.round(response="resp_that_nobody_has")
    assert completion.items[-1].text


async def test_it_reports_its_health_erases_what_is_not_there_and_may_be_closed_twice(
    model: Model, limits: Limits
) -> None:
    limits(HEALTH_WAIT_SECONDS=60.0)
    health = await model.health()
    assert (health.name, health.state) == ("model", "on")
    assert health.words
    assert model.name
    assert model.level in ("conversations", "responses", "chat", "demo")
    for remote in (Remote("conversation", "conv_none"), Remote("response", "resp_none")):
        assert await model.erase(remote) is not isinstance(model, DemoModel)
    await model.close()
    await model.close()
