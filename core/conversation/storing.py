"""How a turn waits for its store, so that nothing that was paid for or done is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from core.domain.errors import NotStored
from core.runtime.tasks import retry

log = structlog.get_logger("store")
T = TypeVar("T")
FIRST_WAIT, LONGEST_WAIT = 0.2, 30.0
"""Seconds before a write is tried again that the store could not take."""


async def until_stored(write: Callable[[], Awaitable[T]]) -> T:
    """Await `write` again while the store is unavailable or full, for as long as that lasts. Raises
    whatever else it raises."""

    def wait(error: NotStored, failed: int) -> float:
        log.warning("write tried again", why=str(error), failed=failed)
        return min(FIRST_WAIT * 2.0 ** min(failed - 1, 10), LONGEST_WAIT)

    return await retry(write, NotStored, wait)
