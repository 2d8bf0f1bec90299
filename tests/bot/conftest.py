"""Commands are run as from a shell that has nothing set, in a folder of its own."""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
import os
import shutil
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
import typer

from bot import app
from bot.cli.main import main
from bot.config.ponte_toml import Config
from bot.features.backup import backup
from bot.home import Home, Start
from bot.settings import Settings
from tests.fakes import uvicorn_pauses
from tests.fakes.holder import FakeHolder
from tests.recorded.recorded_ponte import Json, put_home


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
        choice = next(filter(None, map(os.environ.get, names)), "C")
        return (of_english if choice[:1] == "C" else build)(cli)

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
def without_a_sandbox(nothing_set: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its proof takes half a second, for each command that takes the home."""
    monkeypatch.setenv("PONTE_CODE", "off")


@pytest.fixture(scope="session")
def recorded_home(tmp_path_factory: pytest.TempPathFactory, recorded_today: Json) -> Path:
    """A data folder with people of Slack, Discord and the page: turns and changes in every state.
    A test works on a copy of it."""
    folder = tmp_path_factory.mktemp("recorded") / "home"
    put_home(recorded_today["home"], folder)
    return folder


@pytest.fixture(scope="session")
def recorded_archive(tmp_path_factory: pytest.TempPathFactory, recorded_home: Path) -> Path:
    """A backup of that data folder."""
    folder = tmp_path_factory.mktemp("archive")
    home = Home(shutil.copytree(recorded_home, folder / "home"))
    file = folder / "kept.tar.gz"
    assert backup.backup(Start(Settings(ponte_home=home.path), Config(), home), str(file)) == 0
    return file


@pytest.fixture
def ponte_with_home(ponte: Shell, recorded_home: Path) -> Shell:
    """A home that keeps something."""
    shutil.copytree(recorded_home, ponte.home)
    return ponte


@pytest.fixture
def archive(ponte: Shell, recorded_archive: Path, tmp_path: Path) -> Path:
    """A backup, and no home."""
    return Path(shutil.copy(recorded_archive, tmp_path))


@pytest.fixture
def fake_holder(monkeypatch: pytest.MonkeyPatch) -> FakeHolder:
    # They take from the real client what they need.
    importlib.import_module("bot.cli.commands")
    fake = FakeHolder()
    monkeypatch.setitem(sys.modules, "bot.app", fake.as_app())
    monkeypatch.setattr("bot.app", fake.as_app(), raising=False)
    return fake


class RunningPonte:
    """`ponte …` typed at a Ponte that runs in this process's event loop."""

    def __init__(self, ponte: Shell) -> None:
        self._ponte = ponte

    @property
    def home(self) -> Path:
        return self._ponte.home

    async def run(self, *words: str) -> list[str]:
        """Return the lines that a successful command prints."""
        ponte = await asyncio.to_thread(self._ponte, *words)
        assert (ponte.code, ponte.err) == (0, "")
        return ponte.out.splitlines()

    async def check(self, *words: str) -> tuple[int, str, str]:
        """Return the exit code, the output and the errors of a command."""
        ponte = await asyncio.to_thread(self._ponte, *words)
        return ponte.code, ponte.out, ponte.err

    async def fail(self, *words: str) -> tuple[int, str]:
        """Return the exit code and the errors of a command that prints no result."""
        ponte = await asyncio.to_thread(self._ponte, *words)
        assert ponte.out == ""
        return ponte.code, ponte.err

    def write(self, sql: str, *values: object) -> None:
        """Change the database, as another process could."""
        with closing(sqlite3.connect(self.home / "ponte.db")) as connection, connection:
            connection.execute(sql, values)


@pytest.fixture
async def running_ponte(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RunningPonte]:
    """A Ponte with its real engine and store, for commands only."""
    monkeypatch.setenv("PONTE_CODE", "off")
    monkeypatch.setenv("PONTE_TIMEZONE", "UTC")
    with uvicorn_pauses.short_pauses():
        async with app.local(app.start(quiet=True)):
            yield RunningPonte(ponte)
