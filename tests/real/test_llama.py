"""Ponte with a real model's server: llama.cpp's, and a model of 135 million parameters.

Nothing depends on the model's words. Fields that the proxy adds to Ponte's requests make its
answers short, or make it call a tool; they are llama.cpp's own.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest

from core.base.errors import TooLong
from core.base.openai import ModelEndpoint, ModelServerClient
from core.domain.messages import Usage
from core.domain.model_rounds import TextDelta
from core.domain.ports import Tool
from core.domain.records import Health
from core.domain.rights import Viewer
from core.models.model_server import ModelOptions
from core.models.served_model import Level, ServedModel
from core.tools.tool import FunctionTool
from core.turn.run import TurnConfig
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.openai import HasBaseUrl, open_served_bot
from tests.evals.told import read_requests
from tests.model.files import MemoryFiles
from tests.model.talk import Talk
from tests.model.test_input import PNG
from tests.real.llama import server
from tests.real.llama.proxy import Exchange, Json, RecordingProxy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
"""A machine with much else to do may compute one token in a second."""
LEVELS: tuple[Level, ...] = ("responses", "chat")
every_level = pytest.mark.parametrize("level", LEVELS)
"""For what this server does otherwise over each API. The rest goes over the one that Ponte chooses:
`tests/model` has both for all."""
WORD = {"type": "string", "pattern": "^[a-z]{12,24}$"}
BRIEF = {"response_format": {"type": "json_schema", "json_schema": {"schema": WORD}}}
"""The answer is a word in quotation marks."""
CALL = {"tool_choice": "required", "parallel_tool_calls": False, "logit_bias": [["{", 100]]}
"""The answer is one call. Without the bias the model may write for ever before it calls."""
ENDLESS = {"ignore_eos": True}
LONG_TEXT = "word " * 110
"""A message of which one fits into the context, and two do not."""
TOO_LONG_TEXT = "word " * 400


def answer_briefly(body: Json) -> Mapping[str, Any]:
    return BRIEF


def call_first(body: Json) -> Mapping[str, Any]:
    """Make the model call a tool, and answer when it has the tool's result."""
    last = (body.get("messages") or body["input"])[-1]
    has_result = last.get("role") == "tool" or last.get("type") == "function_call_output"
    return BRIEF if has_result else CALL


def read_usage(exchange: Exchange) -> Usage:
    """Return the tokens that the server counted."""
    usage = exchange.last_response["usage"]
    details = usage.get("input_tokens_details") or usage["prompt_tokens_details"]
    return Usage(
        input=usage.get("input_tokens") or usage["prompt_tokens"],
        output=usage.get("output_tokens") or usage["completion_tokens"],
        cached=details["cached_tokens"],
    )


class Codes:
    """A tool source with one tool. `cities` are those that the model asked for."""

    name = "codes"

    def __init__(self) -> None:
        self.cities: list[str] = []

    async def tools(self, viewer: Viewer) -> Sequence[Tool]:
        async def look_up(city: Literal["Lisbon"]) -> str:
            """Look up the code of a city."""
            self.cities.append(city)
            return f"The code of {city} is 351."

        return [FunctionTool(look_up, effect="read", doing="is looking it up…")]

    async def health(self) -> Health:
        return Health(self.name, "on")

    async def close(self) -> None:
        """It holds nothing open."""


