"""Errors as other servers and gateways send them: what people read, what is asked again, and that
the next message is answered."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from core.base.errors import (
    ModelDown,
    ModelError,
    ModelRefused,
    NoQuota,
    RateLimited,
    TooLong,
    WrongKey,
)
from core.domain.model_rounds import ToolSpec
from core.domain.ports import Model
from core.domain.records import Thread
from core.models.served_model import Level
from tests.fakes.openai import FakeOpenAI, Script, errors
from tests.fakes.openai.errors import GatewayError
from tests.model.conftest import LEVELS, Make, every_level
from tests.model.files import MemoryFiles
from tests.model.talk import TABLES, Talk

PNG = b"\x89PNG\r\n\x1a\n picture"
Refuses = Callable[[Mapping[str, Any]], bool]
SHORTENED = {n: errors.TOO_LONG[n] for n in ("llama.cpp", "llama.cpp, event", "nginx")}


def each(errors: Mapping[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("error", errors.values(), ids=list(errors))


def at_levels(errors: Mapping[str, Any]) -> pytest.MarkDecorator:
    """Each error at one level: what it says does not depend on the level."""
    cases = list(zip(itertools.cycle(LEVELS), errors.values(), strict=False))
    return pytest.mark.parametrize(("level", "error"), cases, ids=list(errors))


def talk_with(model: Model, **options: Any) -> Talk:
    return Talk(model, preface="", **options)


def question_bodies(fake: FakeOpenAI) -> list[dict[str, Any]]:
    return fake.request_bodies("/responses") + fake.request_bodies("/chat/completions")


def refuse(fake: FakeOpenAI, error: GatewayError, refuses: Refuses = bool) -> None:
    fake.refuses = lambda body: error if refuses(body) else None


def contains(word: str) -> Refuses:
    return lambda body: word in json.dumps(body)


async def fails(make: Make, fake: FakeOpenAI, level: Level, error: GatewayError) -> ModelError:
    """Ask with an error for each answer and return what the person reads. Nothing of the server's
    text is in it, and the next message is answered."""
    talk = talk_with(await make(level))
    refuse(fake, error)
    with pytest.raises(ModelError) as new_error:
        await talk.say("hello")
    words = new_error.value.words()
    request = error.body if isinstance(error.body, str) else json.dumps(error.body)
    assert not any(part in request for part in words.split(". ") if len(part) > 12)
    assert "HTTP 0" not in words
    fake.refuses = None
    fake.say("Well again.")
    assert await talk.say("and now?") == "Well again."
    return new_error.value


@at_levels(
    {
        **{f"key, {name}": (WrongKey, error) for name, error in errors.WRONG_KEY.items()},
        **{f"credit, {name}": (NoQuota, error) for name, error in errors.NO_CREDIT.items()},
    }
)
async def test_a_wrong_key_and_no_credit_are_told_at_once(
    make: Make,
    fake: FakeOpenAI,
    level: Level,
    error: tuple[type[ModelError], GatewayError],
    waits: list[float],
) -> None:
    assert type(await fails(make, fake, level, error[1])) is error[0]
    assert (len(question_bodies(fake)), waits) == (2, [])


@at_levels(errors.BUSY)
async def test_a_wait_that_the_server_names(
    make: Make, fake: FakeOpenAI, level: Level, error: tuple[GatewayError, int], waits: list[float]
) -> None:
    text = await fails(make, fake, level, error[0])
    assert (type(text), text.values["seconds"], waits) == (RateLimited, error[1], [])
    assert error[1] != 90 or "in 2 minutes" in text.words()


@every_level
async def test_a_short_wait_in_the_body_is_waited_for(
    make: Make, fake: FakeOpenAI, level: Level, waits: list[float]
) -> None:
    answers = Counter[str]()

    def refuses(body: Mapping[str, Any]) -> GatewayError | None:
        answers["all"] += 1
        error = {"error": {"message": "Please try again in 1.2s.", "code": "rate_limit_exceeded"}}
        return GatewayError(429, error) if answers["all"] == 1 else None

    fake.refuses = refuses
    assert await talk_with(await make(level)).say("hello") == "You said: hello"
    assert waits == [1.2]


@at_levels(errors.OVERLOADED)
async def test_an_overloaded_server_is_asked_three_times(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError, waits: list[float]
) -> None:
    assert type(await fails(make, fake, level, error)) is RateLimited
    assert (len(question_bodies(fake)), len(waits)) == (4, 2)


@at_levels(errors.THROTTLED)
async def test_a_throttled_request_is_waited_for_and_nothing_is_left_out(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError, waits: list[float]
) -> None:
    model = await make(level)
    talk, size = talk_with(model), model.context_size
    await talk.say("words " * 5_000)
    fake.requests.clear()
    remaining = [error, error]
    fake.refuses = lambda body: remaining.pop() if remaining else None
    assert await talk.say("hello") == "You said: hello"
    bodies = question_bodies(fake)
    assert (len(bodies), len(waits)) == (3, 2)
    assert bodies[0] == bodies[1] == bodies[2]
    assert model.context_size == size


async def test_an_error_beside_a_choice(make: Make, fake: FakeOpenAI, waits: list[float]) -> None:
    choice = {"index": 0, "finish_reason": "error", "error": {"code": 429, "message": "No."}}
    error = GatewayError(200, {"choices": [choice]}, is_event=True)
    assert type(await fails(make, fake, "chat", error)) is RateLimited


@at_levels(errors.ANSWERED_BADLY)
async def test_a_broken_server(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError, waits: list[float]
) -> None:
    assert type(await fails(make, fake, level, error)) is ModelDown
    assert len(question_bodies(fake)) <= 4


@every_level
@each({"504": GatewayError(504, ""), "524": GatewayError(524, "<html></html>")})
async def test_an_answer_that_may_be_paid_is_not_asked_for_again(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError, waits: list[float]
) -> None:
    assert type(await fails(make, fake, level, error)) is ModelDown
    assert (len(question_bodies(fake)), waits) == (2, [])


@at_levels(errors.NO_TOOLS)
async def test_a_server_without_tools_is_told_at_once_with_the_cure(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError, waits: list[float]
) -> None:
    words = (await fails(make, fake, level, error)).words()
    assert ("--" in words) == ("--" in json.dumps(error.body))
    assert "tool" in words
    assert (len(question_bodies(fake)), waits) == (2, [])


@at_levels(errors.NOT_LOADED)
async def test_a_model_that_is_not_loaded(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError, waits: list[float]
) -> None:
    words = (await fails(make, fake, level, error)).words()
    assert "Load it" in words
    assert (len(question_bodies(fake)), waits) == (2, [])


@at_levels(errors.LOADING)
async def test_a_model_that_is_being_loaded_is_waited_for(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError, waits: list[float]
) -> None:
    model = await make(level)
    refuse(fake, error, lambda body: sum(waits) < 30)
    assert await talk_with(model).say("hello") == "You said: hello"
    waits.clear()
    refuse(fake, error)
    with pytest.raises(ModelError, match="still loading"):
        await talk_with(model).say("hello")
    assert 50 <= sum(waits) < 100


@each(errors.LOADING)
async def test_a_server_that_is_still_loading_is_asked_for_its_api_later(
    make: Make, fake: FakeOpenAI, error: GatewayError, waits: list[float]
) -> None:
    async def load(_: web.Request) -> web.StreamResponse:
        if sum(waits) > 10:
            fake.hostile = None
        return error.answer()

    fake.hostile = load
    fake.hostile_at = {"/conversations", "/responses", "/chat/completions", "/models"}
    assert await talk_with(await make(None)).say("hello") == "You said: hello"


@at_levels(
    {
        "message": {"code": 1113, "msg": "No."},
        "detail": {"detail": "No."},
        "error": {"error": "No."},
        "object": {"object": "error", "message": "No."},
    }
)
async def test_an_error_in_place_of_an_answer_is_no_answer(
    make: Make, fake: FakeOpenAI, level: Level, error: object
) -> None:
    assert "empty answer" not in (await fails(make, fake, level, GatewayError(200, error))).words()


@at_levels(errors.BAD_CALL)
async def test_a_call_that_the_server_could_not_read_is_asked_for_once_more(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError
) -> None:
    assert "tool call" in (await fails(make, fake, level, error)).words()
    assert len(question_bodies(fake)) == 3


@at_levels(errors.POLICY)
async def test_a_refusal_for_content(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError
) -> None:
    assert type(await fails(make, fake, level, error)) is ModelRefused
    talk = talk_with(await make(level))
    refuse(fake, error, contains("odd"))
    with pytest.raises(ModelRefused):
        await talk.say("something odd")
    assert await talk.say("again") == "You said: again"


@at_levels(errors.REFUSED)
async def test_a_refusal_without_a_reason(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError, waits: list[float]
) -> None:
    words = (await fails(make, fake, level, error)).words()
    assert words.startswith("The model's server rejected the request (HTTP 4")
    assert waits == []


@at_levels(errors.FIELDS)
async def test_a_field_that_a_server_does_not_know_is_dropped_once(
    make: Make, fake: FakeOpenAI, level: Level, error: Callable[[str], GatewayError]
) -> None:
    name = "reasoning_effort" if level == "chat" else "reasoning"
    talk = talk_with(await make(level, effort="low", model="gpt-4.1-mini"))
    refuse(fake, error(name), lambda body: name in body)
    assert await talk.say("hello") == "You said: hello"
    assert len(question_bodies(fake)) == 2
    assert await talk.say("again") == "You said: again"
    assert len(question_bodies(fake)) == 3


def streams(body: Mapping[str, Any]) -> bool:
    return bool(body.get("stream"))


@every_level
@each(errors.NO_STREAM)
async def test_a_server_that_does_not_stream_is_asked_without(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError, waits: list[float]
) -> None:
    """Once, and remembered for that model. The refused request costs nothing."""
    paying = Paying()
    talk = talk_with(await make(level), payment=paying)
    refuse(fake, error, streams)
    fake.say(Script(calls=(("tables", "{}"),), match="hello"), Script(text="Two.", match="done"))
    assert await talk.say("hello") == "Two."
    assert await talk.say("again") == "You said: again"
    assert [streams(body) for body in question_bodies(fake)] == [True, False, False, False]
    assert not any("stream_options" in body for body in question_bodies(fake)[1:])
    assert (paying.refused, waits, len(fake.used)) == (1, [], 3)


@at_levels(errors.NO_STREAM)
async def test_a_server_that_answers_neither_with_a_stream_nor_without(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError, waits: list[float]
) -> None:
    words = (await fails(make, fake, level, error)).words()
    assert "`gpt-6-luna`" in words
    assert "without streaming" in words
    assert (len(question_bodies(fake)), waits) == (3, [])


@pytest.mark.parametrize("words", ["max_tokens is not supported", "Use 'max_completion_tokens'."])
async def test_a_limit_of_the_answer_has_two_names(
    make: Make, fake: FakeOpenAI, words: str
) -> None:
    error = GatewayError(400, {"error": {"message": words, "param": "max_tokens"}})
    refuse(fake, error, lambda body: "max_tokens" in body)
    talk = talk_with(await make("chat"), payment=Paying())
    assert await talk.say("hello") == "You said: hello"
    assert await talk.say("again") == "You said: again"
    assert [("max_tokens" in body) for body in question_bodies(fake)] == [True, False, False]
    assert question_bodies(fake)[-1]["max_completion_tokens"] == 16_000


@pytest.mark.parametrize(
    ("level", "words"),
    [
        ("conversations", "{name} is too large: 16000. This model supports at most 4096 tokens"),
        ("responses", "Invalid {name} value, the valid range of {name} is [1, 4096]"),
        ("chat", "`{name}` must be less than or equal to `4,096`, the maximum for this model"),
    ],
)
async def test_a_limit_of_the_answer_that_is_too_high(
    make: Make, fake: FakeOpenAI, level: Level, words: str
) -> None:
    name = "max_tokens" if level == "chat" else "max_output_tokens"
    error = GatewayError(400, {"error": {"message": words.format(name=name)}})
    refuse(fake, error, lambda body: body.get(name, 0) > 4096)
    talk = talk_with(await make(level), payment=Paying())
    assert await talk.say("hello") == "You said: hello"
    assert await talk.say("again") == "You said: again"
    assert [body[name] for body in question_bodies(fake)] == [16_000, 4096, 4096]


class Paying:
    """An allowance with room for long answers. It counts reservations that are used again."""

    refused = 0

    async def __call__(self, tokens: int) -> int:
        return 16_000

    def on_refused_request(self) -> None:
        self.refused += 1


@every_level
@pytest.mark.parametrize("is_event", [False, True])
async def test_a_refusal_costs_nothing(
    make: Make, fake: FakeOpenAI, level: Level, is_event: bool
) -> None:
    """Also as the first event of a stream. What may have been computed is paid."""
    paying = Paying()
    talk = talk_with(await make(level), payment=paying)
    for error, refusal in (("odd", 1), ("Failed to call a function.", int(not is_event))):
        paying.refused, number = 0, len(question_bodies(fake))
        body = {"error": {"message": error, "code": 400}}
        refuse(fake, GatewayError(400, body, is_event=is_event))
        with pytest.raises(ModelError):
            await talk.say("hello")
        assert paying.refused == refusal * (len(question_bodies(fake)) - number)


def list_strict(body: Mapping[str, Any]) -> list[bool]:
    functions = [tool.get("function", tool) for tool in body.get("tools", ())]
    return [bool(function.get("strict")) for function in functions]


LOOSE = ToolSpec("loose", "Takes anything.", {"type": "object", "properties": {}}, strict=False)
STRICT = ToolSpec("tables", "Lists.", TABLES.parameters, strict=True)


@every_level
async def test_a_model_that_calls_tools_only_without_reasoning_is_asked_so(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    words = (
        "Function tools with reasoning_effort are not supported for my-deployment in this API. To "
        "use function tools, use another API or set reasoning_effort to 'none'."
    )

    def effort(body: Mapping[str, Any]) -> str:
        return str(body.get("reasoning_effort") or body.get("reasoning", {}).get("effort"))

    error = GatewayError(400, {"error": {"message": words, "param": "reasoning_effort"}})
    refuse(fake, error, lambda body: bool(body.get("tools")) and effort(body) != "none")
    fake.models.append("my-deployment")
    talk = talk_with(await make(level, model="my-deployment"), tools=(STRICT,))
    assert await talk.say("hello") == "You said: hello"
    assert await talk.say("again") == "You said: again"
    assert [effort(body) for body in question_bodies(fake)][1:] == ["none", "none"]


@at_levels(errors.STRICT)
async def test_strict_is_refused_once(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError
) -> None:
    talk = talk_with(await make(level), tools=(STRICT,))
    refuse(fake, error, lambda body: any(list_strict(body)))
    assert await talk.say("hello") == "You said: hello"
    assert await talk.say("again") == "You said: again"
    assert [list_strict(body) for body in question_bodies(fake)] == [[True], [False], [False]]


@every_level
async def test_strict_is_the_same_for_all_tools(make: Make, fake: FakeOpenAI, level: Level) -> None:
    """Cerebras refuses a mixture. OpenAI itself takes it."""
    for official, expected in ((False, [False, False]), (True, [True, False])):
        fake.requests.clear()
        model = await make(level, official=official)
        assert await talk_with(model, tools=(STRICT, LOOSE)).say("hello") == "You said: hello"
        assert [list_strict(body) for body in question_bodies(fake)] == [expected]


@pytest.mark.parametrize(
    ("level", "words"),
    [
        ("responses", "Unknown name \"additionalProperties\" at 'tools[0].function.parameters'"),
        ("chat", "schema keyword 'additionalProperties' is not supported"),
    ],
)
async def test_a_key_of_schemas_that_a_server_does_not_know(
    make: Make, fake: FakeOpenAI, level: Level, words: str
) -> None:
    """A property of that name stays."""
    error = GatewayError(400, {"error": {"message": words}})
    properties = {"title": {"type": "string"}, "additionalProperties": {"type": "string"}}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    talk = talk_with(await make(level), tools=(ToolSpec("rows", "Rows.", schema, strict=False),))
    refuse(fake, error, contains('"additionalProperties": false'))
    assert await talk.say("hello") == "You said: hello"
    (tool,) = question_bodies(fake)[-1]["tools"]
    parameters = tool.get("function", tool)["parameters"]
    assert parameters == {"type": "object", "properties": properties}


@each(errors.ROLES)
async def test_roles_that_a_server_refuses(
    make: Make, fake: FakeOpenAI, error: GatewayError
) -> None:
    def refuses(body: Mapping[str, Any]) -> bool:
        roles = [message["role"] for message in body["messages"]]
        return "system" in roles or any(one == other for one, other in itertools.pairwise(roles))

    talk = talk_with(await make("chat"))
    fake.say(Script(status=400, code="content_policy_violation"))
    with pytest.raises(ModelRefused):
        await talk.say("first")
    refuse(fake, error, refuses)
    fake.say("Hello.", "Hello again.")
    assert await talk.say("hello") == "Hello."
    assert await talk.say("again") == "Hello again."
    assert question_bodies(fake)[-1]["messages"][0]["content"].startswith("You are Ponte.")


@at_levels(SHORTENED)
async def test_a_conversation_that_is_too_long_is_shortened(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError
) -> None:
    talk = talk_with(await make(level))
    for number in range(6):
        await talk.say(f"message {number} " + "word " * 300)
    before = len(question_bodies(fake))
    refuse(fake, error, contains("message 2"))
    fake.say("Short.", "Again.")
    assert await talk.say("hello") == "Short."
    assert len(question_bodies(fake)) - before <= 2
    assert await talk.say("again") == "Again."


@every_level
async def test_one_conversation_that_is_too_long_does_not_shorten_the_others(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    """What fitted was so short that it says nothing about the server's limit."""
    talk, other = (
        talk_with(model, thread=Thread("web:c", f"T{n}"))
        for model in [await make(level)]
        for n in (1, 2)
    )
    for number in range(4):
        await talk.say(f"letter {number}")
        await other.say(f"question {number}")
    refuse(fake, errors.TOO_LONG["nginx"], contains("letter 1"))
    assert await talk.say("hello") == "You said: hello"
    other.thread = replace(other.thread, remote="", remote_upto=0)
    assert await other.say("again") == "You said: again"
    body = json.dumps([request.body for request in fake.requests[-4:]])
    assert all(f"question {number}" in body for number in range(4))


