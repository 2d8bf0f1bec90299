"""The ports of proposals and changes: writes to other systems, and the ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, runtime_checkable

from core.domain.changes import (
    Change,
    Draft,
    RowCheck,
    RowWrite,
)

Doing = Callable[[str], Awaitable[None]]
"""Shows the person a few words of progress, in their language."""


class Batch(Protocol):
    """Some rows of a change, from the check before their write to the check after it.

    A batch reads other facts that it needs, such as the description of the table, only once.
    """

    async def check(self, rows: Sequence[RowWrite]) -> Sequence[RowCheck]:
        """Return the current state of each row, in their order. For created rows without an id,
        look for the row.

        For a `run`, wait for its end; this can be cancelled. A run with an id is continued. Raise
        ToolError if the rows cannot be read.
        """

    async def write(self, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        """Write the rows once, in one call, and return them with the ids of created rows.

        Raise ToolError if no row was written, WriteUnsure if any row may have been.
        """


class Applier(Protocol):
    """Makes all writes to one system. It makes no decisions."""

    @property
    def name(self) -> str:
        """The name of the applier in drafts and in the ledger."""

    @property
    def patience(self) -> float:
        """Seconds that a check or a write may take. The applier's own timeouts are shorter."""

    def batch(self, draft: Draft) -> int:
        """Return the number of rows in one batch."""

    def open(self, draft: Draft) -> Batch:
        """Return a new batch for this draft. No request is sent yet. Use one batch from the check
        before a write to the check after it."""

    def revert(self, change: Change) -> Draft:
        """Return the draft that undoes the written rows. Raise ToolError if nothing can be
        undone."""


@runtime_checkable
class CheckedApplier(Applier, Protocol):
    """An applier that checks the asker's rights in its own system, before a proposal is claimed."""

    async def check_asker(self, draft: Draft) -> None:
        """Check that the asker may have this applied now. Raise NotAllowed, also if that is not
        known; the proposal then stays open."""


@runtime_checkable
class WatchedBatch(Batch, Protocol):
    """A batch that reports the progress of its runs."""

    async def watch(self, rows: Sequence[RowWrite], doing: Doing) -> Sequence[RowCheck]:
        """Check a run like `check`, and call `doing` with each new state."""
