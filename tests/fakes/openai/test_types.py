"""Everything the fake says is what the openai package's own types say."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI

from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.openai.types import check

TOOL = {
    "type": "function",
    "name": "tables",
    "strict": True,
    "description": "",
    "parameters": {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    },
}
SCRIPTS = [
    Script(text="The answer."),
    Script(text="I look.", calls=(("tables", "{}"), ("tables", '{"a": 1}')), reasoning=True),
    Script(refusal="I will not.", phase="final_answer"),
    Script(text="Too lo", incomplete="max_output_tokens"),
    Script(text="hm", incomplete="content_filter", compaction=True),
    Script(text="It broke", fail="failed"),
]


@pytest.fixture
async def client(fake: FakeOpenAI) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key="k", base_url=fake.base_url, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("script", SCRIPTS)
async def test_responses_have_the_types_of_the_package(
    fake: FakeOpenAI, client: AsyncOpenAI, script: Script
) -> None:
    fake.say(script, script)
    conversation = await client.conversations.create(metadata={"a": "b"})
    request = {"model": "gpt-6-luna", "input": "hello", "tools": [TOOL]}
    stream = await client.post(
        "/responses",
        cast_to=object,
        body={**request, "conversation": conversation.id, "stream": True},
        stream=True,
        stream_cls=openai.AsyncStream[object],
    )
    numbers = [event["sequence_number"] async for event in stream if isinstance(event, dict)]
    whole = await client.post("/responses", cast_to=object, body=request)
    assert numbers == list(range(len(numbers)))
    assert whole
    await client.conversations.items.list(conversation.id, order="asc")
    await client.conversations.delete(conversation.id)
    for kind, value in fake.emitted:
        check(kind, value)


@pytest.mark.parametrize("script", SCRIPTS[:5])
async def test_chat_completions_have_the_types_of_the_package(
    fake: FakeOpenAI, client: AsyncOpenAI, script: Script
) -> None:
    fake.say(script, script)
    request = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "hello"}]}
    await client.post("/chat/completions", cast_to=object, body=request)
    data = {**request, "stream": True, "stream_options": {"include_usage": True}}
    stream = await client.post(
        "/chat/completions",
        cast_to=object,
        body=data,
        stream=True,
        stream_cls=openai.AsyncStream[object],
    )
    assert [chunk async for chunk in stream]
    for kind, value in fake.emitted:
        check(kind, value)


async def test_error_event(fake: FakeOpenAI, client: AsyncOpenAI) -> None:
    fake.say(Script(text="half of it", fail="error_event"))
    stream = await client.responses.create(model="gpt-6-luna", input="hello", stream=True)
    with pytest.raises(openai.APIConnectionError):
        assert [event.type async for event in stream]
    for kind, value in fake.emitted:
        check(kind, value)
    assert fake.emitted[-1][1]["type"] == "error"


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (
            [{"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}],
            "No tool output found for function call c1.",
        ),
        (
            [{"type": "function_call_output", "call_id": "c1", "output": "x"}],
            "No tool call found for function call output with call_id c1.",
        ),
    ],
)
async def test_calls_without_outputs_are_refused(
    fake: FakeOpenAI, client: AsyncOpenAI, items: list[object], words: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        await client.post(
            "/responses", cast_to=object, body={"model": "gpt-6-luna", "input": items}
        )


async def test_strict_schemas(fake: FakeOpenAI, client: AsyncOpenAI) -> None:
    open_map = {**TOOL, "parameters": {"type": "object", "properties": {}}}
    with pytest.raises(openai.BadRequestError) as error:
        await client.post(
            "/responses",
            cast_to=object,
            body={"model": "gpt-6-luna", "input": "x", "tools": [open_map]},
        )
    assert error.value.code == "invalid_function_parameters"


async def test_limits_of_conversations_are_enforced(fake: FakeOpenAI, client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="array too long"):
        await client.conversations.create(items=[{"role": "user", "content": "x"}] * 21)
    with pytest.raises(openai.BadRequestError, match="metadata"):
        await client.conversations.create(metadata={"a": "x" * 513})


async def test_assistants_are_gone(fake: FakeOpenAI, client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await client.post("/assistants", cast_to=object, body={})
    with pytest.raises(openai.NotFoundError):
        await client.post("/threads", cast_to=object, body={})