@at_levels(errors.TOO_LONG)
async def test_a_message_that_is_too_long_alone(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError
) -> None:
    assert type(await fails(make, fake, level, error)) is TooLong
    assert len(question_bodies(fake)) == 2


@at_levels(SHORTENED)
async def test_long_outputs_of_this_turn_are_shortened(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError
) -> None:
    talk = talk_with(await make(level), run=lambda name, arguments: "row " * 20_000)
    fake.say(Script(calls=(("tables", "{}"),)), Script(text="Many rows.", match="row"))
    refuse(fake, error, lambda body: len(json.dumps(body)) > 30_000)
    assert await talk.say("Which rows?") == "Many rows."
    assert "left out" in json.dumps(question_bodies(fake)[-1])
    fake.say("You're welcome.")
    assert await talk.say("thanks") == "You're welcome."


@at_levels(errors.PICTURES)
async def test_a_picture_that_is_refused_is_left_out_with_a_note(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError
) -> None:
    files = MemoryFiles()
    talk = talk_with(await make(level, files=files))
    refuse(fake, error, contains("data:image"))
    assert await talk.say("What is this?", [files.add("a.png", "image/png", PNG)])
    assert "You do not see what is in it" in json.dumps(question_bodies(fake)[-1])
    number = len(question_bodies(fake))
    assert await talk.say("again") == "You said: again"
    assert len(question_bodies(fake)) == number + 1


