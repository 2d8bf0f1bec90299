"""What a person reads of a hosted run that went otherwise: refused, changed, silent, unpaid."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from core.base.errors import ToolError
from core.base.openai import ModelEndpoint, ModelServerClient
from core.tools.code.hosted import MAX_CODE_CHARACTERS, HostedBackend
from tests.code.conftest import Make
from tests.code.hosted import Bench
from tests.core.tools.scene import ctx
from tests.fakes.openai import Script, hostile
from tests.fakes.openai.script import Run
from tests.time_limits import Limits


@pytest.mark.parametrize("code", ["", " \n", "```python\n\n```"])
async def test_without_code_nothing_is_asked(bench: Bench, code: str) -> None:
    with pytest.raises(ToolError, match="There is no code to run"):
        await bench.run(code)
    assert bench.fake.requests == []


async def test_code_that_no_model_can_write_again_is_refused(bench: Bench) -> None:
    with pytest.raises(ToolError, match=r"60,001 characters\. The limit is 60,000"):
        await bench.run("#" * (MAX_CODE_CHARACTERS + 1))
    assert bench.fake.requests == []


async def test_a_markdown_fence_around_code_is_removed(bench: Bench) -> None:
    assert (await bench.run("```python\nprint('```')\n```")).printed == "```\n"


@pytest.mark.parametrize(
    ("ran", "changed"),
    [
        ("x = 1  \nprint(x)\n\n", ""),
        ("x = 1\nprint(x, 'helpful')", "x = 1\nprint(x, 'helpful')"),
        ("  x = 1\nprint(x)", "  x = 1\nprint(x)"),
        ("  ", ""),
    ],
)
async def test_other_code_than_asked_is_told(bench: Bench, ran: str, changed: str) -> None:
    bench.fake.runs(Script(runs=(Run(code=ran, logs="1"),)))
    assert (await bench.run("x = 1\nprint(x)")).changed_code == changed


async def test_code_that_the_server_does_not_name_is_told(bench: Bench) -> None:
    bench.fake.runs(Script(runs=(Run(code="", logs="1"),)))
    ran = await bench.run("print(1)")
    assert ran.changed_code == ""
    assert ran.left_out == ("OpenAI does not say which code ran",)


@pytest.mark.parametrize(
    ("logs", "printed", "error"),
    [
        ("a\nTraceback (most recent call last):\n  File x\nKeyError: 1\n", "a\n",
         "Traceback (most recent call last):\n  File x\nKeyError: 1\n"),
        ("a\n" + "-" * 75 + "\nZeroDivisionError        Traceback (most recent call last)\nx",
         "a\n", "-" * 75 + "\nZeroDivisionError        Traceback (most recent call last)\nx"),
        ("  Cell In[1], line 1\n    x = = 1\n        ^\nSyntaxError: invalid syntax\n", "",
         "  Cell In[1], line 1\n    x = = 1\n        ^\nSyntaxError: invalid syntax\n"),
        ("no Traceback (most recent call last) here", "no Traceback (most recent call last) here",
         ""),
    ],
)  # fmt: skip
async def test_a_traceback_is_separated_from_the_output(
    bench: Bench, logs: str, printed: str, error: str
) -> None:
    bench.fake.runs(Script(runs=(Run(logs=logs),)))
    ran = await bench.run("1")
    assert (ran.printed, ran.error) == (printed, error)


async def test_a_run_that_the_server_broke_off_is_told(bench: Bench) -> None:
    bench.fake.runs(Script(runs=(Run(logs="half", status="incomplete"),)))
    ran = await bench.run("1")
    assert ran.printed == "half"
    assert ran.left_out == ("OpenAI ended the run before the code came to its end",)


ODD_RESPONSE = {
    "type": "response.completed",
    "response": {
        "id": "resp_odd",
        "status": "completed",
        "created_at": "soon",
        "usage": [],
        "incomplete_details": "none",
        "output": [
            "odd",
            None,
            {"type": "message", "content": "odd"},
            {
                "type": "code_interpreter_call",
                "code": "2",
                "container_id": 7,
                "outputs": [
                    "odd",
                    None,
                    {"type": "logs", "logs": ["odd"]},
                    {"type": "logs", "logs": "fine"},
                ],
            },
            {
                "type": "message",
                "content": [
                    "odd",
                    {"type": "output_text"},
                    {
                        "type": "output_text",
                        "text": None,
                        "annotations": ["odd", {"type": "container_file_citation", "file_id": 5}],
                    },
                ],
            },
        ],
    },
}
ODD_PAGE = {
    "data": ["odd", {"id": None}, {"id": "f", "path": 5, "source": "assistant"}],
    "has_more": True,
}


async def test_a_run_that_was_paid_is_read_whatever_the_shape_of_its_response(bench: Bench) -> None:
    """Else the model would be told that the tool broke, and would run the code again. The list of
    files says that more follow, and returns the same page for ever."""
    await bench.run("1")
    (container,) = bench.fake.containers.all

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.json_response(ODD_PAGE)
        body = b"data: " + json.dumps(ODD_RESPONSE).encode() + b"\n\ndata: [DONE]\n\n"
        return web.Response(body=body, content_type="text/event-stream")

    bench.fake.hostile = answer
    bench.fake.hostile_at = {"/responses", f"/containers/{container}/files"}
    ran = await bench.run("2")
    assert (ran.printed, ran.error, ran.usage.is_estimated) == ("fine", "", True)


REFUSALS = [
    (Script(refusal="I cannot help with that."), "refused", "The model declined to run this code."),
    (Script(text="I would rather not.", runs=()), "not_run", "The model didn't run the code."),
    (Script(incomplete="content_filter"), "refused", "violates its usage policies"),
    (Script(incomplete="max_output_tokens"), "too_long", "The code is too long to run in one go"),
    (Script(status=400, code="invalid_prompt"), "refused", "violates its usage policies"),
    (Script(status=401, code="invalid_api_key"), "wrong_key", "OPENAI_API_KEY"),
    (Script(status=429, code="insufficient_quota"), "no_quota", "no credit left"),
    (Script(status=429, headers={"retry-after": "99"}), "rate_limited", "Try again in 2 minutes"),
    (Script(status=404, code="model_not_found"), "unknown_model", "PONTE_CODE_MODEL"),
    (
        Script(status=400, param="tools[0]", message="Not supported."),
        "unfit_model",
        "can't run code",
    ),
    (Script(status=418, code="teapot"), "refused", "refused to run the code (teapot)"),
    (
        Script(status=418, code="<!channel> https://evil.test sk-test"),
        "refused",
        "refused to run the code (HTTP 418)",
    ),
    (Script(status=500, times=0), "model_down", "Nothing was run. Try again"),
    (Script(fail="lost"), "unknown", "don't know whether the code ran"),
    (Script(fail="failed", code="server_error"), "model_down", "OpenAI can't run code right now"),
    (Script(fail="failed", code="rate_limit_exceeded"), "rate_limited", "is busy"),
    (Script(text="half", fail="error_event"), "model_down", "OpenAI can't run code right now"),
]


@pytest.mark.parametrize(("script", "code", "words"), REFUSALS)
async def test_a_refused_run_raises_a_worded_error(
    bench: Bench, script: Script, code: str, words: str
) -> None:
    bench.fake.runs(script)
    with pytest.raises(ToolError) as error:
        await bench.run("print(1)")
    assert error.value.code == code
    assert words in error.value.words()
    assert "sk-test" not in error.value.words() + error.value.hint


@pytest.mark.parametrize("events", [(), (b"data: {}\n\n",)])
async def test_a_stream_that_ends_without_an_id_says_nothing_of_whether_it_ran(
    bench: Bench, events: tuple[bytes, ...]
) -> None:
    async def pieces(chat: bool) -> AsyncIterator[bytes]:
        for event in events:
            yield event

    bench.fake.hostile = hostile.streams(pieces)
    with pytest.raises(ToolError, match="don't know whether the code ran"):
        await bench.run("print(1)")
    assert [r.method for r in bench.fake.requests if r.path.startswith("/responses")] == ["POST"]


async def test_a_passing_refusal_is_retried_after_a_wait(bench: Bench) -> None:
    bench.fake.runs(Script(status=503), Script(status=429, headers={"retry-after": "2"}))
    assert (await bench.run("print(1)")).printed == "1\n"
    assert bench.waits[1:] == [2.0]
    assert bench.fake.containers.created == 1


async def test_a_server_without_containers_names_the_setting(bench: Bench) -> None:
    bench.fake.without.add("containers")
    with pytest.raises(ToolError, match="The model's server has no containers to run code"):
        await bench.run("1")
    assert (await bench.backend.health()).state == "failing"


async def test_health_tells_who_must_act_until_a_run_succeeds(bench: Bench) -> None:
    health = await bench.backend.health()
    assert (health.name, health.state) == ("code", "on")
    assert health.words == "hosted: gpt-6-luna at 127.0.0.1"
    bench.fake.runs(Script(status=429, code="insufficient_quota"), Script(refusal="no"))
    for _ in range(2):
        with pytest.raises(ToolError):
            await bench.run("1")
    health = await bench.backend.health()
    assert (health.state, "credit" in health.words) == ("failing", True)
    await bench.run("1")
    assert (await bench.backend.health()).state == "on"


async def test_without_a_key_it_is_not_offered() -> None:
    backend = HostedBackend(ModelServerClient(ModelEndpoint("")))
    assert not await backend.is_available()
    health = await backend.health()
    assert (health.state, health.words) == ("off", "hosted: OPENAI_API_KEY isn't set")
    with pytest.raises(ToolError) as error:
        await backend.run(ctx(), "1", [])
    assert error.value.code == "no_key"
    await backend.close()


async def test_a_person_goes_by_a_pseudonym_at_openai_alone(make: Make) -> None:
    at_openai, elsewhere = make(official=True), make()
    await at_openai.run("1")
    await elsewhere.run("1")
    theirs, others = at_openai.fake.request_bodies("/responses")
    assert theirs["safety_identifier"] == "pseudonym of 19"
    assert theirs["reasoning"] == {"effort": "low"}
    assert {"safety_identifier", "reasoning", "stream_options"} & set(others) == set()


async def test_more_than_we_take_says_nothing_of_whether_it_ran(
    bench: Bench, limits: Limits
) -> None:
    limits(MAX_STREAM_BYTES=2**20)
    bench.fake.hostile = hostile.streams(hostile.endless_words)
    with pytest.raises(ToolError, match="don't know whether the code ran"):
        await bench.run("print(1)")
