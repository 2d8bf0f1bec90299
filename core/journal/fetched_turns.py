"""What the workers of a process know of the turns whose jobs they fetched."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

WaitForRoom = Callable[[Iterable[str] | None], Awaitable[bool]]
"""Waits until a job of these queues may begin. Returns False if the worker must fetch no more."""


class FetchedTurns:
    """The state that the job manager writes (core/journal/queue_manager.py) and `Jobs` reads.
    `owner` is the id of the process, for which fetched turns begin."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.ids: list[int] = []
        """The ids of the running workers, as in the table `procrastinate_workers`."""
        self.ended: set[int] = set()
        """The `seq` of turns that this process ended. The transaction that ended a turn also
        deleted its job."""
        self.messages: dict[int, tuple[str, float]] = {}
        """The messages of fetched turns that had not begun, as JSON, and when they were stored
        (seconds since 1970), by `seq`."""
        self.begun: dict[int, dict[str, Any]] = {}
        """What `ponte_begin` returned of turns that began with the fetch, by `seq`, until a handler
        takes it."""
        self.has_kernels = False
        """Whether any process may have had a kernel at the last fetch."""
