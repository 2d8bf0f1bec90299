"""Repeats writes while the store is unavailable, so that paid or finished work is not lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from core.domain.errors import NotStored
from core.runtime.retry import Backoff, retry

log = structlog.get_logger("store")
T = TypeVar("T")
STORE_BACKOFF = Backoff(0.2, max_seconds=30.0)
"""Pauses between attempts to write while the store is unavailable: 0.2 to 30 seconds."""


async def until_stored(write: Callable[[], Awaitable[T]]) -> T:
    """Await `write` and return its result. Repeat it while it raises NotStored (the store is
    unavailable or full), without a limit. Any other error is raised."""

    def wait(error: NotStored, failed: int) -> float:
        log.warning("database write failed; retrying", error=str(error), failed_attempts=failed)
        return STORE_BACKOFF.seconds_after(failed)

    return await retry(write, NotStored, wait)
