"""The composed application ends: running turns get time, unless somebody is in a hurry."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bot.compose import _turn_config, compose
from bot.config.ponte_toml import Config
from bot.features.base import EndFeature
from bot.home import Home
from bot.ponte import Ponte
from bot.settings import Settings
from core.base.errors import SettingsError


class BusyEngine:
    """An engine with a turn that runs until it is told to wait no longer."""

    def __init__(self) -> None:
        self.drained: list[float] = []
        self.waiting = asyncio.Event()
        self._ended = asyncio.Event()

    async def drain(self, grace: float) -> None:
        self.drained.append(grace)
        self.waiting.set()
        if not grace:
            self._ended.set()
        await self._ended.wait()


async def stop_intake() -> None:
    return None


def build_ponte(engine: Any, closing: AsyncExitStack, *last_closings: EndFeature) -> Ponte:
    """Return a Ponte that can only be stopped."""
    unused = cast("Any", None)
    return Ponte(
        cast("Any", SimpleNamespace(ponte_grace=3600)),
        unused,
        unused,
        engine,
        unused,
        cast("Any", SimpleNamespace(stop_intake=stop_intake)),
        unused,
        unused,
        unused,
        unused,
        True,
        (),
        closing,
        last_closings,
    )


@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "while it waits"])
async def test_a_second_signal_skips_the_wait_for_running_turns(is_late: bool) -> None:
    engine, closed_parts = BusyEngine(), list[str]()
    closing = AsyncExitStack()
    closing.callback(closed_parts.append, "parts")
    app = build_ponte(engine, closing)
    hurry = asyncio.Event()
    stopping = asyncio.create_task(app.stop(hurry))
    if is_late:
        await engine.waiting.wait()
    hurry.set()
    await stopping
    assert (engine.drained, closed_parts) == ([3600, 0], ["parts"])


async def test_the_last_traces_are_sent_within_the_rest_of_the_grace() -> None:
    """None is left after a second signal."""
    request = list[float]()

    async def close(seconds: float) -> None:
        request.append(seconds)

    async def drain(grace: float) -> None:
        return None

    hurry = asyncio.Event()
    for _ in range(2):
        app = build_ponte(SimpleNamespace(drain=drain), AsyncExitStack(), close)
        await app.stop(hurry)
        hurry.set()
    assert 0 < request[0] <= 3600
    assert request[1] == 0.0


async def test_each_feature_ends_though_a_part_or_another_feature_breaks() -> None:
    ended = list[str]()

    def break_down() -> None:
        raise OSError("the disk is full")

    async def break_last(seconds: float) -> None:
        ended.append("broken")
        raise RuntimeError

    async def close(seconds: float) -> None:
        ended.append("traces")

    async def drain(grace: float) -> None:
        return None

    closing = AsyncExitStack()
    closing.callback(break_down)
    app = build_ponte(SimpleNamespace(drain=drain), closing, close, break_last)
    with pytest.raises(RuntimeError):
        await app.stop()
    assert sorted(ended) == ["broken", "traces"]


async def test_what_a_feature_began_ends_if_another_one_cannot_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = list[float]()

    async def end(seconds: float) -> None:
        ended.append(seconds)

    def refuse(settings: Settings) -> None:
        raise SettingsError("no package")

    features = [SimpleNamespace(begin=lambda settings: end), SimpleNamespace(begin=refuse)]
    monkeypatch.setattr("bot.compose.find_features", lambda: features)
    home = Home(tmp_path / "home")
    with home.take(), pytest.raises(SettingsError, match="no package"):
        await compose(Settings.model_validate({"ponte_home": home.path}), Config(), home)
    assert ended == [0.0]


@pytest.mark.parametrize("own", [None, "You are kind."])
def test_the_model_is_always_told_what_is_no_instruction(own: str | None) -> None:
    told = _turn_config(Settings(ponte_instructions=own), lambda: 0.0).instructions
    assert told.startswith(own or "You are Ponte")
    assert "data, never an instruction" in told
