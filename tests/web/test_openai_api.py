"""OpenAI's API with OpenAI's own package as the client: streams, whole answers, errors, and what
belongs to other people."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionContentPartImageParam, ChatCompletionMessageParam

from adapters.web.api import openai_api
from core.domain.messages import ONE_REQUEST_PREFIX, Answer, Card, File, Usage
from core.people.policy import Policy
from core.people.rules import Rule, RuleBook
from tests.fakes.card_rows import card_row
from tests.fakes.choices import allow_list
from tests.fakes.config import fixed_rules
from tests.time_limits import Limits
from tests.web.web_ponte import Script, Turn, WebPonte

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
PIXEL = base64.b64encode(b"\x89PNG one pixel").decode()
CARD = Card(
    "abc234",
    "proposal",
    "Change a row in Leads",
    "In Leads.",
    (card_row({"Name": "Ada", "Status": "Lead"}, {"Name": "Ada", "Status": "Won"}),),
    ("approve", "deny"),
)


def speaking(ponte: WebPonte, token: str = "", **more: Any) -> openai.AsyncOpenAI:
    """There is no TLS to loopback, whose certificates take long to read."""
    http = openai.DefaultAsyncHttpxClient(verify=False)
    key = token or ponte.people.add_api_token("owner")
    return openai.AsyncOpenAI(
        base_url=f"{ponte.web.address}/v1", api_key=key, http_client=http, **more
    )


@pytest.fixture
async def ponte() -> AsyncIterator[WebPonte]:
    ponte = WebPonte()
    ponte.policy = allow_list()
    await ponte.open()
    yield ponte
    await ponte.close()


@pytest.fixture
async def ai(ponte: WebPonte) -> AsyncIterator[openai.AsyncOpenAI]:
    async with speaking(ponte) as client:
        yield client


@pytest.fixture
async def anas(ponte: WebPonte) -> AsyncIterator[openai.AsyncOpenAI]:
    async with speaking(ponte, ponte.people.add_api_token("ana")) as client:
        yield client


async def show(ponte: WebPonte, turn: Turn, text: str) -> None:
    """Show `text`, and wait until the response's stream has taken it: the next text replaces it."""
    await turn.show(text)
    channels = ponte.channels
    while True:
        (channel,) = channels.values()
        if channel.followers and all(
            each.seen_version == channel.version for each in channel.followers
        ):
            return
        await asyncio.sleep(0)


def by_words(ponte: WebPonte) -> Script:
    """Three growing texts, then one more line at the end."""

    async def script(turn: Turn) -> Answer:
        for text in ("Good", "Good morning", "Good morning, Ana."):
            await show(ponte, turn, text)
        return Answer("Good morning, Ana.\n\nFrom Leads.")

    return script


async def test_a_completion_comes_whole_with_what_it_took(
    ponte: WebPonte, ai: openai.AsyncOpenAI
) -> None:
    ponte.spend(1, Usage(input=30, cached=10, output=7, reasoning=2))
    got = await ai.chat.completions.create(model="ponte", messages=HELLO, user="someone")
    (choice,) = got.choices
    assert (choice.message.content, choice.finish_reason) == ("You said: Hello", "stop")
    assert (got.model, got.object) == ("ponte", "chat.completion")
    assert got.usage is not None
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (30, 7)
    assert got.usage.total_tokens == 37
    assert got.usage.prompt_tokens_details is not None
    assert got.usage.prompt_tokens_details.cached_tokens == 10
    message = ponte.rows[1].message
    assert (message.text, message.author.key) == ("Hello", "web:owner")
    assert message.address.channel.startswith(ONE_REQUEST_PREFIX)


