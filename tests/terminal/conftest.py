from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.fakes import uvicorn_pauses
from tests.web.web_ponte import WebPonte


@pytest.fixture(scope="session", autouse=True)
def _uvicorn_ends_at_once() -> Iterator[None]:
    with uvicorn_pauses.short_pauses():
        yield


@pytest.fixture
async def ponte(tmp_path: Path) -> AsyncIterator[WebPonte]:
    ponte = WebPonte(home=tmp_path)
    await ponte.open()
    yield ponte
    await ponte.close()
