"""Make uvicorn end at once. It sleeps 0.1 s in each shutdown and looks for open connections ten
times a second, which is a third of the time of most tests that start a server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

PAUSE_SECONDS = 0.002


class _Asyncio:
    """The module, but for its `sleep`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, PAUSE_SECONDS))


@contextmanager
def short_pauses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("uvicorn.server.asyncio", _Asyncio())
        yield
