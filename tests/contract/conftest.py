from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.engines import Embedded, Engine, InMemory


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Embedded]:
    engine = await Embedded.open(tmp_path)
    yield engine
    await engine.close()


@pytest.fixture(params=["embedded", "in memory"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    """Every engine passes the same suite; a new one is added here."""
    embedded = request.param == "embedded"
    engine: Engine = await Embedded.open(tmp_path) if embedded else InMemory({})
    yield engine
    await engine.close()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was put off is taken up again without a wait."""
    monkeypatch.setattr("core.store.inbox.FIRST_WAIT", 0.0)
