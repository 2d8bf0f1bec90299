"""What every tool promises, over each tool that there is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial

import pytest

from core.base.errors import ToolError
from core.base.http import HttpClient
from core.domain.ports import Tool
from core.domain.records import Outcome, ToolContext
from core.domain.rights import Viewer
from core.tools.code.source import CodeSource
from core.tools.nocodb.bridge import BridgeSource
from core.tools.nocodb.source import NocoSource
from core.tools.stackspot.source import StackSpotSource
from core.tools.tool import MAX_OUTCOME_CHARACTERS, Toolbox, tool
from tests.core.tools.scene import Seen, ctx
from tests.core.tools.strict import breaches
from tests.fakes.bridge import FakeBridge
from tests.fakes.bridge_tables import CUSTOMERS
from tests.fakes.code import FakeBackend
from tests.fakes.config import FixedConfig
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.quick_commands import RegisteredCommands
from tests.fakes.stackspot import FakeStackSpot
from tests.fakes.stackspot.clock import SteppedClock
from tests.stackspot.command_scene import client


@dataclass(frozen=True)
class Case:
    """A tool with a call that works and one that it refuses, as a model would write them."""

    tool: Tool
    good: str
    bad: str


@tool(effect="read", doing="is repeating…")
async def echo(ctx: ToolContext, text: str, times: int = 1) -> str:
    """Say a text again.

    Args:
        text: what to say
        times: how often
    """
    await ctx.turn.show_progress("is repeating…")
    if times < 1:
        raise ToolError("Once is the least.", code="bad_arguments", hint="times >= 1")
    return text * times


@contextlib.asynccontextmanager
async def an_echo() -> AsyncIterator[Case]:
    yield Case(echo, '{"text":"ab","times":9000}', '{"text":"a","times":0}')


@contextlib.asynccontextmanager
async def the_bridge() -> AsyncIterator[Case]:
    async with FakeBridge() as bridge, HttpClient() as http:
        (result,) = await BridgeSource(bridge.url, "", http).tools(Viewer())
        good = {"tool": "list_records", "args": {"table_id": CUSTOMERS}}
        yield Case(result, json.dumps(good), '{"tool":"delete_base","args":{"base_id":"x"}}')


@contextlib.asynccontextmanager
async def python() -> AsyncIterator[Case]:
    (result,) = await CodeSource(FakeBackend()).tools(Viewer())
    yield Case(result, '{"code":"2 + 2"}', '{"code":" "}')


@contextlib.asynccontextmanager
async def nocodb(name: str, good: str, bad: str) -> AsyncIterator[Case]:
    async with FakeNocoDB() as server, HttpClient() as http:
        source = NocoSource(server.origin, filled.EDITOR, http, pauses=())
        yield Case(await Toolbox([source]).find(name), good, bad)


@contextlib.asynccontextmanager
async def a_quick_command() -> AsyncIterator[Case]:
    clock = SteppedClock()
    async with FakeStackSpot(clock=clock.now) as fake, client(fake.url, clock) as stackspot:
        (result,) = await StackSpotSource(stackspot, RegisteredCommands(), FixedConfig()).tools(
            Viewer()
        )
        yield Case(result, '{"slug":"echo","input":{"a":1}}', '{"slug":"daily-summary","input":{}}')


@contextlib.asynccontextmanager
async def an_agent() -> AsyncIterator[Case]:
    clock = SteppedClock()
    async with FakeStackSpot(clock=clock.now) as fake, client(fake.url, clock) as stackspot:
        config = FixedConfig(known_agents={"reviewer": ("01AGENT", "", "")})
        source = StackSpotSource(stackspot, RegisteredCommands(), config)
        _, result = await source.tools(Viewer())
        fake.answer("agent", *[200] * 20, body={"message": "I am the agent."})
        yield Case(result, '{"agent":"reviewer","prompt":"Hm?"}', '{"agent":"a/b","prompt":"Hm?"}')


CASES = {
    "echo": an_echo,
    "bridge": the_bridge,
    "python": python,
    "quick command": a_quick_command,
    "agent": an_agent,
    "query": partial(
        nocodb, "nocodb_query", '{"table":"Orders","limit":50}', '{"table":"Orders","limit":51}'
    ),
    "summarize": partial(
        nocodb, "nocodb_summarize", '{"table":"Orders","group_by":"Due"}', '{"table":"Nothing"}'
    ),
    "get": partial(nocodb, "nocodb_get", '{"table":"Orders","id":7}', '{"table":"Orders","id":0}'),
}


@pytest.fixture(params=CASES.values(), ids=[*CASES])
async def case(request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    make: Callable[[], AbstractAsyncContextManager[Case]] = request.param
    async with make() as new_item:
        yield new_item


def test_it_tells_the_model_and_the_person_what_it_is(case: Case) -> None:
    assert breaches(case.tool.spec) == []
    assert json.loads(json.dumps(dict(case.tool.spec.parameters))) == case.tool.spec.parameters
    assert case.tool.effect in ("read", "write", "spend", "code")
    assert re.fullmatch(r"is .+…", case.tool.progress_text)
    properties = case.tool.spec.parameters["properties"]
    assert properties
    # Their names, enumerations and parts say it; each word costs tokens in every request.
    plain = {
        "bucket",
        "filters",
        "group_by",
        "id",
        "limit",
        "match",
        "page",
        "slug",
        "sort",
        "table",
    }
    descriptions = {name for name, each in properties.items() if each.get("description")}
    assert properties.keys() - descriptions <= plain


async def test_it_answers_within_the_cap_and_refuses_in_words(case: Case) -> None:
    outcome = await case.tool.run(ctx(Seen()), case.good)
    assert isinstance(outcome, Outcome)
    assert outcome.status == "ok"
    assert 0 < len(outcome.text) <= MAX_OUTCOME_CHARACTERS
    with pytest.raises(ToolError) as error:
        await case.tool.run(ctx(), case.bad)
    assert error.value.code != "tool"
    assert str(error.value).endswith(".")


async def test_it_serves_many_at_once(case: Case) -> None:
    outcomes = await asyncio.gather(*(case.tool.run(ctx(), case.good) for _ in range(20)))
    assert len({outcome.text for outcome in outcomes}) == 1


async def test_no_arguments_that_a_model_writes_break_it(case: Case) -> None:
    strange = '{"text":1,"tool":1,"strange":1}'
    for arguments in ("", "{", "null", "7", '"text"', "[]", strange, "{} {}"):
        with pytest.raises(ToolError) as error:
            pytest.fail(f"{arguments} was accepted: {await case.tool.run(ctx(), arguments)}")
        assert error.value.code in ("bad_json", "bad_arguments"), arguments
        assert error.value.hint, arguments
