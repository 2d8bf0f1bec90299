"""Commands are run as from a shell that has nothing set, in a folder of its own."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
import typer

from bot.cli import main
from bot.settings import Settings
from tests.fakes.holder import FakeHolder


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, hook = list(root.handlers), root.level, threading.excepthook
    mask = os.umask(0)
    os.umask(mask)
    yield
    os.umask(mask)
    structlog.reset_defaults()
    logging.captureWarnings(False)
    logging.basicConfig(handlers=handlers, level=level, force=True)
    threading.excepthook = hook


@pytest.fixture(scope="session", autouse=True)
def _shared_command() -> Iterator[None]:
    """Build Typer's command once, for all tests in English: it takes 15 ms. A translation changes
    the command, so another language gets one of its own."""
    build, of_english = typer.main.get_command, functools.cache(typer.main.get_command)

    def get_command(cli: typer.Typer) -> Any:
        names = ("PONTE_LOCALE", "LC_ALL", "LC_MESSAGES", "LANG")
        chosen = next(filter(None, map(os.environ.get, names)), "C")
        return (of_english if chosen[:1] == "C" else build)(cli)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", get_command)
        yield


@dataclass
class Shell:
    """`ponte …` typed by an operator, and what came out."""

    capture: pytest.CaptureFixture[str]
    home: Path
    code: int = -1
    out: str = ""
    err: str = ""

    def __call__(self, *words: str) -> Shell:
        self.code = main(words)
        self.out, self.err = self.capture.readouterr()
        return self


@pytest.fixture
def ponte(
    nothing_set: None,
    logging_as_it_was: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    home = tmp_path / "home"
    monkeypatch.setenv("PONTE_HOME", str(home))
    return Shell(capsys, home)


@pytest.fixture
def fake_holder(monkeypatch: pytest.MonkeyPatch) -> FakeHolder:
    # They take from the real client what they need.
    for name in ("bot.change_commands", "bot.cli_commands", "bot.person_commands"):
        importlib.import_module(name)
    fake = FakeHolder()
    monkeypatch.setitem(sys.modules, "bot.app", fake.as_app())
    monkeypatch.setattr("bot.app", fake.as_app(), raising=False)
    return fake
