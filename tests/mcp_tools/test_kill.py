"""kill -9 while an approved call is made: it is not repeated, and its result is unknown."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from bot.compose import compose
from bot.config.ponte_toml import read_config
from bot.home import Home
from bot.settings import Settings
from tests.fakes.models import EchoModel
from tests.mcp.client import ALONE
from tests.mcp_tools.double import FILE, Desk, McpDouble, serve
from tests.mcp_tools.test_hostile import hang

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
async def test_a_call_whose_process_dies_is_unknown(tmp_path: Path) -> None:
    double, file, folder = McpDouble(), tmp_path / "ponte.toml", tmp_path / "home"
    async with serve(double) as url:
        file.write_text(FILE.format(url=url))
        options = {**ALONE, "ponte_mcp": "off", "ponte_home": folder, "ponte_config": file}
        settings = Settings.model_validate(options)
        home = Home(folder)
        with home.take():
            app = await compose(settings, read_config(file), home)
            await app.start()
            object.__setattr__(app.engine.assistant, "model", EchoModel())
            desk = Desk(app, double, EchoModel())
            await desk.accept()
            (card,) = (await desk.call("file", text="x"))["cards"]
            await app.stop()
        double.answer = hang
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.mcp_tools.victim", folder, file, card["id"]), cwd=ROOT
        )
        await double.called.wait()
        process.kill()
        await process.wait()
        double.answer = McpDouble().answer
        with home.take():
            app = await compose(settings, read_config(file), home)
            ended = asyncio.Event()
            app.engine.card_listeners.append(ended.set)
            await app.start()
            ledger = app.engine.changes.ledger
            while True:
                ended.clear()
                if (change := await ledger.get(card["id"])).state != "applying":
                    break
                async with asyncio.timeout(60):
                    await ended.wait()
            await app.stop()
        assert change.state == "partial"
        assert [step.state for step in change.steps] == ["unknown"]
        assert len(double.calls) == 1
