"""Which level a server has, how that is found out, and what `status` says of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import structlog
from aiohttp import web

from core.base.errors import ModelDown, RateLimited, UnknownModel, WrongKey
from core.models.served_model import Level
from tests.fakes.aimock import aimock, missing
from tests.fakes.openai import FakeOpenAI, Script
from tests.model.conftest import Make
from tests.model.talk import Talk
from tests.time_limits import Limits


@pytest.mark.parametrize(
    ("without", "level"),
    [
        (set(), "conversations"),
        ({"conversations"}, "responses"),
        ({"conversations", "responses"}, "chat"),
    ],
)
async def test_the_level_is_what_the_server_has(
    make: Make, fake: FakeOpenAI, without: set[str], level: Level
) -> None:
    fake.without = without
    model = await make(None)
    with structlog.testing.capture_logs() as lines:
        assert await Talk(model).say("hello")
    refusals = [line for line in lines if line["event"] == "model server rejected a request"]
    assert {line["log_level"] for line in refusals} <= {"debug"}, "a person asked for none of it"
    assert refusals
    assert model.level == level
    assert len(fake.conversations) == (level == "conversations"), "the probe was deleted"


async def test_a_server_that_takes_conversations_and_forgets_them(
    make: Make, fake: FakeOpenAI
) -> None:
    """A 200 of /responses with `conversation` says nothing: only POST /conversations does."""
    fake.forgets, fake.without = True, {"conversations"}
    talk = Talk(await make(None))
    await talk.say("My name is Ana.")
    await talk.say("What is my name?")
    assert talk.model.level == "responses"
    assert "My name is Ana." in str(fake.request_bodies("/responses")[-1]["input"])


async def test_probing_costs_no_tokens_and_happens_once(make: Make, fake: FakeOpenAI) -> None:
    fake.without = {"conversations"}
    model = await make(None)
    model.start()
    await asyncio.gather(*(Talk(model).say("hello") for _ in range(5)))
    assert len(fake.request_bodies("/conversations")) == 1
    probes = [body for body in fake.request_bodies("/responses") if "input" not in body]
    assert len(probes) == 1
    assert len(fake.request_bodies("/responses")) == 6


async def test_a_server_that_answers_anything_has_no_conversations(
    make: Make, fake: FakeOpenAI
) -> None:
    """Some answer 200 and an empty object to every path that they do not know."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({})

    fake.hostile, fake.hostile_at = answer, {"/conversations"}
    model = await make(None)
    assert await Talk(model).say("hello")
    assert model.level == "responses"


@pytest.mark.parametrize("without", [set[str](), {"conversations"}])
@pytest.mark.parametrize(("status", "error"), [(429, RateLimited), (503, ModelDown)])
async def test_trouble_says_nothing_of_levels(
    make: Make, fake: FakeOpenAI, status: int, error: type[Exception], without: set[str]
) -> None:
    """Nobody falls to a lower level because the server is busy or down; it is asked again."""
    model = await make(None)
    fake.ill, fake.without = status, without
    with pytest.raises(error):
        await Talk(model).say("hello")
    assert (await model.health()).state == "failing"
    fake.ill = 0
    assert await Talk(model).say("hello")
    assert model.level == ("responses" if without else "conversations")
    assert (await model.health()).state == "on"


@pytest.mark.parametrize(("status", "state"), [(503, "failing"), (401, "failing"), (404, "on")])
async def test_health_needs_no_list_of_models_but_reports_that_it_failed(
    make: Make, fake: FakeOpenAI, status: int, state: str
) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "No."}}, status=status)

    fake.hostile, fake.hostile_at = refuse, {"/models"}
    assert (await (await make(None)).health()).state == state


async def test_a_wrong_key_starts_and_is_told(make: Make, fake: FakeOpenAI) -> None:
    fake.key = "sk-right"
    model = await make(None, key="sk-wrong")
    model.start()
    health = await model.health()
    assert health.state == "failing"
    assert "OPENAI_API_KEY" in health.words
    with pytest.raises(WrongKey):
        await Talk(model).say("hello")
    fake.key = "sk-wrong"
    assert await Talk(model).say("hello"), "the operator mended it"


async def test_no_server_at_all(make: Make) -> None:
    model = await make(None, base_url="http://127.0.0.1:9/v1")
    with pytest.raises(ModelDown):
        await Talk(model).say("hello")
    assert (await model.health()).state == "failing"


async def test_no_key_is_off(make: Make) -> None:
    health = await (await make(None, official=True, key="")).health()
    assert (health.state, "OPENAI_API_KEY" in health.words) == ("off", True)


