"""Which model the settings choose, seen by who asks it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bot.compose import compose
from bot.config.ponte_toml import Config
from bot.home import Home
from bot.parts import dependencies, model_client
from bot.settings import Settings
from core.base.errors import NoKey
from core.base.http import HttpClient
from core.domain.model_rounds import ToolSpec
from core.domain.records import Remote
from core.models import MODEL_INTEGRATION
from core.models.demo_model import DemoModel
from tests.fakes.openai import FakeOpenAI
from tests.model.talk import Talk


async def _late(thread: str, remote: Remote) -> None:
    raise AssertionError


async def _list_no_tools() -> Sequence[ToolSpec]:
    return ()


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        ({}, "demo"),
        ({"openai_api_key": "sk-test", "ponte_model_api": "demo"}, "demo"),
        ({"openai_api_key": "sk-test"}, "conversations"),
        ({"openai_base_url": "http://127.0.0.1:9/v1", "ponte_model_api": "chat"}, "chat"),
        ({"openai_api_key": "sk-test", "ponte_model_api": "responses"}, "responses"),
    ],
)
async def test_the_model_is_chosen_by_settings(
    tmp_path: Path, settings: dict[str, str], level: str
) -> None:
    choice = Settings.model_validate(settings)
    async with HttpClient() as http:
        result = dependencies(choice, Config(), Home(tmp_path), http, model_client(choice))
        model, _ = MODEL_INTEGRATION.build(result, _late, _list_no_tools)
    assert model.level == level
    assert isinstance(model, DemoModel) == (level == "demo")
    await model.close()


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_an_api_without_a_key_or_a_server_is_no_demo_model(tmp_path: Path, api: str) -> None:
    choice = Settings.model_validate({"ponte_model_api": api})
    async with HttpClient() as http:
        result = dependencies(choice, Config(), Home(tmp_path), http, model_client(choice))
        summary = MODEL_INTEGRATION.summary(result.own, result.shared)
        assert (summary.state, "OPENAI_API_KEY" in summary.words) == ("failing", True)
        with pytest.raises(NoKey):
            await MODEL_INTEGRATION.check(result)


@pytest.mark.parametrize(("effort", "sent"), [("high", {"effort": "high"}), (None, None)])
async def test_the_effort_of_the_settings_is_sent(
    tmp_path: Path, effort: str | None, sent: dict[str, str] | None
) -> None:
    async with FakeOpenAI() as fake, HttpClient() as http:
        choice = Settings.model_validate(
            {
                "openai_api_key": "sk-test",
                "openai_base_url": fake.base_url,
                "ponte_model_api": "responses",
                "ponte_model_effort": effort,
            }
        )
        with Home(tmp_path).take():
            result = dependencies(choice, Config(), Home(tmp_path), http, model_client(choice))
            model, _ = MODEL_INTEGRATION.build(result, _late, _list_no_tools)
        await Talk(model).say("hello")
        assert fake.request_bodies("/responses")[-1].get("reasoning") == sent
        await model.close()


async def test_the_pseudonyms_key_stays_and_is_for_this_user_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.take():
        key = home.pseudonyms()
    assert len(key) == 32
    with Home(tmp_path / "home").take():
        assert home.pseudonyms() == key
    assert (tmp_path / "home" / "pseudonyms.key").stat().st_mode & 0o077 == 0


@pytest.mark.slow
async def test_a_dead_server_starts_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(
        openai_base_url="http://127.0.0.1:9/v1", ponte_home=tmp_path / "home", ponte_web="off"
    )
    home = Home(settings.ponte_home)
    with home.take():
        app = await compose(settings, Config(), home)
        await app.start()
        await app.announce()
        await app.stop()
    assert "Ponte is ready." in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accepts", "runs_turns", "words"),
    [
        (True, True, "Ponte is ready. Open http"),
        (True, False, "Ponte is ready to receive messages. Run `ponte work` to answer them."),
        (False, True, "Ponte is ready to answer messages. Run `ponte serve` to receive them."),
    ],
)
async def test_one_line_says_what_the_process_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], accepts: bool, runs_turns: bool, words: str
) -> None:
    home = Home(tmp_path / "home")
    with home.take():
        settings = Settings(ponte_home=home.path, ponte_web_port=0)
        app = await compose(
            settings, Config(), home, accepts=accepts, runs_turns=runs_turns, surfaces=accepts
        )
        await app.start()
        await app.announce()
        await app.stop()
    (ready,) = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("Ponte is ready")
    ]
    assert ready.startswith(words)


@pytest.mark.slow
async def test_a_worker_names_the_process_that_serves_the_platforms(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.take():
        settings = Settings(ponte_home=home.path)
        app = await compose(settings, Config(), home, accepts=False, surfaces=False)
        await app.start()
        states = {part.name: part for part in await app.board.health()}
        await app.stop()
    assert states["web"].state == "off"
    assert states["web"].words == "configured; handled by `ponte run`"