@every_level
async def test_a_picture_of_an_earlier_turn_that_is_refused(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    files = MemoryFiles()
    talk = talk_with(await make(level, files=files))
    await talk.say("What is this?", [files.add("a.png", "image/png", PNG)])
    talk.thread = talk_with(talk.model).thread  # another model's server, which must get all again
    refuse(fake, errors.PICTURES["unnamed"], contains("data:image"))
    assert await talk.say("again") == "You said: again"


def has_calls(body: Mapping[str, Any]) -> bool:
    return any(
        item.get("role") == "tool" or "call_id" in item or "tool_calls" in item
        for item in [*body.get("messages", ()), *body.get("input", ()), *body.get("items", ())]
    )


@at_levels({name: errors.REFUSED[name] for name in ("text", "list", "event")})
async def test_calls_that_a_server_does_not_take_back_are_told_in_words(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError
) -> None:
    talk = talk_with(await make(level), run=lambda name, arguments: "customers and orders")
    fake.say(Script(calls=(("tables", "{}"),)), Script(text="Two.", match="customers and orders"))
    refuse(fake, error, has_calls)
    assert await talk.say("Which tables?") == "Two."
    fake.say("You're welcome.")
    assert await talk.say("thanks") == "You're welcome."


@at_levels(
    {
        **{name: errors.REFUSED[name] for name in ("text", "list", "HTML", "event")},
        **{name: errors.POLICY[name] for name in ("Azure", "DeepSeek")},
    }
)
@pytest.mark.parametrize("where", ["question", "output", "answer"])
async def test_what_was_refused_does_not_spoil_the_next_message(
    make: Make, fake: FakeOpenAI, level: Level, error: GatewayError, where: str
) -> None:
    """The refused text is in the turn that failed, in its tool's output, or in an answered one."""
    talk = talk_with(await make(level), run=lambda name, arguments: "poison")
    if where == "answer":
        fake.say(Script(text="poison"))
        await talk.say("hello")
    refuse(fake, error, contains("poison"))
    if where == "question":
        with pytest.raises(ModelError):
            await talk.say("poison")
    elif where == "output":
        fake.say(Script(calls=(("tables", "{}"),)))
        with pytest.raises(ModelError):
            await talk.say("Which tables?")
    fake.scripts = type(fake.scripts)()
    if where == "answer" and error in errors.POLICY.values():
        return
    before = len(question_bodies(fake))
    fake.say("Fine.")
    assert await talk.say("and now?") == "Fine."
    assert len(question_bodies(fake)) - before <= 5
    assert "left out" in json.dumps(question_bodies(fake)[-1]) or level == "conversations"
