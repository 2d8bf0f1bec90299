"""Where Python runs, as the settings say."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.code import choose_code
from bot.home import Home
from bot.model import client
from bot.settings import Settings

OLLAMA = "http://127.0.0.1:11434/v1"
KEY = {"openai_api_key": "sk-test"}


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
        (KEY | {"ponte_code": "off"}, None),
    ],
)
async def test_where_python_runs(tmp_path: Path, settings: dict[str, str], name: str) -> None:
    chosen = Settings.model_validate(settings)
    backend = choose_code(chosen, Home(tmp_path), client(chosen), lambda name: name)
    assert (backend and backend.name) == name
    if backend:
        await backend.close()


@pytest.mark.parametrize(
    ("settings", "model"),
    [({}, "gpt-6-luna"), ({"ponte_model": "m1"}, "m1"), ({"ponte_code_model": "m2"}, "m2")],
)
async def test_which_model_runs_it(tmp_path: Path, settings: dict[str, str], model: str) -> None:
    chosen = Settings.model_validate(KEY | settings)
    backend = choose_code(chosen, Home(tmp_path), client(chosen), lambda name: name)
    assert backend is not None
    assert (await backend.health()).words == f"hosted: {model} at api.openai.com"
