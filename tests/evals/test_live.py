"""`ponte eval`, against the double of the model's server: no real model was ever asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.config import Config, ModelPrice, PriceTable
from bot.evals import live
from bot.evals.case import read_cases
from bot.home import Home
from bot.settings import Settings
from bot.start import Start
from core.domain.errors import PonteError
from tests.evals.offline import replay
from tests.fakes.openai import FakeOpenAI, Script

PRICES = PriceTable(models={"gpt-6-luna": ModelPrice(1.0, 2.0)})
CASES = [case for case in read_cases() if case.key in ("tables/nothing-fits", "no_tool/hello")]
QUERY = {
    "table": "Products", "filters": [{"field": "Price", "op": "gt", "value": 500}], "match": None,
    "fields": None, "sort": None, "limit": None, "page": None, "export": None,
}  # fmt: skip
ASKS = Script(calls=(("nocodb_query", json.dumps(QUERY)),), match="more than 500")
ANSWERS = Script("No product costs more than 500.", match='"total":0')


def make_start(home: Path, fake: FakeOpenAI, prices: PriceTable = PRICES) -> Start:
    """A Ponte with everything configured, most of it at addresses where nothing listens."""
    settings = Settings(
        openai_api_key=SecretStr("sk-test"), openai_base_url=fake.base_url, ponte_home=home,
        nocodb_url=SecretStr("http://127.0.0.1:9"), nocodb_token=SecretStr("a-token-of-nocodb"),
        slack_bot_token=SecretStr("xoxb-1"), slack_app_token=SecretStr("xapp-1"),
        stackspot_client_id="id", stackspot_client_secret=SecretStr("a-secret-of-stackspot"),
    )  # fmt: skip
    return Start(settings, Config(prices=prices), Home(home))


async def evaluate(begun: Start, trials: int = 1, budget: float = 1.0) -> tuple[int, list[str]]:
    lines: list[str] = []
    return await live.evaluate(begun, trials, budget, lines.append), lines


@pytest.fixture(autouse=True)
def few_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "read_cases", lambda: CASES)


async def test_the_cases_run_with_the_configured_model_and_nothing_else(tmp_path: Path) -> None:
    async with FakeOpenAI() as fake:
        fake.say(ASKS, ANSWERS)
        begun = make_start(tmp_path / "home", fake)
        code, lines = await evaluate(begun, trials=2)
        assert {request.path for request in fake.requests} == {"/models", "/responses"}
        asked = [request.body for request in fake.requests if request.path == "/responses"]
        assert all(body["store"] is False for body in asked)
        sent = json.dumps([request.body for request in fake.requests])
        assert not [one for one in begun.settings.secrets if one in sent]
        assert code == 0
        table = {line.split()[0]: line.split() for line in lines[-4:]}
        assert table["no_tool"][1:4] == ["1", "100%", "100%"]
        assert table["tables"][1:4] == ["1", "50%", "0%"]
        assert table["all"][1:4] == ["2", "75%", "50%"]
        assert any(line.startswith("tables/nothing-fits: missed: ") for line in lines)

        fake.say(ASKS, ANSWERS)
        _, lines = await evaluate(begun)
        assert "tables/nothing-fits passes now." in lines
        assert any(line.startswith("Last run: ") for line in lines)
    files = {path.name for path in (tmp_path / "home").rglob("*") if path.is_file()}
    assert files == {"last.json", "tables-nothing-fits.json", "no_tool-hello.json"}

    cassettes = tmp_path / "home" / "evals" / "cassettes"
    assert await replay(CASES, cassettes) == ([], [])
    changed = [replace(case, secrets=("No product",)) for case in CASES if case.area == "tables"]
    (fault,), stale = await replay(changed, cassettes)
    assert "leak: a post shows 'No product'" in fault
    assert stale == ["tables/nothing-fits"]


async def test_it_stops_before_the_budget_is_exceeded(tmp_path: Path) -> None:
    async with FakeOpenAI() as fake:
        code, lines = await evaluate(make_start(tmp_path, fake), budget=0.0001)
        assert (code, {request.path for request in fake.requests}) == (0, {"/models"})
    assert "Stopped before the end" in lines[0]
    report = live.read_report(tmp_path / "evals" / "last.json")
    assert report
    assert (report.cost, report.cases) == (0.0, {})


async def test_it_needs_a_model_with_a_price(tmp_path: Path) -> None:
    async with FakeOpenAI() as fake:
        with pytest.raises(live.NoEvalPrice, match=r'\[prices\.models\."gpt-6-luna"\]'):
            await evaluate(make_start(tmp_path, fake, PriceTable()))
        fake.key = "sk-another"
        with pytest.raises(PonteError, match="rejected OPENAI_API_KEY"):
            await evaluate(make_start(tmp_path, fake))
    with pytest.raises(live.NoEvalModel, match="OPENAI_API_KEY"):
        await evaluate(Start(Settings(ponte_home=tmp_path), Config(), Home(tmp_path)))