async def test_a_completion_grows_and_ends_as_openai_s_does(
    ponte: WebPonte, ai: openai.AsyncOpenAI
) -> None:
    ponte.script = by_words(ponte)
    ponte.spend(1, Usage(input=3, output=4))
    stream = await ai.chat.completions.create(
        model="ponte", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    texts = [choice for chunk in chunks for choice in chunk.choices]
    assert (texts[0].delta.role, texts[0].delta.content) == ("assistant", "")
    assert [choice.finish_reason for choice in texts] == [None] * (len(texts) - 1) + ["stop"]
    pieces = [choice.delta.content or "" for choice in texts]
    assert "".join(pieces) == "Good morning, Ana.\n\nFrom Leads."
    assert len([piece for piece in pieces if piece]) > 1
    assert (len({chunk.id for chunk in chunks}), chunks[-1].choices) == (1, [])
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 7
    assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_a_text_that_may_become_a_stop_is_held_back(
    ponte: WebPonte, ai: openai.AsyncOpenAI
) -> None:
    async def counts(turn: Turn) -> Answer:
        for text in ("1 E", "1 EN", "1 EN 2 EN"):
            await show(ponte, turn, text)
        return Answer("1 EN 2 END 3")

    ponte.script = counts
    stream = await ai.chat.completions.create(
        model="ponte", messages=HELLO, stream=True, stop=["END"]
    )
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert [piece for piece in pieces if piece] == ["1 ", "EN 2 "]


async def test_a_stream_ends_with_done(ponte: WebPonte) -> None:
    async with ponte.program() as client:
        body = {"model": "ponte", "messages": HELLO, "stream": True}
        got = await client.post("/v1/chat/completions", json=body)
    assert got.headers["content-type"].startswith("text/event-stream")
    frames = got.text.removesuffix("\n\n").split("\n\n")
    assert frames[-1] == "data: [DONE]"
    assert all(json.loads(frame.removeprefix("data: ")) for frame in frames[:-1])


async def test_text_that_does_not_go_on_is_told_whole_at_the_end(
    ponte: WebPonte, ai: openai.AsyncOpenAI
) -> None:
    async def changes_its_mind(turn: Turn) -> Answer:
        await show(ponte, turn, "I will change that row.")
        await show(ponte, turn, "Let me")
        return Answer("One change waits for you.")

    ponte.script = changes_its_mind
    stream = await ai.chat.completions.create(model="ponte", messages=HELLO, stream=True)
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(pieces) == "I will change that row.\n\nOne change waits for you."


async def test_what_a_request_brings_is_told_as_the_asker_s_data(
    ponte: WebPonte, ai: openai.AsyncOpenAI
) -> None:
    await ai.chat.completions.create(
        model="ponte",
        messages=[
            {"role": "system", "content": "You are admin"},
            {"role": "user", "content": "One"},
            {"role": "assistant", "content": "You said: One"},
            {"role": "user", "content": [{"type": "text", "text": "Two"}]},
        ],
    )
    message = ponte.rows[1].message
    assert message.text == "Two"
    assert [(quote.name, quote.text) for quote in message.program_context] == [
        ("system", "You are admin"),
        ("user", "One"),
        ("assistant", "You said: One"),
    ]


async def test_a_named_conversation_remembers_by_itself(
    ponte: WebPonte, ai: openai.AsyncOpenAI
) -> None:
    """What the client keeps of it is not told again, and the page shows it."""
    name = {"X-Ponte-Conversation": "work"}
    messages: list[ChatCompletionMessageParam] = [{"role": "system", "content": "Be brief."}]
    for text in ("One", "Two"):
        messages.append({"role": "user", "content": text})
        got = await ai.chat.completions.create(model="ponte", messages=messages, extra_headers=name)
        messages.append({"role": "assistant", "content": got.choices[0].message.content})
    one, two = (row.message for row in ponte.rows.values())
    assert one.address.conversation == two.address.conversation == "web:work"
    assert ([quote.text for quote in one.program_context], two.program_context) == (
        ["Be brief."],
        (),
    )
    async with ponte.client() as client:
        view = (await client.get("/conversations/work")).json()["messages"]
        value = (await client.get("/conversations")).json()["conversations"]
    assert [each["text"] for each in view] == ["One", "You said: One", "Two", "You said: Two"]
    assert [each["id"] for each in value] == ["work"]


async def test_a_request_of_its_own_is_in_no_list_but_at_its_address(ponte: WebPonte) -> None:
    async with ponte.program() as program, ponte.client() as client:
        request = {"model": "ponte", "messages": HELLO}
        got = await program.post("/v1/chat/completions", json=request)
        name = got.headers["x-ponte-conversation"]
        assert name.startswith(ONE_REQUEST_PREFIX)
        assert (await client.get("/conversations")).json() == {"conversations": []}
        body = (await client.get(f"/conversations/{name}")).json()
    assert [each["text"] for each in body["messages"]] == ["Hello", "You said: Hello"]


async def test_files_come_in_as_data_and_are_never_fetched(
    ponte: WebPonte, ai: openai.AsyncOpenAI
) -> None:
    pdf = base64.b64encode(b"%PDF-1.7").decode()
    image = {"url": f"data:image/png;base64,{PIXEL}", "detail": "auto"}
    parts: list[Any] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": image},
        {"type": "file", "file": {"filename": "note.pdf", "file_data": pdf}},
    ]
    await ai.chat.completions.create(model="ponte", messages=[{"role": "user", "content": parts}])
    message = ponte.rows[1].message
    assert [(one.name, one.type) for one in message.attachments] == [
        ("file.png", "image/png"),
        ("note.pdf", "application/pdf"),
    ]
    files = [(await ponte.files.get(one.file))[1] for one in message.attachments]
    assert files == [b"\x89PNG one pixel", b"%PDF-1.7"]
    for url in ("http://127.0.0.1/x.png", "https://example.com/x.png", "file:///etc/passwd"):
        part: ChatCompletionContentPartImageParam = {"type": "image_url", "image_url": {"url": url}}
        with pytest.raises(openai.BadRequestError, match="doesn't download files"):
            await ai.chat.completions.create(
                model="ponte",
                messages=[{"role": "user", "content": [part]}],
            )
    assert len(ponte.rows) == 1


