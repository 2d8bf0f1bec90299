"""The code that docs/dev/extend.md offers to developers is run as it stands there."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bot.cli.doctor import examine
from bot.compose import compose
from bot.config.ponte_toml import Config
from bot.engine import ORIGINS
from bot.home import Home, Start
from bot.integrations import FACES
from bot.operations import OPERATIONS
from bot.settings import Settings, load
from bot.stores import SCHEMA, TABLES, VIEWS
from core.base.errors import SettingsError
from core.people.rules import Rule, RuleBook
from core.store.database import SqliteDatabase
from core.store.schema import Schema, find_foreign_entry
from core.store.tables import text
from core.tools.nocodb import fieldtypes
from tests.dialogues.bot_home import BotHome
from tests.discord.discord_ponte import Speaker
from tests.docs.conftest import Machine
from tests.docs.test_documents import blocks
from tests.docs.test_guides import page_client
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.config import fixed_rules
from tests.fakes.memory_table import MemoryTable
from tests.time_limits import Limits
from tests.toys.offices import make_office
from tests.toys.test_toys import Scripted
from tests.web.test_admin import open_desk

PAGE = "docs/dev/extend.md"
PYTHON = [one for one in blocks() if (one.document, one.language) == (PAGE, "python")]


def run_block(part: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run the block that contains this text, and return its names, with those given."""
    (block,) = [one for one in PYTHON if part in one.text]
    names = {"__name__": "extension"} if names is None else names
    exec(compile(block.text, str(block), "exec", dont_inherit=True), names)
    return names


PACKAGE = ModuleType("core.tools.stock")
with patch.dict(sys.modules, {PACKAGE.__name__: PACKAGE}):
    SOURCE = run_block("StockIntegration", vars(PACKAGE))
    TESTS = run_block("bot_home.open")


class TestStock:
    """The test that the page offers."""

    locals().update({n: staticmethod(each) for n, each in TESTS.items() if n.startswith("test_")})

    @pytest.fixture
    def bot_home(self, tmp_path: Path) -> BotHome:
        return BotHome(tmp_path / "home")


async def test_a_tool_source_is_checked_and_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [face for face in FACES if face.name not in ("model", "code", "stock")]
    faces = (Scripted(Speaker()), *others, SOURCE["STOCK"])
    home = Home(tmp_path / "home")

    async def check(key: str) -> str:
        """Return what the doctor says about the warehouse."""
        monkeypatch.setenv("STOCK_KEY", key)
        lines: list[str] = []
        await examine(Start(load(faces), Config(), home), lines.append)
        (line,) = [line for line in lines if "stock: " in line]
        return line

    async def call() -> str:
        """Return the page's answer to a message that makes the model call the tool."""
        settings = load(faces)
        with home.take():
            ponte = await compose(settings, Config(), home)
            await ponte.start()
            async with page_client(ponte.links()[1]) as client:
                payload = {"message": 'call stock_count {"item": "hammer"}'}
                answer: str = (await client.post("/chat", json=payload)).json()["response"]
            await ponte.stop()
        return answer

    for name in [one for one in os.environ if one.lower() in Settings.model_fields]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PONTE_WEB_PORT", "0")
    monkeypatch.setitem(TESTS["PIECES"], "hammer", 7)
    app = web.Application()
    app.router.add_get("/items/{item}", TESTS["count_pieces"])
    async with TestServer(app) as server:
        monkeypatch.setenv("STOCK_URL", str(server.make_url("/")))
        assert await check("") == "off   stock: set STOCK_KEY"
        assert "there is no tool 'stock_count' here" in await call()
        assert await check("wrong") == (
            "FAIL  stock: The warehouse rejected the key. Check STOCK_KEY."
        )
        assert await check("right") == "ok    stock: the warehouse responds"
        assert '{"pieces":7}' in await call()
    assert (await check("right")).endswith("Check STOCK_URL and your network connection.")
    assert load(faces).secrets == ("right",)
    monkeypatch.delenv("STOCK_URL")
    (tmp_path / ".env").write_text("STOCK_URL=https://evil.example\n")
    with pytest.raises(SettingsError, match="STOCK_KEY is set elsewhere"):
        load(faces)


def test_a_column_type_checks_what_is_written(limits: Limits) -> None:
    row = {"Weekday": run_block("def parse_weekday")["WEEKDAY"]}
    limits(FIELD_TYPES={**fieldtypes.FIELD_TYPES, **row})
    run_block("DAY = Field(")["test_a_day_of_the_week_has_a_name"]()


async def test_an_origin_is_answered_by_its_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = run_block("SensorOrigin")
    monkeypatch.setitem(ORIGINS, "sensor", lambda engine: names["SensorOrigin"]())
    rules = RuleBook(
        (Rule("1", frozenset({"sensors"}), allow=("read",)),),
        stand_ins={"sensor": names["SENSORS"]},
    )
    async with make_office("page", tmp_path / "home", "") as office:
        table = MemoryTable()
        office.policy = allow_list(frozenset({office.first}), frozenset({office.first}))
        office.policy.read_rules = fixed_rules(rules)
        office.choices = make_choices(office.model, [table], office.policy, [table])
        await office.open()
        inbox, place = office.engine.conversations.inbox, await office.find_place()
        report = names["make_report"]("r1", "boiler", "help", place)
        answer = await inbox.wait_for_answer((await inbox.accept(report)).seq)
        assert answer.text == "You said: help\n\n_Report of boiler_", "its text is no command"
        assert "a report of a sensor" in office.model.asks[0].preface
        write = names["make_report"]("r2", "boiler", "call table_create {}", place)
        answer = await inbox.wait_for_answer((await inbox.accept(write)).seq)
        assert "there is no tool 'table_create' here" in answer.text


@pytest.fixture
def _own_operations() -> Iterator[None]:
    before = dict(OPERATIONS)
    yield
    OPERATIONS.clear()
    OPERATIONS.update(before)


@pytest.mark.usefixtures("_own_operations")
async def test_an_operation_answers_on_the_socket(tmp_path: Path) -> None:
    run_block("list_busy_people")
    async with open_desk(tmp_path / "home") as desk:
        assert await desk.act("busy") == []
        assert "error" in await desk.act("busy", most="few")


async def test_a_migration_leads_to_the_schema_of_a_new_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (migration,) = run_block("MIGRATIONS")["MIGRATIONS"]
    color = text("color", default="")
    tables = [
        replace(one, columns=(*one.columns, color)) if one.name == "conversations" else one
        for one in TABLES
    ]
    steps = (*SCHEMA.migrations, replace(migration, fingerprint=SCHEMA.fingerprint))
    newer = Schema.of(tables, VIEWS, (), steps)
    path = tmp_path / "ponte.db"
    await (await SqliteDatabase.open(path, SCHEMA)).close()
    await (await SqliteDatabase.open(path, newer)).close()
    assert find_foreign_entry(path, newer) == ""


@pytest.mark.slow
def test_a_client_of_v1_gets_its_answers(machine: Machine) -> None:
    scripts = [one for one in blocks() if one.document == "docs/guides/scripts.md"]
    (client,) = [one.text for one in scripts if one.language == "python"]
    (token,) = [one.text for one in scripts if "people token reports" in one.text]
    token = token.replace("token reports", "token owner")  # who alone sees the sample tables
    result = machine.run(f"{token}\n{shlex.join([sys.executable, '-c', client])}")
    assert result.returncode == 0, result.stderr
    *stream, last = result.stdout.splitlines()
    assert "Invoices" in "\n".join(stream)
    assert last.rpartition(" ")[2].isdecimal()
