"""A platform and a tool source come in as one file each, and keep every contract."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bot.cli.doctor import examine
from bot.compose import compose
from bot.config.ponte_toml import read_config
from bot.home import Home, Start
from bot.integrations import FACES
from bot.settings import Settings, load
from core.base.errors import SettingsError
from core.domain.ports import ListTools, Model
from core.domain.records import Health
from core.domain.rights import Viewer
from core.integrations import (
    IntegrationDependencies,
    ModelIntegration,
    RecordLateRemote,
    SharedSettings,
    start_nothing,
)
from core.models import ModelSettings
from tests.contract import test_applier, test_chat_platforms, test_tool
from tests.contract.applier_case import ADA, BRUNO
from tests.contract.applier_case import Case as ApplierCase
from tests.discord.discord_ponte import Speaker
from tests.toys.cork import BoardFile, Cork, CorkAdapter, CorkBoard, Note
from tests.toys.shelf import Shelf, ShelfSource

FILE = '[cork]\nlimit = 150\n[channels."cork:W1:hall"]\ninstructions = "Be brief."\n'


class Scripted(ModelIntegration[ModelSettings]):
    """In the place of a server's model."""

    name = "model"
    settings = ModelSettings

    def __init__(self, model: Speaker) -> None:
        self.model = model

    def summary(self, own: ModelSettings, shared: SharedSettings) -> Health:
        return Health("model", "on", "a script")

    def build(
        self,
        deps: IntegrationDependencies[ModelSettings],
        late: RecordLateRemote,
        list_tools: ListTools,
    ) -> tuple[Model, Callable[[], None]]:
        return self.model, start_nothing


class Hall:
    """A cork board and a shelf with Ponte between them, set up as an operator would."""

    def __init__(self, folder: Path) -> None:
        self.board, self.shelf, self.model = CorkBoard(), ShelfSource(), Speaker()
        others = [face for face in FACES if face.name not in ("model", "code")]
        self.faces = (Scripted(self.model), *others, Cork(self.board), Shelf(self.shelf))
        self._last: Note | None = None
        (folder / "ponte.toml").write_text(FILE)
        settings = load(self.faces)
        config = read_config(settings.ponte_config, faces=self.faces)
        self.begun = Start(settings, config, Home(folder / "home"))
        self.adapter: CorkAdapter

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Hall]:
        with self.begun.home.take():
            app = await compose(self.begun.settings, self.begun.config, self.begun.home)
            await app.start()
            (adapter,) = app.surfaces.chats
            assert isinstance(adapter, CorkAdapter)
            self.adapter = adapter
            try:
                yield self
            finally:
                await app.stop()

    async def bob_says(self, text: str, files: Sequence[BoardFile] = ()) -> None:
        self._last = await self.board.pin("bob", text, files)

    async def another_app_says(self, title: str, text: str) -> None:
        self._last = await self.board.pin("alerts", f"{title}\n{text}")

    async def ana_asks(self, question: str) -> None:
        await self.board.pin("ana", f"@ponte {question}", about=self._last.id if self._last else "")

    async def reads(self, letters: str) -> Sequence[str]:
        def has_all_letters() -> bool:
            return test_chat_platforms.letters_of("".join(self.board.visible_texts)) == letters

        await self.until(has_all_letters)
        return self.board.visible_texts

    async def until(self, met: Callable[[], object]) -> None:
        """Looks again with each call that comes to the board."""
        async with asyncio.timeout(120):
            while not met():
                await self.board.posts.wait_for_calls(len(self.board.posts.calls) + 1)


@pytest.fixture
def hall(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hall:
    for name in list(os.environ):
        if name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "CORK_NAME": "ponte",
        "SHELF": "on",
        "PONTE_ALLOW": "cork:ana",
        "PONTE_WEB": "off",
        "PONTE_HOME": str(tmp_path / "home"),
    }.items():
        monkeypatch.setenv(name, value)
    return Hall(tmp_path)


async def test_a_write_is_proposed_approved_verified_and_undone(hall: Hall) -> None:
    async with hall.running():
        await hall.ana_asks('call shelf_add {"things": [{"Name": "Hammer"}]}')
        await hall.until(
            lambda: any("open approve/deny" in text for text in hall.board.visible_texts)
        )
        assert hall.shelf.rows == {}
        (id,) = re.findall(r"⟦(\w{6}) open", "".join(hall.board.visible_texts))
        await hall.ana_asks(f"approve {id}")
        await hall.until(
            lambda: any("Approved by Ana. Done." in text for text in hall.board.visible_texts)
        )
        assert hall.shelf.rows == {"1": {"Name": "Hammer"}}
        await hall.ana_asks(f"undo {id}")
        await hall.until(lambda: not hall.shelf.rows)


async def test_who_is_not_named_may_only_do_what_its_rights_say(hall: Hall) -> None:
    async with hall.running():
        await hall.board.pin("bob", '@ponte call shelf_add {"things": [{"Name": "Saw"}]}')
        await hall.until(lambda: hall.board.visible_texts)
        assert hall.shelf.rows == {}
        assert "approve" not in "".join(hall.board.visible_texts)


async def test_the_doctor_checks_them(hall: Hall) -> None:
    lines: list[str] = []
    assert await examine(hall.begun, lines.append) == 0
    assert {"ok    cork: as @ponte", "ok    shelf: 0 things"} <= set(lines)


def test_their_settings_are_refused_as_all_are(
    hall: Hall, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PONTE_ALLOW", "cork:7")
    monkeypatch.setenv("SHELF", "perhaps")
    with pytest.raises(SettingsError) as error:
        load(hall.faces)
    assert "'cork:7' isn't valid; write one or more of slack:ID, discord:ID, cork:ID, *" in str(
        error.value
    )
    assert "SHELF: write one of 'on', 'off'." in str(error.value)
    (tmp_path / "ponte.toml").write_text("[cork]\nlimits = 3\n")
    with pytest.raises(SettingsError, match=r"2: 'limits': unknown key; use one of limit\."):
        read_config(tmp_path / "ponte.toml", faces=hall.faces)


def suite(module: ModuleType) -> dict[str, Any]:
    """The tests of a contract, to be run with another fixture."""
    return {n: staticmethod(test) for n, test in vars(module).items() if n.startswith("test_")}


class TestPlatform:
    @pytest.fixture
    async def room(self, hall: Hall) -> AsyncIterator[Hall]:
        async with hall.running():
            yield hall

    locals().update(suite(test_chat_platforms))


class TestTool:
    @pytest.fixture
    async def case(self) -> test_tool.Case:
        tool, _ = await ShelfSource({"1": {"Name": "Hammer"}}).tools(Viewer())
        return test_tool.Case(tool, '{"name":"Ham"}', '{"name":""}')

    locals().update(suite(test_tool))


class TestApplier:
    @pytest.fixture
    def case(self) -> ApplierCase:
        shelf = ShelfSource({"1": dict(ADA), "2": dict(BRUNO)})

        def refuse() -> None:
            shelf.faults.refuse = 1

        return ApplierCase(
            shelf,
            {},
            lambda: {id: dict(row) for id, row in shelf.rows.items()},
            lambda id, values: shelf.rows[id].update(values),
            lambda id: shelf.rows.pop(id),
            refuse,
            lambda when: shelf.faults.lose.append("after" if when == "after" else "before"),
        )

    locals().update(suite(test_applier))