@dataclass
class At:
    """Another URL of the same server."""

    base_url: str


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for the tests of this file, or one for each process that runs some of them."""
    if why := server.missing():
        pytest.skip(why)
    with server.llama(tmp_path_factory.mktemp("llama")) as origin:
        yield origin


@pytest.fixture
async def proxy(origin: str) -> AsyncIterator[RecordingProxy]:
    async with RecordingProxy(origin, answer_briefly) as proxy:
        yield proxy


@pytest.fixture
def home(tmp_path: Path) -> BotHome:
    return BotHome(tmp_path / "home")


def open_bot(
    home: BotHome, place: HasBaseUrl, level: Level | None, **options: Any
) -> AbstractAsyncContextManager[RunningBot]:
    """A bot with instructions that are short: each token of a request takes time here."""
    defaults = {
        "profile": TurnConfig(instructions="Be short."),
        "model": "smollm2",
        "key": server.KEY,
        "silence": 600.0,
    }
    return open_served_bot(home, place, level=level, **{**defaults, **options})


@pytest.fixture
async def make_talk(proxy: RecordingProxy) -> AsyncIterator[Callable[..., Talk]]:
    """Makes threads with the model that have no bot around them."""
    models: list[ServedModel] = []

    async def ignore(*_: object) -> None:
        """Nothing is stored at this server."""

    def make(level: Level, files: MemoryFiles | None = None, **options: Any) -> Talk:
        client = ModelServerClient(ModelEndpoint(server.KEY, proxy.base_url))
        model = ServedModel(
            client,
            ModelOptions(model="smollm2", silence_seconds=600.0),
            level=level,
            read=files.get if files else None,
            record_object_to_erase=ignore,
        )
        models.append(model)
        return Talk(model, **{"tools": (), "instructions": "Be short.", **options})

    yield make
    for model in models:
        await model.close()


async def test_its_level_is_found_out_without_tokens(home: BotHome, proxy: RecordingProxy) -> None:
    async with open_bot(home, proxy, None) as running_bot:
        assert (await running_bot.ask("hello")).status == "done"
    probes = [(e.path, e.status) for e in proxy.exchanges if "stream" not in e.body]
    assert probes == [("/v1/conversations", 404), ("/v1/responses", 400), ("/v1/models", 200)]
    assert [exchange.path for exchange in proxy.answers] == ["/v1/responses"]


@every_level
async def test_an_answer_is_posted_and_stored_once_with_its_tokens(
    home: BotHome, proxy: RecordingProxy, level: Level
) -> None:
    async with open_bot(home, proxy, level) as running_bot:
        answer = await running_bot.ask("hello")
        spending = await running_bot.engine.people.budget.usage_today()
        thread = await running_bot.engine.conversations.journal.current_thread("web:C1")
        transcript = await running_bot.engine.conversations.journal.transcript(thread.id)
    (exchange,) = proxy.answers
    assert (answer.status, answer.text) == ("done", exchange.text)
    assert home.recorder.visible("k1") == [exchange.text]
    assert [entry.item.text for entry in transcript] == ["hello", exchange.text]
    assert (spending.turns, spending.usage, spending.estimates) == (1, read_usage(exchange), 0)


@every_level
async def test_the_text_arrives_in_pieces(
    make_talk: Callable[..., Talk], proxy: RecordingProxy, level: Level
) -> None:
    talk = make_talk(level)
    answer = await talk.say("hello")
    assert sum(isinstance(event, TextDelta) for event in talk.heard) > 1
    assert talk.text == answer == proxy.answers[0].text


@every_level
async def test_a_call_runs_once_and_its_result_is_answered(
    home: BotHome, proxy: RecordingProxy, level: Level
) -> None:
    codes, proxy.add_fields = Codes(), call_first
    async with open_bot(home, proxy, level, sources=[codes]) as running_bot:
        answer = await running_bot.ask("What is the code of Lisbon?")
        spending = await running_bot.engine.people.budget.usage_today()
        proxy.add_fields = answer_briefly
        later = await running_bot.ask("Thank you")
    first, second, third = proxy.answers
    assert codes.cities == ["Lisbon"]
    assert (answer.status, answer.text) == ("done", second.text)
    assert (later.status, later.text) == ("done", third.text)
    usages = [read_usage(exchange) for exchange in (first, second)]
    assert spending.usage == Usage(
        input=sum(usage.input for usage in usages),
        cached=sum(usage.cached for usage in usages),
        output=sum(usage.output for usage in usages),
    )
    for exchange in (second, third):
        assert exchange.status == 200
        assert json.dumps(exchange.body).count("The code of Lisbon is 351.") == 1


async def test_a_call_that_is_cut_never_runs(home: BotHome, proxy: RecordingProxy) -> None:
    """Over the Responses API the server calls it completed."""
    codes, proxy.add_fields = Codes(), lambda body: {**call_first(body), "max_tokens": 20}
    async with open_bot(home, proxy, "responses", sources=[codes]) as running_bot:
        assert (await running_bot.ask("What is the code of Lisbon?")).text
        proxy.add_fields = answer_briefly
        assert (await running_bot.ask("hello")).status == "done"
    assert b"look_up" in proxy.answers[0].answer
    assert codes.cities == []


async def test_a_stop_frees_the_server(home: BotHome, proxy: RecordingProxy, origin: str) -> None:
    """This answer ends only when Ponte hangs up."""
    proxy.add_fields = lambda body: ENDLESS
    async with open_bot(home, proxy, "responses") as running_bot:
        _, receipt = await running_bot.send("Count")
        await proxy.text_began.wait()
        await running_bot.ask("stop")
        assert (await running_bot.wait_for_answer(receipt)).status == "stopped"
        await proxy.hung_up.wait()
        await wait_until_idle(origin)
        proxy.add_fields = answer_briefly
        assert (await running_bot.ask("And now?")).status == "done"


async def test_the_conversation_goes_on_after_the_server_died(
    home: BotHome, origin: str, tmp_path: Path
) -> None:
    """It dies within an answer, and another one takes its place."""
    with ExitStack() as stack:
        dying = stack.enter_context(server.llama(tmp_path))
        async with (
            RecordingProxy(dying, lambda body: ENDLESS) as proxy,
            open_bot(home, proxy, "responses") as running_bot,
        ):
            _, receipt = await running_bot.send("Count")
            await proxy.text_began.wait()
            proxy.upstream, proxy.add_fields = origin, answer_briefly
            stack.close()
            assert (await running_bot.wait_for_answer(receipt)).text
            later = await running_bot.ask("And now?")
            assert (later.status, later.text) == ("done", proxy.answers[-1].text)


async def wait_until_idle(origin: str) -> None:
    """Wait until the server computes nothing. It answers this between two tokens."""
    headers = {"Authorization": f"Bearer {server.KEY}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for _ in itertools.count():
            async with session.get(f"{origin}/slots") as answer:
                if not any(slot["is_processing"] for slot in await answer.json()):
                    return


class FourTokens:
    """A payment that is enough for an answer of four tokens."""

    async def __call__(self, tokens: int) -> int | None:
        return 4

    def on_refused_request(self) -> None:
        raise AssertionError("it was not refused")


@every_level
async def test_an_answer_that_reaches_our_limit_is_cut(
    make_talk: Callable[..., Talk], level: Level
) -> None:
    """Over the Responses API, the server calls it completed."""
    talk = make_talk(level)
    talk.payment = FourTokens()
    talk.begin("Count from 1 to 100.")
    assert (await talk.round()).is_truncated


async def test_an_answer_that_is_cut_says_so(home: BotHome, proxy: RecordingProxy) -> None:
    proxy.add_fields = lambda body: {**BRIEF, "max_tokens": 4}
    async with open_bot(home, proxy, "chat") as running_bot:
        answer = await running_bot.ask("Count")
    text = proxy.answers[0].text.strip()
    assert answer.text.startswith(text)
    assert answer.text != text


async def test_what_does_not_fit_is_left_out(home: BotHome, proxy: RecordingProxy) -> None:
    async with open_bot(home, proxy, "responses") as running_bot:
        await running_bot.ask(f"First {LONG_TEXT}")
        second = await running_bot.ask(f"Second {LONG_TEXT}")
        third = await running_bot.ask("Third")
    assert (second.status, third.status) == ("done", "done")
    # So small a window is not remembered, so the third message is refused once, too.
    assert [exchange.status for exchange in proxy.answers] == [200, 400, 200, 400, 200]
    requests = [json.dumps(exchange.body) for exchange in proxy.answers]
    assert ["First" in body for body in requests][2::2] == [False, False]
    assert "Second" in requests[2]


@every_level
async def test_a_message_that_is_too_long_is_refused_and_the_next_one_answered(
    home: BotHome, proxy: RecordingProxy, level: Level
) -> None:
    async with open_bot(home, proxy, level) as running_bot:
        answer = await running_bot.ask(TOO_LONG_TEXT)
        assert (answer.status, answer.code) == ("failed", TooLong.code)
        assert str(server.CONTEXT_TOKENS) not in answer.text
        assert (await running_bot.ask("hello")).status == "done"


async def test_a_wrong_key_is_worded(home: BotHome, proxy: RecordingProxy) -> None:
    async with open_bot(home, proxy, None, key="sk-wrong") as running_bot:
        answer = await running_bot.ask("hello")
    assert (answer.status, answer.code) == ("failed", "wrong_key")
    assert "OPENAI_API_KEY" in answer.text
    assert "Invalid API Key" not in answer.text, "the server's text"


@pytest.mark.parametrize("level", [None, *LEVELS])
async def test_a_wrong_path_is_worded(
    home: BotHome, proxy: RecordingProxy, level: Level | None
) -> None:
    async with open_bot(home, At(f"{proxy.base_url}/nowhere"), level) as running_bot:
        answer = await running_bot.ask("hello")
    assert (answer.status, answer.code) == ("failed", "model_down")
    assert "OPENAI_BASE_URL" in answer.text
    assert "File Not Found" not in answer.text, "the server's text"


@every_level
async def test_an_invalid_request_is_worded_and_the_next_one_answered(
    home: BotHome, proxy: RecordingProxy, level: Level
) -> None:
    proxy.add_fields = lambda body: {"grammar": "no grammar"}
    async with open_bot(home, proxy, level) as running_bot:
        answer = await running_bot.ask("hello")
        proxy.add_fields = answer_briefly
        assert (await running_bot.ask("hello")).status == "done"
    assert [exchange.status for exchange in proxy.answers] == [400, 200]
    assert answer.status == "failed"
    assert "rejected the request" in answer.text
    assert "grammar" not in answer.text, "the server's text"


async def test_a_server_that_takes_no_tools_is_worded_at_once(origin: str, tmp_path: Path) -> None:
    with server.llama(tmp_path, takes_tools=False) as plain:
        for level in LEVELS:
            async with (
                RecordingProxy(plain, answer_briefly) as proxy,
                open_bot(BotHome(tmp_path / level), proxy, level, sources=[Codes()]) as running_bot,
            ):
                answer = await running_bot.ask("hello")
            assert answer.status == "failed"
            assert "--jinja" in answer.text
            assert "tools param" not in answer.text, "the server's text"
            assert [exchange.status for exchange in proxy.answers] == [500]


async def test_a_name_that_it_does_not_have_is_its_only_model(
    home: BotHome, proxy: RecordingProxy
) -> None:
    async with open_bot(home, proxy, None, model="gpt-7") as running_bot:
        assert (await running_bot.ask("hello")).status == "done"


async def test_a_picture_is_left_out(make_talk: Callable[..., Talk], proxy: RecordingProxy) -> None:
    files = MemoryFiles()
    talk = make_talk("responses", files)
    assert await talk.say("What is this?", [files.add("cat.png", "image/png", PNG)])
    assert await talk.say("Thank you")
    assert [exchange.status for exchange in proxy.answers] == [500, 200, 200]
    assert "cat.png" in json.dumps(proxy.answers[-1].body)


@every_level
async def test_it_reads_the_schema_of_every_tool(
    make_talk: Callable[..., Talk], proxy: RecordingProxy, level: Level
) -> None:
    """It reads them before it counts tokens, of which there are too many here."""
    proxy.add_fields = lambda body: CALL
    request = (await read_requests(["page"]))["page"]
    assert len(request.tools) > 10
    with pytest.raises(TooLong):
        await make_talk(level, tools=tuple(request.tools)).say("hello")
