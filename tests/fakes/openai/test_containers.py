"""The fake's containers and code interpreter, asked through the openai package itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseCodeInterpreterToolCall

from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.openai.script import Run
from tests.fakes.openai.types import check

FORCED: dict[str, Any] = {"tool_choice": {"type": "code_interpreter"}}
OUTPUTS: dict[str, Any] = {"include": ["code_interpreter_call.outputs"]}


@pytest.fixture
async def client(fake: FakeOpenAI) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key="k", base_url=fake.base_url, max_retries=0) as client:
        yield client
    for kind, value in fake.emitted:
        check(kind, value)


async def ask(
    client: AsyncOpenAI, container: str, code: str = "print(42)", **more: Any
) -> Response:
    tool: Any = {"type": "code_interpreter", "container": container}
    answer = await client.responses.create(model="gpt-6-luna", input=code, tools=[tool], **more)
    assert isinstance(answer, Response)
    return answer


def calls(answer: Response) -> list[ResponseCodeInterpreterToolCall]:
    return [i for i in answer.output if isinstance(i, ResponseCodeInterpreterToolCall)]


def logs(answer: Response) -> list[str]:
    outputs = [output for call in calls(answer) for output in call.outputs or ()]
    return [output.logs for output in outputs if output.type == "logs"]


async def test_code_runs_where_it_is_forced_and_keeps_its_state(client: AsyncOpenAI) -> None:
    new_item = await client.containers.create(name="mine")
    await ask(client, new_item.id, "x = 41", **FORCED)
    assert logs(await ask(client, new_item.id, "x + 1", **FORCED, **OUTPUTS)) == ["42\n"]


async def test_outputs_are_null_unless_they_are_asked_for(client: AsyncOpenAI) -> None:
    new_item = await client.containers.create(name="mine")
    answer = await ask(client, new_item.id, **FORCED)
    assert [call.outputs for call in calls(answer)] == [None]
    assert logs(await client.responses.retrieve(answer.id)) == []
    again = await client.responses.retrieve(answer.id, include=["code_interpreter_call.outputs"])
    assert logs(again) == ["42\n"]


@pytest.mark.parametrize("choice", [{}, {"tool_choice": "auto"}, {"tool_choice": "none"}])
async def test_code_does_not_run_unasked(client: AsyncOpenAI, choice: dict[str, Any]) -> None:
    new_item = await client.containers.create(name="mine")
    assert calls(await ask(client, new_item.id, **choice)) == []


async def test_no_more_runs_than_allowed(fake: FakeOpenAI, client: AsyncOpenAI) -> None:
    new_item = await client.containers.create(name="mine")
    fake.runs(Script(runs=(Run(), Run())))
    assert len(calls(await ask(client, new_item.id, max_tool_calls=1, **FORCED))) == 1


async def test_a_container_expires_when_nobody_uses_it(
    fake: FakeOpenAI, client: AsyncOpenAI
) -> None:
    new_item = await client.containers.create(name="mine")
    for _ in range(3):
        fake.later += 19 * 60
        await ask(client, new_item.id, **FORCED)
    fake.later += 21 * 60
    assert (await client.containers.retrieve(new_item.id)).status == "expired"
    for asking in (
        ask(client, new_item.id),
        client.containers.files.list(new_item.id),
        client.containers.files.create(new_item.id, file=("a.txt", b"a")),
    ):
        with pytest.raises(openai.BadRequestError, match=r"Container is expired\."):
            await asking


async def test_an_unknown_container_is_not_found(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Container with id 'none' not found"):
        await ask(client, "none")
    with pytest.raises(openai.NotFoundError):
        await client.containers.delete("none")


async def test_the_tool_needs_a_container_and_the_choice_a_tool(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"tools\[0\]\.container"):
        await ask(client, "")
    with pytest.raises(openai.BadRequestError, match="not found in 'tools'"):
        await client.responses.create(model="gpt-6-luna", input="x", **FORCED)


async def test_an_auto_container_is_paid_each_time(fake: FakeOpenAI, client: AsyncOpenAI) -> None:
    tool: Any = {"type": "code_interpreter", "container": {"type": "auto"}}
    for _ in range(2):
        await client.responses.create(model="gpt-6-luna", input="x", tools=[tool])
    assert fake.containers.cost == pytest.approx(0.06)


async def test_files_go_in_and_out(client: AsyncOpenAI) -> None:
    new_item = await client.containers.create(name="mine")
    put = await client.containers.files.create(new_item.id, file=("in.txt", b"abc"))
    assert (put.path, put.bytes, put.source) == ("/mnt/data/in.txt", 3, "user")
    code = "open('out.txt', 'w').write(open('/mnt/data/in.txt').read().upper())"
    await ask(client, new_item.id, code, **FORCED)
    listings = [
        file async for file in client.containers.files.list(new_item.id, order="asc", limit=1)
    ]
    assert [(file.path, file.source) for file in listings] == [
        ("/mnt/data/in.txt", "user"),
        ("/mnt/data/out.txt", "assistant"),
    ]
    download = await client.containers.files.content.retrieve(
        listings[1].id, container_id=new_item.id
    )
    assert await download.aread() == b"ABC"


async def test_cited_files_are_named_where_they_stand(
    fake: FakeOpenAI, client: AsyncOpenAI
) -> None:
    new_item = await client.containers.create(name="mine")
    fake.runs(Script(text="done", runs=(Run(logs="", files=(("a.png", b"a"), ("b.png", b"b"))),)))
    answer = await ask(client, new_item.id, **FORCED)
    text = answer.output_text
    notes = [
        note
        for item in answer.output
        if item.type == "message"
        for part in item.content
        if part.type == "output_text"
        for note in part.annotations
    ]
    cited = [text[n.start_index : n.end_index] for n in notes if n.type != "file_path"]  # type: ignore[union-attr]  # only containers' files are cited here
    assert cited == [
        "[Download a.png](sandbox:/mnt/data/a.png)",
        "[Download b.png](sandbox:/mnt/data/b.png)",
    ]


@pytest.mark.parametrize(
    "script",
    [
        Script(text="done", runs=(Run(),)),
        Script(text="done", runs=(Run(logs="", files=(("a.png", b"a"),), images=("data:x",)),)),
        Script(refusal="I will not.", runs=()),
        Script(text="half", runs=(Run(status="incomplete"),), incomplete="max_output_tokens"),
    ],
)
async def test_streams_of_it_are_typed(
    fake: FakeOpenAI, client: AsyncOpenAI, script: Script
) -> None:
    new_item = await client.containers.create(name="mine")
    fake.runs(script)
    tool: Any = {"type": "code_interpreter", "container": new_item.id}
    stream = await client.responses.create(
        model="gpt-6-luna", input="print(1)", tools=[tool], stream=True, **FORCED, **OUTPUTS
    )
    kinds = [event.type async for event in stream]
    assert ("response.code_interpreter_call.completed" in kinds) == bool(script.runs)
