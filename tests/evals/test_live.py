"""The cases with the model of a server, which is a double: no real model was ever asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.settings import Settings
from core.base.errors import PonteError
from tests.evals import live
from tests.evals.case import read_cases
from tests.fakes.openai import FakeOpenAI, Script

CASES = [case for case in read_cases() if case.key in ("tables/nothing-fits", "no_tool/hello")]
QUERY = {
    "table": "Products", "filters": [{"field": "Price", "op": "gt", "value": 500}], "match": None,
    "fields": None, "sort": None, "limit": None, "page": None, "export": None,
}  # fmt: skip
ASKS = Script(calls=(("nocodb_query", json.dumps(QUERY)),), match="more than 500")
ANSWERS = Script("No product costs more than 500.", match='"total":0')


def make_settings(home: Path, fake: FakeOpenAI) -> Settings:
    """Everything is configured, most of it at addresses where nothing listens."""
    stackspot: dict[str, Any] = {
        "stackspot_client_id": "id",
        "stackspot_client_secret": SecretStr("a-secret-of-stackspot"),
    }
    return Settings(
        openai_api_key=SecretStr("sk-test"),
        openai_base_url=fake.base_url,
        ponte_home=home,
        nocodb_url=SecretStr("http://127.0.0.1:9"),
        nocodb_token=SecretStr("a-token-of-nocodb"),
        slack_bot_token=SecretStr("xoxb-1"),
        slack_app_token=SecretStr("xapp-1"),
        **stackspot,
    )


async def evaluate(
    settings: Settings, price: str = "1/2", budget: float = 1.0
) -> tuple[int, list[str]]:
    lines: list[str] = []
    match = live.parse_price(price) if price else None
    choice = await live.choose_model(settings, "gpt-6-luna", match, budget)
    return await live.evaluate(choice, CASES, 2, lines.append), lines


async def test_the_cases_run_with_the_model_and_nothing_else(tmp_path: Path) -> None:
    async with FakeOpenAI() as fake:
        fake.say(ASKS, ANSWERS)
        settings = make_settings(tmp_path / "home", fake)
        code, lines = await evaluate(settings)
        questions = [body for body in fake.request_bodies("/responses") if "input" in body]
        assert len(questions) == 5
        assert all(body["store"] is False for body in questions)
        requests = json.dumps([request.body for request in fake.requests])
        assert not [one for one in settings.secrets if one in requests]
    assert code == 0
    table = {line.split()[0]: line.split() for line in lines[-4:]}
    assert table["no_tool"][1:4] == ["1", "100%", "100%"]
    assert table["tables"][1:4] == ["1", "50%", "0%"]
    assert table["all"][1:4] == ["2", "75%", "50%"]
    assert float(table["cost:"][1].removeprefix("$")) > 0
    assert any(line.startswith("tables/nothing-fits: missed: ") for line in lines)
    assert not (tmp_path / "home").exists()


async def test_it_stops_before_the_budget_is_exceeded(tmp_path: Path) -> None:
    async with FakeOpenAI(without={"responses"}) as fake:
        code, lines = await evaluate(make_settings(tmp_path, fake), budget=0.0001)
        assert (code, fake.used) == (0, [])
    assert lines[0].startswith("Stopped: ")
    assert lines[-1] == "cost: $0.0000"


async def test_a_server_with_chat_completions_alone_is_evaluated(tmp_path: Path) -> None:
    async with FakeOpenAI(without={"responses", "conversations"}) as fake:
        _, lines = await evaluate(make_settings(tmp_path, fake), price="")
        assert {request.path for request in fake.requests if request.body.get("stream")} == {
            "/chat/completions"
        }
    assert lines[0].startswith("The price of this model is unknown")
    assert lines[-1] == "cost: unknown"


async def test_a_leak_fails_the_evaluation(tmp_path: Path) -> None:
    async with FakeOpenAI() as fake:
        choice = await live.choose_model(make_settings(tmp_path, fake), "gpt-6-luna", None, 1.0)
    leaky = [replace(CASES[0], secrets=(CASES[0].steps[0].say,))]
    lines: list[str] = []
    async with FakeOpenAI() as fake:
        own = {**choice.settings, "openai_base_url": fake.base_url}
        assert await live.evaluate(replace(choice, settings=own), leaky, 1, lines.append) == 1
    assert any("leak: the model was told" in line for line in lines)


async def test_it_needs_a_model_that_answers(tmp_path: Path) -> None:
    async with FakeOpenAI() as fake:
        fake.key = "sk-another"
        with pytest.raises(PonteError, match="rejected the API key"):
            await evaluate(make_settings(tmp_path, fake))
    with pytest.raises(PonteError, match="OPENAI_API_KEY"):
        await evaluate(Settings(ponte_home=tmp_path))