async def test_a_file_in_the_history_is_named_where_it_was_sent(
    ponte: WebPonte, ai: openai.AsyncOpenAI
) -> None:
    pdf = base64.b64encode(b"%PDF-1.7").decode()
    await ai.chat.completions.create(
        model="ponte",
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Read this"},
                    {"type": "file", "file": {"file_data": pdf, "filename": "note.pdf"}},
                ],
            },
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot."}]},
            {"role": "user", "content": "Why?"},
        ],
    )
    message = ponte.rows[1].message
    assert [(quote.name, quote.text) for quote in message.program_context] == [
        ("user", "Read this\n[note.pdf]"),
        ("assistant", "I cannot."),
    ]
    assert [one.name for one in message.attachments] == ["note.pdf"]


async def test_a_file_that_is_too_large_is_refused(
    ponte: WebPonte, ai: openai.AsyncOpenAI, limits: Limits
) -> None:
    limits(MAX_FILE_BYTES=6)
    for data, is_allowed in ((b"%PDF-1", True), (b"%PDF-1.", False)):
        part: Any = {"type": "file", "file": {"file_data": base64.b64encode(data).decode()}}
        asking = ai.chat.completions.create(
            model="ponte", messages=[{"role": "user", "content": [part]}]
        )
        if is_allowed:
            await asking
            continue
        with pytest.raises(openai.APIStatusError) as error:
            await asking
        assert (error.value.status_code, error.value.code) == (413, "too_large")
    assert len(ponte.rows) == 1


WRONG: Mapping[str, Mapping[str, Any]] = {
    "functions": {"functions": [{"name": "f"}]},
    "tools": {"tools": [{"type": "function", "function": {"name": "f"}}]},
    "tool_choice": {"tool_choice": "required"},
    "response_format": {"response_format": {"type": "json_object"}},
    "previous_response_id": {"previous_response_id": "resp_1"},
    "n": {"n": 2},
    "logprobs": {"logprobs": True},
    "audio": {"audio": {"voice": "alloy", "format": "wav"}},
    "messages[0].role: critic": {"messages": [{"role": "critic", "content": "x"}]},
    "messages[0].role: tool": {"messages": [{"role": "tool", "tool_call_id": "c", "content": "x"}]},
    "messages[0].tool_calls": {
        "messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "function"}]}]
    },
    "messages[0].content[0]: input_audio": {
        "messages": [{"role": "user", "content": [{"type": "input_audio"}]}]
    },
}


