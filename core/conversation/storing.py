"""How a turn waits for its store, so that nothing that was paid for or done is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from core.domain.errors import NotStored
from core.runtime.retry import Backoff, retry

log = structlog.get_logger("store")
T = TypeVar("T")
STORE_BACKOFF = Backoff(0.2, max_seconds=30.0)
"""Pauses between attempts to write while the store is unavailable."""


async def until_stored(write: Callable[[], Awaitable[T]]) -> T:
    """Await `write` again while the store is unavailable or full, for as long as that lasts. Raises
    whatever else it raises."""

    def wait(error: NotStored, failed: int) -> float:
        log.warning("write tried again", why=str(error), failed=failed)
        return STORE_BACKOFF.seconds_after(failed)

    return await retry(write, NotStored, wait)
