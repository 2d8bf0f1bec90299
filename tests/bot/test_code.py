"""Where Python runs, as the settings say."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.config.ponte_toml import Config
from bot.home import Home
from bot.parts import dependencies, model_client
from bot.settings import Settings
from core.base.http import HttpClient
from core.base.proxies import Proxies
from core.tools.code import CODE_INTEGRATION, environment
from core.tools.code.environment import InstallationFailed
from core.tools.code.local import LocalBackend
from core.tools.code.port import CodeBackend
from tests.bot.conftest import Shell
from tests.time_limits import Limits

OLLAMA = "http://127.0.0.1:11434/v1"
KEY = {"openai_api_key": "sk-test"}


def backend_of(chosen: Settings, home: Path) -> CodeBackend:
    client = model_client(chosen)
    return CODE_INTEGRATION.build_backend(
        dependencies(chosen, Config(), Home(home), HttpClient(), client)
    )


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "local"),
        (KEY, "hosted"),
        (KEY | {"openai_base_url": "https://eu.api.openai.com/v1"}, "hosted"),
        (KEY | {"openai_base_url": OLLAMA}, "local"),
        (KEY | {"openai_base_url": "https://openai.com.evil.example/v1"}, "local"),
        (KEY | {"ponte_model_api": "demo"}, "local"),
        (KEY | {"ponte_code": "local"}, "local"),
        (KEY | {"openai_base_url": OLLAMA, "ponte_code": "hosted"}, "hosted"),
        ({"openai_base_url": OLLAMA, "ponte_code_api_key": "sk-2"}, "hosted"),
        ({"ponte_code_base_url": "http://code.example/v1"}, "hosted"),
    ],
)
async def test_where_python_runs(tmp_path: Path, settings: dict[str, str], name: str) -> None:
    choice = Settings.model_validate(settings)
    backend = backend_of(choice, tmp_path)
    assert backend.name == name
    await backend.close()


def test_python_can_be_off() -> None:
    settings = Settings(ponte_code="off")
    assert not CODE_INTEGRATION.is_used(settings, settings)


@pytest.mark.parametrize(
    ("settings", "model"),
    [({}, "gpt-6-luna"), ({"ponte_model": "m1"}, "m1"), ({"ponte_code_model": "m2"}, "m2")],
)
async def test_which_model_runs_it(tmp_path: Path, settings: dict[str, str], model: str) -> None:
    choice = Settings.model_validate(KEY | settings)
    backend = backend_of(choice, tmp_path)
    assert (await backend.health()).words == f"hosted: {model} at api.openai.com"


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, limits: Limits, tmp_path: Path) -> list[str]:
    """What pip says, in place of installing anything; empty: it did."""
    messages: list[str] = []

    async def fill(folder: Path, proxies: Proxies) -> None:
        for words in messages:
            raise InstallationFailed(words)

    monkeypatch.setattr(environment, "install_libraries", fill)
    limits(SHARED_FOLDER=tmp_path / "cache")
    return messages


@pytest.mark.slow
def test_the_sandbox_can_be_set_up_ahead(ponte: Shell, shop: list[str]) -> None:
    ponte("sandbox")
    assert (ponte.code, ponte.err) == (0, "")
    first, last = ponte.out.splitlines()
    assert first == "Ponte is setting up Python for the first time (about a minute)…"
    assert last.startswith("ready: /")
    assert ponte("sandbox").out.splitlines() == [last]


@pytest.mark.slow
def test_a_sandbox_that_cannot_be_set_up_fails_with_the_reason(
    ponte: Shell, shop: list[str]
) -> None:
    shop.append("the disk is full")
    ponte("sandbox")
    assert ponte.code == 1
    assert ponte.err.splitlines()[-1] == "the packages couldn't be installed: the disk is full"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "prepared"),
    [(["threads", "list"], 0), (["usage"], 0), (["ask", "hello"], 1), (["status"], 1)],
)
def test_only_a_command_that_may_run_code_proves_the_sandbox_ahead(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch, words: list[str], prepared: int
) -> None:
    starts: list[LocalBackend] = []
    monkeypatch.setattr(LocalBackend, "start", lambda backend: starts.append(backend))
    monkeypatch.setattr("sys.stdin", None)
    assert ponte(*words).code == (words == ["status"]), ponte.err
    assert len(starts) == prepared