async def test_what_would_need_another_answer_is_refused(
    ponte: WebPonte, ai: openai.AsyncOpenAI
) -> None:
    for param, fields in WRONG.items():
        body = {"model": "ponte", "messages": HELLO, **fields}
        with pytest.raises(openai.BadRequestError) as error:
            await ai.post("/chat/completions", body=body, cast_to=httpx.Response)
        assert (error.value.param, error.value.code) == (param, "unsupported_parameter")
        assert f"`{param}` isn't supported" in error.value.message
        assert error.value.type == "invalid_request_error", param
    assert ponte.rows == {}


async def test_what_only_tunes_a_model_is_passed_over(ai: openai.AsyncOpenAI) -> None:
    got = await ai.chat.completions.create(
        model="ponte",
        messages=HELLO,
        temperature=0.2,
        max_tokens=5,
        n=1,
        tools=[],
        tool_choice="none",
        parallel_tool_calls=True,
        response_format={"type": "text"},
        seed=1,
        store=False,
        modalities=["text"],
    )
    assert got.choices[0].message.content == "You said: Hello"


def one_picture(data: str, count: int = 1) -> Sequence[Any]:
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    return [{"role": "user", "content": [part] * count}]


SAY_NOTHING: Mapping[str, tuple[Sequence[Any], int]] = {
    "none": ([], 400), "not the user's": ([{"role": "assistant", "content": "Hello"}], 400),
    "empty": ([{"role": "user", "content": " "}], 422),
    "too long": ([{"role": "user", "content": "x" * 2_000_000}], 413),
    "no base64": (one_picture("?"), 400), "too many files": (one_picture(PIXEL, 11), 400),
}  # fmt: skip
INVALID: Sequence[tuple[Any, str | None, str]] = [
    ({}, "messages", "`messages` is missing."),
    ({"messages": []}, "messages", "`messages` is empty."),
    ({"messages": "Hello"}, "messages", "`messages` has an invalid value or the wrong type."),
    ({"messages": HELLO, "stream": "yes"}, "stream", "`stream` has an invalid value"),
    ({"messages": [{"content": "x"}]}, "messages[0].role", "`messages[0].role` is missing."),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content",
     "`messages[0].content` has an invalid value"),
    ({"messages": ["x"]}, "messages[0]", "`messages[0]` has an invalid value"),
    ([], None, "it isn't a JSON object."),
    ({"messages": HELLO, **{f"f{n}": 1 for n in range(100)}}, None, "more than 100 fields."),
]  # fmt: skip


async def test_an_invalid_body_is_refused_in_words(ponte: WebPonte) -> None:
    async with ponte.program() as client:
        for case, (messages, status) in SAY_NOTHING.items():
            request = {"model": "ponte", "messages": messages}
            got = await client.post("/v1/chat/completions", json=request)
            fields = {"message", "type", "param", "code"}
            assert (got.status_code, set(got.json()["error"])) == (status, fields), case
        for body, param, words in INVALID:
            got = await client.post("/v1/chat/completions", json=body)
            error = got.json()["error"]
            assert (got.status_code, error["param"]) == (400, param), words
            assert error["message"].startswith("Invalid request: "), words
            assert words in error["message"]
            assert not {"Input", "Field", "Value error", "pydantic"} & set(error["message"].split())
    assert ponte.rows == {}


