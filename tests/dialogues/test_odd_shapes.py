"""A model's server whose JSON has other types than the API says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from aiohttp import web

from core.models.served_model import Level
from core.money.allowances import MAX_OUTPUT_TOKENS
from core.tools.tool import tool
from tests.dialogues.bot_home import BotHome
from tests.dialogues.openai import open_served_bot
from tests.dialogues.test_allowances import PRICES, Source
from tests.dialogues.test_content import ALLOWED, HALF, calls_of_model, every_level, read_budget
from tests.fakes.openai import FakeOpenAI, Script, hostile

CREATED = {"type": "response.created", "response": {"id": "resp_odd", "status": "in_progress"}}


def _chat(**delta: Any) -> dict[str, Any]:
    return {"id": "c1", "choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}]}


def _final(**response: Any) -> dict[str, Any]:
    final = {"id": "resp_odd", "status": "completed", "output": [], **response}
    return {"type": "response.completed", "response": final}


ODD_CHAT = {
    "choices no list": {"id": "c1", "choices": {"a": 1}},
    "choice no object": {"id": "c1", "choices": ["Hi"]},
    "delta no object": {"id": "c1", "choices": [{"delta": "Hi", "finish_reason": "stop"}]},
    "calls no list": _chat(tool_calls={"0": {}}),
    "call no object": _chat(tool_calls=["look"]),
    "index no number": _chat(tool_calls=[{"index": "first", "id": "a"}]),
    "index a list": _chat(tool_calls=[{"index": [1], "id": "a"}]),
    "function no object": _chat(tool_calls=[{"index": 0, "id": "a", "function": "look"}]),
}
ODD_RESPONSES = {
    "item no object": {"type": "response.output_item.done", "item": "Hi"},
    "added no object": {"type": "response.output_item.added", "item": ["Hi"]},
    "response no object": {"type": "response.completed", "response": "done"},
    "output no list": _final(output={"type": "message"}),
    "output of texts": _final(output=["Hi"]),
    "output a number": _final(output=7),
    "content no list": _final(output=[{"type": "message", "content": 7}]),
    "details no object": _final(status="incomplete", incomplete_details="length"),
    "error no object": _final(status="failed", error="it broke"),
    "created no object": {"type": "response.created", "response": ["resp"]},
}


@every_level
async def test_an_answer_of_other_types_ends_the_turn_and_is_charged(
    bot_home: BotHome, fake: FakeOpenAI, level: Level
) -> None:
    """It is asked once more at most, where the stream seems to have broken off."""
    odd = ODD_CHAT if level == "chat" else ODD_RESPONSES
    charged = 0
    async with open_served_bot(
        bot_home, fake, allowed=ALLOWED, prices=PRICES, level=level
    ) as ponte:
        for number, what in enumerate(odd):
            fake.hostile = hostile.streams(partial(_pieces, odd[what]))
            before = calls_of_model(fake)
            answer = await ponte.ask("hello", channel=f"C{number}")
            times = calls_of_model(fake) - before
            assert (answer.status, times in (1, 2)) == ("failed", True), what
            tokens, _, reservations = await read_budget(ponte)
            assert (tokens - charged > times * MAX_OUTPUT_TOKENS, reservations) == (True, 0), what
            charged = tokens
            fake.hostile = None
            fake.say("Well again.")
            again = await ponte.ask("again", channel=f"C{number}")
            assert again.text.startswith("Well again."), what  # a note on the allowance may follow
            charged, _, _ = await read_budget(ponte)


async def test_a_call_whose_number_is_null_is_run(bot_home: BotHome, fake: FakeOpenAI) -> None:
    function = {"name": "look", "arguments": "{}"}
    odd = _chat(tool_calls=[{"index": None, "id": "a", "function": function}])
    fake.hostile = hostile.streams(partial(_pieces, odd))

    @tool(effect="read", doing="is looking…")
    async def look() -> str:
        """Look."""
        fake.hostile = None
        fake.say("Seen.")
        return "a row"

    async with open_served_bot(bot_home, fake, [Source(look)], level="chat") as ponte:
        assert (await ponte.ask("look")).text == "Seen."


async def test_an_equal_call_that_came_twice_runs_once_and_says_so(
    bot_home: BotHome, fake: FakeOpenAI
) -> None:
    """A server may have repeated its event, or the model may want it twice: it reads how often the
    call ran."""
    function = {"name": "look", "arguments": "{}"}
    call = {"index": 0, "id": "", "function": function}
    odd = {"id": "c1", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}

    async def twice(chat: bool) -> AsyncIterator[bytes]:
        yield hostile.event(odd) * 2 + hostile.event(_chat())

    fake.hostile, ran = hostile.streams(twice), []

    @tool(effect="read", doing="is looking…")
    async def look() -> str:
        """Look."""
        ran.append(1)
        fake.hostile = None
        fake.say("Seen.")
        return "a row"

    async with open_served_bot(bot_home, fake, [Source(look)], level="chat") as ponte:
        assert (await ponte.ask("look")).text == "Seen."
    outputs = [m["content"] for m in fake.requests[-1].body["messages"] if m["role"] == "tool"]
    assert ran == [1]
    assert len(outputs) == 1
    assert outputs[0].startswith("a row\n[This call arrived twice in the same form, and ran once.")


@every_level
async def test_half_an_emoji_in_a_refusal_of_the_server(
    bot_home: BotHome, fake: FakeOpenAI, level: Level
) -> None:
    """Such a code is not shown."""
    fake.say(Script(status=400, code=f"bad{HALF}"), "Well again.")
    async with open_served_bot(bot_home, fake, level=level) as ponte:
        one, receipt = await ponte.send("hello")
        answer = await ponte.wait_for_answer(receipt)
        assert "(HTTP 400)" in answer.text
        assert "bad" not in answer.text
        assert (await ponte.ask("again")).text == "Well again."
    assert bot_home.recorder.visible(one.event_key) == list(answer.parts)
    assert all(HALF not in part for part in answer.parts)


async def test_a_wait_that_is_no_number_breaks_nothing(bot_home: BotHome, fake: FakeOpenAI) -> None:
    async with open_served_bot(bot_home, fake, level="chat") as ponte:
        for wait in ("inf", "nan", "1e400", "-5", "soon"):
            headers = {"Retry-After-Ms": wait}

            async def busy(_: web.Request, headers: dict[str, str] = headers) -> web.Response:
                return web.Response(status=429, headers=headers)

            fake.hostile = busy
            assert (await ponte.ask("hello")).code == "rate_limited", wait


async def _pieces(odd: Any, chat: bool) -> AsyncIterator[bytes]:
    if not chat:
        yield hostile.event(CREATED)
    yield hostile.event(odd)
    if chat:
        yield b"data: [DONE]\n\n"
