from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.base.tasks import Backoff
from tests.contract.engines import Embedded, Engine, InMemory, Shared
from tests.fakes.memory import MemoryDatabase
from tests.time_limits import Limits


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Embedded]:
    engine = await Embedded.open(tmp_path)
    yield engine
    await engine.close()


@pytest.fixture
async def on_postgres(
    migrated_postgres: str, tmp_path: Path, limits: Limits
) -> AsyncIterator[Shared]:
    """All that it looks for now and then, it looks for often. A process counts as dead only when a
    test ages its signs of life (`Shared.age_signs_of_life`): a busy machine kills nobody."""
    limits(QUEUE_POLL_SECONDS=0.02)
    limits(BEAT_SECONDS=0.1)
    limits(LEASE_SECONDS=600.0)
    limits(RECHECK_SECONDS=0.1)
    engine = await Shared.on(migrated_postgres, tmp_path)
    yield engine
    await engine.close()


@pytest.fixture(params=["sqlite", "on_postgres"], ids=["sqlite", "postgres"])
def stores(request: pytest.FixtureRequest) -> Embedded:
    """The stores over both databases."""
    engine: Embedded = request.getfixturevalue(request.param)
    return engine


@pytest.fixture(params=["sqlite", "on_postgres", "memory"], ids=["sqlite", "postgres", "memory"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Every engine passes the same suite; a new one is added here."""
    engine: Engine = request.getfixturevalue(request.param)
    return engine


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = InMemory(tmp_path, MemoryDatabase())
    yield engine
    await engine.close()


@pytest.fixture
def at_once(limits: Limits) -> None:
    """What was put off is taken up again without a wait."""
    limits(TURN_BACKOFF=Backoff(0.0))
