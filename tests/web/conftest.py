from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes import uvicorn_pauses
from tests.web.house import WebPonte


@pytest.fixture(scope="session", autouse=True)
def _uvicorn_ends_at_once() -> Iterator[None]:
    with uvicorn_pauses.short_pauses():
        yield


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[WebPonte]:
    house = WebPonte(home=tmp_path)
    await house.open()
    yield house
    await house.close()


@pytest.fixture
async def client(house: WebPonte) -> AsyncIterator[httpx.AsyncClient]:
    async with house.client() as client:
        yield client