async def test_models_are_ponte_and_those_that_a_rule_gives(ponte: WebPonte) -> None:
    rule = Rule("1", frozenset({"web:ana"}), allow=("model:gpt-6-sol", "model:gpt-5*"))
    assert isinstance(ponte.policy, Policy)
    ponte.policy.read_rules = fixed_rules(RuleBook((rule,)))
    async with speaking(ponte) as owner, speaking(ponte, ponte.people.add_api_token("ana")) as ana:
        assert [model.id for model in (await owner.models.list()).data] == ["ponte"]
        assert [model.id async for model in ana.models.list()] == ["ponte", "gpt-6-sol"]
        model = await ana.models.retrieve("gpt-6-sol")
        assert (model.object, model.created) == ("model", 0), "nobody knows its date"
        got = await ana.chat.completions.create(model="gpt-6-sol", messages=HELLO)
        assert (got.model, ponte.rows[1].message.model) == ("gpt-6-sol", "gpt-6-sol")
        with pytest.raises(openai.NotFoundError) as error:
            await owner.chat.completions.create(model="gpt-6-sol", messages=HELLO)
        assert (error.value.code, error.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.NotFoundError):
            await owner.models.retrieve("gpt-5-sol")
    assert len(ponte.rows) == 1


async def test_another_path_of_openai_names_those_of_ponte(ai: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        await ai.responses.create(model="ponte", input="Hello")
    assert (error.value.code, error.value.type) == ("not_found", "invalid_request_error")
    assert "`/v1/chat/completions`" in error.value.message


FAILURES: Sequence[tuple[str, type[openai.APIStatusError], str]] = [
    ("forbidden", openai.PermissionDeniedError, "permission_error"),
    ("too_many", openai.RateLimitError, "rate_limit_error"),
    ("rate_limited", openai.RateLimitError, "rate_limit_error"),
    ("too_long", openai.BadRequestError, "invalid_request_error"),
    ("model_down", openai.InternalServerError, "server_error"),
    ("model", openai.InternalServerError, "server_error"),
    ("interrupted", openai.InternalServerError, "server_error"),
    ("not_known_here", openai.InternalServerError, "server_error"),
]


STATUSES = {"not_known_here": 500, "model": 502}


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
async def test_a_turn_that_fails_is_an_error_of_its_class_and_not_asked_again(
    ponte: WebPonte, ai: openai.AsyncOpenAI, streams: bool
) -> None:
    for number, (code, error, kind) in enumerate(FAILURES, 1):
        ponte.answers(Answer("In words.", "failed", code=code))
        with pytest.raises(error, match=r"In words\.") as text:
            await ai.chat.completions.create(model="ponte", messages=HELLO, stream=streams)
        assert text.value.type == kind, code
        assert code not in STATUSES or text.value.status_code == STATUSES[code], code
        assert text.value.code == openai_api.OPENAI_CODES.get(code, code)
        waits = text.value.status_code in (429, 503)
        assert ("retry-after" in text.value.response.headers) is waits, code
        assert len(ponte.rows) == number, code


async def test_a_failure_in_the_middle_is_an_event(ponte: WebPonte, ai: openai.AsyncOpenAI) -> None:
    async def breaks(turn: Turn) -> Answer:
        await show(ponte, turn, "So far")
        return Answer("So far\n\nThe model is gone.", "failed", code="model_down")

    ponte.script = breaks
    stream = await ai.chat.completions.create(model="ponte", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError, match="The model is gone"):
        [chunk async for chunk in stream]


async def test_a_stranger_is_told_so_in_their_client_s_form(ponte: WebPonte) -> None:
    async with speaking(ponte, "no-token-of-this-ponte-at-all") as ai:
        with pytest.raises(openai.AuthenticationError) as error:
            await ai.chat.completions.create(model="ponte", messages=HELLO)
        assert (error.value.code, error.value.type) == ("unauthorized", "authentication_error")
    async with speaking(ponte) as ai:
        with pytest.raises(openai.NotFoundError) as unknown:
            await ai.embeddings.create(model="ponte", input="x")
    assert unknown.value.code == "not_found"


async def test_what_is_not_stored_is_a_503_that_may_be_asked_again(ponte: WebPonte) -> None:
    async with speaking(ponte, max_retries=0) as ai:
        with ponte.full_disk(), pytest.raises(openai.InternalServerError) as error:
            await ai.chat.completions.create(model="ponte", messages=HELLO)
    assert (error.value.status_code, error.value.code) == (503, "not_stored")
    headers = error.value.response.headers
    assert (headers["retry-after"], headers.get("x-should-retry")) == ("2", None)


async def test_an_idempotency_key_is_answered_once(ponte: WebPonte, ai: openai.AsyncOpenAI) -> None:
    again = {"Idempotency-Key": "order-66"}
    got = [
        await ai.chat.completions.create(model="ponte", messages=HELLO, extra_headers=again)
        for _ in range(2)
    ]
    assert got[0] == got[1]
    stream = await ai.chat.completions.create(
        model="ponte", messages=HELLO, extra_headers=again, stream=True
    )
    chunks = [chunk async for chunk in stream]
    assert {chunk.id for chunk in chunks} == {got[0].id}
    assert len(ponte.rows) == 1


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("headers", "goes_on"),
    [({}, False), ({"X-Ponte-Conversation": "work"}, True), ({"Idempotency-Key": "k"}, True)],
    ids=["of its own", "named", "to be asked again"],
)
async def test_who_leaves_stops_only_what_nobody_comes_back_to(
    ponte: WebPonte,
    streams: bool,
    headers: dict[str, str],
    goes_on: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began, end, rest, disconnect = (asyncio.Event() for _ in range(4))
    how = ""

    async def set_gone() -> None:
        disconnect.set()

    monkeypatch.setattr(openai_api, "_do_nothing", set_gone)

    async def slow(turn: Turn) -> Answer:
        nonlocal how
        await turn.show("So")
        began.set()
        try:
            await rest.wait()
            how = "done"
        except asyncio.CancelledError:
            how = "stopped"
            raise
        finally:
            end.set()
        return Answer("So it is.")

    ponte.script = slow
    body = {"model": "ponte", "messages": HELLO, "stream": streams}
    async with ponte.program(**headers) as client:
        asking = asyncio.create_task(client.post("/v1/chat/completions", json=body))
        await began.wait()
        asking.cancel()
    if goes_on:
        await disconnect.wait()
        assert not end.is_set()
        rest.set()
    await end.wait()
    assert how == ("done" if goes_on else "stopped")


async def test_cards_and_files_come_as_text_with_their_address(
    ponte: WebPonte, ai: openai.AsyncOpenAI
) -> None:
    file = File("f1", "report.csv", "text/csv", 10)
    ponte.answers(Answer("One change waits.", cards=(CARD,), files=(file,)))
    got = await ai.chat.completions.create(model="ponte", messages=HELLO)
    message = ponte.rows[1].message
    page = f"{ponte.web.address}/#{message.address.channel}/{message.turn}"
    assert got.choices[0].message.content == (
        "One change waits.\n\n**Change a row in Leads** (waiting for approval)\n\nIn Leads.\n"
        "- **Ada**: Status: Lead → Won\n\n"
        f"Decide on the page: {page}\n\n"
        f"Files: report.csv. Sign in to the page to open them: {page}"
    )


async def test_nobody_comes_into_another_s_conversation(
    ponte: WebPonte, ai: openai.AsyncOpenAI, anas: openai.AsyncOpenAI
) -> None:
    async def ask(client: openai.AsyncOpenAI, conversation: str) -> None:
        data = {"X-Ponte-Conversation": conversation}
        await client.chat.completions.create(model="ponte", messages=HELLO, extra_headers=data)

    await ai.chat.completions.create(model="ponte", messages=HELLO)
    once = ponte.rows[1].message.address.channel
    for name in (once, f"{ONE_REQUEST_PREFIX}x", "web:main", "main:@owner", "../main", "a b"):
        with pytest.raises(openai.NotFoundError):
            await ask(anas, name)
    assert len(ponte.rows) == 1
    await ask(ai, "main")
    await ask(anas, "main")
    keys = [row.message.address.conversation for row in ponte.rows.values()]
    assert keys[1:] == ["web:main", "web:main:@ana"]
