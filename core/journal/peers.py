"""This process among those that share the database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any

from core.domain.messages import Progress
from core.journal.jobs import Jobs, SharedPace
from core.journal.kernels import KernelRows
from core.store.database import Database
from core.store.remembered import RememberedState


class Alone:
    """The `Peers` of a single process. Events and progress are for other processes only."""

    is_shared = False
    pace: SharedPace | None = None
    """None: the process paces its own calls."""
    runner: Jobs | None = None
    """None: the inbox runs the turns in this process."""
    claims: tuple[()] = ()
    """Rows are marked as this process's by nothing."""
    note_end: Callable[[int], None] | None = None
    take_begun: Callable[[int], Mapping[str, Any] | None] | None = None

    def __init__(self, database: Database | None = None) -> None:
        """`database` stores state over restarts. None: state is not stored."""
        self._database = database

    def at_work(self, platforms: Collection[str]) -> frozenset[str] | None:
        """Return `platforms`, which this process connects: only their turns may be running."""
        return frozenset(platforms)

    async def read_clock(self, own: float) -> float:
        """Return `own`, the time by which this process goes."""
        return own

    def kernel_places(self) -> KernelRows:
        """Return the record of kernels of this process."""
        return KernelRows(self._database)

    def remembered_state(self, name: str, data: Callable[[], object]) -> RememberedState:
        """Return the durable state of a platform under that name."""
        return RememberedState(self._database, name, data)

    async def lead(self, role: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work` at once: no other process competes for the role."""
        await work()

    async def notify(self, word: str, id: str) -> None:
        """Do nothing: there is no other process."""
        return

    def on(self, word: str, handler: Callable[[str], Awaitable[None]]) -> None:
        """Do nothing: no other process sends events."""
        return

    async def sweep(self) -> None:
        """Do nothing: no other process leaves work."""
        return

    async def drain(self, grace: float) -> None:
        """Do nothing: the inbox ends the turns of this process."""
        return

    async def save_progress(self, turn: str, progress: Progress) -> None:
        """Do nothing: no other process reads it."""
        return

    async def read_progress(self, turn: str) -> Progress | None:
        """Return None: nothing is stored."""
        return None


Peers = Alone | Jobs
"""This process among those that share the database."""
