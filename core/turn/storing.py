"""Writes that outlast a failure of the store: paid or finished work is repeated until it is stored,
and the cache of threads may lack it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from core.base.errors import NotStored
from core.base.retry import Backoff, retry
from core.domain.conversation_ports import ThreadMap
from core.domain.records import Thread

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


async def store_thread(threads: ThreadMap, record: Thread) -> None:
    """Store a thread's record. It is a cache of the journal, so a failure is only logged: after a
    crash, a new remote conversation begins."""
    try:
        await threads.put(record)
    except NotStored as error:
        log.warning("could not save the thread", error=str(error))
