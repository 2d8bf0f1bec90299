from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes import uvicorn_pauses


@pytest.fixture(scope="session", autouse=True)
def _uvicorn_ends_at_once() -> Iterator[None]:
    with uvicorn_pauses.short_pauses():
        yield
