"""Responses that are none of OpenAI's API: the person reads that the address may be wrong."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from core.base.errors import ModelError
from core.models.served_model import Level
from tests.fakes.openai import FakeOpenAI
from tests.model.conftest import Make
from tests.model.talk import Talk

PAGE = "<!DOCTYPE html>\n<html><head><title>Welcome</title></head><body>a, b: c</body></html>"
NO_API = "has no OpenAI API at this URL. Check the OPENAI_BASE_URL setting"
BODIES: dict[str, tuple[str, str]] = {
    "a page": (PAGE, NO_API),
    "a page in one line": (PAGE.replace("\n", ""), NO_API),
    "a page after a mark": (f"\ufeff  {PAGE}", NO_API),
    "words": ("It works!", NO_API),
    "XML": ('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', NO_API),
    "a list": ("[]", NO_API),
    "a list of texts": ('["gpt", "llama"]', NO_API),
    "a list of objects": ('[{"name": "gpt"}]', NO_API),
    "a JSON text": ('"ok"', NO_API),
    "another object": ('{"status": "ok", "version": 3}', NO_API),
    "an object in lines": ('{\n  "status": "ok"\n}', NO_API),
    "a greeting": ('{"message": "Welcome to the gateway"}', NO_API),
    "an error": ('{"error": {"message": "Something is odd."}}', "rejected the request"),
    "an error in words": ('{"error": "Something is odd."}', "rejected the request"),
    "a wrong key": ('{"error": {"message": "Incorrect API key provided", "type": "x"}}',
                    "rejected the API key"),
    "a wrong key in words": ('{"detail": "Invalid API key"}', "rejected the API key"),
    "a wrong key at MiniMax": (
        json.dumps({"id": "1", "choices": None, "base_resp": {
            "status_code": 1004, "status_msg": "login fail: invalid api key"}}),
        "rejected the API key"),
    "a limit at Baidu": ('{"error_code": 17, "error_msg": "Daily limit"}', NO_API),
    "no credit": ('{"error": {"code": 402, "message": "Insufficient credits"}}', "no credit left"),
    "no model": ('{"error": {"message": "No model `x`.", "code": "model_not_found"}}',
                 "have the model"),
    "an unknown path": ('{"error": "Unexpected endpoint or method. (POST /v1/responses)"}', NO_API),
}  # fmt: skip


def respond(
    fake: FakeOpenAI, body: str, status: int = 200, *, everywhere: bool = False
) -> list[str]:
    """Respond with this body. Return the paths of the requests, which grows."""
    paths: list[str] = []
    kind = "application/json" if body[:1] in '{["' else "text/html"

    async def answer(request: web.Request) -> web.StreamResponse:
        paths.append(f"{request.method} {request.path}")
        return web.Response(text=body, content_type=kind, status=status)

    fake.hostile = answer
    if everywhere:
        fake.hostile_at = {"/conversations", "/responses", "/models", "/chat/completions"}
    return paths


@pytest.mark.parametrize("level", ["conversations", "chat"])
@pytest.mark.parametrize("name", BODIES)
async def test_what_is_no_answer_is_asked_for_once(
    make: Make, fake: FakeOpenAI, waits: list[float], level: Level, name: str
) -> None:
    body, words = BODIES[name]
    paths = respond(fake, body)
    talk = Talk(await make(level))
    with pytest.raises(ModelError, match=words):
        await talk.say("hello")
    assert (len(paths), waits) == (1, [])
    fake.hostile = None
    fake.say("Well again.")
    assert await talk.say("and now?") == "Well again."


@pytest.mark.parametrize(("status", "body"), [(200, PAGE), (400, PAGE), (200, "[]")])
async def test_a_page_at_each_address_costs_one_request(
    make: Make, fake: FakeOpenAI, status: int, body: str
) -> None:
    paths = respond(fake, body, status, everywhere=True)
    model = await make(None)
    for number in (1, 2):
        with pytest.raises(ModelError, match=NO_API):
            await Talk(model).say("hello")
        assert paths == ["POST /v1/conversations"] * number
    fake.hostile = None
    fake.say("Well again.")
    assert await Talk(model).say("and now?") == "Well again."


async def test_a_server_that_names_unknown_paths_with_status_200_has_its_own_level(
    make: Make, fake: FakeOpenAI
) -> None:
    """Former versions of LM Studio."""
    respond(fake, json.dumps({"error": "Unexpected endpoint or method. (POST /v1/x)"}))
    fake.hostile_at = {"/conversations", "/responses"}
    fake.say("Hello.")
    model = await make(None)
    assert await Talk(model).say("hello") == "Hello."
    assert model.level == "chat"