async def test_an_unknown_model_at_openai_is_told_at_start(make: Make) -> None:
    health = await (await make(None, official=True, model="gpt-6-lunar")).health()
    assert health.state == "failing"
    assert "gpt-6-luna" in health.words
    elsewhere = await (await make(None, model="my-own")).health()
    assert elsewhere.state == "on", "other servers serve what they do not list"


async def test_health_sees_a_server_come_back(make: Make, fake: FakeOpenAI, limits: Limits) -> None:
    limits(PROBE_INTERVAL_SECONDS=0.0)
    model = await make("responses")
    fake.say(Script(status=401, code="invalid_api_key"))
    with pytest.raises(WrongKey):
        await Talk(model).say("hello")
    assert (await model.health()).state == "on"


async def test_health_does_not_wait_for_a_server_that_hangs(
    make: Make, fake: FakeOpenAI, limits: Limits
) -> None:
    limits(HEALTH_WAIT_SECONDS=0.01)
    fake.slow = True
    health = await (await make(None)).health()
    assert (health.state, health.words) == ("checking", "gpt-6-luna at 127.0.0.1")


@pytest.mark.parametrize("level", ["conversations", "responses"])
async def test_a_server_that_loses_an_api_goes_down_a_level(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    """In the middle of a thread; nothing that was said is forgotten."""
    if level == "responses":
        fake.without = {"conversations"}
    talk = Talk(await make(None))
    await talk.say("My name is Ana.")
    fake.without = {"conversations", "responses"}
    await talk.say("What is my name?")
    assert talk.model.level == "chat"
    assert "My name is Ana." in str(fake.request_bodies("/chat/completions")[-1]["messages"])


@pytest.mark.parametrize(("rejects", "refusals"), [(set(), 1), ({"conversation"}, 4)])
async def test_an_account_that_may_use_no_conversation_is_asked_without(
    make: Make, fake: FakeOpenAI, rejects: set[str], refusals: int
) -> None:
    """Also where the reason for it is not known."""
    fake.no_retention, fake.rejects = not rejects, rejects
    model = await make(None)
    for _ in range(2):
        talk = Talk(model)
        assert await talk.say("My name is Ana.") == "You said: My name is Ana."
        assert await talk.say("What is my name?")
    bodies = fake.request_bodies("/responses")
    assert len([body for body in bodies if "conversation" in body]) == refusals
    assert "My name is Ana." in str(bodies[-1]["input"])
    assert len(fake.request_bodies("/conversations")) == refusals + 1, "one of them by the probe"


async def test_the_setting_that_asks_for_conversations_is_named(
    make: Make, fake: FakeOpenAI
) -> None:
    fake.no_retention = True
    with pytest.raises(ModelDown, match="Set PONTE_MODEL_API to `responses`, or remove it"):
        await Talk(await make("conversations")).say("hello")
    assert len(fake.request_bodies("/responses")) == 1


async def test_a_level_that_the_operator_chose_is_final(make: Make, fake: FakeOpenAI) -> None:
    fake.without = {"responses"}
    with pytest.raises(ModelDown):
        await Talk(await make("responses")).say("hello")
    assert fake.request_bodies("/chat/completions") == []


async def test_an_unknown_model_is_no_missing_api(make: Make, fake: FakeOpenAI) -> None:
    fake.without = {"conversations"}
    model = await make(None, model="gpt-7")
    with pytest.raises(UnknownModel):
        await Talk(model).say("hello")
    assert model.level == "responses"


@pytest.mark.skipif(bool(missing()), reason=missing() or "it is there")
@pytest.mark.slow
class TestAimock:
    """The same against a server that is not ours."""

    async def test_its_level(self, make: Make, tmp_path: Path) -> None:
        fixtures = [{"match": {"userMessage": "name"}, "response": {"content": "Ana."}}]
        async with aimock(fixtures, tmp_path) as url:
            model = await make(None, base_url=url)
            assert await Talk(model).say("What is my name?") == "Ana."
            assert model.level == "responses"

    @pytest.mark.parametrize(
        ("chaos", "error"),
        [("--chaos-malformed", ModelDown), ("--chaos-ratelimit", RateLimited)],
    )
    async def test_its_chaos_is_worded(
        self, make: Make, tmp_path: Path, chaos: str, error: type[Exception]
    ) -> None:
        fixtures = [{"match": {"userMessage": "hello"}, "response": {"content": "Hello."}}]
        async with aimock(fixtures, tmp_path, chaos, "1") as url:
            for level in ("responses", "chat"):
                with pytest.raises(error):
                    await Talk(await make(level, base_url=url)).say("hello")
