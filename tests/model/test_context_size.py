"""How large a model's context is, and what of a request fits into it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web

from core.base.errors import TooLong
from core.base.model_faults import ModelServerFault
from core.base.openai import ModelServerClient
from core.domain.messages import Item, Person
from core.domain.model_rounds import RoundRequest, ToolSpec
from core.domain.records import Thread
from core.models import context_size
from core.models.context_size import ContextSizes, fit_items, fit_tools, tool_tokens
from core.models.model_input import LEFT_OUT_NOTE, estimate_tokens, find_turn_starts
from core.models.model_server import ModelServer
from core.models.served_model import Level, ServedModel
from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.openai.context import EXCEEDED
from tests.fakes.openai.errors import GatewayError
from tests.model.conftest import Make
from tests.model.talk import TABLES, Talk
from tests.time_limits import Limits

SMALL = "my-model"


async def known_size(model: ServedModel) -> tuple[int, str]:
    model.start()
    await model.health()
    return model.context_size.tokens, model.context_size.source


def server_of(model: ServedModel) -> ModelServer:
    return model._server


def sizes_of(model: ServedModel) -> ContextSizes:
    return server_of(model).sizes


@pytest.mark.parametrize(
    "kind", ["vLLM", "OpenRouter", "llama.cpp", "Ollama", "Ollama, num_ctx", "LM Studio", "LiteLLM"]
)
async def test_the_server_tells_the_size(make: Make, fake: FakeOpenAI, kind: str) -> None:
    fake.kind, fake.context, fake.models = kind, 6_000, [SMALL]
    assert await known_size(await make("chat", model=SMALL)) == (6_000, "server")


@pytest.mark.parametrize(
    ("listed", "size"),
    [
        (["a", SMALL], 128_000),
        ([None, {"id": SMALL, "context_length": "5000"}], 5_000),
        ({"models": [{"name": SMALL, "context_length": 5000.0}]}, 5_000),
        ({"result": [{"name": SMALL, "context_size": 5000}]}, 5_000),
        ([{"model": SMALL, "max_model_len": 5000}], 5_000),
    ],
)
async def test_another_form_of_list(
    make: Make, fake: FakeOpenAI, listed: object, size: int
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(listed)

    fake.hostile, fake.hostile_at = answer, {"/models"}
    model = await make("chat", model=SMALL)
    assert (await known_size(model))[0] == size
    assert SMALL in await server_of(model).list_models()
    words = (await model.health()).words
    assert "5,000" in words or size != 5_000


@pytest.mark.parametrize("kind", ["Ollama", "LM Studio"])
async def test_a_model_that_is_not_loaded_gets_the_usual_size_and_is_asked_for_again(
    make: Make, fake: FakeOpenAI, kind: str
) -> None:
    fake.kind, fake.context, fake.models, fake.loads = kind, 16_000, [SMALL], False
    model = await make("chat", model=SMALL)
    assert await known_size(model) == (4_096, "server")
    fake.loads = True
    for _ in range(2):
        await Talk(model).say("hello")
        await model.health()
    assert model.context_size.tokens == 16_000


async def test_the_order_of_what_tells_the_size(make: Make, fake: FakeOpenAI) -> None:
    fake.models = [SMALL, "gpt-4.1-mini"]
    assert await known_size(await make("chat", model=SMALL)) == (128_000, "assumed")
    assert await known_size(await make("chat", model="gpt-4.1-mini")) == (1_047_576, "table")
    fake.kind, fake.context = "vLLM", 6_000
    assert await known_size(await make("chat", model="gpt-4.1-mini")) == (6_000, "server")
    new_item = await make("chat", model=SMALL, context=5_000)
    assert await known_size(new_item) == (5_000, "setting")
    assert [request.path for request in fake.requests[-1:]] == ["/models"]


async def test_each_channels_model_has_its_own_size(make: Make, fake: FakeOpenAI) -> None:
    fake.kind, fake.context, fake.models = "vLLM", 6_000, [SMALL, "other"]
    model = await make("chat", model=SMALL, context=5_000)
    await sizes_of(model).wait("other")
    sizes = sizes_of(model)
    assert (sizes.of(SMALL).tokens, sizes.of("other").tokens) == (5_000, 6_000)


async def test_a_server_that_was_restarted_with_a_smaller_context_is_asked_again(
    make: Make, fake: FakeOpenAI, limits: Limits
) -> None:
    fake.kind, fake.context, fake.models = "Ollama", 16_000, [SMALL]
    model = await make("chat", model=SMALL)
    assert await known_size(model) == (16_000, "server")
    talk = Talk(model)
    await talk.say("hello " * 2_000)
    count = len(fake.requests)
    await talk.say("again")
    assert [request.path for request in fake.requests[count:]] == ["/chat/completions"]
    limits(CONTEXT_KNOWN_SECONDS=-1.0)
    fake.context = 4_096
    await talk.say("and again")
    assert model.context_size.tokens == 4_096
    assert fake.dropped == []
    sizes: ContextSizes = sizes_of(model)
    sizes.record_refusal(SMALL, 3_000)
    for context, size in ((4_096, 3_000), (8_192, 8_192)):  # a refusal counts until a restart
        fake.context = context
        await sizes.wait(SMALL)
        assert model.context_size.tokens == size


async def test_openai_itself_is_not_asked(make: Make, fake: FakeOpenAI) -> None:
    model = await make("responses", official=True)
    await sizes_of(model).wait("gpt-6-luna")
    assert model.context_size.tokens == 1_050_000
    assert fake.requests == []


async def test_a_server_that_does_not_answer_delays_no_turn(make: Make, fake: FakeOpenAI) -> None:
    fake.slow, fake.models = True, [SMALL]
    model = await make("chat", model=SMALL)
    await sizes_of(model).wait(SMALL, 0.01)
    assert model.context_size.source == "assumed"


@pytest.mark.parametrize(
    ("level", "kind"),
    [*(("chat", kind) for kind in EXCEEDED), ("responses", "vLLM"), ("conversations", "vLLM")],
)
async def test_a_request_that_is_too_long_is_fitted_once(
    make: Make, fake: FakeOpenAI, level: Level, kind: str
) -> None:
    """The server refuses, also inside of a stream before any text, and is asked once more."""
    fake.models = [SMALL]
    talk = Talk(await make(level, model=SMALL), preface="")
    for number in range(8):
        await talk.say(f"message {number} " + "word " * 200)
    if level == "conversations":
        talk.thread = Thread("web:c", "T1")  # its conversation is lost, and sent anew
        fake.characters = 1
    before = len(fake.request_bodies("/responses") + fake.request_bodies("/chat/completions"))
    fake.kind, fake.context = kind, 4_200
    fake.say("Short.")
    if level == "conversations":
        with pytest.raises(TooLong):
            await talk.say("hello " + "word " * 3_000)
        return
    assert await talk.say("hello") == "Short."
    bodies = fake.request_bodies("/responses") + fake.request_bodies("/chat/completions")
    assert len(bodies) == before + 2
    assert "message 7" in json.dumps(bodies[-1])
    await talk.say("again")
    assert len(fake.request_bodies("/responses") + fake.request_bodies("/chat/completions")) == (
        before + 3
    )


async def test_a_message_that_is_too_long_is_refused_with_its_size_and_nothing_is_lost(
    make: Make, fake: FakeOpenAI
) -> None:
    fake.models, fake.kind, fake.context = [SMALL], "Ollama", 4_096
    talk = Talk(await make("chat", model=SMALL, context=4_096))
    fake.say("Noted, it is 7.")
    await talk.say("The number is 7.")
    count = len(fake.requests)
    with pytest.raises(TooLong) as error:
        await talk.say("word " * 4_000)
    assert "it has about 6,667 tokens, and at most 2," in error.value.words()
    assert len(fake.requests) == count, "nothing is sent, and nothing paid"
    fake.say("7.")
    assert await talk.say("Which number?") == "7."
    assert "The number is 7." in json.dumps(fake.requests[-1].body)
    assert fake.dropped == []


async def test_an_answer_always_has_room(make: Make, fake: FakeOpenAI) -> None:
    class Payment:
        async def __call__(self, tokens: int) -> int:
            return 16_000

        def on_refused_request(self) -> None:
            return None

    fake.models, fake.kind, fake.context = [SMALL], "vLLM", 4_096
    talk = Talk(await make("chat", model=SMALL, context=4_096), payment=Payment())
    for number in range(20):
        await talk.say(f"message {number} " + "word " * 100)
    assert min(body["max_tokens"] for body in fake.request_bodies("/chat/completions")) >= 1_000


async def test_what_the_server_counts_corrects_the_estimate(make: Make) -> None:
    sizes = sizes_of(await make("chat"))
    sizes.record_count("m", 1_000, 1_500)
    assert sizes.scale("m") == pytest.approx(1.65)
    for _ in range(40):
        sizes.record_count("m", 1_000, 20)
    assert sizes.scale("m") == 0.75, "a server that dropped the rest counts too little"


@pytest.mark.parametrize(("setting", "size"), [("1", 4_096), ("9" * 5_000, 4_096), ("512", 512)])
async def test_an_absurd_num_ctx_is_no_size(
    make: Make, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, setting: str, size: int
) -> None:
    fake.models = [SMALL]
    model = await make("chat", model=SMALL)

    async def show(_: ModelServerClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert path == "/../api/show"
        return {"parameters": f"num_ctx {setting}", "model_info": {"x.context_length": 131_072}}

    monkeypatch.setattr(ModelServerClient, "post", show)
    await sizes_of(model).wait(SMALL)
    assert model.context_size.tokens == size


async def test_an_absurd_size_in_a_refusal_does_not_stay(make: Make, fake: FakeOpenAI) -> None:
    fake.models, fake.hostile_at = [SMALL], {"/chat/completions"}
    words = {"error": {"message": "prompt is too long: maximum context length is 300 tokens"}}
    refusals = [GatewayError(400, words)]
    fake.refuses = lambda body: refusals.pop() if refusals else None
    model = await make("chat", model=SMALL)
    talk = Talk(model, instructions="You are Ponte. " * 200)
    with pytest.raises(TooLong):
        await talk.say("hi")
    assert await Talk(model, instructions="You are Ponte. " * 200).say("hi")


async def test_a_server_without_a_list_of_models_is_asked_once(
    make: Make, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, question = await make("chat", model=SMALL), list[str]()

    async def refuse(_: ModelServerClient, path: str) -> dict[str, Any]:
        question.append(path)
        raise ModelServerFault("refused", status=404)

    monkeypatch.setattr(ModelServerClient, "get", refuse)
    for _ in range(3):
        await sizes_of(model).wait(SMALL)
    assert question.count("/models") == 1


@pytest.mark.parametrize(
    ("statuses", "count"), [((404, 503, 503), 3), ((429,) * 3, 3), ((401,) * 3, 3), ((403,) * 3, 1)]
)
async def test_after_an_unsure_answer_the_size_is_asked_again_after_a_pause(
    make: Make, monkeypatch: pytest.MonkeyPatch, statuses: Sequence[int], count: int
) -> None:
    sizes, asked_paths = sizes_of(await make("chat", model=SMALL)), list[str]()

    async def refuse(_: ModelServerClient, path: str, body: object = None) -> dict[str, Any]:
        asked_paths.append(path)
        raise ModelServerFault("refused", status=status)

    monkeypatch.setattr(ModelServerClient, "get", refuse)
    monkeypatch.setattr(ModelServerClient, "post", refuse)
    now = 0.0
    monkeypatch.setattr(context_size, "time", Mock(monotonic=lambda: now))
    for status in statuses:
        for _ in range(5):
            await sizes.wait(SMALL)
            now += 10
        # The answer of the first turns is old in the next ones.
        now += 601 if status == 404 else 11
    assert asked_paths.count("/models") == count


@pytest.mark.parametrize("status", [401, 429, 500, 501])
async def test_a_server_that_never_lists_its_models_and_lacks_other_paths_is_asked_twice(
    make: Make, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    sizes, asked_at = sizes_of(await make("chat", model=SMALL)), list[float]()
    now = 0.0

    async def refuse(_: ModelServerClient, path: str, body: object = None) -> dict[str, Any]:
        if path == "/models":
            asked_at.append(now)
        raise ModelServerFault("refused", status=status if path == "/models" else 404)

    monkeypatch.setattr(ModelServerClient, "get", refuse)
    monkeypatch.setattr(ModelServerClient, "post", refuse)
    monkeypatch.setattr(context_size, "time", Mock(monotonic=lambda: now))
    while now < 600:
        await sizes.wait(SMALL)
        now += 10
    assert asked_at == [0, 70]


async def test_a_wrong_count_does_not_refuse_messages_for_ever(
    make: Make, fake: FakeOpenAI
) -> None:
    fake.models = [SMALL]
    model = await make("chat", model=SMALL, context=4_096)
    talk = Talk(model, instructions="You are Ponte. " * 200)
    fake.say(Script(text="Hello.", usage={"input": 9_000}))
    assert await talk.say("hi") == "Hello."
    refusal_count = 0
    while True:
        try:
            assert await talk.say("hi")
            break
        except TooLong:
            refusal_count += 1
            assert refusal_count < 6


async def test_a_long_result_told_in_words_is_cut(make: Make, fake: FakeOpenAI) -> None:
    fake.models = [SMALL]
    model = await make("chat", model=SMALL, context=4_096)
    talk = Talk(model, run=lambda name, arguments: "row " * 4_000)
    server_of(model).omissions[talk.thread.id] = 1
    fake.say(Script(calls=(("tables", "{}"),)), "Done.")
    assert await talk.say("which rows?") == "Done."
    body = json.dumps(fake.requests[-1].body)
    assert "You called the tool" in body
    assert "</tool_output>" in body
    assert len(body) < 10_500


def message(text: str, role: Any = "user") -> Item:
    return Item("message", role, text)


def turn(number: int, result: str = "") -> list[Item]:
    call = Item("call", call_id=f"c{number}", name="rows", arguments="{}")
    calls = [call, Item("output", call_id=f"c{number}", text=result)] if result else []
    return [message(f"question {number}"), *calls, message(f"answer {number}", "assistant")]


def check_pairs(items: Sequence[Item]) -> None:
    calls = [item.call_id for item in items if item.kind == "call"]
    assert calls == [item.call_id for item in items if item.kind == "output"]


def test_items_are_fitted_in_order() -> None:
    items = [*turn(1, "a " * 900), *turn(2, "b " * 900), *turn(3, "c " * 300), message("now?")]
    assert fit_items(items, 5_000) == items
    lines = fit_items(items, 1_200)
    assert [item.text[:12] for item in lines if item.kind == "output"] == [
        "[Left out: a",
        "b b b b b b ",
        "c c c c c c ",
    ]
    for room in range(40, 1_500, 7):
        fitted = fit_items(items, room)
        check_pairs(fitted)
        assert estimate_tokens(fitted) <= room
        assert fitted[-1] == items[-1]
        assert fitted[0] in (LEFT_OUT_NOTE, items[0])
        assert find_turn_starts(fitted)[0] == 0


def test_results_of_the_last_turn_are_cut_to_half() -> None:
    call = [Item("call", call_id="x", name="rows"), Item("output", call_id="x", text="r " * 9_000)]
    fitted = fit_items([*turn(1), message("which rows?"), *call], 1_000)
    assert "left out" in fitted[-1].text
    assert estimate_tokens(fitted) <= 1_000
    assert fitted[0].text == "question 1", "the conversation before it stays"


@pytest.mark.parametrize("count", [1, 2, 30, 60])
def test_many_results_of_the_last_turn_never_exceed_the_room(count: int) -> None:
    calls = [Item("call", call_id=f"x{n}", name="rows", arguments="{}") for n in range(count)]
    outputs = [Item("output", call_id=each.call_id, text="r " * 4_000) for each in calls]
    items = [*turn(1), message("which rows?"), *calls, *outputs]
    for room in (1_536, 2_400, 3_072):
        fitted = fit_items(items, room)
        check_pairs(fitted)
        assert estimate_tokens(fitted) <= room
    with pytest.raises(TooLong) as error:
        fit_items([message("go on"), *calls, *outputs], 12 * count)
    assert "Ask for less at a time" in error.value.words(), "the message is short: it isn't that"


def test_instructions_that_leave_no_room_are_no_crash() -> None:
    for room in (0, -1, -500):
        with pytest.raises(TooLong):
            fit_items([message("hi")], room)


def request_with(*tools: ToolSpec) -> RoundRequest:
    thread, person = Thread("web:c", "T1"), Person("web", "ana")
    return RoundRequest(thread, "t", "Instructions.", person, number=1, tools=tools)


def test_tools_are_fitted_in_steps() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string", "description": "d " * 200}}}
    tools = [
        ToolSpec(name, f"Does {name}.\n\n" + "More. " * 200, schema)
        for name in ("rows_query", "rows_write", "run_python")
    ]
    ask = request_with(*tools)
    assert fit_tools(ask, [], 10_000) == ask
    short = fit_tools(ask, [], 500)
    assert [tool.name for tool in short.tools] == [tool.name for tool in tools]
    assert "d d" not in json.dumps([tool.parameters for tool in short.tools])
    one = fit_tools(ask, [message("Use python, please")], 130)
    assert [tool.name for tool in one.tools] == ["run_python"]
    assert "rows_query, rows_write" in one.instructions
    none = fit_tools(ask, [], 60)
    assert none.tools == ()
    assert "rows_query, rows_write, run_python" in none.instructions
    assert tool_tokens([TABLES]) > 30


@pytest.mark.parametrize(
    ("text", "tool"),
    [
        ("Link order 9 to Rua Azul", "nocodb_link"),
        ("vincule o pedido 9 à Rua", "nocodb_link"),
        ("Relie la commande 9 à Rua Azul", "nocodb_link"),
        ("apaga o 9", "nocodb_delete"),
        ("Supprime la ligne 9", "nocodb_delete"),
        ("add Ana", "nocodb_create"),
        ("Quantos pedidos há?", "nocodb_summarize"),
        ("set 9 to paid", "nocodb_update"),
        ("Exclua o contato 4", "nocodb_delete"),
        ("apague a conta 5", "nocodb_delete"),
        ("efface le compte 3", "nocodb_delete"),
        ("Enlève la ligne 9", "nocodb_delete"),
        ("get rid of order 9", "nocodb_delete"),
        ("insert Ana in contacts", "nocodb_create"),
        ("cria um contato", "nocodb_create"),
        ("New customer Ana", "nocodb_create"),
        ("Cadastre a Ana", "nocodb_create"),
        ("enregistre un contact", "nocodb_create"),
        ("Mark order 9 as paid", "nocodb_update"),
        ("rename Ana to Anna", "nocodb_update"),
        ("change the price of the additional item", "nocodb_update"),
        ("Corrija o preço do pedido 9", "nocodb_update"),
        ("Passe la commande 9 en payée", "nocodb_update"),
        ("How many orders are there?", "nocodb_summarize"),
        ("average price per city", "nocodb_summarize"),
        ("me\u0301dia de preço", "nocodb_summarize"),
        ("assign order 9 to Ana", "nocodb_link"),
        ("desvincule o pedido 9", "nocodb_link"),
        ("détache la commande 9", "nocodb_link"),
        ("her address please", "nocodb_query"),
        ("Show me the contacts in Lieusaint", "nocodb_query"),
        ("set of orders in the settings table", "nocodb_query"),
    ],
)
def test_the_tool_that_a_message_means_is_offered_first(text: str, tool: str) -> None:
    names = ("query", "summarize", "create", "update", "delete", "link")
    tools = [ToolSpec(f"nocodb_{name}", f"Orders and {name} rows.", {}) for name in names]
    item = Item("call", call_id="c1", name="nocodb_query", arguments="{}")
    asks = (fit_tools(request_with(*tools), [item, message(text)], n) for n in range(40, 400, 5))
    first = next(ask for ask in asks if ask.tools)
    assert [one.name for one in first.tools] == [tool]


@pytest.mark.parametrize(
    ("text", "tool"),
    [
        ("please use nocodb_link for this", "nocodb_link"),
        ("Add the new order with `nocodb_link`.", "nocodb_link"),
        ("Add the new order, " + "then " * 1_000 + "use Nocodb Link", "nocodb_link"),
        ("create it by crm__create-task", "crm__create-task"),
        ("use `create_task` to add it", "crm__create-task"),
        ("create it, then run fix-words", "quick"),
        ("create it, then run fix-words-2", "nocodb_create"),
    ],
)
def test_the_tool_that_a_message_names_is_offered_first(text: str, tool: str) -> None:
    others = {"crm__create-task": ("create-task",), "quick": ("fix-words",)}
    names = ("nocodb_query", "nocodb_create", "nocodb_link", *others)
    tools = [ToolSpec(n, "x" * (99 - len(n)), {}, names=others.get(n, ())) for n in names]
    asks = (fit_tools(request_with(*tools), [message(text)], n) for n in range(40, 400, 5))
    first = next(ask for ask in asks if ask.tools)
    assert [one.name for one in first.tools] == [tool]


def test_the_names_of_many_tools_leave_room_for_the_tools() -> None:
    tools = [ToolSpec(f"quick_command_with_a_long_name_{n}", "Runs it.", {}) for n in range(120)]
    fitted = fit_tools(request_with(*tools), [], 900)
    assert len(fitted.tools) > 10
    assert tool_tokens(fitted.tools) + len(fitted.instructions) // 3 <= 900


async def test_a_context_that_is_too_small_is_named(make: Make, fake: FakeOpenAI) -> None:
    fake.models, fake.kind, fake.context = [SMALL], "Ollama", 2_048
    model = await make("chat", model=SMALL)

    async def tools() -> Sequence[ToolSpec]:
        return [ToolSpec(f"tool_{n}", "Does much. " * 20, {}) for n in range(12)]

    model.list_tools = tools
    await known_size(model)
    words = (await model.health()).words
    assert "its context of 2,048 tokens is too small for all the tools that are on" in words
    assert "OLLAMA_CONTEXT_LENGTH" in words


async def test_a_size_that_is_not_known_is_named(make: Make, fake: FakeOpenAI) -> None:
    fake.models = [SMALL]
    model = await make("chat", model=SMALL)
    await known_size(model)
    assert ("128,000 tokens; if that's wrong, set PONTE_MODEL_CONTEXT") in (
        await model.health()
    ).words


async def test_without_tools_in_the_request_nothing_is_said_about_them(
    make: Make, fake: FakeOpenAI
) -> None:
    fake.models, fake.kind, fake.context = [SMALL], "Ollama", 4_096
    fake.say(Script(text="Hello."))
    assert await Talk(await make("chat", model=SMALL), tools=()).say("hi") == "Hello."
    assert "too small" not in json.dumps(fake.requests[-1].body)
