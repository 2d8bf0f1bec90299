"""What stands around the code says what the code says: `Dockerfile`, `compose.yaml`, scaling."""

from __future__ import annotations

import re
from pathlib import Path

import typer.main

from bot.cli import cli
from bot.settings import Settings
from core.metrics import exposition
from core.store import jobs, postgres

ROOT = Path(__file__).parents[1]
COMPOSE, DOCKERFILE, SCALING = (
    (ROOT / name).read_text() for name in ("compose.yaml", "Dockerfile", "docs/scaling.md")
)
COMMANDS = set(typer.main.get_group(cli).list_commands(None))  # type: ignore[arg-type]
SETTINGS = {name.upper() for name in Settings.model_fields}
BEATS = 1
"""The connection on which notices come."""


def test_their_commands_are_ours() -> None:
    commands = re.findall(r"^\s+command: (\w+)$", COMPOSE, re.MULTILINE)
    commands += re.findall(r'^CMD \["(\w+)"\]$', DOCKERFILE, re.MULTILINE)
    assert sorted(commands) == ["run", "serve", "work"]
    named = {words.split()[0] for words in re.findall(r"`ponte ([^`]+)`", SCALING)}
    assert named
    assert {*commands, *named} <= COMMANDS


def test_their_settings_are_ours() -> None:
    ours = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}
    of_compose = set(re.findall(r"^      ([A-Z_]+):", COMPOSE, re.MULTILINE))
    of_image = set(re.findall(r"\b(PONTE_[A-Z_]+)=", DOCKERFILE))
    told = set(re.findall(r"`(PONTE_[A-Z_]+|DATABASE_URL)`", SCALING))
    assert of_compose - ours <= SETTINGS
    assert (of_image | told) <= SETTINGS


def test_what_the_image_is_made_of_is_there() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    names = [name for words in copied for name in words.split()]
    assert {"bot", "adapters", "core", "requirements-postgres.txt"} <= set(names)
    assert [name for name in names if not (ROOT / name).exists()] == []
    assert "USER ponte" in DOCKERFILE


def test_what_is_to_be_watched_is_told() -> None:
    shown = exposition()
    named = re.findall(r"^\| `(ponte_\w+)", SCALING, re.MULTILINE)
    assert len(named) >= 4
    assert [name for name in named if f"# TYPE {name}" not in shown] == []


def test_the_connections_are_counted() -> None:
    most = postgres.POOL + jobs.CONNECTIONS + BEATS
    assert f"Connections: {most} for each worker" in SCALING
    assert f"Version {postgres.OLDEST_SERVER} to" in SCALING
